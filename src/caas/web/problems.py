"""Errors as `application/problem+json` (RFC 9457).

A problem's `type` is a stable relative URI, `/problems/{code}`, with a page that explains it;
`detail` says what happened and what to do; `instance` is the request id, which operators can search
in the logs.

Rules a change must keep:

1. Error responses come from a `CaasError` or from this file. Any other exception is a bug: the
   response is 500 without internal details.
2. A problem never repeats input: a rejected card number is neither echoed nor logged.
3. Codes are public: changing one is a breaking change.
"""

from typing import ClassVar, Final

import msgspec

from caas.billing_database.idempotency import InFlightError
from caas.errors import CaasError, RefusedError, UnavailableError
from caas.rules.agreed_price import AgreedPrice
from caas.web.response import FAILURES_FROM, RawHeader, Response, encode

MEDIA_TYPE: Final = b"application/problem+json"
RETRY_AFTER_SECONDS: Final = 2
SAFE_AGAIN: Final = "The same request with the same key is safe to send again."
PROBLEM: Final[RawHeader] = (b"content-type", MEDIA_TYPE)
RETRY_AFTER: Final[RawHeader] = (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)
CLOSE: Final[RawHeader] = (b"connection", b"close")


class FieldError(msgspec.Struct, frozen=True):
    """An invalid field: its path in the request and what is wrong."""

    at: str
    detail: str


class UnitPriceNow(msgspec.Struct, frozen=True):
    """The current price of a metered unit, in minor units."""

    unit: str
    unit_price: int


class PriceNow(msgspec.Struct, frozen=True, omit_defaults=True):
    """The current price: an amount in minor units, and the prices of metered units beside it."""

    amount: int
    currency: str
    metered: tuple[UnitPriceNow, ...] | None = None


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error response (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str = ""
    errors: tuple[FieldError, ...] = ()
    price: PriceNow | None = None


class CallRefusedError(RefusedError):
    """The request was rejected. Nothing was changed."""

    code = "call_refused"
    standing_headers: ClassVar[tuple[RawHeader, ...]] = ()

    def __init__(
        self,
        sentence: str | None = None,
        *,
        headers: tuple[RawHeader, ...] = (),
        errors: tuple[FieldError, ...] = (),
    ) -> None:
        """Record extra response headers and the invalid fields."""
        self.headers = (*self.standing_headers, *headers)
        self.errors = errors
        super().__init__(sentence)


class NoSuchRouteError(CallRefusedError):
    """No route matches this path. GET /docs lists every call."""

    code = "no_such_route"
    http_status = 404


class MethodNotAllowedError(CallRefusedError):
    """This path does not support the method. The Allow header lists those it supports."""

    code = "method_not_allowed"
    http_status = 405


class RequestTooSlowError(CallRefusedError):
    """The request did not arrive in time. Send it again without pauses."""

    code = "request_too_slow"
    http_status = 408
    standing_headers = (CLOSE,)


class BodyTooLargeError(CallRefusedError):
    """The body exceeds the 64 KiB limit. Send a smaller one."""

    code = "body_too_large"
    http_status = 413
    standing_headers = (CLOSE,)


class UnsupportedMediaTypeError(CallRefusedError):
    """The body must be uncompressed JSON. Send "Content-Type: application/json"."""

    code = "unsupported_media_type"
    http_status = 415


class HeadersTooLargeError(CallRefusedError):
    """The request has too many headers, or they are too large. Send fewer or smaller ones."""

    code = "headers_too_large"
    http_status = 431
    standing_headers = (CLOSE,)


class AddressTooLongError(CallRefusedError):
    """The request target is too long. Send a shorter one."""

    code = "address_too_long"
    http_status = 414
    standing_headers = (CLOSE,)


class MalformedRequestError(CallRefusedError):
    """The request is not valid HTTP, or its body is not valid JSON."""

    code = "malformed_request"
    http_status = 400


class AmbiguousRequestError(CallRefusedError):
    """The request is ambiguous: a header is repeated or contradictory. Send each header once."""

    code = "ambiguous_request"
    http_status = 400
    standing_headers = (CLOSE,)


class TrailersRefusedError(CallRefusedError):
    """Trailers are not supported. Send them as headers."""

    code = "trailers_refused"
    http_status = 400
    standing_headers = (CLOSE,)


class RateLimitedError(CallRefusedError):
    """Too many requests from this key or address. Wait for the time given in Retry-After."""

    code = "rate_limited"
    http_status = 429


class InternalError(CaasError):
    """An internal error occurred, and the outcome of the request is unknown.

    Quote the instance when you contact support.
    """

    code = "internal_error"


class NotReadyError(UnavailableError):
    """This process is not ready: its database is unreachable or has another schema version."""

    code = "not_ready"


class TooManyCallsError(UnavailableError):
    """Too many concurrent requests. Retry shortly."""

    code = "too_many_calls"


def error_response(error: CaasError, *, request_id: str) -> Response:
    """Return the response for this error."""
    return problem_response(problem_of(error, request_id=request_id), *_headers_of(error))


def problem_response(problem: ProblemDetails, *headers: RawHeader) -> Response:
    """Return the response for a problem."""
    return Response(problem.status, encode(problem), (PROBLEM, *headers))


def _headers_of(error: CaasError) -> tuple[RawHeader, ...]:
    if isinstance(error, (UnavailableError, InFlightError)):
        return (RETRY_AFTER,)
    return error.headers if isinstance(error, CallRefusedError) else ()


def problem_of(error: CaasError, *, request_id: str) -> ProblemDetails:
    """Return the problem for an error; internal failures reveal no cause."""
    reported = error if is_deliverable(error) else InternalError()
    return ProblemDetails(
        type=type_uri(reported.code),
        title=title_of(reported.code),
        status=reported.http_status,
        detail=_detail(reported),
        code=reported.code,
        instance=f"urn:caas:request:{request_id}",
        errors=_errors(reported),
        price=_price(reported),
    )


def _errors(error: CaasError) -> tuple[FieldError, ...]:
    """Return the invalid fields, or those that a lower layer reports as missing."""
    if isinstance(error, CallRefusedError):
        return error.errors
    missing = error.facts.get("missing")
    fields = missing if isinstance(missing, tuple) else ()
    return tuple(FieldError(str(field), "This field is required.") for field in fields)


def _price(error: CaasError) -> PriceNow | None:
    """Return the current price where the expected one has changed."""
    price = error.facts.get("price")
    if not isinstance(price, AgreedPrice):
        return None
    units = price.metered
    if units is None:
        return PriceNow(price.amount, price.currency)
    now = tuple(UnitPriceNow(one.unit, one.unit_price) for one in units)
    return PriceNow(price.amount, price.currency, now)


def _detail(error: CaasError) -> str:
    """Return the error's sentence; for server failures, add that a retry is safe."""
    is_reported_whole = isinstance(error, NotReadyError) or SAFE_AGAIN in error.sentence
    if error.http_status < FAILURES_FROM or is_reported_whole:
        return error.sentence
    return f"{error.sentence} {SAFE_AGAIN}"


def is_deliverable(error: CaasError) -> bool:
    """Return whether the error may be shown to callers: a client error or an unavailable part."""
    return is_deliverable_class(type(error))


def is_deliverable_class(error: type[CaasError]) -> bool:
    """Return whether callers see errors of this class, and so need their documentation."""
    known = (UnavailableError, InternalError)
    return error.http_status < FAILURES_FROM or issubclass(error, known)


def type_uri(code: str) -> str:
    """Return the stable `type` URI of a problem code."""
    return f"/problems/{code}"


def title_of(code: str) -> str:
    """Return the code as a title: "payment_not_found" is "Payment not found"."""
    return code.replace("_", " ").capitalize()
