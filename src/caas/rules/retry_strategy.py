"""The Retry Strategy table (Diagram 11): which gateway errors are retried, and decline codes.

`WAITS` holds one tuple per kind of error: one entry per retry, in seconds. Kinds that the seed's
table does not have follow below it: a refused connection, a 429, and an unknown decline code
(decisions 3, 4).

Decline codes of gateways and card schemes are grouped by row of the table, in lower case with
underscores, as `decline_kind` normalises them. They come from the seed's gateway contract, the
large card gateways, ISO 8583 (two digits), Redsys (four digits) and SEPA direct debit returns (two
letters, two digits).

Rules a change must keep:

1. A decline is never retried.
2. An unknown code is not a decline. It is `UNRECOGNISED`: the outcome is unknown, the payment stays
   Pending and the gateway is queried first (decision 3), unless `refusal_codes` has a class for it.
3. Exhausted retries prove nothing about the outcome. They only raise the seed's alert.
4. A code is listed only if the customer's card was declined. "Issuer unavailable", "processing
   error" and their numbers (91, 96) fail a payment too, but are no decline: `refusal_codes`.
5. No code appears in two sets.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

_INSUFFICIENT_FUNDS_WORDS: Final = """
    insufficient_funds not_enough_balance not_sufficient_funds insufficient_balance
"""
_INSUFFICIENT_FUNDS_NUMBERS: Final = "51 0116 am04"

_INVALID_CARD_DATA_WORDS: Final = """
    invalid_card_data invalid_card invalid_card_number invalid_number incorrect_number
    invalid_expiry_month invalid_expiry_year invalid_expiry_date incorrect_expiry
    expired_card card_expired invalid_cvc incorrect_cvc invalid_cvv cvc_declined cvv_mismatch
    incorrect_zip incorrect_address incorrect_pin invalid_pin invalid_account
    invalid_account_number incorrect_account_number account_closed
"""
_INVALID_CARD_DATA_NUMBERS: Final = "14 15 54 55 0101 0125 0129 0191 ac01 ac04"

_CARD_DECLINED_WORDS: Final = """
    card_declined declined generic_decline refused do_not_honor do_not_honour
    blocked_card card_blocked restricted_card lost_card stolen_card pickup_card
    fraudulent fraud suspected_fraud merchant_blacklist acquirer_fraud
    call_issuer refer_to_issuer no_action_taken not_permitted transaction_not_allowed
    transaction_not_permitted transaction_not_permitted_to_cardholder service_not_allowed
    card_not_supported currency_not_supported card_velocity_exceeded
    withdrawal_amount_exceeded withdrawal_count_exceeded exceeds_withdrawal_limit
    pin_try_exceeded pin_tries_exceeded revocation_of_authorization
    revocation_of_all_authorizations stop_payment_order security_violation
    authentication_required authentication_failed 3d_not_authenticated 3ds_failed
    no_mandate debit_not_authorized account_blocked refusal_by_debtor
"""
_CARD_DECLINED_NUMBERS: Final = """
    01 04 05 07 41 43 57 59 61 62 63 65 75 1a r0 r1
    0102 0106 0118 0180 0184 0190 0202 ac06 ag01 md01 md07 ms02 ms03 sl01
"""

INSUFFICIENT_FUNDS: Final = frozenset(
    (_INSUFFICIENT_FUNDS_WORDS + _INSUFFICIENT_FUNDS_NUMBERS).split()
)
INVALID_CARD_DATA: Final = frozenset(
    (_INVALID_CARD_DATA_WORDS + _INVALID_CARD_DATA_NUMBERS).split()
)
CARD_DECLINED: Final = frozenset((_CARD_DECLINED_WORDS + _CARD_DECLINED_NUMBERS).split())


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
    TURNED_AWAY = "turned away"
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
    _K.RATE_LIMITED: Knowledge.TURNED_AWAY,
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
    return _DECLINES.get(spelling(code or ""), GatewayErrorKind.UNRECOGNISED)


def _asked_for(kind: GatewayErrorKind, retry_after: float | None) -> float:
    """Return the Retry-After of a 429 within the limit; anything but a number counts as 0."""
    if kind is not GatewayErrorKind.RATE_LIMITED or retry_after is None or not retry_after > 0:
        return 0.0
    return min(retry_after, RETRY_AFTER_SECONDS_MAX)


def spelling(code: str) -> str:
    """Normalise "Do-Not-Honor" and "do not honor" to `do_not_honor`."""
    return "_".join(code.casefold().replace("-", " ").replace("_", " ").split())
