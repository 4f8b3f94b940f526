"""Buying: an order of whatever kind, and its payment, as one call.

The order is written down first, then its payment is asked for under a key that follows from the
caller's. A call that was cut and is repeated looks for that payment first, so that it never charges
twice; an order that was left without a payment is charged to nobody.

Rule a change must keep: what is answered is the order that the payment is for.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from caas.api.call import Call
from caas.api.first_answers import ACCEPTED, CREATED, OPEN, first_answer
from caas.api.idempotency import key_of
from caas.api.rooms import Api
from caas.api.texts import PaymentMethod, ReturnUrl
from caas.billing_database.idempotency import StoredAnswer, hashed
from caas.billing_database.payments import Payment
from caas.payment_processing import CallerKey, PaymentRequest
from caas.payment_processing.initiation import LivePaymentError
from caas.rules.payment_states import PaymentState
from caas.web.problems import RETRY_AFTER
from caas.web.response import Response, json_response

_ITS_PAYMENT: Final = "\npayment"

Initiate = Callable[[PaymentRequest], Awaitable[Payment | StoredAnswer]]


class PaidWith(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a purchase is paid with; without a token the customer pays on the hosted page."""

    payment_method: PaymentMethod | None = None
    return_url: ReturnUrl | None = None


def payments_key(call: Call, digest: bytes) -> CallerKey:
    """Return the key of the payment inside a call, which follows from the call's own key."""
    return CallerKey(call.by.name, hashed(key_of(call) + _ITS_PAYMENT), digest)


def order_key(key: CallerKey) -> bytes:
    """Return the key under which the order inside a call is placed, once."""
    return hashed(f"{key.caller}\n{key.key_hash.hex()}")


async def paid(
    api: Api,
    call: Call,
    key: CallerKey,
    initiate: Initiate,
    ordered: Callable[[], Awaitable[PaymentRequest]],
) -> Payment:
    """Write the order down and ask for its payment; a repeated call gets the payment it made."""
    payment_id = await api.rooms.books.keys.payment_of(key.caller, key.key_hash)
    if payment_id is not None:
        return await api.rooms.books.payments.get(payment_id)
    try:
        payment = await initiate(await ordered())
    except LivePaymentError:
        await api.rooms.books.keys.forget(call.by.name, key_of(call) + _ITS_PAYMENT)
        raise
    assert isinstance(payment, Payment), "the key inside a call has no answer of its own"
    return payment


async def purchase_answer(
    api: Api,
    call: Call,
    payment: Payment,
    told: Callable[[Payment], Awaitable[tuple[msgspec.Struct, str]]],
) -> Response:
    """Return the purchase with its payment: made, still open, or declined."""
    if payment.state is PaymentState.FAILED:
        return await first_answer(api, call, payment)
    content, path = await told(payment)
    location = (b"location", path.encode())
    if payment.state in OPEN:
        return json_response(ACCEPTED, content, location, RETRY_AFTER)
    return json_response(CREATED, content, location)
