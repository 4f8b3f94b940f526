"""Runs a form action once and shows refusals on the page of the form.

What was typed stays in its fields: the page is shown again, filled in.

Rules a change must keep: what a room refuses changed nothing and is told in the reader's language;
where the browser goes afterwards is a path of ours and never one that came in with the form.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from caas.billing_database.idempotency import InFlightError, KeyReusedError
from caas.console.context import Console
from caas.console.idempotent_forms import once
from caas.console.request import PageRequest
from caas.errors import RefusedError
from caas.web.response import Response, refused


async def acted(
    console: Console, request: PageRequest, path: str, act: Callable[[], Awaitable[object]]
) -> Response:
    """Do what a form says, and go back to `path`; a refused form is shown there as it was sent."""

    async def work() -> str:
        await act()
        return f"{path}?done=1"

    try:
        return await once(console, request, work)
    except (KeyReusedError, InFlightError):
        raise
    except RefusedError as refusal:
        return refused(path, refusal.code)


@dataclass(frozen=True, slots=True)
class After:
    """What became of the form before this page: done, or the code of a refusal with words."""

    done: bool
    refused: str


def form_result(console: Console, request: PageRequest) -> After:
    """Return what a page says about the form before it."""
    t = console.renderer.translator(request.language)
    code = request.query.get("refused", "")
    known = code if t.knows(f"error.{code}.title") else "refused" if code else ""
    return After("done" in request.query, known)
