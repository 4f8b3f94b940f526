"""Metered use: written down once, whoever tells it how often (Diagram 6)."""

import asyncio
from datetime import datetime, timedelta

import pytest

from caas.billing_database.identifiers import new_id
from caas.billing_database.subscriptions import SubscriptionNotFoundError
from caas.service_catalog.usage import (
    DisputeOutcome,
    InvalidUsageError,
    NotCounted,
    UsageBilledError,
    UsageConflictError,
    UsageDisputeEndedError,
    UsageDisputeNotFoundError,
    UsageNotFoundError,
    UsageTooLargeError,
)
from tests.buyers import gives_details
from tests.subscription_installation import VIN, SubscriptionInstallation


async def now(installation: SubscriptionInstallation) -> datetime:
    return await installation.billing._runs.now()


async def test_the_same_source_counts_once(installation: SubscriptionInstallation) -> None:
    subscription = await installation.active()
    at = await now(installation)

    answers = await asyncio.gather(
        *(
            installation.usage.record_usage(subscription.id, quantity=5, at=at, source_id="meter-1")
            for _ in range(20)
        )
    )

    assert answers.count(None) == 1
    assert answers.count(NotCounted.REPORTED_BEFORE) == 19
    (use,) = await installation.usage.used(subscription.id)
    assert (use.quantity, use.unit) == (5, "kWh")


async def test_a_source_that_changes_its_mind_is_refused(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    at = await now(installation)
    await installation.usage.record_usage(subscription.id, quantity=5, at=at, source_id="meter-1")

    with pytest.raises(UsageConflictError):
        await installation.usage.record_usage(
            subscription.id, quantity=6, at=at, source_id="meter-1"
        )

    (use,) = await installation.usage.used(subscription.id)
    assert use.quantity == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": 0},
        {"quantity": -1},
        {"quantity": 10**9 + 1},
        {"quantity": 1, "cancels": "other"},
        {"unit": "miles"},
        {"source_id": " "},
        {"source_id": "card 4111 1111 1111 1111"},
        {"at": datetime(2030, 1, 1)},  # noqa: DTZ001 - without its time zone
    ],
)
async def test_use_that_is_not_described_as_metered_is_refused(
    installation: SubscriptionInstallation, wrong: dict[str, object]
) -> None:
    subscription = await installation.active()
    reported = {"quantity": 1, "at": await now(installation), "source_id": "m", **wrong}

    with pytest.raises(InvalidUsageError):
        await installation.usage.record_usage(subscription.id, **reported)  # type: ignore[arg-type]

    assert await installation.usage.used(subscription.id) == []


async def test_nothing_is_used_in_the_future(installation: SubscriptionInstallation) -> None:
    subscription = await installation.active()
    tomorrow = await now(installation) + timedelta(days=1)

    with pytest.raises(InvalidUsageError, match="future"):
        await installation.usage.record_usage(
            subscription.id, quantity=1, at=tomorrow, source_id="m"
        )


async def test_a_service_with_two_units_needs_the_unit_said(
    installation: SubscriptionInstallation,
) -> None:
    await installation.offer(
        metered=[{"unit": "kWh", "unit_price": 12}, {"unit": "km", "unit_price": 1}]
    )
    subscription = await installation.active()
    at = await now(installation)

    with pytest.raises(InvalidUsageError, match="kWh, km"):
        await installation.usage.record_usage(subscription.id, quantity=1, at=at, source_id="m")
    await installation.usage.record_usage(
        subscription.id, quantity=1, at=at, source_id="m", unit="km"
    )

    assert [use.unit for use in await installation.usage.used(subscription.id)] == ["km"]


async def test_nothing_is_used_of_what_was_never_active(
    installation: SubscriptionInstallation,
) -> None:
    refused = await installation.subscribes("pm_declined", VIN)
    at = await now(installation)

    answer = await installation.usage.record_usage(refused.id, quantity=1, at=at, source_id="m")
    assert answer is NotCounted.BEFORE_ACTIVATION
    assert await installation.usage.used(refused.id) == []
    with pytest.raises(SubscriptionNotFoundError):
        await installation.usage.record_usage(new_id(), quantity=1, at=at, source_id="m")


async def test_what_was_billed_is_never_billed_again(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    await installation.usage.record_usage(
        subscription.id, quantity=10, at=await now(installation), source_id="first"
    )
    first = await installation.billed(subscription)
    await installation.charged(first)

    second = await installation.billed(subscription)

    assert [line["kind"] for line in first.lines] == ["fixed fee", "metered usage"]
    assert [line["kind"] for line in second.lines] == ["fixed fee"]


async def test_use_outside_the_delivered_term_is_not_counted(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    assert subscription.activated_at is not None
    before = subscription.activated_at - timedelta(seconds=1)
    await installation.subscriptions.end_subscription(subscription.id)
    after = await now(installation)

    answers = [
        await installation.usage.record_usage(
            subscription.id, quantity=1, at=at, source_id=f"at {at}"
        )
        for at in (before, after)
    ]

    assert answers == [NotCounted.BEFORE_ACTIVATION, NotCounted.AFTER_END]
    assert await installation.usage.used(subscription.id) == []


async def test_use_that_no_payment_could_carry_is_refused(
    installation: SubscriptionInstallation,
) -> None:
    await installation.offer(metered=[{"unit": "kWh", "unit_price": 10_000}])
    subscription = await installation.active()
    await gives_details(installation.database, subscription.customer)
    at = await now(installation)
    await installation.usage.record_usage(subscription.id, quantity=8 * 10**8, at=at, source_id="a")

    with pytest.raises(UsageTooLargeError, match="a payment is at most"):
        await installation.usage.record_usage(
            subscription.id, quantity=4 * 10**8, at=at, source_id="b"
        )

    invoice = await installation.billed(subscription)
    assert invoice.lines[-1]["quantity"] == 8 * 10**8


async def test_a_month_takes_so_many_units_and_no_more(
    installation: SubscriptionInstallation,
) -> None:
    await installation.offer(metered=[{"unit": "kWh", "unit_price": 0}])
    subscription = await installation.active()
    at = await now(installation)
    for number in range(10):
        await installation.usage.record_usage(
            subscription.id, quantity=10**9, at=at, source_id=f"m-{number}"
        )

    with pytest.raises(UsageTooLargeError, match="would be unbilled"):
        await installation.usage.record_usage(subscription.id, quantity=1, at=at, source_id="more")


async def test_use_is_taken_back_whole_and_once(installation: SubscriptionInstallation) -> None:
    subscription = await installation.active()
    at = await now(installation)
    await installation.usage.record_usage(subscription.id, quantity=900, at=at, source_id="wrong")

    async def take_back(source_id: str, quantity: int = -900) -> NotCounted | None:
        return await installation.usage.record_usage(
            subscription.id, quantity=quantity, at=at, source_id=source_id, cancels="wrong"
        )

    with pytest.raises(InvalidUsageError, match="quantity -900"):
        await take_back("part", -1)
    first, again = await take_back("back"), await take_back("back")
    with pytest.raises(UsageConflictError):
        await take_back("another")
    await installation.usage.record_usage(subscription.id, quantity=9, at=at, source_id="right")
    invoice = await installation.billed(subscription)

    assert (first, again) == (None, NotCounted.REPORTED_BEFORE)
    assert invoice.lines[-1]["quantity"] == 9
    assert {use.invoice for use in await installation.usage.used(subscription.id)} == {invoice.id}


async def test_use_that_was_all_taken_back_leaves_no_line(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    at = await now(installation)
    await installation.usage.record_usage(subscription.id, quantity=5, at=at, source_id="wrong")
    await installation.usage.record_usage(
        subscription.id, quantity=-5, at=at, source_id="back", cancels="wrong"
    )

    invoice = await installation.billed(subscription)

    assert [line["kind"] for line in invoice.lines] == ["fixed fee"]


async def test_what_an_invoice_bills_is_corrected_by_a_credit_note(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    at = await now(installation)
    await installation.usage.record_usage(subscription.id, quantity=5, at=at, source_id="m")
    invoice = await installation.billed(subscription)

    with pytest.raises(UsageBilledError, match=f"{invoice.id} already bills this usage"):
        await installation.usage.record_usage(
            subscription.id, quantity=-5, at=at, source_id="back", cancels="m"
        )
    with pytest.raises(UsageBilledError):
        await installation.usage.dispute(subscription.id, "m", because="too much", by="ana")
    with pytest.raises(UsageNotFoundError):
        await installation.usage.dispute(subscription.id, "nobody", because="too much", by="ana")


async def test_a_month_is_billed_without_what_is_disputed(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    at = await now(installation)
    await installation.usage.record_usage(subscription.id, quantity=3, at=at, source_id="fine")
    await installation.usage.record_usage(subscription.id, quantity=700, at=at, source_id="doubted")
    dispute = await installation.usage.dispute(subscription.id, "doubted", because="no", by="ana")
    same = await installation.usage.dispute(subscription.id, "doubted", because="again", by="bea")

    first = await installation.billed(subscription)
    await installation.charged(first)
    await installation.usage.end_dispute(dispute.id, outcome=DisputeOutcome.BILLED, by="bea")
    second = await installation.billed(subscription)

    assert same.id == dispute.id
    assert [line["quantity"] for line in first.lines if line["out_of"] is None] == [3]
    assert [line["quantity"] for line in second.lines if line["out_of"] is None] == [700]


@pytest.mark.parametrize("by_whom", ["decision", "source"])
async def test_disputed_use_that_is_taken_back_is_never_billed(
    installation: SubscriptionInstallation, by_whom: str
) -> None:
    subscription = await installation.active()
    at = await now(installation)
    await installation.usage.record_usage(subscription.id, quantity=700, at=at, source_id="doubted")
    dispute = await installation.usage.dispute(subscription.id, "doubted", because="no", by="ana")

    if by_whom == "source":
        await installation.usage.record_usage(
            subscription.id, quantity=-700, at=at, source_id="back", cancels="doubted"
        )
    ended = [
        await installation.usage.end_dispute(dispute.id, outcome=DisputeOutcome.CANCELLED, by="bea")
        for _ in range(2)
    ]
    with pytest.raises(UsageDisputeEndedError):
        await installation.usage.end_dispute(dispute.id, outcome=DisputeOutcome.BILLED, by="bea")
    with pytest.raises(UsageDisputeNotFoundError):
        await installation.usage.end_dispute(new_id(), outcome=DisputeOutcome.BILLED, by="bea")
    invoice = await installation.billed(subscription)

    assert ended[0] == ended[1]
    assert [line["kind"] for line in invoice.lines] == ["fixed fee"]
    assert sum(use.quantity for use in await installation.usage.used(subscription.id)) == 0


async def test_use_taken_back_while_a_month_is_billed_is_never_half_billed(
    installation: SubscriptionInstallation,
) -> None:
    subscription = await installation.active()
    at = await now(installation)
    await installation.usage.record_usage(subscription.id, quantity=50, at=at, source_id="m")

    async def take_back() -> bool:
        try:
            await installation.usage.record_usage(
                subscription.id, quantity=-50, at=at, source_id="back", cancels="m"
            )
        except UsageBilledError:
            return False
        return True

    invoice, reversed_ = await asyncio.gather(installation.billed(subscription), take_back())

    billed = [line["quantity"] for line in invoice.lines if line["out_of"] is None]
    assert billed == ([] if reversed_ else [50])
