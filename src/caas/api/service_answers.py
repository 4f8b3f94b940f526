"""API representations of services, service orders and subscriptions."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from caas.api.payment_answers import (
    PaymentSummary,
    RefundAnswer,
    payment_summary,
)
from caas.api.row_answers import answer_from
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund
from caas.billing_database.services import Service, ServiceOrder
from caas.billing_database.subscriptions import Subscription
from caas.rules.subscription_states import SubscriptionState


class PriceAnswer(msgspec.Struct, frozen=True):
    """The price of a one-time service for a duration, in minor units."""

    duration_days: int
    amount: int


class MeteredAnswer(msgspec.Struct, frozen=True):
    """The price of a metered unit, in minor units."""

    unit: str
    unit_price: int


class ServiceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A service of the catalogue."""

    code: str
    name: str
    names: dict[str, str]
    kind: str
    currency: str
    prices: list[PriceAnswer]
    monthly_fee: int | None
    metered: list[MeteredAnswer]
    offered: bool
    repeat_purchase: str
    links: dict[str, str]


class ServiceList(msgspec.Struct, frozen=True):
    """The services of the catalogue."""

    data: list[ServiceAnswer]


class ServiceOrderAnswer(
    msgspec.Struct, frozen=True, kw_only=True, rename={"payment_id": "payment"}
):
    """A one-time service ordered for a vehicle.

    `refunds` are those of its payments, oldest first. A `failed` refund is still owed and was
    reported to operations; withdraw again to retry it. `begins_at` is set if the term starts later
    because the service is already running.
    """

    id: UUID
    state: str
    customer: UUID
    vin: str
    service: str
    duration_days: int
    amount: int
    currency: str
    payment_id: UUID | None
    active_from: datetime | None
    active_until: datetime | None
    begins_at: datetime | None
    created_at: datetime
    payments: list[PaymentSummary]
    refunds: list[RefundAnswer]
    links: dict[str, str]


class ServiceOrderPage(msgspec.Struct, frozen=True, kw_only=True):
    """Service orders, newest first; pass `next_cursor` to get the next page, null at the end."""

    data: list[ServiceOrderAnswer]
    next_cursor: str | None


class SubscriptionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription (mes vencido).

    `verification` is the newest payment that verifies a payment method for it. While its
    `hosted_page_url` is set, the customer enters or confirms the payment method there. Lists do not
    include it.
    """

    id: UUID
    state: SubscriptionState
    customer: UUID
    vin: str
    service: str
    currency: str
    monthly_fee: int
    metered: list[MeteredAnswer]
    activated_at: datetime | None
    deactivated_at: datetime | None
    cancelled_at: datetime | None
    cancelled_because: str | None
    created_at: datetime
    verification: PaymentSummary | None
    links: dict[str, str]


class SubscriptionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Subscriptions, newest first; pass `next_cursor` to get the next page, null at the end."""

    data: list[SubscriptionAnswer]
    next_cursor: str | None


def service_answer(service: Service) -> ServiceAnswer:
    """Return a service."""
    return answer_from(ServiceAnswer, service, links={"self": f"/v1/services/{service.code}"})


def service_order_answer(
    order: ServiceOrder, payments: Sequence[Payment], refunds: Sequence[Refund] = ()
) -> ServiceOrderAnswer:
    """Return a service order."""
    path = service_order_path(order.id)
    return answer_from(
        ServiceOrderAnswer,
        order,
        payments=[payment_summary(payment) for payment in payments],
        refunds=refunds,
        links={
            "self": path,
            "withdrawal": f"{path}/withdrawal",
            "payments": f"/v1/payments?subject={order.id}",
        },
    )


def service_order_path(order_id: UUID) -> str:
    """Return the path of a service order."""
    return f"/v1/service-orders/{order_id}"


def subscription_answer(
    subscription: Subscription, payments: Sequence[Payment] = ()
) -> SubscriptionAnswer:
    """Return a subscription without its payment method; its newest payment comes first."""
    return answer_from(
        SubscriptionAnswer,
        subscription,
        verification=payment_summary(payments[0]) if payments else None,
        links={
            "self": f"/v1/subscriptions/{subscription.id}",
            "payments": f"/v1/payments?subject={subscription.id}",
        },
    )
