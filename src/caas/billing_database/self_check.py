"""Checks all invariants, reports the rows that violate them, and stores the results (decision 42).

It runs after every database test, every few minutes in operation, and from the command line.

Rules a change must keep: every invariant is checked, whatever the others found; results are stored
as found, with the time of the check.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.invariants import (
    EVERY_INVARIANT,
    EVERY_MESSAGE_IS_SIGNED,
    INVARIANTS,
    NO_CARD_NUMBER,
    Invariant,
)
from caas.rules.card_numbers import contains_card_number
from caas.rules.vehicle_signatures import SignedMessage, signed_with

BROKEN_ROWS_SHOWN_MAX: Final = 20
PREFETCH_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """The number of rows that violate an invariant, and the first of them."""

    invariant: Invariant
    broken: int
    examples: tuple[str, ...]


TEXTS: Final = """
with texts as (
  select c.oid, c.relname as of_table, string_agg(case t.typcategory
           when 'A' then format('array_to_string(%I, $1)', a.attname)
           else format('%I::text', a.attname) end, ', ' order by a.attnum) as columns
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid left join pg_type e on e.oid = t.typelem
   where n.nspname = 'caas' and c.relkind = 'r'
     and ('S' in (t.typcategory, e.typcategory) or t.typname in ('json', 'jsonb'))
     and (pg_relation_size(c.oid) > 0 or not has_table_privilege(c.oid, 'select'))
   group by c.oid, c.relname)
select of_table, format('select %s, concat_ws($1, %s) from caas.%I', coalesce(
    (select string_agg(format('%I::text', k.attname), $s$ || '/' || $s$ order by k.attnum)
       from pg_index i join pg_attribute k on k.attrelid = i.indrelid and k.attnum = any (i.indkey)
      where i.indrelid = oid and i.indisprimary), 'ctid::text'), columns, of_table) as query
  from texts order by of_table
"""
"""For each non-empty table, a query for all its text columns, so that new columns are included."""

APART: Final = " apart "
"""Separates two columns, so that their digits are not read as one number."""


async def self_check(database: Database) -> list[Finding]:
    """Check every invariant and return the finding for each."""
    async with database.connection() as connection:
        findings = [await _check(connection, invariant) for invariant in INVARIANTS]
        findings.append(await unsigned_messages(connection))
        findings.append(await _look_for_card_numbers(connection))
    return findings


async def _check(connection: Connection, invariant: Invariant) -> Finding:
    rows = await connection.fetch(invariant.query)
    examples = tuple(str(row[0]) for row in rows[:BROKEN_ROWS_SHOWN_MAX])
    return Finding(invariant, len(rows), examples)


async def unsigned_messages(connection: Connection) -> Finding:
    """Check every verified acknowledgement against its vehicle's key."""
    found: list[str] = []
    async with connection.transaction(readonly=True):
        async for row in connection.cursor(EVERY_MESSAGE_IS_SIGNED.query, prefetch=PREFETCH_ROWS):
            evidence, vin, command_id, epoch, subject, service, action, status, at, *proof = row
            signature, key = proof
            word = SignedMessage(
                vin=vin, command_id=command_id, epoch=epoch, payment_id=subject, service=service,
                action=action, status=status, at=at,
            )  # fmt: skip
            if key is None or not signed_with(key, signature=signature, text=word.text):
                found.append(evidence)
    return Finding(EVERY_MESSAGE_IS_SIGNED, len(found), tuple(found[:BROKEN_ROWS_SHOWN_MAX]))


async def _look_for_card_numbers(connection: Connection) -> Finding:
    found: list[str] = []
    async with connection.transaction(readonly=True):
        for table in await connection.fetch(TEXTS):
            try:
                found += await _with_card_numbers(connection, table)
            except asyncpg.InsufficientPrivilegeError:
                found.append(f"{table['of_table']}: cannot be read")
    return Finding(NO_CARD_NUMBER, len(found), tuple(found[:BROKEN_ROWS_SHOWN_MAX]))


async def _with_card_numbers(connection: Connection, table: Row) -> list[str]:
    async with connection.transaction():  # a failed query affects only its own invariant
        return [
            f"{table['of_table']}: {row[0]}"
            async for row in connection.cursor(table["query"], APART, prefetch=PREFETCH_ROWS)
            if contains_card_number(row[1])
        ]


KEEP: Final = """
insert into invariant_checks (invariant, broken, examples, checked_at)
select invariant, broken, string_to_array(examples, E'\\n'), db_now()
  from unnest($1::text[], $2::integer[], $3::text[]) as f(invariant, broken, examples)
on conflict (invariant) do update set broken = excluded.broken, examples = excluded.examples,
   checked_at = excluded.checked_at
"""
KEPT: Final = "select invariant, broken, examples, checked_at from invariant_checks"


@dataclass(frozen=True, slots=True)
class InvariantResult:
    """An invariant and its last check; `checked_at` is None if it was never checked."""

    name: str
    sentence: str
    broken: int
    examples: tuple[str, ...]
    checked_at: datetime | None


async def checked(database: Database) -> list[Finding]:
    """Check every invariant now and store the results."""
    findings = await self_check(database)

    async def keep(connection: Connection) -> None:
        await connection.execute(
            KEEP,
            [found.invariant.name for found in findings],
            [found.broken for found in findings],
            ["\n".join(found.examples) for found in findings],
        )

    await database.in_transaction(keep)
    return findings


async def last_checks(database: Database) -> list[InvariantResult]:
    """Return every invariant with its last result."""
    kept = {row["invariant"]: row for row in await database.fetch(KEPT)}
    return [
        InvariantResult(
            invariant.name,
            invariant.sentence,
            kept[invariant.name]["broken"] if invariant.name in kept else 0,
            tuple(kept[invariant.name]["examples"]) if invariant.name in kept else (),
            kept[invariant.name]["checked_at"] if invariant.name in kept else None,
        )
        for invariant in EVERY_INVARIANT
    ]
