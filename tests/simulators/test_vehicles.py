"""The simulated vehicles: their control plane, their oracle, and the process they run in."""

import asyncio
import base64
import json
import signal
import sys
from pathlib import Path

import aiohttp
import mqtt5
import pytest

from caas.external_systems.local_broker import LocalBroker
from caas_simulators import vehicle_connection
from caas_simulators.vehicle_car import PERSONALITIES, Behaviour, Manner
from caas_simulators.vehicle_fleet import Fleet
from caas_simulators.vehicles import Vehicles, VehicleSettings, serving, settings_from
from tests.cars import KNOWN_TO_VEHICLES
from tests.external_systems.scripted_broker import (
    ScriptedBroker,
    confirm,
    keep_silent,
    scripted_broker,
)
from tests.mqtt_broker import broker as broker  # noqa: PLC0414  # A fixture.
from tests.simulators.car_tester import VIN, Platform, request, signed
from tests.simulators.car_tester import http as http  # noqa: PLC0414  # A fixture.
from tests.simulators.car_tester import vehicles as vehicles  # noqa: PLC0414  # A fixture.


async def post(http: aiohttp.ClientSession, path: str, **body: object) -> dict[str, object]:
    async with http.post(f"/_control/{path}", json=body) as response:
        answer = await response.json(content_type=None)
        assert response.status < 300, answer
        assert isinstance(answer, dict)
        return answer


async def test_the_same_seed_makes_the_same_cars_with_the_same_keys() -> None:
    first, second, other = Fleet(7), Fleet(7), Fleet(8)
    for fleet in (first, second, other):
        fleet.add_many(3)
        fleet.add(VIN)

    assert list(first.cars) == list(second.cars)
    assert all(len(vin) == 17 for vin in first.cars)
    assert first.public_key(first.cars[VIN]) == second.public_key(second.cars[VIN])
    assert first.public_key(first.cars[VIN]) != other.public_key(other.cars[VIN])


async def test_the_control_plane_lists_what_it_can_do(http: aiohttp.ClientSession) -> None:
    async with http.get("/_control/") as response:
        reported = await response.json()

    assert response.status == 200
    assert "POST /_control/vehicles/{vin}/wake" in reported["paths"]
    assert reported["behaviours"] == [*Behaviour]


async def test_the_oracle_tells_what_is_really_active_and_how_often_it_was_applied(
    vehicles: Vehicles, http: aiohttp.ClientSession
) -> None:
    platform = Platform(vehicles.fleet)
    platform.ask(1)
    platform.ask(1)
    platform.ask(2, service="lane-assist")
    platform.ask(3, service="lane-assist", action="deactivate")

    async with http.get("/_control/fleet") as response:
        (car,) = (await response.json())["vehicles"]

    assert car["vin"] == VIN
    assert len(base64.b64decode(car["public_key"])) == 32
    assert car["active"] == ["heated-seats"]
    assert car["services"]["heated-seats"] == {
        "epoch": 1,
        "active": True,
        "payment_id": "payment-1",
        "command_id": "command-1",
        "valid_until": "2026-12-24T00:00:00Z",
        "applications": 1,
        "deactivations": 0,
    }
    assert car["services"]["lane-assist"]["deactivations"] == 1
    assert car["commands"] == 4
    assert platform.stated.count("SUCCEEDED") == 4


async def test_a_car_can_be_added_and_answers_from_then_on(
    vehicles: Vehicles, http: aiohttp.ClientSession
) -> None:
    platform = Platform(vehicles.fleet)
    newcomer = "WVWZZZ1JZXW000002"
    platform.ask(1, vin=newcomer)
    assert platform.answers == []

    added = await post(http, "vehicles", vin=newcomer)
    platform.ask(1, vin=newcomer)

    assert added["vin"] == newcomer
    assert added["public_key"] == vehicles.fleet.public_key(vehicles.fleet.cars[newcomer])
    assert platform.vins == [newcomer, newcomer]
    assert all(signed(vehicles.fleet, newcomer, answer) for answer in platform.answers)
    assert (await post(http, "vehicles", vin=newcomer))["public_key"] == added["public_key"]


async def test_a_manner_given_over_http_holds_for_its_action_and_its_times_only(
    vehicles: Vehicles, http: aiohttp.ClientSession
) -> None:
    platform = Platform(vehicles.fleet)

    await post(http, f"vehicles/{VIN}", behaviour="refuses", only="deactivate", times=1)
    platform.ask(1)
    platform.ask(2, action="deactivate")
    platform.ask(3, action="deactivate")

    assert platform.stated == ["IN_PROGRESS", "SUCCEEDED", "REJECTED", "IN_PROGRESS", "SUCCEEDED"]


async def test_a_sleeping_car_wakes_over_http_with_what_has_not_expired(
    vehicles: Vehicles, http: aiohttp.ClientSession
) -> None:
    platform = Platform(vehicles.fleet)
    await post(http, f"vehicles/{VIN}", behaviour="asleep")
    platform.ask(1, expiry_seconds=0)
    platform.ask(2)
    assert platform.answers == []

    woken = await post(http, f"vehicles/{VIN}/wake")

    assert (woken["taken"], woken["expired"]) == (1, 1)
    assert {answer["command_id"] for answer in platform.answers} == {"command-2"}
    platform.ask(3)
    assert platform.answers[-1]["command_id"] == "command-3"


async def test_a_car_says_what_nobody_asked_signed_or_forged(
    vehicles: Vehicles, http: aiohttp.ClientSession
) -> None:
    platform = Platform(vehicles.fleet)
    claim = {
        "command_id": "command-9",
        "epoch": 9,
        "payment_id": "payment-9",
        "service": "heated-seats",
        "action": "activate",
        "status": "SUCCEEDED",
        "status_reason": None,
        "at": "2026-11-23T08:00:00Z",
    }

    await post(http, f"vehicles/{VIN}/say", acknowledgement=claim)
    await post(http, f"vehicles/{VIN}/say", acknowledgement=claim, behaviour="forges")

    honest, forged = platform.answers
    assert {**claim, "signature": honest["signature"]} == honest
    assert signed(vehicles.fleet, VIN, honest)
    assert not signed(vehicles.fleet, VIN, forged)
    assert vehicles.fleet.cars[VIN].services == {}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("vehicles", {}, 422),
        ("vehicles", {"vin": ""}, 422),
        ("vehicles", {"vin": "a/b"}, 422),
        ("vehicles", {"vin": "X", "behaviour": "sulks"}, 422),
        (f"vehicles/{VIN}", {"behaviour": "sulks"}, 422),
        (f"vehicles/{VIN}", {"behavior": "fails"}, 422),
        (f"vehicles/{VIN}/say", {"acknowledgement": {}}, 422),
        (f"vehicles/{VIN}/fly", {}, 404),
        ("vehicles/UNKNOWN", {"behaviour": "fails"}, 404),
        ("nothing", {}, 404),
    ],
)
async def test_a_control_call_that_is_wrong_changes_nothing(
    vehicles: Vehicles,
    http: aiohttp.ClientSession,
    path: str,
    body: dict[str, object],
    status: int,
) -> None:
    async with http.post(f"/_control/{path}", json=body) as response:
        assert response.status == status
        assert "code" in await response.json(content_type=None)

    assert list(vehicles.fleet.cars) == [VIN]
    assert vehicles.fleet.cars[VIN].manner == Manner()


async def test_what_is_not_json_is_refused(http: aiohttp.ClientSession) -> None:
    async with http.post("/_control/vehicles", data=b"{") as response:
        assert response.status == 400


async def test_a_vin_can_carry_its_personality() -> None:
    fleet = Fleet(command_keys=KNOWN_TO_VEHICLES)

    for prefix, behaviour in PERSONALITIES.items():
        assert fleet.add(f"{prefix}ZZZ1JZXW000001").manner.behaviour is behaviour

    assert set(PERSONALITIES.values()) == set(Behaviour) - {Behaviour.OBEYS}
    assert not set("".join(PERSONALITIES)) & set("IOQ")


async def test_a_failed_or_refused_command_leaves_no_trace_in_the_car() -> None:
    fleet = Fleet(command_keys=KNOWN_TO_VEHICLES)
    platform = Platform(fleet)
    car = fleet.add(VIN, Manner(Behaviour.FAILS))

    platform.ask(5)
    fleet.add(VIN, Manner(Behaviour.REFUSES))
    platform.ask(5)

    assert platform.stated == ["FAILED", "REJECTED"]
    assert car.services["heated-seats"].applications == 0
    fleet.add(VIN, Manner())
    platform.ask(4)
    assert platform.stated[-1] == "SUCCEEDED"


async def test_an_epoch_that_is_not_above_the_last_one_applied_is_rejected() -> None:
    fleet = Fleet(command_keys=KNOWN_TO_VEHICLES)
    platform = Platform(fleet)
    fleet.add(VIN)

    platform.ask(2)
    platform.ask(2, command_id="command-2-again")
    platform.ask(1)

    assert platform.stated[-2:] == ["REJECTED", "REJECTED"]
    assert platform.answers[-1]["status_reason"] == "this command or a newer one was applied before"
    assert fleet.cars[VIN].services["heated-seats"].applications == 1


async def test_a_fleet_of_strangers_is_every_car_that_is_addressed() -> None:
    fleet = Fleet(command_keys=KNOWN_TO_VEHICLES, takes_in_strangers=True)
    platform = Platform(fleet)

    platform.ask(1, vin="NEVERSEENBEFORE01")

    assert platform.stated == ["IN_PROGRESS", "SUCCEEDED"]


async def test_what_is_no_request_is_counted_and_hurts_nobody() -> None:
    fleet = Fleet(command_keys=KNOWN_TO_VEHICLES)
    fleet.add(VIN)

    fleet.receive("caas/v1/vehicles", b"{}", None)
    fleet.receive(f"caas/v1/vehicles/{VIN}/commands/c/request", b"\xff", None)
    fleet.receive(f"caas/v1/vehicles/{VIN}/commands/c/request", b"{}", None)

    assert fleet.not_understood == 3


def test_the_command_line_names_the_cars_and_the_broker(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.json"
    fleet.write_text(
        json.dumps({"vehicles": [{"vin": VIN, "manner": {"behaviour": "late"}}, {"vin": "B"}]})
    )

    settings = settings_from(
        ["--mqtt-url", "mqtt://b", "--fleet", str(fleet), "--count", "5", "--seed", "3"]
    )

    assert settings.cars == ((VIN, Manner(Behaviour.LATE)), ("B", None))
    assert (settings.mqtt_url, settings.count, settings.seed) == ("mqtt://b", 5, 3)


async def test_answers_the_broker_did_not_confirm_go_out_again_and_never_too_many_at_once() -> None:
    fleet = Fleet(command_keys=KNOWN_TO_VEHICLES)
    fleet.add(VIN)
    narrow = ScriptedBroker(keep_silent, receive_max=2)

    def published() -> list[str]:
        return [one.topic for one in narrow.packets if isinstance(one, mqtt5.PublishPacket)]

    async with scripted_broker(narrow):
        gateway = vehicle_connection.Gateway(narrow.url, fleet, client_id="cars")
        await gateway.start()
        for number in (1, 2):
            topic = f"caas/v1/vehicles/{VIN}/commands/command-{number}/request"
            narrow.clients[0].send(mqtt5.PublishPacket(topic, request(number)))
        async with asyncio.timeout(120):
            while len(published()) < 2:
                await asyncio.sleep(0.01)
        assert len(published()) == 2

        narrow.on_publish = confirm
        narrow.clients[0].transport.abort()
        async with asyncio.timeout(120):
            while len(published()) < 6:
                await asyncio.sleep(0.01)
        await gateway.close()

    numbers = [topic.split("/")[5] for topic in published()]
    assert numbers == ["command-1"] * 4 + ["command-2"] * 2


async def test_cars_without_a_broker_say_so_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vehicle_connection, "START_SECONDS_MAX", 0.3)

    with pytest.raises(vehicle_connection.BrokerAwayError):
        async with serving(VehicleSettings(mqtt_url="mqtt://127.0.0.1:1")):
            pass


async def test_the_process_connects_says_where_it_is_controlled_and_ends_when_told(
    broker: LocalBroker,
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "caas_simulators.vehicles"),
        *("--mqtt-url", broker.fleet_url, "--count", "2000", "--seed", "4"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None

    line = (await process.stdout.readline()).decode().strip()
    count, _, url = line.partition(" vehicles; control plane at ")
    async with aiohttp.ClientSession() as http, http.get(f"{url}/_control/fleet") as response:
        reported = (await response.json())["vehicles"]

    assert int(count) == len(reported) == 2000
    assert len({car["public_key"] for car in reported}) == 2000
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
