"""One call to an order partner, and what becomes of it (decisions 22, 23).

A partner that does not answer is asked again, with growing waits that are open work, and after
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
from caas.open_work import Again, Answer, Park
from caas.order_management.order_books import OrderBooks

FIRST_ATTEMPT: Final = 1
WAITS_SECONDS: Final = (2.0, 4.0, 8.0, 60.0, 300.0, 900.0, 1800.0)
CONFLICT: Final = 409

Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class Confirmed(Generic[Told]):
    """The partner did it; `copies` is how many times, when it was looked up."""

    told: Told
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Refused:
    """The partner will not do it, and asking again changes nothing."""

    because: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Not reached, or no usable answer."""

    because: str


async def ask(
    do: Callable[[], Awaitable[Told]],
    find: Callable[[], Awaitable[Sequence[Told]]],
    *,
    attempt: int,
) -> Confirmed[Told] | Refused | Unanswered:
    """Have something done once, looking first whether an earlier attempt has done it."""
    try:
        found = await _found(find) if attempt > FIRST_ATTEMPT else ()
        if found:
            return Confirmed(found[0], copies=len(found))
        return Confirmed(await do())
    except RefusedByPartnerError as refusal:
        definite = refusal.status in REFUSALS and not _may_be_our_own(refusal, attempt)
        return Refused(refusal.sentence) if definite else Unanswered(refusal.sentence)
    except GatewayFailure as failure:
        return Unanswered(failure.sentence)


async def again_or_alert(
    order_books: OrderBooks, kind: str, order_id: UUID, *, attempt: int, because: str
) -> Answer:
    """Say when to ask again, or alert operations when there was no answer for too long."""
    if attempt <= len(WAITS_SECONDS):
        return Again(WAITS_SECONDS[attempt - 1], because)
    return await alert_and_park(order_books, kind, order_id, because=because)


async def alert_and_park(
    order_books: OrderBooks, kind: str, order_id: UUID, *, because: str
) -> Answer:
    """Leave it to a person."""
    sentence = f"'{kind}' of the order {order_id} needs a person; its payment stays. {because}"
    await order_books.alert(f"{kind}_stuck", order_id, sentence)
    return Park(because)


async def put_off(order_books: OrderBooks, kind: str, order_id: UUID, answer: Answer) -> None:
    """Let the worker go on with what the caller's own first attempt left undone."""
    if isinstance(answer, Again):
        wait = order_books.pace.seconds(answer.due_in)
        await order_books.books.work.postpone(kind, order_id, due_in=wait, because=answer.because)


def _may_be_our_own(refusal: RefusedByPartnerError, attempt: int) -> bool:
    """Whether a conflict without a reason may be with what we asked a moment ago ourselves."""
    unexplained = refusal.status == CONFLICT and refusal.refusal == UNEXPLAINED
    return unexplained and attempt > FIRST_ATTEMPT


async def _found(find: Callable[[], Awaitable[Sequence[Told]]]) -> Sequence[Told]:
    """Look it up; a partner without lookup is asked again, with the same key."""
    try:
        return await find()
    except RefusedByPartnerError:
        return ()
