"""Initiation of a payment: what the seed's four initiate calls share.

Where the customer pays on the gateway's page, the request says what is bought, in the customer's
language and by the names of that moment. The description is kept with the intent, because every
retry under the same key must send the same.

Rules a change must keep: the intent, the caller's key and the job are one commit; the same key
never creates a second payment; a retry with a new key for the same thing returns the live payment,
and a different request for the same thing is refused with an error that names it.
"""

import asyncio
from typing import Final, Protocol
from uuid import UUID

import msgspec

from caas.billing_database import services
from caas.billing_database.connection import Connection
from caas.billing_database.idempotency import (
    IN_FLIGHT_SECONDS_MAX,
    InFlightError,
    KeyReusedError,
    StoredAnswer,
)
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import DESCRIPTION, Acceptance, NewPayment, Payment, Verdict
from caas.billing_database.subscriptions import PaymentMethods
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.tax_rates import TaxRates
from caas.errors import ConflictError, UnavailableError
from caas.notifications import texts
from caas.payment_processing.gateway_calls import AUTHORIZE, SAFETY_NET_SECONDS
from caas.payment_processing.gateways import Gateways
from caas.rules.money import Money
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.rules.time_scale import TimeScale

BOTH_FIRST_EVENTS: Final = 2
METHOD: Final = "method"


class LivePaymentError(ConflictError):
    """Another payment for the same thing is live already."""

    code = "live_payment"


class CallerKey(msgspec.Struct, frozen=True):
    """The caller, its Idempotency-Key's digest, and the digest of its request."""

    caller: str
    key_hash: bytes
    request_hash: bytes


class PaymentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants charged; `amount` in minor units of `currency`.

    Without a payment method the customer pays on the gateway's hosted page, which shows the
    `description`: it is kept with the intent, so that every attempt sends the same. With
    `respond_async` the call returns once the intent is durable, and a worker continues.
    """

    subject: UUID
    customer: UUID
    amount: int
    currency: str
    payment_method: str | None = None
    return_url: str | None = None
    description: str | None = None
    caller_key: CallerKey | None = None
    respond_async: bool = False


class Check(Protocol):
    """Raises if a payment is not due."""

    async def __call__(self, request: PaymentRequest, *, within: Connection) -> None:
        """Check, in the transaction that would accept the payment."""


class Accepted(msgspec.Struct, frozen=True):
    """A payment, and whether this call created it."""

    payment: Payment
    fresh: bool


async def accept(
    tables: BillingDatabase,
    request: PaymentRequest,
    payment_type: PaymentType,
    *,
    gateway: str,
    time_scale: TimeScale,
    check: Check | None,
) -> Accepted | StoredAnswer:
    """Commit the intent to charge at a gateway; a repeated call gets the first call's answer.

    `check` runs in the same transaction, and only for a payment that would be new. Without a
    `check`, nothing is left to verify at that moment.

    Raises:
        KeyReusedError: the caller's key belongs to another request.
        InFlightError: the first request with this key is still running.
        LivePaymentError: a different payment for the same thing is live.
    """
    Money(request.amount, request.currency)
    wanted = _new_payment(request, payment_type, gateway, time_scale)
    acceptance = await _accepted(tables, wanted, request, check)
    if await _came_too_early(tables, request, acceptance):
        await _forget_key(tables, request)
        acceptance = await _accepted(tables, wanted, request, check)
    match acceptance.verdict:
        case Verdict.ACCEPTED:
            return Accepted(_as_accepted(wanted, acceptance), fresh=True)
        case Verdict.KEY_USED:
            return await _repeated(tables, request, acceptance)
        case Verdict.LIVE_PAYMENT:
            return await _live(tables, request, acceptance)


async def _accepted(
    tables: BillingDatabase, wanted: NewPayment, request: PaymentRequest, check: Check | None
) -> Acceptance:
    try:
        return await _accept_now(tables, wanted, request, check)
    except (UnavailableError, asyncio.CancelledError):
        give_up_key(tables, request, wanted.id)
        raise


def give_up_key(tables: BillingDatabase, request: PaymentRequest, payment_id: UUID) -> None:
    """Release the key of a call that ended without an answer, so that a retry gets its payment."""
    key = request.caller_key
    if key is not None:
        tables.keys.give_up(key.caller, key.key_hash, payment_id)


async def _accept_now(
    tables: BillingDatabase, wanted: NewPayment, request: PaymentRequest, check: Check | None
) -> Acceptance:
    if check is None:
        return await tables.payments.accept(wanted)

    async def together(connection: Connection) -> Acceptance:
        acceptance = await tables.payments.accept(wanted, within=connection)
        if acceptance.verdict is Verdict.ACCEPTED:
            await check(request, within=connection)
        return acceptance

    return await tables.database.in_transaction(together)


async def _came_too_early(
    tables: BillingDatabase, request: PaymentRequest, acceptance: Acceptance
) -> bool:
    """Return whether a second query can find what the first could not.

    Either another caller's key or payment was committed while our statement ran, or the key was
    left by a call that died before its response, for a payment that was never created.
    """
    if acceptance.verdict is Verdict.ACCEPTED:
        return False
    if acceptance.payment_id is None:
        return True
    if acceptance.verdict is Verdict.LIVE_PAYMENT or acceptance.answer_status is not None:
        return False
    if await tables.payments.exists(acceptance.payment_id):
        return False
    return not await _is_running(tables, request, acceptance)


async def _forget_key(tables: BillingDatabase, request: PaymentRequest) -> None:
    """Delete the key if it names a payment that was never created."""
    if request.caller_key is not None:
        await tables.keys.forget_phantom(request.caller_key.caller, request.caller_key.key_hash)


async def _is_running(
    tables: BillingDatabase, request: PaymentRequest, acceptance: Acceptance
) -> bool:
    """Return whether the call that first used the key may still be running."""
    assert acceptance.key_created_at is not None, "a used key was stored"
    running = (acceptance.at - acceptance.key_created_at).total_seconds()
    if running >= IN_FLIGHT_SECONDS_MAX:
        return False
    key = request.caller_key
    return key is None or not await tables.keys.is_orphaned(key.caller, key.key_hash)


def _new_payment(
    request: PaymentRequest, payment_type: PaymentType, gateway: str, time_scale: TimeScale
) -> NewPayment:
    key = request.caller_key
    return NewPayment(
        id=new_id(),
        type=payment_type,
        subject=request.subject,
        customer=request.customer,
        amount=request.amount,
        currency=request.currency,
        gateway=gateway,
        payment_method=request.payment_method,
        return_url=request.return_url,
        facts={DESCRIPTION: request.description} if request.description else None,
        caller=key.caller if key else None,
        key_hash=rf"\x{key.key_hash.hex()}" if key else None,
        request_hash=rf"\x{key.request_hash.hex()}" if key else None,
        job_kind=AUTHORIZE,
        due_in=0.0 if request.respond_async else time_scale.seconds(SAFETY_NET_SECONDS),
    )


async def _repeated(
    tables: BillingDatabase, request: PaymentRequest, acceptance: Acceptance
) -> Accepted | StoredAnswer:
    assert request.caller_key is not None, "only a key can have been used before"
    if acceptance.request_hash != request.caller_key.request_hash:
        raise KeyReusedError
    if acceptance.answer_status is not None and acceptance.answer_body is not None:
        return StoredAnswer(acceptance.answer_status, acceptance.answer_body)
    if acceptance.payment_id is None or await _is_running(tables, request, acceptance):
        raise InFlightError
    return Accepted(await tables.payments.get(acceptance.payment_id), fresh=False)


async def _live(
    tables: BillingDatabase, request: PaymentRequest, acceptance: Acceptance
) -> Accepted | StoredAnswer:
    if acceptance.payment_id is None:  # it ended between our insert and our query
        raise LivePaymentError("Another payment for the same thing has just ended; try again.")
    live = await tables.payments.get(acceptance.payment_id)
    if (live.amount, live.currency, live.customer) != (
        request.amount,
        request.currency,
        request.customer,
    ):
        raise LivePaymentError(
            f"The payment {live.id} for the same thing is live, with another amount or customer.",
            payment_id=str(live.id),
        )
    return Accepted(live, fresh=False)


def _as_accepted(wanted: NewPayment, acceptance: Acceptance) -> Payment:
    return Payment(
        id=wanted.id,
        type=wanted.type,
        subject=wanted.subject,
        customer=wanted.customer,
        amount=wanted.amount,
        currency=wanted.currency,
        gateway=wanted.gateway,
        payment_method=wanted.payment_method,
        return_url=wanted.return_url,
        state=PaymentState.PENDING,
        version=BOTH_FIRST_EVENTS,
        created_at=acceptance.at,
        updated_at=acceptance.at,
    )


async def gateway_for(
    tables: BillingDatabase,
    gateways: Gateways,
    payment_type: PaymentType,
    *,
    subject: UUID | None,
    customer: UUID,
    token: str | None,
    money: Money | None,
) -> str:
    """Return the gateway of a new payment (decisions 208, 250).

    It is where the customer has used the token, otherwise the gateway of the market of the sale. A
    payment without a token goes to one that can take `money`; None: the amount is not known.
    """
    if len(gateways.names) == 1:
        return gateways.for_new_payments
    if token is not None:
        saved_at = await PaymentMethods(tables.database).saved_at(customer, token)
        if saved_at is not None:
            return saved_at
    market = None
    if gateways.routes.by_market:
        rates = TaxRates(tables.database)
        market = await rates.market_of_sale(payment_type, subject, customer)
    return gateways.of_market(market, payment_type, money if token is None else None)


async def described(tables: BillingDatabase, request: PaymentRequest, what: str) -> PaymentRequest:
    """Return the request with a description; `what` is a payment type or `METHOD`."""
    if request.payment_method is not None or request.description is not None:
        return request
    found = await services.bought(
        tables.database, customer=request.customer, subject=request.subject
    )
    if found is None or found.name is None:
        return request
    stated = texts.bought(what, language=found.language, name=found.name, days=found.days or 0)
    return msgspec.structs.replace(request, description=stated)
