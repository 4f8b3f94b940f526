"""Settlements at a simulated gateway: settled, failed, reversed; and disputes.

Diagram 9's "Bank confirms" and "Bank rejects", and the discrepancies of Diagram 10: partial
settlements, chargebacks, failed settlements.

Rules a change must keep: every movement of money is one line of the day's report; a rejected
settlement moves none; a dispute takes the money at once and returns it only when it is won.
"""

from collections.abc import Callable
from typing import Literal

from caas_simulators.banking_network import BankingNetwork
from caas_simulators.gateway_records import Booking, Dispute, DisputeBooking
from caas_simulators.gateway_store import Refusal, Store, Terms
from caas_simulators.settlement_report import DISPUTE_FEE, SettlementReports, fee_of


class Settlements:
    """Books the bank's answers."""

    def __init__(
        self, store: Store, bank: BankingNetwork, reports: SettlementReports, terms: Terms
    ) -> None:
        """Receive the bank's answers; `settlement_known` is called with each."""
        self._store = store
        self._bank = bank
        self._reports = reports
        self._terms = terms
        self.settlement_known: Callable[[Booking], None] = lambda _booking: None
        bank.reported = self
        store.agenda.register("verdict", self._verdict_when_due)

    def settle_now(self, booking: Booking) -> None:
        """Make the bank answer at once.

        Raises:
            Refusal: 409, the transaction does not wait for the bank.
        """
        if booking.transaction.status != "capturing":
            raise Refusal(409, "not_capturing", "The transaction waits for no bank.")
        self._bank.answer(booking)

    def settle_rest(self, booking: Booking) -> None:
        """Make the bank pay the rest of a partial settlement.

        Raises:
            Refusal: 409, there is no rest.
        """
        transaction = booking.transaction
        rest = transaction.captured_amount - transaction.settled_amount
        if transaction.status != "settled" or not rest:
            raise Refusal(409, "nothing_left_out", "The bank has nothing left to pay.")
        self.bank_confirms(booking, rest)

    def bank_confirms(self, booking: Booking, amount: int) -> None:
        """Settle this amount, which may be less than what was captured."""
        transaction = booking.transaction
        transaction.status = "settled"
        transaction.settled_amount += amount
        self._reports.book(transaction, "settlement", amount, fee_of(amount))
        self._store.keep(booking, "transaction.settled")
        self.settlement_known(booking)

    def bank_rejects(self, booking: Booking) -> None:
        """Fail the settlement; received money is taken back.

        Raises:
            Refusal: 409, nothing was captured or the money was already returned.
        """
        transaction = booking.transaction
        if transaction.status not in ("capturing", "settled"):
            raise Refusal(409, "nothing_to_reject", "There is no settlement to fail.")
        self._reports.book(transaction, "settlement_failure", -transaction.settled_amount)
        transaction.status = "settlement_failed"
        transaction.settled_amount = 0
        self._store.keep(booking, "transaction.settlement_failed")
        self.settlement_known(booking)

    def customer_disputes(self, booking: Booking) -> None:
        """Open a dispute over all that is settled, to be decided later as lost."""
        dispute = self.dispute(booking, None, "fraudulent")
        span = self._store.clock.span(self._terms.dispute_verdict_seconds)
        dispute.due_at = self._store.clock.now() + span
        self._store.journal.write(dispute)
        self._store.agenda.note(dispute.due_at, "verdict", dispute.dispute.id)

    def dispute(self, booking: Booking, amount: int | None, reason: str) -> DisputeBooking:
        """Open a dispute: the money is taken back until it is decided, also what was refunded.

        Raises:
            Refusal: 409, nothing is settled or a dispute is open; 422, more than is settled.
        """
        transaction = booking.transaction
        if transaction.status not in {"settled", "refunded"} or self.open_dispute(booking):
            raise Refusal(409, "not_disputable", "Nothing settled is undisputed.")
        wanted = transaction.settled_amount if amount is None else amount
        if not 0 < wanted <= transaction.settled_amount:
            raise Refusal(422, "invalid_amount", "The amount is not within what is settled.")
        opened = DisputeBooking(
            dispute=Dispute(
                id=self._store.new_id("dsp"),
                transaction_id=transaction.id,
                reference=transaction.reference,
                amount=wanted,
                currency=transaction.currency,
                status="opened",
                reason=reason,
                opened_at=self._store.now_text(),
            )
        )
        self._store.disputes[opened.dispute.id] = opened
        booking.dispute_ids.append(opened.dispute.id)
        self._reports.book(transaction, "chargeback", -wanted)
        self._reports.book(transaction, "fee", 0, DISPUTE_FEE)
        self._store.notify(booking, "dispute.opened", opened.dispute, booking, opened)
        return opened

    def decide(self, booking: Booking, *, won: bool) -> DisputeBooking:
        """Decide the open dispute of a transaction, or reverse the last decision.

        Raises:
            Refusal: 409, there is none, or it already has this outcome.
        """
        verdict: Literal["won", "lost"] = "won" if won else "lost"
        decided = self.open_dispute(booking) or self._last_dispute(booking)
        if decided is None or decided.dispute.status == verdict:
            raise Refusal(409, "no_open_dispute", "There is no dispute to decide.")
        amount = decided.dispute.amount
        if won:
            self._reports.book(booking.transaction, "chargeback_reversal", amount)
        elif decided.dispute.status == "won":
            self._reports.book(booking.transaction, "chargeback", -amount)
        decided.dispute.status = verdict
        self._store.notify(booking, f"dispute.{decided.dispute.status}", decided.dispute, decided)
        return decided

    def open_dispute(self, booking: Booking) -> DisputeBooking | None:
        """Return the undecided dispute of a transaction."""
        for dispute_id in booking.dispute_ids:
            if self._store.disputes[dispute_id].dispute.status == "opened":
                return self._store.disputes[dispute_id]
        return None

    def _last_dispute(self, booking: Booking) -> DisputeBooking | None:
        """Return the last dispute, whose decision the bank may still reverse."""
        return self._store.disputes[booking.dispute_ids[-1]] if booking.dispute_ids else None

    def resume(self, dispute: DisputeBooking) -> None:
        """Schedule a decision again after a restart."""
        if dispute.dispute.status == "opened" and dispute.due_at is not None:
            self._store.agenda.note(dispute.due_at, "verdict", dispute.dispute.id)

    def _verdict_when_due(self, dispute_id: str) -> None:
        dispute = self._store.disputes[dispute_id].dispute
        if dispute.status == "opened":
            self.decide(self._store.bookings[dispute.transaction_id], won=False)
