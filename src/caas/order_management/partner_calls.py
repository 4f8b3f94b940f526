"""Calls to order partners, with retries and escalation (decisions 22, 23).

A partner that does not respond is retried in a job with growing waits; after the last one an alert
is raised. No payment is changed.

Rules a change must keep: nothing is sent again before it was looked up (F-R3); only an explicit
refusal by the partner counts as one; this module never sleeps.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar
from uuid import UUID

import msgspec

from caas.billing_database.postponed_jobs import Delay
from caas.external_systems.http_answers import GatewayFailure, RefusedByPartnerError
from caas.external_systems.order_partner import REFUSALS, UNEXPLAINED
from caas.jobs import Answer, Pause, RetryIn
from caas.order_management.order_tables import OrderTables

FIRST_ATTEMPT: Final = 1
WAITS_SECONDS: Final = (2.0, 4.0, 8.0, 60.0, 300.0, 900.0, 1800.0)
CONFLICT: Final = 409

Reported = TypeVar("Reported")


class Confirmed(msgspec.Struct, Generic[Reported], frozen=True):
    """The partner did it; `copies` is how many times, if looked up."""

    confirmed: Reported
    copies: int = 1


class PartnerRejection(msgspec.Struct, frozen=True):
    """The partner refused; retrying will not help."""

    because: str


class NoPartnerResponse(msgspec.Struct, frozen=True):
    """The partner was unreachable or its response unusable."""

    because: str


async def ask(
    do: Callable[[], Awaitable[Reported]],
    find: Callable[[], Awaitable[Sequence[Reported]]],
    *,
    attempt: int,
) -> Confirmed[Reported] | PartnerRejection | NoPartnerResponse:
    """Perform a partner request once, first looking up whether an earlier attempt succeeded."""
    try:
        found = await _found(find) if attempt > FIRST_ATTEMPT else ()
        if found:
            return Confirmed(found[0], copies=len(found))
        return Confirmed(await do())
    except RefusedByPartnerError as refusal:
        definite = refusal.status in REFUSALS and not _may_be_our_own(refusal, attempt)
        return (
            PartnerRejection(refusal.sentence) if definite else NoPartnerResponse(refusal.sentence)
        )
    except GatewayFailure as failure:
        return NoPartnerResponse(failure.sentence)


async def retry_or_alert(
    order_tables: OrderTables, kind: str, order_id: UUID, *, attempt: int, because: str
) -> Answer:
    """Return when to retry, or raise an alert after the last attempt."""
    if attempt <= len(WAITS_SECONDS):
        return RetryIn(WAITS_SECONDS[attempt - 1], because)
    return await alert_and_pause(order_tables, kind, order_id, because=because)


async def alert_and_pause(
    order_tables: OrderTables, kind: str, order_id: UUID, *, because: str
) -> Answer:
    """Raise an alert and pause the job."""
    sentence = (
        f"'{kind}' of the order {order_id} needs attention; its payment is unchanged. {because}"
    )
    await order_tables.notifications.alert(f"{kind}_stuck", order_id, sentence)
    return Pause(because)


async def reschedule(order_tables: OrderTables, kind: str, order_id: UUID, answer: Answer) -> None:
    """Enqueue a retry of what the first attempt, made outside a job, left undone."""
    if isinstance(answer, RetryIn):
        delay = Delay(order_tables.time_scale.seconds(answer.due_in), answer.because, {})
        await order_tables.billing.jobs.postpone_first(kind, order_id, delay)


def _may_be_our_own(refusal: RefusedByPartnerError, attempt: int) -> bool:
    """Return whether an unexplained conflict may be caused by our own previous attempt."""
    unexplained = refusal.status == CONFLICT and refusal.refusal == UNEXPLAINED
    return unexplained and attempt > FIRST_ATTEMPT


async def _found(find: Callable[[], Awaitable[Sequence[Reported]]]) -> Sequence[Reported]:
    """Look up an earlier attempt; a partner without lookup is called again with the same key."""
    try:
        return await find()
    except RefusedByPartnerError:
        return ()
