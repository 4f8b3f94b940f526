"""A withdrawal while the outcome of the final payment is not known (decision 244).

It was refused until the gateway was back, however long that took. It is accepted now, and carried
out when the outcome is known, whatever that is.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.orders import Order
from caas.billing_database.payments import Payment
from caas.order_management.withdrawal import CannotWithdrawError
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.rules.vehicle_states import VehicleState
from tests.api.planting import found_after
from tests.showroom import DEALERSHIP, DEPOSIT, Showroom, opened, simulated_world


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom with everything at hand."""
    async with (
        simulated_world() as world,
        opened(database, world, total_seconds=0.4) as built,
    ):
        yield built


async def paying(
    showroom: Showroom, method: str = "pm_ok", **fault: object
) -> tuple[Order, Payment]:
    """Return an order whose final payment has an outcome that nobody knows."""
    order = await showroom.ready()
    await showroom.world.gateway_fault({"operation": "initiate"}, **fault)
    payment = await showroom.pay_rest(order, method)
    assert payment.state is PaymentState.PENDING
    return order, payment


async def refunded(showroom: Showroom) -> list[int]:
    """Return what was given back."""
    return [row["amount"] for row in await showroom.database.fetch("select amount from refunds")]


async def is_as_before(showroom: Showroom, order: Order) -> None:
    """Check that nothing has happened to an order and its vehicle yet."""
    now = await showroom.orders.orders.get(order.id)
    vehicle = await showroom.orders.vehicles.get(order.vin or "")
    assert (now.state, vehicle.state) == (OrderState.READY, VehicleState.READY)
    assert await refunded(showroom) == []


async def is_withdrawn(showroom: Showroom, order: Order) -> None:
    """Let the work be done, and check that only the deposit was paid and is given back."""
    withdrawn = await showroom.work_until_order(order.id, OrderState.WITHDRAWN)
    await showroom.jobs.run_due()
    vehicle = await showroom.orders.vehicles.get(order.vin or "")
    told = await showroom.reported(order.customer)
    assert not withdrawn.withdrawal_requested
    assert (vehicle.state, vehicle.finished) == (VehicleState.SIN_ASIGNAR, True)
    assert await refunded(showroom) == [DEPOSIT.amount]
    assert told[-2:] == ["withdrawal_received", "order_withdrawn"]
    assert await showroom.cases() == []


async def test_a_withdrawal_is_accepted_and_the_vehicle_held_until_the_outcome_is_known(
    showroom: Showroom,
) -> None:
    order, payment = await paying(showroom, hang_after_apply=3)

    requested = await showroom.orders.withdrawal.withdraw(order.id)
    again = await showroom.orders.withdrawal.withdraw(order.id)

    await is_as_before(showroom, order)
    assert requested.withdrawal_requested
    assert again.version == requested.version
    assert not showroom.orders.withdrawal.may_withdraw(again)
    assert (await showroom.tables.payments.get(payment.id)).state is PaymentState.PENDING
    assert (await showroom.reported(order.customer))[-1] == "withdrawal_received"
    assert (await showroom.reported(DEALERSHIP, "dealership"))[-1] == "withdrawal_received"


async def test_funds_that_were_held_meanwhile_are_voided_and_the_order_is_withdrawn(
    showroom: Showroom,
) -> None:
    order, payment = await paying(showroom, hang_after_apply=3)

    await showroom.orders.withdrawal.withdraw(order.id)
    voided = await showroom.work_until_payment(payment.id, PaymentState.VOIDED)

    assert (voided.authorized_amount > 0, voided.captured_amount) == (True, 0)
    await is_withdrawn(showroom, order)


async def test_a_decline_after_the_withdrawal_keeps_no_deposit(showroom: Showroom) -> None:
    order, payment = await paying(showroom, "pm_declined", hang_after_apply=3)

    await showroom.orders.withdrawal.withdraw(order.id)
    failed = await showroom.work_until_payment(payment.id, PaymentState.FAILED)

    assert failed.decline_code == "card_declined"
    await is_withdrawn(showroom, order)


async def test_a_payment_that_never_arrived_is_not_sent_again(showroom: Showroom) -> None:
    order, payment = await paying(showroom, hang_before_apply=3)

    await showroom.orders.withdrawal.withdraw(order.id)
    failed = await showroom.work_until_payment(payment.id, PaymentState.FAILED)

    ledger = await showroom.world.gateway("GET", "ledger")
    references = [one["reference"] for one in ledger["transactions"]]
    assert failed.decline_code == "gateway_unreachable"
    assert str(payment.id) not in references
    await is_withdrawn(showroom, order)


async def test_a_lost_reservation_takes_no_withdrawal(showroom: Showroom) -> None:
    order, payment = await paying(showroom, "pm_declined", hang_after_apply=3)
    await showroom.work_until_payment(payment.id, PaymentState.FAILED)

    with pytest.raises(CannotWithdrawError):
        await showroom.orders.withdrawal.withdraw(order.id)

    assert (await showroom.orders.orders.get(order.id)).state is OrderState.RESERVATION_LOST


@pytest.mark.parametrize("method", ["pm_ok", "pm_declined"])
async def test_the_outcome_and_the_withdrawal_at_once_are_one_of_both(
    showroom: Showroom, method: str
) -> None:
    order, payment = await paying(showroom, method, hang_after_apply=3)
    ended = {OrderState.WITHDRAWN, OrderState.RESERVATION_LOST}

    async def withdraws() -> None:
        try:
            await showroom.orders.withdrawal.withdraw(order.id)
        except CannotWithdrawError:
            assert method == "pm_declined"

    async def is_known() -> bool:
        return (await showroom.orders.orders.get(order.id)).state in ended

    await asyncio.gather(withdraws(), showroom.pass_time(5), showroom.jobs.run_due())
    await showroom.work_until(is_known)
    await showroom.jobs.run_due()

    after = await showroom.tables.payments.get(payment.id)
    was_lost = (await showroom.orders.orders.get(order.id)).state is OrderState.RESERVATION_LOST
    if after.captured_amount:
        assert sorted(await refunded(showroom)) == sorted([DEPOSIT.amount, after.captured_amount])
    else:
        assert await refunded(showroom) == ([] if was_lost else [DEPOSIT.amount])


async def test_a_request_that_waits_for_nothing_is_found(showroom: Showroom) -> None:
    await showroom.ready()

    found = await found_after(
        showroom.database, "update orders set event = 'Withdrawal requested' where state = 'ready'"
    )

    assert "requested_withdrawals_wait_for_a_payment" in found
