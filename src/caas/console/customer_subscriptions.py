"""Subscriptions (Diagram 6): subscribe, view usage and next charge, change payment method, end.

A subscription is charged after each month (mes vencido) to a payment method that the customer
selects and consents to: one used before, or a card entered at the gateway (decision 242). It can be
changed in the same way (decision 70). Either is verified with a small hold before anything is
charged to it.

Rules a change must keep: a token never reaches the browser, and a payment method is identified by
the payment it was used for; the consequence of a failed charge is shown before subscribing; ending
takes effect at once; the page reports a changed payment method only after the change.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.customers import BillingDetailsRequiredError, NoTaxTableError
from caas.billing_database.invoices import Invoice, InvoiceRows
from caas.billing_database.services import Service
from caas.billing_database.subscriptions import PaymentMethods, Subscription, UsedMethod
from caas.console.context import Console
from caas.console.customer_billing_details import PATH as BILLING_DETAILS
from caas.console.customer_payments import first_day_of
from caas.console.customer_service_orders import owns
from caas.console.customer_services import chosen
from caas.console.entitlement_view import IN_THE_WAY
from caas.console.form_actions import form_result, keyed, new_key, once, price_field, shown_price
from caas.console.next_charge import running_month
from caas.console.order_view import payments_of
from caas.console.page_routes import CUSTOMERS, NothingHereError, PageRoute, get, post
from caas.console.payment_view import UNDER_WAY, PaymentView, Situation, view_of
from caas.console.request import PageRequest
from caas.errors import NotFoundError
from caas.rules.money import Money
from caas.rules.subscription_states import SubscriptionState
from caas.service_catalog import SUBSCRIPTION
from caas.service_catalog.eligibility import prices_of
from caas.web.response import Response, nothing_new, see_other

REFUSED: Final = 422
NEW: Final = "new"
OPEN: Final = "open"
KINDS: Final = {
    SubscriptionState.ACTIVE: "good",
    SubscriptionState.REFUSED: "bad",
    SubscriptionState.CANCELLED: "",
    SubscriptionState.NOT_ACTIVATED: "",
}
_CARD_PAGE: Final = {
    (SubscriptionState.VERIFYING, Situation.AT_GATEWAY): "card_page_open",
    (SubscriptionState.REFUSED, Situation.ABANDONED): "card_page_ended",
    (SubscriptionState.REFUSED, Situation.NOT_MADE): "not_verified",
}
MOVING: Final = frozenset({SubscriptionState.VERIFYING, SubscriptionState.ACTIVATING})


class SubscriptionView(msgspec.Struct, frozen=True):
    """A subscription as pages show it.

    `check` is the last verification of a payment method for it, `to_confirm` a month's invoice that
    the customer must confirm at the gateway.
    """

    subscription: Subscription
    name: str
    check: PaymentView | None = None
    to_confirm: tuple[Invoice, PaymentView] | None = None

    @property
    def slug(self) -> str:
        """The key of the state's text; an unpaid month and a card's page have their own."""
        if self.check and (
            words := _CARD_PAGE.get((self.subscription.state, self.check.situation))
        ):
            return words
        if self.subscription.cancelled_because == "withdrawal":
            return "withdrawn"
        unpaid = self.subscription.cancelled_because == "payment failed"
        return "unpaid" if unpaid else self.subscription.state.value.replace(" ", "_")

    @property
    def kind(self) -> str:
        """The colour of the badge."""
        return KINDS.get(self.subscription.state, "busy")

    @property
    def fee(self) -> Money:
        """The monthly fee."""
        return Money(self.subscription.monthly_fee, self.subscription.currency)

    @property
    def is_open(self) -> bool:
        """Whether a change is imminent."""
        switching_off = (
            self.subscription.state is SubscriptionState.CANCELLED
            and self.subscription.activated_at is not None
            and self.subscription.deactivated_at is None
        )
        checking = self.check is not None and self.check.situation in UNDER_WAY
        waiting = checking or self.to_confirm is not None
        return self.subscription.state in MOVING or switching_off or waiting

    @property
    def may_change_method(self) -> bool:
        """Whether the payment method may be changed."""
        return self.subscription.state in {SubscriptionState.ACTIVE, SubscriptionState.ACTIVATING}

    @property
    def version(self) -> str:
        """A value that changes with everything the page shows."""
        month = self.to_confirm[1].version if self.to_confirm else 0
        check = self.check.version if self.check else 0
        switched_off = int(self.subscription.deactivated_at is not None)
        return f"{self.slug}-{switched_off}.{check}.{month}"


async def subscribe_form(console: Console, request: PageRequest) -> Response:
    """Show the price of a subscription and the payment methods that can be charged."""
    offer = await _offered(console, request)
    return await _form_page(console, request, offer, vin=request.query.get("vin", ""))


async def subscribe(console: Console, request: PageRequest) -> Response:
    """Subscribe with the chosen payment method."""
    offer = await _offered(console, request)
    vin = request.form.get("vin", "")
    chosen = request.form.get("method", "")
    methods = {str(one.payment_id): one for one in await used_methods(console, request)}
    method = methods.get(chosen)
    known = chosen == NEW or method is not None
    if not known or not await owns(console, request, vin) or request.form.get("agreed") != "yes":
        return await _form_page(console, request, offer, vin=vin, nothing_chosen=True)

    async def work() -> str:
        subscription = await console.platform.payment_processing.subscribe(
            customer=request.customer, vin=vin, service=offer.code,
            payment_method=method.token if method else None,
            saved_at=method.gateway if method else None, request_key=keyed(request).order_key,
            shown=shown_price(request),
        )  # fmt: skip
        return await _next_page(console, subscription)

    try:
        return await once(console, request, work)
    except (BillingDetailsRequiredError, NoTaxTableError) as refusal:
        return see_other(f"{BILLING_DETAILS}?refused={refusal.code}")
    except IN_THE_WAY as refusal:
        return see_other(f"/subscribe/{offer.code}?vin={vin}&refused={refusal.code}")


async def _next_page(console: Console, subscription: Subscription) -> str:
    """Return the path to the gateway's page if the customer enters the payment method there."""
    path = f"/subscriptions/{subscription.id}"
    if subscription.payment_method is not None:
        return path
    verifying = await payments_of(console, subscription.id)
    return f"/pay/{verifying[0].id}" if verifying else path


async def subscription(console: Console, request: PageRequest) -> Response:
    """Show a subscription, its usage so far and its next charge."""
    return await _page(console, request, "customer/subscription.html")


async def subscription_live(console: Console, request: PageRequest) -> Response:
    """Return the live fragment if anything has changed."""
    view = await own_subscription(console, request)
    if request.query.get("seen") == view.version:
        return nothing_new()
    return await _page(console, request, "customer/subscription_live.html")


async def end_form(console: Console, request: PageRequest) -> Response:
    """Show the consequences of ending a subscription."""
    view = await own_subscription(console, request)
    free = await console.platform.subscriptions.withdraws_now(view.subscription.id)
    return console.page(
        request, "customer/end_subscription.html", view=view, key=new_key(), free=free
    )


async def end(console: Console, request: PageRequest) -> Response:
    """End a subscription; the vehicle deactivates the service."""
    view = await own_subscription(console, request)

    async def work() -> str:
        await console.platform.subscriptions.end_subscription(view.subscription.id)
        return f"/subscriptions/{view.subscription.id}"

    return await once(console, request, work)


async def own_subscription(console: Console, request: PageRequest) -> SubscriptionView:
    """Return the subscription in the path if it is the customer's.

    Raises:
        NothingHereError: it does not exist or belongs to another customer.
    """
    subscription_id: UUID = request.ids["subscription_id"]
    found = await console.platform.subscriptions.find(subscription_id)
    if found is None or found.customer != request.customer:
        raise NothingHereError
    offer = await console.platform.service_catalog.service(found.service)
    checks = await payments_of(console, found.id)
    return SubscriptionView(
        found,
        offer.named(request.language),
        check=view_of(checks[0], verifies=True) if checks else None,
        to_confirm=await _to_confirm(console, found),
    )


async def _to_confirm(
    console: Console, subscription: Subscription
) -> tuple[Invoice, PaymentView] | None:
    """Return the invoice that the customer must confirm at the gateway, or None."""
    for invoice in await console.platform.invoices.invoices(subject=subscription.id):
        if invoice.state == OPEN and invoice.last_payment is not None:
            view = view_of(await console.platform.tables.payments.get(invoice.last_payment))
            if view.situation is Situation.AT_GATEWAY:
                return invoice, view
    return None


async def _page(console: Console, request: PageRequest, template: str) -> Response:
    view = await own_subscription(console, request)
    now = await InvoiceRows(console.platform.tables.database).now()
    active = view.subscription.state is SubscriptionState.ACTIVE
    return console.page(
        request,
        template,
        view=view,
        begins=await _begins(console, view.subscription),
        month=await running_month(console, view.subscription, now) if active else None,
        invoices=await console.platform.invoices.invoices(subject=view.subscription.id),
        money_of=Money,
        day_of=first_day_of,
    )


async def _begins(console: Console, subscription: Subscription) -> datetime | None:
    """Return the start of a subscription that is scheduled after an earlier paid term, or None."""
    terms = await console.platform.tables.entitlements.terms(subscription.vin, subscription.service)
    ahead = (one for one in terms if one.subscription == subscription.id)
    return next((one.starts_at for one in ahead if one.status == "scheduled"), None)


async def _form_page(
    console: Console,
    request: PageRequest,
    offer: Service,
    *,
    vin: str,
    nothing_chosen: bool = False,
) -> Response:
    of = await chosen(console, request, offer.code, vin=vin)
    return console.page(
        request,
        "customer/subscribe.html",
        service=offer,
        fee=Money(offer.monthly_fee or 0, offer.currency),
        shown=price_field(prices_of(offer)),
        metered=[(it["unit"], Money(it["unit_price"], offer.currency)) for it in offer.metered],
        cars=of.cars,
        car=of.car,
        view=of.view,
        after=form_result(console, request),
        methods=await used_methods(console, request),
        nothing_chosen=nothing_chosen,
        key=new_key(),
        status=REFUSED if nothing_chosen else 200,
    )


async def used_methods(console: Console, request: PageRequest) -> list[UsedMethod]:
    """Return the payment methods that the customer has used before."""
    return await PaymentMethods(console.platform.tables.database).used_by(request.customer)


async def _offered(console: Console, request: PageRequest) -> Service:
    try:
        found = await console.platform.service_catalog.service(request.ids["code"])
    except NotFoundError as error:
        raise NothingHereError from error
    if found.kind != SUBSCRIPTION or not found.offered:
        raise NothingHereError
    return found


_ONE: Final = "/subscriptions/{subscription_id:uuid}"
CUSTOMER_SUBSCRIPTION_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/subscribe/{code:word}", subscribe_form, CUSTOMERS),
    post("/subscribe/{code:word}", subscribe, CUSTOMERS),
    get(_ONE, subscription, CUSTOMERS),
    get(f"{_ONE}/live", subscription_live, CUSTOMERS),
    get(f"{_ONE}/end", end_form, CUSTOMERS),
    post(f"{_ONE}/end", end, CUSTOMERS),
)


async def payment_method_form(console: Console, request: PageRequest) -> Response:
    """Show the payment methods that the subscription could use."""
    view = await own_subscription(console, request)
    if not view.may_change_method:
        return see_other(f"/subscriptions/{view.subscription.id}")
    return await _method_page(console, request, view)


async def change_payment_method(console: Console, request: PageRequest) -> Response:
    """Request verification of the chosen method; redirect to the gateway if it requires that."""
    view = await own_subscription(console, request)
    chosen = request.form.get("method", "")
    methods = {str(one.payment_id): one for one in await _others(console, request, view)}
    method = methods.get(chosen)
    if chosen != NEW and method is None:
        return await _method_page(console, request, view, nothing_chosen=True)

    async def work() -> str:
        payment = await console.platform.payment_processing.change_payment_method(
            view.subscription.id,
            payment_method=method.token if method else None,
            saved_at=method.gateway if method else None,
        )
        return f"/pay/{payment.id}"

    return await once(console, request, work)


async def _others(
    console: Console, request: PageRequest, view: SubscriptionView
) -> list[UsedMethod]:
    """Return the customer's payment methods except the current one."""
    current = (view.subscription.gateway, view.subscription.payment_method)
    used = await used_methods(console, request)
    return [method for method in used if (method.gateway, method.token) != current]


async def _method_page(
    console: Console, request: PageRequest, view: SubscriptionView, *, nothing_chosen: bool = False
) -> Response:
    return console.page(
        request,
        "customer/payment_method.html",
        view=view,
        methods=await _others(console, request, view),
        nothing_chosen=nothing_chosen,
        key=new_key(),
        status=REFUSED if nothing_chosen else 200,
    )


_PATH: Final = "/subscriptions/{subscription_id:uuid}/payment-method"
CUSTOMER_PAYMENT_METHOD_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(_PATH, payment_method_form, CUSTOMERS),
    post(_PATH, change_payment_method, CUSTOMERS),
)
