"""GET /openapi.json, /docs and /problems: the API's documentation for programs and people.

/openapi.json and /docs are the same document. A page of /problems/{code} is the documentation
behind a problem's `type` (RFC 9457); the pages are generated from the error classes, so every code
has one. The HTML is generated here: common viewers load theirs from other origins, which a payment
system must not allow.

Rule a change must keep: the pages are static, without scripts or other origins.
"""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import Any, Final

import msgspec

from caas.api import openapi
from caas.api.authentication import Call
from caas.api.context import Api
from caas.api.operation import Operation
from caas.api.problems import Problem
from caas.errors import CaasError
from caas.web.problems import NoSuchRouteError, is_deliverable_class, title_of, type_uri
from caas.web.response import JSON, Response

HTML: Final = "text/html"
STYLE_PATH: Final = "/docs/style.css"
STYLE: Final = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { background: #f3f3f3; padding: .75rem; overflow-x: auto; border-radius: .25rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid #ccc;
  vertical-align: top; }
summary { cursor: pointer; padding: .35rem 0; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700; }
a { color: #0b5394; }
@media (prefers-color-scheme: dark) {
  body { color: #eee; background: #161616; }
  pre { background: #242424; }
  th, td { border-color: #444; }
  a { color: #8ab4f8; }
}
""".strip()
_POLICY: Final = (
    b"content-security-policy",
    (
        b"default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        b"form-action 'none'"
    ),
)


def page(title: str, body: str) -> Response:
    """Return a page with this title and this HTML body."""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="{STYLE_PATH}"></head>'
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    return Response(200, text.encode(), ((b"content-type", b"text/html; charset=utf-8"), _POLICY))


def style() -> Response:
    """Return the style sheet of the pages."""
    return Response(200, STYLE.encode(), ((b"content-type", b"text/css; charset=utf-8"),))


TAG: Final = "documentation"


def documentation_operations(documented: Sequence[Operation]) -> tuple[Operation, ...]:
    """Return the operations that document these operations and themselves."""
    answers: dict[str, Response] = {}

    async def openapi_json(_api: Api, _call: Call) -> Response:
        """Return the OpenAPI document."""
        return answers["json"]

    async def docs(_api: Api, _call: Call) -> Response:
        """Return the API reference as an HTML page."""
        return answers["page"]

    async def docs_style(_api: Api, _call: Call) -> Response:
        """Return the style sheet of the API pages."""
        return style()

    own = (
        Operation(
            id="openapi", tag=TAG, method="GET", path="/openapi.json", needs_key=False,
            answers={200: dict}, handle=openapi_json,
        ),
        Operation(
            id="docs", tag=TAG, method="GET", path="/docs", needs_key=False, answers={200: str},
            media_type=HTML, handle=docs,
        ),
        Operation(
            id="docsStyle", tag=TAG, method="GET", path=STYLE_PATH, needs_key=False,
            answers={200: str}, media_type="text/css", handle=docs_style,
        ),
    )  # fmt: skip
    document = openapi.document([*documented, *own])
    answers["json"] = Response(200, document, (JSON,))
    answers["page"] = page(openapi.TITLE, _body(msgspec.json.decode(document)))
    return own


def _body(document: dict[str, Any]) -> str:
    calls = [
        (operation["tags"][0], path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    chapters = groupby(sorted(calls, key=lambda call: call[0]), key=lambda call: call[0])
    introduction = "".join(
        f"<p>{escape(part)}</p>" for part in document["info"]["description"].split("\n\n")
    )
    contents = "".join(
        f"<h2>{escape(tag.capitalize())}</h2>" + "".join(_call(*call[1:]) for call in chapter)
        for tag, chapter in chapters
    )
    schemas = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<pre>{_pretty(schema)}</pre></details>"
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    links = '<p><a href="/openapi.json">openapi.json</a> · <a href="/problems">Problems</a></p>'
    return f"{introduction}{links}{contents}<h2>Schemas</h2>{schemas}"


def _call(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{parameter['in']}</td>"
        f"<td><code>{_pretty(parameter['schema'])}</code></td></tr>"
        for parameter in operation["parameters"]
    )
    answers = "".join(
        f"<tr><td>{status}</td><td>{escape(response['description'])}</td>"
        f"<td>{_kinds(response.get('content', {}))}</td></tr>"
        for status, response in operation["responses"].items()
    )
    body = operation.get("requestBody", {}).get("content", {})
    return (
        f'<details id="{escape(operation["operationId"])}"><summary>'
        f'<span class="method">{method.upper()}</span><code>{escape(path)}</code> '
        f"{escape(operation['summary'])}</summary>"
        f"<p><code>{escape(operation['operationId'])}</code> "
        f"{escape(operation.get('description', ''))}</p>"
        + (f"<p>Body: {_kinds(body)}</p>" if body else "")
        + (f"<table>{parameters}</table>" if parameters else "")
        + f"<table>{answers}</table></details>"
    )


def _kinds(content: dict[str, Any]) -> str:
    return ", ".join(f"{escape(kind)} {_link(value['schema'])}" for kind, value in content.items())


def _link(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    return f'<a href="#{escape(name)}"><code>{escape(name)}</code></a>' if name else ""


def _pretty(value: object) -> str:
    return escape(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


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
