"""One request as every part of the API sees it: who, what, under which id.

`route` is the address as a template, and `ids` are the values of its places.

Rule a change must keep: the request id of a caller is taken over only when it is harmless in a log
line and in a header.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from caas.api.authentication import Caller
from caas.api.card_refusal import holds_one, may_hold_one
from caas.rules.rate_limits import Quota

SCOPE_KEY: Final = "caas.call"
UNMATCHED: Final = "unmatched"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")

Scope = dict[str, Any]


@dataclass(slots=True)
class Call:
    """A request under way; the front door fills in what it learns."""

    scope: Scope
    method: str
    path: str
    headers: dict[bytes, bytes]
    request_id: str
    body: bytes = b""
    caller: Caller | None = None
    quota: Quota | None = None
    route: str = UNMATCHED
    ids: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where on the network the request comes from."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""

    @property
    def by(self) -> Caller:
        """The caller, of whom the front door made sure."""
        assert self.caller is not None, "a call that needs a caller passed the authentication"
        return self.caller


def call_of(scope: Scope, fresh_ids: Iterator[str]) -> Call:
    """Begin a call from the request's head; without an id of its own it gets a fresh one."""
    headers = dict(scope["headers"])
    request_id = _request_id(headers) or next(fresh_ids)
    return Call(scope, scope["method"], scope["path"], headers, request_id)


def _request_id(headers: dict[bytes, bytes]) -> str | None:
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        text = given.decode("ascii")
        if not (may_hold_one(given) and holds_one(text)):
            return text
    return None
