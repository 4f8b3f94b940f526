"""The arguments and the lifetime that a simulator gets from the program that started it.

As arguments, the secrets of partners (API keys, webhook secrets, the broker's password) would be
visible in `ps` to every user of the machine. With `--held` they are read from stdin, one argument
per line up to an empty line. The simulator then ends when stdin closes, so that a killed platform
leaves none running.

Rule a change must keep: without `--held` stdin is never read.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

HELD: Final = "--held"
_STDIN: Final = 0
_READ_BYTES: Final = 4096


def arguments_given(arguments: Sequence[str]) -> list[str]:
    """Return the arguments, with those of stdin appended if `--held` is given."""
    given = [argument for argument in arguments if argument != HELD]
    if len(given) == len(arguments):
        return given
    for line in iter(sys.stdin.readline, ""):
        if line == "\n":
            break
        given.append(line.rstrip("\n"))
    return given


def stop_requested(*, held: bool) -> asyncio.Event:
    """Return an event that is set at SIGTERM or SIGINT, or when stdin closes.

    From here on no signal kills the process, so call this before printing the address.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if held:
        loop.add_reader(_STDIN, _stop_at_end, stopped)
    return stopped


def _stop_at_end(stopped: asyncio.Event) -> None:
    if not os.read(_STDIN, _READ_BYTES):
        asyncio.get_running_loop().remove_reader(_STDIN)
        stopped.set()
