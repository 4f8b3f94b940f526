"""A request as the API and the pages see it.

`route` is the path template; `ids` are the path parameters.

Rule a change must keep: a client's request id is accepted only if it is safe in log lines and
headers.
"""

import re
from typing import Any, Final

import msgspec

from caas.web.card_refusal import holds_one, may_hold_one

UNMATCHED: Final = "unmatched"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")

Scope = dict[str, Any]


class Request(msgspec.Struct):
    """A request, completed step by step while it is handled."""

    scope: Scope
    method: str
    path: str
    headers: dict[bytes, bytes]
    request_id: str
    body: bytes = b""
    route: str = UNMATCHED
    ids: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def address(self) -> str:
        """The client's network address."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""


def given_request_id(headers: dict[bytes, bytes]) -> str | None:
    """Return the request id sent by the client, or None if it is absent or unsafe."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        text = given.decode("ascii")
        if not (may_hold_one(given) and holds_one(text)):
            return text
    return None
