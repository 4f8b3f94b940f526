"""P5: whole lifecycles over real sockets: callers, gateway, cars and platform, each a process.

`./caas up` is what is measured, with the simulated gateway and partners over HTTP and the cars over
MQTT, as it starts them (without a broker to be had, the cars stand in its process). A customer's
purchase is asked for over HTTP, the funds are held at the gateway, the car is told, its signed word
verified, the charge captured, and the bank's word comes as a webhook. All of it runs on the cores
of this machine, so that the simulators' share is ours to bear.

Rules a change must keep: a lifecycle counts when its payment is Settled in the database; the clock
of the world runs at its real pace; only the bank is hurried, through the gateway's control plane.
"""

import asyncio
import base64
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp

from caas import local_machine, process_environment
from caas.local_machine import LocalWorld
from caas_lab.bench import callers, stage
from caas_lab.bench.cpu import Spending, of_children, of_process
from caas_lab.bench.gateway_at_hand import GatewayAtHand
from caas_lab.bench.ground import Goal, Ground, Round, Turn
from caas_lab.bench.served import CREATED, INITIATE, initiating
from caas_lab.bench.stage import Stage

START_SECONDS_MAX: Final = 60.0
SETTLE_EVERY_SECONDS: Final = 0.25
SETTLED_SECONDS_MAX: Final = 120.0
SETTLED: Final = "select count(*) from payments where state = 'Settled'"


@dataclass(frozen=True, slots=True)
class Up:
    """A platform that is up with the world around it, and the stage its orders come from."""

    url: str
    process: int
    world: LocalWorld
    stage: Stage
    session: aiohttp.ClientSession

    async def lifecycles(self, seconds: int) -> tuple[int, float]:
        """Buy for so many seconds; return how many settled, and how long that took in all."""
        url, orders = self.url + INITIATE, await self.stage.fresh_orders()
        key, customer = self.world.keys["service-catalog"], self.stage.customer
        requests = [initiating(url, order, customer, key) for order in orders]
        before = await self._settled()
        loop = asyncio.get_running_loop()
        began = loop.time()
        bank = loop.create_task(self._hurry_the_bank())
        try:
            bought = await callers.call(requests, status=CREATED, seconds=seconds)
            async with asyncio.timeout(SETTLED_SECONDS_MAX):
                while await self._settled() - before < bought.done:  # noqa: ASYNC110  # the bank's word comes to another process
                    await asyncio.sleep(SETTLE_EVERY_SECONDS)
        finally:
            bank.cancel()
        return bought.done, loop.time() - began

    async def _settled(self) -> int:
        row = await self.stage.database.fetchrow(SETTLED)
        assert row is not None, "a count has a row"
        return int(row[0])

    async def _hurry_the_bank(self) -> None:
        url = f"{self.world.controls['gateway']}/_control/settle"
        while True:
            async with self.session.post(url, json={}) as answer:
                assert answer.ok, await answer.text()
            await asyncio.sleep(SETTLE_EVERY_SECONDS)


@asynccontextmanager
async def ready(ground: Ground) -> AsyncIterator[Round]:
    """Start the platform and its world on a database of its own."""
    dsn = await ground.database("whole")
    with tempfile.TemporaryDirectory(prefix="caas-bench-", ignore_cleanup_errors=True) as folder:
        async with (
            aiohttp.ClientSession() as session,
            _up(dsn, Path(folder), session, quick=ground.quick) as up,
        ):

            async def measured(seconds: int) -> Turn:
                theirs = await ground.yardstick.rate(seconds)
                spending = Spending(
                    ground.postmaster,
                    our=partial(of_process, up.process),
                    simulators=partial(of_children, up.process),
                )
                done, took = await up.lifecycles(seconds)
                return Turn(theirs, done / took, spending.each(done))

            yield measured


@asynccontextmanager
async def _up(
    dsn: str, folder: Path, session: aiohttp.ClientSession, *, quick: bool
) -> AsyncIterator[Up]:
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
        assert world is not None, "what is up has left word"

        async def key_of(vin: str) -> bytes:
            fleet = f"{world.controls['vehicles']}/_control/vehicles"
            async with session.post(fleet, json={"vin": vin}) as answer:
                return base64.b64decode((await answer.json())["public_key"])

        async with stage.standing(dsn, GatewayAtHand(), quick=quick, key_of=key_of) as standing:
            url = f"http://127.0.0.1:{port}"
            yield Up(url, process.pid, world, standing, session)
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
    raise AssertionError("The platform did not come up; what it said is above.")


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
