"""A final payment whose process is killed, at every point of its way (faults F-F1, F-F2, F-F4)."""

from contextlib import suppress
from functools import partial

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.orders import Order
from caas.billing_database.payments import Payment
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.rules.vehicle_states import VehicleState
from tests.mortal import Fuse, KilledError
from tests.showroom import Showroom, World, opened, simulated_world

POINTS_MAX = 250
DECIDED = {"pm_ok": OrderState.DELIVERY_SCHEDULED, "pm_declined": OrderState.RESERVATION_LOST}


async def test_wherever_it_dies_the_rest_is_paid_once_and_the_vehicle_is_on_its_way(
    database: Database,
) -> None:
    async with simulated_world() as world, opened(database, world) as survivor:
        for points in range(1, POINTS_MAX):
            order = await survivor.ready()

            fuse = Fuse(points)
            with suppress(KilledError):
                await dies(database, world, order, "pm_ok", fuse)
            await paid_and_claimed_together(survivor, order)
            if not await finals_of(survivor, order):
                await survivor.pay_rest(order)
            await survivor.work_until_order(order.id, OrderState.DELIVERY_SCHEDULED)
            await survivor.work_until(partial(captured_once, survivor, order))

            await handed_over_once(survivor, order)
            if fuse.passed < points:
                break

    assert 30 < points < POINTS_MAX - 1, "the way has many points, and an end"


async def test_wherever_a_declined_one_dies_the_vehicle_is_lost_with_the_payment(
    database: Database,
) -> None:
    """Fault F-F2: Failed and sin asignar are one commit."""
    async with simulated_world() as world, opened(database, world) as survivor:
        for points in range(1, POINTS_MAX):
            order = await survivor.ready()

            fuse = Fuse(points)
            with suppress(KilledError):
                await dies(database, world, order, "pm_declined", fuse)
            await failed_and_lost_together(survivor, order)
            if not await finals_of(survivor, order):
                await survivor.pay_rest(order, "pm_declined")
            await survivor.work_until_order(order.id, OrderState.RESERVATION_LOST)

            await failed_and_lost_together(survivor, order)
            [final] = await finals_of(survivor, order)
            assert (final.state, final.captured_amount) == (PaymentState.FAILED, 0)
            assert (await survivor.reported(order.customer))[-1] == "reservation_lost"
            if fuse.passed < points:
                break

    assert 15 < points < POINTS_MAX - 1


@pytest.mark.parametrize(
    "fault",
    [{"hang_after_apply": 2}, {"drop_connection_after": True}, {"status": 503, "apply_first": True},
     {"hang_before_apply": 2}, {"drop_connection_before": True}, {"truncated_body": True},
     {"html_200": True}, {"wrong_amount": True}],
)  # fmt: skip
@pytest.mark.parametrize("method", list(DECIDED))
async def test_while_it_is_not_known_the_vehicle_is_held_and_then_it_is_as_the_gateway_says(
    database: Database, fault: dict[str, object], method: str
) -> None:
    """Fault F-F1: a time-out is no decline; the vehicle is never in stock by mistake."""
    async with (
        simulated_world() as world,
        opened(database, world, total_seconds=0.3) as showroom,
    ):
        order = await showroom.ready()
        await world.gateway_fault({"operation": "initiate", "times": 4}, **fault)

        payment = await showroom.pay_rest(order, method)
        held = await showroom.orders.vehicles.get(order.vin or "")
        if payment.state is PaymentState.PENDING:
            assert held.state is VehicleState.READY
        decided = (
            OrderState.DELIVERY_SCHEDULED if method == "pm_ok" else OrderState.RESERVATION_LOST
        )
        await showroom.work_until_order(order.id, decided)

        [final] = await finals_of(showroom, order)
        ledger = await world.gateway("GET", f"ledger?reference={final.id}")
        assert ledger["charges_executed"] == (1 if method == "pm_ok" else 0)
        assert len([t for t in ledger["transactions"] if t["status"] != "failed"]) <= 1
        history = await showroom.orders.vehicles.history(order.vin or "")
        in_stock_again = [
            transitioned for transitioned in history[1:] if transitioned.to_state == "sin asignar"
        ]
        assert len(in_stock_again) == (0 if method == "pm_ok" else 1)


async def test_a_gateway_that_cannot_be_reached_takes_no_vehicle_away(
    database: Database,
) -> None:
    """Decision 3: what was never sent is kept, and sent when the gateway is there again."""
    async with simulated_world() as world, opened(database, world) as showroom:
        order = await showroom.ready()
        nowhere = World("http://127.0.0.1:9", world.partners_url, world.http)

        async with opened(database, nowhere, total_seconds=0.3) as cut_off:
            payment = await cut_off.pay_rest(order)
            for _ in range(10):
                await cut_off.jobs.run_due()
                await cut_off.pass_time(60)

        assert payment.state is PaymentState.PENDING
        assert (await showroom.orders.vehicles.get(order.vin or "")).state is VehicleState.READY
        await showroom.work_until_order(order.id, OrderState.DELIVERY_SCHEDULED)
        assert await captured_once(showroom, order)


async def dies(database: Database, world: World, order: Order, method: str, fuse: Fuse) -> None:
    """Pay the rest in a process that may die."""
    async with opened(database, world, fuse=fuse) as mortal:
        await mortal.pay_rest(order, method)


async def finals_of(showroom: Showroom, order: Order) -> list[Payment]:
    """Return the final payments of an order."""
    payments = await showroom.tables.payments.listed(subject=order.id)
    return [payment for payment in payments if payment.type is PaymentType.FINAL]


async def paid_and_claimed_together(showroom: Showroom, order: Order) -> None:
    """Whatever was committed when it died: fully paid and the capture's claim, or neither."""
    now = await showroom.orders.orders.get(order.id)
    claimed = any(p.state is PaymentState.CAPTURING for p in await finals_of(showroom, order))

    assert claimed == (now.state is not OrderState.READY)


async def failed_and_lost_together(showroom: Showroom, order: Order) -> None:
    """Whatever was committed when it died: failed and lost, or neither."""
    now = await showroom.orders.orders.get(order.id)
    vehicle = await showroom.orders.vehicles.get(order.vin or "")
    failed = any(p.state is PaymentState.FAILED for p in await finals_of(showroom, order))

    assert failed == (now.state is OrderState.RESERVATION_LOST)
    assert failed == (vehicle.state is VehicleState.SIN_ASIGNAR)


async def captured_once(showroom: Showroom, order: Order) -> bool:
    """Say whether the gateway took the rest, once."""
    [final] = await finals_of(showroom, order)
    ledger = await showroom.world.gateway("GET", f"ledger?reference={final.id}")
    assert ledger["charges_executed"] <= 1
    return bool(ledger["charges_executed"] == 1)


async def handed_over_once(showroom: Showroom, order: Order) -> None:
    """One registration, one delivery, and each thing told once."""
    partners = await showroom.world.partners("GET", f"ledger?reference={order.id}")

    assert (len(partners["registrations"]), len(partners["deliveries"])) == (1, 1)
    assert sorted(await showroom.reported(order.customer)) == sorted(
        ["access_credentials", "vehicle_ready", "payment_confirmed", "delivery_scheduled"]
    )
