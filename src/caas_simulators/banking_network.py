"""Simulated Banking Networks: the gateway requests settlement, they answer days later.

Lower half of Diagram 4: "Settlement Request", "Settlement Confirmation". The payment method decides
the bank's answer: in full, in part, late, or a rejection; later perhaps a chargeback.

Rules a change must keep: the bank answers once per settlement request; this module handles amounts
and delays, not reports and not webhooks.
"""

from typing import Protocol

from caas_simulators.gateway_records import Booking
from caas_simulators.gateway_store import Store, Terms
from caas_simulators.payment_methods import method_of


class Settled(Protocol):
    """Receives the bank's answers."""

    def bank_confirms(self, booking: Booking, amount: int) -> None:
        """Handle a settlement of this amount."""

    def bank_rejects(self, booking: Booking) -> None:
        """Handle a rejected settlement."""

    def customer_disputes(self, booking: Booking) -> None:
        """Handle a chargeback by the customer's bank."""


class BankingNetwork:
    """Answers settlement requests after a delay."""

    def __init__(self, store: Store, terms: Terms) -> None:
        """Use the delays of the terms; set `reported` before the first request."""
        self._store = store
        self._terms = terms
        self.reported: Settled
        store.agenda.register("settle", self._answer_when_due)
        store.agenda.register("dispute", self._dispute_when_due)

    def settlement_request(self, booking: Booking) -> None:
        """Ask the bank to pay what was captured."""
        method = method_of(booking.transaction.payment_method or "")
        seconds = (
            self._terms.late_settlement_seconds
            if method.settlement == "late"
            else self._terms.settlement_seconds
        )
        booking.due_at = self._store.clock.now() + self._store.clock.span(seconds)
        self._store.agenda.note(booking.due_at, "settle", booking.transaction.id)

    def answer(self, booking: Booking) -> None:
        """Answer a settlement request now, as the payment method defines."""
        captured = booking.transaction.captured_amount
        method = method_of(booking.transaction.payment_method or "")
        if method.settlement == "rejected":
            self.reported.bank_rejects(booking)
            return
        partial = captured * self._terms.partial_percent // 100
        amount = max(1, partial) if method.settlement == "partial" else captured
        self.reported.bank_confirms(booking, amount)
        if method.disputed:
            self._dispute_later(booking)

    def resume(self, booking: Booking) -> None:
        """Schedule the bank's pending answers again after a restart."""
        status = booking.transaction.status
        if status == "capturing":
            self._store.agenda.note(booking.due_at, "settle", booking.transaction.id)
        elif status == "settled" and method_of(booking.transaction.payment_method or "").disputed:
            self._store.agenda.note(booking.due_at, "dispute", booking.transaction.id)

    def _dispute_later(self, booking: Booking) -> None:
        span = self._store.clock.span(self._terms.dispute_after_seconds)
        booking.due_at = self._store.clock.now() + span
        self._store.keep(booking)
        self._store.agenda.note(booking.due_at, "dispute", booking.transaction.id)

    def _answer_when_due(self, transaction_id: str) -> None:
        booking = self._store.bookings[transaction_id]
        if booking.transaction.status == "capturing":
            self.answer(booking)

    def _dispute_when_due(self, transaction_id: str) -> None:
        booking = self._store.bookings[transaction_id]
        if booking.transaction.status == "settled" and not booking.dispute_ids:
            self.reported.customer_disputes(booking)
