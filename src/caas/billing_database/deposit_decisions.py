"""Decisions about the deposits of lost reservations, as rows (21).

The policy takes them when the reservation is lost, or, about a deposit that is held, one person
does, two above a limit.

Rules a change must keep: a deposit is decided about once; the database refuses that one person is
both where two are needed; what was decided stays as it was written.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.actors import Actor
from caas.billing_database.connection import Connection, Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import read_one

PROPOSED: Final = """
select id, payment_id, decision, note, needs_second, proposed_by, proposed_account, proposed_at
  from deposit_decisions where payment_id = $1 and state = 'proposed'
"""
WRITE: Final = """
insert into deposit_decisions (id, payment_id, decision, note, needs_second, state, proposed_by,
                               proposed_account, proposed_at, decided_by, decided_account,
                               decided_at)
values ($1, $2, $3, $4, $5, case when $5 then 'proposed' else 'agreed' end, $6, $7, db_now(),
        case when not $5 then $6 end, case when not $5 then $7::uuid end,
        case when not $5 then db_now() end)
on conflict (payment_id) where state <> 'withdrawn' do nothing returning id
"""
FOLLOW: Final = """
insert into deposit_decisions (id, payment_id, decision, note, needs_second, state, proposed_by,
                               proposed_at, decided_by, decided_at, by_policy)
values ($1, $2, $3, 'The policy, when the reservation was lost.', false, 'agreed', 'policy',
        db_now(), 'policy', db_now(), true)
"""
DECIDE: Final = """
update deposit_decisions set state = $2, decided_by = $3, decided_account = $4,
       decided_at = db_now()
 where id = $1 and state = 'proposed' returning id
"""


@dataclass(frozen=True, slots=True)
class DepositProposal:
    """What somebody proposed about a held deposit, and nobody has agreed to yet."""

    id: UUID
    payment_id: UUID
    decision: str
    note: str
    needs_second: bool
    proposed_by: str
    proposed_account: UUID | None
    proposed_at: datetime


class DepositDecisions:
    """The table of decisions about deposits."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def proposed(
        self, payment_id: UUID, *, within: Connection | None = None
    ) -> DepositProposal | None:
        """Return the proposal that waits for a second person, if one does."""
        return await read_one(DepositProposal, within or self._database, PROPOSED, payment_id)

    async def write(
        self,
        payment_id: UUID,
        decision: str,
        *,
        note: str,
        by: Actor,
        needs_second: bool,
        within: Connection,
    ) -> bool:
        """Write a decision down, or a proposal where two are needed; False when one is there."""
        row = await within.fetchrow(
            WRITE, new_id(), payment_id, decision, note, needs_second, by.name, by.account
        )
        return row is not None

    async def follow_policy(self, payment_id: UUID, decision: str, *, within: Connection) -> None:
        """Write down what the policy decided when the reservation was lost."""
        await within.execute(FOLLOW, new_id(), payment_id, decision)

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """Agree to a proposal, or withdraw it; False when it does not wait any more."""
        state = "agreed" if approved else "withdrawn"
        return await within.fetchrow(DECIDE, proposal_id, state, by.name, by.account) is not None
