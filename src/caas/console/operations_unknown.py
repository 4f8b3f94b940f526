"""Payments with an unknown outcome and their next query (decision 3).

Rules a change must keep: nothing is decided here, each leads to its payment, where one person may
have it asked at once and two people may decide.
"""

from typing import Final

from caas.billing_database import operations_counts
from caas.console.context import Console
from caas.console.page_routes import OPERATIONS, PageRoute, get
from caas.console.payment_view import view_of
from caas.console.request import PageRequest
from caas.web.response import Response, nothing_new


async def unknown(console: Console, request: PageRequest) -> Response:
    """Show what nobody knows, live."""
    return await _page(console, request, "operations/unknown.html")


async def unknown_live(console: Console, request: PageRequest) -> Response:
    """Show it again, if anything has changed."""
    return await _page(console, request, "operations/unknown_live.html")


async def _page(console: Console, request: PageRequest, template: str) -> Response:
    found = await operations_counts.unknown_outcomes(console.platform.tables.database)
    version = f"{len(found)}-{sum(one.probes + 99 * one.proposed for one in found)}"
    if request.query.get("seen") == version:
        return nothing_new()
    rows = [(one, view_of(one.payment)) for one in found]
    return console.page(request, template, rows=rows, version=version)


OPERATIONS_UNKNOWN_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/unknown", unknown, OPERATIONS),
    get("/operations/unknown/live", unknown_live, OPERATIONS),
)
