"""Reservation Payment (Diagram 2).

The dealership waits for the authorization. The vehicle is reserved and the capture claimed in one
commit, so that no customer pays for a vehicle that is reserved for another.

Rules a change must keep: an authorized reservation leaves its commit either with a vehicle and a
claimed capture, or with a claimed void; the factory order is placed only after that commit.
"""

from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Evidence
from caas.external_systems.payment_gateway import BY_CUSTOMER, ChargeTerms
from caas.jobs import JobQueue
from caas.notifications import CUSTOMER, DEALERSHIP, Notifications
from caas.order_management import OrderManagement
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import SideEffects
from caas.payment_processing.initiation import Check, PaymentRequest
from caas.rules.money import Money
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState

RESERVATION_RECORDED: Final = "reservation_recorded"
NOT_POSSIBLE: Final = "the vehicle cannot be reserved any more"


class ReservationPayment:
    """The flow of a reservation: from held funds to a reserved vehicle, or to none."""

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
        """Accept a payment only for an order that awaits its reservation.

        Raises:
            OrderNotFoundError: no such order.
            NotDueError: no reservation payment is due.
            NotTheSumDueError: another amount, currency or customer.
            BillingDetailsRequiredError: its advance invoice could not name its buyer.
        """
        await self._orders.reservation.check_due(
            request.subject,
            customer=request.customer,
            amount=Money(request.amount, request.currency),
            within=within,
        )

    async def on_failed(self, payment: Payment) -> SideEffects:  # noqa: ARG002 - as Flow has it
        """No vehicle reservation, no factory order; customer and dealership are notified."""
        return SideEffects(also=self._payment_failed)

    async def on_authorized(self, payment: Payment) -> SideEffects:  # noqa: ARG002 - as Flow has it
        """Mark Vehicle Reserved, in the commit that records the held funds."""
        return SideEffects(also=self._mark_vehicle_reserved)

    async def terms(self, payment: Payment) -> ChargeTerms:  # noqa: ARG002 - as Flow has it
        """Return that the customer is present, and may try another card."""
        return BY_CUSTOMER

    async def is_withdrawn(self, payment: Payment) -> bool:
        """Return whether its order was withdrawn."""
        return await self._orders.withdrawal.is_requested(payment.subject)

    async def on_requires_action(self, payment: Payment) -> SideEffects:  # noqa: ARG002 - as Flow has it
        """Send no notification: the waiting dealership gets the page in the response."""
        return SideEffects()

    async def advance(self, payment: Payment) -> Payment:
        """Void the held funds, or capture them and place the factory order."""
        payment = await self._tables.payments.get(payment.id)
        if payment.state is PaymentState.AUTHORIZED:
            return await self._charges.void.send_void(payment)
        if payment.state is PaymentState.CAPTURING:
            payment = await self._charges.capture.send_capture(payment)
            await self._orders.factory_orders.place(payment.subject)
        return payment

    async def void(self, payment: Payment, reason: str) -> Payment:
        """Void the held funds."""
        return await self._charges.void.void_charge(payment, reason)

    async def _payment_failed(self, connection: Connection, payment: Payment) -> None:
        order = await self._orders.reservation.payment_failed(payment.subject, within=connection)
        if order is None or order.state is not OrderState.WITHDRAWN:
            await self._notify_failure("reservation_failed", payment, within=connection)

    async def _mark_vehicle_reserved(self, connection: Connection, payment: Payment) -> None:
        reserved = await self._orders.reservation.mark_vehicle_reserved(
            payment.subject, paid=Money(payment.amount, payment.currency), within=connection
        )
        if not reserved:
            await self._charges.void.claim_void(payment, NOT_POSSIBLE, within=connection)
            await self._notify_failure("reservation_not_possible", payment, within=connection)
            return
        evidence = Evidence(id=new_id(), kind=RESERVATION_RECORDED)
        await self._charges.capture.claim_capture(
            payment, evidence, reason=RESERVATION_RECORDED, within=connection
        )

    async def _notify_failure(self, template: str, payment: Payment, *, within: Connection) -> None:
        """Notify the customer and the dealership (Diagram 2, lower half)."""
        dealership = await self._orders.dealership_of(payment.subject, within=within)
        for audience, recipient in ((CUSTOMER, payment.customer), (DEALERSHIP, dealership)):
            if recipient is not None:
                await self._notifications.notify(
                    audience=audience,
                    recipient=recipient,
                    template=template,
                    facts=_facts_of(payment),
                    subject=payment.id,
                    within=within,
                )


def _facts_of(payment: Payment) -> dict[str, object]:
    return {
        "order": str(payment.subject),
        "amount": payment.amount,
        "currency": payment.currency,
        "decline_code": payment.decline_code or "",
    }
