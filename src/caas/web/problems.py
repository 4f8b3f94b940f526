"""Every refusal and failure in one shape: `application/problem+json` (RFC 9457).

A problem's `type` is a stable relative URI, `/problems/{code}`, and a page there explains it; its
`detail` is a sentence a person can act on; its `instance` names the request, so that an operator
finds it in the logs.

Rules a change must keep:

1. What a caller reads comes from a `CaasError` or from this file. Anything else that is raised is a
   bug and answers 500 with one sentence that says nothing of the inside.
2. A problem never repeats what the caller sent: a refused card number is not echoed, nor logged.
3. Codes are public: changing one is a migration.
"""

from typing import ClassVar, Final

import msgspec

from caas.billing_database.idempotency import InFlightError
from caas.errors import CaasError, RefusedError, UnavailableError
from caas.web.response import FAILURES_FROM, RawHeader, Response, encode

MEDIA_TYPE: Final = b"application/problem+json"
RETRY_AFTER_SECONDS: Final = 2
SAFE_AGAIN: Final = "The same request with the same key is safe to send again."
PROBLEM: Final[RawHeader] = (b"content-type", MEDIA_TYPE)
RETRY_AFTER: Final[RawHeader] = (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)
CLOSE: Final[RawHeader] = (b"connection", b"close")


class FieldError(msgspec.Struct, frozen=True):
    """Where in the request something is wrong, and what."""

    at: str
    detail: str


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every error response to a machine looks like (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str = ""
    errors: tuple[FieldError, ...] = ()


class CallRefusedError(RefusedError):
    """The API does not take this request as it is; nothing was changed."""

    code = "call_refused"
    standing_headers: ClassVar[tuple[RawHeader, ...]] = ()

    def __init__(
        self,
        sentence: str | None = None,
        *,
        headers: tuple[RawHeader, ...] = (),
        errors: tuple[FieldError, ...] = (),
    ) -> None:
        """Keep the headers the answer must have, and which fields are wrong."""
        self.headers = (*self.standing_headers, *headers)
        self.errors = errors
        super().__init__(sentence)


class NoSuchRouteError(CallRefusedError):
    """There is nothing at this address; GET /docs lists every call."""

    code = "no_such_route"
    http_status = 404


class MethodNotAllowedError(CallRefusedError):
    """This address does not take this method; the Allow header lists the ones it takes."""

    code = "method_not_allowed"
    http_status = 405


class RequestTooSlowError(CallRefusedError):
    """The request did not arrive in time; send it again in one piece."""

    code = "request_too_slow"
    http_status = 408
    standing_headers = (CLOSE,)


class BodyTooLargeError(CallRefusedError):
    """The body is larger than the 64 KiB this API reads; send less."""

    code = "body_too_large"
    http_status = 413
    standing_headers = (CLOSE,)


class UnsupportedMediaTypeError(CallRefusedError):
    """The body must be JSON: send it with "Content-Type: application/json", not compressed."""

    code = "unsupported_media_type"
    http_status = 415


class HeadersTooLargeError(CallRefusedError):
    """The request's headers are more, or larger, than this API reads."""

    code = "headers_too_large"
    http_status = 431
    standing_headers = (CLOSE,)


class AddressTooLongError(CallRefusedError):
    """The address of the request is longer than this API reads."""

    code = "address_too_long"
    http_status = 414
    standing_headers = (CLOSE,)


class MalformedRequestError(CallRefusedError):
    """The request is not valid HTTP, or its body is not valid JSON."""

    code = "malformed_request"
    http_status = 400


class AmbiguousRequestError(CallRefusedError):
    """The request may be read in two ways, so that it is read in none; say each thing once."""

    code = "ambiguous_request"
    http_status = 400
    standing_headers = (CLOSE,)


class TrailersRefusedError(CallRefusedError):
    """The request has fields behind its body; this API reads none there. Send them as headers."""

    code = "trailers_refused"
    http_status = 400
    standing_headers = (CLOSE,)


class RateLimitedError(CallRefusedError):
    """Too many requests of this key, or from this address; wait as long as Retry-After says."""

    code = "rate_limited"
    http_status = 429


class InternalError(CaasError):
    """Something went wrong on our side, and how far the request came is not known here.

    Quote the instance to an operator.
    """

    code = "internal_error"


class NotReadyError(UnavailableError):
    """This process cannot serve yet: its database does not answer, or is not of its version."""

    code = "not_ready"


class TooManyCallsError(UnavailableError):
    """Too many requests are under way at this moment; try again shortly."""

    code = "too_many_calls"


def error_response(error: CaasError, *, request_id: str) -> Response:
    """Return the response to a request that ended in this error."""
    return problem_response(problem_of(error, request_id=request_id), *_headers_of(error))


def problem_response(problem: ProblemDetails, *headers: RawHeader) -> Response:
    """Return a response that tells of a problem."""
    return Response(problem.status, encode(problem), (PROBLEM, *headers))


def _headers_of(error: CaasError) -> tuple[RawHeader, ...]:
    if isinstance(error, (UnavailableError, InFlightError)):
        return (RETRY_AFTER,)
    return error.headers if isinstance(error, CallRefusedError) else ()


def problem_of(error: CaasError, *, request_id: str) -> ProblemDetails:
    """Return the problem that tells a caller of an error; failures of ours say nothing of why."""
    reported = error if is_deliverable(error) else InternalError()
    return ProblemDetails(
        type=type_uri(reported.code),
        title=title_of(reported.code),
        status=reported.http_status,
        detail=_detail(reported),
        code=reported.code,
        instance=f"urn:caas:request:{request_id}",
        errors=_errors(reported),
    )


def _errors(error: CaasError) -> tuple[FieldError, ...]:
    """Return the fields that are wrong, or that an error of a lower layer says are missing."""
    if isinstance(error, CallRefusedError):
        return error.errors
    missing = error.facts.get("missing")
    fields = missing if isinstance(missing, tuple) else ()
    return tuple(FieldError(str(field), "It is missing.") for field in fields)


def _detail(error: CaasError) -> str:
    """Return the sentence; a failure claims nothing that is not known, and says what is safe."""
    is_reported_whole = isinstance(error, NotReadyError) or SAFE_AGAIN in error.sentence
    if error.http_status < FAILURES_FROM or is_reported_whole:
        return error.sentence
    return f"{error.sentence} {SAFE_AGAIN}"


def is_deliverable(error: CaasError) -> bool:
    """Say whether the error's sentence is meant for callers: a refusal, or a part that is away."""
    return is_deliverable_class(type(error))


def is_deliverable_class(error: type[CaasError]) -> bool:
    """Say whether errors of this class are told as they are, and so have a page."""
    known = (UnavailableError, InternalError)
    return error.http_status < FAILURES_FROM or issubclass(error, known)


def type_uri(code: str) -> str:
    """Return the stable `type` of a problem with this code."""
    return f"/problems/{code}"


def title_of(code: str) -> str:
    """Return the code as words: "payment_not_found" is "Payment not found"."""
    return code.replace("_", " ").capitalize()
