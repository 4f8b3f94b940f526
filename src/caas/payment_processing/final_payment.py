"""Final Payment (Diagram 3).

Paid, the vehicle is registered and delivered; declined, the reservation is lost at once and the
vehicle is anybody's. Between the two there is only "not known yet", and then the vehicle is held.

Rules a change must keep: only the gateway's decline loses the reservation (decision 19); it does so
in the commit that makes the payment Failed; an order that is no longer there to be paid is not
paid, its authorization is voided in the commit that learns of it.
"""

from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Evidence
from caas.jobs import JobQueue
from caas.notifications import CUSTOMER, Notifications
from caas.order_management import OrderManagement
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import Step
from caas.payment_processing.initiation import Check, PaymentRequest
from caas.rules.money import Money
from caas.rules.payment_states import PaymentState
from caas.rules.retry_strategy import GatewayErrorKind, decline_kind

ORDER_CONFIRMED: Final = "order_confirmed"
NOT_DUE: Final = "the order is no longer there to be paid"


class FinalPayment:
    """The flow of a final payment, from funds held to handing over, or to the lost reservation."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        charges: Charges,
        order_management: OrderManagement,
        notifications: Notifications,
    ) -> None:
        """Work with these participants of the diagram."""
        self._tables = tables
        self._charges = charges
        self._orders = order_management
        self._notifications = notifications

    def register(self, jobs: JobQueue) -> None:
        """Take nothing: this flow leaves no work of its own for later."""

    async def check_due(self, request: PaymentRequest) -> Check:  # noqa: ARG002 - as Flow has it
        """Look when it is accepted: until then its order may be paid or lost."""
        return self._check_due

    async def _check_due(self, request: PaymentRequest, *, within: Connection) -> None:
        """Let a payment begin only for a ready vehicle, and only for the whole rest.

        Raises:
            OrderNotFoundError: no such order.
            ReservationLostError: a final payment failed before.
            VehicleNotReadyError: there is nothing to pay for yet; NotDueError: not any more.
            NotTheSumDueError: another amount, currency or customer.
        """
        await self._orders.check_final_due(
            request.subject,
            customer=request.customer,
            amount=Money(request.amount, request.currency),
            within=within,
        )

    async def on_failed(self, payment: Payment) -> Step:  # noqa: ARG002 - as Flow has it
        """Mark Payment Failed, Mark Vehicle Sin Asignar, Add to Stock Inventory: one commit."""
        return Step(also=self._mark_payment_failed)

    async def on_authorized(self, payment: Payment) -> Step:  # noqa: ARG002 - as Flow has it
        """Mark Fully Paid, together with the held funds."""
        return Step(also=self._mark_fully_paid)

    async def on_requires_action(self, payment: Payment) -> Step:  # noqa: ARG002 - as Flow has it
        """Tell nobody anything: the customer waits for the answer, which has the page."""
        return Step()

    async def advance(self, payment: Payment) -> Payment:
        """Do the next thing: give the funds back, or take them and register the vehicle."""
        payment = await self._tables.payments.get(payment.id)
        if payment.state is PaymentState.AUTHORIZED:
            return await self._charges.void.send_void(payment)
        if payment.state is PaymentState.CAPTURING:
            payment = await self._charges.capture.send_capture(payment)
            await self._orders.register_vehicle(payment.subject)
        return payment

    async def void(self, payment: Payment, reason: str) -> Payment:
        """Give the held funds back."""
        return await self._charges.void.void_charge(payment, reason)

    async def _mark_payment_failed(self, connection: Connection, payment: Payment) -> None:
        if decline_kind(payment.decline_code) is GatewayErrorKind.UNRECOGNISED:
            return
        lost = await self._orders.mark_payment_failed(payment.subject, within=connection)
        if lost is not None:
            await self._notify("reservation_lost", payment, within=connection)

    async def _mark_fully_paid(self, connection: Connection, payment: Payment) -> None:
        paid = await self._orders.mark_fully_paid(
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

    async def _notify(self, template: str, payment: Payment, *, within: Connection) -> None:
        await self._notifications.notify(
            audience=CUSTOMER,
            recipient=payment.customer,
            template=template,
            facts={
                "order": str(payment.subject),
                "amount": payment.amount,
                "currency": payment.currency,
                "decline_code": payment.decline_code or "",
            },
            subject=payment.subject,
            within=within,
        )
