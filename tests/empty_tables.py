"""Checks every invariant after a test, without the queries that cannot return a row.

Most tests fill few tables. The plan of a query shows which tables must hold a row for it to return
one: a scan of an empty table returns nothing, an inner join nothing when a side returns nothing,
and so on. What is a union of many queries is asked as those queries, each only where it can return
a row. What is said by the schema, by roles and by the tables that a migration fills is asked
unless their rows are those of a database in which it was found right.

Rules a change must keep: what is not known about a plan counts as able to return a row; a table is
empty only if its file is, which a deleted row enlarges too; the fingerprint covers every catalogue
and every filled table that is read by a check which is left out because of it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import asyncpg
import msgspec

from caas.billing_database import schema_catalog, stored_card_numbers
from caas.billing_database.connection import Database
from caas.billing_database.invariant_scopes import EVERYTHING, Scope
from caas.billing_database.invariants import EVERY_INVARIANT, NO_CARD_NUMBER, Invariant
from caas.billing_database.invariants_of_obligations import (
    NOTHING_IS_FORGOTTEN,
    OBLIGATIONS,
    forgotten,
)
from caas.billing_database.self_check import Checker, CheckLimits, Finding, InvariantCheck

Plan = Mapping[str, Any]

AS_MIGRATED: Final = schema_catalog.SCHEMA[0][0]
FILLED_BY_MIGRATIONS: Final = (
    "ledger_accounts", "markets", "migrations", "order_transitions", "payment_transitions",
    "provider_accounts", "subscription_transitions", "tax_rates", "tax_settings",
    "vehicle_transitions",
)  # fmt: skip

EMPTY: Final = """
select relname from pg_class where relnamespace = 'caas'::regnamespace and relkind = 'r'
   and pg_relation_size(oid) = 0
"""
DESCRIPTION: Final = f"""
with here as (select oid from pg_class where relnamespace = 'caas'::regnamespace),
described as (
  select ctid, xmin from pg_class where relnamespace = 'caas'::regnamespace
  union all select ctid, xmin from pg_attribute where attrelid in (table here)
  union all select ctid, xmin from pg_attrdef where adrelid in (table here)
  union all select ctid, xmin from pg_constraint where conrelid in (table here)
  union all select ctid, xmin from pg_index where indrelid in (table here)
  union all select ctid, xmin from pg_trigger where tgrelid in (table here)
  union all select ctid, xmin from pg_rewrite where ev_class in (table here)
  union all select ctid, xmin from pg_policy where polrelid in (table here)
  union all select ctid, xmin from pg_proc where pronamespace = 'caas'::regnamespace
  union all select ctid, xmin from pg_namespace where nspname = 'caas'
  union all select ctid, xmin from pg_auth_members
  union all select ctid, xmin from pg_db_role_setting
  {" ".join(f"union all select ctid, xmin from caas.{it}" for it in FILLED_BY_MIGRATIONS)})
select count(*) || ' ' || sum(xmin::text::bigint) || ' ' || bit_xor(hashtid(ctid)) || ' ' ||
       (select string_agg(hashtext(r::text)::text, ' ' order by r.rolname) from pg_roles r)
  from described
"""
"""A changed row of a catalogue is written anew: `xmin` is the transaction that wrote it."""
DESCRIBED: Final = frozenset(FILLED_BY_MIGRATIONS) | {
    f"pg_catalog.pg_{it}"
    for it in (
        "attrdef", "attribute", "auth_members", "authid", "class", "constraint", "db_role_setting",
        "depend", "index", "namespace", "policy", "proc", "rewrite", "trigger",
    )
}  # fmt: skip
SCANS: Final = frozenset({
    "Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Tid Scan", "Tid Range Scan",
    "Sample Scan",
})  # fmt: skip
JOINS: Final = frozenset({"Nested Loop", "Hash Join", "Merge Join"})
BOTH: Final = frozenset({"Outer", "Inner"})
NEEDED_SIDES: Final = {
    "Inner": BOTH, "Semi": BOTH, "Right Semi": BOTH,
    "Left": frozenset({"Outer"}), "Anti": frozenset({"Outer"}),
    "Right": frozenset({"Inner"}), "Right Anti": frozenset({"Inner"}),
}  # fmt: skip
"""The sides that must return a row for a join of this type to return one."""
SUBPLANS: Final = frozenset({"InitPlan", "SubPlan"})
PASSING_ON: Final = frozenset({
    "Hash", "Sort", "Incremental Sort", "Materialize", "Memoize", "Unique", "Limit", "WindowAgg",
    "Gather", "Gather Merge", "LockRows", "ProjectSet", "Subquery Scan", "Group",
})  # fmt: skip
JOINING_UP: Final = frozenset({"Append", "Merge Append", "SetOp"})
"""They return a row only if one of their parts does."""
ASKED_AS: Final = {
    NOTHING_IS_FORGOTTEN[0]: [
        Invariant(NOTHING_IS_FORGOTTEN[0], obligation.name, forgotten([obligation]))
        for obligation in OBLIGATIONS
    ]
}
"""Invariants that are unions of many queries, as one for each."""
READING_FUNCTIONS: Final = """
select proname from pg_proc
 where pronamespace = 'caas'::regnamespace and provolatile <> 'i'
"""
NOT_KNOWN: Final = frozenset({"what its functions read"})
_plans: dict[str, Plan] = {}
_possible: dict[tuple[str, frozenset[str]], bool] = {}
_reads: dict[str, frozenset[str]] = {}
"""The tables that a query reads; missing where it calls functions that may read others."""
_right: set[tuple[str, str]] = set()
"""Queries that returned nothing, with the description of the database: they read nothing else, or,
as the search for card numbers does, table by table."""


async def empty_tables(connection: asyncpg.Connection) -> frozenset[str]:
    """Return the tables of the Billing Database that hold nothing and never did."""
    return frozenset(row["relname"] for row in await connection.fetch(EMPTY))


async def plan_of(connection: asyncpg.Connection, query: str) -> Plan:
    """Return the plan of a query, in the terms of `explain (format json)`."""
    text = await connection.fetchval(f"explain (format json, verbose) {query}")
    plan: Plan = msgspec.json.decode(text)[0]["Plan"]
    return plan


def can_return_rows(plan: Plan, empty: AbstractSet[str]) -> bool:
    """Return whether a plan can return a row while these tables are empty."""
    tables = dict[str, list[Plan]]()
    for node in _nodes(plan):
        if name := str(node.get("Subplan Name", "")).removeprefix("CTE "):
            tables.setdefault(name, []).append(node)
    return _returns(plan, empty, tables)


def _nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _returns(node: Plan, empty: AbstractSet[str], tables: Mapping[str, Sequence[Plan]]) -> bool:
    kind = node["Node Type"]
    returning = {
        part["Parent Relationship"]
        for part in node.get("Plans", ())
        if part["Parent Relationship"] not in SUBPLANS and _returns(part, empty, tables)
    }
    if kind in SCANS:
        return node["Schema"] != "caas" or node["Relation Name"] not in empty
    if kind in JOINS and node["Join Type"] in NEEDED_SIDES:
        return NEEDED_SIDES[node["Join Type"]] <= returning
    if kind == "CTE Scan":
        return any(_returns(part, empty, tables) for part in tables[node["CTE Name"]])
    grouped = kind == "Aggregate" and "Group Key" in node and "Grouping Sets" not in node
    return bool(returning) or not (grouped or kind in PASSING_ON or kind in JOINING_UP)


async def findings(database: Database) -> list[Finding]:
    """Check every invariant over everything; ask only those that could be violated."""
    async with database.connection() as connection:
        empty = await empty_tables(connection)
        described = await connection.fetchval(DESCRIPTION)
        if not _plans:
            await _plan_every_invariant(connection)
        checker = Checker(connection, CheckLimits())
        checks = [
            InvariantCheck(part)
            for invariant in EVERY_INVARIANT
            for part in ASKED_AS.get(invariant.name, [invariant])
        ]
        for check in checks:
            text = check.invariant.text
            is_described = _reads.get(text, NOT_KNOWN) <= empty | DESCRIBED
            was_right = (text, described) in _right
            if is_described and was_right:
                continue
            seen = empty.union(FILLED_BY_MIGRATIONS) if was_right else empty
            for scope in await _scopes(connection, check.invariant, empty=empty, seen=seen):
                await checker.look(check, scope)
            found_nothing = not check.found and check.unfinished_because is None
            if found_nothing and (is_described or check.invariant is NO_CARD_NUMBER):
                _right.add((text, described))
    return [check.finding() for check in checks]


async def _plan_every_invariant(connection: asyncpg.Connection) -> None:
    """Plan each query once, and note what it reads."""
    functions = [row["proname"] for row in await connection.fetch(READING_FUNCTIONS)]
    calls = re.compile(rf"\b({'|'.join(functions)})\b")
    for invariant in EVERY_INVARIANT:
        for part in ASKED_AS.get(invariant.name, [invariant]):
            if invariant is NO_CARD_NUMBER:
                continue
            try:
                plan = _plans[part.text] = await plan_of(connection, part.query)
            except asyncpg.PostgresError:
                continue  # the check reports why it cannot be asked
            if part.name == AS_MIGRATED or not calls.search(part.query):
                _reads[part.text] = _tables(plan)


def _tables(plan: Plan) -> frozenset[str]:
    """Return the tables that a plan names, those of other schemas with their schema."""
    return frozenset(
        name if node["Schema"] == "caas" else f"{node['Schema']}.{name}"
        for node in _nodes(plan)
        if (name := node.get("Relation Name"))
    )


async def _scopes(
    connection: asyncpg.Connection, invariant: Invariant, *, empty: frozenset[str],
    seen: frozenset[str],
) -> Sequence[Scope]:  # fmt: skip
    """Return what must be read to check an invariant; card numbers not in the tables `seen`."""
    if invariant is NO_CARD_NUMBER:
        pages = await stored_card_numbers.pages(connection)
        return [page for page in pages if page.of_table not in seen]
    if (plan := _plans.get(invariant.text)) is None:
        return (EVERYTHING,)
    asked = (invariant.text, empty & _tables(plan))
    if asked not in _possible:
        _possible[asked] = can_return_rows(plan, empty)
    return (EVERYTHING,) if _possible[asked] else ()
