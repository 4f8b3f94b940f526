"""What the API alone refuses, and the payment inside a problem of a declined one.

Rule a change must keep: codes are public: changing one is a migration.
"""

from caas.api.payment_answers import PaymentAnswer
from caas.web.problems import CallRefusedError, ProblemDetails


class Problem(ProblemDetails, frozen=True, kw_only=True, omit_defaults=True):
    """What every error answer of this API looks like (RFC 9457)."""

    payment: PaymentAnswer | None = None


class UnauthenticatedError(CallRefusedError):
    """Send a valid key: "Authorization: Bearer <key>". This request has none, or one we refuse."""

    code = "unauthenticated"
    http_status = 401
    standing_headers = ((b"www-authenticate", b'Bearer realm="caas"'),)


class ScopeMissingError(CallRefusedError):
    """This key may not make this call; ask an operator for a key with the scope it needs."""

    code = "scope_missing"
    http_status = 403


class NotYoursError(CallRefusedError):
    """This key acts for one customer or one dealership only, and this request is about another."""

    code = "not_yours"
    http_status = 403


class DuplicateKeyError(CallRefusedError):
    """A key stands twice in one object of the body; say each thing once."""

    code = "duplicate_key"
    http_status = 400


class InvalidBodyError(CallRefusedError):
    """The body is JSON, but a field is missing, unknown or of the wrong kind."""

    code = "invalid_body"


class InvalidParameterError(CallRefusedError):
    """A query parameter is unknown, repeated or not of the kind it must be."""

    code = "invalid_parameter"


class PaymentDeclinedError(CallRefusedError):
    """The payment was declined and nothing was charged; the payment inside says why."""

    code = "payment_declined"
    http_status = 402
