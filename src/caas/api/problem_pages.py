"""GET /problems/{code}: the documentation page behind a problem's `type` (RFC 9457).

The pages are generated from the error classes, so every code has one.
"""

from html import escape
from typing import Final

from caas.api.call import Call
from caas.api.context import Api
from caas.api.operation import Operation
from caas.api.pages import HTML, page
from caas.api.problems import Problem
from caas.errors import CaasError
from caas.web.problems import NoSuchRouteError, is_deliverable_class, title_of, type_uri
from caas.web.response import Response

TAG: Final = "documentation"
_ADVICE: Final = {
    400: "Fix the request and send it again.",
    401: "Send valid credentials.",
    402: "Nothing was charged. Ask the customer for another payment method.",
    403: "Use a key with the required scope.",
    404: "Check the id or the path.",
    405: "Use a method from the Allow header.",
    408: "Send it again without pauses.",
    409: "Read the current state before you retry. An earlier request may have succeeded.",
    413: "Send less.",
    414: "Send a shorter URL.",
    415: "Send JSON.",
    422: "Fix the request. Retrying it unchanged will fail.",
    429: "Wait for the time in Retry-After. The RateLimit header shows what is left.",
    431: "Send fewer or shorter headers.",
    500: "It may have been done, wholly or in part. Send the same request with the same key again, "
    "or find the payment by its id or key; quote the instance to an operator.",
    503: "It may have been done. Wait as long as Retry-After says and send the same request with "
    "the same key again: nothing is done twice.",
}


def known_errors() -> dict[str, type[CaasError]]:
    """Return every error that callers can receive, by code."""
    found: dict[str, type[CaasError]] = {}
    families: list[type[CaasError]] = [CaasError]
    while families:
        family = families.pop()
        families += family.__subclasses__()
        if is_deliverable_class(family):
            found.setdefault(family.code, family)
    return dict(sorted(found.items()))


async def problem_list(_api: Api, _call: Call) -> Response:
    """Return the list of all problems."""
    rows = "".join(
        f'<li><a href="{type_uri(code)}"><code>{escape(code)}</code></a> '
        f"{error.http_status}: {escape(_meaning(error))}</li>"
        for code, error in known_errors().items()
    )
    return page("Problems", f"<ul>{rows}</ul>")


async def problem_page(_api: Api, call: Call) -> Response:
    """Return the page of one problem."""
    error = known_errors().get(call.ids["problem"])
    if error is None:
        raise NoSuchRouteError("No problem has this code. GET /problems lists them.")
    advice = _ADVICE.get(error.http_status, "")
    body = (
        f"<p><strong>{error.http_status}</strong> <code>{escape(error.code)}</code></p>"
        f"<p>{escape(_meaning(error))}</p><p>{escape(advice)}</p>"
    )
    return page(title_of(error.code), body)


def _meaning(error: type[CaasError]) -> str:
    return " ".join((error.__doc__ or "").split())


PROBLEM_OPERATIONS: Final = (
    Operation(
        id="listProblems", tag=TAG, method="GET", path="/problems", needs_key=False,
        answers={200: str}, media_type=HTML, handle=problem_list,
    ),
    Operation(
        id="explainProblem", tag=TAG, method="GET", path="/problems/{problem:str}", needs_key=False,
        answers={200: str, 404: Problem}, media_type=HTML, handle=problem_page,
    ),
)  # fmt: skip
