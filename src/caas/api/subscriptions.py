"""Subscriptions (Diagram 6, mes vencido) and their metered usage.

Subscriptions are charged at month end. Usage has records, cancellations and disputes.
"""

from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import (
    PAGE_ROWS,
    BodyOf,
    Limit,
    QueryOf,
    refuse_named_token,
    refuse_personal_data,
)
from caas.api.context import Api
from caas.api.first_answers import applied, prefers_async
from caas.api.idempotency import keyed, once
from caas.api.operation import Operation
from caas.api.ownership import own_subscription, refuse_narrowed, refuse_other_customer
from caas.api.payment_answers import PaymentSummary, payment_summary
from caas.api.problems import PaymentNotMadeError, Problem
from caas.api.row_answers import answer_from, page_of
from caas.api.service_answers import SubscriptionAnswer, SubscriptionPage, subscription_answer
from caas.api.texts import (
    MeteredBody,
    Moment,
    MonthlyFeeBody,
    Name,
    PaymentMethod,
    Reference,
    ServiceCode,
    Unit,
    UnitQuantity,
    Vin,
)
from caas.billing_database.subscriptions import Subscription
from caas.rules.agreed_price import AgreedPrice, UnitPrice
from caas.rules.payment_failures import is_no_decline
from caas.rules.scopes import Scope
from caas.rules.subscription_states import SubscriptionState
from caas.service_catalog import PRICES_MAX
from caas.service_catalog.usage import DisputeOutcome, NotCounted
from caas.web.problems import RETRY_AFTER, CallRefusedError
from caas.web.response import Response, json_response

TAG: Final = "subscriptions"


class SubscriptionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service, the vehicle and the payment method to charge at month end.

    Without a payment method the customer enters one on the hosted page of the `verification`. With
    other prices than the expected ones, which the customer saw, nothing is subscribed to.
    `expected_metered` needs `expected_monthly_fee`: it has the currency, and may be zero.
    """

    customer: UUID
    vin: Vin
    service: ServiceCode
    payment_method: PaymentMethod | None = None
    expected_monthly_fee: MonthlyFeeBody | None = None
    expected_metered: Annotated[list[MeteredBody], msgspec.Meta(max_length=PRICES_MAX)] | None = (
        None
    )

    def __post_init__(self) -> None:
        """Refuse unit prices that nothing could be compared with: the fee has their currency."""
        if self.expected_metered is not None and self.expected_monthly_fee is None:
            raise ValueError("`expected_metered` needs `expected_monthly_fee`, which may be zero")

    @property
    def shown(self) -> AgreedPrice | None:
        """The prices that the caller showed to the customer, if the request states them."""
        fee, metered = self.expected_monthly_fee, self.expected_metered
        if fee is None:
            return None
        units = (
            None
            if metered is None
            else tuple(UnitPrice(one.unit, one.unit_price) for one in metered)
        )
        return AgreedPrice(fee.amount, fee.currency, units)


class PaymentMethodBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token to charge from now on; without one the customer uses the hosted page."""

    payment_method: PaymentMethod | None = None


class SubscriptionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters for subscriptions."""

    customer: UUID | None = None
    vin: Vin | None = None
    state: SubscriptionState | None = None
    cursor: UUID | None = None
    limit: Limit = PAGE_ROWS


class PaymentMethodRefusedError(CallRefusedError):
    """The gateway refused the payment method. The subscription did not start. Try another one."""

    code = "payment_method_refused"
    http_status = 402


NEW: Final = BodyOf(SubscriptionBody)
OTHER_METHOD: Final = BodyOf(PaymentMethodBody)
LISTED: Final = QueryOf(SubscriptionQuery)


async def subscribe(api: Api, call: Call) -> Response:
    """Subscribe to a monthly service. It is active once the vehicle confirms the activation."""
    body = NEW.read(call.body)
    _refuse_others(call, body.customer)
    request = keyed(call, body)

    async def begin() -> Response:
        await refuse_named_token(api.platform, body.customer, body.payment_method)
        subscription = await api.platform.payment_processing.subscribe(
            customer=body.customer, vin=body.vin, service=body.service,
            payment_method=body.payment_method, by_fleet=call.by.sells_for_any_vehicle,
            request_key=request.order_key, respond_async=prefers_async(call), shown=body.shown,
        )  # fmt: skip
        verified = await api.platform.tables.payments.listed(subject=subscription.id)
        if subscription.state is SubscriptionState.REFUSED:
            if any(is_no_decline(payment.decline_code) for payment in verified):
                raise PaymentNotMadeError
            raise PaymentMethodRefusedError
        to_response = subscription_answer(subscription, verified)
        location = (b"location", to_response.links["self"].encode())
        if subscription.state is SubscriptionState.VERIFYING:
            return json_response(202, to_response, location, RETRY_AFTER, *applied(call))
        return json_response(201, to_response, location, *applied(call))

    return await once(api.platform.tables.keys, call, body, begin)


async def change_payment_method(api: Api, call: Call) -> Response:
    """Verify a new payment method. Once verified, it is charged from then on."""
    body = OTHER_METHOD.read(call.body)

    async def change() -> Response:
        subscription = await own_subscription(api.platform, call.by, call.ids["subscription_id"])
        await refuse_named_token(api.platform, subscription.customer, body.payment_method)
        verifying = await api.platform.payment_processing.change_payment_method(
            subscription.id, payment_method=body.payment_method, respond_async=prefers_async(call)
        )
        to_response = payment_summary(verifying)
        location = (b"location", to_response.links.itself.encode())
        return json_response(202, to_response, location, *applied(call))

    return await once(api.platform.tables.keys, call, body, change)


async def end_subscription(api: Api, call: Call) -> Response:
    """Cancel a subscription. Repeating the call changes nothing."""
    subscription_id = call.ids["subscription_id"]
    await own_subscription(api.platform, call.by, subscription_id)
    ended = await api.platform.subscriptions.end_subscription(subscription_id)
    return await _one(api, ended)


async def get_subscription(api: Api, call: Call) -> Response:
    """Return a subscription."""
    subscription = await own_subscription(api.platform, call.by, call.ids["subscription_id"])
    return await _one(api, subscription)


async def list_subscriptions(api: Api, call: Call) -> Response:
    """List subscriptions, newest first. A restricted key sees only its own."""
    query = LISTED.read(call.scope["query_string"])
    if query.customer is not None:
        refuse_other_customer(call.by, query.customer)
    if call.by.dealership is not None:
        refuse_narrowed(call.by)
    page = await api.platform.subscriptions.subscriptions(
        customer=query.customer or call.by.customer, vin=query.vin, state=query.state,
        before=query.cursor,
    )  # fmt: skip
    shown, more = page_of(page, query.limit)
    to_response = [subscription_answer(subscription) for subscription in shown]
    return json_response(200, SubscriptionPage(data=to_response, next_cursor=more))


async def _one(api: Api, subscription: Subscription) -> Response:
    verified = await api.platform.tables.payments.listed(subject=subscription.id)
    return json_response(200, subscription_answer(subscription, verified))


def _refuse_others(call: Call, customer: UUID) -> None:
    refuse_other_customer(call.by, customer)
    if call.by.dealership is not None:
        refuse_narrowed(call.by)


_SELLERS: Final = frozenset({Scope.SERVICE_CATALOG, Scope.FLEET})
_READERS: Final = _SELLERS | {Scope.BILLING, Scope.OPERATIONS}
_PATH: Final = "/v1/subscriptions/{subscription_id:uuid}"

SUBSCRIPTION_OPERATIONS: Final = (
    Operation(
        id="subscribe", pays=True, narrowed=True, tag=TAG, method="POST", path="/v1/subscriptions",
        scopes=_SELLERS, body=NEW, handle=subscribe,
        answers={
            201: SubscriptionAnswer, 202: SubscriptionAnswer, 402: Problem, 404: Problem,
            409: Problem,
        },
    ),
    Operation(
        id="endSubscription", narrowed=True, tag=TAG, method="DELETE", path=_PATH, scopes=_SELLERS,
        answers={200: SubscriptionAnswer, 404: Problem}, handle=end_subscription,
    ),
    Operation(
        id="changePaymentMethod", pays=True, narrowed=True,
        tag=TAG, method="POST", path=f"{_PATH}/payment-method",
        scopes=_SELLERS, body=OTHER_METHOD, handle=change_payment_method,
        answers={202: PaymentSummary, 404: Problem, 409: Problem},
    ),
    Operation(
        id="getSubscription", narrowed=True, tag=TAG, method="GET", path=_PATH, scopes=_READERS,
        answers={200: SubscriptionAnswer, 404: Problem}, handle=get_subscription,
    ),
    Operation(
        id="listSubscriptions", narrowed=True,
        tag=TAG, method="GET", path="/v1/subscriptions", scopes=_READERS,
        query=LISTED, answers={200: SubscriptionPage}, handle=list_subscriptions,
    ),
)  # fmt: skip


class UsageBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Metered usage at a point in time; records with the same `source_id` count once.

    A cancelling record names the original source id in `cancels` and repeats its unit and time with
    the negative quantity.
    """

    subscription: UUID
    quantity: UnitQuantity
    at: Moment
    source_id: Reference
    unit: Unit | None = None
    cancels: Reference | None = None


class UsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The usage recorded, or in `because` why it does not count.

    `usage_already_recorded`: a record with this source id exists. `before_activation`,
    `after_end`: the service was not delivered at that time; the record is not stored or billed.
    """

    subscription: UUID
    source_id: str
    quantity: int
    counted: bool
    because: NotCounted | None


class DisputeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The disputed usage, and why."""

    subscription: UUID
    source_id: Reference
    reason: Name


class OutcomeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The outcome: `billed` with the next invoice, or `cancelled`."""

    outcome: DisputeOutcome


class UsageDisputeAnswer(msgspec.Struct, frozen=True, kw_only=True, rename={"because": "reason"}):
    """A usage dispute; while `outcome` is null it is open and the usage is not billed."""

    id: UUID
    subscription: UUID
    source_id: str
    because: str
    opened_by: str
    opened_at: datetime
    outcome: DisputeOutcome | None
    ended_by: str | None
    ended_at: datetime | None


USED: Final = BodyOf(UsageBody)
DISPUTED: Final = BodyOf(DisputeBody)
OUTCOME: Final = BodyOf(OutcomeBody)


async def record_usage(api: Api, call: Call) -> Response:
    """Record or cancel metered usage. It is billed at month end."""
    body = USED.read(call.body)

    async def record() -> Response:
        subscription = await own_subscription(api.platform, call.by, body.subscription)
        refuse_narrowed(call.by)
        await refuse_personal_data(
            api.platform, subscription.customer, body.source_id, body.cancels
        )
        because = await api.platform.usage.record_usage(
            body.subscription, quantity=body.quantity, at=body.at.astimezone(UTC),
            source_id=body.source_id, unit=body.unit, cancels=body.cancels,
        )  # fmt: skip
        to_response = UsageAnswer(
            subscription=body.subscription, source_id=body.source_id, quantity=body.quantity,
            counted=because is None, because=because,
        )  # fmt: skip
        return json_response(201 if because is None else 200, to_response)

    return await once(api.platform.tables.keys, call, body, record)


async def dispute_usage(api: Api, call: Call) -> Response:
    """Dispute usage. It is not billed until the dispute is decided; other usage is."""
    body = DISPUTED.read(call.body)

    async def dispute() -> Response:
        subscription = await own_subscription(api.platform, call.by, body.subscription)
        await refuse_personal_data(api.platform, subscription.customer, body.reason)
        opened = await api.platform.usage.dispute(
            body.subscription, body.source_id, because=body.reason, by=call.by.name
        )
        return json_response(201, answer_from(UsageDisputeAnswer, opened))

    return await once(api.platform.tables.keys, call, body, dispute)


async def end_usage_dispute(api: Api, call: Call) -> Response:
    """Decide a usage dispute. Repeating the same decision changes nothing."""
    body = OUTCOME.read(call.body)

    async def end() -> Response:
        ended = await api.platform.usage.end_dispute(
            call.ids["dispute_id"], outcome=body.outcome, by=call.by.name
        )
        return json_response(200, answer_from(UsageDisputeAnswer, ended))

    return await once(api.platform.tables.keys, call, body, end)


_DECIDERS: Final = frozenset({Scope.SERVICE_CATALOG, Scope.BILLING, Scope.OPERATIONS})

USAGE_OPERATIONS: Final = (
    Operation(
        id="recordUsage", narrowed=True, tag=TAG, method="POST", path="/v1/usage",
        scopes=frozenset({Scope.SERVICE_CATALOG, Scope.BILLING}), body=USED,
        answers={200: UsageAnswer, 201: UsageAnswer, 404: Problem, 409: Problem},
        handle=record_usage,
    ),
    Operation(
        id="disputeUsage", tag=TAG, method="POST", path="/v1/usage-disputes", scopes=_DECIDERS,
        body=DISPUTED, answers={201: UsageDisputeAnswer, 404: Problem, 409: Problem},
        handle=dispute_usage,
    ),
    Operation(
        id="endUsageDispute", tag=TAG, method="POST",
        path="/v1/usage-disputes/{dispute_id:uuid}/outcome", scopes=_DECIDERS, body=OUTCOME,
        answers={200: UsageDisputeAnswer, 404: Problem, 409: Problem}, handle=end_usage_dispute,
    ),
)  # fmt: skip
