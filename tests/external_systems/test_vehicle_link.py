"""The contract of the vehicle link, held by both of its adapters."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from caas.external_systems.in_process_vehicle_link import InProcessVehicleLink
from caas.external_systems.iot_gateway import (
    AcknowledgementStatus,
    CommandDeadlinePassedError,
    MqttVehicleLink,
    VehicleLinkUnavailableError,
)
from caas.external_systems.local_broker import LocalBroker
from caas_simulators.vehicle_car import Behaviour, Manner
from caas_simulators.vehicle_connection import Gateway
from caas_simulators.vehicle_fleet import Fleet
from tests.cars import COMMAND_KEYS, KNOWN_TO_VEHICLES
from tests.external_systems.vehicle_world import VIN, Recorder, World, command, now
from tests.mqtt_broker import broker as broker  # noqa: PLC0414  # A fixture.

IN_PROGRESS = AcknowledgementStatus.IN_PROGRESS
SUCCEEDED = AcknowledgementStatus.SUCCEEDED
FAILED = AcknowledgementStatus.FAILED
REJECTED = AcknowledgementStatus.REJECTED


@pytest.fixture
async def over_mqtt(broker: LocalBroker) -> AsyncIterator[World]:
    fleet, recorder = Fleet(seed=1, command_keys=KNOWN_TO_VEHICLES), Recorder()
    fleet.add(VIN)
    gateway = Gateway(broker.fleet_url, fleet, client_id="cars")
    await gateway.start()
    link = MqttVehicleLink(
        broker.url,
        client_id="caas-1",
        now=now,
        command_keys=COMMAND_KEYS,
        on_refused=recorder.refuse,
    )
    await link.start(recorder.acknowledge)
    yield World(link, fleet, recorder)
    await link.close()
    await gateway.close()


@pytest.fixture
async def in_process() -> AsyncIterator[World]:
    fleet, recorder = Fleet(seed=1, command_keys=KNOWN_TO_VEHICLES), Recorder()
    fleet.add(VIN)
    link = InProcessVehicleLink(
        fleet, now=now, command_keys=COMMAND_KEYS, on_refused=recorder.refuse
    )
    await link.start(recorder.acknowledge)
    yield World(link, fleet, recorder)
    await link.close()


@pytest.fixture(params=["over_mqtt", "in_process"])
def world(request: pytest.FixtureRequest) -> World:
    """Stand at one end of each link in turn."""
    stage = request.getfixturevalue(request.param)
    assert isinstance(stage, World)
    return stage


async def test_a_command_is_applied_and_acknowledged_with_the_cars_signature(world: World) -> None:
    await world.link.send(command())
    await world.recorder.has(2)

    assert sorted(world.recorder.statuses) == [IN_PROGRESS, SUCCEEDED]
    for acknowledgement in world.recorder.came:
        assert world.signed_by_the_car(acknowledgement)
        assert acknowledgement.vin == VIN
        assert acknowledgement.command_id == "command-1"
        assert acknowledgement.epoch == 1
        assert acknowledgement.payment_id == "payment-1"
        assert acknowledgement.service == "heated-seats"
        assert abs(acknowledgement.at - now()) < timedelta(minutes=1)
    service = world.fleet.cars[VIN].services["heated-seats"]
    assert (service.active, service.payment_id, service.applications) == (True, "payment-1", 1)


async def test_a_command_sent_again_is_applied_once_and_answered_again(world: World) -> None:
    await world.link.send(command())
    await world.link.send(command())
    await world.recorder.has(4)

    assert world.recorder.statuses.count(SUCCEEDED) == 2
    assert world.fleet.cars[VIN].services["heated-seats"].applications == 1
    first, second = (one for one in world.recorder.came if one.status is SUCCEEDED)
    assert (first.at_text, first.signature) == (second.at_text, second.signature)


async def test_a_deactivation_ends_the_service(world: World) -> None:
    await world.link.send(command(1))
    await world.link.send(command(2, action="deactivate"))
    await world.recorder.has(4)

    assert not world.fleet.cars[VIN].services["heated-seats"].active


async def test_an_older_epoch_is_rejected_after_a_newer_one(world: World) -> None:
    await world.link.send(command(2, action="deactivate"))
    await world.recorder.has(2)
    await world.link.send(command(1))
    await world.recorder.has(3)

    assert world.recorder.statuses[-1] is REJECTED
    assert not world.fleet.cars[VIN].services["heated-seats"].active


@pytest.mark.parametrize(
    ("behaviour", "status"), [(Behaviour.REFUSES, REJECTED), (Behaviour.FAILS, FAILED)]
)
async def test_a_command_that_was_not_applied_says_why_and_can_be_tried_again(
    world: World, behaviour: Behaviour, status: AcknowledgementStatus
) -> None:
    world.fleet.add(VIN, Manner(behaviour, reason="ignition is on", times=1))

    await world.link.send(command())
    await world.recorder.has(1)
    await world.link.send(command())
    await world.recorder.has(3)

    refusal = world.recorder.came[0]
    assert (refusal.status, refusal.status_reason) == (status, "ignition is on")
    assert world.signed_by_the_car(refusal)
    assert SUCCEEDED in world.recorder.statuses[1:]


@pytest.mark.parametrize("behaviour", [Behaviour.FORGES, Behaviour.FOREIGN_KEY])
async def test_a_signature_that_is_not_the_cars_is_seen(world: World, behaviour: Behaviour) -> None:
    world.fleet.add(VIN, Manner(behaviour))

    await world.link.send(command())
    await world.recorder.until(lambda recorder: SUCCEEDED in recorder.statuses)

    forged = next(one for one in world.recorder.came if one.status is SUCCEEDED)
    assert not world.signed_by_the_car(forged)


async def test_a_well_signed_acknowledgement_of_another_payment_says_so(world: World) -> None:
    world.fleet.add(VIN, Manner(Behaviour.WRONG_PAYMENT))

    await world.link.send(command())
    await world.recorder.until(lambda recorder: SUCCEEDED in recorder.statuses)

    wrong = next(one for one in world.recorder.came if one.status is SUCCEEDED)
    assert world.signed_by_the_car(wrong)
    assert wrong.payment_id == "not-payment-1"


async def test_a_well_signed_acknowledgement_of_the_epoch_before_says_so(world: World) -> None:
    world.fleet.add(VIN, Manner(Behaviour.OLD_EPOCH))

    await world.link.send(command(7))
    await world.recorder.until(lambda recorder: SUCCEEDED in recorder.statuses)

    old = next(one for one in world.recorder.came if one.status is SUCCEEDED)
    assert world.signed_by_the_car(old)
    assert old.epoch == 6


async def test_a_sleeping_car_takes_when_woken_what_has_not_expired(world: World) -> None:
    car = world.fleet.add(VIN, Manner(Behaviour.ASLEEP))
    soon = command(1, service="short-lived", deadline=now() + timedelta(seconds=0.5))
    await world.link.send(soon)
    await world.link.send(command(2))
    async with asyncio.timeout(120):
        while len(car.asleep) < 2 or car.asleep[0][0] > time.time():
            await asyncio.sleep(0.01)

    world.fleet.wake(car)
    await world.recorder.has(2)

    assert {one.command_id for one in world.recorder.came} == {"command-2"}
    assert car.expired == 1
    assert not world.fleet.cars[VIN].services.get("short-lived")


async def test_a_command_past_its_deadline_is_not_sent(world: World) -> None:
    with pytest.raises(CommandDeadlinePassedError):
        await world.link.send(command(deadline=now() - timedelta(seconds=1)))

    await world.link.send(command(2))
    await world.recorder.has(2)
    assert world.fleet.cars[VIN].commands == 1


async def test_a_closed_link_sends_nothing(world: World) -> None:
    await world.link.close()

    with pytest.raises(VehicleLinkUnavailableError):
        await world.link.send(command())

    assert world.fleet.cars[VIN].commands == 0


async def test_an_acknowledgement_whose_recording_fails_is_handled_again(world: World) -> None:
    world.recorder.failures_to_come = 3

    await world.link.send(command())
    await world.recorder.has(2)

    assert sorted(world.recorder.statuses) == [IN_PROGRESS, SUCCEEDED]


async def test_nonsense_on_a_response_topic_is_refused_and_the_link_lives_on(
    world: World,
) -> None:
    say = world.fleet._publish
    assert say is not None
    topic = f"caas/v1/vehicles/{VIN}/commands/command-9/response"

    say(topic, b"\xff not json")
    say(topic, b"{}")
    say(topic, b'{"command_id": "another"}' + b" " * 10_000)
    say(f"caas/v1/vehicles/{VIN} |/commands/command-9/response", b"{}")
    await world.recorder.until(lambda recorder: len(recorder.refused) == 4)
    await world.link.send(command())
    await world.recorder.has(2)

    assert [topic for topic, _ in world.recorder.refused[:3]] == [topic] * 3
    assert SUCCEEDED in world.recorder.statuses


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Behaviour.OBEYS, [IN_PROGRESS, SUCCEEDED]),
        (Behaviour.TWICE, [IN_PROGRESS, SUCCEEDED, SUCCEEDED]),
        (Behaviour.EARLY, [SUCCEEDED]),
        (Behaviour.REVERSED, [SUCCEEDED, IN_PROGRESS]),
    ],
)
async def test_a_car_answers_in_its_own_way(
    world: World, behaviour: Behaviour, expected: list[AcknowledgementStatus]
) -> None:
    world.fleet.add(VIN, Manner(behaviour))

    await world.link.send(command())
    await world.recorder.has(len(expected))
    world.fleet.add(VIN, Manner(Behaviour.REFUSES))
    await world.link.send(command(2))
    await world.recorder.until(lambda recorder: REJECTED in recorder.statuses)

    assert world.recorder.statuses == [*expected, REJECTED]


async def test_a_silent_car_applies_and_says_nothing_until_it_is_well(world: World) -> None:
    world.fleet.add(VIN, Manner(Behaviour.SILENT, times=1))

    await world.link.send(command())
    await world.link.send(command())
    await world.recorder.has(2)

    assert sorted(world.recorder.statuses) == [IN_PROGRESS, SUCCEEDED]
    assert world.fleet.cars[VIN].services["heated-seats"].applications == 1


async def test_a_late_car_has_applied_long_before_it_says_so(world: World) -> None:
    world.fleet.add(VIN, Manner(Behaviour.LATE, delay_seconds=0.3))

    await world.link.send(command())
    await world.recorder.has(1)

    assert world.recorder.statuses == [IN_PROGRESS]
    assert world.fleet.cars[VIN].services["heated-seats"].active
    await world.recorder.has(2)
    assert world.recorder.statuses == [IN_PROGRESS, SUCCEEDED]
