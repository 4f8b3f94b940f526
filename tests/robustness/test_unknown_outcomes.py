"""What the gateway did and did not say: exactly one charge or none, and never a wrong Failed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from caas.external_systems.http import HttpLimits
from caas.external_systems.payment_gateway import GatewayTransaction, PaymentGateway
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.robustness.deaths import Story, until_quiet
from tests.robustness.living_world import TIME_SCALE, LivingWorld, Process, living_world
from tests.robustness.stories import STORIES, VIN, final, order_ends, service
from tests.robustness.three_ledgers import differences

P = PaymentState
SILENCES: dict[str, dict[str, object]] = {
    "applies and hangs": {"hang_after_apply": 5.0},
    "hangs and drops": {"hang_before_apply": 5.0},
    "applies and answers 500": {"status": 500, "apply_first": True},
    "answers 502 from a proxy": {"status": 502},
    "cuts the connection after applying": {"drop_connection_after": True},
    "cuts its answer short": {"truncated_body": True},
    "stores a 500 for the key": {"store_500_for_key": True},
}
NOT_DONE = {"hangs and drops", "answers 502 from a proxy", "stores a 500 for the key"}
EVERY_INLINE_CALL = 4
A_WHILE = 12
UNKNOWN = "gateway_outcome_unknown"
REFUSES_ACTIVATION = Manner(Behaviour.REFUSES, only="activate")
OUTCOME = "select state, outcome from caas.payments where type = $1"
ALERTS = "select kind, status, resolution from caas.cases where kind like '%outcome_unknown'"
CASES = "select kind, status from caas.cases"
LOST = "select 1 from caas.vehicle_events where event = 'Mark Vehicle Sin Asignar'"


@pytest.fixture
async def world(server_dsn: str) -> AsyncIterator[LivingWorld]:
    """A world in which nobody waits long for an answer."""
    async with living_world(server_dsn) as built:
        built.limits = HttpLimits(total_seconds=0.3, connect_seconds=0.2)
        yield built


async def reported(world: LivingWorld, story: Story, **fault: Any) -> Process:
    """Tell a story to a gateway that goes wrong, until nothing is left to do."""
    process = await world.process()
    subject = await story.prepare(world, process)
    match = fault.pop("match")
    await world.gateway_fault(match, **fault)
    await process.call(lambda: story.live(process.platform, subject))
    await until_quiet(world, process)
    assert await story.ends(world, subject) == []
    assert await differences(world, cases=story.cases) == []
    return process


async def transactions(world: LivingWorld) -> list[dict[str, Any]]:
    """What the gateway has."""
    listed: list[dict[str, Any]] = (await world.gateway("GET", "ledger"))["transactions"]
    return listed


@pytest.mark.parametrize("name", SILENCES)
async def test_one_authorization_or_none_after_a_silence(world: LivingWorld, name: str) -> None:
    """Faults F-G3, F-G4, F-G5, F-G8."""
    ends = P.FAILED if name in NOT_DONE else P.SETTLED
    story = service("service", "pm_ok", ends)

    await reported(
        world, story, match={"operation": "initiate", "times": EVERY_INLINE_CALL}, **SILENCES[name]
    )

    captured = [one["captured"] for one in await transactions(world)]
    alerts = [dict(row) for row in await world.owner.fetch(ALERTS)]
    assert captured == ([] if ends is P.FAILED else [1299])
    assert alerts == [
        {
            "kind": UNKNOWN,
            "status": "resolved",
            "resolution": f"The outcome became known; the payment is "
            f"{'Failed' if ends is P.FAILED else 'Authorized'}.",
        }
    ]


@pytest.mark.parametrize("name", SILENCES)
async def test_a_retry_that_is_heard_ends_the_silence(world: LivingWorld, name: str) -> None:
    ends = P.FAILED if name == "stores a 500 for the key" else P.SETTLED
    story = service("service", "pm_ok", ends)

    await reported(world, story, match={"operation": "initiate", "times": 2}, **SILENCES[name])

    assert [one["captured"] for one in await transactions(world)] == (
        [1299] if ends is P.SETTLED else []
    )


@pytest.mark.parametrize("name", SILENCES)
async def test_one_capture_after_a_silence(world: LivingWorld, name: str) -> None:
    """Fault F-S11."""
    await reported(
        world,
        STORIES["service"],
        match={"operation": "capture", "times": A_WHILE},
        **SILENCES[name],
    )

    [transaction] = await transactions(world)
    assert (transaction["captured"], transaction["charges_executed"]) == (1299, 1)


@pytest.mark.parametrize("name", SILENCES)
async def test_one_void_after_a_silence(world: LivingWorld, name: str) -> None:
    """Fault F-S8."""
    story = service("service", "pm_ok", P.VOIDED, REFUSES_ACTIVATION)

    await reported(world, story, match={"operation": "void", "times": A_WHILE}, **SILENCES[name])

    [transaction] = await transactions(world)
    assert (transaction["status"], transaction["captured"]) == ("voided", 0)


@pytest.mark.parametrize("name", SILENCES)
async def test_one_refund_after_a_silence(world: LivingWorld, name: str) -> None:
    """Fault F-S17, and the key that answers 500 for ever."""
    await reported(
        world,
        STORIES["refund"],
        match={"operation": "refund", "times": A_WHILE},
        **SILENCES[name],
    )

    ledger = await world.gateway("GET", "ledger")
    assert ledger["refunds"] == 1
    assert [one["refunded"] for one in ledger["transactions"]] == [1299]


@pytest.mark.parametrize("name", SILENCES)
async def test_the_vehicle_of_an_unknown_final_payment_is_held(
    world: LivingWorld, name: str
) -> None:
    """Fault F-F1: what was never sent is sent again, and nobody loses a car to a silence."""
    ends = order_ends(
        OrderState.DELIVERY_SCHEDULED, P.SETTLED, P.SETTLED, owners=1, partners={"deliveries": 1}
    )

    await reported(
        world,
        final("final", "pm_ok", ends),
        match={"operation": "initiate", "times": A_WHILE},
        **SILENCES[name],
    )

    finals = [one for one in await transactions(world) if one["captured"] == 2_900_000]
    assert len(finals) == 1
    assert await world.owner.fetchval(LOST) is None


@pytest.mark.parametrize("operation", ["initiate", "capture", "void"])
async def test_an_unknown_outcome_is_resolved_soon_after_the_gateway_is_well(
    world: LivingWorld, operation: str
) -> None:
    """However long the gateway was away, nobody waits much longer than half a minute after it."""
    process = await world.process()
    story = service(
        "service", "pm_ok", P.SETTLED, REFUSES_ACTIVATION if operation == "void" else None
    )
    request = await story.prepare(world, process)
    await world.gateway_fault({"operation": operation}, status=503)
    await world.gateway_fault({"operation": "find"}, status=503)

    await process.call(lambda: story.live(process.platform, request))
    for _ in range(60):
        await process.idle(0.01)
        await world.pass_time(30.0 / TIME_SCALE)
        await process.call(process.platform.jobs.run_due)
    during = await world.owner.fetchrow(OUTCOME, "service")
    await world.http.delete(f"{world.gateway_url}/_control/faults")
    healed = world.transitioned
    while (await world.owner.fetchrow(OUTCOME, "service"))["outcome"] == "unknown":
        await process.idle(0.01)
        await world.pass_time(1.0 / TIME_SCALE)
        await process.call(process.platform.jobs.run_due)
    took = (world.transitioned - healed) * TIME_SCALE

    assert during is not None
    assert during["outcome"] == "unknown"
    assert during["state"] == {"initiate": "Pending", "capture": "Capturing",
                               "void": "Authorized"}[operation]  # fmt: skip
    assert took <= timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class OtherCapabilities:
    """A gateway that says something else of itself."""

    gateway: PaymentGateway
    more: dict[str, Any]

    @property
    def capabilities(self) -> Any:
        return replace(self.gateway.capabilities, **self.more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.gateway, name)


class OtherAmounts(OtherCapabilities):
    """A gateway whose lookup shows another amount than was asked for."""

    def __init__(self, gateway: PaymentGateway) -> None:
        super().__init__(gateway, {})

    async def find_by_reference(
        self, reference: str, *, customer_reference: str
    ) -> tuple[GatewayTransaction, ...]:
        found = await self.gateway.find_by_reference(
            reference, customer_reference=customer_reference
        )
        return tuple(replace(one, amount=one.amount + 1) for one in found)


def of_itself(world: LivingWorld, **more: Any) -> None:
    """Let the gateway say this of itself, to processes that start from now on."""
    world.wrap_gateway = lambda gateway: OtherCapabilities(gateway, more)


async def test_nothing_is_sent_again_when_the_gateway_forgets_keys_sooner_than_we_retry(
    world: LivingWorld,
) -> None:
    """Fault F-G7: three retries made four authorizations of one payment."""
    of_itself(world, idempotency_key_lifetime=timedelta(seconds=0.05))

    await reported(
        world,
        STORIES["service"],
        match={"operation": "initiate", "times": 1},
        hang_after_apply=5.0,
        forget_keys_after_seconds=1.0,
    )

    calls = (await world.gateway("GET", "ledger"))["calls"]
    assert sum(call["count"] for call in calls if call["operation"] == "initiate") == 1


async def test_a_gateway_that_forgets_what_it_promised_to_remember_charges_once(
    world: LivingWorld,
) -> None:
    """It made a second authorization under our reference: one is kept, the other is given back."""
    process = await world.process()
    story = STORIES["service"]
    request = await story.prepare(world, process)
    await world.gateway_fault(
        {"operation": "initiate", "times": 2}, hang_after_apply=5.0, forget_keys_after_seconds=0.1
    )
    await world.gateway_fault({"operation": "initiate", "times": 2}, status=503)

    await process.call(lambda: story.live(process.platform, request))
    await until_quiet(world, process)

    found = sorted(one["status"] for one in await transactions(world))
    cases = {row["kind"]: row["status"] for row in await world.owner.fetch(CASES)}
    assert found == ["settled", "voided"]
    assert cases["duplicate_transaction"] == "resolved"
    assert await story.ends(world, request) == []


async def test_without_a_lookup_the_same_key_is_asked_again(world: LivingWorld) -> None:
    of_itself(world, lookup_by_reference=False)
    await world.gateway_fault({"operation": "find"}, no_lookup=501)

    await reported(
        world,
        STORIES["service"],
        match={"operation": "initiate", "times": EVERY_INLINE_CALL},
        **SILENCES["applies and hangs"],
    )

    assert [one["captured"] for one in await transactions(world)] == [1299]


async def test_a_lookup_that_is_promised_and_not_there_is_done_without(world: LivingWorld) -> None:
    await world.gateway_fault({"operation": "find"}, no_lookup=404)

    await reported(
        world,
        STORIES["service"],
        match={"operation": "initiate", "times": EVERY_INLINE_CALL},
        **SILENCES["applies and hangs"],
    )

    assert [one["captured"] for one in await transactions(world)] == [1299]


@pytest.mark.parametrize("more", [{"wrong_amount": True}, {"wrong_currency": True},
                                  {"wrong_transaction": True}, {"html_200": True}])  # fmt: skip
async def test_an_answer_that_is_not_to_our_question_is_looked_up(
    world: LivingWorld, more: dict[str, object]
) -> None:
    """Fault F-G14."""
    await reported(world, STORIES["service"], match={"operation": "initiate", "times": 1}, **more)

    assert [one["captured"] for one in await transactions(world)] == [1299]


async def test_a_gateway_that_keeps_contradicting_itself_moves_nothing(world: LivingWorld) -> None:
    world.wrap_gateway = OtherAmounts
    process = await world.process()
    request = await STORIES["service"].prepare(world, process)
    await world.gateway_fault({"operation": "initiate"}, wrong_amount=True)

    await process.call(lambda: STORIES["service"].live(process.platform, request))
    for _ in range(20):
        await process.idle(0.01)
        await world.pass_time(30.0 / TIME_SCALE)
        await process.call(process.platform.jobs.run_due)

    payment = await world.owner.fetchrow(OUTCOME, "service")
    cases = {row["kind"] for row in await world.owner.fetch("select kind from caas.cases")}
    assert payment is not None
    assert tuple(payment) == ("Pending", "unknown")
    assert {UNKNOWN, "gateway_contradiction"} <= cases
    assert not world.fleet.cars[VIN].services


async def test_a_decline_code_nobody_knows_decides_nothing(world: LivingWorld) -> None:
    """Fault F-G15."""
    process = await world.process()
    story = service("service", "pm_unrecognised", P.FAILED)
    request = await story.prepare(world, process)

    await process.call(lambda: story.live(process.platform, request))
    for _ in range(20):
        await process.idle(0.01)
        await world.pass_time(30.0 / TIME_SCALE)
        await process.call(process.platform.jobs.run_due)

    payment = await world.owner.fetchrow(OUTCOME, "service")
    calls = (await world.gateway("GET", "ledger"))["calls"]
    cases = {row["kind"] for row in await world.owner.fetch("select kind from caas.cases")}
    assert payment is not None
    assert tuple(payment) == ("Pending", "unknown")
    assert sum(call["count"] for call in calls if call["operation"] == "initiate") == 1
    assert cases == {UNKNOWN}


async def test_a_worker_whose_first_try_was_lost_never_takes_the_others_for_the_whole(
    world: LivingWorld,
) -> None:
    """Charged and Failed: of four tries the first was applied unheard, the others never left."""
    process = await world.process()
    story = STORIES["service"]
    request = replace(await story.prepare(world, process), respond_async=True)
    await world.gateway_fault({"operation": "initiate", "times": 1}, hang_after_apply=5.0)
    recorded = process.platform.payment_processing._charges.gateways.named("contract")
    await process.call(lambda: story.live(process.platform, request))
    await process.call(process.platform.jobs.run_due)
    http = recorded._gateway._http  # type: ignore[attr-defined]
    port, http._port = http._port, 1  # nobody listens there
    for _ in range(40):
        await process.idle(0.01)
        await world.pass_time(8.0 / TIME_SCALE)
        await process.call(process.platform.jobs.run_due)
    during = await world.owner.fetchrow(OUTCOME, "service")
    http._port = port
    await until_quiet(world, process)

    assert during is not None
    assert tuple(during) == ("Pending", "unknown")
    assert await story.ends(world, request) == []
    assert await differences(world) == []


async def test_a_request_that_the_gateway_will_not_even_try_fails_without_a_decline(
    world: LivingWorld,
) -> None:
    """It stayed Pending for ever, parked for a person after eight attempts."""
    story = replace(service("service", "pm_ok", P.FAILED), cases=frozenset({"gateway_refuses"}))

    await reported(world, story, match={"operation": "initiate"}, status=422, code="invalid_amount")


async def test_a_final_payment_that_the_gateway_will_not_try_keeps_its_vehicle(
    world: LivingWorld,
) -> None:
    """The gateway's key was rotated: the customer pays again later, or withdraws."""
    ends = order_ends(OrderState.READY, P.SETTLED, P.FAILED, owners=1, partners={"deliveries": 0})
    story = final("final", "pm_ok", ends, frozenset({"gateway_refuses"}))

    await reported(
        world,
        story,
        match={"operation": "initiate", "times": 3},
        status=401,
        code="unauthorized",
    )

    assert await world.owner.fetchval(LOST) is None
