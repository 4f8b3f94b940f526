"""An append-only file of JSON lines, so that a restarted gateway remembers its transactions.

Rules: a record is written before the answer that tells of it; a last line cut short by a crash is
dropped, anything else that cannot be read is an error.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from caas_simulators.gateway_records import Record

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Record)


class Journal:
    """The records of one gateway; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        """Open the file for appending, unless there is none."""
        self._path = path
        self.records_read = 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        self._file = None if path is None else path.open("r+b", buffering=0)

    def replay(self) -> Iterator[Record]:
        """Yield what was written before, and be ready to go on behind it."""
        if self._file is None:
            return
        whole_bytes = 0
        for line in self._file.readall().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            whole_bytes += len(line)
            self.records_read += 1
            yield _DECODER.decode(line)
        self._file.truncate(whole_bytes)
        self._file.seek(whole_bytes)

    def write(self, *records: Record) -> None:
        """Append records; they survive the end of this process from here on."""
        if self._file is not None:
            self._file.write(b"".join(_ENCODER.encode(record) + b"\n" for record in records))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
