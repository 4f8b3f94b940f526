"""Reconciled days (Diagram 10): status, seal and report files.

Rules a change must keep: Reconciliation computes the verdict; a seal records a name and is final;
the page and the files are made from one report.
"""

from datetime import date
from functools import partial
from typing import Final
from uuid import UUID

from caas.console.context import Console
from caas.console.form_actions import acted, asks, form_result, new_key, once
from caas.console.operations_discrepancies import OPERATIONS_DISCREPANCY_ROUTES
from caas.console.operations_finance import OPERATIONS_FINANCE_ROUTES
from caas.console.operations_payments import attachment
from caas.console.operations_report_formats import OPERATIONS_REPORT_FORMAT_ROUTES
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.reconciliation_paths import PATH, path_of
from caas.console.request import PageRequest
from caas.console.verdict_reasons import reasons_of_day, reasons_of_line, reasons_of_run
from caas.dual_control import NOTE_CHARS_MAX
from caas.errors import NotFoundError, RefusedError, UnavailableError
from caas.reconciliation.of_gateway import GatewayReconciliation
from caas.reconciliation.reporting import ReconciliationReport
from caas.rules.money import Money
from caas.web.response import Response, refused, see_other

KINDS: Final = {
    "closed": "good", "open discrepancies": "warn", "incomplete": "bad", "in progress": "busy",
}  # fmt: skip


class NoSuchDayError(RefusedError):
    """That is no day."""

    code = "no_such_day"


async def days(console: Console, request: PageRequest) -> Response:
    """List the days of every gateway with their verdicts."""
    reconciliation = console.platform.reconciliation
    listed = await reconciliation.listed()
    today, _ = await reconciliation.days.today()
    return console.page(
        request, "operations/days.html", days=listed, kinds=KINDS, today=today, key=new_key(),
        gateways=reconciliation.gateways, path_of=partial(path_of, console),
        because_of_day=reasons_of_day, after=form_result(console, request),
    )  # fmt: skip


async def day(console: Console, request: PageRequest) -> Response:
    """Show a day's report."""
    report = await _report(console, request)
    return console.page(
        request,
        "operations/day.html",
        report=report,
        day=report.day,
        figures=report.figures,
        money_of=Money,
        kinds=KINDS,
        key=new_key(),
        path=path_of(console, report.day),
        because_of_day=reasons_of_day,
        because_of_run=reasons_of_run,
        because_of_line=reasons_of_line,
        after=form_result(console, request),
    )


async def day_csv(console: Console, request: PageRequest) -> Response:
    """Return a day's report as CSV."""
    return await _file(console, request, "csv", b"text/csv; charset=utf-8")


async def day_pdf(console: Console, request: PageRequest) -> Response:
    """Return a day's report as PDF."""
    return await _file(console, request, "pdf", b"application/pdf")


async def reconcile(console: Console, request: PageRequest) -> Response:
    """Reconcile a day now: fetch its report, compare, compute the verdict."""
    wanted = _day(request.form.get("day", ""))

    async def work() -> str:
        if wanted is None:
            raise NoSuchDayError
        done = await console.platform.reconciliation.reconcile(
            wanted, gateway=request.form.get("gateway") or None
        )
        return f"{path_of(console, done.day)}?done=1"

    try:
        return await once(console, request, work)
    except UnavailableError:
        raise
    except RefusedError as refusal:
        return refused(PATH, refusal.code)


async def about_to_seal(console: Console, request: PageRequest) -> Response:
    """Ask to confirm a seal, and state its consequences."""
    report = await _report(console, request)
    back = path_of(console, report.day)
    if report.day.verdict != "closed" or report.day.sealed_at:
        return see_other(back)
    return asks(console, request, "seal", back=back, name=str(report.day.day))


async def seal(console: Console, request: PageRequest) -> Response:
    """Seal a closed day permanently."""
    day = (await _report(console, request)).day
    return await acted(
        console, request, path_of(console, day),
        lambda: console.platform.reconciliation.seal(
            day.day, by=request.by.name, gateway=day.gateway
        ),
    )  # fmt: skip


async def release(console: Console, request: PageRequest) -> Response:
    """Release an unreadable line, with the reason why the day can close without it."""
    day, report_id = (await _report(console, request)).day, request.ids["report_id"]
    place, note = request.ids["place"], request.form.get("note", "").strip()[:NOTE_CHARS_MAX]
    if not isinstance(report_id, UUID) or not place.isdigit():
        raise NothingHereError
    reconciliation = console.platform.reconciliation
    return await acted(
        console,
        request,
        path_of(console, day),
        lambda: reconciliation.release_quarantined(
            report_id, int(place), by=request.by.name, note=note
        ),
    )


async def _file(console: Console, request: PageRequest, form: str, kind: bytes) -> Response:
    day = _day_of(request)
    try:
        content = await _of(console, request).reporting.file(day, form)
    except NotFoundError as error:
        raise NothingHereError from error
    return attachment(content, f"reconciliation-{day}.{form}", kind)


async def _report(console: Console, request: PageRequest) -> ReconciliationReport:
    try:
        return await _of(console, request).reporting.report(_day_of(request))
    except NotFoundError as error:
        raise NothingHereError from error


def _of(console: Console, request: PageRequest) -> GatewayReconciliation:
    return console.platform.reconciliation.of(request.ids.get("gateway"))


def _day_of(request: PageRequest) -> date:
    wanted = _day(request.ids["day"])
    if wanted is None:
        raise NothingHereError
    return wanted


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _routes_of_days(path: str) -> tuple[PageRoute, ...]:
    return (
        get(path + "/{day:word}", day, OPERATIONS),
        get(path + "/{day:word}.csv", day_csv, OPERATIONS),
        get(path + "/{day:word}.pdf", day_pdf, OPERATIONS),
        get(path + "/{day:word}/seal", about_to_seal, OPERATIONS),
        post(path + "/{day:word}/seal", seal, OPERATIONS),
        post(path + "/{day:word}/lines/{report_id:uuid}/{place:word}", release, OPERATIONS),
    )


OPERATIONS_RECONCILIATION_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, days, OPERATIONS),
    post(PATH, reconcile, OPERATIONS),
    *_routes_of_days(PATH),
    *_routes_of_days(PATH + "/of/{gateway:word}"),
    *OPERATIONS_DISCREPANCY_ROUTES,
    *OPERATIONS_REPORT_FORMAT_ROUTES,
    *OPERATIONS_FINANCE_ROUTES,
)
