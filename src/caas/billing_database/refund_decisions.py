"""Refunds that people decided, as rows: taken by one person, or by two above a limit (decision 35).

Rules a change must keep: one proposal of a payment waits at a time; the database refuses that one
person is both where two are needed; what was decided stays as it was written.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.actors import Actor
from caas.billing_database.connection import Connection, Database
from caas.billing_database.rows import read_one, row_as

COLUMNS: Final = """
select id, payment_id, amount, reason, term, note, needs_second, state, proposed_by,
       proposed_account, proposed_at from refund_decisions
"""
ONE: Final = COLUMNS + " where id = $1"
PROPOSED: Final = COLUMNS + " where payment_id = $1 and state = 'proposed'"
WRITE: Final = """
insert into refund_decisions (id, payment_id, amount, reason, term, note, needs_second, state,
    proposed_by, proposed_account, proposed_at, decided_by, decided_account, decided_at)
values ($1, $2, $3, $4, $5, $6, $7, case when $7 then 'proposed' else 'agreed' end, $8, $9,
        db_now(), case when not $7 then $8 end, case when not $7 then $9::uuid end,
        case when not $7 then db_now() end)
on conflict (payment_id) where state = 'proposed' do nothing returning id
"""
DECIDE: Final = """
update refund_decisions set state = $2, decided_by = $3, decided_account = $4,
       decided_at = db_now()
 where id = $1 and state = 'proposed' returning id
"""


@dataclass(frozen=True, slots=True)
class RefundWish:
    """How much goes back, in minor units, why, and what becomes of a service that runs."""

    amount: int
    reason: str
    term: str | None


@dataclass(frozen=True, slots=True)
class RefundDecision:
    """A refund that somebody decided or proposed."""

    id: UUID
    payment_id: UUID
    amount: int
    reason: str
    term: str | None
    note: str
    needs_second: bool
    state: str
    proposed_by: str
    proposed_account: UUID | None
    proposed_at: datetime


class RefundDecisions:
    """The table of decisions about refunds."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def get(self, decision_id: UUID) -> RefundDecision:
        """Return a decision that was written down."""
        row = await self._database.fetchrow(ONE, decision_id)
        assert row is not None, "a decision is never removed"
        return row_as(RefundDecision, row)

    async def proposed(
        self, payment_id: UUID, *, within: Connection | None = None
    ) -> RefundDecision | None:
        """Return the proposal that waits for a second person, if one does."""
        return await read_one(RefundDecision, within or self._database, PROPOSED, payment_id)

    async def write(  # noqa: PLR0913  # the columns of a decision
        self,
        decision_id: UUID,
        payment_id: UUID,
        wish: RefundWish,
        *,
        note: str,
        needs_second: bool,
        by: Actor,
        within: Connection,
    ) -> bool:
        """Write a decision down, or a proposal where two are needed; False when one waits."""
        row = await within.fetchrow(
            WRITE, decision_id, payment_id, wish.amount, wish.reason, wish.term, note, needs_second,
            by.name, by.account,
        )  # fmt: skip
        return row is not None

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """Agree to a proposal, or withdraw it; False when it does not wait any more."""
        state = "agreed" if approved else "withdrawn"
        return await within.fetchrow(DECIDE, proposal_id, state, by.name, by.account) is not None
