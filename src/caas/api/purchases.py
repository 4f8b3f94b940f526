"""Buying: an order of whatever kind, and its payment, as one call.

The order is written down first, then its payment is asked for under a key that follows from the
caller's, so that a call that was cut in between and is repeated never charges twice: the repeated
call may write down another order, and is then answered with the payment of the first.

Rule a change must keep: what is answered is the order that the payment is for.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from caas.api.answers import RETRY_AFTER, Answer, answer_of
from caas.api.call import Call
from caas.api.first_answers import ACCEPTED, CREATED, OPEN, first_answer
from caas.api.idempotency import key_of
from caas.api.rooms import Api
from caas.api.texts import PaymentMethod, ReturnUrl
from caas.billing_database.idempotency import StoredAnswer
from caas.billing_database.payments import Payment
from caas.payment_processing import CallerKey, PaymentRequest
from caas.rules.payment_states import PaymentState

_ITS_PAYMENT: Final = b"\npayment"

Initiate = Callable[[PaymentRequest], Awaitable[Payment | StoredAnswer]]


class PaidWith(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a purchase is paid with; without a token the customer pays on the hosted page."""

    payment_method: PaymentMethod | None = None
    return_url: ReturnUrl | None = None


def payments_key(call: Call, digest: bytes) -> CallerKey:
    """Return the key of the payment inside a call, which follows from the call's own key."""
    key = hashlib.sha256(key_of(call).encode() + _ITS_PAYMENT).digest()
    return CallerKey(call.by.name, key, digest)


async def paid(initiate: Initiate, request: PaymentRequest) -> Payment:
    """Ask for the payment of a purchase."""
    payment = await initiate(request)
    assert isinstance(payment, Payment), "the key inside a call has no answer of its own"
    return payment


async def purchase_answer(
    api: Api,
    call: Call,
    payment: Payment,
    told: Callable[[Payment], Awaitable[tuple[msgspec.Struct, str]]],
) -> Answer:
    """Return the purchase with its payment: made, still open, or declined."""
    if payment.state is PaymentState.FAILED:
        return await first_answer(api, call, payment)
    content, path = await told(payment)
    location = (b"location", path.encode())
    if payment.state in OPEN:
        return answer_of(ACCEPTED, content, location, RETRY_AFTER)
    return answer_of(CREATED, content, location)
