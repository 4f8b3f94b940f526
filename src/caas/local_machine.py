"""Starts the platform's environment on one machine: database, broker and simulators.

Used by `caas up` and `caas demo`. Simulators are separate processes; anything that already has an
address in the environment is not started.

Rules a change must keep: secrets are created once, readable only by their owner, and never passed
as process arguments; everything started here ends with this process, even if it is killed.
"""

import asyncio
import fcntl
import importlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from caas import local_gateways, local_secrets
from caas.access_settings import FACTORY, REGISTRATION, TRANSPORT
from caas.billing_database import embedded_postgresql
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas.errors import StartupError
from caas.external_systems.gateway_adapters import adapter_name
from caas.external_systems.local_broker import LocalBroker, start_local_broker
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.local_gateways import SimulatedGateway
from caas.local_secrets import Secrets
from caas.settings import (
    DEFAULT_MARKET,
    IN_PROCESS_VEHICLES,
    data_dir,
    database_url,
    read_market,
    time_scale,
    vehicle_command_keys,
)
from caas.supervision import (
    Part,
    Report,
    Simulator,
    Supervisor,
    known_ports,
    port_if_free,
    started,
)  # fmt: skip

FLEET_SEED: Final = 7
WORD: Final = "running.json"
PORTS: Final = "ports.json"
FOR_DEVELOPMENT: Final = {"CAAS_SECOND_FACTOR": "optional", "CAAS_LOCAL_SUBSCRIBERS": "allowed"}
LOCK: Final = "up.lock"
LOCK_SECONDS_MAX: Final = 1.0  # a status check holds the lock for a moment
LOCK_PAUSE_SECONDS: Final = 0.05


class LocalWorld(msgspec.Struct, frozen=True, kw_only=True):
    """The environment to run with, and the simulators' addresses.

    `owner_dsn` is the owner's address of our own database; only the owner may change its schema.
    Without a broker, `fleet` is the in-process fleet and `without_broker` the reason.
    """

    environment: dict[str, str]
    controls: dict[str, str]
    keys: dict[str, str]
    without_broker: str | None = None
    fleet: Any = None
    embedded_database: bool = False
    supervisor: Supervisor | None = None
    owner_dsn: str | None = None


async def start(
    stack: AsyncExitStack,
    environment: Mapping[str, str],
    *,
    public_url: str,
    gateway: SimulatedGateway = SimulatedGateway.CONTRACT,
    report: Report = lambda _line: None,
) -> LocalWorld:
    """Start everything without an address; the exit stack stops it.

    `report` receives a line for each slow step.

    Raises:
        StartupError: the data folder is in use or unusable, or a part does not start.
    """
    folder = data_dir(environment)
    await _lock(stack, folder)
    kept = local_secrets.kept(folder)
    found = FOR_DEVELOPMENT | {name: value for name, value in environment.items() if value}
    found["CAAS_DATA_DIR"] = str(folder)
    found.setdefault("CAAS_PUBLIC_URL", public_url)
    if not gateway.is_contract:
        found["CAAS_GATEWAY"] = gateway.adapter
    found = local_gateways.defaults(adapter_name(found), kept) | found
    found.setdefault("CAAS_PARTNER_WEBHOOK_SECRETS", kept.partner_webhook_secret)
    found.setdefault(
        "CAAS_API_KEYS", ",".join(f"{it}:{it}:{kept.api_keys[it]}" for it in kept.api_keys)
    )
    found.setdefault("CAAS_VEHICLE_COMMAND_KEYS", kept.vehicle_command_key)
    found.setdefault("CAAS_HEAD_KEYS", kept.head_key)
    found.setdefault("CAAS_SIGN_IN_KEYS", kept.sign_in_key)
    machine = _Machine(stack, found, folder, kept, report)
    embedded = not found.get("CAAS_DATABASE_URL")
    if embedded:
        await machine.start_database()
    if not found.get("CAAS_MQTT_URL"):
        await machine.start_vehicles()
    if not found.get("CAAS_GATEWAY_URL"):
        await machine.start_gateway(gateway)
        await machine.start_kept_gateways()
    if not found.get("CAAS_FACTORY_URL"):
        await machine.start_partners()
    machine.keep_ports()
    world = LocalWorld(
        environment=found, controls=machine.controls, keys=kept.api_keys,
        without_broker=machine.without_broker, fleet=machine.fleet, embedded_database=embedded,
        supervisor=machine.supervisor, owner_dsn=machine.owner_dsn,
    )  # fmt: skip
    _store_world(stack, folder, world)
    return world


def running_world(environment: Mapping[str, str]) -> LocalWorld | None:
    """Return the environment running on this data folder, or None."""
    folder = data_dir(environment)
    if not (folder / WORD).exists() or not _is_locked(folder / LOCK):
        return None
    word = json.loads((folder / WORD).read_text("utf-8"))
    return LocalWorld(
        environment=word["environment"],
        controls=word["controls"],
        keys=local_secrets.kept(folder).api_keys,
        embedded_database=word["embedded_database"],
    )


def joined(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment, completed by that of the platform running on this machine."""
    world = running_world(environment)
    return {**(world.environment if world else {}), **environment}


def vehicles_at_hand(scale: float, command_keys: VehicleCommandKeys) -> Any:
    """Return an in-process fleet for a machine without a broker.

    It accepts commands signed by one of these keys.
    """
    fleet = importlib.import_module("caas_simulators.vehicle_fleet")
    clock = importlib.import_module("caas_simulators.simulated_time")
    return fleet.Fleet(
        FLEET_SEED, command_keys=command_keys.known_to_vehicles, clock=clock.Clock(scale),
        takes_in_strangers=True,
    )  # fmt: skip


@asynccontextmanager
async def database(environment: Mapping[str, str], *, made: bool = False) -> AsyncIterator[str]:
    """Yield the configured database or this machine's own; `made` creates it if missing.

    Raises:
        StartupError: there is no database, or it cannot be started.
    """
    world = running_world(environment)
    if world is not None and not world.embedded_database:
        environment = {**world.environment, **environment}
    if environment.get("CAAS_DATABASE_URL"):
        yield database_url(environment)
        return
    folder = data_dir(environment)
    if not made and not (folder / "postgresql").exists():
        raise StartupError(
            f"There is no database in {folder} yet. Create one with './caas up' or "
            "'./caas migrate', or set CAAS_DATABASE_URL."
        )
    server = EmbeddedPostgresql()
    dsn = await server.start(folder)
    try:
        yield dsn
    finally:
        await server.stop()


class _Machine:
    """The parts started on this machine, and the resulting environment."""

    def __init__(
        self,
        stack: AsyncExitStack, found: dict[str, str], folder: Path, kept: Secrets, report: Report,
    ) -> None:  # fmt: skip
        self._stack = stack
        self._found = found
        self._folder = folder
        self._kept = kept
        self._report = report
        self._scale = f"--time-scale={time_scale(found)}"
        self._ports = known_ports(folder / PORTS)
        self.controls: dict[str, str] = {}
        self.without_broker: str | None = None
        self.fleet: Any = None
        self.owner_dsn: str | None = None
        self.supervisor = Supervisor(report)

    async def start_database(self) -> None:
        made = "" if (self._folder / "postgresql").exists() else " (created on first start)"
        self._report(f"Starting the database in {self._folder / 'postgresql'}{made}.")
        server = EmbeddedPostgresql()
        self.owner_dsn = await server.start(self._folder)
        self._stack.push_async_callback(server.stop)
        self._found["CAAS_DATABASE_URL"] = await embedded_postgresql.made(self.owner_dsn)
        for name, lives, start_again in (
            ("PostgreSQL", server.lives, server.start_again),
            ("The PostgreSQL supervisor", server.is_kept, server.keep_again),
        ):
            self.supervisor.add(Part(name=name, is_running=lives, start_again=start_again))

    async def start_vehicles(self) -> None:
        self._report("Starting the vehicles' MQTT broker.")
        broker = await start_local_broker(self._folder)
        if not isinstance(broker, LocalBroker):
            self.without_broker = broker.sentence
            await self._start_vehicles_here()
            return
        self._stack.push_async_callback(broker.stop)
        self.supervisor.add(
            Part(name="The MQTT broker", is_running=broker.lives, start_again=broker.start_again)
        )
        self._found["CAAS_MQTT_URL"] = broker.url
        self._report("Starting the simulated vehicles.")
        await self._start_simulator(
            "vehicles",
            "caas_simulators.vehicles",
            f"--seed={FLEET_SEED}",
            *(
                f"--command-key={key.key_id}:{key.public_key}"
                for key in vehicle_command_keys(self._found).public
            ),
            secret=(f"--mqtt-url={broker.fleet_url}",),
            port_option="--control-port",
        )

    async def _start_vehicles_here(self) -> None:
        """Run the cars in this process, with the usual control plane."""
        vehicles = importlib.import_module("caas_simulators.vehicles")
        settings = vehicles.VehicleSettings(
            seed=FLEET_SEED,
            command_keys=vehicle_command_keys(self._found).known_to_vehicles,
            time_scale=time_scale(self._found),
            takes_in_strangers=True,
            state_file=self._folder / "vehicles.jsonl",
        )
        cars = await self._stack.enter_async_context(vehicles.serving(settings))
        self._found["CAAS_MQTT_URL"] = IN_PROCESS_VEHICLES
        self.controls["vehicles"] = cars.control_url
        self.fleet = cars.fleet

    async def start_gateway(self, gateway: SimulatedGateway) -> None:
        self._report("Starting the simulated payment gateway and bank.")
        if gateway.is_contract:
            self._found.setdefault("CAAS_SETTLEMENT_FEES", local_gateways.SIMULATED_FEES)
        self._found["CAAS_GATEWAY_URL"] = await self._start_gateway("gateway", gateway)

    async def start_kept_gateways(self) -> None:
        """Start the simulated gateways beside that of new payments."""
        for kept in await local_gateways.to_keep(self._found):
            name = kept.adapter
            self._report(f"Starting the simulated gateway '{name}' too.")
            url = await self._start_gateway(f"gateway-{name}", kept)
            self._found |= local_gateways.settings_of_kept(kept, url, self._kept, self._found)

    async def _start_gateway(self, name: str, gateway: SimulatedGateway) -> str:
        zone = read_market(self._found.get("CAAS_MARKET") or DEFAULT_MARKET).zone.key
        webhooks = f"{self._found['CAAS_PUBLIC_URL']}/webhooks/gateway/{gateway.adapter}"
        secret = local_gateways.webhook_secret(self._kept, gateway.adapter)
        return await self._start_simulator(
            name, "caas_simulators", gateway.program, f"--webhook-url={webhooks}",
            *((f"--zone={zone}",) if gateway.is_contract else ()),
            secret=(f"--api-key={self._kept.gateway_api_key}", f"--webhook-secret={secret}"),
            state=gateway.state,
        )  # fmt: skip

    async def start_partners(self) -> None:
        self._report("Starting the simulated factory, registration and transport.")
        fleet = [f"--fleet-url={url}" for name, url in self.controls.items() if name == "vehicles"]
        url = await self._start_simulator(
            "partners",
            "caas_simulators",
            "partners",
            f"--factory-webhook-url={self._found['CAAS_PUBLIC_URL']}/webhooks/factory",
            f"--transport-webhook-url={self._found['CAAS_PUBLIC_URL']}/webhooks/transport",
            *fleet,
            secret=(
                f"--webhook-secret={self._kept.partner_webhook_secret}",
                f"--token={self._kept.partner_token}",
            ),
        )
        for partner in (FACTORY, REGISTRATION, TRANSPORT):
            if self._found.setdefault(partner.url, url) == url:
                self._found.setdefault(partner.token, self._kept.partner_token)

    async def _start_simulator(
        self,
        name: str,
        module: str,
        *arguments: str,
        secret: tuple[str, ...],
        port_option: str = "--port",
        state: str = "",
    ) -> str:
        """Start a simulator with its previous state and address."""
        simulator = Simulator(
            module, *arguments, f"--state-file={self._folder / (state or f'{name}.jsonl')}",
            self._scale,
            secret=secret, port_option=port_option, port=port_if_free(self._ports.get(name, 0)),
        )  # fmt: skip
        await started(self._stack, simulator)
        self._ports[name] = simulator.port
        self.controls[name] = simulator.url
        self.supervisor.add(
            Part(
                name=f"The simulator '{name}'",
                is_running=simulator.is_running,
                start_again=simulator.start_again,
            )
        )
        return simulator.url

    def keep_ports(self) -> None:
        """Store the simulators' ports, so that pages given to customers stay reachable."""
        fresh = self._folder / f"{PORTS}.new"
        fresh.write_text(json.dumps(self._ports), "utf-8")
        fresh.replace(self._folder / PORTS)


async def _lock(stack: AsyncExitStack, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartupError(
            f"Cannot write to the data folder {folder} ({error.strerror}). Set "
            "CAAS_DATA_DIR to a writable one."
        ) from error
    stack.callback(os.close, descriptor)
    until = asyncio.get_running_loop().time() + LOCK_SECONDS_MAX
    while not _taken(descriptor, fcntl.LOCK_EX):
        if asyncio.get_running_loop().time() > until:
            raise StartupError(
                f"A platform is already running on {folder}. Use it, stop it, or "
                "set CAAS_DATA_DIR to another folder."
            )
        await asyncio.sleep(LOCK_PAUSE_SECONDS)


def _is_locked(lock: Path) -> bool:
    """Return whether a running platform holds the folder."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _taken(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _taken(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _store_world(stack: AsyncExitStack, folder: Path, world: LocalWorld) -> None:
    """Store what is running in the data folder, readable only by its owner."""
    reported = {
        name: value for name, value in world.environment.items() if name.startswith("CAAS_")
    }
    word = folder / WORD
    descriptor = os.open(word, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(
            {
                "environment": reported,
                "controls": world.controls,
                "embedded_database": world.embedded_database,
            },
            file,
        )
    stack.callback(word.unlink, missing_ok=True)
