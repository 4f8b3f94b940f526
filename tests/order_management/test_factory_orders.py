"""Order Management and a factory that refuses, hangs, repeats itself or is not there."""

from collections.abc import AsyncIterator

import pytest

from caas.billing_database.connection import Database
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.rules.vehicle_states import VehicleState
from tests.showroom import DEALERSHIP, DEPOSIT, KEY, MODEL, PRICE, VIN, Showroom, opened
from tests.showroom import simulated_world as simulated

IMPATIENT_SECONDS = 0.4
ORDERS = {"operation": "orders"}


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom whose clients do not wait long."""
    async with (
        simulated() as world,
        opened(database, world, total_seconds=IMPATIENT_SECONDS) as built,
    ):
        yield built


@pytest.mark.parametrize("status", [409, 422])
async def test_a_factory_that_refuses_ends_the_order_and_gives_the_deposit_back(
    showroom: Showroom, status: int
) -> None:
    """Decision 22."""
    await showroom.world.partner_fault(ORDERS, status=status, code="model_discontinued")
    vin = await showroom.stock()
    order = await showroom.ordered(vin)

    payment = await showroom.reserve(order)
    await showroom.jobs.run_due()

    vehicle = await showroom.orders.vehicles.get(vin)
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.FACTORY_REFUSED
    assert vehicle.state is VehicleState.SIN_ASIGNAR
    assert vehicle.in_stock_since is not None
    assert await showroom.reported(order.customer) == ["factory_refused"]
    assert await showroom.reported(DEALERSHIP, "dealership") == ["factory_refused"]
    assert await refunds_of(showroom) == [(payment.id, DEPOSIT.amount, "factory_refused")]


async def test_the_deposit_is_back_once_the_bank_had_confirmed_it(showroom: Showroom) -> None:
    """Decision 6: what has not arrived yet is waited for, and then given back."""
    await showroom.world.partner_fault(ORDERS, status=409)
    payment = await showroom.reserve(await showroom.ordered(await showroom.stock()))

    await showroom.world.gateway("POST", "settle", {})
    await showroom.work_until_payment(payment.id, PaymentState.REFUNDING)
    await showroom.world.gateway("POST", "advance", {"seconds": 5 * 24 * 3600})
    refunded = await showroom.work_until_payment(payment.id, PaymentState.REFUNDED)

    assert (refunded.settled_amount, refunded.refunded_amount) == (DEPOSIT.amount, DEPOSIT.amount)


async def test_after_a_refusal_the_vehicle_is_reserved_by_somebody_else(
    showroom: Showroom,
) -> None:
    await showroom.world.partner_fault(ORDERS | {"times": 1}, status=409)
    vin = await showroom.stock()
    await showroom.reserve(await showroom.ordered(vin))

    second = await showroom.reserved(vin)

    assert second.state is OrderState.FACTORY_ORDER_PLACED


async def test_a_factory_that_is_down_for_a_while_gets_its_order_once(showroom: Showroom) -> None:
    await showroom.world.partner_fault(ORDERS | {"times": 3}, status=503)
    order = await showroom.ordered(await showroom.stock())

    payment = await showroom.reserve(order)
    waiting = await showroom.orders.orders.get(order.id)
    placed = await showroom.work_until_order(order.id, OrderState.FACTORY_ORDER_PLACED)

    assert waiting.state is OrderState.RESERVED
    assert payment.state is PaymentState.CAPTURING
    assert len((await showroom.world.partners("GET", "ledger"))["orders"]) == 1
    assert placed.factory_order_id is not None
    assert await showroom.reported(DEALERSHIP, "dealership") == ["reservation_complete"]


async def test_a_factory_that_did_it_and_hung_up_is_looked_up_and_not_asked_twice(
    showroom: Showroom,
) -> None:
    """Fault F-R3; the factory has forgotten the key meanwhile, so a second order would be made."""
    await showroom.world.partner_fault(ORDERS | {"times": 1}, hang_after_apply=2)
    order = await showroom.ordered(await showroom.stock())
    await showroom.reserve(order)
    await showroom.world.partners("POST", "forget-keys")

    placed = await showroom.work_until_order(order.id, OrderState.FACTORY_ORDER_PLACED)

    [factory_order] = (await showroom.world.partners("GET", "ledger"))["orders"]
    assert placed.factory_order_id == factory_order["factory_order_id"]


async def test_a_factory_that_never_answers_is_given_to_a_person_and_not_asked_for_ever(
    showroom: Showroom,
) -> None:
    await showroom.world.partner_fault(ORDERS, status=500)
    order = await showroom.ordered(await showroom.stock())
    payment = await showroom.reserve(order)

    async def paused() -> bool:
        return "jobs_parked" in await showroom.cases()

    await showroom.work_until(paused)
    calls = await calls_of(showroom, "POST orders")
    await showroom.pass_time(24 * 3600)
    await showroom.jobs.run_due()

    stands = await showroom.tables.payments.get(payment.id)
    assert await showroom.cases() == ["jobs_parked", "place_factory_order_stuck"]
    assert await calls_of(showroom, "POST orders") == calls
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.RESERVED
    assert (stands.state, stands.refunded_amount) == (PaymentState.CAPTURING, 0)
    assert await refunds_of(showroom) == []


async def test_a_wrong_key_at_the_factory_refuses_no_order(showroom: Showroom) -> None:
    """Only the factory's own refusal of the order compensates; ours is an error to be mended."""
    await showroom.world.partner_fault(ORDERS | {"times": 1}, status=403)
    order = await showroom.ordered(await showroom.stock())
    await showroom.reserve(order)

    placed = await showroom.work_until_order(order.id, OrderState.FACTORY_ORDER_PLACED)

    assert placed.vin == order.vin


async def test_a_vehicle_may_be_ready_before_the_factory_has_answered(showroom: Showroom) -> None:
    await showroom.world.partner_fault(ORDERS | {"times": 1}, hang_after_apply=2)
    order = await showroom.ordered(await showroom.stock())
    await showroom.reserve(order)
    vin = order.vin or ""

    ready = await showroom.orders.partner_events.vehicle_ready(
        vin=vin, public_key=KEY, order_id=order.id
    )
    await showroom.pass_time(100)
    await showroom.jobs.run_due()

    assert ready.state is OrderState.READY
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.READY
    assert await showroom.reported(order.customer) == ["access_credentials", "vehicle_ready"]
    assert await showroom.reported(DEALERSHIP, "dealership") == ["reservation_complete"]


async def test_a_released_vehicle_that_is_being_built_is_not_ordered_again(
    showroom: Showroom,
) -> None:
    first = await showroom.reserved(await showroom.stock())
    await showroom.orders.withdrawal.withdraw(first.id)

    second = await showroom.reserved(first.vin)
    ready = await showroom.orders.partner_events.vehicle_ready(
        vin=first.vin or "", public_key=KEY, order_id=first.id
    )

    assert len((await showroom.world.partners("GET", "ledger"))["orders"]) == 1
    assert second.factory_order_id == first.factory_order_id
    assert ready.state is OrderState.WITHDRAWN
    assert (await showroom.orders.orders.get(second.id)).state is OrderState.READY
    assert (await showroom.reported(second.customer))[-1] == "vehicle_ready"


async def test_a_vehicle_built_for_a_withdrawn_order_is_stock(showroom: Showroom) -> None:
    await showroom.orders.put_model(MODEL, PRICE)
    order = await showroom.ordered()
    await showroom.reserve(order)
    await showroom.orders.withdrawal.withdraw(order.id)

    for _ in range(2):
        await showroom.orders.partner_events.vehicle_ready(
            vin=VIN, public_key=KEY, order_id=order.id
        )

    vehicle = await showroom.orders.vehicles.get(VIN)
    assert (vehicle.state, vehicle.finished) == (VehicleState.SIN_ASIGNAR, True)
    assert [transitioned.event for transitioned in await showroom.orders.vehicles.history(VIN)] == [
        "Add to Stock Inventory", "Vehicle Ready",
    ]  # fmt: skip


async def refunds_of(showroom: Showroom) -> list[tuple[object, int, str]]:
    """Return every refund that was asked for."""
    rows = await showroom.database.fetch("select payment_id, amount, reason from refunds")
    return [tuple(row) for row in rows]


async def calls_of(showroom: Showroom, operation: str) -> int:
    """Return how often a partner was called."""
    ledger = await showroom.world.partners("GET", "ledger")
    return sum(c["count"] for c in ledger["calls"] if c["operation"] == operation)
