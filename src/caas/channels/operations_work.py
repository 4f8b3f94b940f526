"""Open work: everything that must still happen, with its age; what is parked can be released.

Rules a change must keep: what goes on by itself is left alone; only parked work is released, with
the name of who did it.
"""

from typing import Final

from caas.billing_database import operations_counts
from caas.channels.acting import acted, told
from caas.channels.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key
from caas.channels.visit import Visit
from caas.web.response import Response

FILTERS: Final = ("all", "parked", "overdue")
KIND_CHARS_MAX: Final = 64


async def work(channels: Channels, visit: Visit) -> Response:
    """Show open work: what stands still first, then what is due longest."""
    database = channels.rooms.books.database
    show = visit.query.get("show", "")
    kind = visit.query.get("kind", "")[:KIND_CHARS_MAX]
    by_kind = await operations_counts.open_work(database)
    pieces = await operations_counts.pieces(
        database, kind=kind or None, parked=show == "parked", overdue=show == "overdue"
    )
    return channels.page(
        visit, "operations/work.html", by_kind=by_kind, pieces=pieces, kind=kind,
        show=show if show in FILTERS else "all", filters=FILTERS, key=new_key(),
        now=await operations_counts.now(database), after=told(channels, visit),
    )  # fmt: skip


async def release(channels: Channels, visit: Visit) -> Response:
    """Release parked work."""
    subject = visit.ids["subject"]
    kind: str = visit.ids["kind"]
    if not kind.isascii():
        raise NothingHereError
    return await acted(
        channels, visit, "/operations/work",
        lambda: channels.rooms.open_work.release(kind, subject, by=visit.by.name),
    )  # fmt: skip


OPERATIONS_WORK_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/work", work, OPERATIONS),
    post("/operations/work/{kind:word}/{subject:uuid}/release", release, OPERATIONS),
)
