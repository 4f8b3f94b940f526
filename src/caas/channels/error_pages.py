"""What people are told when something could not be done: plainly, in their language, with a way on.

The words of an error stand under `error.<code>`; an error without words of its own is told by its
kind. An error of ours says nothing of the inside and gives the number to quote.

Rules a change must keep: a part of a page that fails never shows a page within the page; what was
typed in and refused is not shown again here.
"""

import math
from typing import Final

from caas.channels.replies import Reply, html
from caas.channels.rooms import Channels
from caas.channels.visit import Visit
from caas.errors import CaasError, UnavailableError

FAILURE: Final = 500


def words_of(channels: Channels, visit: Visit, error: Exception) -> tuple[str, str]:
    """Return an error's title and what a person can do about it."""
    t = channels.renderer.translator(visit.language)
    key = _key(error)
    if not t.knows(f"error.{key}.title"):
        key = _kind(error)
    wait = _wait_seconds(error)
    facts = {"minutes": math.ceil(wait / 60)} if wait is not None else {}
    return t(f"error.{key}.title"), t(f"error.{key}.text", **facts)


def error_page(channels: Channels, visit: Visit, error: Exception) -> Reply:
    """Return the page that tells of an error."""
    status = error.http_status if isinstance(error, CaasError) else FAILURE
    wait = _wait_seconds(error)
    later = ((b"retry-after", b"%d" % wait),) if wait is not None else ()
    if visit.is_partial:
        return Reply(status).with_headers(*later)
    title, text = words_of(channels, visit, error)
    page = channels.renderer.render(
        visit,
        "error.html",
        title=title,
        text=text,
        number=visit.request_id if status >= FAILURE else None,
    )
    return html(page, status=status).with_headers(*later)


def _wait_seconds(error: Exception) -> int | None:
    """Return how long to wait before trying again, where an error says so."""
    wait = error.facts.get("retry_after_seconds") if isinstance(error, CaasError) else None
    return wait if isinstance(wait, int) else None


def _key(error: Exception) -> str:
    return error.code if isinstance(error, CaasError) else "failure"


def _kind(error: Exception) -> str:
    if isinstance(error, UnavailableError):
        return "unavailable"
    status = error.http_status if isinstance(error, CaasError) else FAILURE
    kinds = {404: "nothing_here", 409: "conflict"}
    return kinds.get(status, "refused" if status < FAILURE else "failure")
