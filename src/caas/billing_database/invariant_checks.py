"""Stores the last result of each invariant check.

Rule a change must keep: results are stored as found, with the time of the check; `self_check`
defines the invariants.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from caas.billing_database import self_check
from caas.billing_database.connection import Connection, Database
from caas.billing_database.invariants import EVERY_INVARIANT
from caas.billing_database.self_check import Finding

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
    findings = await self_check.self_check(database)

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
