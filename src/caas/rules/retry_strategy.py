"""Diagram 11 and the Retry Strategy table: which gateway errors are tried again, and when.

The waits are data, one tuple per kind of error: as many retries as it has entries, each after that
many seconds. What the seed's table does not name is added beneath it: a refused connection, a 429,
and a decline code that no table knows (decisions 3, 4).

Rules a change must keep:

1. A decline is never sent again.
2. A code nobody knows is not a decline. It is `UNRECOGNISED`: the outcome is unknown, the payment
   stays Pending, and the gateway is asked before anything is concluded (decision 3).
3. Exhausted retries say nothing about the outcome. They raise the seed's alert and nothing more.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from caas.rules.decline_codes import CARD_DECLINED, INSUFFICIENT_FUNDS, INVALID_CARD_DATA

CALL_TIMEOUT_SECONDS: Final = 10.0
"""How long one call to the gateway may take before it counts as a network time-out."""

RETRY_AFTER_SECONDS_MAX: Final = 60.0
"""The longest wait that a gateway's Retry-After is allowed to ask of us."""


class GatewayErrorKind(StrEnum):
    """The error types of the seed's table, then those it does not name."""

    NETWORK_TIMEOUT = "Network timeout"
    GATEWAY_5XX_ERROR = "Gateway 5xx error"
    CARD_DECLINED = "Card declined"
    INSUFFICIENT_FUNDS = "Insufficient funds"
    INVALID_CARD_DATA = "Invalid card data"
    NOT_SENT = "Not sent"
    RATE_LIMITED = "Rate limited"
    UNRECOGNISED = "Unrecognised"


class Knowledge(StrEnum):
    """What an error lets us conclude about the payment (decision 3)."""

    NOT_SENT = "not sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"


_K = GatewayErrorKind
_EXPONENTIAL_BACKOFF: Final = (2.0, 4.0, 8.0)

WAITS: Final[Mapping[GatewayErrorKind, tuple[float, ...]]] = {
    _K.NETWORK_TIMEOUT: _EXPONENTIAL_BACKOFF,
    _K.GATEWAY_5XX_ERROR: _EXPONENTIAL_BACKOFF,
    _K.CARD_DECLINED: (),
    _K.INSUFFICIENT_FUNDS: (),
    _K.INVALID_CARD_DATA: (),
    _K.NOT_SENT: _EXPONENTIAL_BACKOFF,
    _K.RATE_LIMITED: _EXPONENTIAL_BACKOFF,
    _K.UNRECOGNISED: (),
}

CUSTOMER_IMPACT: Final[Mapping[GatewayErrorKind, str]] = {
    _K.NETWORK_TIMEOUT: "Delayed response",
    _K.GATEWAY_5XX_ERROR: "Delayed response",
    _K.CARD_DECLINED: "Immediate failure",
    _K.INSUFFICIENT_FUNDS: "Immediate failure",
    _K.INVALID_CARD_DATA: "Immediate failure",
    _K.NOT_SENT: "Delayed response",
    _K.RATE_LIMITED: "Delayed response",
    _K.UNRECOGNISED: "Delayed response",
}

KNOWLEDGE: Final[Mapping[GatewayErrorKind, Knowledge]] = {
    _K.NETWORK_TIMEOUT: Knowledge.UNKNOWN,
    _K.GATEWAY_5XX_ERROR: Knowledge.UNKNOWN,
    _K.CARD_DECLINED: Knowledge.REFUSED,
    _K.INSUFFICIENT_FUNDS: Knowledge.REFUSED,
    _K.INVALID_CARD_DATA: Knowledge.REFUSED,
    _K.NOT_SENT: Knowledge.NOT_SENT,
    _K.RATE_LIMITED: Knowledge.UNKNOWN,
    _K.UNRECOGNISED: Knowledge.UNKNOWN,
}

_DECLINES: Final[Mapping[str, GatewayErrorKind]] = {
    **dict.fromkeys(CARD_DECLINED, _K.CARD_DECLINED),
    **dict.fromkeys(INSUFFICIENT_FUNDS, _K.INSUFFICIENT_FUNDS),
    **dict.fromkeys(INVALID_CARD_DATA, _K.INVALID_CARD_DATA),
}


def wait_before_retry(
    kind: GatewayErrorKind, *, retry: int, retry_after: float | None = None
) -> float | None:
    """Return the seconds to wait before this retry, counted from 1, or None when there is none.

    `retry_after` is what a 429 asked for, in seconds: it lengthens the wait, up to
    `RETRY_AFTER_SECONDS_MAX`, and never shortens it.

    Raises:
        ValueError: `retry` is less than 1; the first call is not a retry.
    """
    if retry < 1:
        message = f"retries are counted from 1, not from {retry}"
        raise ValueError(message)
    waits = WAITS[kind]
    if retry > len(waits):
        return None
    return max(waits[retry - 1], _asked_for(kind, retry_after))


def decline_kind(code: str | None) -> GatewayErrorKind:
    """Return which row of the table a gateway's decline code belongs to, however it is spelt."""
    return _DECLINES.get(_spelling(code or ""), GatewayErrorKind.UNRECOGNISED)


def _asked_for(kind: GatewayErrorKind, retry_after: float | None) -> float:
    """Honour Retry-After on a 429 only, within the limit; not a number counts as nothing."""
    if kind is not GatewayErrorKind.RATE_LIMITED or retry_after is None or not retry_after > 0:
        return 0.0
    return min(retry_after, RETRY_AFTER_SECONDS_MAX)


def _spelling(code: str) -> str:
    """Reduce "Do-Not-Honor" and "do not honor" to the table's `do_not_honor`."""
    return "_".join(code.casefold().replace("-", " ").replace("_", " ").split())
