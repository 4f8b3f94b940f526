"""How the platform's log is written: one event a line, ids and facts, never names of persons.

`caas up` and `caas demo` leave the terminal to people and write to a file in the data folder;
`serve` and `work` write JSON lines to stderr, for whatever collects them.

Rule a change must keep: every line goes through the one sink that takes card numbers out.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import msgspec
import structlog

from caas.errors import StartupError
from caas.rules.card_numbers import scrub

LEVEL: Final = logging.INFO


def to_stderr() -> None:
    """Write JSON lines to stderr."""
    _configure(sys.stderr)


@contextmanager
def to_file(path: Path) -> Iterator[TextIO]:
    """Append JSON lines to a file until the block is left; then log as before.

    Raises:
        StartupError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise StartupError(
            f"The data folder {path.parent} cannot be written to ({error.strerror}). "
            "Set CAAS_DATA_DIR to one that can."
        ) from error
    before = structlog.get_config()
    with stream:
        _configure(stream)
        try:
            yield stream
        finally:
            structlog.configure(**before)


def _configure(stream: TextIO) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVEL),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,  # a cached logger would outlive its file
    )


def _line(_logger: object, _method: str, event: structlog.typing.EventDict) -> str:
    """The one sink through which every line goes: no card number passes (decision 44)."""
    return scrub(msgspec.json.encode(event, enc_hook=repr).decode())
