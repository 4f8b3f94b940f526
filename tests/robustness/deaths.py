"""The stories in which a process dies: what is prepared, what it lives, what must come of it.

Rules: a life is what one process does from a customer's wish to the bank's word; whatever it did
not live to do, another does from open work alone; the caller who got no answer asks again with the
same key, as callers must.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from caas.app import Platform
from caas.billing_database.idempotency import StoredAnswer, hashed
from caas.billing_database.payments import Payment
from caas.payment_processing import CallerKey, PaymentRequest
from caas.rules.money import Money
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.robustness.living_world import LivingWorld, Process
from tests.robustness.mortal_process import DeadError, Place

ROUNDS_MAX = 400
MOMENTS_MAX = 40
QUIET_SECONDS = 0.004
IN_FLIGHT_SECONDS = 61.0
VIN = "WVWZZZ1JZXW000001"
PRICE = Money(3_000_000, "EUR")
DEPOSIT = Money(100_000, "EUR")

Initiate = Callable[[PaymentRequest], Awaitable[Payment | StoredAnswer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a process is to live through, and what the world looks like when all is done."""

    name: str
    prepare: Callable[[LivingWorld, Platform], Awaitable[PaymentRequest]]
    live: Callable[[Platform, PaymentRequest], Awaitable[object]]
    ends: Callable[[LivingWorld, PaymentRequest], Awaitable[list[str]]]
    cases: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Told:
    """How often the process resumed each await, whether it died, and what is wrong."""

    awaits: "Counter[Place]"
    died: bool
    wrong: list[str]


async def told(
    story: Story, world: LivingWorld, *, dies_at: tuple[Place, int] | None = None
) -> Told:
    """Let one process live the story until it dies, and another end it; say what came of it."""
    process = await world.process()
    request = await process.call(lambda: story.prepare(world, process.platform))
    process.note_awaits(dies_at=dies_at)
    try:
        await process.call(lambda: _lived(story, process.platform, request))
        await until_quiet(world, process)
    except DeadError:
        pass
    awaits, died = process.awaits, process.dead
    await process.kill()
    heir = await world.process()
    await until_quiet(world, heir)
    await world.pass_time(IN_FLIGHT_SECONDS)
    await heir.call(lambda: story.live(heir.platform, request))
    await until_quiet(world, heir)
    wrong = await story.ends(world, request)
    await heir.stop()
    return Told(awaits, died, wrong)


async def _lived(story: Story, platform: Platform, request: PaymentRequest) -> None:
    await story.live(platform, request)
    for _ in range(MOMENTS_MAX):
        if not await platform.open_work.run_due():
            await asyncio.sleep(QUIET_SECONDS)


async def until_quiet(world: LivingWorld, process: Process) -> None:
    """Let a process work, time pass and the bank answer, until nothing is left to do."""
    for _ in range(ROUNDS_MAX):
        if await process.call(process.platform.open_work.run_due):
            continue
        await process.idle(QUIET_SECONDS)
        wait = await world.until_next_due()
        if wait is None:
            return
        if wait > 1.0:
            await world.gateway("POST", "settle")
        if wait > 0:
            await world.pass_time(wait)
    raise AssertionError("it never grew quiet")


# -- a one-time service ------------------------------------------------------------------------


async def heated_seats(world: LivingWorld, platform: Platform, method: str) -> PaymentRequest:
    """Put a car on the road and a service into the catalogue; order it."""
    orders, catalog = platform.order_management, platform.service_catalog
    customer = await orders.create_customer(name="Ana", email="ana@example.com", language="es")
    await orders.put_vehicle(
        vin=VIN, model="Uno", price=PRICE, public_key=world.public_key(VIN), finished=True
    )
    await catalog.put_service(
        code="heated-seats", name="Heated seats", kind="one_time", currency="EUR",
        prices=[{"duration_days": 30, "amount": 1299}],
    )  # fmt: skip
    order = await catalog.create_service_order(
        customer=customer.id, vin=VIN, service="heated-seats", duration_days=30
    )
    return request_for(order.id, customer.id, Money(order.amount, order.currency), method)


def request_for(subject: UUID, customer: UUID, amount: Money, method: str | None) -> PaymentRequest:
    """Return a caller's request with its key."""
    key = CallerKey("caller", hashed(f"key {subject}"), hashed("request"))
    return PaymentRequest(
        subject=subject,
        customer=customer,
        amount=amount.amount,
        currency=amount.currency,
        payment_method=method,
        caller_key=key,
    )


def service(name: str, method: str, state: PaymentState, car: Manner | None = None) -> Story:
    """A customer buys heated seats."""

    async def prepare(world: LivingWorld, platform: Platform) -> PaymentRequest:
        request = await heated_seats(world, platform, method)
        world.fleet.add(VIN, car)
        return request

    async def live(platform: Platform, request: PaymentRequest) -> object:
        return await platform.payment_processing.initiate_service_payment(request)

    return Story(name=name, prepare=prepare, live=live, ends=in_state(state))


def in_state(
    *states: PaymentState,
) -> Callable[[LivingWorld, PaymentRequest], Awaitable[list[str]]]:
    """The request led to exactly one payment, and it is in one of these states."""

    async def ends(world: LivingWorld, request: PaymentRequest) -> list[str]:
        rows = await world.owner.fetch(
            "select state from caas.payments where subject = $1", request.subject
        )
        found = [row["state"] for row in rows]
        return [] if len(found) == 1 and found[0] in states else [f"payments: {found}"]

    return ends


STORIES = {
    story.name: story
    for story in (
        service("service", "pm_ok", PaymentState.SETTLED),
        service("service_declined", "pm_declined", PaymentState.FAILED),
        service(
            "service_refused_by_car",
            "pm_ok",
            PaymentState.VOIDED,
            Manner(Behaviour.REFUSES, only="activate"),
        ),
    )
}
