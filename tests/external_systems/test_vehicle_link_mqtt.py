"""What only the MQTT link goes through: brokers that are away, lost, silent, strange, shared."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import mqtt5
import pytest

from caas.errors import StartupError
from caas.external_systems import mqtt_connection, vehicle_messages
from caas.external_systems.acknowledgement_inbox import OnReturn
from caas.external_systems.iot_gateway import (
    AcknowledgementStatus,
    MqttVehicleLink,
    VehicleCommandUnconfirmedError,
    VehicleLinkUnavailableError,
    client_id_of,
)
from caas.external_systems.local_broker import LocalBroker, start_local_broker
from caas.external_systems.mqtt_connection import MqttConnection
from caas.external_systems.mqtt_packets import BrokerAddress, MqttSession, Publication
from caas_simulators.vehicle_connection import Gateway
from caas_simulators.vehicle_fleet import Fleet
from tests.cars import COMMAND_KEYS, KNOWN_TO_VEHICLES
from tests.external_systems import scripted_broker as script
from tests.external_systems.certificates import server_tls
from tests.external_systems.scripted_broker import Reaction, ScriptedBroker, scripted_broker
from tests.external_systems.vehicle_world import VIN, Recorder, command, now
from tests.mqtt_broker import PROGRAMS
from tests.mqtt_broker import broker as broker  # noqa: PLC0414  # A fixture.

SUCCEEDED = AcknowledgementStatus.SUCCEEDED

DYING_PROCESS = """
import asyncio, sys
from datetime import UTC, datetime
from caas.external_systems.iot_gateway import MqttVehicleLink
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys

async def main():
    async def never_done(acknowledgement):
        print(acknowledgement.command_id, flush=True)
        await asyncio.Event().wait()
    link = MqttVehicleLink(sys.argv[1], client_id="caas-1", now=lambda: datetime.now(UTC),
                           command_keys=VehicleCommandKeys([bytes(32)]), on_refused=print)
    await link.start(never_done)
    print("listening", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as one:
        yield one


async def fleet_at(url: str, stack: AsyncExitStack) -> Fleet:
    fleet = Fleet(seed=1, command_keys=KNOWN_TO_VEHICLES)
    fleet.add(VIN)
    gateway = Gateway(url, fleet, client_id="cars")
    stack.push_async_callback(gateway.close)
    await gateway.start()
    return fleet


async def link_to(
    url: str,
    recorder: Recorder,
    stack: AsyncExitStack,
    client_id: str = "caas-1",
    on_return: OnReturn | None = None,
) -> MqttVehicleLink:
    link = MqttVehicleLink(
        url, client_id=client_id, now=now, command_keys=COMMAND_KEYS, on_refused=recorder.refuse
    )
    stack.push_async_callback(link.close)
    await link.start(recorder.acknowledge, on_return)
    return link


async def raw_client(
    url: str, came: list[mqtt5.PublishPacket], stack: AsyncExitStack, client_id: str = "raw"
) -> MqttConnection:
    def keep(connection: MqttConnection, packet: mqtt5.PublishPacket) -> None:
        came.append(packet)
        assert packet.packet_id is not None
        connection.acknowledge(packet.packet_id)

    session = MqttSession(client_id=client_id, expiry_seconds=0, unhandled_max=10)
    connection = await mqtt_connection.connect(BrokerAddress.from_url(url), session, keep)
    stack.push_async_callback(connection.close)
    return connection


def publication(topic: str, payload: bytes) -> Publication:
    return Publication(
        topic=topic, payload=payload, expiry_seconds=60, response_topic="none", correlation_data=b""
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_command_carries_its_expiry_its_correlation_and_where_to_answer(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    came: list[mqtt5.PublishPacket] = []
    raw = await raw_client(broker.fleet_url, came, stack)
    await raw.subscribe("caas/v1/vehicles/+/commands/+/request")
    link = await link_to(broker.url, Recorder(), stack)

    await link.send(command(deadline=now() + timedelta(seconds=30)))
    await until(lambda: bool(came))

    (packet,) = came
    assert packet.topic == f"caas/v1/vehicles/{VIN}/commands/command-1/request"
    assert packet.qos is mqtt5.QoS.AT_LEAST_ONCE
    assert not packet.retain
    assert packet.message_expiry_interval in (29, 30)
    assert packet.correlation_data == b"command-1"
    assert packet.response_topic == f"caas/v1/vehicles/{VIN}/commands/command-1/response"


async def test_a_process_killed_before_it_recorded_an_acknowledgement_gets_it_again(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    await fleet_at(broker.fleet_url, stack)
    doomed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DYING_PROCESS, broker.url, stdout=asyncio.subprocess.PIPE
    )
    assert doomed.stdout is not None
    while b"listening" not in await doomed.stdout.readline():
        pass
    sender: list[mqtt5.PublishPacket] = []
    raw = await raw_client(broker.url, sender, stack)
    request = vehicle_messages.request_topic(VIN, "command-1")
    await raw.publish(
        publication(request, vehicle_messages.encode_command(command(), COMMAND_KEYS))
    )
    while b"command-1" not in await doomed.stdout.readline():
        pass

    doomed.send_signal(signal.SIGKILL)
    await doomed.wait()
    recorder = Recorder()
    await link_to(broker.url, recorder, stack)

    await recorder.has(2)
    assert SUCCEEDED in recorder.statuses


async def test_a_recorded_acknowledgement_does_not_come_again(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    await fleet_at(broker.fleet_url, stack)
    first, second = Recorder(), Recorder()
    link = await link_to(broker.url, first, stack)
    await link.send(command(1))
    await first.has(2)
    await link.close()

    again = await link_to(broker.url, second, stack)
    await again.send(command(2))
    await second.has(2)

    assert {one.command_id for one in second.came} == {"command-2"}


async def test_acknowledgements_that_came_while_we_were_away_are_delivered(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    fleet = await fleet_at(broker.fleet_url, stack)
    fleet.latency_seconds = 0.3
    first, second = Recorder(), Recorder()
    link = await link_to(broker.url, first, stack)
    await link.send(command())
    await link.close()
    await asyncio.sleep(0.5)

    await link_to(broker.url, second, stack)

    await second.until(lambda recorder: SUCCEEDED in recorder.statuses)


async def test_two_processes_share_the_acknowledgements_and_none_is_handled_twice(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    await fleet_at(broker.fleet_url, stack)
    first, second = Recorder(), Recorder()
    link = await link_to(broker.url, first, stack, "caas-1")
    await link_to(broker.url, second, stack, "caas-2")

    for number in range(1, 21):
        await link.send(command(number))
    await until(lambda: len(first.came) + len(second.came) == 40)

    stated = [(one.command_id, one.status) for one in (*first.came, *second.came)]
    assert len(set(stated)) == 40
    assert first.came
    assert second.came


async def test_a_dead_process_has_no_share_once_its_session_is_ended(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    """Half of the answers went to it for a minute."""
    await fleet_at(broker.fleet_url, stack)
    gone = await link_to(broker.url, Recorder(), stack, client_id_of("here:1"))
    await gone.close()
    recorder = Recorder()
    link = await link_to(broker.url, recorder, stack, client_id_of("here:2"))

    await link.end_sessions_of(["here:1", "here:2", "here:3"])
    for number in range(1, 11):
        await link.send(command(number))
    await recorder.has(20)

    assert {one.command_id for one in recorder.came} == {f"command-{n}" for n in range(1, 11)}
    assert link.connected


async def test_a_broker_that_is_away_at_the_start_is_found_when_it_comes(
    stack: AsyncExitStack,
) -> None:
    async with scripted_broker(ScriptedBroker(script.confirm)) as gone:
        pass
    link = await link_to(gone.url, Recorder(), stack)

    with pytest.raises(VehicleLinkUnavailableError) as raised:
        await link.send(command())
    assert type(raised.value) is VehicleLinkUnavailableError

    async with scripted_broker(ScriptedBroker(script.confirm, port=gone.port)):
        await until(lambda: link.connected)
        await link.send(command())


async def test_a_broker_that_was_killed_is_found_again_with_the_same_session(
    stack: AsyncExitStack,
) -> None:
    """Whoever waits for it is told of its return, once."""
    returns: list[bool] = []

    async def count() -> None:
        returns.append(link.connected)

    async with scripted_broker(ScriptedBroker(script.confirm)) as first:
        link = await link_to(first.url, Recorder(), stack, on_return=count)
        await link.send(command(1))
        assert returns == []
    await until(lambda: not link.connected)

    async with scripted_broker(ScriptedBroker(script.confirm, port=first.port)) as second:
        await until(lambda: link.connected)
        await link.send(command(2))
        await until(lambda: returns == [True])

    connects = [one for one in second.packets if isinstance(one, mqtt5.ConnectPacket)]
    assert (connects[0].client_id, connects[0].clean_start) == ("caas-1", False)
    assert connects[0].session_expiry_interval > 0


async def test_link_and_cars_find_a_restarted_mosquitto_and_lose_nothing_it_had(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    first = await start_local_broker(tmp_path, programs=PROGRAMS)
    assert isinstance(first, LocalBroker)
    fleet, recorder = await fleet_at(first.fleet_url, stack), Recorder()
    link = await link_to(first.url, recorder, stack)
    recorder.failures_to_come = 2  # Both acknowledgements stay in the broker, unconfirmed.
    await link.send(command())
    await until(lambda: recorder.failures_to_come == 0)

    await first.stop()
    await until(lambda: not link.connected)
    second = await start_local_broker(tmp_path, port=first.port, programs=PROGRAMS)
    assert isinstance(second, LocalBroker)
    stack.push_async_callback(second.stop)

    await recorder.has(2)
    assert fleet.cars[VIN].services["heated-seats"].applications == 1


@pytest.mark.parametrize("reaction", [script.hang_up, script.keep_silent, script.talk_nonsense])
async def test_a_broker_lost_after_it_was_told_leaves_the_command_unconfirmed(
    reaction: Reaction, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_connection, "ANSWER_SECONDS_MAX", 0.3)
    broken = await stack.enter_async_context(scripted_broker(ScriptedBroker(reaction)))
    link = await link_to(broken.url, Recorder(), stack)

    with pytest.raises(VehicleCommandUnconfirmedError):
        await link.send(command())

    broken.on_publish = script.confirm
    await until(lambda: len(broken.clients) == 2 and link.connected)
    await link.send(command())


@pytest.mark.parametrize("reaction", [script.find_nobody, script.refuse])
async def test_a_command_the_broker_does_not_pass_on_is_known_not_sent(
    reaction: Reaction, stack: AsyncExitStack
) -> None:
    unwilling = await stack.enter_async_context(scripted_broker(ScriptedBroker(reaction)))
    link = await link_to(unwilling.url, Recorder(), stack)

    with pytest.raises(VehicleLinkUnavailableError) as raised:
        await link.send(command())

    assert type(raised.value) is VehicleLinkUnavailableError


async def test_mosquitto_tells_when_nobody_listens_for_a_vehicle(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    link = await link_to(broker.url, Recorder(), stack)

    with pytest.raises(VehicleLinkUnavailableError, match="not connected"):
        await link.send(command())


async def test_a_wrong_password_keeps_the_link_closed(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    link = await link_to(f"mqtt://caas:wrong@127.0.0.1:{broker.port}", Recorder(), stack)

    assert not link.connected
    with pytest.raises(VehicleLinkUnavailableError):
        await link.send(command())


async def test_no_more_commands_are_in_flight_than_the_broker_allows(
    stack: AsyncExitStack,
) -> None:
    slow = ScriptedBroker(script.keep_silent, receive_max=3)
    await stack.enter_async_context(scripted_broker(slow))
    link = await link_to(slow.url, Recorder(), stack)

    def sent() -> list[mqtt5.PublishPacket]:
        return [one for one in slow.packets if isinstance(one, mqtt5.PublishPacket)]

    sending = [asyncio.ensure_future(link.send(command(number))) for number in range(1, 6)]
    await until(lambda: len(sent()) == 3)
    slow.on_publish = script.confirm
    for packet in sent():
        script.confirm(slow.clients[0], packet)
    await asyncio.gather(*sending)

    assert len(sent()) == 5


async def test_a_lost_connection_wakes_whoever_waits_for_the_window(
    stack: AsyncExitStack,
) -> None:
    slow = ScriptedBroker(script.keep_silent, receive_max=1)
    await stack.enter_async_context(scripted_broker(slow))
    link = await link_to(slow.url, Recorder(), stack)
    sending = [asyncio.ensure_future(link.send(command(number))) for number in range(1, 4)]
    await until(lambda: any(isinstance(one, mqtt5.PublishPacket) for one in slow.packets))

    slow.clients[0].transport.abort()
    async with asyncio.timeout(mqtt_connection.ANSWER_SECONDS_MAX / 2):
        ended = await asyncio.gather(*sending, return_exceptions=True)

    assert type(ended[0]) is VehicleCommandUnconfirmedError
    assert [type(one) for one in ended[1:]] == [VehicleLinkUnavailableError] * 2


async def test_a_broker_that_falls_silent_is_left_and_found_again(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_connection, "CHECK_SECONDS", 0.1)
    silent = await stack.enter_async_context(scripted_broker(ScriptedBroker(script.confirm)))
    await link_to(silent.url, Recorder(), stack)

    await until(lambda: len(silent.clients) >= 2)


async def test_a_message_beyond_our_size_is_refused_and_the_link_lives_on(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    await fleet_at(broker.fleet_url, stack)
    recorder = Recorder()
    link = await link_to(broker.url, recorder, stack)
    raw = await raw_client(broker.fleet_url, [], stack)
    topic = vehicle_messages.response_topic(VIN, "command-9")

    await raw.publish(publication(topic, b"x" * 10_000))
    await raw.publish(publication(topic, b"x" * 40_000))
    await link.send(command())
    await recorder.until(lambda one: SUCCEEDED in one.statuses)

    assert [refused for refused, _ in recorder.refused] == [topic]
    assert "8192 bytes" in recorder.refused[0][1]


async def test_a_handler_that_never_succeeds_is_given_up_and_told(
    broker: LocalBroker, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caas.external_systems.acknowledgement_inbox.WAIT_SECONDS", (0.001, 0.002))
    fleet = await fleet_at(broker.fleet_url, stack)
    fleet.reports_in_progress = False
    recorder = Recorder(failures_to_come=10)
    link = await link_to(broker.url, recorder, stack)

    await link.send(command(1))
    await recorder.until(lambda one: bool(one.refused))
    await link.send(command(2))
    await recorder.has(1)

    assert "Given up after 10 attempts" in recorder.refused[0][1]
    assert [one.command_id for one in recorder.came] == ["command-2"]


async def test_a_command_waits_in_the_broker_for_cars_that_are_away_but_not_past_its_deadline(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    fleet, recorder = Fleet(seed=1, command_keys=KNOWN_TO_VEHICLES), Recorder()
    fleet.add(VIN)
    before = Gateway(broker.fleet_url, fleet, client_id="cars")
    await before.start()
    link = await link_to(broker.url, recorder, stack)
    await before.close()

    await link.send(command(1, service="short-lived", deadline=now() + timedelta(seconds=0.5)))
    await link.send(command(2))
    await asyncio.sleep(2.5)  # mosquitto counts in whole seconds, and may be one late.
    after = Gateway(broker.fleet_url, fleet, client_id="cars")
    stack.push_async_callback(after.close)
    await after.start()
    await recorder.has(2)

    assert {one.command_id for one in recorder.came} == {"command-2"}
    assert fleet.cars[VIN].commands == 1


async def test_thousands_of_cars_answer_through_one_broker_and_none_is_lost(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    fleet, recorder = await fleet_at(broker.fleet_url, stack), Recorder()
    fleet.add_many(3000)
    link = await link_to(broker.url, recorder, stack)

    await asyncio.gather(
        *(link.send(command(number, vin=vin)) for number, vin in enumerate(fleet.cars))
    )
    await recorder.has(2 * len(fleet.cars))

    done = [one.vin for one in recorder.came if one.status is SUCCEEDED]
    assert sorted(done) == sorted(fleet.cars)


async def test_over_tls_a_broker_is_believed_only_with_a_certificate_that_is_trusted(
    stack: AsyncExitStack,
) -> None:
    pair = server_tls()
    listening = await stack.enter_async_context(
        scripted_broker(ScriptedBroker(script.confirm), pair.server)
    )
    url = f"mqtts://localhost:{listening.port}"
    doubting = await link_to(url, Recorder(), stack)
    trusting = MqttVehicleLink(
        url,
        client_id="caas-2",
        now=now,
        command_keys=COMMAND_KEYS,
        on_refused=Recorder().refuse,
        tls_context=pair.client,
    )
    stack.push_async_callback(trusting.close)
    await trusting.start(Recorder().acknowledge)

    await trusting.send(command())
    assert not doubting.connected


@pytest.mark.parametrize("url", ["http://broker:1883", "mqtt://", "broker:1883", ""])
def test_an_address_that_is_no_brokers_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(StartupError, match="mqtt://host:1883"):
        BrokerAddress.from_url(url)


def test_a_brokers_address_is_shown_without_its_password() -> None:
    address = BrokerAddress.from_url("mqtts://caas:s%2Fecret@broker.example")

    assert address.password == "s/ecret"
    assert (address.port, address.tls) == (8883, True)
    assert "ecret" not in repr(address)
