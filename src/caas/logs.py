"""Logging: one event per line, with ids and facts, never names of persons.

`caas up` and `caas demo` log to a file in the data folder; `serve` and `work` write JSON lines to
stderr. Libraries use the same output. Logging never fails: lines that cannot be written are
counted, and the count is logged later.

Rules a change must keep: every line passes the one sink that removes card numbers; repeated errors
of one part are limited to a line per second, without traceback.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO

import msgspec
import structlog
from structlog.typing import EventDict

from caas.billing_database.connection import UNREACHABLE
from caas.errors import StartupError, UnavailableError
from caas.rules.card_numbers import scrub

LEVEL: Final = logging.INFO
REPEATED_AFTER_SECONDS: Final = 1.0
KINDS_REMEMBERED_MAX: Final = 1_000
TEXT_CHARS_MAX: Final = 8_000
KIND: Final = "_kind"
"""Identifies repeated lines of a library; not part of the output."""


class Sink:
    """A stream that never fails: lines that cannot be written are counted."""

    def __init__(self, stream: TextIO) -> None:
        """Write to this stream."""
        self._stream = stream
        self.lost = 0

    def write(self, line: str) -> None:
        """Write a line, or count it as lost."""
        if self.lost:
            line = f'{{"event":"log.lines_lost","level":"error","lines":{self.lost}}}\n{line}'
        try:
            self._stream.write(line)
            self._stream.flush()
        except (OSError, ValueError):  # disk full, stream closed, or unencodable text
            self.lost += 1
        else:
            self.lost = 0

    def flush(self) -> None:
        """Do nothing: every line is flushed when written."""


class _Seldom:
    """Limits a kind of event to one per second and counts those dropped."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def left_out(self, kind: tuple[str, str]) -> int | None:
        """Return how many were dropped since the last one; None if this one is dropped."""
        now = time.monotonic()
        since, left_out = self._kinds.get(kind, (now - REPEATED_AFTER_SECONDS, 0))
        if now - since < REPEATED_AFTER_SECONDS:
            self._kinds[kind] = (since, left_out + 1)
            return None
        if len(self._kinds) >= KINDS_REMEMBERED_MAX:
            self._kinds.clear()
        self._kinds[kind] = (now, 0)
        return left_out


class _FromLibraries(logging.Handler):
    """Forwards log records of libraries to the sink."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # a malformed library record is dropped
            structlog.get_logger().log(
                max(record.levelno, LEVEL),
                "library.logged",
                library=record.name,
                text=record.getMessage(),
                exc_info=record.exc_info,
                **{KIND: str(record.msg)},
            )


def to_stderr() -> None:
    """Write JSON lines to stderr."""
    _configure(Sink(sys.stderr))


@contextmanager
def to_file(path: Path) -> Iterator[Sink]:
    """Append JSON lines to a file during the block; then restore the previous output.

    Raises:
        StartupError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
    except OSError as error:
        raise StartupError(
            f"Cannot write to the data folder {path.parent} ({error.strerror}). Set "
            "CAAS_DATA_DIR to a writable one."
        ) from error
    before, handlers = structlog.get_config(), list(logging.root.handlers)
    sink = Sink(stream)
    _configure(sink)
    try:
        yield sink
    finally:
        structlog.configure(**before)
        logging.root.handlers = handlers
        with suppress(OSError):  # the last line did not fit on the disk
            stream.close()


def _configure(sink: Sink) -> None:
    structlog.configure(
        processors=[_Processor()],
        wrapper_class=structlog.make_filtering_bound_logger(LEVEL),
        logger_factory=structlog.WriteLoggerFactory(sink),  # type: ignore[arg-type]  # it writes and flushes
        cache_logger_on_first_use=False,  # a cached logger would outlive its file
    )
    logging.raiseExceptions = False
    kept = [it for it in logging.root.handlers if not isinstance(it, _FromLibraries)]
    logging.root.handlers = [*kept, _FromLibraries(logging.WARNING)]


class _Processor:
    """Formats an event; never raises, and drops repeated events."""

    def __init__(self) -> None:
        self._steps = (
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        )
        self._seldom = _Seldom()

    def __call__(self, logger: object, method: str, event: EventDict) -> str:
        """Return the line of an event.

        Raises:
            structlog.DropEvent: the same event was logged less than a second ago.
        """
        self._thin_out(event)
        for step in self._steps:
            with suppress(
                Exception
            ):  # an exception that cannot be formatted is logged without detail
                event = step(logger, method, event)
        return _line(event)

    def _thin_out(self, event: EventDict) -> None:
        """Limit repeated outages and library messages to a line per second."""
        error = _error_of(event)
        stated = event.pop(KIND, None)
        if isinstance(error, UnavailableError):
            kind, because = error.code, error.facts.get("reason") or error.sentence
        elif stated is None or not (error is None or isinstance(error, UNREACHABLE)):
            return
        else:
            kind, because = f"{event['library']}: {stated}", error and repr(error)
        left_out = self._seldom.left_out((str(event.get("event")), kind))
        if left_out is None:
            raise structlog.DropEvent
        event.pop("exc_info", None)
        if isinstance(error, UnavailableError):
            event["code"] = error.code
        if because:
            event["because"] = because
        if left_out:
            event["left_out"] = left_out


def _error_of(event: EventDict) -> BaseException | None:
    """Return the exception of an event, in any of its three forms."""
    error = event.get("exc_info")
    if isinstance(error, tuple):
        error = error[1]
    elif error is True:
        error = sys.exc_info()[1]
    return error if isinstance(error, BaseException) else None


def _line(event: EventDict) -> str:
    """Format a line and remove card numbers (decision 44); every line passes here."""
    try:
        text = msgspec.json.encode(event, enc_hook=repr).decode()
    except Exception:  # noqa: BLE001  # half a surrogate, an endless structure, a repr that fails
        text = msgspec.json.encode({str(name): _plainly(event[name]) for name in event}).decode()
    return scrub(text)


def _plainly(value: object) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
        return text.encode("ascii", "backslashreplace").decode()[:TEXT_CHARS_MAX]
    except Exception:  # noqa: BLE001  # any object's repr may raise
        return f"<unprintable {type(value).__name__}>"
