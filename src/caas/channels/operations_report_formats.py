"""Report files in the console: sent for a day, previewed, and the formats that finance keeps.

Rules a change must keep: a preview applies nothing; what is wrong with a file is told in the words
of whoever read it, and stands with the run of its day, or in its case.
"""

import re
from datetime import date
from typing import Any, Final

import msgspec

from caas.channels.acting import acted, told
from caas.channels.amounts import net_typed
from caas.channels.operations_payments import attachment
from caas.channels.page_routes import OPERATIONS, PageRoute, get, post
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key, once
from caas.channels.visit import Visit
from caas.errors import NotFoundError, RefusedError, UnavailableError
from caas.external_systems.report_files import BadReportError
from caas.external_systems.report_mappings import MappingRefusedError
from caas.payment_processing.reconciliation import Expected
from caas.payment_processing.reconciliation.finance_terms import Preview
from caas.rules.money import Money
from caas.web.response import Response, refused

DAYS: Final = "/operations/reconciliation"
CASES: Final = "/operations/cases"
PATH: Final = "/operations/report-formats"


class NoFileChosenError(RefusedError):
    """Choose a file."""

    code = "no_file_chosen"


class LinesNotReadError(RefusedError):
    """Type how many lines the file has after its header as a whole number."""

    code = "lines_not_read"


async def formats(channels: Channels, visit: Visit) -> Response:
    """Show the formats that are known, and take a file to look at."""
    return await _page(channels, visit, None, "")


async def preview(channels: Channels, visit: Visit) -> Response:
    """Show what a file would be read as; nothing of it is applied."""
    if visit.upload is None:
        return await _page(channels, visit, None, NoFileChosenError().sentence)
    try:
        tried = _mapping_of(visit) if visit.form.get("mapping", "").strip() else None
        seen = await channels.rooms.reconciliation.preview_content(visit.upload.content, tried)
    except (BadReportError, MappingRefusedError) as error:
        return await _page(channels, visit, None, error.sentence)
    return await _page(channels, visit, seen, "")


async def keep(channels: Channels, visit: Visit) -> Response:
    """Keep a mapping as the newest version of its name."""
    name = visit.form.get("name", "").strip()

    async def act() -> None:
        terms = channels.rooms.reconciliation.finance_terms
        await terms.keep_mapping(name, _mapping_of(visit), by=visit.by.name)

    return await acted(channels, visit, PATH, act)


async def delete(channels: Channels, visit: Visit) -> Response:
    """Use a mapping no more; its versions stay."""
    name = visit.form.get("name", "")

    async def act() -> None:
        terms = channels.rooms.reconciliation.finance_terms
        await terms.retire_mapping(name, by=visit.by.name)

    return await acted(channels, visit, PATH, act)


async def mapping(channels: Channels, visit: Visit) -> Response:
    """Give a mapping as a file."""
    terms = channels.rooms.reconciliation.finance_terms
    known = dict(await terms.shipped()) | {it.name: it.mapping for it in await terms.mappings()}
    wanted = visit.query.get("name", "")
    content = msgspec.json.format(msgspec.json.encode(known.get(wanted, {})))
    return attachment(content, "mapping.json", b"application/json")


async def take(channels: Channels, visit: Visit) -> Response:
    """Reconcile a day from a file that was sent."""
    upload, text = visit.upload, visit.form.get("day", "")
    net = visit.form.get("net", "").strip()
    lines = visit.form.get("lines", "").strip()

    async def work() -> str:
        if upload is None:
            raise NoFileChosenError
        nets = (net_typed(net, visit.language),) if net else ()
        expected = Expected(lines=_lines_typed(lines) if lines else None, nets=nets)
        done = await channels.rooms.reconciliation.reconcile_content(
            date.fromisoformat(text), upload.content, expected=expected
        )
        return f"{DAYS}/{done.day.day}?done=1"

    try:
        date.fromisoformat(text)
    except ValueError:
        return refused(DAYS, "no_such_day")
    try:
        return await once(channels, visit, work)
    except UnavailableError:
        raise
    except BadReportError as refusal:
        return refused(await _where_told(channels, date.fromisoformat(text)), refusal.code)
    except RefusedError as refusal:
        return refused(DAYS, refusal.code)


async def _where_told(channels: Channels, day: date) -> str:
    """Return where the refusal of a file stands: with its day, or with its case where none is."""
    try:
        await channels.rooms.reconciliation.verdict(day)
    except NotFoundError:
        return CASES
    return f"{DAYS}/{day}"


def _lines_typed(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise LinesNotReadError
    return int(text)


def _mapping_of(visit: Visit) -> dict[str, Any]:
    try:
        mapping: dict[str, Any] = msgspec.json.decode(visit.form.get("mapping", ""), type=dict)
    except msgspec.MsgspecError as error:
        raise MappingRefusedError(f"It is no JSON: {error}.") from error
    return mapping


async def _page(channels: Channels, visit: Visit, seen: Preview | None, refusal: str) -> Response:
    terms = channels.rooms.reconciliation.finance_terms
    return channels.page(
        visit, "operations/report_formats.html", kept=await terms.mappings(),
        shipped=sorted(set(await terms.shipped()) - {it.name for it in await terms.mappings()}),
        seen=seen, refusal=refusal, money_of=Money,
        path=PATH, key=new_key(), after=told(channels, visit),
    )  # fmt: skip


OPERATIONS_REPORT_FORMAT_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, formats, OPERATIONS),
    post(PATH, keep, OPERATIONS),
    get(PATH + "/mapping.json", mapping, OPERATIONS),
    post(PATH + "/preview", preview, OPERATIONS, takes_file=True),
    post(PATH + "/delete", delete, OPERATIONS),
    post("/operations/report-files", take, OPERATIONS, takes_file=True),
)
