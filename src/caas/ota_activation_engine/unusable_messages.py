"""Counts what comes on vehicles' response topics and is no acknowledgement.

A broken or broken-into vehicle may say any number of such messages. They are added up here, and
once a second each reason is one line of the log and each vehicle's one row in the books.

Rules a change must keep: `take` never fails and never waits; what is remembered is limited, and so
are lines and rows; none of the message's words is kept.
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
    """A tally, written down once a second while there is anything to write."""

    def __init__(self, database: Database) -> None:
        """Count in this database."""
        self._database = database
        self._counts: Counter[tuple[str, str]] = Counter()
        self._examples: dict[Unusable, tuple[str, str, int]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def take(self, topic: str, reason: Unusable, sentence: str) -> None:
        """Count one; a VIN beyond those remembered is counted as unknown."""
        key = (vehicle_of(topic), str(reason))
        if key not in self._counts and len(self._counts) >= REMEMBERED_MAX:
            key = ("", str(reason))
        self._counts[key] += 1
        example = self._examples.get(reason, (topic[:TOPIC_CHARS_MAX], sentence, 0))
        self._examples[reason] = (*example[:2], example[2] + 1)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._keep_writing())

    async def close(self) -> None:
        """Write what is left; whoever sends messages is closed already."""
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
        """Write both; what the database does not take is kept for the next time."""
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
