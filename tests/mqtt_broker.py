"""A real MQTT broker for one test, or for a platform that several share: its own mosquitto.

Rules: the program is fetched once per machine and user, never skipped.
"""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from caas.external_systems.local_broker import LocalBroker, start_local_broker

PROGRAMS = Path(tempfile.gettempdir()) / f"caas-test-programs-{os.getuid()}"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[LocalBroker]:
    """Run a broker of the test's own, so that no session of another test shares it."""
    async with broker_in(tmp_path) as started:
        yield started


@asynccontextmanager
async def broker_in(folder: Path) -> AsyncIterator[LocalBroker]:
    """Run a broker that keeps its files in a folder."""
    started = await start_local_broker(folder, programs=PROGRAMS)
    assert isinstance(started, LocalBroker), started.sentence
    try:
        yield started
    finally:
        await started.stop()
