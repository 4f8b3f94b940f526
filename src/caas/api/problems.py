"""Errors that only the API raises.

Rule a change must keep: codes are public; changing one is a breaking change.
"""

from caas.api.payment_answers import PaymentAnswer
from caas.web.problems import CallRefusedError, ProblemDetails


class Problem(ProblemDetails, frozen=True, kw_only=True, omit_defaults=True):
    """An error response of this API (RFC 9457)."""

    payment: PaymentAnswer | None = None


class UnauthenticatedError(CallRefusedError):
    """The API key is missing or invalid. Send "Authorization: Bearer <key>"."""

    code = "unauthenticated"
    http_status = 401
    standing_headers = ((b"www-authenticate", b'Bearer realm="caas"'),)


class ScopeMissingError(CallRefusedError):
    """The key lacks the required scope. Ask an operator for a key that has it."""

    code = "scope_missing"
    http_status = 403


class NotYoursError(CallRefusedError):
    """The key is restricted to one customer or dealership, and this request concerns another."""

    code = "not_yours"
    http_status = 403


class DuplicateKeyError(CallRefusedError):
    """An object in the body has a duplicate key. Send each key once."""

    code = "duplicate_key"
    http_status = 400


class InvalidBodyError(CallRefusedError):
    """A field of the body is missing, unknown or invalid."""

    code = "invalid_body"


class InvalidParameterError(CallRefusedError):
    """A query parameter is unknown, repeated or invalid."""

    code = "invalid_parameter"


class PaymentDeclinedError(CallRefusedError):
    """The payment was declined and nothing was charged. The enclosed payment says why."""

    code = "payment_declined"
    http_status = 402


class PaymentNotMadeError(CallRefusedError):
    """The payment could not be made. No card was declined, and nothing was charged. Try later."""

    code = "payment_not_made"
    http_status = 402
