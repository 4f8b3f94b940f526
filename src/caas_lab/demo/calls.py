"""How the demonstration speaks: JSON over HTTP, to the platform's public API and to control planes.

Rules a change must keep: the platform is asked only what its public API offers, with the key of
whoever asks; every POST carries an Idempotency-Key; an answer is read to its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec

from caas.billing_database.identifiers import new_id

SECONDS_MAX: Final = 60.0


class UnexpectedAnswerError(Exception):
    """Somebody answered what this scene of the demonstration has no use for."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, and its body as JSON (empty when it is none)."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """The stable code of a problem, empty for a success."""
        return str(self.body.get("code", "")) if self.status >= HTTPStatus.BAD_REQUEST else ""


class Caller:
    """One party that speaks HTTP to one address."""

    def __init__(self, session: aiohttp.ClientSession, url: str, keys: Mapping[str, str]) -> None:
        """Speak to this address; `keys` are the platform's, by scope."""
        self._session = session
        self._keys = keys
        self.url = url.rstrip("/")

    async def get(self, path: str, *, scope: str | None = None) -> Reply:
        """Ask for something."""
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
        """Have something done, once for each key."""
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


def done(reply: Reply, what: str) -> dict[str, Any]:
    """Return the body of a success.

    Raises:
        UnexpectedAnswerError: it was none; the sentence says what was answered.
    """
    if reply.status >= HTTPStatus.BAD_REQUEST:
        told = reply.body.get("detail") or reply.body.get("code") or "no reason given"
        raise UnexpectedAnswerError(f"{what}: answered {reply.status}, {told}")
    return reply.body


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(body) if body else {}
    except msgspec.DecodeError:
        return {}
    return told if isinstance(told, dict) else {"data": told}
