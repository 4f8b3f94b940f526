"""One of everything that a customer can have, and the pages that show it.

The pages are read off the routes, so that a new page is visited without being listed anywhere.
"""

import re
from collections.abc import Awaitable, Callable
from uuid import UUID

from caas.billing_database.accounts import Role
from caas.console.application import ROUTES
from caas.console.page_routes import PageRoute
from tests.console.journeys import ANA
from tests.console.town import STOCK, Town, eventually

MONTHLY = "range-plus"
NOWHERE = UUID("00000000-0000-7000-8000-000000000000")


async def ana_owns(town: Town, enter: Callable[[], Awaitable[object]]) -> dict[str, str]:
    """Let Ana have one of everything; `enter` opens accounts while the links are young."""
    car = await town.delivered(STOCK[0][0], email=ANA)
    order = await town.platform.order_management.orders.get(car)
    service = await town.platform.service_catalog.create_service_order(
        customer=order.customer, vin=STOCK[0][0], service="heated-seats", duration_days=30
    )
    subscription = await town.platform.payment_processing.subscribe(
        customer=order.customer, vin=STOCK[0][0], service=MONTHLY, payment_method="pm_ok"
    )

    async def active() -> bool | None:
        found = await town.platform.subscriptions.subscription(subscription.id)
        return True if found.activated_at is not None else None

    await eventually(active)
    await enter()
    await town.platform.billing.run_month(await town.month_is_over())
    (invoice,) = await town.platform.invoices.invoices(subject=subscription.id)
    return {
        "car": str(car),
        "service": str(service.id),
        "{payment_id:uuid}": str(invoice.payment_id),
        "{subscription_id:uuid}": str(subscription.id),
        "{invoice_id:uuid}": str(invoice.id),
        "{vin:word}": STOCK[1][0],
        "{code:word}": "heated-seats",
    }


def path_of(route: PageRoute, things: dict[str, str]) -> str:
    """Return the address of a route, filled in with what somebody has."""
    kind = "service" if route.path.startswith("/service-orders") else "car"
    places = {**things, "{order_id:uuid}": things[kind]}
    if route.path.startswith("/subscribe/"):
        places["{code:word}"] = MONTHLY
    path = route.path
    for place in re.findall(r"\{[^}]+\}", path):
        path = path.replace(place, places.get(place, str(NOWHERE)))
    return path


def whole_pages_of(role: Role) -> list[PageRoute]:
    """Return every page of a role that a browser shows as a whole."""
    return [
        route
        for route in ROUTES
        if role in route.roles
        and route.method == "GET"
        and not route.path.endswith(("/live", ".pdf", ".csv", ".json"))
        and "{payment_id" not in route.path.partition("/pay/")[2]
        and "/documents/" not in route.path
    ]
