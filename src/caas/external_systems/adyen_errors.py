"""Adyen's errors: what is refused, what is unknown, and which token is not stored.

Rule a change must keep: what is not in Adyen's form shows nothing about the request.
"""

from typing import Final

import msgspec

from caas.external_systems import adyen_wire
from caas.external_systems.http_answers import (
    HttpAnswer,
    RefusedByPartnerError,
    UnknownReason,
    checked,
    failure_of,
)
from caas.rules.card_numbers import scrub

TAKEN_KEY: Final = "704"
"""The error code of a key whose first request is still being processed."""
NOT_STORED: Final = frozenset({"800", "803"})
"""The error codes of a token that this customer has not, or has no longer."""
DEFINITE: Final = frozenset({400, 401, 403, 404, 422})


def is_not_stored(answer: HttpAnswer) -> bool:
    """Return whether a payment was refused because its token is not stored for the customer."""
    error = _error_of(answer) if answer.status in DEFINITE else None
    return error is not None and error.error_code in NOT_STORED


def _error_of(answer: HttpAnswer) -> adyen_wire.ServiceError | None:
    try:
        return adyen_wire.ERROR_DECODER.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def accepted(answer: HttpAnswer) -> HttpAnswer:
    """Return a successful answer.

    Raises:
        GatewayFailure: it is refused in Adyen's form, or shows nothing.
    """
    if answer.status not in DEFINITE:
        return checked(answer)
    error = _error_of(answer)
    if error is None:
        raise failure_of(answer)
    if error.error_code == TAKEN_KEY:
        raise answer.unknown(UnknownReason.STILL_RUNNING, "its first request is in progress")
    raise RefusedByPartnerError(
        partner=answer.partner, call=answer.call, status=answer.status,
        refusal=error.error_code or error.error_type or "refused", problem=scrub(error.message),
    )  # fmt: skip
