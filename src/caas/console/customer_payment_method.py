"""Changes the payment method of a subscription (decision 70).

The customer takes one that was used before, or types a card at the gateway; either is verified with
a small hold before anything is charged to it.

Rules a change must keep: a token never goes to the browser, it is named by the payment it was used
for; nothing is said to have changed before it has.
"""

from typing import Final

from caas.billing_database.payment_methods import UsedMethod
from caas.console.context import Console
from caas.console.customer_subscriptions import SubscriptionView, own_subscription, used_methods
from caas.console.idempotent_forms import new_key, once
from caas.console.page_routes import CUSTOMERS, PageRoute, get, post
from caas.console.request import PageRequest
from caas.web.response import Response, see_other

REFUSED: Final = 422
NEW: Final = "new"


async def payment_method_form(console: Console, request: PageRequest) -> Response:
    """Show what a subscription could be charged to from now on."""
    view = await own_subscription(console, request)
    if not view.may_change_method:
        return see_other(f"/subscriptions/{view.subscription.id}")
    return await _page(console, request, view)


async def change_payment_method(console: Console, request: PageRequest) -> Response:
    """Have the chosen payment method verified; the customer goes on to the gateway if need be."""
    view = await own_subscription(console, request)
    chosen = request.form.get("method", "")
    tokens = {str(one.payment_id): one.token for one in await _others(console, request, view)}
    if chosen != NEW and chosen not in tokens:
        return await _page(console, request, view, nothing_chosen=True)

    async def work() -> str:
        payment = await console.platform.payment_processing.change_payment_method(
            view.subscription.id, payment_method=tokens.get(chosen)
        )
        return f"/pay/{payment.id}"

    return await once(console, request, work)


async def _others(
    console: Console, request: PageRequest, view: SubscriptionView
) -> list[UsedMethod]:
    """Return what the customer has paid with, but for what is charged already."""
    used = await used_methods(console, request)
    return [method for method in used if method.token != view.subscription.payment_method]


async def _page(
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
