"""Counts messages on vehicles' response topics that are not acknowledgements.

A faulty or compromised vehicle may send any number of them. Once a second each reason becomes one
log line and each vehicle one row.

Rules a change must keep: `take` never fails and never blocks; memory, log lines and rows are
bounded; no message content is stored.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Final

import structlog

from caas.billing_database.connection import Database
from caas.billing_database.ota_commands import count_unusable
from caas.errors import UnavailableError
from caas.external_systems.vehicle_messages import Unusable, vehicle_of

SECONDS_BETWEEN: Final = 1.0
REMEMBERED_MAX: Final = 1_000
TOPIC_CHARS_MAX: Final = 200

_log = structlog.get_logger()


class UnusableMessages:
    """A counter that is flushed once a second."""

    def __init__(self, database: Database) -> None:
        """Store the counts in this database."""
        self._database = database
        self._counts: Counter[tuple[str, str]] = Counter()
        self._examples: dict[Unusable, tuple[str, str, int]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def take(self, topic: str, reason: Unusable, sentence: str) -> None:
        """Count a message; a VIN beyond the limit counts as unknown."""
        key = (vehicle_of(topic), str(reason))
        if key not in self._counts and len(self._counts) >= REMEMBERED_MAX:
            key = ("", str(reason))
        self._counts[key] += 1
        example = self._examples.get(reason, (topic[:TOPIC_CHARS_MAX], sentence, 0))
        self._examples[reason] = (*example[:2], example[2] + 1)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._keep_writing())

    async def close(self) -> None:
        """Flush the remaining counts, after the message source was closed."""
        self._closing.set()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        await self._write()

    async def _keep_writing(self) -> None:
        while self._counts and not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(SECONDS_BETWEEN):
                    await self._closing.wait()
            await self._write()

    async def _write(self) -> None:
        """Write log lines and rows; counts that cannot be stored are kept."""
        examples, self._examples = self._examples, {}
        for reason, (topic, sentence, times) in examples.items():
            _log.warning(
                "acknowledgement.refused",
                topic=topic, reason=str(reason), because=sentence, times=times,
            )  # fmt: skip
        counts = Counter(self._counts)
        if not counts:
            return
        with suppress(UnavailableError, TimeoutError):
            await count_unusable(self._database, counts)
            self._counts -= counts
