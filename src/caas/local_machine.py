"""Everything around the platform on one machine: database, broker and the simulated outside world.

`caas up` and `caas demo` start here. The simulators are processes of their own with sockets of
their own; what already has an address in the environment is not started.

Rules a change must keep: secrets are made once and kept in the data folder, readable by its owner
only, and are no argument of any process; a second start keeps the data of the first; whatever was
started here is stopped here, and ends also when this process is killed.
"""

import asyncio
import base64
import fcntl
import importlib
import json
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas.errors import StartupError
from caas.external_systems.local_broker import LocalBroker, start_local_broker
from caas.settings import IN_PROCESS_VEHICLES, data_dir, database_url, time_scale

FLEET_SEED: Final = 7
START_SECONDS_MAX: Final = 30.0
STOP_SECONDS_MAX: Final = 5.0
SCOPES: Final = (
    "order-management", "service-catalog", "billing", "ota-engine", "webhook-handler", "operations",
)  # fmt: skip
WEBHOOK_SECRET_BYTES: Final = 24
SIMULATED_FEES: Final = "14,25,1500"
"""What the simulated gateway keeps, as CAAS_SETTLEMENT_FEES says it."""
WORD: Final = "running.json"
ADDRESS: Final = re.compile(r"http://[^\s\"]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWorld:
    """The environment to run with, and where the simulators can be spoken to.

    Where no broker can be had, `fleet` are the cars of this process and `without_broker` says why.
    """

    environment: dict[str, str]
    controls: dict[str, str]
    keys: dict[str, str]
    without_broker: str | None = None
    fleet: Any = None


@dataclass(frozen=True, slots=True)
class _Secrets:
    gateway_api_key: str
    gateway_webhook_secret: str
    partner_webhook_secret: str
    api_keys: dict[str, str]


async def start(
    stack: AsyncExitStack, environment: Mapping[str, str], *, public_url: str
) -> LocalWorld:
    """Start what has no address yet; everything stops with the stack.

    Raises:
        StartupError: the data folder is in use or unusable, or a part does not start.
    """
    folder = data_dir(environment)
    _lock(stack, folder)
    kept = _secrets(folder)
    found = {name: value for name, value in environment.items() if value}
    found.setdefault("CAAS_PUBLIC_URL", public_url)
    found.setdefault("CAAS_GATEWAY_API_KEY", kept.gateway_api_key)
    found.setdefault("CAAS_GATEWAY_WEBHOOK_SECRETS", kept.gateway_webhook_secret)
    found.setdefault("CAAS_PARTNER_WEBHOOK_SECRETS", kept.partner_webhook_secret)
    found.setdefault(
        "CAAS_API_KEYS", ",".join(f"{name}:{name}:{key}" for name, key in kept.api_keys.items())
    )
    controls: dict[str, str] = {}
    without_broker, fleet = None, None
    if not found.get("CAAS_DATABASE_URL"):
        server = EmbeddedPostgresql()
        found["CAAS_DATABASE_URL"] = await server.start(folder)
        stack.push_async_callback(server.stop)
    if not found.get("CAAS_MQTT_URL"):
        without_broker = await _start_vehicles(stack, found, folder, controls)
    if without_broker is not None:
        fleet = await _start_vehicles_here(stack, found, controls)
    if not found.get("CAAS_GATEWAY_URL"):
        await _start_gateway(stack, found, folder, kept, controls)
    if not found.get("CAAS_FACTORY_URL"):
        await _start_partners(stack, found, folder, kept, controls)
    world = LocalWorld(
        environment=found, controls=controls, keys=kept.api_keys,
        without_broker=without_broker, fleet=fleet,
    )  # fmt: skip
    _leave_word(stack, folder, world)
    return world


def running_world(environment: Mapping[str, str]) -> LocalWorld | None:
    """Return what is up on this machine's data folder, None when nothing is."""
    folder = data_dir(environment)
    if not (folder / WORD).exists():
        return None
    word = json.loads((folder / WORD).read_text("utf-8"))
    return LocalWorld(
        environment=word["environment"], controls=word["controls"], keys=_secrets(folder).api_keys
    )


def joined(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment, completed by that of the platform that is up on this machine."""
    world = running_world(environment)
    return {**(world.environment if world else {}), **environment}


def vehicles_at_hand(scale: float) -> Any:
    """Return a fleet in this process, for a machine on which no broker can be had."""
    fleet = importlib.import_module("caas_simulators.vehicle_fleet")
    clock = importlib.import_module("caas_simulators.simulated_time")
    return fleet.Fleet(FLEET_SEED, clock=clock.Clock(scale), takes_in_strangers=True)


@asynccontextmanager
async def database(environment: Mapping[str, str]) -> AsyncIterator[str]:
    """Lend the environment's database, or this machine's own, started if need be.

    Raises:
        StartupError: it cannot be started.
    """
    if environment.get("CAAS_DATABASE_URL"):
        yield database_url(environment)
        return
    server = EmbeddedPostgresql()
    dsn = await server.start(data_dir(environment))
    try:
        yield dsn
    finally:
        await server.stop()


async def _start_vehicles(
    stack: AsyncExitStack, found: dict[str, str], folder: Path, controls: dict[str, str]
) -> str | None:
    broker = await start_local_broker(folder)
    if not isinstance(broker, LocalBroker):
        return broker.sentence
    stack.push_async_callback(broker.stop)
    found["CAAS_MQTT_URL"] = broker.url
    controls["vehicles"] = await _spawn(
        stack,
        "caas_simulators.vehicles",
        f"--seed={FLEET_SEED}",
        f"--time-scale={time_scale(found)}",
        secret=(f"--mqtt-url={broker.url}",),
    )
    return None


async def _start_vehicles_here(
    stack: AsyncExitStack, found: dict[str, str], controls: dict[str, str]
) -> Any:
    """Let the cars stand in this process, steered over a socket like any others."""
    vehicles = importlib.import_module("caas_simulators.vehicles")
    settings = vehicles.VehicleSettings(
        seed=FLEET_SEED, time_scale=time_scale(found), takes_in_strangers=True
    )
    cars = await stack.enter_async_context(vehicles.serving(settings))
    found["CAAS_MQTT_URL"] = IN_PROCESS_VEHICLES
    controls["vehicles"] = cars.control_url
    return cars.fleet


async def _start_gateway(
    stack: AsyncExitStack,
    found: dict[str, str],
    folder: Path,
    kept: _Secrets,
    controls: dict[str, str],
) -> None:
    found.setdefault("CAAS_SETTLEMENT_FEES", SIMULATED_FEES)
    found["CAAS_GATEWAY_URL"] = controls["gateway"] = await _spawn(
        stack,
        "caas_simulators",
        "gateway",
        f"--webhook-url={found['CAAS_PUBLIC_URL']}/webhooks/gateway",
        f"--state-file={folder / 'gateway.jsonl'}",
        f"--time-scale={time_scale(found)}",
        secret=(
            f"--api-key={kept.gateway_api_key}",
            f"--webhook-secret={kept.gateway_webhook_secret}",
        ),
    )


async def _start_partners(
    stack: AsyncExitStack,
    found: dict[str, str],
    folder: Path,
    kept: _Secrets,
    controls: dict[str, str],
) -> None:
    fleet = [f"--fleet-url={controls['vehicles']}"] if "vehicles" in controls else []
    url = await _spawn(
        stack,
        "caas_simulators",
        "partners",
        f"--factory-webhook-url={found['CAAS_PUBLIC_URL']}/webhooks/factory",
        f"--transport-webhook-url={found['CAAS_PUBLIC_URL']}/webhooks/transport",
        f"--state-file={folder / 'partners.jsonl'}",
        f"--time-scale={time_scale(found)}",
        *fleet,
        secret=(f"--webhook-secret={kept.partner_webhook_secret}",),
    )
    controls["partners"] = url
    for name in ("CAAS_FACTORY_URL", "CAAS_REGISTRATION_URL", "CAAS_TRANSPORT_URL"):
        found.setdefault(name, url)


async def _spawn(
    stack: AsyncExitStack, module: str, *arguments: str, secret: tuple[str, ...]
) -> str:
    """Start a simulator and return the address it prints when it listens.

    Secret arguments go by stdin, which stays open: the simulator ends when this process does.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, "--held", stdin=pipe, stdout=pipe
    )
    stack.push_async_callback(_stop, process)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("".join(f"{argument}\n" for argument in (*secret, "")).encode())
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            line = await process.stdout.readline()
        address = ADDRESS.search(line.decode())
        assert address is not None
        return address[0]
    except (TimeoutError, AssertionError) as error:
        raise StartupError(
            f"The simulator {module} {arguments[0]} did not start; what it said is above."
        ) from error


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS_MAX):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _lock(stack: AsyncExitStack, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartupError(
            f"The data folder {folder} cannot be written to ({error.strerror}). "
            "Set CAAS_DATA_DIR to one that can."
        ) from error
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StartupError(
            f"A platform is already up on {folder}. Use that one, stop it, or set CAAS_DATA_DIR "
            "to another folder."
        ) from error


def _secrets(folder: Path) -> _Secrets:
    """Return this folder's secrets, made when it was new."""
    path = folder / "secrets.json"
    if not path.exists():
        made = {
            "gateway_api_key": f"sk_{secrets.token_urlsafe(24)}",
            "gateway_webhook_secret": _webhook_secret(),
            "partner_webhook_secret": _webhook_secret(),
            "api_keys": {scope: f"caas_{secrets.token_urlsafe(32)}" for scope in SCOPES},
        }
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(made, file)
        fresh.replace(path)
    try:
        return _Secrets(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StartupError(
            f"The secrets in {path} cannot be read. Restore the file, or remove it: new secrets "
            "are then made, and callers need the new keys."
        ) from error


def _leave_word(stack: AsyncExitStack, folder: Path, world: LocalWorld) -> None:
    """Say in the data folder what is up on it, while it is; its owner alone may read it."""
    told = {name: value for name, value in world.environment.items() if name.startswith("CAAS_")}
    word = folder / WORD
    descriptor = os.open(word, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"environment": told, "controls": world.controls}, file)
    stack.callback(word.unlink, missing_ok=True)


def _webhook_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(WEBHOOK_SECRET_BYTES)).decode()}"
