"""Idempotent requests, and idempotent purchases within them.

A request belongs to a caller and carries a key; repeated requests are compared by the digest of
their decoded content. A purchase first stores an order and then requests its payment under a key
derived from the request's. After an interruption, the retry finds that payment; an order without a
payment charges nobody.

Rules a change must keep: a rejected request changes nothing and releases its key; a request with an
unknown outcome keeps its key until it has certainly ended; a purchase returns the payment of its
own order.
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
from caas.errors import ConflictError, RefusedError, UnavailableError
from caas.payment_processing import CallerKey, PaymentRequest
from caas.payment_processing.initiation import LivePaymentError
from caas.web.response import Response

LOOK_AGAIN_SECONDS: Final = 0.15
_ITS_PAYMENT: Final = "\npayment"

Initiate = Callable[[PaymentRequest], Awaitable[Payment | StoredAnswer]]


class KeyedRequest(NamedTuple):
    """The caller, the idempotency key and the digest of the request's content."""

    caller: str
    key: str
    digest: bytes

    @property
    def payment_key(self) -> CallerKey:
        """The idempotency key of the payment inside the request."""
        return CallerKey(self.caller, hashed(self.key + _ITS_PAYMENT), self.digest)

    @property
    def order_key(self) -> bytes:
        """The idempotency key of the order inside the request."""
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
    """Run the operation once per key, or return the stored response.

    `kept` converts a response for storage and `replayed` restores it. If the first request is still
    running, wait for it for at most `wait_seconds`.

    Raises:
        KeyReusedError: the key was used for a different request.
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
    """Store the order and request its payment; a retry returns the payment it created.

    The first call may still be running beside the retry, in a process that was taken for dead: a
    conflict with its payment is none.

    Raises:
        LivePaymentError: a live payment exists for the subject; the key is released.
    """
    begun = await _payment_of(tables, request)
    if begun is not None:
        return begun
    try:
        payment = await initiate(await ordered())
    except ConflictError as conflict:
        begun = await _payment_of(tables, request)
        if begun is not None:
            return begun
        if isinstance(conflict, LivePaymentError):
            await tables.keys.forget(request.caller, request.key + _ITS_PAYMENT)
        raise
    assert isinstance(payment, Payment), "a key inside a request has no stored response"
    return payment


async def _payment_of(tables: BillingDatabase, request: KeyedRequest) -> Payment | None:
    key = request.payment_key
    payment_id = await tables.keys.payment_of(key.caller, key.key_hash)
    return None if payment_id is None else await tables.payments.get(payment_id)


async def _begun(
    keys: IdempotencyKeys, request: KeyedRequest, attempt: UUID, wait_seconds: float
) -> StoredAnswer | None:
    """Claim the key, or wait for the response of the request that holds it."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_seconds
    while True:
        try:
            return await keys.begin(request.caller, request.key, request.digest, attempt=attempt)
        except InFlightError:
            if loop.time() >= until:
                raise
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
