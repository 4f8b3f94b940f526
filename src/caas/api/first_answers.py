"""The response to a payment request: definitive, still open, or declined.

| payment | response |
|---|---|
| authorized or further | 201 |
| still open: in progress, unknown, or waiting for the customer on the hosted page | 202 |
| failed, or authorized and voided at once | 402, a problem with the payment and the reason |

Rules a change must keep: a purchase returns the order its payment belongs to; an unknown outcome is
202 and never an error, because a caller that sees an error charges again.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from caas.api.authentication import Call
from caas.api.context import Api
from caas.api.payment_answers import (
    PaymentAnswer,
    accepted_answer,
    payment_answer,
)
from caas.api.problems import PaymentDeclinedError, PaymentNotMadeError, Problem
from caas.api.texts import PaymentMethod, ReturnUrl
from caas.billing_database.payments import Payment, TimelineEvent
from caas.rules.payment_failures import is_no_decline
from caas.rules.payment_states import PaymentState, Remark
from caas.web.problems import RETRY_AFTER, CallRefusedError, problem_of, problem_response
from caas.web.response import RawHeader, Response, json_response

CREATED: Final = 201
ACCEPTED: Final = 202
DECLINED: Final = 402
NOT_FOUND: Final = 404
FIRST_ANSWERS: Final = {
    CREATED: PaymentAnswer, ACCEPTED: PaymentAnswer, DECLINED: Problem, NOT_FOUND: Problem,
}  # fmt: skip

RESPOND_ASYNC: Final = b"respond-async"
PREFERENCE_APPLIED: Final[RawHeader] = (b"preference-applied", RESPOND_ASYNC)
VERSION_ACCEPTED: Final = 2
VERSION_HELD: Final = 3
"""The version of a payment whose funds are held and of which nothing else has happened."""
OVERTAKEN: Final = (
    "The payment was not made: what it was for has ended meanwhile, by a withdrawal for instance. "
    "The held funds are voided. Nothing was charged."
)
NOTHING_TAKEN: Final = frozenset({PaymentState.FAILED, PaymentState.VOIDED})
OPEN: Final = frozenset({PaymentState.INITIATED, PaymentState.PENDING})


class PaidWith(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The means of payment; without a token the customer pays on the hosted page."""

    payment_method: PaymentMethod | None = None
    return_url: ReturnUrl | None = None


def prefers_async(call: Call) -> bool:
    """Return whether the caller wants its answer as soon as the payment is stored."""
    return RESPOND_ASYNC in call.headers.get(b"prefer", b"").lower()


def applied(call: Call) -> tuple[RawHeader, ...]:
    """Return the header that says that the preference was followed, if there was one."""
    return (PREFERENCE_APPLIED,) if prefers_async(call) else ()


async def first_answer(api: Api, call: Call, payment: Payment) -> Response:
    """Return the response for this payment."""
    headers = applied(call)
    if payment.version == VERSION_ACCEPTED and payment.state is PaymentState.PENDING:
        return _answer(payment, accepted_answer(payment), *headers)
    events = await api.platform.tables.payments.timeline(payment.id)
    content = payment_answer(payment, events)
    if _was_not_made(payment, events):
        return problem_response(_not_made(call, payment, content), *headers)
    return _answer(payment, content, *headers)


async def purchase_answer(
    api: Api,
    call: Call,
    payment: Payment,
    reported: Callable[[Payment], Awaitable[tuple[msgspec.Struct, str]]],
) -> Response:
    """Return the response for a purchase with its payment: made, still open, or not made."""
    more_than_held = payment.state is PaymentState.AUTHORIZED and payment.version > VERSION_HELD
    if more_than_held or payment.state in NOTHING_TAKEN:
        events = await api.platform.tables.payments.timeline(payment.id)
        if _was_not_made(payment, events):
            return await first_answer(api, call, payment)
    content, path = await reported(payment)
    location = (b"location", path.encode())
    if payment.state in OPEN:
        return json_response(ACCEPTED, content, location, RETRY_AFTER, *applied(call))
    return json_response(CREATED, content, location, *applied(call))


def _answer(payment: Payment, content: PaymentAnswer, *headers: RawHeader) -> Response:
    location = (b"location", content.links.itself.encode())
    if payment.state in OPEN:
        return json_response(ACCEPTED, content, location, RETRY_AFTER, *headers)
    return json_response(CREATED, content, location, *headers)


def _was_not_made(payment: Payment, events: Sequence[TimelineEvent]) -> bool:
    """Return whether nothing is taken: it failed, or its held funds were or are being voided."""
    if payment.state is PaymentState.AUTHORIZED:
        return any(event.event == Remark.VOID_REQUESTED for event in events)
    return payment.state in NOTHING_TAKEN


def _not_made(call: Call, payment: Payment, content: PaymentAnswer) -> Problem:
    error: CallRefusedError = PaymentNotMadeError()
    if payment.state is not PaymentState.FAILED:
        error = PaymentNotMadeError(OVERTAKEN)
    elif not is_no_decline(payment.decline_code):
        why = (payment.decline_code or "no reason given").replace("_", " ")
        error = PaymentDeclinedError(f"The payment was not made ({why}). Nothing was charged.")
    details = problem_of(error, request_id=call.request_id)
    return Problem(**msgspec.structs.asdict(details), payment=content)
