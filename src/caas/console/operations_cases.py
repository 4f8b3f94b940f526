"""Open work of operations: cases, alert links, unknown outcomes, and pending and paused jobs.

A case is assigned, resolved and closed here. An alert redirects to its case or payment. Payments
with an unknown outcome are listed with their next query (decision 3), jobs with their age; a paused
job can be resumed.

Rules a change must keep: a case is closed with a note and a name; a case with a paused job is
closed by resuming the job, a case with a held deposit by deciding on it; an alert's link works
permanently, also after its case is closed; unknown outcomes are decided on the payment's page,
where one person may trigger a query at once and two people may decide; only paused jobs are
resumed, with the person's name.
"""

from typing import Final
from uuid import UUID

from caas.billing.issuing import BUYER_MISSING, NOT_ISSUED
from caas.billing_database import operations_counts
from caas.billing_database.cases import DECIDED_OTHERWISE, DEPOSIT_HELD, Case
from caas.billing_database.documents import UNTAXED
from caas.billing_database.free_text import refuse_personal_data
from caas.console.context import Console
from caas.console.form_actions import acted, form_result, new_key
from caas.console.operations_deposits import OPERATIONS_DEPOSIT_ROUTES, held_deposit
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.payment_view import view_of
from caas.console.request import PageRequest
from caas.errors import NotFoundError, RefusedError
from caas.order_management.held_deposits import DepositDecision
from caas.ota_activation_engine.vehicle_responses import DRIFTS
from caas.web.forms import filled
from caas.web.response import Response, nothing_new, see_other

RESOLUTION_CHARS_MAX: Final = 1000
STATUSES: Final = ("open", "resolved")
KIND_CHARS_MAX: Final = 64
HELD_BY: Final = frozenset({NOT_ISSUED, BUYER_MISSING, UNTAXED})


class NoteNeededError(RefusedError):
    """Say in a few words what was found out or decided."""

    code = "words_needed"


async def cases(console: Console, request: PageRequest) -> Response:
    """List cases, newest first."""
    tables = console.platform.tables
    status = request.query.get("status", "open")
    kind = request.query.get("kind", "")[:KIND_CHARS_MAX]
    listed = await tables.cases.listed(
        status=status if status in STATUSES else "open", kind=kind or None
    )
    return console.page(
        request,
        "operations/cases.html",
        cases=listed,
        chosen=status,
        kind=kind,
        kinds=await operations_counts.open_cases(tables.database),
        after=form_result(console, request),
    )


async def case(console: Console, request: PageRequest) -> Response:
    """Show a case, its subject and the possible actions."""
    found = await _case(console, request)
    tables = console.platform.tables
    return console.page(
        request, "operations/case.html", case=found, key=new_key(), me=request.by.account,
        is_payment=await tables.payments.exists(found.subject), after=form_result(console, request),
        deposit=await held_deposit(console, found.subject) if found.kind == DEPOSIT_HELD else None,
        vin=await tables.entitlements.vehicle_of(found.subject) if found.kind in DRIFTS else None,
        decisions=tuple(DepositDecision), is_decided=found.kind in DECIDED_OTHERWISE,
        waits_for_document=found.kind in HELD_BY,
    )  # fmt: skip


async def take(console: Console, request: PageRequest) -> Response:
    """Assign a case to the caller."""
    case_id: UUID = request.ids["case_id"]
    return await acted(
        console, request, f"/operations/cases/{case_id}",
        lambda: console.platform.tables.cases.take(case_id, owner=request.by.name),
    )  # fmt: skip


async def close(console: Console, request: PageRequest) -> Response:
    """Close a case with a note."""
    case_id: UUID = request.ids["case_id"]

    async def act() -> None:
        resolution = filled(request.form, "resolution", chars_max=RESOLUTION_CHARS_MAX)
        if resolution is None:
            raise NoteNeededError
        found = await _case(console, request)
        await refuse_personal_data(console.platform.tables.database, found.subject, resolution)
        await console.platform.tables.cases.resolve(
            case_id, resolution=resolution, owner=request.by.name
        )

    return await acted(console, request, f"/operations/cases/{case_id}", act)


async def issue_document(console: Console, request: PageRequest) -> Response:
    """Issue the document of a case; issuing it closes the case."""
    found = await _case(console, request)
    return await acted(
        console, request, f"/operations/cases/{found.id}",
        lambda: console.platform.invoices.issuing.issue_again(found.subject),
    )  # fmt: skip


async def _case(console: Console, request: PageRequest) -> Case:
    try:
        return await console.platform.tables.cases.get(request.ids["case_id"])
    except NotFoundError as error:
        raise NothingHereError from error


OPERATIONS_CASE_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/cases", cases, OPERATIONS),
    get("/operations/cases/{case_id:uuid}", case, OPERATIONS),
    post("/operations/cases/{case_id:uuid}/take", take, OPERATIONS),
    post("/operations/cases/{case_id:uuid}/close", close, OPERATIONS),
    post("/operations/cases/{case_id:uuid}/document", issue_document, OPERATIONS),
    *OPERATIONS_DEPOSIT_ROUTES,
)


async def alert(console: Console, request: PageRequest) -> Response:
    """Redirect to the newest case with the alert's kind and subject, or to the payment."""
    alert_id: UUID = request.ids["alert_id"]
    alerted = await console.platform.notifications.alerted(alert_id)
    if alerted is None:
        raise NothingHereError
    tables = console.platform.tables
    cases = await tables.cases.listed(status=None, subject=alerted.subject, kind=alerted.kind)
    if cases:
        return see_other(f"/operations/cases/{cases[0].id}")
    if await tables.payments.exists(alerted.subject):
        return see_other(f"/operations/payments/{alerted.subject}")
    return see_other(f"/operations/payments?q={alerted.subject}")


OPERATIONS_ALERT_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/alerts/{alert_id:uuid}", alert, OPERATIONS),
)


async def unknown(console: Console, request: PageRequest) -> Response:
    """List payments with an unknown outcome, with live updates."""
    return await _page(console, request, "operations/unknown.html")


async def unknown_live(console: Console, request: PageRequest) -> Response:
    """Return the live fragment if anything has changed."""
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


FILTERS: Final = ("all", "paused", "overdue")


async def work(console: Console, request: PageRequest) -> Response:
    """List jobs: paused ones first, then those due longest."""
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
    """Resume paused jobs."""
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
