"""Provider report files: upload, preview and saved formats.

Rules a change must keep: a preview applies nothing; a file's error is shown in the words of its
parser, with the run of its day or in its case.
"""

import re
from datetime import date
from typing import Any, Final

import msgspec

from caas.console.context import Console
from caas.console.form_actions import acted, form_result, new_key, once
from caas.console.formats import net_typed
from caas.console.operations_payments import attachment
from caas.console.page_routes import OPERATIONS, PageRoute, get, post
from caas.console.reconciliation_paths import PATH as DAYS
from caas.console.reconciliation_paths import path_of
from caas.console.request import PageRequest
from caas.errors import NotFoundError, RefusedError, UnavailableError
from caas.external_systems.report_files import BadReportError
from caas.external_systems.report_mappings import MappingRefusedError
from caas.reconciliation import Expected
from caas.reconciliation.finance_terms import Preview
from caas.rules.money import Money
from caas.web.response import Response, refused

CASES: Final = "/operations/cases"
PATH: Final = "/operations/report-formats"


class NoFileChosenError(RefusedError):
    """Choose a file."""

    code = "no_file_chosen"


class LinesNotReadError(RefusedError):
    """Type how many lines the file has after its header as a whole number."""

    code = "lines_not_read"


async def formats(console: Console, request: PageRequest) -> Response:
    """List the known formats, and show the form for a preview."""
    return await _page(console, request, None, "")


async def preview(console: Console, request: PageRequest) -> Response:
    """Show the result of parsing a file, without applying it."""
    if request.upload is None:
        return await _page(console, request, None, NoFileChosenError().sentence)
    try:
        tried = _mapping_of(request) if request.form.get("mapping", "").strip() else None
        seen = await console.platform.reconciliation.preview_content(request.upload.content, tried)
    except (BadReportError, MappingRefusedError) as error:
        return await _page(console, request, None, error.sentence)
    return await _page(console, request, seen, "")


async def keep(console: Console, request: PageRequest) -> Response:
    """Store a mapping as the newest version of its name."""
    name = request.form.get("name", "").strip()

    async def act() -> None:
        terms = console.platform.reconciliation.finance_terms
        await terms.keep_mapping(name, _mapping_of(request), by=request.by.name)

    return await acted(console, request, PATH, act)


async def delete(console: Console, request: PageRequest) -> Response:
    """Retire a mapping; its versions are kept."""
    name = request.form.get("name", "")

    async def act() -> None:
        terms = console.platform.reconciliation.finance_terms
        await terms.retire_mapping(name, by=request.by.name)

    return await acted(console, request, PATH, act)


async def mapping(console: Console, request: PageRequest) -> Response:
    """Return a mapping as a file."""
    terms = console.platform.reconciliation.finance_terms
    known = dict(await terms.shipped()) | {it.name: it.mapping for it in await terms.mappings()}
    wanted = request.query.get("name", "")
    content = msgspec.json.format(msgspec.json.encode(known.get(wanted, {})))
    return attachment(content, "mapping.json", b"application/json")


async def take(console: Console, request: PageRequest) -> Response:
    """Reconcile a day from an uploaded file."""
    upload, text = request.upload, request.form.get("day", "")
    net = request.form.get("net", "").strip()
    lines = request.form.get("lines", "").strip()
    gateway = request.form.get("gateway") or None

    async def work() -> str:
        if upload is None:
            raise NoFileChosenError
        nets = (net_typed(net, request.language),) if net else ()
        expected = Expected(lines=_lines_typed(lines) if lines else None, nets=nets)
        done = await console.platform.reconciliation.reconcile_content(
            date.fromisoformat(text), upload.content, gateway=gateway, expected=expected
        )
        return f"{path_of(console, done.day)}?done=1"

    try:
        date.fromisoformat(text)
    except ValueError:
        return refused(DAYS, "no_such_day")
    try:
        return await once(console, request, work)
    except UnavailableError:
        raise
    except BadReportError as refusal:
        page = await _refusal_page(console, date.fromisoformat(text), gateway)
        return refused(page, refusal.code)
    except RefusedError as refusal:
        return refused(DAYS, refusal.code)


async def _refusal_page(console: Console, day: date, gateway: str | None) -> str:
    """Return the page with a file's error: its day, or its case if there is no day."""
    try:
        return path_of(console, await console.platform.reconciliation.verdict(day, gateway=gateway))
    except NotFoundError:
        return CASES


def _lines_typed(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise LinesNotReadError
    return int(text)


def _mapping_of(request: PageRequest) -> dict[str, Any]:
    try:
        mapping: dict[str, Any] = msgspec.json.decode(request.form.get("mapping", ""), type=dict)
    except msgspec.MsgspecError as error:
        raise MappingRefusedError(f"It is no JSON: {error}.") from error
    return mapping


async def _page(
    console: Console, request: PageRequest, seen: Preview | None, refusal: str
) -> Response:
    terms = console.platform.reconciliation.finance_terms
    return console.page(
        request, "operations/report_formats.html", kept=await terms.mappings(),
        shipped=sorted(set(await terms.shipped()) - {it.name for it in await terms.mappings()}),
        seen=seen, refusal=refusal, money_of=Money,
        path=PATH, key=new_key(), after=form_result(console, request),
    )  # fmt: skip


OPERATIONS_REPORT_FORMAT_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, formats, OPERATIONS),
    post(PATH, keep, OPERATIONS),
    get(PATH + "/mapping.json", mapping, OPERATIONS),
    post(PATH + "/preview", preview, OPERATIONS, takes_file=True),
    post(PATH + "/delete", delete, OPERATIONS),
    post("/operations/report-files", take, OPERATIONS, takes_file=True),
)
