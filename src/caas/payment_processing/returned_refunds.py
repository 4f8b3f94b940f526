"""Refunds that fail after they had succeeded: the gateway brings the money back (decision 290).

Stripe and Adyen report a refund as succeeded when they have sent it, and days later as failed when
the customer's bank has no account for it. The customer was not refunded, so the payment has the
money again, with its revenue and tax, and a debit note takes the credit note back.

Rules a change must keep: a refund returns once, whether the gateway reports it or a settlement line
does; the event, the refund's state and the case are one commit, under the lock of the payment.
"""

from typing import Final

from caas.billing_database import returned_refunds
from caas.billing_database.connection import Connection
from caas.billing_database.refunds import Refund
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import transition_of
from caas.external_systems.payment_gateway import GatewayRefund, RefundStatus
from caas.notifications import CUSTOMER, Notifications
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.held_deposit import back_to_held
from caas.rules import postings
from caas.rules.payment_states import BeyondEvent

FAILED: Final = "refund_failed"
BECAUSE: Final = "it had succeeded, and the gateway returned it"


class ReturnedRefunds:
    """Takes refunds back that the gateway returned."""

    def __init__(self, tables: BillingDatabase, notifications: Notifications) -> None:
        """Use these tables; notify customers and operations by `notifications`."""
        self._tables = tables
        self._notifications = notifications
        self._rows = RefundRows(tables.database)
        self._disputes = Disputes(tables)

    async def explains(self, refund: Refund, reported: GatewayRefund) -> bool:
        """Return whether a report fits a refund that has ended; take it back if it returned.

        Where it returned, a report of its success is an older one.
        """
        failed = reported.status is RefundStatus.FAILED
        if (
            refund.state == ("failed" if failed else "succeeded")
            or refund.failed_because == BECAUSE
        ):
            return True
        if failed and reported.amount == refund.amount:
            await self.take_back(refund)
            return True
        return False

    async def take_back(self, refund: Refund) -> None:
        """Fail a refund that had succeeded, once, because its gateway reports it as failed."""

        async def together(connection: Connection) -> None:
            await self.take_back_by(None, refund, within=connection)

        await self._tables.database.in_transaction(together)

    async def take_back_by(self, line: str | None, refund: Refund, *, within: Connection) -> bool:
        """Fail a refund that had succeeded; return False if it was taken back already.

        `line` is the settlement line that brings the money, if no notice of the gateway does.
        """
        await self._rows.given_back(refund.payment_id, within=within)
        payment = await self._tables.payments.get(refund.payment_id, within=within)
        facts = {"refund": str(refund.id), "amount": refund.amount, "because": BECAUSE}
        transition = transition_of(
            payment,
            BeyondEvent.REFUND_RETURNED,
            source=f"refund-returned:{refund.id}",
            facts=facts if line is None else {**facts, "line": line},
            refunded=-refund.amount,
            entries=postings.refund_returned(payment.type, refund.amount),
        )
        transition = await back_to_held(transition, payment, refund.amount, within=within)
        applied = await self._tables.transitions.apply(transition, within=within)
        if not applied.transitioned:
            return False
        ended = await returned_refunds.end(refund.id, BECAUSE, within=within)
        assert ended, "a refund that returns had succeeded"
        await self._rows.wake(refund.payment_id, within=within)
        await self._disputes.fit_again(refund.payment_id, within=within)
        await self._notifications.notify(
            audience=CUSTOMER, recipient=payment.customer, template="refund_returned",
            subject=refund.id, within=within,
            facts={it: getattr(refund, it) for it in ("amount", "currency", "reason")},
        )  # fmt: skip
        await self._notifications.alert(FAILED, refund.payment_id, _sentence(refund), within=within)
        return True


def _sentence(refund: Refund) -> str:
    return (
        f"The refund of {refund.amount} minor units {refund.currency} had succeeded, and the "
        "gateway returned it: the customer does not have the money. Refund it again, or pay it in "
        "another way."
    )
