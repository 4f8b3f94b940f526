"""One call to an order partner, and what becomes of it (decisions 22, 23).

A partner that does not answer is asked again, with growing waits that are jobs, and after
the last of them operations are alerted and a person decides: no payment is touched by it.

Rules a change must keep: nothing is asked again before it was looked up (F-R3); a refusal counts
only in the partner's own words; no wait happens here, the waits are answers to the worker.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from uuid import UUID

from caas.external_systems.http_answers import GatewayFailure, RefusedByPartnerError
from caas.external_systems.order_partner import REFUSALS, UNEXPLAINED
from caas.jobs import Answer, Pause, RetryIn
from caas.order_management.order_tables import OrderTables

FIRST_ATTEMPT: Final = 1
WAITS_SECONDS: Final = (2.0, 4.0, 8.0, 60.0, 300.0, 900.0, 1800.0)
CONFLICT: Final = 409

Reported = TypeVar("Reported")


@dataclass(frozen=True, slots=True)
class Confirmed(Generic[Reported]):
    """The partner did it; `copies` is how many times, when it was looked up."""

    confirmed: Reported
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Refused:
    """The partner will not do it, and asking again changes nothing."""

    because: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Not reached, or no usable answer."""

    because: str


async def ask(
    do: Callable[[], Awaitable[Reported]],
    find: Callable[[], Awaitable[Sequence[Reported]]],
    *,
    attempt: int,
) -> Confirmed[Reported] | Refused | NoAnswer:
    """Have something done once, looking first whether an earlier attempt has done it."""
    try:
        found = await _found(find) if attempt > FIRST_ATTEMPT else ()
        if found:
            return Confirmed(found[0], copies=len(found))
        return Confirmed(await do())
    except RefusedByPartnerError as refusal:
        definite = refusal.status in REFUSALS and not _may_be_our_own(refusal, attempt)
        return Refused(refusal.sentence) if definite else NoAnswer(refusal.sentence)
    except GatewayFailure as failure:
        return NoAnswer(failure.sentence)


async def retry_or_alert(
    order_tables: OrderTables, kind: str, order_id: UUID, *, attempt: int, because: str
) -> Answer:
    """Say when to ask again, or alert operations when there was no answer for too long."""
    if attempt <= len(WAITS_SECONDS):
        return RetryIn(WAITS_SECONDS[attempt - 1], because)
    return await alert_and_pause(order_tables, kind, order_id, because=because)


async def alert_and_pause(
    order_tables: OrderTables, kind: str, order_id: UUID, *, because: str
) -> Answer:
    """Leave it to a person."""
    sentence = f"'{kind}' of the order {order_id} needs a person; its payment stays. {because}"
    await order_tables.notifications.alert(f"{kind}_stuck", order_id, sentence)
    return Pause(because)


async def reschedule(order_tables: OrderTables, kind: str, order_id: UUID, answer: Answer) -> None:
    """Let the worker go on with what the caller's own first attempt left undone."""
    if isinstance(answer, RetryIn):
        wait = order_tables.time_scale.seconds(answer.due_in)
        await order_tables.billing.jobs.postpone(
            kind, order_id, due_in=wait, because=answer.because
        )


def _may_be_our_own(refusal: RefusedByPartnerError, attempt: int) -> bool:
    """Whether a conflict without a reason may be with what we asked a moment ago ourselves."""
    unexplained = refusal.status == CONFLICT and refusal.refusal == UNEXPLAINED
    return unexplained and attempt > FIRST_ATTEMPT


async def _found(find: Callable[[], Awaitable[Sequence[Reported]]]) -> Sequence[Reported]:
    """Look it up; a partner without lookup is asked again, with the same key."""
    try:
        return await find()
    except RefusedByPartnerError:
        return ()
