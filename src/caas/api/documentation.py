"""GET /openapi.json and GET /docs: the same document for programs and people.

The HTML page is generated here without scripts: common viewers load theirs from other origins,
which a payment system must not allow.
"""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import Any, Final

import msgspec

from caas.api import openapi
from caas.api.call import Call
from caas.api.context import Api
from caas.api.operation import Operation
from caas.api.pages import HTML, STYLE_PATH, page, style
from caas.web.response import JSON, Response

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
