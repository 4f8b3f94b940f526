"""Event export files: writing, reading and offline verification.

The last line holds the counts, the Merkle root of the lines and the newest signed head. Lines
covered by a head carry their place in its tree, so that missing and changed lines are detected.

Rule a change must keep: files are processed line by line, and their summary is checked against
their content.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from caas.billing_database.event_chain import (
    EVENTS_TABLE,
    ChainLine,
    broken_links,
    digest_of_event,
)
from caas.errors import StartupError
from caas.rules.merkle import GrowingTree, root_of
from caas.rules.signed_heads import SignedHead

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
