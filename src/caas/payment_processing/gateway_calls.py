"""One call to the payment gateway, with the retries of Diagram 11 (Retry Strategy table).

Rules a change must keep: every attempt of an operation sends the same key; a decline or another
definite refusal is never retried; an unknown outcome of an earlier attempt stays unknown, whatever
a later attempt reports about itself; waits and calls together stay within the caller's
patience.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, TypeVar
from uuid import UUID

from caas.external_systems.http_answers import (
    NotSentError,
    OutcomeUnknownError,
    RefusedByPartnerError,
    TooManyRequestsError,
)
from caas.external_systems.payment_gateway import Capabilities
from caas.rules.retry_strategy import wait_before_retry
from caas.rules.time_scale import TimeScale

AUTHORIZE: Final = "authorize"
CAPTURE: Final = "capture"
VOID: Final = "void"
PROBE: Final = "probe"
COMPENSATE: Final = "compensate"
LOOK_FOR_SIBLINGS: Final = "look_for_siblings"
POLL_SETTLEMENT: Final = "poll_settlement"

SAFETY_NET_SECONDS: Final = 75.0
"""When a worker picks up what the process that began it has not finished."""

SYNCHRONOUS_PATIENCE_SECONDS: Final = 25.0
NO_PATIENCE: Final = 0.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No usable answer within the caller's patience.

    `wait_seconds` is the next wait of the retry table, None when its retries are exhausted;
    `tries` counts the attempts, with `maybe_sent`, one may have reached the gateway.
    """

    tries: int
    wait_seconds: float | None
    maybe_sent: bool
    because: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A definite refusal; with `maybe_done`, an earlier attempt may have succeeded."""

    error: RefusedByPartnerError
    maybe_done: bool


@dataclass(frozen=True, slots=True)
class KeyLifetime:
    """How long a gateway remembers a key, in seconds; None when it remembers none."""

    seconds: float | None

    @classmethod
    def of(cls, capabilities: Capabilities) -> "KeyLifetime":
        """Return the lifetime that a gateway declares."""
        lifetime = capabilities.idempotency_key_lifetime
        return cls(None if lifetime is None else lifetime.total_seconds())

    def covers(self, age_seconds: float) -> bool:
        """Say whether the gateway still remembers a key of this age."""
        return self.seconds is not None and age_seconds < self.seconds


KEY_NEEDS_NO_LIFE: Final = KeyLifetime(float("inf"))
"""For what is done once by its nature: a capture, a void."""


def key_of(payment_id: UUID, operation: str, *, issue: int = 1) -> str:
    """Return the Idempotency-Key of an operation; a new issue only after proof of absence."""
    return f"{payment_id}:{operation}" if issue == 1 else f"{payment_id}:{operation}:{issue}"


async def call_with_retry(
    call: Callable[[], Awaitable[Answer]],
    *,
    time_scale: TimeScale,
    patience_seconds: float = NO_PATIENCE,
    earlier_tries: int = 0,
    maybe_sent: bool = False,
    key_lifetime: KeyLifetime = KEY_NEEDS_NO_LIFE,
    on_unknown: Callable[[str], Awaitable[None]] | None = None,
) -> Answer | NoAnswer | Refused:
    """Call until there is an answer, the retries are exhausted, or the patience ends.

    An operation that may have been sent is not sent again once the gateway may have forgotten its
    key. `on_unknown` is awaited with the reason right after each such attempt.
    """
    clock = asyncio.get_running_loop().time
    first_sent = clock()
    for tries in count(earlier_tries + 1):
        started = clock()
        try:
            return await call()
        except RefusedByPartnerError as refusal:
            return Refused(refusal, maybe_sent)
        except (NotSentError, TooManyRequestsError, OutcomeUnknownError) as failure:
            if isinstance(failure, OutcomeUnknownError):
                if on_unknown is not None:
                    await on_unknown(failure.sentence)
                maybe_sent = True
            no_answer = _no_answer(failure, tries, maybe_sent=maybe_sent)
        if maybe_sent and no_answer.wait_seconds is not None:
            age = clock() - first_sent + time_scale.seconds(no_answer.wait_seconds)
            if not key_lifetime.covers(age):
                return dataclasses.replace(no_answer, wait_seconds=None)
        patience_seconds -= clock() - started
        if no_answer.wait_seconds is None or no_answer.wait_seconds > patience_seconds:
            return no_answer
        patience_seconds -= no_answer.wait_seconds
        await asyncio.sleep(time_scale.seconds(no_answer.wait_seconds))
    raise AssertionError("count never ends")


def _no_answer(
    failure: NotSentError | TooManyRequestsError | OutcomeUnknownError,
    tries: int,
    *,
    maybe_sent: bool,
) -> NoAnswer:
    asked = failure.retry_after_seconds if isinstance(failure, TooManyRequestsError) else None
    wait = wait_before_retry(failure.kind, retry=tries, retry_after=asked)
    return NoAnswer(tries, wait, maybe_sent, failure.sentence)
