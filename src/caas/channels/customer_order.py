"""A customer's car and its purchase (Diagram 3), and desistimiento.

What a declined final payment costs is said before the customer goes to pay: there is no second
attempt, and the reservation is lost (Diagram 3, "Critical Business Rule").

Rules a change must keep: the consequence stands on the page with the button, and has to be
accepted; while the outcome is not known the page says that the car is held; whether a customer may
withdraw is decided by Order Management alone.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.billing_details import BillingDetailsRequiredError
from caas.billing_database.customers import NoTaxTableError
from caas.billing_database.orders import Order
from caas.channels.buyer_fields import is_filled, known_buyer, put_buyer, typed
from caas.channels.customer_services import entitlements_of
from caas.channels.entitlement_view import EntitlementView
from caas.channels.error_pages import words_of
from caas.channels.order_view import OrderView, order_view
from caas.channels.page_routes import CUSTOMERS, NothingHereError, PageRoute, get, post
from caas.channels.rooms import Channels
from caas.channels.sending_once import asked_for, initiated, new_key, once
from caas.channels.visit import Visit
from caas.errors import NotFoundError, RefusedError
from caas.order_management.withdrawal import CannotWithdrawError
from caas.payment_processing import PaymentRequest
from caas.rules.order_states import OrderState
from caas.web.response import Response, nothing_new, see_other

REFUSED: Final = 422


async def car(channels: Channels, visit: Visit) -> Response:
    """Show a car and its purchase, live."""
    return await _page(channels, visit, "customer/car.html")


async def car_live(channels: Channels, visit: Visit) -> Response:
    """Show the living part again, if anything has changed."""
    view = await order_view(channels, await own_order(channels, visit))
    if visit.query.get("seen") == view.version:
        return nothing_new()
    return await _page(channels, visit, "customer/car_live.html", view=view)


async def final_payment_form(channels: Channels, visit: Visit) -> Response:
    """Say what the final payment is and what a declined one costs, before anything is paid."""
    view = await order_view(channels, await own_order(channels, visit))
    if view.order.state is not OrderState.READY or view.is_being_paid:
        return see_other(f"/car/{view.order.id}")
    return await _final_page(channels, visit, view)


async def final_payment(channels: Channels, visit: Visit) -> Response:
    """Begin the final payment; the customer goes on to the gateway's page."""
    order = await own_order(channels, visit)
    said = typed(visit.form)
    refusal = await _refused_buyer(channels, order, said) if is_filled(said) else None
    if refusal is not None or visit.form.get("understood") != "yes":
        view = await order_view(channels, order)
        return await _final_page(channels, visit, view, refused=True, refusal=refusal)

    async def asked() -> PaymentRequest:
        return asked_for(channels, visit, order.id, customer=order.customer, due=order.rest)

    async def work() -> str:
        pay = channels.rooms.payment_processing.initiate_final_payment
        payment = await initiated(channels, visit, pay, asked)
        return f"/pay/{payment.id}"

    try:
        return await once(channels, visit, work)
    except (BillingDetailsRequiredError, NoTaxTableError) as refusal:
        view = await order_view(channels, order)
        return await _final_page(channels, visit, view, refused=True, refusal=refusal)


async def _refused_buyer(
    channels: Channels, order: Order, said: dict[str, str]
) -> RefusedError | None:
    """Keep what the customer says of where they are, or return why it cannot be used."""
    try:
        await put_buyer(channels, order.customer, said)
    except RefusedError as refusal:
        return refusal
    return None


async def withdrawal_form(channels: Channels, visit: Visit) -> Response:
    """Say what desistimiento means for this order."""
    view = await order_view(channels, await own_order(channels, visit))
    if not channels.rooms.order_management.may_withdraw(view.order):
        raise CannotWithdrawError
    return channels.page(
        visit,
        "customer/withdrawal.html",
        view=view,
        order=view.order,
        ends=channels.rooms.order_management.withdrawal_ends(view.order),
        key=new_key(),
    )


async def withdraw(channels: Channels, visit: Visit) -> Response:
    """Withdraw from the order; everything that was paid goes back."""
    order = await own_order(channels, visit)

    async def work() -> str:
        await channels.rooms.order_management.withdraw(order.id)
        return f"/car/{order.id}"

    return await once(channels, visit, work)


async def own_order(channels: Channels, visit: Visit) -> Order:
    """Return the order of the address, if it is the customer's.

    Raises:
        NothingHereError: there is none, or it is somebody else's.
    """
    order_id: UUID = visit.ids["order_id"]
    try:
        order = await channels.rooms.order_management.order(order_id)
    except NotFoundError as error:
        raise NothingHereError from error
    if order.customer != visit.customer:
        raise NothingHereError
    return order


async def _page(
    channels: Channels, visit: Visit, template: str, *, view: OrderView | None = None
) -> Response:
    if view is None:
        view = await order_view(channels, await own_order(channels, visit))
    services: list[EntitlementView] = []
    if view.order.state is OrderState.DELIVERED and view.order.vin:
        found = await entitlements_of(channels, visit, view.order.vin)
        services = [one for one in found.values() if one.terms]
    return channels.page(
        visit,
        template,
        view=view,
        order=view.order,
        services=services,
        may_withdraw=channels.rooms.order_management.may_withdraw(view.order)
        and not view.is_being_paid,
        withdrawal_ends=channels.rooms.order_management.withdrawal_ends(view.order),
    )


async def _final_page(
    channels: Channels,
    visit: Visit,
    view: OrderView,
    *,
    refused: bool = False,
    refusal: RefusedError | None = None,
) -> Response:
    said, known = typed(visit.form), await known_buyer(channels, view.order.customer)
    lacking = await channels.rooms.order_management.lacking_of_buyer(view.order)
    return channels.page(
        visit,
        "customer/final_payment.html",
        order=view.order,
        buyer=said if is_filled(said) else known,
        asks_buyer=bool(lacking) or refusal is not None,
        refusal=words_of(channels, visit, refusal) if refusal else None,
        not_understood=refused and visit.form.get("understood") != "yes",
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
