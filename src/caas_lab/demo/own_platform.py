"""Runs a complete platform of the demonstration's own, with simulators.

It has the API on a socket, a worker, embedded PostgreSQL, mosquitto, and gateway, order partners
and vehicles as separate processes (all of Diagram 1). A relay stands before the gateway.

Rules a change must keep: the data of `caas up` is not touched; everything started here is stopped
here, also after an error; the platform's log goes to a file, never to the printed output.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp

from caas import app, local_machine, logs, server
from caas.billing_database import migrations
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas.errors import StartupError
from caas.jobs import JobQueue
from caas.local_machine import LocalWorld
from caas.settings import Settings, data_dir, read_settings, time_scale
from caas_lab.demo import database
from caas_lab.demo.control_planes import GatewayControl, PartnerControl, VehicleControl
from caas_lab.demo.http_client import HttpClient
from caas_lab.demo.relay import HOST, Relay
from caas_lab.demo.scenario import Need
from caas_lab.demo.testbed import Testbed

DEFAULT_TIME_SCALE: Final = "200"
MARKET: Final = "Europe/Madrid,EUR,en"
READY_SECONDS_MAX: Final = 30.0
LOOK_SECONDS: Final = 0.02
LOG: Final = "demo.log"
LEFTOVERS: Final = ("gateway.jsonl", "partners.jsonl", "vehicles.jsonl", LOG)


@asynccontextmanager
async def started(environment: Mapping[str, str]) -> AsyncIterator[Testbed]:
    """Start a platform of our own, and stop it afterwards.

    Raises:
        StartupError: a part of it cannot start.
    """
    folder = data_dir(environment) / "demo"
    async with AsyncExitStack() as stack:
        _lock(stack, folder)
        _log_to(stack, folder / LOG)
        known = {
            "CAAS_DATA_DIR": str(folder),
            "CAAS_TIME_SCALE": environment.get("CAAS_TIME_SCALE") or DEFAULT_TIME_SCALE,
            "CAAS_MARKET": MARKET,
            "CAAS_DATABASE_URL": await _database(stack, folder),
        }
        listener = stack.enter_context(server.listening(HOST, 0))  # held from now on
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        world = await local_machine.start(stack, known, public_url=url)
        relay = Relay(world.controls["gateway"])
        await relay.open()
        stack.push_async_callback(relay.cut)
        settings = read_settings({**world.environment, "CAAS_GATEWAY_URL": relay.url})
        await _run(stack, settings, world, listener)
        yield await _testbed(stack, settings, world, relay, url)


async def _run(
    stack: AsyncExitStack, settings: Settings, world: LocalWorld, listener: socket.socket
) -> None:
    """Run the platform itself, and wait until it is ready."""
    await migrations.migrate(settings.database_url)
    platform = await stack.enter_async_context(app.opened(settings, fleet=world.fleet))
    served = asyncio.create_task(server.serve(platform, settings, listener=listener))
    port = listener.getsockname()[1]
    _stop_at_the_end(stack, served)
    _stop_at_the_end(stack, asyncio.create_task(platform.jobs.run()))
    _stop_at_the_end(stack, asyncio.create_task(_wake_often(platform.jobs)))
    async with aiohttp.ClientSession() as session, asyncio.timeout(READY_SECONDS_MAX):
        while not await _is_ready(session, f"http://{HOST}:{port}/ready"):
            if served.done():
                served.result()
            await asyncio.sleep(LOOK_SECONDS)


async def _testbed(
    stack: AsyncExitStack, settings: Settings, world: LocalWorld, relay: Relay, url: str
) -> Testbed:
    """Return everything that a scenario may use."""
    session = await stack.enter_async_context(aiohttp.ClientSession())
    return Testbed(
        platform=HttpClient(session, url, world.keys),
        gateway=GatewayControl(HttpClient(session, world.controls["gateway"], {})),
        partners=PartnerControl(HttpClient(session, world.controls["partners"], {})),
        vehicles=VehicleControl(HttpClient(session, world.controls["vehicles"], {})),
        scale=time_scale(world.environment),
        session=session,
        provides=frozenset(Need),
        relay=relay,
        records=await stack.enter_async_context(database.opened(settings.database_url)),
        is_ours=True,
        outbox=settings.data_dir / "outbox",
        database_url=settings.database_url,
        log=settings.data_dir / LOG,
    )


def _lock(stack: AsyncExitStack, folder: Path) -> None:
    """Lock the demonstration's folder, and delete what the last run left in it.

    Raises:
        StartupError: another demonstration uses it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StartupError(
            f"Another demonstration is running in {folder}. Wait until it ends, or "
            "set CAAS_DATA_DIR to another folder."
        ) from error
    except OSError as error:
        raise StartupError(
            f"Cannot write to the data folder {folder} ({error.strerror}). Set "
            "CAAS_DATA_DIR to a writable one."
        ) from error
    shutil.rmtree(folder / "outbox", ignore_errors=True)
    for name in LEFTOVERS:
        (folder / name).unlink(missing_ok=True)


def _log_to(stack: AsyncExitStack, path: Path) -> None:
    """Write every log line to a file, those of libraries too."""
    stack.enter_context(logs.to_file(path))
    stack.callback(logging.getLogger().addHandler, logging.NullHandler())


async def _database(stack: AsyncExitStack, folder: Path) -> str:
    server = EmbeddedPostgresql()
    dsn = await server.start(folder)
    stack.push_async_callback(server.stop)
    return await database.fresh_database(dsn)


async def _wake_often(jobs: JobQueue) -> None:
    """Wake the worker often: its polling interval of a second is minutes of scaled time."""
    while True:
        jobs.wake()
        await asyncio.sleep(LOOK_SECONDS)


def _stop_at_the_end(stack: AsyncExitStack, part: "asyncio.Task[None]") -> None:
    """Stop a part of the platform at the end."""

    async def stop() -> None:
        part.cancel()
        await asyncio.gather(part, return_exceptions=True)

    stack.push_async_callback(stop)


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        async with session.get(url) as answer:
            return answer.status == HTTPStatus.OK
    return False
