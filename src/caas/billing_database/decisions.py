"""Decisions under dual control: proposed by one person and approved by another if required.

Four tables share this life cycle: unknown outcomes (decision 3), deposits of lost reservations
(21), refunds and credit notes (35).

Rules a change must keep: a subject has at most one pending proposal; the database rejects one
person in both roles where two are required; a decision is immutable.
"""

from datetime import datetime
from typing import Final, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec.structs import fields

from caas.billing_database.accounts import Actor
from caas.billing_database.connection import Connection, Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import columns, read_all, read_one

WRITE: Final = """
insert into {table} (id, {terms}, state, proposed_by, proposed_account, proposed_at, decided_by,
                     decided_account, decided_at)
values ($1, {values}, case when $2::boolean then 'proposed' else 'agreed' end, $3, $4::uuid,
        db_now(), case when not $2 then $3 end, case when not $2 then $4::uuid end,
        case when not $2 then db_now() end)
on conflict do nothing returning id
"""
DECIDE: Final = """
update {table} set state = $2, decided_by = $3, decided_account = $4, decided_at = db_now()
 where id = $1 and state = 'proposed' returning id
"""
LAST: Final = """
select state = 'agreed' as approved, decided_by as by, decided_at as at
  from {table} where {subject} = $1 and state <> 'proposed' order by decided_at desc limit 1
"""
FOLLOW_POLICY: Final = """
insert into deposit_decisions (id, payment_id, decision, note, needs_second, state, proposed_by,
                               proposed_at, decided_by, decided_at, by_policy)
values ($1, $2, $3, 'The policy, when the reservation was lost.', false, 'agreed', 'policy',
        db_now(), 'policy', db_now(), true)
"""
LIFE: Final = frozenset(
    {"id", "state", "proposed_by", "proposed_account", "proposed_at", "decided_by",
     "decided_account", "decided_at"}
)  # fmt: skip
"""The columns common to all decisions."""


class OutcomeDecision(msgspec.Struct, frozen=True):
    """A decision that a payment was not charged."""

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


class DepositProposal(msgspec.Struct, frozen=True):
    """A decision about a held deposit."""

    id: UUID
    payment_id: UUID
    decision: str
    note: str
    needs_second: bool
    proposed_by: str
    proposed_account: UUID | None
    proposed_at: datetime


class RefundWish(msgspec.Struct, frozen=True):
    """The amount to refund in minor units, the reason, and what happens to a running service."""

    amount: int
    reason: str
    term: str | None


class RefundDecision(msgspec.Struct, frozen=True):
    """A proposed or decided refund."""

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


class CreditNoteProposal(msgspec.Struct, frozen=True):
    """A proposed credit note."""

    id: UUID
    invoice: UUID
    gross: int
    reason: str
    term: str | None
    proposed_by: str
    proposed_account: UUID | None
    proposed_at: datetime


class LastDecision(msgspec.Struct, frozen=True):
    """How a proposal ended: by whom, where known, and when."""

    approved: bool
    by: str | None
    at: datetime


Decided = TypeVar(
    "Decided", bound=OutcomeDecision | DepositProposal | RefundDecision | CreditNoteProposal
)


class Decisions(Generic[Decided]):
    """One table of decisions."""

    def __init__(
        self, database: Database, row: type[Decided], table: str, *, subject: str = "payment_id"
    ) -> None:
        """Use this table, whose decisions each concern one subject."""
        self.database = database
        self._row = row
        self._terms = [it.name for it in fields(row) if it.name not in LIFE]
        placed = {name: f"${place}" for place, name in enumerate(self._terms, start=5)}
        read = f"select {columns(row)} from {table} where "
        self._one = f"{read}id = $1"
        self._of = f"{read}{subject} = $1 order by proposed_at"
        self._waiting = f"{read}{subject} = $1 and state = 'proposed'"
        self._last = LAST.format(table=table, subject=subject)
        self._write = WRITE.format(
            table=table, terms=", ".join(placed), values=", ".join(placed.values())
        )
        self._decide = DECIDE.format(table=table)

    async def get(self, decision_id: UUID) -> Decided:
        """Return a stored decision."""
        found = await read_one(self._row, self.database, self._one, decision_id)
        assert found is not None, "a decision is never removed"
        return found

    async def of(self, subject: UUID) -> list[Decided]:
        """Return all decisions about a subject, oldest first."""
        return await read_all(self._row, self.database, self._of, subject)

    async def proposed(self, subject: UUID, *, within: Connection | None = None) -> Decided | None:
        """Return the proposal that awaits a second person, or None."""
        return await read_one(self._row, within or self.database, self._waiting, subject)

    async def last_decision(self, subject: UUID, *, within: Connection) -> LastDecision | None:
        """Return how the last proposal about a subject ended, or None."""
        return await read_one(LastDecision, within, self._last, subject)

    async def write(
        self,
        *,
        by: Actor,
        needs_second: bool = True,
        decision_id: UUID | None = None,
        within: Connection | None = None,
        **terms: object,
    ) -> bool:
        """Store a decision, or a proposal if two persons are required; False if one is pending."""
        stated = {"needs_second": needs_second} | terms
        row = await (within or self.database).fetchrow(
            self._write, decision_id or new_id(), needs_second, by.name, by.account,
            *(stated[name] for name in self._terms),
        )  # fmt: skip
        return row is not None

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """Approve or withdraw a proposal; return False if it is no longer pending."""
        state = "agreed" if approved else "withdrawn"
        return (
            await within.fetchrow(self._decide, proposal_id, state, by.name, by.account) is not None
        )


def outcome_decisions(database: Database) -> Decisions[OutcomeDecision]:
    """Return the table of decisions about unknown outcomes."""
    return Decisions(database, OutcomeDecision, "outcome_decisions")


def deposit_decisions(database: Database) -> Decisions[DepositProposal]:
    """Return the table of decisions about held deposits."""
    return Decisions(database, DepositProposal, "deposit_decisions")


def refund_decisions(database: Database) -> Decisions[RefundDecision]:
    """Return the table of decisions about refunds."""
    return Decisions(database, RefundDecision, "refund_decisions")


def credit_note_decisions(database: Database) -> Decisions[CreditNoteProposal]:
    """Return the table of decisions about large credit notes."""
    return Decisions(database, CreditNoteProposal, "credit_note_decisions", subject="invoice")


async def follow_policy(payment_id: UUID, decision: str, *, within: Connection) -> None:
    """Record the policy's decision about the deposit of a lost reservation."""
    await within.execute(FOLLOW_POLICY, new_id(), payment_id, decision)
