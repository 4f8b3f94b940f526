"""Decisions about outcomes nobody knows, as rows: one person proposes, another agrees (decision 3).

Rules a change must keep: a decision is taken once; the database refuses that one person is both;
what was agreed is carried out by open work of the same commit.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.actors import Actor
from caas.billing_database.connection import Connection, Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import read_all

OF_PAYMENT: Final = """
select id, payment_id, note, state, proposed_by, proposed_account, proposed_at, decided_by,
       decided_account, decided_at
  from outcome_decisions where payment_id = $1 order by proposed_at
"""
PROPOSE: Final = """
insert into outcome_decisions (id, payment_id, note, state, proposed_by, proposed_account,
                               proposed_at)
values ($1, $2, $3, 'proposed', $4, $5, db_now())
on conflict (payment_id) where state = 'proposed' do nothing returning id
"""
DECIDE: Final = """
update outcome_decisions set state = $2, decided_by = $3, decided_account = $4,
       decided_at = db_now()
 where id = $1 and state = 'proposed' returning id
"""


@dataclass(frozen=True, slots=True)
class OutcomeDecision:
    """What somebody proposed about a payment, and who decided it."""

    id: UUID
    payment_id: UUID
    note: str
    state: str
    proposed_by: str
    proposed_account: UUID | None
    proposed_at: datetime
    decided_by: str | None
    decided_account: UUID | None
    decided_at: datetime | None


class OutcomeDecisions:
    """The table of decisions."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def of(
        self, payment_id: UUID, *, within: Connection | None = None
    ) -> list[OutcomeDecision]:
        """Return every decision about a payment, oldest first."""
        return await read_all(OutcomeDecision, within or self._database, OF_PAYMENT, payment_id)

    async def proposed(self, payment_id: UUID, *, within: Connection) -> OutcomeDecision | None:
        """Return the proposal that waits for a second person."""
        decisions = await self.of(payment_id, within=within)
        return next((one for one in decisions if one.state == "proposed"), None)

    async def propose(self, payment_id: UUID, *, note: str, by: Actor) -> bool:
        """Write a proposal down; False when one waits already."""
        row = await self._database.fetchrow(
            PROPOSE, new_id(), payment_id, note, by.name, by.account
        )
        return row is not None

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """Agree to a proposal, or withdraw it; False when it does not wait any more."""
        state = "agreed" if approved else "withdrawn"
        return await within.fetchrow(DECIDE, proposal_id, state, by.name, by.account) is not None
