"""The files of a conformance run, and the HTTP requests in them that make a sandbox do something.

Rule a change must keep: unknown names are errors, so that a typing error never leaves a case out.
"""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import aiohttp
import msgspec

from caas.errors import StartupError
from caas_lab.conformance.cases import MeansMissingError

Content = TypeVar("Content")
SECONDS_MAX: Final = 30.0


class SandboxRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An HTTP request; names in braces, such as `{id}`, stand for their values."""

    url: str
    method: Literal["POST", "PUT", "DELETE", "GET"] = "POST"
    form: dict[str, str] | None = None
    json: dict[str, Any] | None = None
    headers: dict[str, str] = {}


Requests = SandboxRequest | list[SandboxRequest]


def read_file(path: Path, content: type[Content]) -> Content:
    """Read a TOML file.

    Raises:
        StartupError: it cannot be read, or something in it is unknown or missing.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=content)
    except (OSError, ValueError) as error:
        raise StartupError(f"{path} cannot be used: {error}.") from error


async def send(name: str, requests: Requests | None, values: Mapping[str, str]) -> None:
    """Send the request of `[sandbox.name]`, or each of `[[sandbox.name]]` in their order.

    Raises:
        MeansMissingError: there is none, or the sandbox refuses.
    """
    if requests is None:
        raise MeansMissingError(f"The file has no [sandbox.{name}].")
    for request in requests if isinstance(requests, list) else [requests]:
        await _send(name, request, values)


async def _send(name: str, request: SandboxRequest, values: Mapping[str, str]) -> None:
    timeout = aiohttp.ClientTimeout(total=SECONDS_MAX)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(
            request.method, _filled(request.url, values), data=_filled(request.form, values),
            json=_filled(request.json, values), headers=request.headers, allow_redirects=False,
        ) as answer,
    ):  # fmt: skip
        if answer.status >= HTTPStatus.BAD_REQUEST:
            reason = f"The sandbox refuses [sandbox.{name}] with status {answer.status}."
            raise MeansMissingError(reason)


def _filled(template: Any, values: Mapping[str, str]) -> Any:
    if isinstance(template, dict):
        return {name: _filled(value, values) for name, value in template.items()}
    if not isinstance(template, str):
        return template
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", value)
    return template
