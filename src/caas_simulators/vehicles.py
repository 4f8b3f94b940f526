"""Simulator of the vehicles of Diagram 4, as a server of its own behind a telecom gateway.

`python -m caas_simulators.vehicles --mqtt-url mqtt://... --count 1000 --seed 7 --control-port 0`
connects to a broker as one gateway for all cars, serves the control plane, and prints its address.

Rules a change must keep: the same seed creates the same cars with the same keys; without a broker's
address the fleet is used in this process.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec

from caas_simulators.http_server import listening
from caas_simulators.journal import JournalInUseError
from caas_simulators.simulated_time import Clock
from caas_simulators.starter import HELD, arguments_given, stop_requested
from caas_simulators.vehicle_car import Manner
from caas_simulators.vehicle_command_keys import key_argument
from caas_simulators.vehicle_connection import Gateway
from caas_simulators.vehicle_control import FleetControl
from caas_simulators.vehicle_fleet import Fleet
from caas_simulators.vehicle_memory import FleetMemory


class VehicleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The cars, and the addresses at which they are reached."""

    mqtt_url: str | None = None
    seed: int = 0
    count: int = 0
    cars: tuple[tuple[str, Manner | None], ...] = ()
    control_port: int = 0
    time_scale: float = 1.0
    latency_seconds: float = 0.0
    reports_in_progress: bool = True
    takes_in_strangers: bool = False
    state_file: Path | None = None
    command_keys: Mapping[str, bytes] = msgspec.field(default_factory=dict)


class Vehicles(msgspec.Struct):
    """A running fleet and the address of its control plane."""

    fleet: Fleet
    control_url: str


class FleetEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A car of a fleet file."""

    vin: str
    manner: Manner | None = None


class FleetFile(msgspec.Struct, forbid_unknown_fields=True):
    """A fleet file: `{"vehicles": [{"vin": ..., "manner": {"behaviour": ...}}]}`."""

    vehicles: list[FleetEntry]


@contextlib.asynccontextmanager
async def serving(settings: VehicleSettings) -> AsyncIterator[Vehicles]:
    """Run the cars during the block."""
    memory = FleetMemory(settings.state_file)
    fleet = Fleet(
        settings.seed,
        command_keys=settings.command_keys,
        clock=Clock(settings.time_scale),
        latency_seconds=settings.latency_seconds,
        reports_in_progress=settings.reports_in_progress,
        takes_in_strangers=settings.takes_in_strangers,
        memory=memory,
    )
    fleet.add_many(settings.count)
    for vin, manner in settings.cars:
        fleet.add(vin, manner)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(memory.close)
        if settings.mqtt_url is not None:
            client_id = f"caas-vehicles-{settings.seed}"
            gateway = Gateway(settings.mqtt_url, fleet, client_id=client_id)
            stack.push_async_callback(gateway.close)
            await gateway.start()
        control = FleetControl(fleet)
        server = await stack.enter_async_context(
            listening(control.handle, port=settings.control_port)
        )
        yield Vehicles(fleet, server.url)


def settings_from(arguments: Sequence[str]) -> VehicleSettings:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m caas_simulators.vehicles")
    parser.add_argument("--mqtt-url", required=True, help="mqtt://user:password@host:port")
    parser.add_argument("--fleet", type=Path, help="a JSON file with the cars")
    parser.add_argument("--count", type=int, default=0, help="this many made-up cars")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--time-scale", type=float, default=1.0)
    parser.add_argument("--latency-seconds", type=float, default=0.0)
    parser.add_argument("--no-in-progress", action="store_true", help="say only how it ended")
    parser.add_argument("--strangers", action="store_true", help="be every car that is addressed")
    parser.add_argument("--state-file", type=Path, help="journal that survives a restart")
    parser.add_argument(
        "--command-key", type=key_argument, action="append", default=[], metavar="ID:BASE64",
        help="a public key of the platform (repeat for several)",
    )  # fmt: skip
    parsed = parser.parse_args(arguments)
    return VehicleSettings(
        mqtt_url=parsed.mqtt_url,
        seed=parsed.seed,
        count=parsed.count,
        cars=_cars_in(parsed.fleet) if parsed.fleet else (),
        control_port=parsed.control_port,
        time_scale=parsed.time_scale,
        latency_seconds=parsed.latency_seconds,
        reports_in_progress=not parsed.no_in_progress,
        takes_in_strangers=parsed.strangers,
        state_file=parsed.state_file,
        command_keys=dict(parsed.command_key),
    )


def _cars_in(path: Path) -> tuple[tuple[str, Manner | None], ...]:
    entries = msgspec.json.decode(path.read_bytes(), type=FleetFile).vehicles
    return tuple((entry.vin, entry.manner) for entry in entries)


async def main(arguments: Sequence[str]) -> None:
    """Run the cars until the process is stopped."""
    stopped = stop_requested(held=HELD in arguments)
    async with serving(settings_from(arguments_given(arguments))) as vehicles:
        count = len(vehicles.fleet.cars)
        sys.stdout.write(f"{count} vehicles; control plane at {vehicles.control_url}\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except JournalInUseError as error:
        sys.exit(str(error))
