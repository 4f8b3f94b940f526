"""What a purchase is paid with, and how it is answered: an order with its payment, as one call.

Rule a change must keep: what is answered is the order that the payment is for.
"""

from collections.abc import Awaitable, Callable

import msgspec

from caas.api.call import Call
from caas.api.first_answers import ACCEPTED, CREATED, OPEN, first_answer
from caas.api.rooms import Api
from caas.api.texts import PaymentMethod, ReturnUrl
from caas.billing_database.payments import Payment
from caas.rules.payment_states import PaymentState
from caas.web.problems import RETRY_AFTER
from caas.web.response import Response, json_response


class PaidWith(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a purchase is paid with; without a token the customer pays on the hosted page."""

    payment_method: PaymentMethod | None = None
    return_url: ReturnUrl | None = None


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
