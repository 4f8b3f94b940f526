"""What the platform's own log says of errors that nobody scripted.

A scene may end well although something inside broke and was tried again. Such a thing is a fault of
the platform, and no demonstration that has seen one is a success.

Rule a change must keep: alerts to operations are part of the stories; only what the platform did
not expect of itself counts here.
"""

from pathlib import Path
from typing import Final

import msgspec

UNEXPECTED: Final = frozenset({"open_work.failed", "api.failed", "channels.failed"})
SHOWN_MAX: Final = 5


class LogLine(msgspec.Struct):
    """As much of a line of the log as says what failed, and how."""

    event: str = ""
    kind: str = ""
    code: str = ""
    exception: str = ""


_LINE: Final = msgspec.json.Decoder(LogLine)


def unexpected_errors(log: Path | None) -> list[str]:
    """Return what failed inside the platform without anybody's doing, each as one line."""
    if log is None or not log.exists():
        return []
    lines = [_read(line) for line in log.read_bytes().splitlines()]
    return [_told(line) for line in lines if line.event in UNEXPECTED][:SHOWN_MAX]


def _read(line: bytes) -> LogLine:
    try:
        return _LINE.decode(line)
    except msgspec.DecodeError:
        return LogLine()  # what a library writes is no event of ours


def _told(line: LogLine) -> str:
    error = line.exception.strip().rpartition("\n")[2]
    return f"{line.event} {line.kind or line.code}: {error or 'no traceback'}"
