"""The hash chain of the events (decision 41), read out and checked without the database's help.

An export is one JSON line for each event, in order. Whoever holds an export, or the last hash of a
payment, can tell whether history was changed since.

Rules a change must keep: the digest here and `event_digest` in the schema are the same bytes; the
check needs nothing but the lines.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from caas.billing_database.connection import Database

PREFETCH_ROWS: Final = 2000
EVENTS: Final = """
select payment_id::text, seq, event, to_state, source, facts::text as facts,
       extract(epoch from at)::text as at, encode(hash, 'hex') as hash
  from payment_events order by payment_id, seq
"""


class ChainLine(msgspec.Struct, frozen=True):
    """One event as it is exported; `facts` and `at` are the text that was hashed."""

    payment_id: str
    seq: int
    event: str
    to_state: str
    source: str
    facts: str
    at: str
    hash: str


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """Where a payment's chain does not hold, and why."""

    payment_id: str
    seq: int
    because: str


async def exported(database: Database) -> AsyncIterator[ChainLine]:
    """Read every event in order, on one snapshot."""
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        async for row in connection.cursor(EVENTS, prefetch=PREFETCH_ROWS):
            yield ChainLine(**dict(row))


def broken_links(lines: Iterable[ChainLine]) -> Iterator[BrokenLink]:
    """Check lines in order and tell each place where the chain breaks."""
    checker = ChainChecker()
    for line in lines:
        broken = checker.take(line)
        if broken is not None:
            yield broken


class ChainChecker:
    """Takes the lines of an export one by one."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self._payment_id = ""
        self._seq = 0
        self._hash = b""

    def take(self, line: ChainLine) -> BrokenLink | None:
        """Return how this line breaks the chain, None when it holds."""
        if line.payment_id != self._payment_id:
            self._payment_id, self._seq, self._hash = line.payment_id, 0, b""
        expected = _digest(self._hash, line)
        missing = line.seq != self._seq + 1
        self._seq, self._hash = line.seq, bytes.fromhex(line.hash)
        if missing:
            return BrokenLink(line.payment_id, line.seq, "an event before it is missing")
        if expected != self._hash:
            return BrokenLink(line.payment_id, line.seq, "the event is not what was hashed")
        return None


def _digest(before: bytes, line: ChainLine) -> bytes:
    text = "|".join(
        (
            line.payment_id,
            str(line.seq),
            line.event,
            line.to_state,
            line.source,
            line.facts,
            line.at,
        )
    )
    return hashlib.sha256(before + text.encode()).digest()
