"""Reserving a vehicle for a customer (Diagram 2): customer data, deposit, reservation payment.

The customer pays on the gateway's hosted page, on their phone or here; the intranet accepts no card
data.

Rules a change must keep: the price is the catalogue's, never the form's; an address does not reveal
another dealership's customer; a form submitted twice creates one order; a typed amount is shown
back before it takes effect.
"""

import re
from typing import Final

import msgspec
import structlog

from caas.billing.buyers import checked_details
from caas.billing_database.idempotency import InFlightError, KeyReusedError
from caas.billing_database.orders import Order
from caas.billing_database.vehicles import Vehicle
from caas.console.context import Console
from caas.console.customer_billing_details import lacks_tax_id, put_buyer, typed
from caas.console.error_pages import message_of
from caas.console.form_actions import asked_for, initiated, new_key, once, price_field, shown_price
from caas.console.formats import AMOUNT_CHARS_MAX, plain_amount, read_amount
from caas.console.page_routes import SALES, PageRoute, get, post
from caas.console.request import PageRequest
from caas.errors import CaasError, RefusedError
from caas.payment_processing import PaymentRequest
from caas.rules.agreed_price import AgreedPrice, PriceChangedError, check_agreed
from caas.rules.market import LOCALES
from caas.rules.money import Money
from caas.rules.personal_data import EMAIL_CHARS_MAX, PERSON_NAME_CHARS_MAX
from caas.rules.vehicle_states import VehicleState
from caas.web.forms import filled
from caas.web.response import Response

REFUSED: Final = 422
DEPOSIT_SUGGESTED: Final = 50_000
"""500 euros in minor units: the deposit that the form proposes. Sales may enter another one; an

empty field means the proposed one, shown back before it takes effect.
"""

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_log = structlog.get_logger()


class ReservationForm(msgspec.Struct):
    """The input of the form and its errors."""

    name: str = ""
    email: str = ""
    language: str = "es"
    deposit: str = ""
    deposit_money: Money | None = None
    buyer: dict[str, str] = msgspec.field(default_factory=dict)
    wrong: set[str] = msgspec.field(default_factory=set)
    confirmed: bool = True


async def reserve_form(console: Console, request: PageRequest) -> Response:
    """Show the reservation form of a vehicle."""
    vehicle = await console.platform.order_management.vehicles.get(request.ids["vin"])
    filled_in = ReservationForm(
        language=console.settings.language, deposit=_suggested(request, vehicle)
    )
    return _page(console, request, vehicle, filled_in)


async def reserve(console: Console, request: PageRequest) -> Response:
    """Store the customer and the order, and request the reservation payment."""
    vehicle = await console.platform.order_management.vehicles.get(request.ids["vin"])
    filled_in = _read(request, vehicle)
    try:
        check_agreed(_price_of(vehicle), shown_price(request))
    except PriceChangedError as refusal:
        return _page(console, request, vehicle, filled_in, status=REFUSED, refusal=refusal)
    if await lacks_tax_id(console, request.dealership, filled_in.buyer):
        filled_in.wrong.add("tax_id")
    if filled_in.wrong or filled_in.deposit_money is None:
        return _page(console, request, vehicle, filled_in, status=REFUSED)
    if not filled_in.confirmed:
        return _page(console, request, vehicle, filled_in)
    deposit = filled_in.deposit_money
    try:
        return await once(
            console, request, lambda: _reserved(console, request, vehicle, filled_in, deposit)
        )
    except (KeyReusedError, InFlightError):
        raise
    except RefusedError as refusal:
        vehicle = await console.platform.order_management.vehicles.get(vehicle.vin)
        return _page(console, request, vehicle, filled_in, status=REFUSED, refusal=refusal)


async def initiate(console: Console, request: PageRequest, order: Order) -> None:
    """Request the reservation payment of an order; the order's page shows what prevents it.

    The order is stored before, so an unavailable gateway does not lose it.
    """

    async def asked() -> PaymentRequest:
        return asked_for(console, request, order.id, customer=order.customer, due=order.deposit)

    pay = console.platform.payment_processing.initiate_reservation_payment
    try:
        await initiated(console, request, pay, asked)
    except CaasError as error:
        _log.warning("intranet.payment_not_initiated", order=str(order.id), because=error.code,
                     request_id=request.request_id)  # fmt: skip


async def _reserved(
    console: Console,
    request: PageRequest,
    vehicle: Vehicle,
    filled_in: ReservationForm,
    deposit: Money,
) -> str:
    management = console.platform.order_management
    checked_details(**filled_in.buyer)
    customer = await console.accounts.customer_of(request.dealership, filled_in.email)
    if customer is None:
        created = await management.ordering.create_customer(
            name=filled_in.name, email=filled_in.email, language=filled_in.language,
            dealership=request.dealership,
        )  # fmt: skip
        customer = created.id
    await put_buyer(console, customer, filled_in.buyer)
    order = await management.ordering.create_order(
        customer=customer,
        vin=vehicle.vin,
        model=None,
        dealership=request.dealership,
        deposit=deposit,
        shown=shown_price(request),
    )
    await initiate(console, request, order)
    return f"/intranet/orders/{order.id}"


def _read(request: PageRequest, vehicle: Vehicle) -> ReservationForm:
    name = filled(request.form, "name", chars_max=PERSON_NAME_CHARS_MAX)
    email = filled(request.form, "email", chars_max=EMAIL_CHARS_MAX)
    language = request.form.get("language", "")
    is_left = not request.form.get("deposit", "").strip()
    deposit = (
        _suggested(request, vehicle)
        if is_left
        else filled(request.form, "deposit", chars_max=AMOUNT_CHARS_MAX)
    )
    money = read_amount(deposit or "", vehicle.price.currency, request.language)
    buyer = typed(request.form)
    checks = {
        "name": name is not None,
        "email": email is not None and _EMAIL.fullmatch(email) is not None,
        "language": language in LOCALES,
        "deposit": money is not None and 0 < money.amount < vehicle.price.amount,
        **{part: bool(buyer[part]) for part in ("street", "postcode", "city")},
    }
    return ReservationForm(
        name=name or "",
        email=email or "",
        language=language if language in LOCALES else "es",
        deposit=deposit or "",
        deposit_money=money,
        buyer=buyer,
        wrong={name for name, right in checks.items() if not right},
        confirmed=money is not None and not is_left and _is_confirmed(request, money),
    )


def _price_of(vehicle: Vehicle) -> AgreedPrice:
    return AgreedPrice(vehicle.price.amount, vehicle.price.currency)


def _suggested(request: PageRequest, vehicle: Vehicle) -> str:
    """Return the proposed deposit, as people type it."""
    return plain_amount(Money(DEPOSIT_SUGGESTED, vehicle.price.currency), request.language)


def _is_confirmed(request: PageRequest, deposit: Money) -> bool:
    """Return whether this amount was shown before; the proposed one needs no confirmation."""
    return deposit.amount == DEPOSIT_SUGGESTED or request.form.get("confirmed") == str(
        deposit.amount
    )


def _page(
    console: Console,
    request: PageRequest,
    vehicle: Vehicle,
    filled_in: ReservationForm,
    *,
    status: int = 200,
    refusal: RefusedError | None = None,
) -> Response:
    return console.page(
        request,
        "intranet/reserve.html",
        vehicle=vehicle,
        is_free=vehicle.state is VehicleState.SIN_ASIGNAR,
        filled_in=filled_in,
        shown=price_field(_price_of(vehicle)),
        refusal=message_of(console, request, refusal) if refusal else None,
        key=new_key(),
        status=status,
    )


RESERVING_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/intranet/stock/{vin:word}/reserve", reserve_form, SALES),
    post("/intranet/stock/{vin:word}/reserve", reserve, SALES),
)
