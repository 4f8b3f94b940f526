"""Error pages with a localized title, explanation and link.

The text of an error has the key `error.<code>`; an error without its own text uses that of its
kind. The page of an internal error reveals no details and shows the request id to quote.

Rules a change must keep: an error in a fragment never nests a page in the page; rejected input is
not shown again here.
"""

import math

from caas.console.context import Console
from caas.console.formats import filters
from caas.console.request import PageRequest
from caas.dual_control import AlreadyApprovedError, AlreadyRejectedError
from caas.errors import CaasError, UnavailableError
from caas.web.problems import CLOSE, CallRefusedError
from caas.web.response import FAILURES_FROM, Response, html


def message_of(console: Console, request: PageRequest, error: CaasError) -> tuple[str, str]:
    """Return an error's title and what the reader can do about it."""
    t = console.renderer.translator(request.language)
    key = error.code
    if not t.knows(f"error.{key}.title"):
        key = _kind(error)
    wait = _wait_seconds(error)
    if isinstance(error, AlreadyApprovedError | AlreadyRejectedError):
        at = filters(request.language, console.settings.zone)["moment"](error.facts["at"])
        by = error.facts["by"] or t("error.another_person")
        return t(f"error.{key}.title"), t(f"error.{key}.text", by=by, at=at)
    facts = {"minutes": math.ceil(wait / 60)} if wait is not None else {}
    return t(f"error.{key}.title"), t(f"error.{key}.text", **facts)


def error_page(console: Console, request: PageRequest, error: CaasError) -> Response:
    """Return the page for an error."""
    status, wait = error.http_status, _wait_seconds(error)
    headers = error.headers if isinstance(error, CallRefusedError) else ()
    later = tuple(header for header in headers if header != CLOSE)
    if wait is not None:
        later = (*later, (b"retry-after", b"%d" % wait))
    if request.is_partial:
        return Response(status).with_headers(*later)
    title, text = message_of(console, request, error)
    page = console.renderer.render(
        request,
        "error.html",
        title=title,
        text=text,
        number=request.request_id if status >= FAILURES_FROM else None,
    )
    return html(page, status=status).with_headers(*later)


def _wait_seconds(error: CaasError) -> int | None:
    """Return the retry delay in seconds if the error has one."""
    wait = error.facts.get("retry_after_seconds")
    return wait if isinstance(wait, int) else None


def _kind(error: CaasError) -> str:
    if isinstance(error, UnavailableError):
        return "unavailable"
    kinds = {404: "nothing_here", 409: "conflict"}
    return kinds.get(
        error.http_status, "refused" if error.http_status < FAILURES_FROM else "failure"
    )
