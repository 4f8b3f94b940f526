"""How a command runs and what its exit status means. `ExitStatus` is the only definition.

Rules a change must keep: an error is one sentence on stderr; stdout belongs to what was asked for;
a traceback is printed only for a fault of the program itself.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from datetime import date
from enum import IntEnum
from typing import Annotated, Any, Final, TypeVar

import msgspec
import typer

from caas.errors import CaasError, RefusedError

UNWIND_SECONDS_MAX: Final = 120.0
NICENESS: Final = 19


class ExitStatus(IntEnum):
    """What the exit status of a command means; docs/operations.md prints this table."""

    DONE = 0
    FINDINGS = 1
    USAGE = 2
    ENVIRONMENT = 3
    REFUSED = 4
    CRASHED = 70
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """Return what it means, for the documents."""
        return _MEANINGS[self]


_MEANINGS: Final = {
    ExitStatus.DONE: "done",
    ExitStatus.FINDINGS: "done, and something is wrong: a failed check or scenario, an open day",
    ExitStatus.USAGE: "wrong usage: an unknown command, option or value; nothing was started",
    ExitStatus.ENVIRONMENT: "the environment does not allow it, or did not answer: a setting, a "
    "port, a server",
    ExitStatus.REFUSED: "refused: the platform does not do this as asked; nothing was changed",
    ExitStatus.CRASHED: "a fault of the program; the traceback on stderr belongs in a report",
    ExitStatus.INTERRUPTED: "interrupted before its end",
}

FINDINGS: Final = ExitStatus.FINDINGS
INTERRUPTED: Final = ExitStatus.INTERRUPTED

Result = TypeVar("Result")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask first.")]


def run_command(work: Coroutine[Any, Any, None], *, when_stopped: int = 0) -> None:
    """Run a command to its end, or until it is told to stop."""
    import uvloop  # noqa: PLC0415  # an import that only the long-running commands pay for

    try:
        uvloop.run(guarded(work))
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise typer.Exit(when_stopped) from None  # Told to stop, and stopped in order.


def finished(work: Coroutine[Any, Any, Result]) -> Result:
    """Run what is over soon and return what it found."""
    try:
        return asyncio.run(guarded(work))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def end_in_order() -> None:
    """Let SIGTERM unwind what was started, at any moment, as Ctrl-C does; but not for ever.

    A process that is not done by then dies as if killed, which every flow survives.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop() -> None:
        task.cancel()
        loop.call_later(UNWIND_SECONDS_MAX, _give_up)

    loop.add_signal_handler(signal.SIGTERM, stop)


def _give_up() -> None:
    sys.stderr.write(f"caas: Not unwound after {UNWIND_SECONDS_MAX:.0f} s of being told to stop.\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def step_back() -> None:
    """Let every other program of this machine go first: a long command must not slow customers."""
    os.nice(NICENESS)
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


async def guarded(work: Coroutine[Any, Any, Result]) -> Result:
    """Turn an error into its sentence on stderr and its exit status."""
    try:
        return await work
    except CaasError as error:
        typer.echo(f"caas: {error.sentence}", err=True)
        raise typer.Exit(status_of(error)) from error


def status_of(error: CaasError) -> ExitStatus:
    """Return how a command ends that ends with this error."""
    return ExitStatus.REFUSED if isinstance(error, RefusedError) else ExitStatus.ENVIRONMENT


def with_currency(amounts: Sequence[str]) -> tuple[str, ...]:
    """Return amounts of --net, each with its currency behind it."""
    for amount in amounts:
        if len(amount.split()) == 1:
            raise typer.BadParameter(
                f"{amount!r} lacks its currency; write it behind the amount, such as "
                f"'{amount} EUR'",
                param_hint="--net",
            )
    return tuple(amounts)


def parse_day(text: str) -> date:
    """Read a day as the commands take it."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("a day is written as 2026-11-19") from error


def ask(question: str) -> None:
    """Go on only when a person says so.

    Raises:
        BadParameter: nobody is there to be asked.
    """
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is nobody to ask; add it", param_hint="--yes")
    if not typer.confirm(question):
        raise typer.Exit(ExitStatus.REFUSED)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def print_json(stop: object) -> None:
    """Print one JSON document."""
    typer.echo(msgspec.json.encode(stop).decode())
