"""Six messages about one payment, in every order, repeated and lost: one end, and the same books.

The payment is a one-time service (Diagram 4) whose funds are held and whose car has applied it.
What the gateway and the car say of it then reaches us in any of 720 orders, or any part of it does
not reach us at all (64 choices); each order is lived by a payment of its own, many side by side.
The suite takes an even part of the orders; `make orders` takes all (`CAAS_ORDERS=all`).

Faults F-S3, F-S13, F-W5.
"""

import hashlib
import itertools
import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

import pytest

from caas.billing_database.payments import Payment
from caas.billing_database.webhook_inbox import Incoming, WebhookInbox
from caas.payment_processing import PaymentRequest
from caas.payment_processing.outgoing_money import APPLY_WEBHOOK
from caas_simulators.vehicle_car import Answer, Behaviour, Manner
from tests.robustness.deaths import until_quiet
from tests.robustness.living_world import LivingWorld, Process, living_world
from tests.robustness.stories import buys_service, heated_seats
from tests.robustness.three_ledgers import differences

ALL = os.environ.get("CAAS_ORDERS") == "all"
EVERY = 1 if ALL else 24
SIDE_BY_SIDE = 40
PRICE = 1299
QUIET_SECONDS = 0.004
BOOKS = "output_vat -225, service_revenue -1074, settled_funds 1299"
SPOKE_TOO_EARLY = frozenset({"captured_without_us"})
ENDED = """
select distinct p.state, p.outcome, p.captured_amount, p.settled_amount, p.refunded_amount,
       (select count(*) from caas.resolution_claims c where c.payment_id = p.id) as claims,
       (select string_agg(account || ' ' || balance, ', ' order by account) from (
          select account, sum(amount) as balance from caas.ledger_lines l
           where l.payment_id = p.id group by account having sum(amount) <> 0) b) as books
  from caas.payments p where p.id = any($1)
"""


class Message(Enum):
    """What is said of a payment."""

    AUTHORIZED = "authorized"
    CAPTURING = "capturing"
    SETTLED = "settled"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    SUCCEEDED_AGAIN = "SUCCEEDED again"


ORDERS = list(itertools.permutations(Message))[::EVERY]
PARTS = [
    part for size in range(len(Message) + 1) for part in itertools.combinations(Message, size)
][:: max(1, EVERY // 4)]
OFTEN = [tuple(message for message in order for _ in range(3)) for order in ORDERS[::10]]


@dataclass(frozen=True, slots=True)
class Reported:
    """A payment and the messages about it, in the order of their coming."""

    payment: UUID
    transaction: str
    vin: str
    messages: Sequence[Message]


@pytest.fixture
async def world(server_dsn: str) -> AsyncIterator[LivingWorld]:
    """A world at its own pace: no deadline passes while messages are handed over."""
    async with living_world(server_dsn) as built:
        built.time_scale = 1.0
        yield built


@pytest.mark.parametrize("kind", ["in every order", "a part of them", "each three times"])
async def test_the_payment_ends_the_same_whatever_came_when(world: LivingWorld, kind: str) -> None:
    process = await world.process()
    all_messages = {"in every order": ORDERS, "a part of them": PARTS, "each three times": OFTEN}

    for messages in batches(all_messages[kind]):
        reported = await bought(world, process, messages)
        for place in range(max(map(len, messages))):
            for one in reported:
                if place < len(one.messages):
                    await say(world, process, one, one.messages[place])
            await done(process)
        await the_cars_answer(world, process, reported)

        assert await ends(world, reported) == [("Settled", "known", PRICE, PRICE, 0, 1, BOOKS)]
    assert await differences(world, cases=SPOKE_TOO_EARLY) == []
    assert (await world.gateway("GET", "ledger"))["charges_executed"] == len(all_messages[kind])


def batches(every: Sequence[Sequence[Message]]) -> list[Sequence[Sequence[Message]]]:
    """Split what is to be lived into as many as may live side by side."""
    return [every[start : start + SIDE_BY_SIDE] for start in range(0, len(every), SIDE_BY_SIDE)]


async def bought(
    world: LivingWorld, process: Process, messages: Sequence[Sequence[Message]]
) -> list[Reported]:
    """Let customers buy; every car applies what it was told, and says nothing of it."""
    first = len(world.fleet.cars)
    requests = []
    for number in range(first, first + len(messages)):
        vin = f"WVWZZZ1JZXM{number:06d}"
        world.fleet.add(vin, Manner(Behaviour.SILENT))
        requests.append((vin, await heated_seats(world, process, vin=vin)))
    payments = [await paid(process, request) for _, request in requests]
    await done(process)
    ledger = (await world.gateway("GET", "ledger"))["transactions"]
    known_as = {one["reference"]: one["transaction_id"] for one in ledger}
    assert all(world.fleet.cars[vin].services for vin, _ in requests)
    return [
        Reported(payment.id, known_as[str(payment.id)], vin, order)
        for payment, (vin, _), order in zip(payments, requests, messages, strict=True)
    ]


async def paid(process: Process, request: PaymentRequest) -> Payment:
    """Pay for the service."""
    payment = await process.call(lambda: buys_service(process.platform, request))
    assert isinstance(payment, Payment)
    return payment


async def say(world: LivingWorld, process: Process, reported: Reported, message: Message) -> None:
    """Let the gateway or the car say it."""
    if message in {Message.AUTHORIZED, Message.CAPTURING, Message.SETTLED}:
        inbox = WebhookInbox(process.platform.tables.database)
        await process.call(lambda: inbox.store(webhook(reported, message.value)))
        return
    car = world.fleet.cars[reported.vin]
    [(name, service)] = car.services.items()
    second = 2 if message is Message.SUCCEEDED_AGAIN else 1
    answer = Answer(
        command_id=service.command_id,
        epoch=service.epoch,
        payment_id=service.payment_id,
        service=name,
        action="activate",
        status=message.value.partition(" ")[0],
        status_reason=None,
        at=f"2026-11-23T10:00:0{second}Z",
    )
    world.fleet.say(car, answer)


def webhook(reported: Reported, status: str) -> Incoming:
    """What the Webhook Handler stores of the gateway's word."""
    captured, settled = {"authorized": (0, 0), "capturing": (PRICE, 0)}.get(status, (PRICE, PRICE))
    event_id = f"evt_{reported.payment.hex}_{status}"
    body = json.dumps({
        "id": event_id, "type": f"transaction.{status}", "occurred_at": "2026-11-23T10:00:00Z",
        "data": {
            "id": reported.transaction, "reference": str(reported.payment), "status": status,
            "amount": PRICE, "currency": "EUR", "captured_amount": captured,
            "settled_amount": settled, "refunded_amount": 0, "created_at": "2026-11-23T10:00:00Z",
        },
    })  # fmt: skip
    return Incoming(
        gateway="contract",
        event_id=event_id,
        body_hash=hashlib.sha256(body.encode()).digest(),
        body=body,
        job_kind=APPLY_WEBHOOK,
    )


async def done(process: Process) -> None:
    """Let the process do all that is due now."""
    await process.idle(QUIET_SECONDS)
    while await process.call(process.platform.jobs.run_due):
        await process.idle(QUIET_SECONDS)


async def the_cars_answer(
    world: LivingWorld, process: Process, reported: Sequence[Reported]
) -> None:
    """Let the cars answer when they are asked again, and everything come to its end."""
    for one in reported:
        world.fleet.add(one.vin, Manner())
    await until_quiet(world, process)


async def ends(world: LivingWorld, reported: Sequence[Reported]) -> list[tuple[object, ...]]:
    """Return the different ends that there were."""
    rows = await world.owner.fetch(ENDED, [one.payment for one in reported])
    return [tuple(row) for row in rows]
