"""Refunds at a simulated gateway: the seed's `POST /transactions/{id}/refund`.

Rules a change must keep: refunds never exceed the money received, counting pending refunds and
disputes; a refund of unsettled money waits for the bank and fails with it.
"""

from caas_simulators.gateway_records import Booking, Refund, RefundBooking, RefundRequest
from caas_simulators.gateway_store import Refusal, Store, Terms
from caas_simulators.payment_methods import method_of
from caas_simulators.settlement_report import SettlementReports


class Refunds:
    """Refunds transactions."""

    def __init__(self, store: Store, reports: SettlementReports, terms: Terms) -> None:
        """Complete refunds after the terms' delay; none: at once."""
        self._store = store
        self._reports = reports
        self._terms = terms
        store.agenda.register("refund", self._complete_when_due)

    def refund(self, booking: Booking, request: RefundRequest, *, fails: bool) -> RefundBooking:
        """Accept a refund.

        Raises:
            Refusal: 409, nothing is left to refund; 422, the amount is more than is left.
        """
        transaction = booking.transaction
        left = self.refundable(booking)
        if left <= 0:
            raise Refusal(409, "nothing_to_refund", "No money of this transaction is left.")
        if not 0 < request.amount <= left:
            raise Refusal(422, "invalid_amount", f"At most {left} can be refunded.")
        span = self._store.clock.span(self._terms.refund_seconds)
        accepted = RefundBooking(
            refund=Refund(
                id=self._store.new_id("ref"),
                transaction_id=transaction.id,
                amount=request.amount,
                status="pending",
                currency=transaction.currency,
                reference=transaction.reference,
                reason=request.reason,
                created_at=self._store.now_text(),
            ),
            due_at=self._store.clock.now() + span,
            fails=fails or method_of(transaction.payment_method or "").refund_fails,
        )
        self._store.refunds[accepted.refund.id] = accepted
        booking.refund_ids.append(accepted.refund.id)
        self._store.journal.write(booking, accepted)
        self._complete_or_wait(booking, accepted)
        return accepted

    def refundable(self, booking: Booking) -> int:
        """Return how much of the received or expected money can be refunded."""
        transaction = booking.transaction
        if transaction.status == "capturing":
            received = transaction.captured_amount
        elif transaction.status in ("settled", "refunded"):
            received = transaction.settled_amount
        else:
            return 0
        refunds = (self._store.refunds[refund_id].refund for refund_id in booking.refund_ids)
        disputes = (self._store.disputes[dispute_id].dispute for dispute_id in booking.dispute_ids)
        received -= sum(refund.amount for refund in refunds if refund.status != "failed")
        return received - sum(dispute.amount for dispute in disputes if dispute.status != "won")

    def settlement_known(self, booking: Booking) -> None:
        """Continue the refunds that waited for the bank."""
        for refund_id in booking.refund_ids:
            waiting = self._store.refunds[refund_id]
            if waiting.refund.status == "pending":
                self._complete_or_wait(booking, waiting)

    def complete_now(self, booking: Booking) -> int:
        """Complete the refunds of a transaction at once; return their number."""
        waiting = [self._store.refunds[refund_id] for refund_id in booking.refund_ids]
        pending = [one for one in waiting if one.refund.status == "pending"]
        for one in pending:
            self._complete(booking, one)
        return sum(one.refund.status != "pending" for one in pending)

    def resume(self, waiting: RefundBooking) -> None:
        """Schedule a refund again after a restart."""
        if waiting.refund.status == "pending":
            self._store.agenda.note(waiting.due_at, "refund", waiting.refund.id)

    def _complete_or_wait(self, booking: Booking, accepted: RefundBooking) -> None:
        if accepted.due_at <= self._store.clock.now() and not accepted.fails:
            self._complete(booking, accepted)
        else:
            self._store.agenda.note(accepted.due_at, "refund", accepted.refund.id)

    def _complete_when_due(self, refund_id: str) -> None:
        due = self._store.refunds[refund_id]
        if due.refund.status == "pending":
            self._complete(self._store.bookings[due.refund.transaction_id], due)

    def _complete(self, booking: Booking, due: RefundBooking) -> None:
        transaction = booking.transaction
        if transaction.status == "capturing":
            return  # The bank's answer resumes it.
        short = transaction.refunded_amount + due.refund.amount > transaction.settled_amount
        if due.fails or short:
            due.refund.status = "failed"
            self._store.notify(booking, "refund.failed", due.refund, due)
            return
        due.refund.status = "succeeded"
        transaction.refunded_amount += due.refund.amount
        if transaction.refunded_amount == transaction.settled_amount:
            transaction.status = "refunded"
        self._reports.book(transaction, "refund", -due.refund.amount)
        self._store.notify(booking, "refund.succeeded", due.refund, booking, due)
