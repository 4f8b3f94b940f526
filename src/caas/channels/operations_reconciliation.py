"""Days of the reconciliation (Diagram 10): their verdict, their seal, their report, also as files.

Rules a change must keep: a verdict is computed by the room and never told by a form; a seal carries
a name and is for ever; the page and the files say the same, because they are made of one report.
"""

from datetime import date
from typing import Final
from uuid import UUID

from caas.channels.acting import acted, told
from caas.channels.confirmation import asks
from caas.channels.operations_discrepancies import OPERATIONS_DISCREPANCY_ROUTES
from caas.channels.operations_finance import OPERATIONS_FINANCE_ROUTES
from caas.channels.operations_payments import attachment
from caas.channels.operations_report_formats import OPERATIONS_REPORT_FORMAT_ROUTES
from caas.channels.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key, once
from caas.channels.visit import Visit
from caas.dual_control import NOTE_CHARS_MAX
from caas.errors import NotFoundError, RefusedError, UnavailableError
from caas.payment_processing.reconciliation.reporting import ReconciliationReport
from caas.rules.money import Money
from caas.web.response import Response, refused, see_other

PATH: Final = "/operations/reconciliation"
KINDS: Final = {
    "closed": "good", "open discrepancies": "warn", "incomplete": "bad", "in progress": "busy",
}  # fmt: skip


class NoSuchDayError(RefusedError):
    """That is no day."""

    code = "no_such_day"


async def days(channels: Channels, visit: Visit) -> Response:
    """Show every day with its verdict."""
    room = channels.rooms.reconciliation
    listed = await room.days.listed(room.gateway_name)
    today, _ = await room.days.today()
    return channels.page(
        visit, "operations/days.html", days=listed, kinds=KINDS, today=today, key=new_key(),
        after=told(channels, visit),
    )  # fmt: skip


async def day(channels: Channels, visit: Visit) -> Response:
    """Show a day's report."""
    report = await _report(channels, visit)
    return channels.page(
        visit, "operations/day.html", report=report, day=report.day, figures=report.figures,
        money_of=Money,
        kinds=KINDS, key=new_key(), path=f"{PATH}/{report.day.day}", after=told(channels, visit),
    )  # fmt: skip


async def day_csv(channels: Channels, visit: Visit) -> Response:
    """Give a day's report as CSV."""
    return await _file(channels, visit, "csv", b"text/csv; charset=utf-8")


async def day_pdf(channels: Channels, visit: Visit) -> Response:
    """Give a day's report on paper."""
    return await _file(channels, visit, "pdf", b"application/pdf")


async def reconcile(channels: Channels, visit: Visit) -> Response:
    """Reconcile a day now: fetch its report, compare, judge."""
    wanted = _day(visit.form.get("day", ""))

    async def work() -> str:
        if wanted is None:
            raise NoSuchDayError
        await channels.rooms.reconciliation.reconcile(wanted)
        return f"{PATH}/{wanted}?done=1"

    try:
        return await once(channels, visit, work)
    except UnavailableError:
        raise
    except RefusedError as refusal:
        return refused(PATH, refusal.code)


async def about_to_seal(channels: Channels, visit: Visit) -> Response:
    """Say what sealing a day does, and ask."""
    report = await _report(channels, visit)
    back = f"{PATH}/{report.day.day}"
    if report.day.verdict != "closed" or report.day.sealed_at:
        return see_other(back)
    return asks(channels, visit, "seal", back=back, name=str(report.day.day))


async def seal(channels: Channels, visit: Visit) -> Response:
    """Seal a closed day for ever."""
    wanted = _day_of(visit)
    return await acted(
        channels, visit, f"{PATH}/{wanted}",
        lambda: channels.rooms.reconciliation.seal(wanted, by=visit.by.name),
    )  # fmt: skip


async def release(channels: Channels, visit: Visit) -> Response:
    """Say why a line that could not be read need not come again."""
    wanted, report_id = _day_of(visit), visit.ids["report_id"]
    place, note = visit.ids["place"], visit.form.get("note", "").strip()[:NOTE_CHARS_MAX]
    if not isinstance(report_id, UUID) or not place.isdigit():
        raise NothingHereError
    room = channels.rooms.reconciliation
    return await acted(
        channels, visit, f"{PATH}/{wanted}",
        lambda: room.release_quarantined(report_id, int(place), by=visit.by.name, note=note),
    )  # fmt: skip


async def _file(channels: Channels, visit: Visit, form: str, kind: bytes) -> Response:
    day = _day_of(visit)
    try:
        content = await channels.rooms.reconciliation.reporting.file(day, form)
    except NotFoundError as error:
        raise NothingHereError from error
    return attachment(content, f"reconciliation-{day}.{form}", kind)


async def _report(channels: Channels, visit: Visit) -> ReconciliationReport:
    try:
        return await channels.rooms.reconciliation.reporting.report(_day_of(visit))
    except NotFoundError as error:
        raise NothingHereError from error


def _day_of(visit: Visit) -> date:
    wanted = _day(visit.ids["day"])
    if wanted is None:
        raise NothingHereError
    return wanted


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


OPERATIONS_RECONCILIATION_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, days, OPERATIONS),
    post(PATH, reconcile, OPERATIONS),
    get(PATH + "/{day:word}", day, OPERATIONS),
    get(PATH + "/{day:word}.csv", day_csv, OPERATIONS),
    get(PATH + "/{day:word}.pdf", day_pdf, OPERATIONS),
    get(PATH + "/{day:word}/seal", about_to_seal, OPERATIONS),
    post(PATH + "/{day:word}/seal", seal, OPERATIONS),
    post(PATH + "/{day:word}/lines/{report_id:uuid}/{place:word}", release, OPERATIONS),
    *OPERATIONS_DISCREPANCY_ROUTES,
    *OPERATIONS_REPORT_FORMAT_ROUTES,
    *OPERATIONS_FINANCE_ROUTES,
)
