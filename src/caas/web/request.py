"""One request as both the API and the pages see it: who sent what, under which id.

`route` is the address as a template, and `ids` are the values of its places.

Rule a change must keep: the request id of a caller is taken over only when it is harmless in a log
line and in a header.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from caas.web.card_refusal import holds_one, may_hold_one

UNMATCHED: Final = "unmatched"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")

Scope = dict[str, Any]


@dataclass(slots=True)
class Request:
    """A request under way, filled in as more is known of it."""

    scope: Scope
    method: str
    path: str
    headers: dict[bytes, bytes]
    request_id: str
    body: bytes = b""
    route: str = UNMATCHED
    ids: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where on the network the request comes from."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""


def given_request_id(headers: dict[bytes, bytes]) -> str | None:
    """Return the id a caller gave its request; None when there is none, or it may do harm."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        text = given.decode("ascii")
        if not (may_hold_one(given) and holds_one(text)):
            return text
    return None
