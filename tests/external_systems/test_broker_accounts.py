"""Who may say and hear what at the local broker: a real mosquitto with an account per vehicle."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import mqtt5
import pytest

from caas.errors import StartupError
from caas.external_systems import broker_process, mqtt_connection
from caas.external_systems.broker_process import NoVehicleNameError
from caas.external_systems.local_broker import LocalBroker, start_local_broker, vehicle_account
from caas.external_systems.mqtt_connection import MqttConnection
from caas.external_systems.mqtt_packets import (
    BrokerAddress,
    BrokerUnavailableError,
    MqttSession,
    Publication,
)
from caas.external_systems.vehicle_messages import request_topic, response_topic
from tests.mqtt_broker import PROGRAMS
from tests.mqtt_broker import broker as broker  # noqa: PLC0414  # A fixture.
from tests.start_up.conftest import Machine

MINE, ANOTHER = "WVWZZZ1JZXW000001", "WVWZZZ1JZXW000002"


class Client:
    """One client of the broker, and the topics of what it heard."""

    def __init__(self) -> None:
        """Have heard nothing yet."""
        self.applied: list[str] = []
        self.connection: MqttConnection

    async def publish(self, topic: str) -> bool:
        """Say something; False when the broker does not allow it."""
        stated = Publication(
            topic=topic, payload=b"{}", expiry_seconds=60, response_topic="none",
            correlation_data=b"",
        )  # fmt: skip
        try:
            await self.connection.publish(stated)
        except BrokerUnavailableError as error:
            if "NOT_AUTHORIZED" not in error.sentence:
                raise
            return False
        return True

    async def hears(self, condition: Callable[[list[str]], bool]) -> None:
        """Wait until what came satisfies the condition."""
        async with asyncio.timeout(120):
            while not condition(self.applied):
                await asyncio.sleep(0.01)

    def keep(self, connection: MqttConnection, packet: mqtt5.PublishPacket) -> None:
        """Take in a message."""
        self.applied.append(packet.topic)
        if packet.packet_id is not None:
            connection.acknowledge(packet.packet_id)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as one:
        yield one


async def client(stack: AsyncExitStack, url: str, *filters: str) -> Client:
    one = Client()
    name = BrokerAddress.from_url(url).username or "nobody"
    session = MqttSession(client_id=f"test-{name}", expiry_seconds=0, unhandled_max=10)
    one.connection = await mqtt_connection.connect(BrokerAddress.from_url(url), session, one.keep)
    stack.push_async_callback(one.connection.close)
    for wanted in filters:
        await one.connection.subscribe(wanted)
    return one


async def vehicle(stack: AsyncExitStack, broker: LocalBroker, vin: str) -> Client:
    return await client(stack, await vehicle_account(broker.folder.parent, vin), "#")


async def test_a_vehicle_answers_its_own_commands_and_hears_nobody_elses(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    platform = await client(stack, broker.url, "caas/v1/vehicles/+/commands/+/response")
    car = await vehicle(stack, broker, MINE)

    assert await platform.publish(request_topic(ANOTHER, "c1"))
    assert await platform.publish(request_topic(MINE, "c2"))
    assert await car.publish(response_topic(MINE, "c2"))

    await platform.hears(bool)
    await car.hears(bool)
    assert platform.applied == [response_topic(MINE, "c2")]
    assert car.applied == [request_topic(MINE, "c2")]


@pytest.mark.parametrize(
    "topic",
    [
        request_topic(MINE, "c1"), request_topic(ANOTHER, "c1"), response_topic(ANOTHER, "c1"),
        "caas/v1/vehicles", "anything", f"caas/v1/vehicles/{MINE}/commands/c1/response/more",
    ],
)  # fmt: skip
async def test_a_vehicle_publishes_nothing_but_its_own_responses(
    broker: LocalBroker, stack: AsyncExitStack, topic: str
) -> None:
    listener = await client(stack, broker.url, "caas/v1/vehicles/+/commands/+/+")
    car = await vehicle(stack, broker, MINE)

    assert not await car.publish(topic)

    assert await car.publish(response_topic(MINE, "c9"))
    await listener.hears(bool)
    assert listener.applied == [response_topic(MINE, "c9")]


async def test_a_vehicle_hears_no_response_not_even_its_own(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    platform = await client(stack, broker.url, "caas/v1/vehicles/+/commands/+/response")
    car = await vehicle(stack, broker, MINE)
    other = await vehicle(stack, broker, ANOTHER)

    assert await other.publish(response_topic(ANOTHER, "c1"))
    assert await car.publish(response_topic(MINE, "c2"))
    await platform.hears(lambda applied: len(applied) == 2)
    assert await platform.publish(request_topic(MINE, "c3"))

    await car.hears(bool)
    assert (car.applied, other.applied) == ([request_topic(MINE, "c3")], [])


async def test_the_simulated_fleet_answers_and_commands_nobody(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    fleet = await client(stack, broker.fleet_url, "#")
    platform = await client(stack, broker.url)

    assert not await fleet.publish(request_topic(MINE, "c1"))
    assert not await platform.publish(response_topic(MINE, "c1"))
    assert await platform.publish(request_topic(MINE, "c2"))
    await fleet.hears(bool)
    assert fleet.applied == [request_topic(MINE, "c2")]


@pytest.mark.parametrize("account", ["", f"{MINE}:guess@", "caas:guess@", "caas-fleet:guess@"])
async def test_nobody_comes_in_without_an_account(
    broker: LocalBroker, stack: AsyncExitStack, account: str
) -> None:
    with pytest.raises(BrokerUnavailableError, match="NOT_AUTHORIZED"):
        await client(stack, f"mqtt://{account}127.0.0.1:{broker.port}")


async def test_an_account_is_the_same_when_it_is_asked_for_again_and_after_a_restart(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    first = await start_local_broker(tmp_path, programs=PROGRAMS)
    assert isinstance(first, LocalBroker)
    stack.push_async_callback(first.stop)
    before = await vehicle_account(tmp_path, MINE)
    assert await vehicle_account(tmp_path, MINE) == before
    await first.stop()

    again = await start_local_broker(tmp_path, port=first.port, programs=PROGRAMS)
    assert isinstance(again, LocalBroker)
    stack.push_async_callback(again.stop)

    assert again.fleet_url == first.fleet_url
    car = await client(stack, before)
    assert await car.publish(response_topic(MINE, "c1"))


@pytest.mark.parametrize("vin", ["", "+", "#", "a", "caas", "WVW/1", "WVW:1", "WVW\n1"])
async def test_an_account_is_for_a_vin_only(broker: LocalBroker, vin: str) -> None:
    with pytest.raises(NoVehicleNameError):
        await vehicle_account(broker.folder.parent, vin)


async def test_without_a_broker_there_is_no_account(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="No broker runs"):
        await vehicle_account(tmp_path, MINE)


async def test_a_broker_of_before_there_were_accounts_is_started_anew(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    old = await start_local_broker(tmp_path, programs=PROGRAMS)
    assert isinstance(old, LocalBroker)
    stack.push_async_callback(old.stop)
    kept = tmp_path / "mosquitto" / "accounts.json"
    kept.unlink()

    new = await start_local_broker(tmp_path, programs=PROGRAMS)

    assert isinstance(new, LocalBroker)
    stack.push_async_callback(new.stop)
    assert new.pid != old.pid
    fleet = await client(stack, new.fleet_url)
    assert await fleet.publish(response_topic(MINE, "c1"))


async def test_the_command_line_prints_the_address_of_the_account(
    broker: LocalBroker, stack: AsyncExitStack
) -> None:
    machine = Machine(broker.folder.parent)

    ended = await (await machine.starts("vehicle-account", MINE)).ended(stays="mosquitto")

    assert ended.status == 0, ended.stated
    car = await client(stack, ended.out.strip())
    assert await car.publish(response_topic(MINE, "c1"))


def test_the_access_list_gives_no_vehicle_more_than_its_own_topics() -> None:
    patterns = [line for line in broker_process.ACCESS.splitlines() if line.startswith("pattern")]

    assert patterns == [
        "pattern read caas/v1/vehicles/%u/commands/+/request",
        "pattern write caas/v1/vehicles/%u/commands/+/response",
    ]
