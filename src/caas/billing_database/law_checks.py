"""What the last check of each law found, kept for whoever wants to see it without checking.

Rules a change must keep: a finding is written as it was found, with the time of the check; the laws
themselves stand in `self_check`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from caas.billing_database import self_check
from caas.billing_database.connection import Connection, Database
from caas.billing_database.laws import EVERY_LAW
from caas.billing_database.self_check import Finding

KEEP: Final = """
insert into law_checks (law, broken, examples, checked_at)
select law, broken, string_to_array(examples, E'\\n'), db_now()
  from unnest($1::text[], $2::integer[], $3::text[]) as f(law, broken, examples)
on conflict (law) do update set broken = excluded.broken, examples = excluded.examples,
   checked_at = excluded.checked_at
"""
KEPT: Final = "select law, broken, examples, checked_at from law_checks"


@dataclass(frozen=True, slots=True)
class CheckedLaw:
    """A law and its last check; `checked_at` None when it was never checked."""

    name: str
    sentence: str
    broken: int
    examples: tuple[str, ...]
    checked_at: datetime | None


async def checked(database: Database) -> list[Finding]:
    """Check every law now, and keep what was found."""
    findings = await self_check.self_check(database)

    async def keep(connection: Connection) -> None:
        await connection.execute(
            KEEP,
            [found.law.name for found in findings],
            [found.broken for found in findings],
            ["\n".join(found.examples) for found in findings],
        )

    await database.in_transaction(keep)
    return findings


async def last_checks(database: Database) -> list[CheckedLaw]:
    """Return every law with its last check."""
    kept = {row["law"]: row for row in await database.fetch(KEPT)}
    return [
        CheckedLaw(
            law.name,
            law.sentence,
            kept[law.name]["broken"] if law.name in kept else 0,
            tuple(kept[law.name]["examples"]) if law.name in kept else (),
            kept[law.name]["checked_at"] if law.name in kept else None,
        )
        for law in EVERY_LAW
    ]
