"""Credit notes whose refund a loss overtook: the customer has the money from their bank.

A credit note says that something was not owed. When a bank takes the money before the refund is
sent, or never pays it, no refund gives it back a second time: what was booked as earned is taken
back against the loss, and the note says that a loss covers it. When the bank gives the money back,
the refund is owed again.

Rule a change must keep: of each credit note, refunds, promises and what is covered come to what it
takes back, in the commit that changes any of them.
"""

from typing import Final
from uuid import UUID

from caas.billing_database import covered_notes
from caas.billing_database.connection import Connection
from caas.billing_database.covered_notes import StandingNote
from caas.billing_database.identifiers import derived_id
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import transition_of
from caas.rules import postings
from caas.rules.payment_states import Remark

PROMISED: Final = "promised_refund"


class CoveredNotes:
    """Books what of credit notes a loss covers."""

    def __init__(self, tables: BillingDatabase) -> None:
        """Book into these books."""
        self._tables = tables

    async def cover(
        self, payment_id: UUID, reason: str, amount: int, *, within: Connection
    ) -> None:
        """Let a loss cover what a credit note's refund does not give back; the payment is locked.

        Of a refund that no credit note asked for, nothing is covered.
        """
        note = await covered_notes.of_reason(within, payment_id, reason)
        if note is not None and amount > 0:
            await self._book(note, amount, within)

    async def refund_order_again(
        self, payment_id: UUID, refundable: int, *, within: Connection
    ) -> None:
        """Promise again what is covered and a bank returned; `refundable` is what is left."""
        for note in await covered_notes.of_payment(within, payment_id):
            again = min(note.covered, refundable)
            if again <= 0:
                continue
            refundable -= again
            await self._book(note, -again, within)
            key = f"credit-note:{note.id}:again:{note.times + 1}"
            promised = {"payment": str(payment_id), "amount": again, "reason": note.reason,
                        "key": key, "requested_by": "billing"}  # fmt: skip
            await self._tables.jobs.add(
                PROMISED, derived_id(payment_id, PROMISED, key), payload=promised, within=within
            )

    async def _book(self, note: StandingNote, amount: int, within: Connection) -> None:
        payment = await self._tables.payments.get(note.payment_id, within=within)
        name = "covered" if amount > 0 else "uncovered"
        entries = postings.covered_by_loss if amount > 0 else postings.covered_no_more
        transitioned = await self._tables.transitions.apply(
            transition_of(
                payment,
                Remark.LOSS_BOOKED,
                source=f"credit-note:{note.id}:{name}:{note.times + 1}",
                facts={"covered_note": str(note.id), name: abs(amount)},
                entries=entries(payment.type, abs(amount)),
            ),
            within=within,
        )
        assert transitioned.transitioned, "the payment is locked, and each change is booked once"
