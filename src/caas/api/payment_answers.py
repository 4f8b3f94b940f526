"""API representations of payments (Internal Payment API Endpoints; interfaces: Payment API).

Rules a change must keep: fields are added, never renamed or removed; states are the seed's ten
names; amounts are minor units of the payment's currency; payment methods and internal names are
never returned.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from caas.api.row_answers import answer_from
from caas.billing_database.payments import Payment, TimelineEvent
from caas.billing_database.refunds import Dispute, Refund
from caas.rules.payment_states import PaymentEvent, PaymentState
from caas.rules.payment_types import PaymentType

_SUBMITS: Final = PaymentEvent.CUSTOMER_SUBMITS_PAYMENT.value
_PROCESSING: Final = PaymentEvent.GATEWAY_PROCESSING.value


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """The payment's amounts, in minor units."""

    authorized: int
    captured: int
    settled: int
    refunded: int
    disputed: int


class EventAnswer(msgspec.Struct, frozen=True, kw_only=True, rename={"to_state": "state"}):
    """A timeline event: an arrow of Diagram 9 or a remark."""

    seq: int
    event: str
    to_state: PaymentState
    at: datetime


class RefundAnswer(msgspec.Struct, frozen=True, kw_only=True, rename={"payment_id": "payment"}):
    """A refund of the payment, completed or in progress."""

    id: UUID
    payment_id: UUID
    amount: int
    currency: str
    reason: str
    state: str
    outcome: str
    failed_because: str | None
    created_at: datetime
    updated_at: datetime


class DisputeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A chargeback; `id` is the gateway's.

    `claimed_amount` is what the bank took, in `claimed_currency`. `amount` is the part of it that
    was received and not refunded; `excess` is the rest.
    """

    id: str
    amount: int
    currency: str
    claimed_amount: int
    claimed_currency: str
    excess: int
    state: str
    reason: str
    opened_at: datetime
    updated_at: datetime


class PaymentLinks(msgspec.Struct, frozen=True, kw_only=True, rename={"itself": "self"}):
    """Links to the payment and its actions."""

    itself: str
    void: str
    refunds: str


class PaymentSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A payment without its timeline."""

    id: UUID
    type: PaymentType
    state: PaymentState
    outcome: str
    subject: UUID
    customer: UUID
    amount: int
    currency: str
    gateway: str
    amounts: Amounts
    decline_code: str | None
    hosted_page_url: str | None
    gateway_transaction_id: str | None
    capture_before: datetime | None
    created_at: datetime
    updated_at: datetime
    links: PaymentLinks


class PaymentAnswer(PaymentSummary, frozen=True, kw_only=True):
    """A payment with its timeline, refunds and disputes."""

    events: list[EventAnswer]
    refunds: list[RefundAnswer] = []
    disputes: list[DisputeAnswer] = []


Reported = TypeVar("Reported", bound=PaymentSummary)


class PaymentPage(msgspec.Struct, frozen=True, kw_only=True):
    """Payments, newest first; pass `next_cursor` to get the next page, null at the end."""

    data: list[PaymentSummary]
    next_cursor: str | None


def payment_answer(
    payment: Payment,
    events: Sequence[TimelineEvent],
    *,
    refunds: Sequence[Refund] = (),
    disputes: Sequence[Dispute] = (),
) -> PaymentAnswer:
    """Return a payment with its timeline."""
    return _to_response(
        PaymentAnswer,
        payment,
        events=[event_answer(event) for event in events],
        refunds=[refund_answer(refund) for refund in refunds],
        disputes=[answer_from(DisputeAnswer, dispute) for dispute in disputes],
    )


def accepted_answer(payment: Payment) -> PaymentAnswer:
    """Return a payment that was just accepted."""
    at = payment.created_at
    events = [
        EventAnswer(seq=1, event=_SUBMITS, to_state=PaymentState.INITIATED, at=at),
        EventAnswer(seq=2, event=_PROCESSING, to_state=PaymentState.PENDING, at=at),
    ]
    return _to_response(PaymentAnswer, payment, events=events)


def payment_summary(payment: Payment) -> PaymentSummary:
    """Return a payment for a list."""
    return _to_response(PaymentSummary, payment)


def event_answer(event: TimelineEvent) -> EventAnswer:
    """Return one event of a timeline."""
    return answer_from(EventAnswer, event)


def refund_answer(refund: Refund) -> RefundAnswer:
    """Return a refund."""
    return answer_from(RefundAnswer, refund)


def path_of(payment_id: UUID) -> str:
    """Return the path of a payment."""
    return f"/v1/payments/{payment_id}"


def _to_response(kind: type[Reported], payment: Payment, **more: object) -> Reported:
    path = path_of(payment.id)
    return kind(
        id=payment.id,
        type=payment.type,
        state=payment.state,
        outcome=payment.outcome,
        subject=payment.subject,
        customer=payment.customer,
        amount=payment.amount,
        currency=payment.currency,
        gateway=payment.gateway,
        amounts=_amounts(payment),
        decline_code=payment.decline_code,
        hosted_page_url=payment.hosted_page_url,
        gateway_transaction_id=payment.gateway_transaction_id,
        capture_before=payment.capture_before,
        created_at=payment.created_at,
        updated_at=payment.updated_at,
        links=PaymentLinks(itself=path, void=path + "/void", refunds=path + "/refunds"),
        **more,
    )


def _amounts(payment: Payment) -> Amounts:
    return Amounts(
        authorized=payment.authorized_amount,
        captured=payment.captured_amount,
        settled=payment.settled_amount,
        refunded=payment.refunded_amount,
        disputed=payment.disputed_amount,
    )
