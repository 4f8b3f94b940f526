"""Refuses a request whose head says something twice or in two ways (RFC 9110, RFC 9112).

Whatever stands in front of us (a proxy, a firewall) may have read the other one of two
`Authorization` headers, or another length of the body: then a request is smuggled past it. The
parser refuses two lengths by itself; this is what it lets pass.

Rule a change must keep: a header whose last value alone is read stands in `SINGLE`.
"""

import re
from collections.abc import Sequence
from typing import Final

from caas.api.problems import AmbiguousRequestError, MalformedRequestError

SINGLE: Final = frozenset({
    b"authorization", b"host", b"content-length", b"content-type", b"content-encoding",
    b"transfer-encoding", b"cookie", b"origin", b"expect", b"idempotency-key", b"x-request-id",
    b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"stripe-signature",
    b"sec-fetch-site",
})  # fmt: skip
NEEDS_HOST: Final = "1.1"
CHUNKED: Final = b"chunked"
_HOST: Final = re.compile(rb"[A-Za-z0-9._~%:\[\]-]{0,255}")


def refuse_ambiguous_head(headers: Sequence[tuple[bytes, bytes]], *, version: str) -> None:
    """Refuse a head that two readers might read differently.

    Raises:
        AmbiguousRequestError: a header that counts once stands twice, or the body has a coding
            that this API does not undo.
        MalformedRequestError: there is no host, or it is none.
    """
    told: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in told and name in SINGLE:
            raise AmbiguousRequestError(f"The header {name.decode()} stands twice; send it once.")
        told[name] = value
    coding = told.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != CHUNKED or version != NEEDS_HOST):
        raise AmbiguousRequestError("The only Transfer-Encoding read here is chunked, in HTTP/1.1.")
    host = told.get(b"host")
    if (host is None and version == NEEDS_HOST) or _HOST.fullmatch(host or b"") is None:
        raise MalformedRequestError("The request names no host, or none that can be.")
