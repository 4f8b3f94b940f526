"""`caas up`: run the whole platform with simulated partners on this machine.

It prints its progress while starting, and restarts a database, broker or simulator that exits
(`supervision`).

Rules a change must keep: it needs no configuration; a restart loses no data; when one part fails
for good, the command ends with an error.
"""

import asyncio
import base64
import socket
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any, Final

import msgspec
import typer

from caas import (
    app,
    local_machine,
    logs,
    process_environment,
    server,
)
from caas.billing_database import migrations
from caas.billing_database.simulated_calendar import SimulatedCalendar
from caas.cli.commands import freeze_long_lived_objects, run_command, stop_on_sigterm
from caas.console.sample_data import first_day
from caas.console.staff import NewStaff
from caas.errors import StartupError
from caas.external_systems.http import HttpClient
from caas.external_systems.local_outbox import OUTBOX, OutboxLetters
from caas.local_gateways import SimulatedGateway
from caas.settings import Settings, data_dir, read_settings

HOST: Final = "127.0.0.1"
PORT: Final = 8080
PORTS_TRIED_MAX: Final = 20
PORT_MAX: Final = 65_535
SIMULATED: Final = {"gateway", "partners", "vehicles"}


def up(
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=PORT_MAX, help=f"Port to listen on; by default {PORT} or the next free one."
        ),
    ] = None,
    gateway: Annotated[
        SimulatedGateway, typer.Option(help="Which payment gateway is simulated.")
    ] = SimulatedGateway.CONTRACT,
) -> None:
    """Start the whole platform on this machine."""
    run_command(_up(port, gateway))


async def _up(wanted: int | None, gateway: SimulatedGateway) -> None:
    stop_on_sigterm()
    progress = Progress()
    async with AsyncExitStack() as stack:
        environment = process_environment.environment()
        listener = stack.enter_context(_bind_port(wanted))
        port = listener.getsockname()[1]
        stack.enter_context(logs.to_file(data_dir(environment) / "caas.log"))
        world = await local_machine.start(
            stack, environment, public_url=f"http://{HOST}:{port}", gateway=gateway,
            report=progress,
        )  # fmt: skip
        assert world.supervisor is not None
        settings = read_settings(world.environment)
        progress("Migrating the database schema.")
        await migrations.migrate(world.owner_dsn or settings.database_url)
        progress("Starting the platform.")
        platform = await stack.enter_async_context(app.opened(settings, fleet=world.fleet))
        await server.store_api_keys(platform, settings)
        fleet = world.controls.get("vehicles")
        staff = await first_day(
            platform,
            settings.data_dir,
            key_of=partial(_key_of_car, fleet) if fleet else None,
        )
        await _until_one_ends(
            platform.jobs.run(),
            world.supervisor.watch(),
            server.serve(
                platform, settings, listener=listener, simulated=_simulated(world, settings),
                on_listening=lambda: _is_up(port, world, staff),
            ),
        )  # fmt: skip


class Progress:
    """Prints progress with the seconds since the start."""

    def __init__(self) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        """Print a line immediately."""
        typer.echo(f"{time.monotonic() - self._began:5.1f} s  {line}")


async def _until_one_ends(*parts: Coroutine[Any, Any, None]) -> None:
    """Run all parts concurrently; when one ends, stop the others."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _bind_port(wanted: int | None) -> socket.socket:
    """Bind the requested port or the first free one.

    Raises:
        StartupError: no port is available.
    """
    if wanted is not None:
        return server.listening(HOST, wanted)
    for port in range(PORT, PORT + PORTS_TRIED_MAX):
        try:
            return server.listening(HOST, port)
        except StartupError:
            continue
    raise StartupError(
        f"No port from {PORT} to {PORT + PORTS_TRIED_MAX - 1} is free. Choose one with --port."
    )


def _is_up(port: int, world: local_machine.LocalWorld, staff: Sequence[NewStaff]) -> None:
    freeze_long_lived_objects()
    typer.echo(_welcome(port, world, staff))


def _simulated(world: local_machine.LocalWorld, settings: Settings) -> server.Simulated | None:
    """Return the simulated partners; time is scaled only if everything is simulated."""
    if not world.controls:
        return None
    whole = world.controls.keys() >= SIMULATED
    calendar = SimulatedCalendar(world.owner_dsn) if world.owner_dsn and whole else None
    letters = None if settings.notify_url else OutboxLetters(settings.data_dir / OUTBOX)
    return server.Simulated(world.controls, calendar, letters)


async def _key_of_car(fleet_url: str, vin: str) -> bytes:
    """Register a car with the simulated fleet and return its public key."""
    fleet = HttpClient(fleet_url, partner="The vehicles")
    try:
        body = msgspec.json.encode({"vin": vin})
        answer = await fleet.send("POST", "/_control/vehicles", body=body)
    finally:
        await fleet.close()
    return base64.b64decode(msgspec.json.decode(answer.body)["public_key"])


_OF_STRIPE: Final = (
    "  pay on Stripe's page with 4242 4242 4242 4242; 4000 0000 0000 0002 is declined",
    "  sell a service with curl: 'Try it' in README.md, with pm_card_visa instead of pm_ok",
)


_OF_ADYEN: Final = (
    "  pay on Adyen's page with 4111 1111 1111 1111; the name DECLINED on the card is declined",
)


def _of_gateway(name: str | None, url: str) -> tuple[str, ...]:
    """Return what to try with a simulated gateway."""
    of_others = {"stripe": _OF_STRIPE, "adyen": _OF_ADYEN}
    return of_others.get(name or "") or (
        "  sell a service with curl: 'Try it' in README.md; every call: docs/integrating.md",
        f"  ./caas demo --against {url}    run every flow and failure scenario",
    )


def _welcome(port: int, world: local_machine.LocalWorld, staff: Sequence[NewStaff]) -> str:
    url = f"http://{HOST}:{port}"
    lines = [
        f"The platform is running at {url} (Ctrl-C stops it; data is kept).",
        f"  Channels      {url}/   sign in as:",
        *(f"  {who.login:<28} {who.password}  ({who.dealership or who.role})" for who in staff),
        f"  API           {url}/docs",
        *(f"  {name:<13} {address}/_control/" for name, address in world.controls.items()),
        "API keys by scope, as `Authorization: Bearer <key>`:",
        *(f"  {scope:<17} {key}" for scope, key in world.keys.items()),
    ]
    if world.without_broker:
        lines.append(f"No MQTT broker; cars are simulated in this process: {world.without_broker}")
    lines += [
        "Things to try:",
        "  reserve a car as a dealership in a browser, then pay the balance as the customer",
        f"  complete a factory order, wake a car, advance a month: {url}/operations/simulators",
        f"  read the messages sent to customers: {url}/operations/simulators/messages",
        *_of_gateway(world.environment.get("CAAS_GATEWAY"), url),
        "  ./caas self-check    print the results of the integrity checks",
    ]
    return "\n".join(lines)
