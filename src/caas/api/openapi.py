"""Generates the OpenAPI document from the operations that route and validate calls.

It lists every status: those of the operation, and those that the web edge can return for it.

Rule a change must keep: everything in the document derives from an operation, a struct or a limit.
"""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from caas.api.idempotency import KEY_CHARS_MAX, KEY_CHARS_MIN, KEY_PATTERN
from caas.api.operation import JSON, Operation
from caas.api.problems import Problem
from caas.api.texts import (
    DAY_PATTERN,
    MONTH_PATTERN,
    SERVICE_CODE_PATTERN,
    VIN_PATTERN,
    WRITTEN_PATTERN,
)
from caas.api.webhook_handler import WEBHOOK_TAG
from caas.rules.personal_data import NAME_CHARS_MAX
from caas.web.problems import MEDIA_TYPE
from caas.web.router import template_of

VERSION: Final = "1.0.0"
TITLE: Final = "CaaS payments"
REFERENCE: Final = "#/components/schemas/{name}"

ANY_CALL: Final = (400, 408, 422, 431, 500, 503)
CALLS_WITH_A_KEY: Final = (401, 403)
CALLS_WITH_A_BODY: Final = (413, 415)
CALLS_ABOUT_ONE: Final = (404,)
IDEMPOTENT_POSTS: Final = (409,)

_PLACE: Final = re.compile(r"{(\w+)(?::(\w+))?}")
_FILE: Final = {"type": "string", "format": "binary"}
_UUID: Final = {"type": "string", "format": "uuid"}
_PLACES: Final[Mapping[str, dict[str, Any]]] = {
    "vin": {"type": "string", "pattern": VIN_PATTERN.replace(r"\Z", "$")},
    "service_code": {"type": "string", "pattern": SERVICE_CODE_PATTERN.replace(r"\Z", "$")},
    "gateway": {"type": "string", "minLength": 1, "maxLength": 100},
    "month": {"type": "string", "pattern": MONTH_PATTERN.replace(r"\Z", "$")},
    "day": {"type": "string", "pattern": DAY_PATTERN.replace(r"\Z", "$")},
    "model": {
        "type": "string",
        "minLength": 1,
        "maxLength": NAME_CHARS_MAX,
        "pattern": WRITTEN_PATTERN.replace(r"\Z", "$"),
    },
    "problem": {"type": "string", "pattern": "^[a-z0-9_]{1,64}$"},
    "dispute": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
}
"""Descriptions of path parameters that are not our ids."""

_DESCRIPTION: Final = """
What CaaS subsystems call (Internal Payment API), and the subsystems around it. Money is `amount`
in minor units with `currency`; times are RFC 3339 in UTC; errors are `application/problem+json`.
Send `Authorization: Bearer <key>`, and an `Idempotency-Key` with every POST. Calls that
make a payment accept `Prefer: respond-async`: they return 202 as soon as the payment is stored.
""".strip()

Schema = dict[str, Any]


def document(operations: Iterable[Operation]) -> bytes:
    """Return the OpenAPI 3.1 document of these operations as JSON."""
    known = list(operations)
    schemas, references = _components(known)
    paths: dict[str, dict[str, Any]] = {}
    for operation in known:
        path = template_of(operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _described(operation, references)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": TITLE, "version": VERSION, "description": _DESCRIPTION},
            "servers": [{"url": "/"}],
            "security": [{"key": []}],
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def _components(operations: list[Operation]) -> tuple[Schema, dict[object, Schema]]:
    """Return every struct's schema by name, and a reference for each struct."""
    types: dict[object, None] = {Problem: None}
    for operation in operations:
        types |= {content: None for content in operation.answers.values() if content is not None}
        if operation.body is not None:
            types[operation.body.content] = None
        if operation.query is not None:
            types[operation.query.parameters] = None
    listed = list(types)
    references, schemas = msgspec.json.schema_components(listed, ref_template=REFERENCE)
    return _portable(schemas), dict(zip(listed, map(_portable, references), strict=True))


def _portable(schema: Any) -> Any:  # any JSON
    r"""Return the schema with portable regular expressions: `$` instead of `\\Z`."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\Z", "$") if key == "pattern" else _portable(value)
            for key, value in schema.items()
        }
    return [_portable(value) for value in schema] if isinstance(schema, list) else schema


def _described(operation: Operation, references: Mapping[object, Schema]) -> Schema:
    described: Schema = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": _responses(operation, references),
    }
    if operation.scopes:
        described["description"] = f"Scope: {' or '.join(sorted(operation.scopes))}."
    if not operation.needs_key:
        described["security"] = []
    if operation.body is not None:
        schema = references[operation.body.content]
        required = not _all_optional(operation.body.content)
        described["requestBody"] = {"required": required, "content": {JSON: {"schema": schema}}}
    return described


def _all_optional(content: type[msgspec.Struct]) -> bool:
    return all(not field.required for field in msgspec.structs.fields(content))


def _parameters(operation: Operation) -> list[Schema]:
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _UUID if kind == "uuid" else _PLACES[name],
        }
        for name, kind in _PLACE.findall(operation.path)
    ]
    if operation.query is not None:
        parameters += _query_parameters(operation.query.parameters)
    if operation.is_idempotent_post:
        parameters.append(_IDEMPOTENCY_KEY)
    if operation.pays:
        parameters.append(_PREFER)
    if operation.tag == WEBHOOK_TAG:
        parameters += _SIGNATURE_HEADERS
    return parameters


def _query_parameters(parameters: type[msgspec.Struct]) -> list[Schema]:
    (reference,), components = msgspec.json.schema_components([parameters])
    struct = components[reference["$ref"].rpartition("/")[2]]
    flat = {
        name: _portable(_inlined(schema, components))
        for name, schema in struct["properties"].items()
    }
    return [{"name": name, "in": "query", "schema": schema} for name, schema in flat.items()]


def _inlined(schema: Schema, components: Mapping[str, Schema]) -> Schema:
    """Return a parameter's schema without references or null: optional parameters are omitted."""
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    assert len(options) == 1, "a query parameter is of one kind"
    name = options[0].get("$ref", "").rpartition("/")[2]
    return dict(components[name]) if name else {**options[0], **_default_of(schema)}


def _default_of(schema: Schema) -> Schema:
    default = schema.get("default")
    return {} if default is None else {"default": default}


def _responses(operation: Operation, references: Mapping[object, Schema]) -> Schema:
    common = [*ANY_CALL]
    common += CALLS_WITH_A_KEY if operation.needs_key else ()
    common += CALLS_WITH_A_BODY if operation.method != "GET" else ()
    common += CALLS_ABOUT_ONE if "{" in operation.path else ()
    common += IDEMPOTENT_POSTS if operation.is_idempotent_post else ()
    answers = {**dict.fromkeys(common, Problem), **operation.answers}
    return {
        str(status): _response(status, content, operation, references)
        for status, content in sorted(answers.items())
    }


def _response(
    status: int, content: object, operation: Operation, references: Mapping[object, Schema]
) -> Schema:
    response: Schema = {
        "description": HTTPStatus(status).phrase,
        "headers": {"X-Request-Id": {"schema": {"type": "string"}}},
    }
    for name in _MORE_HEADERS.get(status, ()):
        response["headers"][name] = {"schema": {"type": "string"}}
    if content is Problem:
        response["content"] = {MEDIA_TYPE.decode(): {"schema": references[Problem]}}
    elif content is not None:
        schema = references.get(content, {"type": "string"})
        response["content"] = {operation.media_type: {"schema": schema}}
        if status == HTTPStatus.OK:
            response["content"] |= {media: {"schema": _FILE} for media in operation.also}
    return response


_MORE_HEADERS: Final[Mapping[int, tuple[str, ...]]] = {
    201: ("Location", "Idempotency-Replayed"),
    202: ("Location", "Retry-After", "Idempotency-Replayed"),
    401: ("WWW-Authenticate",),
    402: ("Idempotency-Replayed",),
    503: ("Retry-After",),
}
_IDEMPOTENCY_KEY: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "Unique per request; reuse it when you retry.",
    "schema": {
        "type": "string",
        "minLength": KEY_CHARS_MIN,
        "maxLength": KEY_CHARS_MAX,
        "pattern": KEY_PATTERN,
    },
}
_PREFER: Final[Schema] = {
    "name": "Prefer",
    "in": "header",
    "description": "respond-async: return 202 as soon as the payment is stored.",
    "schema": {"type": "string", "enum": ["respond-async"]},
}
_SIGNATURE_HEADERS: Final[list[Schema]] = [
    {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
]
