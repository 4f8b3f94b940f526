"""A simulator as a process of its own, killed without warning when the test is done with it.

Rules: it listens on any free port; only the process that was started here is killed.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp

from tests.simulators.gateway_client import API_KEY, Gateway

START_SECONDS_MAX = 120


@asynccontextmanager
async def process(simulator: str, *arguments: str) -> AsyncIterator[Gateway]:
    """Run a simulator; a second of its world is a millisecond."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "caas_simulators", simulator, "--time-scale", "1000"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert started.stdout is not None
        line = await asyncio.wait_for(started.stdout.readline(), START_SECONDS_MAX)
        headers = {"authorization": f"Bearer {API_KEY}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            yield Gateway(json.loads(line)["url"], session)
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        await started.wait()
