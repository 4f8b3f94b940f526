"""Responses of external systems, and their three kinds of failure (Diagram 11).

Decision 3 distinguishes *not sent* (known), *refused* (known) and *unknown* (everything else).

Rules a change must keep:

- Unknown is the default: only what is listed here is known.
- A failure describes one attempt. After an attempt with the same key ended unknown, a later
  `NotSentError` or `RefusedByPartnerError` does not make the operation known.
- Failures contain no headers or keys, and only a short scrubbed excerpt of a body.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec

from caas.errors import CaasError
from caas.rules.card_numbers import scrub
from caas.rules.retry_strategy import GatewayErrorKind

EXCERPT_CHARS_MAX: Final = 200
PROBLEM_CHARS_MAX: Final = 500
OK_OR_CREATED: Final = frozenset({int(HTTPStatus.OK), int(HTTPStatus.CREATED)})

# A 4xx that does not mean a rejected request: the time-out, the conflict of two equal
# requests in flight, "too early". They do not show what the other attempt did.
NOT_DEFINITE: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})
NO_LOOKUP: Final = frozenset({404, 405, 501})
STILL_RUNNING_CODES: Final = frozenset(
    {"idempotency_key_in_use", "idempotency_in_progress", "request_in_progress", "still_running"}
)

T = TypeVar("T")


class UnknownReason(StrEnum):
    """Why a response is not evidence."""

    TIMED_OUT = "timed out"
    CUT = "connection cut"
    SERVER_ERROR = "server error"
    REDIRECTED = "redirected"
    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    MISMATCH = "mismatch"
    STILL_RUNNING = "still running"
    UNEXPECTED = "unexpected"
    INTERRUPTED = "interrupted"


KIND_OF_REASON: Final = {
    UnknownReason.TIMED_OUT: GatewayErrorKind.NETWORK_TIMEOUT,
    UnknownReason.CUT: GatewayErrorKind.NETWORK_TIMEOUT,
    UnknownReason.STILL_RUNNING: GatewayErrorKind.NETWORK_TIMEOUT,
    UnknownReason.INTERRUPTED: GatewayErrorKind.NETWORK_TIMEOUT,
    UnknownReason.SERVER_ERROR: GatewayErrorKind.GATEWAY_5XX_ERROR,
}


WITHOUT_EFFECT: Final = frozenset({400, 401, 403, 404, 405, 422, 429})
"""Statuses of a request that changed nothing. A declined charge (402) has made a transaction."""

_WRITES: ContextVar[list[str] | None] = ContextVar("writes", default=None)


@contextmanager
def noted_writes() -> Iterator[list[str]]:
    """Collect the requests of the block that an external system may have acted upon."""
    before, writes = _WRITES.get(), list[str]()
    _WRITES.set(writes)
    try:
        yield writes
    finally:
        _WRITES.set(before)  # a token cannot be used where a dead task is cleaned up


def note_write(call: str, status: int | None) -> None:
    """Note a request that was sent, and its status if it was answered."""
    writes = _WRITES.get()
    if writes is not None and not call.startswith("GET ") and status not in WITHOUT_EFFECT:
        writes.append(call)


class GatewayFailure(CaasError):  # noqa: N818 - the family's name; its members end in Error
    """An external system did not do what was asked, or did not say so."""

    code = "gateway_failure"
    http_status = 503

    def __init__(self, sentence: str, *, partner: str, call: str, **facts: object) -> None:
        """Store which external system failed, and at which call."""
        super().__init__(sentence, partner=partner, call=call, **facts)
        self.partner = partner
        self.call = call


class NotSentError(GatewayFailure):
    """The request is known not to have reached the external system; it can be sent again."""

    code = "not_sent"
    kind = GatewayErrorKind.NOT_SENT

    def __init__(self, *, partner: str, call: str, cause: str) -> None:
        """Store why no connection was made."""
        sentence = (
            f"{partner} could not be reached for {call} ({cause}); nothing was sent. "
            f"Check its address and the network; the request is safe to send again."
        )
        super().__init__(sentence, partner=partner, call=call, cause=cause)
        self.cause = cause


class OutcomeUnknownError(GatewayFailure):
    """The request was sent, and nothing shows whether it was done; look it up."""

    code = "outcome_unknown"

    def __init__(
        self,
        *,
        partner: str,
        call: str,
        reason: UnknownReason,
        status: int | None = None,
        detail: str = "",
    ) -> None:
        """Store the reason, the status if there was one, and the kind that Diagram 11 retries."""
        sentence = (
            f"{partner} gave no usable answer to {call} ({reason}{f': {detail}' if detail else ''}"
            f"{f', status {status}' if status else ''}). Whether it was done is unknown: look it "
            f"up, or send it again with the same key."
        )
        super().__init__(sentence, partner=partner, call=call, reason=str(reason), status=status)
        self.reason = reason
        self.kind = KIND_OF_REASON.get(reason, GatewayErrorKind.UNRECOGNISED)
        self.status = status
        self.detail = detail


class PartlyDoneError(GatewayFailure):
    """A part of the operation was done; the same request under the same key completes it."""

    code = "partly_done"
    kind = GatewayErrorKind.NETWORK_TIMEOUT

    def __init__(self, *, partner: str, call: str, found: str) -> None:
        """Store what was found of it."""
        sentence = f"{partner} has {found}, which is incomplete. Send the request again."
        super().__init__(sentence, partner=partner, call=call, found=found)


class TooManyRequestsError(GatewayFailure):
    """The external system turned the request away for now; send it again when it says."""

    code = "too_many_requests"
    kind = GatewayErrorKind.RATE_LIMITED

    def __init__(self, *, partner: str, call: str, retry_after_seconds: float | None) -> None:
        """Store the wait that the external system asks for, if any."""
        wait = "later" if retry_after_seconds is None else f"in {retry_after_seconds:g} s"
        sentence = f"{partner} turned {call} away: too many requests. Send it again {wait}."
        super().__init__(
            sentence, partner=partner, call=call, retry_after_seconds=retry_after_seconds
        )
        self.retry_after_seconds = retry_after_seconds


class RefusedByPartnerError(GatewayFailure):
    """The external system refused the request and says why; sending it again changes nothing."""

    code = "refused_by_partner"
    http_status = 502

    def __init__(self, *, partner: str, call: str, status: int, refusal: str, problem: str) -> None:
        """Store the status, the partner's stable code, and its sentence."""
        sentence = f"{partner} refused {call}: {refusal} (status {status}). {problem}".strip()
        super().__init__(
            sentence, partner=partner, call=call, status=status, refusal=refusal, problem=problem
        )
        self.status = status
        self.refusal = refusal
        self.problem = problem


class ProblemBody(msgspec.Struct, frozen=True):
    """The fields of an RFC 9457 response that we read."""

    code: str
    title: str = ""
    detail: str = ""


class HttpAnswer(msgspec.Struct, frozen=True):
    """A complete response of any status, not yet validated."""

    partner: str
    call: str
    status: int
    content_type: str
    body: bytes
    retry_after_seconds: float | None = None

    def unknown(self, reason: UnknownReason, detail: str = "") -> OutcomeUnknownError:
        """Return the error for a response that is not evidence."""
        return OutcomeUnknownError(
            partner=self.partner, call=self.call, reason=reason, status=self.status, detail=detail
        )


def checked(answer: HttpAnswer, *, expected: frozenset[int] = OK_OR_CREATED) -> HttpAnswer:
    """Return the response if its status is expected and it is JSON.

    Raises:
        GatewayFailure: one of its subclasses, by status and body.
    """
    if answer.status in expected:
        if answer.content_type == "application/json":
            return answer
        raise answer.unknown(UnknownReason.MALFORMED, f"not JSON but {answer.content_type!r:.60}")
    raise failure_of(answer)


def decoded(answer: HttpAnswer, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode the body strictly.

    Raises:
        OutcomeUnknownError: the body does not match the contract.
    """
    try:
        return decoder.decode(answer.body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        detail = f"{error} in {excerpt(answer.body)!r}"
        raise answer.unknown(UnknownReason.MALFORMED, detail) from None


def excerpt(body: bytes) -> str:
    """Return the start of a body for an error message, with card numbers scrubbed."""
    return scrub(body[: EXCERPT_CHARS_MAX * 4].decode("utf-8", "replace"))[:EXCERPT_CHARS_MAX]


def failure_of(answer: HttpAnswer) -> GatewayFailure:
    """Return the failure for an unexpected response, by status and problem code."""
    status = answer.status
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return answer.unknown(UnknownReason.SERVER_ERROR)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return TooManyRequestsError(
            partner=answer.partner,
            call=answer.call,
            retry_after_seconds=answer.retry_after_seconds,
        )
    if status >= HTTPStatus.BAD_REQUEST and status not in NOT_DEFINITE:
        return _refusal_of(answer)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return answer.unknown(UnknownReason.REDIRECTED)
    return answer.unknown(UnknownReason.UNEXPECTED)


def no_lookup(answer: HttpAnswer) -> RefusedByPartnerError:
    """Return the error for a missing lookup endpoint.

    It proves nothing about the object; use another way to find out.
    """
    return RefusedByPartnerError(
        partner=answer.partner,
        call=answer.call,
        status=answer.status,
        refusal="no_lookup",
        problem=excerpt(answer.body),
    )


_PROBLEM_DECODER: Final = msgspec.json.Decoder(ProblemBody)


def _refusal_of(answer: HttpAnswer) -> GatewayFailure:
    if answer.content_type != "application/problem+json":
        return answer.unknown(UnknownReason.UNEXPECTED, excerpt(answer.body))
    try:
        problem = decoded(answer, _PROBLEM_DECODER)
    except OutcomeUnknownError as unknown:
        return unknown
    if problem.code in STILL_RUNNING_CODES:
        return answer.unknown(UnknownReason.STILL_RUNNING)
    return RefusedByPartnerError(
        partner=answer.partner,
        call=answer.call,
        status=answer.status,
        refusal=scrub(problem.code)[:EXCERPT_CHARS_MAX],
        problem=scrub(problem.detail or problem.title)[:PROBLEM_CHARS_MAX],
    )
