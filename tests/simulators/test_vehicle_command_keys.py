"""Whose commands a simulated car does: those that a key of the platform signed, and no others."""

import base64
import json

import aiohttp
import msgspec
import pytest

from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas_simulators.vehicle_car import Behaviour, Manner, derived_key
from caas_simulators.vehicle_fleet import Fleet
from caas_simulators.vehicles import Vehicles
from tests.cars import COMMAND_KEY, KNOWN_TO_VEHICLES
from tests.simulators.car_tester import VIN, Platform, request, signed
from tests.simulators.car_tester import http as http  # noqa: PLC0414  # A fixture.
from tests.simulators.car_tester import vehicles as vehicles  # noqa: PLC0414  # A fixture.

NEXT = b"the key that will follow this on"


def tampered(**changes: object) -> bytes:
    """A command changed after it was signed."""
    return json.dumps(json.loads(request(1)) | changes).encode()


NOT_THE_PLATFORMS = {
    "unsigned": tampered(signature=""),
    "without its fields of the signature": json.dumps(
        {name: value for name, value in json.loads(request(1)).items() if "sig" not in name}
    ).encode(),
    "no base64": tampered(signature="?"),
    "signed by another key": tampered(
        signature=base64.b64encode(derived_key("a stranger").sign(b"anything")).decode()
    ),
    "by a key nobody published": tampered(key_id="0000000000000000"),
    "another action": tampered(action="deactivate"),
    "a later epoch": tampered(epoch=2**40),
    "a longer time": tampered(valid_until="2036-12-24T00:00:00Z"),
    "without an end": tampered(valid_until=None),
    "another service": tampered(service="autopilot"),
    "another payment": tampered(payment_id="payment-2"),
    "another command": tampered(command_id="command-2"),
    "another deadline": tampered(deadline="2036-11-24T00:00:00Z"),
    "to another car": request(1, vin="WVWZZZ1JZXW000002"),
}


@pytest.mark.parametrize("payload", NOT_THE_PLATFORMS.values(), ids=NOT_THE_PLATFORMS)
async def test_a_car_neither_does_nor_answers_what_the_platform_did_not_sign(
    payload: bytes,
) -> None:
    fleet = Fleet(command_keys=KNOWN_TO_VEHICLES)
    platform = Platform(fleet)
    car = fleet.add(VIN)

    fleet.receive(f"caas/v1/vehicles/{VIN}/commands/command-1/request", payload, None)

    assert (platform.answers, car.services, car.commands) == ([], {}, 0)
    assert fleet.not_believed == 1
    platform.ask(1)
    assert platform.stated[-1] == "SUCCEEDED"


async def test_a_fleet_that_was_given_no_key_does_nothing() -> None:
    fleet = Fleet()
    platform = Platform(fleet)
    fleet.add(VIN)

    platform.ask(1)

    assert platform.answers == []


async def test_a_credulous_car_does_what_anybody_says_in_any_order() -> None:
    fleet = Fleet(command_keys=KNOWN_TO_VEHICLES)
    platform = Platform(fleet)
    car = fleet.add(VIN, Manner(Behaviour.CREDULOUS))
    topic = f"caas/v1/vehicles/{VIN}/commands/command-1/request"

    fleet.receive(topic, tampered(command_id="later", epoch=9, signature=""), None)
    fleet.receive(topic, tampered(command_id="older", epoch=3, action="deactivate"), None)

    assert platform.stated == ["IN_PROGRESS", "SUCCEEDED"] * 2
    assert not car.services["heated-seats"].active


async def test_both_keys_are_believed_while_one_follows_the_other(
    vehicles: Vehicles, http: aiohttp.ClientSession
) -> None:
    platform = Platform(vehicles.fleet)
    rotating = VehicleCommandKeys([NEXT, base64.b64decode(COMMAND_KEY)])
    published = {"data": [msgspec.structs.asdict(key) for key in rotating.public]}
    only_next = {"data": published["data"][:1]}

    async with http.put("/_control/command-keys", json=published) as answer:
        assert answer.status == 200
    platform.ask(1)
    async with http.put("/_control/command-keys", json=only_next) as answer:
        assert answer.status == 200
    platform.ask(2)

    assert platform.stated == ["IN_PROGRESS", "SUCCEEDED"]
    assert vehicles.fleet.not_believed == 1


@pytest.mark.parametrize("public_key", ["", "?", "AAAA"])
async def test_what_is_no_key_is_refused_and_the_keys_of_before_stay(
    vehicles: Vehicles, http: aiohttp.ClientSession, public_key: str
) -> None:
    platform = Platform(vehicles.fleet)
    wrong = {"data": [{"key_id": "k", "public_key": public_key}]}

    async with http.put("/_control/command-keys", json=wrong) as answer:
        assert answer.status == 422
    platform.ask(1)

    assert platform.stated[-1] == "SUCCEEDED"


async def test_a_car_may_sign_that_it_did_the_opposite() -> None:
    fleet = Fleet(command_keys=KNOWN_TO_VEHICLES)
    platform = Platform(fleet)
    fleet.add(VIN, Manner(Behaviour.WRONG_ACTION))

    platform.ask(1)

    assert platform.answers[-1]["action"] == "deactivate"
    assert signed(fleet, VIN, platform.answers[-1])
    assert fleet.cars[VIN].services["heated-seats"].active
