"""What rules proposed for many discrepancies at once, and how it was decided (decision 35)."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Database
from caas.billing_database.decisions import LastDecision
from caas.billing_database.rows import read_all, read_one

PROPOSED_BULKS_MAX: Final = 50
PROPOSED_BULKS: Final = """
select r.bulk_id as id, min(d.kind) as kind, min(r.resolution) as resolution,
       min(r.currency) as currency, count(*)::integer as discrepancies,
       sum(r.amount)::bigint as amount, min(r.note) as note, min(r.proposed_by) as proposed_by,
       min(r.proposed_account::text)::uuid as proposed_account, min(r.proposed_at) as proposed_at
  from discrepancy_resolutions r join discrepancies d on d.id = r.discrepancy_id
 where r.state = 'proposed' and r.bulk_id is not null and d.gateway = $1
 group by r.bulk_id order by min(r.proposed_at) limit $2
"""
PROPOSED_IN_BULK: Final = """
select discrepancy_id from discrepancy_resolutions where bulk_id = $1 and state = 'proposed'
 order by discrepancy_id
"""
# A rule is approved as soon as one of its discrepancies is; the rest ended by itself.
LAST_DECISION: Final = """
select state = 'approved' as approved, decided_by as by, decided_at as at
  from discrepancy_resolutions where bulk_id = $1 and state <> 'proposed'
 order by state = 'approved' desc, decided_at desc limit 1
"""


class ProposedBulk(msgspec.Struct, frozen=True):
    """A rule's pending proposals: their number and totals."""

    id: UUID
    kind: str
    resolution: str
    currency: str
    discrepancies: int
    amount: int
    note: str
    proposed_by: str
    proposed_account: UUID | None
    proposed_at: datetime


class BulkProposals:
    """The proposals of rules, each for many discrepancies."""

    def __init__(self, database: Database) -> None:
        """Read from this database."""
        self._database = database

    async def waiting(self, gateway: str) -> list[ProposedBulk]:
        """Return rules' proposals that await a second person, oldest first."""
        return await read_all(
            ProposedBulk, self._database, PROPOSED_BULKS, gateway, PROPOSED_BULKS_MAX
        )

    async def proposed_in(self, bulk_id: UUID) -> list[UUID]:
        """Return the discrepancies with a pending proposal of one rule."""
        rows = await self._database.fetch(PROPOSED_IN_BULK, bulk_id)
        return [row["discrepancy_id"] for row in rows]

    async def last_decision(self, bulk_id: UUID) -> LastDecision | None:
        """Return how a rule's proposals ended; None if none has."""
        return await read_one(LastDecision, self._database, LAST_DECISION, bulk_id)
