"""The simulated fleet, and one that somebody else wrote, conform; broken vehicles do not."""

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from caas.cli.commands import ExitStatus
from caas.external_systems.local_broker import LocalBroker
from caas_lab.conformance.cases import Verdict
from caas_lab.conformance.fleet_cases import FLEET_CASES
from caas_lab.conformance.fleet_command import FleetTerms, run_fleet_cases
from caas_lab.conformance.fleet_under_test import FleetFile, VehicleEntry
from caas_lab.conformance.sandbox import SandboxRequest, read_file
from caas_simulators.vehicle_car import Behaviour, Car, Command, Manner
from caas_simulators.vehicles import Vehicles, VehicleSettings, serving
from tests.cars import COMMAND_KEY, COMMAND_KEYS, KNOWN_TO_VEHICLES
from tests.external_systems.conformance.test_conform_command import ROOT
from tests.strangers import fleet as strangers
from tests.strangers.manners import CHATTY

VINS = ("WVWZZZ1JZXW000101", "WVWZZZ1JZXW000102")
SERVICE, UNKNOWN = "conformance-seats", "conformance-nothing"
SILENCE_SECONDS = 1.0
OFFLINE = {
    "a_vehicle_that_was_offline_answers_later", "a_command_past_its_deadline_is_not_applied",
    "of_two_commands_to_an_offline_vehicle_the_newest_holds",
}  # fmt: skip


def terms(broker: LocalBroker, vehicles: Vehicles, seconds_max: float = 120.0) -> FleetTerms:
    """What the command would run against the simulated vehicles."""
    fleet = vehicles.fleet
    one = f"{vehicles.control_url}/_control/vehicles/{{vin}}"
    file = FleetFile(
        vehicles=[
            VehicleEntry(car.vin, base64.b64decode(fleet.public_key(car)))
            for car in fleet.cars.values()
        ],
        service=SERVICE,
        unknown_service=UNKNOWN,
        silence_seconds=SILENCE_SECONDS,
        sandbox={
            "sleep": SandboxRequest(url=one, json={"behaviour": "asleep"}),
            "wake": SandboxRequest(url=f"{one}/wake"),
        },
    )
    return FleetTerms(url=broker.url, file=file, keys=COMMAND_KEYS, seconds_max=seconds_max)


@asynccontextmanager
async def on_the_road(
    broker: LocalBroker, manner: Manner | None = None, *, seconds_max: float = 120.0
) -> AsyncIterator[FleetTerms]:
    """Two simulated vehicles behind the broker."""
    settings = VehicleSettings(
        mqtt_url=broker.fleet_url,
        cars=tuple((vin, manner or Manner(lacks=(UNKNOWN,))) for vin in VINS),
        command_keys=KNOWN_TO_VEHICLES,
    )
    async with serving(settings) as vehicles:
        yield terms(broker, vehicles, seconds_max)


async def verdicts(found: FleetTerms, *names: str) -> dict[str, Verdict]:
    """What came of these cases."""
    report = await run_fleet_cases(found, cases=[one for one in FLEET_CASES if one.name in names])
    assert len(report.cases) == len(names)
    return {result.name: result.verdict for result in report.cases}


@pytest.mark.parametrize("name", [case.name for case in FLEET_CASES])
async def test_the_simulated_vehicles_do_what_a_vehicle_must(
    broker: LocalBroker, name: str
) -> None:
    cases = [case for case in FLEET_CASES if case.name == name]

    async with on_the_road(broker) as found:
        report = await run_fleet_cases(found, cases=cases)

    assert [(one.verdict, one.reason) for one in report.cases] == [(Verdict.PASSED, "")]


async def test_vehicles_of_another_maker_conform_but_for_what_cannot_be_tried(
    broker: LocalBroker,
) -> None:
    fleet = strangers.StrangeFleet(CHATTY)
    fleet.learn([msgspec.to_builtins(key) for key in COMMAND_KEYS.public])
    cars = [fleet.new_car(vin) for vin in VINS]
    entries = [VehicleEntry(car.vin, base64.b64decode(car.public_key)) for car in cars]
    file = FleetFile(entries, SERVICE, UNKNOWN, SILENCE_SECONDS)
    tried = [case for case in FLEET_CASES if case.name not in NOT_OF_STRANGERS]

    async with strangers.on_the_road(fleet, broker.fleet_url):
        found = FleetTerms(url=broker.url, file=file, keys=COMMAND_KEYS)
        report = await run_fleet_cases(found, cases=tried)

    untried = {one.name for one in report.cases if one.verdict is Verdict.NOT_TRIED}
    wrong = [one for one in report.cases if one.verdict is Verdict.FAILED]
    assert (wrong, untried) == ([], OFFLINE)


NOT_OF_STRANGERS = {"junk_is_ignored_and_stops_nothing",
                    "a_service_that_the_vehicle_lacks_is_refused"}  # fmt: skip
"""The other maker's program ends at junk, and its cars are fitted for everything."""

BROKEN = {
    Behaviour.CREDULOUS: (
        "a_command_of_a_stranger_is_ignored", "a_command_with_a_stolen_key_id_is_ignored",
        "a_changed_command_is_ignored", "an_epoch_that_is_not_higher_is_rejected",
        "a_repeated_command_undoes_no_newer_one",
    ),
    Behaviour.FORGES: ("a_signed_command_is_applied_and_acknowledged",),
    Behaviour.FOREIGN_KEY: ("a_signed_command_is_applied_and_acknowledged",),
    Behaviour.WRONG_PAYMENT: ("a_signed_command_is_applied_and_acknowledged",),
    Behaviour.WRONG_ACTION: ("a_service_is_switched_off_and_on_again",),
    Behaviour.OLD_EPOCH: ("a_signed_command_is_applied_and_acknowledged",),
    Behaviour.TWICE: ("a_command_ends_once",),
    Behaviour.REVERSED: ("a_command_ends_once",),
    Behaviour.FAILS: ("a_signed_command_is_applied_and_acknowledged",),
}  # fmt: skip


@pytest.mark.parametrize("behaviour", BROKEN)
async def test_a_broken_vehicle_is_found(broker: LocalBroker, behaviour: Behaviour) -> None:
    failing = BROKEN[behaviour]

    async with on_the_road(broker, Manner(behaviour)) as found:
        assert await verdicts(found, *failing) == dict.fromkeys(failing, Verdict.FAILED)


async def test_a_vehicle_that_never_answers_is_found(broker: LocalBroker) -> None:
    name = "a_signed_command_is_applied_and_acknowledged"

    async with on_the_road(broker, Manner(Behaviour.SILENT), seconds_max=1.0) as found:
        assert await verdicts(found, name) == {name: Verdict.FAILED}


async def test_a_vehicle_that_has_everything_is_found(broker: LocalBroker) -> None:
    name = "a_service_that_the_vehicle_lacks_is_refused"

    async with on_the_road(broker, Manner()) as found:
        assert await verdicts(found, name) == {name: Verdict.FAILED}


async def test_a_vehicle_that_nobody_knows_is_found(broker: LocalBroker) -> None:
    name = "a_signed_command_is_applied_and_acknowledged"

    async with on_the_road(broker, seconds_max=1.0) as found:
        stranger = VehicleEntry("WVWZZZ1JZXW000999", found.file.vehicles[0].public_key)
        file = msgspec.structs.replace(found.file, vehicles=[stranger])
        other = FleetTerms(url=found.url, file=file, keys=found.keys, seconds_max=1.0)

        assert await verdicts(other, name) == {name: Verdict.FAILED}


Forgetting = Callable[[Car, Command, Manner], None]


async def test_a_vehicle_that_answers_once_only_is_found(broker: LocalBroker) -> None:
    names = (
        "a_repeated_command_is_acknowledged_again",
        "a_command_whose_answer_was_lost_is_answered_again",
    )
    settings = VehicleSettings(
        mqtt_url=broker.fleet_url, cars=((VINS[0], Manner()),), command_keys=KNOWN_TO_VEHICLES
    )
    async with serving(settings) as vehicles:
        respond: Forgetting = vehicles.fleet._respond

        def once(car: Car, command: Command, manner: Manner) -> None:
            if command.command_id not in car.applied:
                respond(car, command, manner)

        vehicles.fleet._respond = once  # type: ignore[method-assign]
        found = terms(broker, vehicles, seconds_max=1.0)

        assert await verdicts(found, *names) == dict.fromkeys(names, Verdict.FAILED)


async def conforms(*words: str, **settings: str) -> tuple[int, str]:
    """Run the command; return its status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "caas_lab", "conform", "fleet", *words,
        env={"PATH": os.environ["PATH"], **settings}, cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, " ".join(out.decode().replace("│", " ").split())


async def test_the_command_reads_the_vehicles_from_a_file(
    broker: LocalBroker, tmp_path: Path
) -> None:
    path = tmp_path / "fleet.toml"
    async with on_the_road(broker) as found:
        path.write_text(
            f'service = "{SERVICE}"\nunknown_service = "{UNKNOWN}"\nsilence_seconds = 1.0\n'
            + "".join(
                f'[[vehicles]]\nvin = "{one.vin}"\n'
                f'public_key = "{base64.b64encode(one.public_key).decode()}"\n'
                for one in found.file.vehicles
            )
        )
        words = ("--mqtt", broker.url, "--fleet", str(path))
        status, out = await conforms(*words, CAAS_VEHICLE_COMMAND_KEYS=COMMAND_KEY)

    tried = len(FLEET_CASES) - len(OFFLINE)
    assert status == ExitStatus.FINDINGS, out
    assert (
        f"was not tried as a whole: {tried} passed, 0 failed, 0 excused, {len(OFFLINE)} not tried"
        in out
    )
    assert read_file(path, FleetFile).vehicles == found.file.vehicles


async def test_wrong_options_and_a_broker_that_is_away_are_told(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text('service = "a"\nunknown_service = "b"\nvehicles = []\n')
    right = tmp_path / "right.toml"
    key = base64.b64encode(b"k" * 32).decode()
    right.write_text(
        f'service = "a"\nunknown_service = "b"\n[[vehicles]]\nvin = "V"\npublic_key = "{key}"\n'
    )
    keys = {"CAAS_VEHICLE_COMMAND_KEYS": COMMAND_KEY}
    away = ("--mqtt", "mqtt://127.0.0.1:9", "--fleet")

    address = await conforms("--mqtt", "nonsense", "--fleet", str(right), **keys)
    file = await conforms(*away, str(path), **keys)
    no_keys = await conforms(*away, str(right))
    broker_away = await conforms(*away, str(right), **keys)

    assert (address[0], "mqtt://user:password@host:1883" in address[1]) == (ExitStatus.USAGE, True)
    assert (file[0], "it has no vehicle" in file[1]) == (ExitStatus.USAGE, True)
    assert no_keys[0] == broker_away[0] == ExitStatus.ENVIRONMENT
    assert "CAAS_VEHICLE_COMMAND_KEYS is not set" in no_keys[1]
    assert "The broker at mqtt://127.0.0.1:9 cannot be used." in broker_away[1]
