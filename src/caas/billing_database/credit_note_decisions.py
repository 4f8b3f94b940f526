"""Corrections that give much back, as rows: proposed by one person, agreed to by another.

Rules a change must keep: one proposal waits for an invoice at a time; what was proposed stays as it
was written; the database refuses that one person is both.
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
select id, invoice, gross, reason, term, proposed_by, proposed_account, proposed_at
  from credit_note_decisions where invoice = $1 and state = 'proposed'
"""
PROPOSE: Final = """
insert into credit_note_decisions (id, invoice, gross, reason, state, proposed_by,
    proposed_account, proposed_at, term)
values ($1, $2, $3, $4, 'proposed', $5, $6, db_now(), $7)
on conflict (invoice) where state = 'proposed' do nothing returning id
"""
DECIDE: Final = """
update credit_note_decisions
   set state = $2, decided_by = $3, decided_account = $4, decided_at = db_now()
 where id = $1 and state = 'proposed' returning id
"""


@dataclass(frozen=True, slots=True)
class CreditNoteProposal:
    """What somebody proposed to take back of an invoice, and nobody has agreed to yet."""

    id: UUID
    invoice: UUID
    gross: int
    reason: str
    term: str | None
    proposed_by: str
    proposed_account: UUID | None
    proposed_at: datetime


class CreditNoteDecisions:
    """The table of decisions about large corrections."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def proposed(
        self, subject: UUID, *, within: Connection | None = None
    ) -> CreditNoteProposal | None:
        """Return what is proposed to be taken back of an invoice, if something is."""
        return await read_one(CreditNoteProposal, within or self._database, PROPOSED, subject)

    async def propose(
        self, invoice: UUID, *, gross: int, reason: str, term: str | None, by: Actor
    ) -> bool:
        """Write a proposal down; False when one waits already."""
        row = await self._database.fetchrow(
            PROPOSE, new_id(), invoice, gross, reason, by.name, by.account, term
        )
        return row is not None

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """Agree to a proposal, or withdraw it; False when it does not wait any more."""
        state = "agreed" if approved else "withdrawn"
        return await within.fetchrow(DECIDE, proposal_id, state, by.name, by.account) is not None
