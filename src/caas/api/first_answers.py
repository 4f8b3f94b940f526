"""The first answer to a payment that was asked for: definitive, still open, or declined.

| the payment | the answer |
|---|---|
| holds its funds, or is further | 201 |
| is still open: at work, unknown, or waiting for the customer on the hosted page | 202 |
| failed | 402, a problem with the payment inside |

Rule a change must keep: an outcome nobody knows is 202 and never an error, because a caller who
reads an error charges again.
"""

from typing import Final

from caas.api import problems
from caas.api.answers import RETRY_AFTER, Answer, answer_of, problem_answer
from caas.api.call import Call
from caas.api.payment_answers import (
    PaymentAnswer,
    accepted_answer,
    payment_answer,
)
from caas.api.problems import PaymentDeclinedError, Problem, RawHeader
from caas.api.rooms import Api
from caas.billing_database.payments import Payment
from caas.rules.payment_states import PaymentState

CREATED: Final = 201
ACCEPTED: Final = 202
DECLINED: Final = 402
NOT_FOUND: Final = 404
FIRST_ANSWERS: Final = {
    CREATED: PaymentAnswer, ACCEPTED: PaymentAnswer, DECLINED: Problem, NOT_FOUND: Problem,
}  # fmt: skip

VERSION_ACCEPTED: Final = 2
OPEN: Final = frozenset({PaymentState.INITIATED, PaymentState.PENDING})


async def first_answer(api: Api, call: Call, payment: Payment, *headers: RawHeader) -> Answer:
    """Return the answer to whoever asked for this payment."""
    if payment.version == VERSION_ACCEPTED and payment.state is PaymentState.PENDING:
        return _answer(call, payment, accepted_answer(payment), *headers)
    events = await api.rooms.books.payments.timeline(payment.id)
    return _answer(call, payment, payment_answer(payment, events), *headers)


def _answer(call: Call, payment: Payment, content: PaymentAnswer, *headers: RawHeader) -> Answer:
    if payment.state is PaymentState.FAILED:
        return problem_answer(_declined(call, payment, content), *headers)
    location = (b"location", content.links.itself.encode())
    if payment.state in OPEN:
        return answer_of(ACCEPTED, content, location, RETRY_AFTER, *headers)
    return answer_of(CREATED, content, location, *headers)


def _declined(call: Call, payment: Payment, content: PaymentAnswer) -> Problem:
    why = (payment.decline_code or "no reason given").replace("_", " ")
    error = PaymentDeclinedError(f"The payment was not made ({why}); nothing was charged.")
    return problems.problem_of(error, request_id=call.request_id, payment=content)
