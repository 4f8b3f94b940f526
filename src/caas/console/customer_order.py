"""A customer's vehicle, its purchase (Diagram 3) and its withdrawal (desistimiento).

A declined final payment loses the reservation, without a second attempt (Diagram 3, "Critical
Business Rule").

Rules a change must keep: the page with the payment button states this consequence, and the customer
must accept it; while the outcome is unknown, the page says that the vehicle is held; only Order
Management decides whether a customer may withdraw.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.customers import BillingDetailsRequiredError, NoTaxTableError
from caas.billing_database.orders import Order
from caas.console.context import Console
from caas.console.customer_billing_details import is_filled, known_buyer, put_buyer, typed
from caas.console.customer_services import entitlements_of
from caas.console.entitlement_view import EntitlementView
from caas.console.error_pages import message_of
from caas.console.form_actions import asked_for, initiated, new_key, once
from caas.console.order_view import OrderView, order_view
from caas.console.page_routes import CUSTOMERS, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.errors import NotFoundError, RefusedError
from caas.order_management.withdrawal import CannotWithdrawError
from caas.payment_processing import PaymentRequest
from caas.rules.order_states import OrderState
from caas.web.response import Response, nothing_new, see_other

REFUSED: Final = 422


async def car(console: Console, request: PageRequest) -> Response:
    """Show a vehicle and its purchase, with live updates."""
    return await _page(console, request, "customer/car.html")


async def car_live(console: Console, request: PageRequest) -> Response:
    """Return the live fragment if anything has changed."""
    view = await order_view(console, await own_order(console, request))
    if request.query.get("seen") == view.version:
        return nothing_new()
    return await _page(console, request, "customer/car_live.html", view=view)


async def final_payment_form(console: Console, request: PageRequest) -> Response:
    """Show the amount of the final payment and the consequence of a decline, before payment."""
    view = await order_view(console, await own_order(console, request))
    if view.order.state is not OrderState.READY or view.is_being_paid:
        return see_other(f"/car/{view.order.id}")
    return await _final_page(console, request, view)


async def final_payment(console: Console, request: PageRequest) -> Response:
    """Create the final payment and redirect to the gateway's page."""
    order = await own_order(console, request)
    stated = typed(request.form)
    refusal = await _refused_buyer(console, order, stated) if is_filled(stated) else None
    if refusal is not None or request.form.get("understood") != "yes":
        view = await order_view(console, order)
        return await _final_page(console, request, view, refused=True, refusal=refusal)

    async def asked() -> PaymentRequest:
        return asked_for(console, request, order.id, customer=order.customer, due=order.rest)

    async def work() -> str:
        pay = console.platform.payment_processing.initiate_final_payment
        payment = await initiated(console, request, pay, asked)
        return f"/pay/{payment.id}"

    try:
        return await once(console, request, work)
    except (BillingDetailsRequiredError, NoTaxTableError) as refusal:
        view = await order_view(console, order)
        return await _final_page(console, request, view, refused=True, refusal=refusal)


async def _refused_buyer(
    console: Console, order: Order, stated: dict[str, str]
) -> RefusedError | None:
    """Store the customer's billing details, or return the error."""
    try:
        await put_buyer(console, order.customer, stated)
    except RefusedError as refusal:
        return refusal
    return None


async def withdrawal_form(console: Console, request: PageRequest) -> Response:
    """Show the consequences of a withdrawal (desistimiento)."""
    view = await order_view(console, await own_order(console, request))
    if not console.platform.order_management.withdrawal.may_withdraw(view.order):
        raise CannotWithdrawError
    return console.page(
        request,
        "customer/withdrawal.html",
        view=view,
        order=view.order,
        ends=console.platform.order_management.withdrawal.withdrawal_ends(view.order),
        key=new_key(),
    )


async def withdraw(console: Console, request: PageRequest) -> Response:
    """Withdraw from the order; all payments are refunded."""
    order = await own_order(console, request)

    async def work() -> str:
        await console.platform.order_management.withdrawal.withdraw(order.id)
        return f"/car/{order.id}"

    return await once(console, request, work)


async def own_order(console: Console, request: PageRequest) -> Order:
    """Return the order in the path if it is the customer's.

    Raises:
        NothingHereError: it does not exist or belongs to another customer.
    """
    order_id: UUID = request.ids["order_id"]
    try:
        order = await console.platform.order_management.orders.get(order_id)
    except NotFoundError as error:
        raise NothingHereError from error
    if order.customer != request.customer:
        raise NothingHereError
    return order


async def _page(
    console: Console, request: PageRequest, template: str, *, view: OrderView | None = None
) -> Response:
    if view is None:
        view = await order_view(console, await own_order(console, request))
    services: list[EntitlementView] = []
    if view.order.state is OrderState.DELIVERED and view.order.vin:
        found = await entitlements_of(console, request, view.order.vin)
        services = [one for one in found.values() if one.terms]
    return console.page(
        request,
        template,
        view=view,
        order=view.order,
        services=services,
        may_withdraw=console.platform.order_management.withdrawal.may_withdraw(view.order),
        withdrawal_ends=console.platform.order_management.withdrawal.withdrawal_ends(view.order),
    )


async def _final_page(
    console: Console,
    request: PageRequest,
    view: OrderView,
    *,
    refused: bool = False,
    refusal: RefusedError | None = None,
) -> Response:
    stated, known = typed(request.form), await known_buyer(console, view.order.customer)
    lacking = await console.platform.order_management.fulfilment.lacking_of_buyer(view.order)
    return console.page(
        request,
        "customer/final_payment.html",
        order=view.order,
        buyer=stated if is_filled(stated) else known,
        asks_buyer=bool(lacking) or refusal is not None,
        refusal=message_of(console, request, refusal) if refusal else None,
        not_understood=refused and request.form.get("understood") != "yes",
        key=new_key(),
        status=REFUSED if refused else 200,
    )


_CAR: Final = "/car/{order_id:uuid}"
CUSTOMER_ORDER_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(_CAR, car, CUSTOMERS),
    get(f"{_CAR}/live", car_live, CUSTOMERS),
    get(f"{_CAR}/final-payment", final_payment_form, CUSTOMERS),
    post(f"{_CAR}/final-payment", final_payment, CUSTOMERS),
    get(f"{_CAR}/withdrawal", withdrawal_form, CUSTOMERS),
    post(f"{_CAR}/withdrawal", withdraw, CUSTOMERS),
)
