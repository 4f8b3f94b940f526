"""The hash chain of events (decision 41): export files, and their offline verification.

An export has one JSON line per event, in order. Its last line has the counts, the digest, the
Merkle root of the lines and the newest signed head (decision 118). Lines covered by a head contain
their position in its tree, so that missing and changed lines are detected. An export, or the last
hash of a payment, proves whether history was changed since.

Rules a change must keep: the digest here equals `event_digest` in the schema byte for byte;
verification needs only the lines; exports of older versions remain verifiable; files are processed
line by line, and their summary is checked against their content.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from caas.billing_database.connection import Database
from caas.billing_database.history_heads import BY_NAME, row_digest
from caas.billing_database.rows import row_as
from caas.errors import StartupError
from caas.rules.signed_heads import GrowingTree, SignedHead, root_of

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


class BrokenLink(msgspec.Struct, frozen=True):
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


GAPS_NAMED_MAX: Final = 20


class NoExportError(StartupError):
    """The file is not an event export."""

    code = "no_export"


class ExportEnd(msgspec.Struct, frozen=True):
    """The last line: the counts, the root and the text of the newest head."""

    events: int
    payments: int
    root: str
    head: str | None = None


class _End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    end: ExportEnd


class ExportWriter:
    """Writes the lines of an export."""

    def __init__(self) -> None:
        """Start before the first event."""
        self._tree = GrowingTree()
        self._payments = 0
        self._payment_id = ""

    def line(self, event: ChainLine) -> bytes:
        """Return an event as a line."""
        self._tree.append(digest_of_event(event))
        self._payments += event.payment_id != self._payment_id
        self._payment_id = event.payment_id
        return msgspec.json.encode(event) + b"\n"

    def end(self, head: SignedHead | None) -> bytes:
        """Return the last line."""
        reported = ExportEnd(
            events=self._tree.size,
            payments=self._payments,
            root=self._tree.root.hex(),
            head=head.text if head else None,
        )
        return msgspec.json.encode(_End(reported)) + b"\n"


class Export:
    """An export that was read."""

    def __init__(self, lines: Sequence[ChainLine], end: ExportEnd | None) -> None:
        """Create from the events and the last line."""
        self.lines = lines
        self.end = end

    @classmethod
    def read(cls, path: Path) -> "Export":
        """Read a file.

        Raises:
            NoExportError: it is not a readable export.
        """
        lines: list[ChainLine] = []
        end: ExportEnd | None = None
        try:
            with path.open("rb") as file:
                for line in file:
                    if end is not None:
                        raise NoExportError(f"{path} continues after its last line.")
                    if line.startswith(b'{"end":'):
                        end = msgspec.json.decode(line, type=_End).end
                    else:
                        lines.append(msgspec.json.decode(line, type=ChainLine))
        except (OSError, msgspec.MsgspecError) as error:
            raise NoExportError(
                f"{path} is no export of events: its line {len(lines) + 1} cannot be read. "
                "Name a file that `verify --export` wrote."
            ) from error
        if not lines and end is None:
            raise NoExportError(f"{path} is no export of events: it is empty.")
        return cls(lines, end)

    def digest(self, line: ChainLine) -> bytes:
        """Return the digest of an event with the fields that this export's version holds."""
        whole = line if self.end else msgspec.structs.replace(line, from_state=None)
        return digest_of_event(whole)

    def problems(self) -> Iterator[str]:
        """Return inconsistencies between the lines and the last line."""
        yield from (link.sentence for link in broken_links(self.lines))
        if self.end is None:
            return
        if self.end.events != len(self.lines):
            yield f"{self.end.events} events were exported and {len(self.lines)} are here"
        elif self.end.root != root_of(map(digest_of_event, self.lines)).hex():
            yield "the events differ from those exported: their root does not match"

    def problems_with_others(self, head: SignedHead) -> Iterator[str]:
        """Return differences from the events that a head covers."""
        counted = head.tables[EVENTS_TABLE]
        leaves = {it.leaf: it for it in self.lines if it.leaf is not None}
        gaps = [at for at in range(counted.rows) if at not in leaves]
        if gaps:
            shown = ", ".join(map(str, gaps[:GAPS_NAMED_MAX]))
            more = "" if len(gaps) <= GAPS_NAMED_MAX else ", ..."
            yield (
                f"{len(gaps)} of {counted.rows} events that head {head.number} counts are missing: "
                f"leaves {shown}{more}"
            )
        elif root_of(digest_of_event(leaves[at]) for at in range(counted.rows)).hex() != (
            counted.root
        ):
            yield (
                f"an event was rewritten: the {counted.rows} events that head {head.number} counts "
                "have another root"
            )
