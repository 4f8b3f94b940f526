"""A real MQTT broker for one test: its own mosquitto, so that no session of another test shares.

Rules: the program is fetched once per machine and user, never skipped.
"""

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from caas.external_systems.local_broker import LocalBroker, start_local_broker

PROGRAMS = Path(tempfile.gettempdir()) / f"caas-test-programs-{os.getuid()}"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[LocalBroker]:
    """Run a broker of the test's own."""
    started = await start_local_broker(tmp_path, programs=PROGRAMS)
    assert isinstance(started, LocalBroker), started.sentence
    yield started
    await started.stop()
