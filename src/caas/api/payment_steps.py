"""Operations on an existing payment (void, settlement, delivery, refund) and payment requests.

The request bodies of all payment calls (Internal Payment API) are defined here.

Rules a change must keep: each operation runs once per Idempotency-Key and first checks that the
payment is visible to the caller; Payment Processing decides whether it is allowed; amounts are
whole minor units; no field accepts card data, and free text is scanned for it.
"""

import base64
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import PAGE_ROWS, BodyOf, Limit, refuse_personal_data
from caas.api.context import Api
from caas.api.first_answers import ACCEPTED, CREATED
from caas.api.idempotency import key_of, once
from caas.api.ownership import own_payment, refuse_customers_own, refuse_narrowed
from caas.api.payment_answers import path_of, payment_answer, refund_answer
from caas.api.problems import InvalidBodyError
from caas.api.texts import (
    Amount,
    Currency,
    Epoch,
    GatewayName,
    Instant,
    Moment,
    PaymentMethod,
    PositiveAmount,
    Reason,
    Reference,
    Remark,
    ReturnUrl,
    Signature,
    Vin,
)
from caas.billing_database.idempotency import hashed
from caas.billing_database.payments import Payment
from caas.errors import RefusedError
from caas.external_systems.vehicle_messages import Acknowledgement, AcknowledgementStatus, Action
from caas.payment_processing import SettlementNotice
from caas.rules.discrepancies import is_large
from caas.rules.money import Money
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.web.problems import RETRY_AFTER
from caas.web.response import Response, json_response


class InitiateBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The subject, customer, amount and means of payment."""

    subject: UUID
    customer: UUID
    amount: PositiveAmount
    currency: Currency
    payment_method: PaymentMethod | None = None
    return_url: ReturnUrl | None = None


class VoidBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reason for the void."""

    reason: Reason


class RefundBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The amount to refund and the reason (`desistimiento`, ...).

    `term` says what happens to a running one-time service once nothing is left paid for it: "end"
    or "keep". It is required in that case, except for `desistimiento`, which ends the service.
    """

    amount: PositiveAmount
    reason: Reason
    term: Literal["end", "keep"] | None = None


class SettlementBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bank's settlement notice for one payment; `settled_amount` is the cumulative total."""

    settlement_id: Reference
    settled: bool
    settled_amount: Amount
    currency: Currency


class DeliveryBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vehicle's response to the command for a payment, signed with its Ed25519 key."""

    vin: Vin
    command_id: UUID
    epoch: Epoch
    service: Reference
    action: Action
    status: AcknowledgementStatus
    at: Instant
    signature: Signature
    status_reason: Remark = ""

    def as_acknowledgement(self, payment_id: UUID) -> Acknowledgement:
        """Return it as the OTA Activation Engine's acknowledgement.

        Raises:
            InvalidBodyError: `at` is not a timestamp.
        """
        try:
            at = datetime.fromisoformat(self.at)
        except ValueError as error:
            raise InvalidBodyError(
                "`at` must be the timestamp exactly as the vehicle signed it."
            ) from error
        return Acknowledgement(
            vin=self.vin,
            command_id=str(self.command_id),
            epoch=self.epoch,
            payment_id=str(payment_id),
            service=self.service,
            action=self.action,
            status=self.status,
            status_reason=self.status_reason,
            at=at,
            at_text=self.at,
            signature=base64.b64decode(self.signature),
        )


class PaymentQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters for payments; times are half open: [created_from, created_to)."""

    subject: UUID | None = None
    customer: UUID | None = None
    vin: Vin | None = None
    type: PaymentType | None = None
    state: PaymentState | None = None
    outcome: Literal["known", "unknown"] | None = None
    gateway: GatewayName | None = None
    created_from: Moment | None = None
    created_to: Moment | None = None
    cursor: UUID | None = None
    limit: Limit = PAGE_ROWS


OK: Final = 200
FORBIDDEN: Final = 403
REFUND_ENDED: Final = frozenset({"succeeded", "failed"})
VOID: Final = BodyOf(VoidBody)
SETTLEMENT: Final = BodyOf(SettlementBody)
DELIVERY: Final = BodyOf(DeliveryBody)
REFUND: Final = BodyOf(RefundBody)


class RefundNeedsTwoPeopleError(RefusedError):
    """A refund above the limit needs the approval of a second person.

    Propose it on the payment's page in the console.
    """

    code = "refund_needs_two_people"
    http_status = FORBIDDEN


async def void_payment(api: Api, call: Call) -> Response:
    """Void a payment before its capture. Repeating the call changes nothing."""
    body = VOID.read(call.body)
    payment_id = call.ids["payment_id"]

    async def void() -> Response:
        owned = await own_payment(api.platform, call.by, payment_id)
        await refuse_personal_data(api.platform, owned.customer, body.reason)
        payment = await api.platform.payment_processing.void_payment(payment_id, body.reason)
        done = payment.state is PaymentState.VOIDED
        return await _to_response(api, payment, OK if done else ACCEPTED)

    return await once(api.platform.tables.keys, call, body, void)


async def record_settlement(api: Api, call: Call) -> Response:
    """Record a settlement notice for a payment. A repeated notice counts once."""
    body = SETTLEMENT.read(call.body)
    payment_id = call.ids["payment_id"]

    async def record() -> Response:
        owned = await own_payment(api.platform, call.by, payment_id)
        refuse_narrowed(call.by)
        await refuse_personal_data(api.platform, owned.customer, body.settlement_id)
        notice = SettlementNotice(
            settlement_id=body.settlement_id,
            settled=body.settled,
            settled_amount=body.settled_amount,
            currency=body.currency,
        )
        return await _to_response(
            api, await api.platform.payment_processing.record_settlement(payment_id, notice), OK
        )

    return await once(api.platform.tables.keys, call, body, record)


async def refund_payment(api: Api, call: Call) -> Response:
    """Refund a payment in full or in part (desistimiento and other reasons).

    System keys may refund any amount; a key that belongs to a person only up to the limit.
    """
    body = REFUND.read(call.body)
    payment_id = call.ids["payment_id"]

    async def refund() -> Response:
        owned = await own_payment(api.platform, call.by, payment_id)
        refuse_customers_own(call.by)
        await refuse_personal_data(api.platform, owned.customer, body.reason)
        if call.by.account is not None and is_large(Money(body.amount, owned.currency)):
            raise RefundNeedsTwoPeopleError
        given_back = await api.platform.payment_processing.refund_payment(
            payment_id,
            amount=body.amount,
            reason=body.reason,
            key=f"{call.by.owner}:{hashed(key_of(call)).hex()}",
            requested_by=call.by.name,
            term=body.term,
        )
        location = (b"location", path_of(payment_id).encode())
        status = CREATED if given_back.state in REFUND_ENDED else ACCEPTED
        return json_response(status, refund_answer(given_back), location)

    return await once(api.platform.tables.keys, call, body, refund)


async def confirm_delivery(api: Api, call: Call) -> Response:
    """Verify a vehicle's signed acknowledgement. A valid one captures the payment."""
    body = DELIVERY.read(call.body)
    payment_id = call.ids["payment_id"]

    async def confirm() -> Response:
        owned = await own_payment(api.platform, call.by, payment_id)
        await refuse_personal_data(api.platform, owned.customer, body.status_reason, body.service)
        payment = await api.platform.payment_processing.confirm_delivery(
            payment_id, body.as_acknowledgement(payment_id)
        )
        return await _to_response(api, payment, OK)

    return await once(api.platform.tables.keys, call, body, confirm)


async def _to_response(api: Api, payment: Payment, status: int) -> Response:
    events = await api.platform.tables.payments.timeline(payment.id)
    more = (RETRY_AFTER,) if status == ACCEPTED else ()
    return json_response(status, payment_answer(payment, events), *more)
