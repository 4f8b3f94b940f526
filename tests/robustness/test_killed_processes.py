"""Processes killed with -9 under load, at moments that nobody chose; then the ledgers are compared.

Killed are `caas serve`, `caas work` (there are two of each), the database, and `caas up`.
Customers and dealers go on meanwhile, and repeat what was not answered. In the end the gateway's
ledger, the cars' and ours agree, nothing is left open, every law holds, and whatever a caller was
told is there.

The suite kills a few times, with customers who rest between two purchases; `make kills` a hundred
times and more (`CAAS_KILLS`), with customers who do not.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from caas.billing_database import connection, tables
from caas.service_catalog import ServiceCatalog
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.robustness.real_processes import RealProcess, RealWorld, real_world
from tests.robustness.shoppers import PRICE, Reported, Shoppers
from tests.robustness.three_ledgers import LEFT, PERPETUAL, differences

KILLS = int(os.environ.get("CAAS_KILLS", "3"))
SEED = int(os.environ.get("CAAS_KILLS_SEED", "1"))
SHOPPERS = 8
REST_SECONDS = 0.0 if "CAAS_KILLS" in os.environ else 0.4
PAUSE_SECONDS_MAX = 0.6
IN_FLIGHT_SECONDS = 61.0
CALM_SECONDS = 0.3
LEASE_SECONDS = 61.0
QUIET_SECONDS_MAX = 500.0
BACK_SECONDS = 3600.0
KILLS_BETWEEN_PASSING_TIME = 2
KILLS_BETWEEN_ANSWERS = 2
LOOK_SECONDS = 0.02
MOVING = """
select kind, subject, due_at, fence, lease_until from caas.jobs where kind <> all($1)
 order by kind, subject
"""
NO_PAYMENT = (
    "vehicle_not_free", "purchase_pending", "payment_open", "not_authorized_yet",
    "withdrawal_period_over",
)  # fmt: skip
"""What is answered without a payment; time leaps by a minute at each look, and a slow machine looks
so often that the days in which a customer may withdraw are over."""
THERE = "select count(*) from caas.payments where id = any($1)"
PAYMENT = "select * from caas.payments where id = $1"
CARS = 2
RESEND_SECONDS = 21.0
NOTHING_IS_RECORDED = "lock table caas.delivery_evidence in share row exclusive mode"
SENT = "select from caas.ota_commands having count(*) = $1"
SENT_AGAIN = """
select from caas.jobs where kind = 'activate' and held_by is null and last_error is not null
having count(*) = $1
"""
UNRECORDED = """
select from pg_locks where relation = 'caas.delivery_evidence'::regclass and not granted
"""
END_UNRECORDED = """
select pg_terminate_backend(pid) from pg_locks
 where relation = 'caas.delivery_evidence'::regclass and not granted
"""
ALL_SETTLED = "select from caas.payments where state = 'Settled' having count(*) = $1"
COMMITTED = "select from caas.payments where state in ('Capturing', 'Settled') having count(*) = $1"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[RealWorld]:
    """A world around processes of the platform, none of which is started yet."""
    async with real_world(tmp_path) as built:
        yield built


Death = Callable[[], Awaitable[None]]


def death_of(process: RealProcess) -> Death:
    """Kill a process and start it again."""

    async def dies() -> None:
        await process.kill()
        await process.start()

    return dies


async def test_a_shop_whose_processes_and_database_are_killed_keeps_its_books(
    world: RealWorld,
) -> None:
    doors = [await world.starts("serve", listens=True) for _ in range(2)]
    workers = [await world.starts("work") for _ in range(2)]
    deaths = [death_of(process) for process in (*doors, *workers)]

    reported = await shopped(world, doors, [*deaths, world.server.kill])

    await books_agree(world, reported)


async def test_a_platform_that_is_killed_and_started_again_keeps_its_books(
    world: RealWorld,
) -> None:
    """`caas up`, with partners of its own that do not die with it."""
    platform = await world.starts("up", listens=True, CAAS_DATABASE_URL=world.dsn)

    reported = await shopped(world, [platform], [death_of(platform)])

    await books_agree(world, reported)


async def shopped(
    world: RealWorld, doors: list[RealProcess], deaths: list[Death]
) -> list[Reported]:
    """Let customers shop while one death after the other comes; return what each was told."""
    chance = random.Random(SEED)
    shoppers = Shoppers(world, doors, chance, rest_seconds=REST_SECONDS)
    await shoppers.furnish()
    shopping = asyncio.gather(*(shoppers.shop() for _ in range(SHOPPERS)))
    for number in range(KILLS):
        if number % KILLS_BETWEEN_ANSWERS == 1:
            await one_more_answered(shoppers)
        await asyncio.sleep(chance.random() * PAUSE_SECONDS_MAX)  # any moment, not an event
        await chance.choice(deaths)()
        if number % KILLS_BETWEEN_PASSING_TIME == 0:
            await world.pass_time(IN_FLIGHT_SECONDS)
        if shopping.done():
            break
    shoppers.open = False
    while not shopping.done():
        await world.pass_time(IN_FLIGHT_SECONDS)
        await asyncio.wait([shopping], timeout=CALM_SECONDS)
    await shopping
    return shoppers.reported


async def one_more_answered(shoppers: Shoppers) -> None:
    """Wait for an answer, so that a slow machine does not only kill what has just started."""
    before = len(shoppers.reported)
    async with asyncio.timeout(QUIET_SECONDS_MAX):
        while len(shoppers.reported) == before:
            await asyncio.sleep(LOOK_SECONDS)


async def books_agree(world: RealWorld, reported: list[Reported]) -> None:
    """Let all jobs end, and compare the three ledgers and what the callers were told.

    What runs every so often may write while the ledgers are read one after the other; then once
    more. A difference counts that is there again when all is quiet again: nothing mends real ones.
    """
    wrong: list[str] = []
    async with asyncio.timeout(QUIET_SECONDS_MAX):
        while True:
            await until_quiet(world)
            before, wrong = wrong, await differences(world)
            if not wrong or (wrong == before and not any(one.startswith(LEFT) for one in wrong)):
                break
    for status, answer in reported:
        wrong += await _differs(world, status, answer)
    assert "\n".join(wrong) == ""
    assert len(reported) > SHOPPERS


async def _differs(world: RealWorld, status: int, answer: dict[str, Any]) -> list[str]:
    """Compare what a caller was told of its payment with what is in the books."""
    reported = answer.get("payments", [answer.get("payment")])
    if not any(reported):
        known = answer.get("code") in NO_PAYMENT
        return [] if known else [f"a caller was told {status}: {answer}"]
    ids = [UUID(one if isinstance(one, str) else one["id"]) for one in reported]
    there = await world.owner.fetchval(THERE, ids)
    return [] if there == len(ids) else [f"told of a payment that is not there: {answer}"]


async def until_quiet(world: RealWorld) -> None:
    """Wait until the workers have nothing left; where they only wait for time, let it pass.

    The bank settles at each look: on a slow machine something always moves while it is waited for.
    """
    async with asyncio.timeout(QUIET_SECONDS_MAX):
        while await left(world):
            await world.gateway("POST", "settle")
            before = await world.owner.fetch(MOVING, PERPETUAL)
            await asyncio.sleep(CALM_SECONDS)
            if before == await world.owner.fetch(MOVING, PERPETUAL):
                wait = await world.until_next_due()
                await world.pass_time(max(wait or 0.0, 0.0))


async def left(world: RealWorld) -> bool:
    """Say whether anything is still to be done that will be over one day."""
    return bool(
        await world.owner.fetchval(
            "select exists (select from caas.jobs where kind <> all($1))", PERPETUAL
        )
    )


async def test_a_worker_that_is_stopped_past_its_lease_and_goes_on_charges_nobody_again(
    world: RealWorld,
) -> None:
    """Fault F-G11, with real processes: SIGSTOP between the gateway's effect and its answer."""
    door = await world.starts("serve", listens=True)
    sleeper = await world.starts("work")
    shoppers = Shoppers(world, [door], random.Random(SEED))
    await shoppers.furnish()
    await world.gateway_fault({"operation": "initiate", "times": 1}, latency_after_ms=1500)

    payment = await initiated_later(shoppers)
    await charged(world, 1)
    sleeper.signal(signal.SIGSTOP)
    other = await world.starts("work")
    await world.pass_time(LEASE_SECONDS)
    await until_quiet(world)
    settled = await world.owner.fetchrow(PAYMENT, payment)
    await other.stop()
    sleeper.signal(signal.SIGCONT)
    another = await initiated_later(shoppers)
    await until_quiet(world)

    assert settled is not None
    assert settled["state"] == "Settled"
    assert await world.owner.fetchrow(PAYMENT, payment) == settled
    assert (await world.owner.fetchrow(PAYMENT, another))["state"] == "Settled"
    assert (await world.gateway("GET", "ledger"))["charges_executed"] == 2
    assert await differences(world) == []


async def test_what_a_killed_process_had_under_way_is_finished_long_before_its_leases_end(
    world: RealWorld,
) -> None:
    """The clock goes back an hour: no lease, no safety net and no quiet minute ends in this test.

    A refund in flight was still Refunding a minute later, and its caller told 409 so long.
    """
    door = await world.starts("serve", listens=True, CAAS_TIME_SCALE="1")
    await world.starts("work", CAAS_TIME_SCALE="1")
    shoppers = Shoppers(world, [door], random.Random(SEED))
    await shoppers.furnish()
    payment = await settled(world, shoppers)
    await world.gateway_fault({"operation": "refund", "times": 1}, latency_after_ms=60_000)
    asked = asyncio.create_task(
        shoppers.call("POST", f"/v1/payments/{payment}/refunds", {"amount": 300, "reason": "late"})
    )
    await refunded(world, 1)
    await world.pass_time(-BACK_SECONDS)

    await door.kill()
    await until_row(world, "select 1 from caas.refunds where state = 'succeeded'")
    await door.start()
    status, reported = await asked

    await world.pass_time(BACK_SECONDS)
    assert (status, reported["amount"], reported["state"]) == (201, 300, "succeeded")
    row = await world.owner.fetchrow(PAYMENT, payment)
    assert (row["state"], row["refunded_amount"]) == ("Settled", 300)
    assert (await world.gateway("GET", "ledger"))["refunds"] == 1
    assert await world.violated_invariants() == []


async def test_acknowledgements_that_died_with_their_process_are_asked_for_again(
    world: RealWorld,
) -> None:
    """The clock goes back an hour when the cars have answered: no interval ends after that.

    The answer to a command that was sent again went to a dead process's session, and was lost.
    """
    door = await world.starts("serve", listens=True, CAAS_TIME_SCALE="1")
    worker = await world.starts("work", CAAS_TIME_SCALE="1")
    shoppers = Shoppers(world, [door], random.Random(SEED))
    await shoppers.furnish()
    orders = [await service_order(shoppers, Manner(Behaviour.SILENT)) for _ in range(CARS)]
    asked = [
        asyncio.create_task(shoppers.call("POST", "/v1/service-orders", order)) for order in orders
    ]
    await until_row(world, SENT, CARS)
    await world.pass_time(RESEND_SECONDS)
    await until_row(world, SENT_AGAIN, CARS)
    async with world.owner.acquire() as blocker:
        held = blocker.transaction()
        await held.start()
        await blocker.execute(NOTHING_IS_RECORDED)
        for order in orders:
            world.fleet.add(order["vin"], Manner())
        await world.pass_time(RESEND_SECONDS)
        await until_row(world, UNRECORDED)
        await world.pass_time(-BACK_SECONDS)

        await door.kill()
        await worker.kill()
        await world.owner.fetch(END_UNRECORDED)
        await held.rollback()
    await worker.start()
    await until_row(world, COMMITTED, CARS)
    await world.pass_time(BACK_SECONDS)
    await door.start()
    await asyncio.gather(*asked)
    await until_row(world, ALL_SETTLED, CARS)

    assert (await world.gateway("GET", "ledger"))["charges_executed"] == CARS
    assert await world.violated_invariants() == []


async def test_a_command_that_a_dead_broker_kept_back_is_sent_when_it_is_back(
    world: RealWorld,
) -> None:
    """The clock goes back an hour: no interval ends in this test.

    The broker was back in a moment, and the payment went on after twenty seconds.
    """
    door = await world.starts("serve", listens=True, CAAS_TIME_SCALE="1")
    await world.starts("work", CAAS_TIME_SCALE="1")
    shoppers = Shoppers(world, [door], random.Random(SEED))
    await shoppers.furnish()
    order = await service_order(shoppers)
    os.kill(world.broker.pid, signal.SIGKILL)
    asked = asyncio.create_task(shoppers.call("POST", "/v1/service-orders", order))
    async with asyncio.timeout(QUIET_SECONDS_MAX):
        while "vehicle.unreachable" not in door.said_to.read_text():
            await asyncio.sleep(CALM_SECONDS)
    await world.pass_time(-BACK_SECONDS)

    await world.broker.start_again()
    await until_row(world, COMMITTED, 1)

    await world.pass_time(BACK_SECONDS)
    await asked
    assert await world.violated_invariants() == []


async def service_order(shoppers: Shoppers, manner: Manner | None = None) -> dict[str, Any]:
    """Return an order of heated seats by a new customer for a new car."""
    vin, customer = await shoppers.car(manner), await shoppers.customer()
    return {"customer": customer, "vin": vin, "service": "heated-seats", "duration_days": 30,
            "payment_method": "pm_ok"}  # fmt: skip


async def settled(world: RealWorld, shoppers: Shoppers) -> UUID:
    """Buy heated seats and let the bank pay for them."""
    order = await service_order(shoppers)
    status, reported = await shoppers.call("POST", "/v1/service-orders", order)
    assert status in {201, 202}, reported
    row = "select id from caas.payments where state = 'Settled'"
    return UUID(str((await until_row(world, row))["id"]))


async def until_row(world: RealWorld, query: str, *values: object) -> Any:
    """Wait until a query has a row, the bank answering whatever it is asked."""
    async with asyncio.timeout(QUIET_SECONDS_MAX):
        while (row := await world.owner.fetchrow(query, *values)) is None:
            await world.gateway("POST", "settle")
            await asyncio.sleep(CALM_SECONDS)
    return row


async def refunded(world: RealWorld, refunds: int) -> None:
    """Wait until the gateway has so many refunds."""
    async with asyncio.timeout(QUIET_SECONDS_MAX):
        while (await world.gateway("GET", "ledger"))["refunds"] < refunds:
            await asyncio.sleep(0.01)


async def initiated_later(shoppers: Shoppers) -> UUID:
    """Buy in such a way that a worker authorizes the payment, and not the process that took it."""
    vin, customer = await shoppers.car(), await shoppers.customer()
    database = await connection.connect(shoppers.world.dsn, connections_max=1)
    order = await ServiceCatalog(tables=tables.opened(database)).create_service_order(
        customer=UUID(customer), vin=vin, service="heated-seats", duration_days=30, by_fleet=True
    )
    await database.close()
    wish = {"subject": str(order.id), "customer": customer, "amount": PRICE, "currency": "EUR",
            "payment_method": "pm_ok"}  # fmt: skip
    status, payment = await shoppers.call(
        "POST", "/v1/payments/service", wish, prefer="respond-async"
    )
    assert (status, payment["state"]) == (202, "Pending")
    return UUID(payment["id"])


async def charged(world: RealWorld, transactions: int) -> None:
    """Wait until the gateway has so many transactions."""
    async with asyncio.timeout(QUIET_SECONDS_MAX):
        while len((await world.gateway("GET", "ledger"))["transactions"]) < transactions:
            await asyncio.sleep(0.01)
