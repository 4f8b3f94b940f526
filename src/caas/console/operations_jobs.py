"""Pending jobs with their age; paused jobs can be resumed.

Rules a change must keep: what goes on by itself is left alone; only parked work is released, with
the name of who did it.
"""

from typing import Final

from caas.billing_database import operations_counts
from caas.console.context import Console
from caas.console.form_actions import acted, form_result
from caas.console.idempotent_forms import new_key
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.web.response import Response

FILTERS: Final = ("all", "paused", "overdue")
KIND_CHARS_MAX: Final = 64


async def work(console: Console, request: PageRequest) -> Response:
    """Show jobs: what stands still first, then what is due longest."""
    database = console.platform.tables.database
    show = request.query.get("show", "")
    kind = request.query.get("kind", "")[:KIND_CHARS_MAX]
    by_kind = await operations_counts.jobs(database)
    pieces = await operations_counts.pieces(
        database, kind=kind or None, paused=show == "paused", overdue=show == "overdue"
    )
    return console.page(
        request, "operations/jobs.html", by_kind=by_kind, pieces=pieces, kind=kind,
        show=show if show in FILTERS else "all", filters=FILTERS, key=new_key(),
        now=await operations_counts.now(database), after=form_result(console, request),
    )  # fmt: skip


async def release(console: Console, request: PageRequest) -> Response:
    """Release parked work."""
    subject = request.ids["subject"]
    kind: str = request.ids["kind"]
    if not kind.isascii():
        raise NothingHereError
    return await acted(
        console, request, "/operations/jobs",
        lambda: console.platform.jobs.release(kind, subject, by=request.by.name),
    )  # fmt: skip


OPERATIONS_WORK_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/jobs", work, OPERATIONS),
    post("/operations/jobs/{kind:word}/{subject:uuid}/release", release, OPERATIONS),
)
