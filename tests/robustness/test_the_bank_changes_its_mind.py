"""Holds that run out, and settled money that is taken back: booked as they are, charged to nobody.

Faults F-S10, F-S15 and F-S16. What the bank does is done at the gateway; what we come to know of it
we learn from its answers, or from a webhook that is stored as the Webhook Handler stores it.
"""

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from caas.billing_database.payments import Payment
from caas.billing_database.webhook_inbox import Incoming, WebhookInbox
from caas.payment_processing import PaymentRequest
from caas.payment_processing.outgoing_money import APPLY_WEBHOOK
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.robustness.deaths import until_quiet
from tests.robustness.living_world import LivingWorld, Process, living_world
from tests.robustness.stories import VIN, buys_service, heated_seats, in_state
from tests.robustness.three_ledgers import differences

PRICE = 1299
TAX = 225
BALANCES = """
select account, sum(amount)::bigint as balance from caas.ledger_lines
 group by account having sum(amount) <> 0 order by account
"""
STATE = "select state from caas.payments"
ENTRIES = "select id, debit, credit, amount from caas.ledger_entries order by id"


@pytest.fixture
async def world(server_dsn: str) -> AsyncIterator[LivingWorld]:
    """A world with a car that takes commands when it wakes up, and no sooner."""
    async with living_world(server_dsn) as built:
        yield built


async def bought(world: LivingWorld, process: Process, manner: Manner) -> PaymentRequest:
    """Buy heated seats for a car of this manner."""
    request = await heated_seats(world, process)
    world.fleet.add(VIN, manner)
    payment = await process.call(lambda: buys_service(process.platform, request))
    assert isinstance(payment, Payment)
    return request


async def transaction(world: LivingWorld) -> dict[str, Any]:
    """The gateway's only transaction."""
    [found] = (await world.gateway("GET", "ledger"))["transactions"]
    return dict(found)


async def balances(world: LivingWorld) -> dict[str, int]:
    """What stands on each account."""
    return {row["account"]: row["balance"] for row in await world.owner.fetch(BALANCES)}


def lost(cause: str) -> dict[str, int]:
    """The service was earned, and CaaS has taken the loss of it."""
    return {f"risk_loss:{cause}": PRICE, "service_revenue": -PRICE + TAX, "output_vat": -TAX}


async def expired(world: LivingWorld) -> None:
    """Let the hold run out at the gateway."""
    known_as = (await transaction(world))["transaction_id"]
    await world.gateway("POST", f"transactions/{known_as}/expire")


async def test_a_hold_that_ran_out_while_the_car_slept_is_voided(world: LivingWorld) -> None:
    """Fault F-S16."""
    process = await world.process()
    request = await bought(world, process, Manner(Behaviour.ASLEEP))

    await expired(world)
    while await world.owner.fetchval(STATE) == PaymentState.AUTHORIZED:
        await world.pass_time(await world.until_next_due() or 0.0)
        await process.call(process.platform.jobs.run_due)
    world.fleet.wake(world.fleet.cars[VIN])
    await until_quiet(world, process)

    assert await in_state(PaymentState.VOIDED)(world, request) == []
    assert await balances(world) == {}
    assert await differences(world) == []


async def test_a_service_delivered_on_a_hold_that_ran_out_is_our_loss(world: LivingWorld) -> None:
    """Fault F-S10: the car has it, the gateway will not pay, and nobody is charged anew."""
    process = await world.process()
    request = await bought(world, process, Manner(Behaviour.ASLEEP))

    await expired(world)
    world.fleet.wake(world.fleet.cars[VIN])
    await until_quiet(world, process)

    calls = (await world.gateway("GET", "ledger"))["calls"]
    assert await in_state(PaymentState.SETTLEMENT_FAILED)(world, request) == []
    assert (await transaction(world))["captured"] == 0
    assert sum(call["count"] for call in calls if call["operation"] == "initiate") == 1
    assert await balances(world) == lost("authorization_expired")
    assert world.fleet.cars[VIN].services["heated-seats"].active
    assert await differences(world, cases=frozenset({"capture_refused"})) == []


@pytest.mark.parametrize("times", [1, 3])
async def test_settled_money_that_is_taken_back_is_booked_by_further_entries(
    world: LivingWorld, times: int
) -> None:
    """Fault F-S15: nothing that was written is edited, and the same word counts once."""
    process = await world.process()
    request = await bought(world, process, Manner())
    await until_quiet(world, process)
    before = [tuple(row) for row in await world.owner.fetch(ENTRIES)]
    settled = await transaction(world)
    known_as = settled["transaction_id"]

    await world.gateway("POST", f"transactions/{known_as}/settlement-failure")
    for number in range(times):
        await tells(process, reversed_(settled, number))
    await until_quiet(world, process)

    after = [tuple(row) for row in await world.owner.fetch(ENTRIES)]
    assert await in_state(PaymentState.SETTLEMENT_FAILED)(world, request) == []
    assert after[: len(before)] == before
    assert await balances(world) == lost("settlement_reversed")
    assert await differences(world, cases=frozenset({"settlement_reversed"})) == []


async def tells(process: Process, event: Incoming) -> None:
    """Let the gateway's webhook be stored."""
    inbox = WebhookInbox(process.platform.tables.database)
    await process.call(lambda: inbox.store(event))


def reversed_(settled: dict[str, Any], number: int) -> Incoming:
    """The gateway's word that the bank has taken the settlement back."""
    event_id = f"evt_{settled['transaction_id']}_{number}"
    body = json.dumps({
        "id": event_id, "type": "transaction.settlement_failed",
        "occurred_at": "2026-11-23T10:00:00Z",
        "data": {
            "id": settled["transaction_id"], "reference": settled["reference"],
            "status": "settlement_failed", "amount": PRICE, "currency": "EUR",
            "captured_amount": PRICE, "settled_amount": 0, "refunded_amount": 0,
            "created_at": "2026-11-23T10:00:00Z",
        },
    })  # fmt: skip
    return Incoming(
        gateway="contract",
        event_id=event_id,
        body_hash=hashlib.sha256(body.encode()).digest(),
        body=body,
        job_kind=APPLY_WEBHOOK,
    )
