"""A JSON client for the platform's public API and the simulators' control planes.

Rules a change must keep: a call of the platform carries the key of its scope; every POST carries an
Idempotency-Key; an answer is read to its end.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec

from caas.billing_database.identifiers import new_id

SECONDS_MAX: Final = 60.0


class UnexpectedAnswerError(Exception):
    """A call was answered in a way that the scenario does not expect."""


class Reply(msgspec.Struct, frozen=True):
    """An answer: its status, and its body as JSON (empty when it is none)."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """The stable code of a problem, empty for a success."""
        return str(self.body.get("code", "")) if self.status >= HTTPStatus.BAD_REQUEST else ""


class HttpClient:
    """An HTTP client of one address."""

    def __init__(self, session: aiohttp.ClientSession, url: str, keys: Mapping[str, str]) -> None:
        """Call this address; `keys` are the platform's API keys by scope."""
        self._session = session
        self._keys = keys
        self.url = url.rstrip("/")

    async def get(self, path: str, *, scope: str | None = None) -> Reply:
        """Send a GET request."""
        return await self.send("GET", path, scope=scope)

    async def post(
        self,
        path: str,
        body: object = None,
        *,
        scope: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a POST request with an idempotency key."""
        more = {"idempotency-key": key or str(new_id()), **(headers or {})}
        return await self.send("POST", path, body, scope=scope, headers=more)

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        scope: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request and read its answer."""
        sent = dict(headers or {})
        if scope is not None:
            sent["authorization"] = f"Bearer {self._keys[scope]}"
        limit = aiohttp.ClientTimeout(total=SECONDS_MAX)
        async with self._session.request(
            method, self.url + path, json=body, headers=sent, timeout=limit, allow_redirects=False
        ) as answer:
            return Reply(answer.status, _decoded(await answer.read()))


def require_success(reply: Reply, what: str) -> dict[str, Any]:
    """Return the body of a success.

    Raises:
        UnexpectedAnswerError: the reply is an error.
    """
    if reply.status >= HTTPStatus.BAD_REQUEST:
        data = reply.body.get("detail") or reply.body.get("code") or "no reason given"
        raise UnexpectedAnswerError(f"{what}: answered {reply.status}, {data}")
    return reply.body


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        data = msgspec.json.decode(body) if body else {}
    except msgspec.DecodeError:
        return {}
    return data if isinstance(data, dict) else {"data": data}
