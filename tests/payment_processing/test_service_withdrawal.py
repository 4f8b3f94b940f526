"""Withdrawing beside whatever else happens to the same money, and again after it failed."""

import asyncio

from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund
from caas.payment_processing import SettlementNotice
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour
from tests.installation import PATIENCE_SECONDS, VIN, Installation
from tests.locks import holding
from tests.payment_processing.test_cancelled_sales import broken
from tests.payment_processing.test_entitlements import Owner, days_left, owner

__all__ = ["owner"]

LOCK = "select lock_payment($1)"


async def refunds_of(installation: Installation, payment: Payment) -> list[Refund]:
    status = await installation.platform.payment_processing.query_payment_status(payment.id)
    return status.refunds


async def ended(installation: Installation, payment: Payment, state: str) -> Refund:
    """Wait until the newest refund of a payment is in this state."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            refunds = await refunds_of(installation, payment)
            if refunds and refunds[-1].state == state:
                return refunds[-1]
            await installation.platform.jobs.run_due()
            await asyncio.sleep(0.01)


async def refund_fails(installation: Installation) -> None:
    """Let the gateway accept the next refund and fail it later."""
    await installation.gateway_does(
        "faults", match={"operation": "refund", "times": 1}, action={"refund_fails": True}
    )


async def test_withdrawing_while_the_charge_is_committed_gives_it_back(
    owner: Owner, database: Database
) -> None:
    """The customer was told "capture_won": refund it instead, which is not theirs to do."""
    owner.car_does(Behaviour.ASLEEP)
    payment = await owner.pays(await owner.orders(30))
    async with holding(database.dsn, LOCK, payment.id) as holder:
        owner.wakes()
        await holder.waiting(1)
        withdrawing = asyncio.create_task(owner.withdraws(payment))
        await holder.waiting(2)

    await withdrawing

    await owner.installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await owner.installation.gateway_does("settle")
    after = await owner.installation.until(payment.id, lambda p: p.state is PaymentState.REFUNDED)
    assert after.refunded_amount == after.captured_amount > 0
    assert await owner.agree() is None


async def test_withdrawing_beside_a_refund_in_part_gives_back_what_that_one_leaves(
    owner: Owner, database: Database
) -> None:
    """What was left was counted before the payment was locked, and too much was asked for."""
    payment = await owner.settled(30)
    async with holding(database.dsn, LOCK, payment.id) as holder:
        apology = asyncio.create_task(
            owner.installation.platform.payment_processing.refund_payment(
                payment.id, amount=300, reason="apology", key="a", requested_by="operations"
            )
        )
        await holder.waiting(1)
        withdrawing = asyncio.create_task(owner.withdraws(payment))
        await holder.waiting(2)

    await asyncio.gather(apology, withdrawing)
    after = await owner.installation.until(payment.id, lambda p: p.state is PaymentState.REFUNDED)

    assert after.refunded_amount == after.captured_amount
    amounts = sorted(one.amount for one in await refunds_of(owner.installation, payment))
    assert amounts == [300, payment.amount - 300]


async def test_a_refund_that_waits_for_the_bank_ends_when_the_bank_rejects(owner: Owner) -> None:
    """It waited for ever, and whoever withdrew was told that the money was on its way back."""
    installation = owner.installation
    ends: list[object] = []
    for vin, term in ((VIN, "keep"), (await owner.installation.car(f"{VIN[:-1]}7"), "end")):
        payment = await installation.buys(vin=vin)
        await installation.until(
            payment.id, lambda p: p.state is PaymentState.CAPTURING and p.outcome == "known"
        )
        await installation.platform.payment_processing.refund_payment(
            payment.id, amount=1299, reason="goodwill", key="one", requested_by="ana", term=term
        )
        rejected = SettlementNotice(
            settlement_id="no", settled=False, settled_amount=0, currency="EUR"
        )
        await installation.platform.payment_processing.record_settlement(payment.id, rejected)
        ends.append((await refunds_of(installation, payment))[0].state)
        await owner.withdraws(payment)
        sold = await installation.platform.tables.entitlements.of_order(payment.subject)
        period = await installation.platform.payment_processing.service_withdrawal.period(
            payment.subject
        )
        assert sold is not None
        ends.append((sold.state, period.is_open))

    assert ends == ["failed", ("ended", False)] * 2
    assert not await installation.database.fetch("select from jobs where kind = 'refund'")
    assert await broken(installation) == []


async def test_withdrawing_again_after_the_refund_failed_asks_for_it_again_once(
    owner: Owner,
) -> None:
    """The customer had neither money nor service, and withdrawing again did nothing."""
    installation = owner.installation
    payment = await owner.settled(30)
    await refund_fails(installation)
    await owner.withdraws(payment)
    await ended(installation, payment, "failed")
    cases = [case.kind for case in await installation.platform.tables.cases.listed()]
    reported = await installation.platform.notifications.inbox("operations", audience="operations")

    await asyncio.gather(*(owner.withdraws(payment) for _ in range(4)))
    after = await installation.until(payment.id, lambda p: p.state is PaymentState.REFUNDED)
    await owner.withdraws(payment)

    assert cases == ["refund_failed"]
    assert any("could not be made" in one.text for one in reported)
    assert after.refunded_amount == after.captured_amount
    states = [one.state for one in await refunds_of(installation, payment)]
    assert states == ["failed", "succeeded"]
    assert await installation.platform.tables.cases.listed() == []


async def test_a_refund_that_ended_a_term_and_failed_is_asked_for_by_withdrawing(
    owner: Owner,
) -> None:
    payment = await owner.settled(30)
    await refund_fails(owner.installation)
    await owner.installation.platform.payment_processing.refund_payment(
        payment.id, amount=payment.amount, reason="goodwill", key="a", requested_by="operations",
        term="end",
    )  # fmt: skip
    await ended(owner.installation, payment, "failed")

    await owner.withdraws(payment)

    await owner.installation.until(payment.id, lambda p: p.state is PaymentState.REFUNDED)
    assert await owner.agree() is None


async def test_a_refund_without_an_answer_is_looked_up_before_it_is_answered(
    owner: Owner,
) -> None:
    payment = await owner.settled(30)
    await owner.installation.gateway_does(
        "faults",
        match={"operation": "refund", "times": 1},
        action={"status": 503, "apply_first": True},
    )

    refund = await owner.installation.platform.payment_processing.refund_payment(
        payment.id, amount=300, reason="apology", key="a", requested_by="operations"
    )

    assert refund.state in {"sent", "succeeded"}, "the gateway may be done already"
    assert refund.gateway_refund_id is not None
    assert days_left(await owner.agree()) == 30


async def test_a_capture_without_an_answer_is_looked_up_at_once(owner: Owner) -> None:
    owner.car_does(Behaviour.ASLEEP)
    payment = await owner.pays(await owner.orders(30))
    await owner.installation.gateway_does(
        "faults",
        match={"operation": "capture", "times": 1},
        action={"status": 503, "apply_first": True},
    )

    owner.wakes()
    await owner.installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await owner.agree()
    await owner.installation.rest()

    now = await owner.installation.platform.tables.payments.get(payment.id)
    asked = await GatewayCalls(owner.installation.database).of(
        payment.id, now.gateway_transaction_id
    )
    operations = [call.operation for call in asked]
    captures = {call.key for call in asked if call.operation == "capture"}
    assert operations.count("initiate") == 1
    assert len(captures) == 1, "a safety net may send it again, under the same key"
    assert "find" in operations
    assert now.outcome == "known"
