"""A reservation whose process is killed, at every point of its way (faults F-G1 to F-G3, F-R1)."""

from contextlib import suppress
from functools import partial

from caas.billing_database.connection import Database
from caas.billing_database.orders import Order
from caas.rules.order_states import AWAITS_RESERVATION, OrderState
from caas.rules.payment_states import PaymentState
from tests.mortal import Fuse, KilledError
from tests.showroom import DEALERSHIP, DEPOSIT, Showroom, World, opened, simulated_world

POINTS_MAX = 200


async def test_wherever_it_dies_the_customer_has_one_charge_and_one_vehicle_or_neither(
    database: Database,
) -> None:
    async with simulated_world() as world, opened(database, world) as survivor:
        for points in range(1, POINTS_MAX):
            order = await survivor.ordered(await survivor.stock())

            fuse = Fuse(points)
            with suppress(KilledError):
                await dies(database, world, order, fuse)
            await reserved_and_charged_together(survivor, order)
            await recovered(survivor, order)

            await one_charge_one_vehicle(survivor, order)
            if fuse.passed < points:
                break

    assert 20 < points < POINTS_MAX - 1, "the way has many points, and an end"


async def test_wherever_the_loser_of_a_race_dies_it_is_not_charged(database: Database) -> None:
    """Fault F-R2, with a kill on top."""
    async with simulated_world() as world, opened(database, world) as survivor:
        for points in range(1, POINTS_MAX):
            vin = await survivor.stock()
            loser, winner = await survivor.ordered(vin), await survivor.ordered(vin)
            await survivor.reserve(winner)

            fuse = Fuse(points)
            with suppress(KilledError):
                await dies(database, world, loser, fuse)

            await survivor.work_until(partial(ended, survivor, loser))
            assert await charges_of(survivor, loser) == 0
            [assignment] = await survivor.orders.vehicles.assignments(vin=vin)
            assert assignment.order_id == winner.id
            if fuse.passed < points:
                break

    assert 20 < points < POINTS_MAX - 1


async def ended(survivor: Showroom, order: Order) -> bool:
    """Say whether every payment of an order has come to nothing."""
    payments = await survivor.tables.payments.listed(subject=order.id)
    return all(p.state in {PaymentState.VOIDED, PaymentState.FAILED} for p in payments)


async def dies(database: Database, world: World, order: Order, fuse: Fuse) -> None:
    """Pay a reservation in a process that may die."""
    async with opened(database, world, fuse=fuse) as mortal:
        await mortal.reserve(order)


async def reserved_and_charged_together(survivor: Showroom, order: Order) -> None:
    """Whatever was committed when it died: charged and reserved, or neither."""
    now = await survivor.orders.orders.get(order.id)
    payments = await survivor.tables.payments.listed(subject=order.id)
    claimed = any(payment.state is PaymentState.CAPTURING for payment in payments)

    assert claimed == (now.state not in AWAITS_RESERVATION)


async def recovered(survivor: Showroom, order: Order) -> None:
    """Let workers finish; a dealer whose payment never left, or never was, asks again."""

    async def decided() -> bool:
        payments = await survivor.tables.payments.listed(subject=order.id)
        return all(payment.state is not PaymentState.PENDING for payment in payments)

    await survivor.work_until(decided)
    if (await survivor.orders.orders.get(order.id)).state in AWAITS_RESERVATION:
        assert await charges_of(survivor, order) == 0
        await survivor.reserve(order)
    await survivor.work_until_order(order.id, OrderState.FACTORY_ORDER_PLACED)

    async def captured() -> bool:
        return await charges_of(survivor, order) == 1

    await survivor.work_until(captured)


async def one_charge_one_vehicle(survivor: Showroom, order: Order) -> None:
    """The gateway took the deposit once, the factory has one order, everybody was told once."""
    partners = await survivor.world.partners("GET", f"ledger?reference={order.id}")
    reported = await survivor.database.fetch(
        "select template, recipient from notifications where subject = $1", order.id
    )
    live = [p for p in await survivor.tables.payments.listed(subject=order.id)
            if p.state is PaymentState.CAPTURING]  # fmt: skip

    assert await charges_of(survivor, order) == 1
    assert [payment.captured_amount for payment in live] == [DEPOSIT.amount]
    assert len(partners["orders"]) == 1
    assert sorted(tuple(row) for row in reported) == sorted(
        [("access_credentials", str(order.customer)), ("reservation_complete", DEALERSHIP)]
    )


async def charges_of(survivor: Showroom, order: Order) -> int:
    """Return how often the gateway took money for an order."""
    payments = await survivor.tables.payments.listed(subject=order.id)
    ledgers = [
        await survivor.world.gateway("GET", f"ledger?reference={payment.id}")
        for payment in payments
    ]
    return sum(ledger["charges_executed"] for ledger in ledgers)
