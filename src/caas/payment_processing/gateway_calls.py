"""One call to the payment gateway, with the retries of Diagram 11 (Retry Strategy table).

Rules a change must keep: every attempt of an operation sends the same key; a decline or another
definite refusal is never sent again; what an earlier attempt left unknown stays unknown, whatever
a later attempt of the same operation says of itself; no wait exceeds the caller's patience.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, TypeVar
from uuid import UUID

from caas.external_systems.http_answers import (
    NotSentError,
    OutcomeUnknownError,
    TooManyRequestsError,
)
from caas.rules.pace import Pace
from caas.rules.retry_strategy import GatewayErrorKind, wait_before_retry

AUTHORISE: Final = "authorise"
CAPTURE: Final = "capture"
VOID: Final = "void"
PROBE: Final = "probe"
POLL_SETTLEMENT: Final = "poll_settlement"

SAFETY_NET_SECONDS: Final = 75.0
"""When a worker picks up what the process that began it has not finished."""

SYNCHRONOUS_PATIENCE_SECONDS: Final = 25.0
NO_PATIENCE: Final = 0.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No usable answer within the caller's patience.

    `wait_seconds` is the next wait of the retry table, None when its retries are exhausted;
    `maybe_sent` tells whether any attempt may have reached the gateway.
    """

    kind: GatewayErrorKind
    wait_seconds: float | None
    maybe_sent: bool
    because: str


def key_of(payment_id: UUID, operation: str, *, issue: int = 1) -> str:
    """Return the Idempotency-Key of an operation; a new issue only after proof of absence."""
    return f"{payment_id}:{operation}" if issue == 1 else f"{payment_id}:{operation}:{issue}"


async def persist(
    call: Callable[[], Awaitable[Answer]],
    *,
    pace: Pace,
    patience_seconds: float = NO_PATIENCE,
    earlier_attempts: int = 0,
    maybe_sent: bool = False,
) -> Answer | Unanswered:
    """Call until there is an answer, the retries are exhausted, or patience ends.

    Raises:
        RefusedByPartnerError: the gateway refused, definitely.
    """
    patience = pace.seconds(patience_seconds)
    for retry in count(earlier_attempts + 1):
        try:
            return await call()
        except NotSentError as failure:
            unanswered = _unanswered(failure.kind, retry, None, maybe_sent, failure.sentence)
        except TooManyRequestsError as failure:
            asked = failure.retry_after_seconds
            unanswered = _unanswered(failure.kind, retry, asked, maybe_sent, failure.sentence)
        except OutcomeUnknownError as failure:
            maybe_sent = True
            unanswered = _unanswered(failure.kind, retry, None, maybe_sent, failure.sentence)
        if unanswered.wait_seconds is None:
            return unanswered
        wait = pace.seconds(unanswered.wait_seconds)
        patience -= wait
        if patience < 0:
            return unanswered
        await asyncio.sleep(wait)
    raise AssertionError("count never ends")


def _unanswered(
    kind: GatewayErrorKind, retry: int, asked: float | None, maybe_sent: bool, because: str
) -> Unanswered:
    wait = wait_before_retry(kind, retry=retry, retry_after=asked)
    return Unanswered(kind, wait, maybe_sent, because)
