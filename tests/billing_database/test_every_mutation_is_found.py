"""Whatever the owner of the schema changes in the books, some law finds it.

Every column of every table is taken from the catalogue. In a world that has lived, one value after
the other is changed by plain SQL, or set to null, with all guards asleep, and the laws are asked;
every row is deleted once as well, and entries are invented between all accounts. What is planted is
rolled back. What is done to the schema itself is `test_schema_mutations.py`'s.

What a law finds over everything it also finds slice by slice, and over what was touched since the
world began: each law proves both with something that was planted.

A new column is in here by itself: it is found to be changed, or whoever adds it says in
`NOTHING_HANGS_ON` why nothing hangs on it.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from caas.billing_database import connection
from caas.billing_database.invariant_scopes import EVERYTHING
from caas.billing_database.invariants import EVERY_MESSAGE_IS_SIGNED, INVARIANTS, Invariant
from caas.billing_database.invariants_of_obligations import HINTS, OBLIGATIONS
from caas.billing_database.invariants_of_rows import SUMMED
from caas.billing_database.self_check import (
    Checker,
    CheckLimits,
    InvariantCheck,
    has_marks,
    is_checked_often,
)
from caas.rules.postings import ACCOUNTS
from tests.billing_database.lived_world import lived
from tests.billing_database.nothing_hangs_on import MAY_BE_GONE, NOT_LIVED, NOTHING_HANGS_ON
from tests.installation import standing

ROWS_A_TABLE_MAX: Final = 6
KINDS: Final = ("type", "kind", "state", "status", "class")
DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "architecture.md"
HEADING: Final = "## Jobs"
OF_THE_SCHEMA: Final = ("guards_are_enabled", "schema_is_as_migrated")
ASKED: Final = (
    *(invariant for invariant in INVARIANTS if invariant.name not in OF_THE_SCHEMA),
    EVERY_MESSAGE_IS_SIGNED,
)
BEFORE_THE_WORLD: Final = datetime(2000, 1, 1, tzinfo=UTC)
WITHOUT_PROOF: Final = {
    "credit_notes_are_paid_back", "disputed_usage_is_not_billed",
    "disputes_in_another_currency_are_found", "fees_of_decided_lines_are_compared",
    "ledger_sums_to_zero",
    "lines_kept_aside_end_by_that_line", "losses_without_a_line_are_found",
    "one_invoice_per_month", "one_live_payment",
    "only_a_decline_cancels_a_subscription", "one_transaction_per_payment",
    "pending_terms_have_their_buyer", "refunds_are_explained_once",
    "refunds_wait_for_lines_of_their_own",
    "requested_withdrawals_wait_for_a_payment",
    "reversals_cancel_their_losses",
    "unsent_payments_had_not_arrived", "written_off_invoices_are_not_charged",
    "applied_webhooks_are_kept",
}  # fmt: skip
"""Laws that no single change breaks here: a constraint refuses it, it takes a second one, or
whether there is such a row depends on what came first, a webhook or an answer."""
COLUMNS: Final = """
select c.relname as table, a.attname as column, format_type(a.atttypid, a.atttypmod) as type,
       a.attnotnull as required
  from pg_class c join pg_attribute a on a.attrelid = c.oid
 where c.relnamespace = 'caas'::regnamespace and c.relkind = 'r' and a.attnum > 0
   and not a.attisdropped and a.attgenerated = '' and a.attidentity = ''
 order by 1, a.attnum
"""
LISTED: Final = """
select (regexp_matches(pg_get_constraintdef(k.oid), '''([^'']+)''::text', 'g'))[1]
  from pg_constraint k join pg_attribute a on a.attrelid = k.conrelid and k.conkey = array[a.attnum]
 where k.contype = 'c' and k.conrelid = $1::regclass and a.attname = $2
   and pg_get_constraintdef(k.oid) like '%ANY%'
"""
CHANGED: Final = {
    "bigint": ("{c} + 1", "{c} - 1"),
    "integer": ("{c} + 1", "{c} - 1"),
    "numeric": ("{c} + 1",),
    "boolean": ("not {c}",),
    "date": ("{c} + 3",),
    "daterange": ("daterange(lower({c}) + 3, upper({c}))",),
    "timestamp with time zone": ("{c} + interval '3 days'", "{c} - interval '3 days'"),
    "interval": ("{c} + interval '3 days'",),
    "bytea": ("set_byte({c}, 0, 255 - get_byte({c}, 0))",),
    "text": ("{c} || 'x'", "'USD'", "upper({c}) || '1'"),
    "text[]": ("{c} || 'x'",),
    "uuid[]": ("{c} || gen_random_uuid()",),
    "jsonb": (
        "case jsonb_typeof({c}) when 'object' then {c} || '{{\"planted\": 1}}' else '[]' end",
    ),
    "cidr": ("'10.0.0.0/8'",),
}  # fmt: skip
REFUSED: Final = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)
"""What the database itself says to a value that cannot be, whoever writes it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the schema."""

    table: str
    name: str
    type: str
    required: bool

    @property
    def address(self) -> str:
        """How the lists call it."""
        return f"{self.table}.{self.name}"


class Found(Enum):
    """What became of something planted."""

    FOUND = "a law found it"
    REFUSED = "the database refuses it, whoever writes"
    NOTHING = "there was nothing to change"
    MISSED = "no law found it"


class Planting:
    """Plants one thing after the other into one database, and takes each back."""

    def __init__(self, owner: asyncpg.Connection) -> None:
        """Plant as the owner."""
        self._owner = owner
        self._checker = Checker(owner, CheckLimits())
        self.unproven = {it for it in ASKED if has_marks(it)}

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Read from the database."""
        return list(await self._owner.fetch(query, *values))

    async def plant(self, table: str, statement: str) -> Found:
        """Do something, ask the laws, and take it back."""
        savepoint = self._owner.transaction()
        await savepoint.start()
        try:
            done = await self._owner.execute(statement)
            if done.endswith(" 0"):
                return Found.NOTHING
            return Found.FOUND if await self._is_found(table) else Found.MISSED
        except REFUSED:
            return Found.REFUSED
        finally:
            await savepoint.rollback()

    async def _is_found(self, table: str) -> bool:
        """Ask the laws that speak of the table first: mostly one of them finds it."""
        is_found = False
        for invariant in sorted(ASKED, key=lambda invariant: _comes(invariant, table)):
            if is_found and (invariant not in self.unproven or _comes(invariant, table) > 1):
                continue
            check = InvariantCheck(invariant)
            await self._checker.look(check, EVERYTHING)
            if check.unfinished_because is not None:
                return is_found
            if check.found:
                is_found = True
                await self._prove(invariant)
        return is_found

    async def _prove(self, invariant: Invariant) -> None:
        """Let a law that found something find it in slices, and among what was touched."""
        if invariant not in self.unproven:
            return
        sliced = InvariantCheck(invariant)
        async for _ in self._checker.check_whole(sliced):
            pass
        proven = sliced.finding().broken > 0
        if is_checked_often(invariant):
            async for finding in self._checker.check_touched([invariant], BEFORE_THE_WORLD):
                proven = proven and finding.broken > 0
        if proven:
            self.unproven.discard(invariant)

    async def every_row(self, table: str) -> list[str]:
        """Return where the rows of a table are."""
        rows = await self.fetch(f"select ctid::text as place from {table} order by ctid")
        return [row["place"] for row in rows]

    async def rows(self, table: str) -> list[str]:
        """Return some rows of a table, one of each type and state where it has them."""
        names = {row["column"] for row in await self.fetch(COLUMNS) if row["table"] == table}
        by = ", ".join(name for name in KINDS if name in names)
        rows = await self.fetch(
            f"select distinct on ({by or 'ctid'}) ctid::text as place from {table}"
            f" order by {by or 'ctid'}, ctid desc"
        )
        return [row["place"] for row in rows[:: max(len(rows) // ROWS_A_TABLE_MAX, 1)]]

    async def changes(self, column: Column) -> list[str]:
        """Return the expressions for other values of a column."""
        listed = await self.fetch(LISTED, f"caas.{column.table}", column.name)
        if listed:
            return [f"'{row[0]}'" for row in listed]
        name = f"t.{column.name}"
        if column.type == "uuid":
            other = f"select o.{column.name} from {column.table} o where o.{column.name} <> {name}"
            return ["gen_random_uuid()", f"({other} limit 1)"]
        return [change.format(c=name) for change in CHANGED[column.type]]

    async def values(self, column: Column) -> list[str]:
        """Return the expressions for other values of a column, null among them where it may be."""
        return [*await self.changes(column), *([] if column.required else ["null"])]


def _comes(invariant: Invariant, table: str) -> int:
    """Say which laws are asked first: that of the sums, then those that speak of the table."""
    if invariant.name.endswith("tables_match_their_checksums"):
        return 0 if table in SUMMED else 3
    return 1 if f" {table} " in invariant.text or f" {table}\n" in invariant.text else 2


def _but_for(allowed: Mapping[str, str], address: str) -> str | None:
    """Return the condition of the rows in which something may be planted; None for nowhere."""
    if address in allowed or address.partition(".")[0] in allowed:
        return None
    but = [
        condition
        for place, _, condition in (entry.partition(" where ") for entry in allowed)
        if place == address and condition
    ]
    return "".join(f" and not coalesce(({condition}), false)" for condition in but)


@pytest.fixture
async def planting(database_dsn: str) -> AsyncIterator[Planting]:
    """A world that has lived, in the hands of its owner, with every guard asleep."""
    tables = await connection.connect(database_dsn)
    async with standing(tables) as installation:
        await lived(installation)
    await tables.close()
    owner = await asyncpg.connect(database_dsn, server_settings={"search_path": "caas,public"})
    transaction = owner.transaction()
    await transaction.start()
    for row in await owner.fetch(
        "select relname from pg_class where relnamespace = 'caas'::regnamespace and relkind = 'r'"
    ):
        await owner.execute(f"alter table {row['relname']} disable trigger all")
    findings = [InvariantCheck(invariant) for invariant in ASKED]
    for check in findings:
        await Checker(owner, CheckLimits()).look(check, EVERYTHING)
    broken = [check.invariant.name for check in findings if check.found]
    assert broken == [], "the world is whole before anything is planted"
    yield Planting(owner)
    await transaction.rollback()
    await owner.close()


async def _changed(planting: Planting, column: Column, but_for: str) -> list[tuple[str, Found]]:
    """Change a column in some rows; return what became of each change."""
    reported = []
    for place in await planting.rows(column.table):
        for change in await planting.values(column):
            became = await planting.plant(
                column.table,
                f"update {column.table} t set {column.name} = {change} where ctid = '{place}'"
                f" and {column.name} is distinct from {change}{but_for}",
            )
            reported.append((f"{column.address} = {change} at {place}", became))
    return reported


async def _every_change(planting: Planting) -> tuple[list[str], list[str]]:
    """Change every column; return which changes were missed, and where there was nothing."""
    missed, never = [], []
    for row in await planting.fetch(COLUMNS):
        column = Column(*row.values())
        but_for = _but_for(NOTHING_HANGS_ON, column.address)
        if but_for is None:
            continue
        reported = await _changed(planting, column, but_for)
        missed += [what for what, became in reported if became is Found.MISSED]
        if all(became is Found.NOTHING for _, became in reported):
            never.append(column.address)
    return missed, never


async def _every_loss(planting: Planting) -> list[str]:
    """Delete some rows of every table, one at a time; return which are not missed."""
    tables = sorted({row["table"] for row in await planting.fetch(COLUMNS)})
    missed = []
    for table in tables:
        but_for = _but_for(MAY_BE_GONE, table)
        for place in await planting.every_row(table) if but_for is not None else ():
            gone = f"delete from {table} t where ctid = '{place}'{but_for}"
            if await planting.plant(table, gone) is Found.MISSED:
                missed.append(gone)
    return missed


async def _every_invented_entry(planting: Planting) -> list[str]:
    """Move money between any two accounts without an event; return what is not found."""
    missed = []
    accounts = sorted(ACCOUNTS)
    for debit, credit in pairwise([*accounts, accounts[0]]):
        for which in ("", ", gen_random_uuid()", "other currency"):
            payment = "gen_random_uuid()" if which == ", gen_random_uuid()" else "p.id"
            currency = "'USD'" if which == "other currency" else "p.currency"
            invented = (
                "insert into ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
                f" select {payment}, e.seq, '{debit}', '{credit}', 7, {currency}, e.at"
                " from payments p join payment_events e on e.payment_id = p.id"
                " and e.seq = p.version where p.settled_amount > 0 limit 1"
            )
            if await planting.plant("ledger_entries", invented) is not Found.FOUND:
                missed.append(invented)
    return missed


async def test_whatever_the_owner_of_the_schema_changes_is_found(planting: Planting) -> None:
    missed, never = await _every_change(planting)
    missed += await _every_loss(planting)
    missed += await _every_invented_entry(planting)

    assert not missed, "\n".join(missed)
    unexplained = [
        it for it in never if it not in NOT_LIVED and it.partition(".")[0] not in NOT_LIVED
    ]
    assert not unexplained, f"live it, or explain it: {', '.join(unexplained)}"
    unproven = {invariant.name for invariant in planting.unproven} - WITHOUT_PROOF
    assert not unproven, f"prove it, or explain it: {', '.join(sorted(unproven))}"


async def test_what_is_explained_is_there(database_dsn: str) -> None:
    owner = await asyncpg.connect(database_dsn, server_settings={"search_path": "caas,public"})
    columns = {f"{row['table']}.{row['column']}" for row in await owner.fetch(COLUMNS)}
    await owner.close()
    there = columns | {address.partition(".")[0] for address in columns}

    explained = {*NOTHING_HANGS_ON, *MAY_BE_GONE, *NOT_LIVED}

    assert {entry.partition(" where ")[0] for entry in explained} - there == set()


def test_every_kind_of_work_sees_an_obligation_through_or_is_a_hint() -> None:
    """A kind that nothing names could be lost unseen."""
    kinds = {kind for obligation in OBLIGATIONS for kind in obligation.kinds}
    table = DOCUMENT.read_text("utf-8").partition(HEADING)[2].partition("\n## ")[0]
    registered = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))

    assert kinds & set(HINTS) == set()
    assert kinds | set(HINTS) == registered
