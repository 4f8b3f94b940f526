"""P5: lifecycles over sockets: load generator, gateway, vehicles and platform, each a process.

`./caas up` is measured as it starts everything: gateway and partners over HTTP, vehicles over MQTT
(or in its process, where no broker can be installed). A purchase arrives over HTTP, the gateway
holds the funds, the vehicle gets its command and confirms it, the charge is captured, and the
settlement arrives as a webhook. The simulators share the cores with the platform.

Rules a change must keep: a lifecycle counts when its payment is Settled in the database; time runs
at its normal speed; only the bank is accelerated, through the gateway's control plane.
"""

import asyncio
import base64
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from caas import local_machine, process_environment
from caas.local_machine import LocalWorld
from caas_lab.bench import fixtures, load_generator
from caas_lab.bench.cpu import CpuUsage, of_children, of_process
from caas_lab.bench.fixtures import PlatformFixture
from caas_lab.bench.goals import BenchServer, Goal, Measure, Measurement
from caas_lab.bench.load_generator import Calls
from caas_lab.bench.served_api import CREATED, INITIATE, initiating
from caas_lab.bench.stub_gateway import StubGateway

START_SECONDS_MAX: Final = 60.0
SETTLE_EVERY_SECONDS: Final = 0.25
SETTLED_SECONDS_MAX: Final = 120.0
UNDER_WAY: Final = """
select count(*) from payments where state in ('Initiated', 'Pending', 'Authorized', 'Capturing')
"""
SETTLED: Final = "select count(*) from payments where state = 'Settled'"


class RunningPlatform(msgspec.Struct, frozen=True):
    """A platform that is up with its simulators, and the fixture its orders come from."""

    url: str
    process: int
    world: LocalWorld
    fixture: PlatformFixture
    session: aiohttp.ClientSession

    async def purchases(self, count: int | None = None) -> list[bytes]:
        """Return requests for purchases that are answered when their funds are reserved."""
        url, orders = self.url + INITIATE, await self.fixture.fresh_orders(count)
        key, customer = self.world.keys["service-catalog"], self.fixture.customer
        return [initiating(url, order, customer, key) for order in orders]

    async def buy(
        self,
        requests: Sequence[bytes],
        seconds: int,
        *,
        a_second: float = 0.0,
        connections: int = load_generator.CONNECTIONS,
    ) -> Calls:
        """Send the purchases for some seconds, and wait until every one that was sent is settled.

        Each connection sends the next purchase on its answer, or at a rate of `a_second` in all.
        """
        before = await self._settled()
        bank = asyncio.get_running_loop().create_task(self._settle())
        try:
            bought = await load_generator.send(
                requests, status=CREATED, seconds=seconds, a_second=a_second,
                connections=connections,
            )  # fmt: skip
            async with asyncio.timeout(SETTLED_SECONDS_MAX):
                while await self._settled() - before < bought.done:  # noqa: ASYNC110  # another process receives the settlement
                    await asyncio.sleep(SETTLE_EVERY_SECONDS)
        finally:
            bank.cancel()
        return bought

    async def let_vehicles(self, behaviour: str) -> None:
        """Set the behaviour of every vehicle."""
        for vin in self.fixture.vins:
            url = f"{self.world.controls['vehicles']}/_control/vehicles/{vin}"
            async with self.session.post(url, json={"behaviour": behaviour}) as answer:
                assert answer.ok, await answer.text()

    async def until_settled(self) -> None:
        """Wait until no payment is under way."""
        async with asyncio.timeout(SETTLED_SECONDS_MAX):
            while (await self._counted(UNDER_WAY)) > 0:
                await self._settle_once()
                await asyncio.sleep(SETTLE_EVERY_SECONDS)

    def usage(self, postmaster: int) -> CpuUsage:
        """Count CPU from now on: of the server, of the platform, of the simulators."""
        return CpuUsage(
            postmaster,
            our=partial(of_process, self.process),
            simulators=partial(of_children, self.process),
        )

    async def _settled(self) -> int:
        return await self._counted(SETTLED)

    async def _counted(self, query: str) -> int:
        row = await self.fixture.database.fetchrow(query)
        assert row is not None, "a count has a row"
        return int(row[0])

    async def _settle(self) -> None:
        while True:
            await self._settle_once()
            await asyncio.sleep(SETTLE_EVERY_SECONDS)

    async def _settle_once(self) -> None:
        url = f"{self.world.controls['gateway']}/_control/settle"
        async with self.session.post(url, json={}) as answer:
            assert answer.ok, await answer.text()


@asynccontextmanager
async def ready(server: BenchServer) -> AsyncIterator[Measure]:
    """Start the platform and its world on a database of its own."""
    async with running(server, "whole") as up:

        async def measured(seconds: int) -> Measurement:
            theirs = await server.yardstick.rate(seconds)
            requests = await up.purchases()
            usage = up.usage(server.postmaster)
            began = time.perf_counter()
            bought = await up.buy(requests, seconds)
            took = time.perf_counter() - began
            return Measurement(theirs, bought.done / took, usage.each(bought.done))

        yield measured


@asynccontextmanager
async def running(server: BenchServer, database: str) -> AsyncIterator[RunningPlatform]:
    """Start a platform and its simulators on a database of their own."""
    dsn = await server.database(database)
    with tempfile.TemporaryDirectory(prefix="caas-bench-", ignore_cleanup_errors=True) as folder:
        async with (
            aiohttp.ClientSession() as session,
            _start(dsn, Path(folder), session, quick=server.quick) as up,
        ):
            yield up


@asynccontextmanager
async def _start(
    dsn: str, folder: Path, session: aiohttp.ClientSession, *, quick: bool
) -> AsyncIterator[RunningPlatform]:
    environment = {
        **process_environment.environment(),
        "CAAS_DATA_DIR": str(folder),
        "CAAS_DATABASE_URL": dsn,
    }
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "caas.cli", "up", f"--port={port}",
        env=environment, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            await _answers(session, f"http://127.0.0.1:{port}/ready", process)
        world = local_machine.running_world(environment)
        assert world is not None, "`up` has recorded its world"

        async def key_of(vin: str) -> bytes:
            fleet = f"{world.controls['vehicles']}/_control/vehicles"
            async with session.post(fleet, json={"vin": vin}) as answer:
                return base64.b64decode((await answer.json())["public_key"])

        async with fixtures.started(dsn, StubGateway(), quick=quick, key_of=key_of) as fixture:
            url = f"http://127.0.0.1:{port}"
            yield RunningPlatform(url, process.pid, world, fixture, session)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(
    session: aiohttp.ClientSession, url: str, process: asyncio.subprocess.Process
) -> None:
    while process.returncode is None:
        try:
            async with session.get(url) as answer:
                if answer.ok:
                    return
        except aiohttp.ClientError:
            await asyncio.sleep(SETTLE_EVERY_SECONDS)
    raise AssertionError("The platform did not start; see its output above.")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


GOAL: Final = Goal(
    what="lifecycles over HTTP and MQTT with simulators on the same cores, 64 connections",
    theirs="TPC-B /s",
    ours="lifecycles /s",
    aim=0.3,
    ready=ready,
)
