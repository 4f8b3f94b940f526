"""An answer on its way out: status, body, headers, and nothing of any framework.

Rule a change must keep: what an answer says about itself (its media type, where it lies, how long
to wait) follows from its status and its body, so that a stored answer is sent like a fresh one.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from caas.api import problems
from caas.api.problems import RawHeader
from caas.billing_database.idempotency import InFlightError
from caas.errors import CaasError, UnavailableError

JSON: Final[RawHeader] = (b"content-type", b"application/json")
PROBLEM: Final[RawHeader] = (b"content-type", problems.MEDIA_TYPE)
ERRORS_FROM: Final = 400
RETRY_AFTER: Final[RawHeader] = (b"retry-after", b"%d" % problems.RETRY_AFTER_SECONDS)

encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back; the content type follows from the status unless a header names it."""

    status: int
    body: bytes = b""
    headers: tuple[RawHeader, ...] = ()


def answer_of(status: int, content: object, *headers: RawHeader) -> Answer:
    """Return an answer with this content as JSON."""
    return Answer(status, encode(content), (JSON, *headers))


def problem_answer(problem: problems.Problem, *headers: RawHeader) -> Answer:
    """Return an answer that tells of a problem."""
    return Answer(problem.status, encode(problem), (PROBLEM, *headers))


def answer_to_error(error: CaasError, *, request_id: str) -> Answer:
    """Return the answer to a request that ended in this error."""
    return problem_answer(problems.problem_of(error, request_id=request_id), *_headers_of(error))


def _headers_of(error: CaasError) -> tuple[RawHeader, ...]:
    if isinstance(error, (UnavailableError, InFlightError)):
        return (RETRY_AFTER,)
    if isinstance(error, problems.CallRefusedError):
        return error.headers
    return ()
