"""Checks every invariant after a test, without the queries that cannot return a row.

Most tests fill few tables. The plan of a query shows which tables must hold a row for it to return
one: a scan of an empty table returns nothing, an inner join nothing when a side returns nothing,
and so on. What is a union of many queries is asked as those queries, each only where it can return
a row. The schema is compared with the migrations unless the rows of the catalogue that describe it
are those of a database in which it was found right.

Rules a change must keep: what is not known about a plan counts as able to return a row; a table is
empty only if its file is, which a deleted row enlarges too; the fingerprint covers every catalogue
that the comparison of the schema reads.
"""

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

EMPTY: Final = """
select relname from pg_class where relnamespace = 'caas'::regnamespace and relkind = 'r'
   and pg_relation_size(oid) = 0
"""
DESCRIPTION: Final = """
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
  union all select ctid, xmin from pg_proc where pronamespace = 'caas'::regnamespace)
select count(*) || ' ' || sum(xmin::text::bigint) || ' ' || bit_xor(hashtid(ctid))
  from described
"""
"""A changed row of a catalogue is written anew: `xmin` is the transaction that wrote it."""
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
_plans: dict[str, Plan] = {}
_right: set[str] = set()
"""The descriptions of schemas that were found as migrated."""


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
        checker = Checker(connection, CheckLimits())
        checks = [
            InvariantCheck(part)
            for invariant in EVERY_INVARIANT
            for part in ASKED_AS.get(invariant.name, [invariant])
        ]
        for check in checks:
            if check.invariant.name == AS_MIGRATED and described in _right:
                continue
            for scope in await _scopes(connection, check.invariant, empty):
                await checker.look(check, scope)
    found = [check.finding() for check in checks]
    (schema,) = (one for one in found if one.invariant.name == AS_MIGRATED)
    if not schema.broken and schema.unfinished_because is None:
        _right.add(described)
    return found


async def _scopes(
    connection: asyncpg.Connection, invariant: Invariant, empty: AbstractSet[str]
) -> Sequence[Scope]:
    """Return what must be read to check an invariant."""
    if invariant is NO_CARD_NUMBER:
        pages = await stored_card_numbers.pages(connection)
        return [page for page in pages if page.of_table not in empty]
    if invariant.text not in _plans:
        try:
            _plans[invariant.text] = await plan_of(connection, invariant.query)
        except asyncpg.PostgresError:
            return (EVERYTHING,)  # the check reports why it cannot be asked
    return (EVERYTHING,) if can_return_rows(_plans[invariant.text], empty) else ()
