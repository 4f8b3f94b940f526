"""Routes of the Web Platform and Mobile Application (Diagram 1).

This file has the list of vehicles; `customer_order` has a vehicle and its purchase,
`customer_services` the services, `customer_payments` the payments, `account` the settings.

Rule a change must keep: customers see only their own data; an object of another customer gets the
same response as one that does not exist.
"""

from typing import Final

from caas.console.account import other_accounts
from caas.console.context import Console
from caas.console.customer_billing_details import CUSTOMER_BILLING_DETAILS_ROUTES
from caas.console.customer_order import CUSTOMER_ORDER_ROUTES
from caas.console.customer_payments import CUSTOMER_INVOICE_ROUTES, CUSTOMER_PAYMENT_ROUTES
from caas.console.customer_service_orders import CUSTOMER_SERVICE_ORDER_ROUTES
from caas.console.customer_services import CUSTOMER_SERVICE_ROUTES
from caas.console.customer_subscriptions import (
    CUSTOMER_PAYMENT_METHOD_ROUTES,
    CUSTOMER_SUBSCRIPTION_ROUTES,
)
from caas.console.order_view import KINDS, slug
from caas.console.page_routes import CUSTOMERS, PageRoute, get
from caas.console.request import PageRequest
from caas.web.response import Response, see_other


async def cars(console: Console, request: PageRequest) -> Response:
    """Show the vehicles of all of this person's accounts; a single one opens at once."""
    management = console.platform.order_management
    orders = await management.orders.listed(customer=request.customer)
    others = [
        (other, order)
        for other in await other_accounts(console, request)
        for order in await management.orders.listed(customer=other.customer)
    ]
    if len(orders) == 1 and not others:
        return see_other(f"/car/{orders[0].id}")
    return console.page(
        request, "customer/cars.html", orders=orders, others=others, slug=slug, kinds=KINDS
    )


CUSTOMER_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/car", cars, CUSTOMERS),
    *CUSTOMER_ORDER_ROUTES,
    *CUSTOMER_SERVICE_ROUTES,
    *CUSTOMER_SERVICE_ORDER_ROUTES,
    *CUSTOMER_SUBSCRIPTION_ROUTES,
    *CUSTOMER_PAYMENT_METHOD_ROUTES,
    *CUSTOMER_PAYMENT_ROUTES,
    *CUSTOMER_INVOICE_ROUTES,
    *CUSTOMER_BILLING_DETAILS_ROUTES,
)
