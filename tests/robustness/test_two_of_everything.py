"""Two of everything on one database: calls, dealers, devices, workers, verdicts.

Where it matters who comes first, the first holds its transaction open until the second is seen to
wait for it, so that the race is run as it has to be and not as it happens to be.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from msgspec.structs import replace

from caas.billing_database.idempotency import InFlightError, KeyReusedError, hashed
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import NewPayment, Payment
from caas.payment_processing import CallerKey, PaymentRequest
from caas.payment_processing.void import CaptureWonError
from caas.rules.payment_types import PaymentType
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.robustness.deaths import until_quiet
from tests.robustness.living_world import LivingWorld, Process, living_world
from tests.robustness.stories import VIN, heated_seats, ordered, reserves
from tests.robustness.three_ledgers import differences

PATIENCE_SECONDS = 120.0
CALLS = 64
DEALERS = 16
RACES = 24
LEASE_SECONDS = 61.0
SAFETY_NET = 75.0
PAYMENT = "select state, version, captured_amount from caas.payments"
WAITING = "select count(*) from pg_locks where not granted"
ACCEPT = "select * from caas.accept_payments($1)"


@pytest.fixture
async def world(server_dsn: str) -> AsyncIterator[LivingWorld]:
    """A world whose three ledgers agree when the test is over."""
    async with living_world(server_dsn) as built:
        yield built
        for process in built.processes:
            if not process.dead:
                await until_quiet(built, process)
        assert await differences(built) == []


@asynccontextmanager
async def open_transaction(world: LivingWorld) -> AsyncIterator[asyncpg.Connection]:
    """Another machine's transaction, committed at the end of the block."""
    other = await asyncpg.connect(world.dsn)
    async with other.transaction():
        yield other
    await other.close()


async def somebody_waits(world: LivingWorld) -> None:
    """Wait until a session waits for another one's lock."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await world.owner.fetchval(WAITING):
            await asyncio.sleep(0.005)


async def accept_on(machine: asyncpg.Connection, request: PaymentRequest) -> UUID:
    """Accept a request as another machine does, within its open transaction."""
    key = request.caller_key
    assert key is not None
    wanted = NewPayment(
        id=new_id(),
        type=PaymentType.SERVICE,
        subject=request.subject,
        customer=request.customer,
        amount=request.amount,
        currency=request.currency,
        gateway="contract",
        payment_method=request.payment_method,
        caller=key.caller,
        key_hash=rf"\x{key.key_hash.hex()}",
        request_hash=rf"\x{key.request_hash.hex()}",
        job_kind="authorize",
        due_in=0.5,
    )
    await machine.fetch(ACCEPT, msgspec.json.encode([wanted]).decode())
    return wanted.id


def pays(process: Process, request: PaymentRequest) -> Callable[[], Awaitable[object]]:
    """Let a process initiate the payment."""
    return lambda: process.platform.payment_processing.initiate_service_payment(request)


def with_key(request: PaymentRequest, name: str) -> PaymentRequest:
    """The same wish under another key."""
    return replace(request, caller_key=CallerKey("caller", hashed(name), hashed("request")))


async def test_the_same_key_on_two_machines_is_told_that_the_first_is_running(
    world: LivingWorld,
) -> None:
    """The second call could not see the first one's key and was told that it had reused it."""
    process = await world.process()
    request = await heated_seats(world, process)

    async with open_transaction(world) as other:
        await accept_on(other, request)
        second = asyncio.create_task(process.call(pays(process, request)))
        await somebody_waits(world)

    with pytest.raises(InFlightError):
        await second


async def test_two_keys_for_one_thing_on_two_machines_name_the_one_payment(
    world: LivingWorld,
) -> None:
    """Fault F-F3: web and mobile. The second was told to try again; its key then led nowhere."""
    process = await world.process()
    request = await heated_seats(world, process)

    async with open_transaction(world) as other:
        first = await accept_on(other, with_key(request, "web"))
        mobile = with_key(request, "mobile")
        second = asyncio.create_task(process.call(pays(process, mobile)))
        await somebody_waits(world)
    answer = await second

    assert isinstance(answer, Payment)
    assert answer.id == first


async def test_a_key_that_was_cut_off_before_its_answer_leads_to_the_live_payment(
    world: LivingWorld,
) -> None:
    """The key named a payment that was never made, and its caller was told there is none."""
    process = await world.process()
    request = await heated_seats(world, process)
    first = await process.call(pays(process, with_key(request, "web")))
    async with open_transaction(world) as dying:
        await accept_on(dying, with_key(request, "mobile"))

    with pytest.raises(InFlightError):
        await process.call(pays(process, with_key(request, "mobile")))
    await world.pass_time(61.0)
    answer = await process.call(pays(process, with_key(request, "mobile")))

    assert isinstance(first, Payment)
    assert isinstance(answer, Payment)
    assert answer.id == first.id


async def test_the_same_key_many_times_in_one_breath_is_one_payment(world: LivingWorld) -> None:
    """Fault F-G12. Two calls that shared a statement with another were told they reused the key."""
    process = await world.process()
    request = await heated_seats(world, process)

    async def at_once() -> list[object]:
        calls = (pays(process, request)() for _ in range(CALLS))
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = await process.call(at_once)

    payments = [answer for answer in answers if isinstance(answer, Payment)]
    refused = [answer for answer in answers if isinstance(answer, InFlightError)]
    assert (len(payments), len(refused)) == (1, CALLS - 1)


async def test_the_same_key_with_another_request_is_refused_wherever_it_comes(
    world: LivingWorld,
) -> None:
    """Fault F-G13."""
    processes = [await world.process(), await world.process()]
    request = await heated_seats(world, processes[0])
    other_body = CallerKey("caller", hashed(f"key {request.subject}"), hashed("another request"))

    await processes[0].call(pays(processes[0], request))
    with pytest.raises(KeyReusedError):
        await processes[1].call(pays(processes[1], replace(request, caller_key=other_body)))


async def test_two_dealers_on_two_machines_sell_one_vehicle_once(world: LivingWorld) -> None:
    """Fault F-R2: the loser's customer is not charged."""
    processes = [await world.process(), await world.process()]
    requests = [await ordered(processes[0], "pm_ok") for _ in range(2 * DEALERS)]

    payments = await asyncio.gather(
        *(
            process.call(reserving(process, request))
            for process, request in zip(processes * DEALERS, requests, strict=True)
        )
    )

    ledger = await world.gateway("GET", "ledger")
    captured = [one for one in ledger["transactions"] if one["captured"]]
    owners = await world.owner.fetchval(
        "select count(*) from caas.vehicle_assignments where vin = $1", VIN
    )
    assert len(payments) == 2 * DEALERS
    assert (len(captured), owners) == (1, 1)
    assert len((await world.partners("GET", "ledger"))["orders"]) == 1


def reserving(process: Process, request: PaymentRequest) -> Callable[[], Awaitable[object]]:
    """Let a process initiate the reservation payment."""
    return lambda: reserves(process.platform, request)


async def test_the_vehicles_word_and_the_void_meet_and_one_of_them_counts(
    world: LivingWorld,
) -> None:
    """Fault F-S7: the acknowledgement on one machine, the operator's void on the other."""
    machines = [await world.process(), await world.process()]
    payments = []
    for number in range(RACES):
        vin = f"WVWZZZ1JZXR{number:06d}"
        world.fleet.add(vin, Manner(Behaviour.ASLEEP))
        request = await heated_seats(world, machines[0], vin=vin)
        payments.append(await machines[0].call(pays(machines[0], request)))

    async def voided(payment: Any) -> None:
        with contextlib.suppress(CaptureWonError):
            await machines[0].call(
                lambda: machines[0].platform.payment_processing.void_payment(payment.id, "stop")
            )

    for car in world.fleet.cars.values():
        world.fleet.wake(car)
    await asyncio.gather(*(voided(payment) for payment in payments))
    for machine in machines:
        await until_quiet(world, machine)

    claims = await world.owner.fetch("select kind from caas.resolution_claims")
    states = await world.owner.fetch("select state from caas.payments")
    assert len(claims) == RACES
    assert sorted(row["state"] for row in states) == sorted(
        {"capture": "Settled", "void": "Voided"}[row["kind"]] for row in claims
    )


async def test_a_worker_that_slept_past_its_lease_changes_nothing_when_it_wakes(
    world: LivingWorld,
) -> None:
    """Fault F-G11: frozen between the gateway's answer and its own commit."""
    sleeper, other = await world.process(), await world.process()
    request = replace(await heated_seats(world, other), respond_async=True)
    await world.gateway_fault({"operation": "initiate", "times": 1}, latency_after_ms=1500)
    await other.call(pays(other, request))

    sleeper.spawn(sleeper.platform.jobs.run_due)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await world.gateway("GET", "ledger"))["transactions"]:
            await asyncio.sleep(0.01)  # the request has left; the answer is on its way
    await sleeper.freeze(PATIENCE_SECONDS)
    await world.pass_time(LEASE_SECONDS)
    await until_quiet(world, other)
    settled = await world.owner.fetchrow(PAYMENT)
    sleeper.thaw()
    await until_quiet(world, sleeper)

    ledger = await world.gateway("GET", "ledger")
    assert settled is not None
    assert settled["state"] == "Settled"
    assert await world.owner.fetchrow(PAYMENT) == settled
    assert (len(ledger["transactions"]), ledger["charges_executed"]) == (1, 1)


async def test_a_process_that_wakes_after_its_payment_ended_gives_back_what_it_got(
    world: LivingWorld,
) -> None:
    """The answer of a sleeping process was the only one who knew of the hold, and was dropped."""
    sleeper, other = await world.process(), await world.process()
    request = await heated_seats(world, other)
    await world.gateway_fault({"operation": "initiate", "times": 1}, latency_ms=3_000)

    sleeper.spawn(pays(sleeper, request))  # type: ignore[arg-type]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await world.gateway("GET", "ledger"))["calls"]:
            await asyncio.sleep(0.01)  # until the request waits in the gateway
    await sleeper.freeze(PATIENCE_SECONDS)
    await world.gateway_fault({"operation": "initiate"}, status=422, code="closed_for_today")
    await world.pass_time(SAFETY_NET)
    await other.call(other.platform.jobs.run_due)
    await world.pass_time(SAFETY_NET)
    await other.call(other.platform.jobs.run_due)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await world.gateway("GET", "ledger"))["transactions"]:
            await asyncio.sleep(0.01)  # until the gateway has done what it was asked
    failed = await world.owner.fetchval("select state from caas.payments")
    sleeper.thaw()
    await sleeper.idle(0.3)
    await until_quiet(world, other)

    [transaction] = (await world.gateway("GET", "ledger"))["transactions"]
    cases = await world.owner.fetch("select kind from caas.cases where status = 'open'")
    assert failed == "Failed"
    assert transaction["status"] == "voided"
    assert {row["kind"] for row in cases} <= {"late_outcome", "gateway_refuses"}
    await world.owner.execute(
        "update caas.cases set status = 'resolved', resolved_at = now(), owner = 'olga',"
        " resolution = 'Seen.' where status = 'open'"
    )
