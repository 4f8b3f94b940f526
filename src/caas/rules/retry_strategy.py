"""The Retry Strategy table (Diagram 11): which gateway errors are retried, and when.

`WAITS` holds one tuple per kind of error: one entry per retry, in seconds. Kinds that the seed's
table does not have follow below it: a refused connection, a 429, and an unknown decline code
(decisions 3, 4).

Rules a change must keep:

1. A decline is never retried.
2. An unknown code is not a decline. It is `UNRECOGNISED`: the outcome is unknown, the payment stays
   Pending and the gateway is queried first (decision 3).
3. Exhausted retries prove nothing about the outcome. They only raise the seed's alert.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from caas.rules.decline_codes import CARD_DECLINED, INSUFFICIENT_FUNDS, INVALID_CARD_DATA

CALL_TIMEOUT_SECONDS: Final = 10.0
"""The time limit of one gateway call; beyond it the call counts as a network time-out."""

RETRY_AFTER_SECONDS_MAX: Final = 60.0
"""The longest Retry-After that is honoured."""


class GatewayErrorKind(StrEnum):
    """The error types of the seed's table, then further ones."""

    NETWORK_TIMEOUT = "Network timeout"
    GATEWAY_5XX_ERROR = "Gateway 5xx error"
    CARD_DECLINED = "Card declined"
    INSUFFICIENT_FUNDS = "Insufficient funds"
    INVALID_CARD_DATA = "Invalid card data"
    NOT_SENT = "Not sent"
    RATE_LIMITED = "Rate limited"
    UNRECOGNISED = "Unrecognised"


class Knowledge(StrEnum):
    """What an error proves about the payment (decision 3)."""

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
    """Return the seconds before this retry (counted from 1), or None when retries are exhausted.

    `retry_after` is the Retry-After of a 429 in seconds: it can lengthen the wait up to
    `RETRY_AFTER_SECONDS_MAX`, never shorten it.

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
    """Return the table row for a gateway's decline code, in any spelling."""
    return _DECLINES.get(_spelling(code or ""), GatewayErrorKind.UNRECOGNISED)


def _asked_for(kind: GatewayErrorKind, retry_after: float | None) -> float:
    """Return the Retry-After of a 429 within the limit; anything but a number counts as 0."""
    if kind is not GatewayErrorKind.RATE_LIMITED or retry_after is None or not retry_after > 0:
        return 0.0
    return min(retry_after, RETRY_AFTER_SECONDS_MAX)


def _spelling(code: str) -> str:
    """Normalise "Do-Not-Honor" and "do not honor" to `do_not_honor`."""
    return "_".join(code.casefold().replace("-", " ").replace("_", " ").split())
