"""Matriculation and transport that fail: the final payment stays (decision 23)."""

from collections.abc import AsyncIterator

import pytest

from caas.billing_database.connection import Database
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.rules.vehicle_states import VehicleState
from tests.showroom import Showroom, opened, simulated_world

IMPATIENT_SECONDS = 0.4
STEPS = pytest.mark.parametrize(
    ("operation", "stuck_in"),
    [("registrations", OrderState.FULLY_PAID), ("deliveries", OrderState.REGISTERED)],
)


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom whose clients do not wait long."""
    async with (
        simulated_world() as world,
        opened(database, world, total_seconds=IMPATIENT_SECONDS) as built,
    ):
        yield built


@STEPS
async def test_a_partner_that_is_down_for_a_while_does_it_once_later(
    showroom: Showroom, operation: str, stuck_in: OrderState
) -> None:
    await showroom.world.partner_fault({"operation": operation, "times": 3}, status=502)
    order = await showroom.ready()

    payment = await showroom.pay_rest(order)
    waiting = await showroom.orders.orders.get(order.id)
    scheduled = await showroom.work_until_order(order.id, OrderState.DELIVERY_SCHEDULED)

    ledger = await showroom.world.partners("GET", "ledger")
    assert payment.state is PaymentState.CAPTURING
    assert waiting.state is stuck_in
    assert scheduled.plate is not None
    assert (len(ledger["registrations"]), len(ledger["deliveries"])) == (1, 1)


@STEPS
async def test_a_partner_that_did_it_and_hung_up_is_looked_up_and_not_asked_twice(
    showroom: Showroom, operation: str, stuck_in: OrderState
) -> None:
    await showroom.world.partner_fault({"operation": operation, "times": 1}, hang_after_apply=2)
    order = await showroom.ready()
    await showroom.pay_rest(order)
    assert (await showroom.orders.orders.get(order.id)).state is stuck_in
    await showroom.world.partners("POST", "forget-keys")

    await showroom.work_until_order(order.id, OrderState.DELIVERY_SCHEDULED)

    ledger = await showroom.world.partners("GET", "ledger")
    assert (len(ledger["registrations"]), len(ledger["deliveries"])) == (1, 1)


@STEPS
@pytest.mark.parametrize("status", [500, 422])
async def test_a_partner_that_never_does_it_is_a_persons_matter_and_the_payment_stays(
    showroom: Showroom, operation: str, stuck_in: OrderState, status: int
) -> None:
    """Fault F-F4: it appears in a queue, and there is no refund loop."""
    await showroom.world.partner_fault({"operation": operation}, status=status)
    order = await showroom.ready()
    payment = await showroom.pay_rest(order)

    async def paused() -> bool:
        return "jobs_parked" in await showroom.cases()

    await showroom.work_until(paused)
    await showroom.pass_time(24 * 3600)
    await showroom.jobs.run_due()

    stands = await showroom.tables.payments.get(payment.id)
    refunds = await showroom.database.fetch("select 1 from refunds")
    assert (stands.refunded_amount, stands.captured_amount) == (0, order.rest.amount)
    assert refunds == []
    assert (await showroom.orders.orders.get(order.id)).state is stuck_in
    assert (
        await showroom.orders.vehicles.get(order.vin or "")
    ).state is not VehicleState.SIN_ASIGNAR
    step = "register_vehicle" if operation == "registrations" else "schedule_delivery"
    assert await showroom.cases() == ["jobs_parked", f"{step}_stuck"]


async def test_a_person_releases_parked_work_and_it_goes_on(showroom: Showroom) -> None:
    await showroom.world.partner_fault({"operation": "registrations", "times": 2}, status=409)
    order = await showroom.ready()
    await showroom.pay_rest(order)

    async def paused() -> bool:
        return "jobs_parked" in await showroom.cases()

    await showroom.work_until(paused)
    await showroom.tables.jobs.add("register_vehicle", order.id)

    scheduled = await showroom.work_until_order(order.id, OrderState.DELIVERY_SCHEDULED)

    assert scheduled.delivery_id is not None
