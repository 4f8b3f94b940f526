"""Payments that fail although no bank declined them: nothing is lost by it (decision 280)."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.rules.subscription_states import SubscriptionState
from tests.payment_processing.test_subscription_dunning import charges_of
from tests.showroom import Showroom, opened, simulated_world
from tests.subscription_installation import standing

TECHNICAL = ["processing_error", "issuer_unavailable", "91", "Try-Again-Later"]
OURS = ["invalid_amount", "unknown_refusal"]
RETRIES = 4
"""Further charges of a month after a technical failure."""


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom with everything at hand."""
    async with simulated_world() as world, opened(database, world) as built:
        yield built


async def gives(showroom: Showroom, code: str) -> None:
    """Let the gateway refuse the next payment with this code."""
    await showroom.world.gateway(
        "POST", "faults",
        {"match": {"operation": "initiate", "times": 1}, "action": {"decline_code": code}},
    )  # fmt: skip


@pytest.mark.parametrize("code", [*TECHNICAL, *OURS])
async def test_a_final_payment_that_no_bank_declined_keeps_its_reservation(
    showroom: Showroom, code: str
) -> None:
    order = await showroom.ready()
    await gives(showroom, code)

    payment = await showroom.pay_rest(order)

    cases = [case.kind for case in await showroom.tables.cases.listed(subject=payment.id)]
    reported = await showroom.reported(order.customer)
    assert payment.state is PaymentState.FAILED
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.READY
    assert reported[-1] == "final_payment_not_made"
    assert cases == (["refused_without_decline"] if code in OURS else [])
    assert (await showroom.pay_rest(order)).state is PaymentState.CAPTURING


async def test_the_database_keeps_a_reservation_that_no_decline_has_lost(
    showroom: Showroom,
) -> None:
    order = await showroom.ready()
    await gives(showroom, "issuer_unavailable")
    await showroom.pay_rest(order)

    with pytest.raises(asyncpg.CheckViolationError, match="without a declined payment"):
        await showroom.as_owner(
            "update orders set state = 'reservation lost', event = 'Mark Payment Failed',"
            f" version = version + 1 where id = '{order.id}'"
        )


async def test_the_database_keeps_a_subscription_that_no_decline_has_cancelled(
    database: Database,
) -> None:
    async with standing(database) as installation:
        await installation.car()
        await installation.offer()
        subscription = await installation.active()
        owner = await asyncpg.connect(database.dsn)

        with pytest.raises(asyncpg.CheckViolationError, match="cannot be cancelled for payment"):
            await owner.execute(
                "update caas.subscriptions set state = 'cancelled', version = version + 1,"
                " event = 'Mark Subscription Cancelled', cancelled_because = 'payment failed',"
                f" cancelled_at = now(), transitioned_for = '{new_id()}'"
                f" where id = '{subscription.id}'"
            )
        await owner.close()


async def test_a_month_that_no_bank_declined_is_charged_again(database: Database) -> None:
    async with standing(database) as installation:
        await installation.car()
        await installation.offer()
        subscription = await installation.active()
        await installation.gateway_does(
            "faults",
            match={"operation": "initiate", "times": 2},
            action={"decline_code": "issuer_unavailable"},
        )

        await installation.billed(subscription)
        states = await charges_of(installation, 3)

        after = await installation.subscriptions.subscription(subscription.id)
        assert sorted(states) == [PaymentState.CAPTURING, PaymentState.FAILED, PaymentState.FAILED]
        assert after.state is SubscriptionState.ACTIVE
        assert (await installation.invoice_of(subscription)).state == "paid"


async def test_a_month_that_can_never_be_charged_is_written_off_and_ends_nothing(
    database: Database,
) -> None:
    async with standing(database) as installation:
        await installation.car()
        await installation.offer()
        subscription = await installation.active()
        await installation.from_now_on(decline_code="processing_error")

        invoice = await installation.billed(subscription)
        states = await charges_of(installation, 1 + RETRIES)
        payments = await installation.tables.payments.listed(subject=invoice.id)
        cases = [
            case.kind
            for payment in payments
            for case in await installation.tables.cases.listed(subject=payment.id)
        ]

        after = await installation.subscriptions.subscription(subscription.id)
        assert states == [PaymentState.FAILED] * (1 + RETRIES)
        assert cases == ["month_not_charged"]
        assert after.state is SubscriptionState.ACTIVE
        assert (await installation.invoice_of(subscription)).state == "written off"


async def test_a_decline_after_technical_failures_counts_once(database: Database) -> None:
    """The first decline cancels: what failed before it was none, and is not counted as one."""
    async with standing(database) as installation:
        await installation.car()
        await installation.offer()
        subscription = await installation.active()
        await installation.gateway_does(
            "faults",
            match={"operation": "initiate", "times": 1},
            action={"decline_code": "processing_error"},
        )
        await installation.from_now_on(decline_code="card_declined")

        invoice = await installation.billed(subscription)
        await charges_of(installation, 2)
        await installation.until(subscription.id, lambda s: s.state is SubscriptionState.CANCELLED)

        rows = await database.fetch(
            "select decline_code, may_cancel(id) from payments where subject = $1", invoice.id
        )
        cancelling = {tuple(row.values()) for row in rows}
        assert cancelling == {("processing_error", False), ("card_declined", True)}
        assert (await installation.invoice_of(subscription)).state == "written off"
