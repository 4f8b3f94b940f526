"""Final Payment (Diagram 3).

A paid vehicle is registered and delivered. A declined payment loses the reservation at once, and
the vehicle returns to stock. While the outcome is unknown the vehicle is held.

Rules a change must keep: only the gateway's decline loses the reservation (decision 19), in the
commit that fails the payment; if the order can no longer be paid, the commit that finds out claims
the void of the authorization; a withdrawal that was requested meanwhile comes before anything else
that follows from the outcome (decision 244).
"""

from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Evidence
from caas.external_systems.payment_gateway import ChargeTerms
from caas.jobs import JobQueue
from caas.notifications import CUSTOMER, DEALERSHIP, Notifications
from caas.order_management import OrderManagement
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import SideEffects
from caas.payment_processing.initiation import Check, PaymentRequest
from caas.rules.money import Money
from caas.rules.payment_failures import ABANDONED
from caas.rules.payment_states import PaymentState
from caas.rules.refusal_codes import is_decline

ORDER_CONFIRMED: Final = "order_confirmed"
NOT_DUE: Final = "the order is no longer there to be paid"
WITHDRAWN: Final = "the customer has withdrawn"
NOT_MADE: Final = "final_payment_not_made"


class FinalPayment:
    """The flow of a final payment: from held funds to delivery, or to the lost reservation."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        charges: Charges,
        order_management: OrderManagement,
        notifications: Notifications,
    ) -> None:
        self._tables = tables
        self._charges = charges
        self._orders = order_management
        self._notifications = notifications

    def register(self, jobs: JobQueue) -> None:
        """Register nothing: this flow has no jobs of its own."""

    async def check_due(self, request: PaymentRequest) -> Check:  # noqa: ARG002 - as Flow has it
        """Return a check that runs on acceptance: until then the order may be paid or lost."""
        return self._check_due

    async def _check_due(self, request: PaymentRequest, *, within: Connection) -> None:
        """Accept a payment only for a ready vehicle and only for the whole remaining price.

        Raises:
            OrderNotFoundError: no such order.
            ReservationLostError: a final payment failed before.
            VehicleNotReadyError: the payment is not due yet; NotDueError: it is no longer due.
            NotTheSumDueError: another amount, currency or customer.
        """
        await self._orders.fulfilment.check_due(
            request.subject,
            customer=request.customer,
            amount=Money(request.amount, request.currency),
            within=within,
        )

    async def terms(self, payment: Payment) -> ChargeTerms:  # noqa: ARG002 - as Flow has it
        """Return that the first decline ends it: "No grace period or retry"."""
        return ChargeTerms(single_attempt=True)

    async def on_failed(self, payment: Payment) -> SideEffects:  # noqa: ARG002 - as Flow has it
        """Mark Payment Failed, Mark Vehicle Sin Asignar, Add to Stock Inventory: one commit."""
        return SideEffects(also=self._mark_payment_failed)

    async def on_authorized(self, payment: Payment) -> SideEffects:  # noqa: ARG002 - as Flow has it
        """Mark Fully Paid, in the commit that records the held funds."""
        return SideEffects(also=self._mark_fully_paid)

    async def on_requires_action(self, payment: Payment) -> SideEffects:  # noqa: ARG002 - as Flow has it
        """Send no notification: the waiting customer gets the page in the response."""
        return SideEffects()

    async def is_withdrawn(self, payment: Payment) -> bool:
        """Return whether a withdrawal waits for the outcome of this payment."""
        return await self._orders.withdrawal.is_requested(payment.subject)

    async def advance(self, payment: Payment) -> Payment:
        """Void the held funds, or capture them and register the vehicle."""
        payment = await self._tables.payments.get(payment.id)
        if payment.state is PaymentState.AUTHORIZED:
            return await self._charges.void.send_void(payment)
        if payment.state is PaymentState.CAPTURING:
            payment = await self._charges.capture.send_capture(payment)
            await self._orders.fulfilment.register_vehicle(payment.subject)
        return payment

    async def void(self, payment: Payment, reason: str) -> Payment:
        """Void the held funds."""
        return await self._charges.void.void_charge(payment, reason)

    async def _mark_payment_failed(self, connection: Connection, payment: Payment) -> None:
        requested = self._orders.withdrawal.carry_out_requested
        if await requested(payment.subject, within=connection):
            return
        if not is_decline(payment.decline_code):
            await self._notify_not_made(payment, within=connection)
            return
        lost = await self._orders.forfeiture.mark_payment_failed(payment.subject, within=connection)
        if lost is not None:
            await self._notify("reservation_lost", payment, within=connection)
            await self._notify_dealership("reservation_lost", payment, within=connection)

    async def _mark_fully_paid(self, connection: Connection, payment: Payment) -> None:
        requested = self._orders.withdrawal.carry_out_requested
        if await requested(payment.subject, within=connection):
            await self._charges.void.claim_void(payment, WITHDRAWN, within=connection)
            return
        paid = await self._orders.fulfilment.mark_fully_paid(
            payment.subject, paid=Money(payment.amount, payment.currency), within=connection
        )
        if not paid:
            await self._charges.void.claim_void(payment, NOT_DUE, within=connection)
            await self._notifications.alert(
                "final_payment_not_due",
                payment.id,
                f"A final payment was authorized, and {NOT_DUE}; it is being voided.",
                within=connection,
            )
            return
        evidence = Evidence(id=new_id(), kind=ORDER_CONFIRMED)
        await self._charges.capture.claim_capture(
            payment, evidence, reason=ORDER_CONFIRMED, within=connection
        )
        await self._notify("payment_confirmed", payment, within=connection)

    async def _notify_not_made(self, payment: Payment, *, within: Connection) -> None:
        """Notify that nothing was charged, unless the customer left the page or it ran out."""
        if payment.decline_code != ABANDONED:
            await self._notify(NOT_MADE, payment, within=within)
            await self._notify_dealership(NOT_MADE, payment, within=within)

    async def _notify(self, template: str, payment: Payment, *, within: Connection) -> None:
        await self._notify_one(CUSTOMER, payment.customer, template, payment, within)

    async def _notify_dealership(
        self, template: str, payment: Payment, *, within: Connection
    ) -> None:
        dealership = await self._orders.dealership_of(payment.subject, within=within)
        if dealership is not None:
            await self._notify_one(DEALERSHIP, dealership, template, payment, within)

    async def _notify_one(
        self, audience: str, recipient: str | UUID, template: str, payment: Payment,
        within: Connection,
    ) -> None:  # fmt: skip
        """Notify once per order; of a payment that was not made, once per payment."""
        await self._notifications.notify(
            audience=audience,
            recipient=recipient,
            template=template,
            facts=_facts_of(payment),
            subject=payment.id if template == NOT_MADE else payment.subject,
            within=within,
        )


def _facts_of(payment: Payment) -> dict[str, object]:
    return {
        "order": str(payment.subject),
        "amount": payment.amount,
        "currency": payment.currency,
        "decline_code": payment.decline_code or "",
    }
