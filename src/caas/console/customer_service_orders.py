"""A customer's one-time service order: payment, activation, withdrawal.

Rules a change must keep: the page states that nothing is charged until the vehicle has confirmed,
and states it again if the vehicle never did; the consequences of a withdrawal are shown before it;
only Payment Processing decides whether it is possible.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.entitlements import OrderTerm, Term
from caas.billing_database.orders import Order
from caas.billing_database.services import ServiceOrder
from caas.console.context import Console
from caas.console.entitlement_view import IN_THE_WAY
from caas.console.form_actions import asked_for, form_result, initiated, new_key, once
from caas.console.order_view import payments_of
from caas.console.page_routes import CUSTOMERS, NothingHereError, PageRoute, get, post
from caas.console.payment_view import AT_REST, UNDER_WAY, PaymentView, Situation, last_of
from caas.console.request import PageRequest
from caas.errors import NotFoundError
from caas.payment_processing import PaymentRequest
from caas.payment_processing.service_withdrawal import (
    DESISTIMIENTO,
    PaymentOpenError,
    ServiceKeptError,
    WithdrawalPeriod,
    WithdrawalPeriodOverError,
)
from caas.rules.money import Money
from caas.rules.order_states import OrderState
from caas.rules.payment_types import PaymentType
from caas.web.response import Response, nothing_new, see_other

AWAITING: Final = "awaiting payment"
WITHDRAWABLE: Final = frozenset({"activating", "active", "expired", "withdrawn", "ended"})
KINDS: Final = {"active": "good", "activating": "busy", "cancelled": "bad",
                "activation failed": "", "expired": "", "withdrawn": "", "ended": ""}  # fmt: skip


class ServiceOrderView(msgspec.Struct, frozen=True):
    """A service order as pages show it; `withdrawal` is set if the customer may see it."""

    order: ServiceOrder
    name: str
    payment: PaymentView | None
    term: OrderTerm | None = None
    withdrawal: WithdrawalPeriod | None = None

    @property
    def slug(self) -> str:
        """The key of the state's text; an unknown outcome has its own."""
        paying = self.payment.situation if self.payment else None
        if self.order.state == AWAITING and paying is not None:
            return str(paying if paying in UNDER_WAY else Situation.PROCESSING)
        if self.order.state == "cancelled" and paying is Situation.ABANDONED:
            return str(paying)
        if self.order.state == "active" and self.term and self.term.is_ahead:
            return "scheduled"
        if self.order.state == "activation failed" and self.was_called_off:
            return "called_off"
        return self.order.state.replace(" ", "_")

    @property
    def was_called_off(self) -> bool:
        """Whether the customer withdrew before anything was charged."""
        return self.term is not None and self.term.claimed_because == DESISTIMIENTO

    @property
    def kind(self) -> str:
        """The colour of the badge."""
        return KINDS.get(self.order.state, "busy")

    @property
    def price(self) -> Money:
        """The price."""
        return Money(self.order.amount, self.order.currency)

    @property
    def version(self) -> str:
        """A value that changes with everything the page shows."""
        until = self.order.active_until
        transitioned = int(until.timestamp()) if until else 0
        may = int(self.may_withdraw)
        return f"{self.slug}-{self.payment.version if self.payment else 0}-{transitioned}-{may}"

    @property
    def is_open(self) -> bool:
        """Whether it may still change without an action of the customer."""
        return (
            self.payment is None
            or self.payment.situation not in AT_REST
            or self.order.state == AWAITING  # the order does not know the outcome yet
        )

    @property
    def is_owed(self) -> bool:
        """Whether it ended and its refund failed, so that the customer may request it again."""
        return self.may_withdraw and self.order.state in {"withdrawn", "ended"}

    @property
    def may_withdraw(self) -> bool:
        """Whether the customer may withdraw now."""
        return self.withdrawal is not None and self.withdrawal.is_open


async def service_order(console: Console, request: PageRequest) -> Response:
    """Show a service order, with live updates."""
    view = await own_service_order(console, request)
    return _order_page(console, request, view, "customer/service_order.html")


async def service_order_live(console: Console, request: PageRequest) -> Response:
    """Return the live fragment if anything has changed."""
    view = await own_service_order(console, request)
    if request.query.get("seen") == view.version:
        return nothing_new()
    return _order_page(console, request, view, "customer/service_order_live.html")


async def pay(console: Console, request: PageRequest) -> Response:
    """Continue an order whose payment was never requested."""
    order = (await own_service_order(console, request)).order
    if not await owns(console, request, order.vin):
        raise NothingHereError

    async def ordered() -> PaymentRequest:
        return payment_of(console, request, order)

    try:
        return await pays_once(console, request, ordered)
    except IN_THE_WAY as refusal:
        return see_other(f"/service-orders/{order.id}?refused={refusal.code}")


async def withdrawal_form(console: Console, request: PageRequest) -> Response:
    """Show the consequences of withdrawing from a service."""
    view = await own_service_order(console, request)
    if not view.may_withdraw or view.is_owed:
        return see_other(f"/service-orders/{view.order.id}")
    return console.page(
        request,
        "customer/service_withdrawal.html",
        view=view,
        order=view.order,
        behind=await _behind(console, view),
        key=new_key(),
    )


async def withdraw(console: Console, request: PageRequest) -> Response:
    """Withdraw from a service; its payments are refunded and its term ends at the same time."""
    order = (await own_service_order(console, request)).order
    path = f"/service-orders/{order.id}"

    async def work() -> str:
        await console.platform.payment_processing.withdraw_from_service(
            order.id, requested_by="customer"
        )
        return path

    try:
        return await once(console, request, work)
    except (PaymentOpenError, ServiceKeptError, WithdrawalPeriodOverError) as refusal:
        return see_other(f"{path}?refused={refusal.code}")


async def own_service_order(console: Console, request: PageRequest) -> ServiceOrderView:
    """Return the service order in the path if it is the customer's.

    Raises:
        NothingHereError: it does not exist or belongs to another customer.
    """
    order_id: UUID = request.ids["order_id"]
    catalog = console.platform.service_catalog
    try:
        order = await catalog.service_order(order_id)
    except NotFoundError as error:
        raise NothingHereError from error
    if order.customer != request.customer:
        raise NothingHereError
    withdrawable = order.state in WITHDRAWABLE
    processing = console.platform.payment_processing
    return ServiceOrderView(
        order,
        (await catalog.service(order.service)).named(request.language),
        last_of(await payments_of(console, order.id), PaymentType.SERVICE),
        await console.platform.tables.entitlements.of_order(order.id),
        await processing.service_withdrawal.period(order.id) if withdrawable else None,
    )


async def own_cars(console: Console, request: PageRequest) -> list[Order]:
    """Return the orders whose vehicles were delivered to this customer."""
    return await console.platform.order_management.orders.listed(
        customer=request.customer, state=OrderState.DELIVERED
    )


async def owns(console: Console, request: PageRequest, vin: str) -> bool:
    """Return whether the vehicle was delivered to this customer."""
    return any(car.vin == vin for car in await own_cars(console, request))


def payment_of(console: Console, request: PageRequest, order: ServiceOrder) -> PaymentRequest:
    """Return the payment of a service order."""
    due = Money(order.amount, order.currency)
    return asked_for(console, request, order.id, customer=order.customer, due=due)


async def pays_once(
    console: Console, request: PageRequest, ordered: Callable[[], Awaitable[PaymentRequest]]
) -> Response:
    """Request a payment once per submitted form, and continue to the payment."""

    async def work() -> str:
        pay = console.platform.payment_processing.initiate_service_payment
        payment = await initiated(console, request, pay, ordered)
        return f"/pay/{payment.id}"

    return await once(console, request, work)


async def _behind(console: Console, view: ServiceOrderView) -> list[Term]:
    """Return the terms bought after this one, which move up when it ends."""
    order = view.order
    if order.active_until is None:
        return []
    terms = await console.platform.tables.entitlements.terms(order.vin, order.service)
    return [one for one in terms if one.starts_at and one.starts_at >= order.active_until]


def _order_page(
    console: Console, request: PageRequest, view: ServiceOrderView, template: str
) -> Response:
    return console.page(
        request,
        template,
        view=view,
        order=view.order,
        after=form_result(console, request),
        key=new_key(),
    )


_ORDER: Final = "/service-orders/{order_id:uuid}"
CUSTOMER_SERVICE_ORDER_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(_ORDER, service_order, CUSTOMERS),
    get(f"{_ORDER}/live", service_order_live, CUSTOMERS),
    post(f"{_ORDER}/payment", pay, CUSTOMERS),
    get(f"{_ORDER}/withdrawal", withdrawal_form, CUSTOMERS),
    post(f"{_ORDER}/withdrawal", withdraw, CUSTOMERS),
)
