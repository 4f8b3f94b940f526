"""The hash chain of events (decision 41): export and verification without the database.

An export has one JSON line per event, in order, and a last line with the count, the digest and the
newest signed head (decision 118). An export, or the last hash of a payment, proves whether history
was changed since.

Rules a change must keep: the digest here equals `event_digest` in the schema byte for byte;
verification needs only the lines; exports of older versions remain verifiable.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from caas.billing_database.connection import Database
from caas.billing_database.history_tables import BY_NAME, row_digest
from caas.billing_database.rows import row_as

PREFETCH_ROWS: Final = 2000
EVENTS_TABLE: Final = "payment_events"
EVENTS_SECONDS_MAX: Final = 3000
EVENTS: Final = """
with counted as (
  select k.key, l.first_leaf + k.i - 1 as leaf
    from history_leaves l cross join lateral unnest(l.keys) with ordinality k (key, i)
   where l.of_table = 'payment_events'
)
select payment_id::text, seq, event, from_state, to_state, source, facts::text as facts,
       extract(epoch from at)::text as at, encode(hash, 'hex') as hash, c.leaf
  from payment_events e left join counted c on c.key = e.payment_id || '/' || e.seq
 order by payment_id, seq
"""


class ChainLine(msgspec.Struct, frozen=True):
    """An exported event; `facts` and `at` are the hashed text.

    `leaf` is its place in the Merkle tree, None if no head covers it yet.
    """

    payment_id: str
    seq: int
    event: str
    to_state: str
    source: str
    facts: str
    at: str
    hash: str
    from_state: str | None = None
    leaf: int | None = None


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """The place and reason of a broken payment chain."""

    payment_id: str
    seq: int
    because: str

    @property
    def sentence(self) -> str:
        """Format as a sentence."""
        return f"broken at event {self.seq} of payment {self.payment_id}: {self.because}"


async def exported(database: Database) -> AsyncIterator[ChainLine]:
    """Yield every event in order, from one snapshot."""
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        async for row in connection.cursor(
            EVENTS, prefetch=PREFETCH_ROWS, timeout=EVENTS_SECONDS_MAX
        ):
            yield row_as(ChainLine, row)


def digest_of_event(line: ChainLine) -> bytes:
    """Return an event's leaf in the Merkle tree."""
    columns = BY_NAME[EVENTS_TABLE].columns
    assert columns is not None, "an export holds what is digested"
    values = [getattr(line, name) for name in columns]
    return row_digest(
        EVENTS_TABLE, columns, [None if value is None else str(value) for value in values]
    )


def broken_links(lines: Iterable[ChainLine]) -> Iterator[BrokenLink]:
    """Verify lines in order and yield each break of the chain."""
    checker = ChainChecker()
    for line in lines:
        broken = checker.take(line)
        if broken is not None:
            yield broken


class ChainChecker:
    """Verifies the lines of an export one by one."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self._payment_id = ""
        self._seq = 0
        self._hash = b""

    def take(self, line: ChainLine) -> BrokenLink | None:
        """Return how this line breaks the chain, or None."""
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
