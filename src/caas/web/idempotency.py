"""A request is done once, however often it is sent, and so is what is bought with it.

A request belongs to a caller and carries a key; what is compared is the request as it was
understood, by its digest. A purchase inside it is an order, written down first, and its payment,
asked for under a key that follows from the request's: a request that was cut and comes again looks
for that payment first, and an order that was left without a payment is charged to nobody.

Rules a change must keep: a request that was refused changed nothing and gives its key back; one
that failed in an unknown way keeps it, until the first is certainly over; the payment that a
purchase returns is that of its order.
"""

import asyncio
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Final, NamedTuple
from uuid import UUID

from caas.billing_database.idempotency import IdempotencyKeys, InFlightError, StoredAnswer, hashed
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.errors import RefusedError, UnavailableError
from caas.payment_processing import CallerKey, PaymentRequest
from caas.payment_processing.initiation import LivePaymentError
from caas.web.response import Response

LOOK_AGAIN_SECONDS: Final = 0.15
_ITS_PAYMENT: Final = "\npayment"

Initiate = Callable[[PaymentRequest], Awaitable[Payment | StoredAnswer]]


class KeyedRequest(NamedTuple):
    """Whose request it is, the key they gave it, and the digest of what it asks for."""

    caller: str
    key: str
    digest: bytes

    @property
    def payment_key(self) -> CallerKey:
        """The key of the payment inside the request."""
        return CallerKey(self.caller, hashed(self.key + _ITS_PAYMENT), self.digest)

    @property
    def order_key(self) -> bytes:
        """The key under which the order inside the request is placed, once."""
        return hashed(f"{self.caller}\n{self.payment_key.key_hash.hex()}")


async def once(
    keys: IdempotencyKeys,
    request: KeyedRequest,
    work: Callable[[], Awaitable[Response]],
    *,
    replayed: Callable[[StoredAnswer], Response],
    kept: Callable[[Response], bytes] = attrgetter("body"),
    wait_seconds: float = 0.0,
) -> Response:
    """Do the work of a request, unless its key says that it was done; then return that response.

    `kept` returns what of a response is kept, and `replayed` makes a response of it again. While
    the first request is still running, this one waits at most `wait_seconds` for it.

    Raises:
        KeyReusedError: the key was used for another request.
        InFlightError: the first request with this key is still running.
    """
    attempt = new_id()
    stored = await _begun(keys, request, attempt, wait_seconds)
    if stored is not None:
        return replayed(stored)
    try:
        response = await work()
    except (RefusedError, UnavailableError):
        await keys.forget(request.caller, request.key, attempt=attempt)
        raise
    await keys.end(request.caller, request.key, StoredAnswer(response.status, kept(response)))
    return response


async def checkout(
    tables: BillingDatabase,
    request: KeyedRequest,
    initiate: Initiate,
    ordered: Callable[[], Awaitable[PaymentRequest]],
) -> Payment:
    """Write the order down and ask for its payment; a repeated request gets the payment it made.

    Raises:
        LivePaymentError: what is bought is being paid for already; the key is given back.
    """
    key = request.payment_key
    payment_id = await tables.keys.payment_of(key.caller, key.key_hash)
    if payment_id is not None:
        return await tables.payments.get(payment_id)
    try:
        payment = await initiate(await ordered())
    except LivePaymentError:
        await tables.keys.forget(request.caller, request.key + _ITS_PAYMENT)
        raise
    assert isinstance(payment, Payment), "the key inside a request has no answer of its own"
    return payment


async def _begun(
    keys: IdempotencyKeys, request: KeyedRequest, attempt: UUID, wait_seconds: float
) -> StoredAnswer | None:
    """Take the key, or wait for the answer of whoever has it."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_seconds
    while True:
        try:
            return await keys.begin(request.caller, request.key, request.digest, attempt=attempt)
        except InFlightError:
            if loop.time() >= until:
                raise
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
