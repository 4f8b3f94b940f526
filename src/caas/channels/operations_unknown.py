"""Payments whose outcome nobody knows: what was asked last, when it is asked again (decision 3).

Rules a change must keep: nothing is decided here, each leads to its payment, where one person may
have it asked at once and two people may decide.
"""

from typing import Final

from caas.billing_database import operations_counts
from caas.channels.page_routes import OPERATIONS, PageRoute, get
from caas.channels.payment_view import view_of
from caas.channels.rooms import Channels
from caas.channels.visit import Visit
from caas.web.response import Response, nothing_new


async def unknown(channels: Channels, visit: Visit) -> Response:
    """Show what nobody knows, live."""
    return await _page(channels, visit, "operations/unknown.html")


async def unknown_live(channels: Channels, visit: Visit) -> Response:
    """Show it again, if anything has changed."""
    return await _page(channels, visit, "operations/unknown_live.html")


async def _page(channels: Channels, visit: Visit, template: str) -> Response:
    found = await operations_counts.unknown_outcomes(channels.rooms.books.database)
    version = f"{len(found)}-{sum(one.probes + 99 * one.proposed for one in found)}"
    if visit.query.get("seen") == version:
        return nothing_new()
    rows = [(one, view_of(one.payment)) for one in found]
    return channels.page(visit, template, rows=rows, version=version)


OPERATIONS_UNKNOWN_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/unknown", unknown, OPERATIONS),
    get("/operations/unknown/live", unknown_live, OPERATIONS),
)
