"""Metered usage of subscriptions: records, cancellations and disputes."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.api.bodies import BodyOf
from caas.api.call import Call
from caas.api.context import Api
from caas.api.idempotency import once
from caas.api.operation import Operation
from caas.api.ownership import own_subscription, refuse_narrowed
from caas.api.personal_data import refuse_personal_data
from caas.api.problems import Problem
from caas.api.row_answers import answer_from
from caas.api.texts import Moment, Name, Reference, Unit, UnitQuantity
from caas.rules.scopes import Scope
from caas.service_catalog.usage import DisputeOutcome, NotCounted
from caas.web.response import Response, json_response

TAG: Final = "subscriptions"


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


class DisputeAnswer(msgspec.Struct, frozen=True, kw_only=True, rename={"because": "reason"}):
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
        return json_response(201, answer_from(DisputeAnswer, opened))

    return await once(api.platform.tables.keys, call, body, dispute)


async def end_usage_dispute(api: Api, call: Call) -> Response:
    """Decide a usage dispute. Repeating the same decision changes nothing."""
    body = OUTCOME.read(call.body)

    async def end() -> Response:
        ended = await api.platform.usage.end_dispute(
            call.ids["dispute_id"], outcome=body.outcome, by=call.by.name
        )
        return json_response(200, answer_from(DisputeAnswer, ended))

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
        body=DISPUTED, answers={201: DisputeAnswer, 404: Problem, 409: Problem},
        handle=dispute_usage,
    ),
    Operation(
        id="endUsageDispute", tag=TAG, method="POST",
        path="/v1/usage-disputes/{dispute_id:uuid}/outcome", scopes=_DECIDERS, body=OUTCOME,
        answers={200: DisputeAnswer, 404: Problem, 409: Problem}, handle=end_usage_dispute,
    ),
)  # fmt: skip
