"""What all commands share: errors, exit statuses, options, and shell completion.

Rules a change must keep: an error is one sentence on stderr; stdout carries only the command's
output; a traceback is printed only for an internal error; a completion script (bash, zsh, fish)
calls the program by the path that was typed, because `./caas` is not on PATH.
"""

import asyncio
import atexit
import gc
import getpass
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from datetime import date
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final, TypeVar

import msgspec
import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]  # Typer's own

from caas.errors import CaasError, RefusedError

UNWIND_SECONDS_MAX: Final = 120.0
NICENESS: Final = 19


class ExitStatus(IntEnum):
    """Exit status of a command; docs/operations.md prints this table."""

    DONE = 0
    FINDINGS = 1
    USAGE = 2
    ENVIRONMENT = 3
    REFUSED = 4
    CRASHED = 70
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """Return the description that the documentation prints."""
        return _MEANINGS[self]


_MEANINGS: Final = {
    ExitStatus.DONE: "done",
    ExitStatus.FINDINGS: "completed, with findings: a failed check or scenario, or an open day",
    ExitStatus.USAGE: "usage error: unknown command, option or value; nothing was started",
    ExitStatus.ENVIRONMENT: "environment error: an invalid setting, a port in use, a silent server",
    ExitStatus.REFUSED: "refused: the platform does not allow this request; nothing was changed",
    ExitStatus.CRASHED: "internal error; please report the traceback on stderr",
    ExitStatus.INTERRUPTED: "interrupted before completion",
}

FINDINGS: Final = ExitStatus.FINDINGS
INTERRUPTED: Final = ExitStatus.INTERRUPTED

Result = TypeVar("Result")

By = Annotated[str, typer.Option("--by", default_factory=getpass.getuser, help="Name to record.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Yes = Annotated[bool, typer.Option("--yes", help="Skip the confirmation prompt.")]


def run_command(work: Coroutine[Any, Any, None], *, when_stopped: int = 0) -> None:
    """Run a command until it completes or is stopped by a signal."""
    import uvloop  # noqa: PLC0415  # an import that only the long-running commands pay for

    try:
        uvloop.run(report_errors(work))
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise typer.Exit(when_stopped) from None  # Stopped by a signal and shut down cleanly.


def run_and_return(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a short command and return its result."""
    try:
        return asyncio.run(report_errors(work))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def stop_on_sigterm() -> None:
    """Shut down cleanly on SIGTERM, as on Ctrl-C, within UNWIND_SECONDS_MAX.

    After that the process exits at once. Every flow recovers from a killed process.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop() -> None:
        task.cancel()
        loop.call_later(UNWIND_SECONDS_MAX, _give_up)

    loop.add_signal_handler(signal.SIGTERM, stop)


def _give_up() -> None:
    sys.stderr.write(f"caas: Shutdown took more than {UNWIND_SECONDS_MAX:.0f} s.\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def lower_priority() -> None:
    """Lower this process's priority so that a long command does not slow down customer traffic."""
    os.nice(NICENESS)
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


async def report_errors(work: Coroutine[Any, Any, Result]) -> Result:
    """Print an error as one sentence on stderr and exit with its status."""
    try:
        return await work
    except CaasError as error:
        typer.echo(f"caas: {error.sentence}", err=True)
        raise typer.Exit(status_of(error)) from error


def status_of(error: CaasError) -> ExitStatus:
    """Return the exit status for an error."""
    return ExitStatus.REFUSED if isinstance(error, RefusedError) else ExitStatus.ENVIRONMENT


def with_currency(amounts: Sequence[str]) -> tuple[str, ...]:
    """Check that each amount of --net names its currency."""
    for amount in amounts:
        if len(amount.split()) == 1:
            raise typer.BadParameter(
                f"{amount!r} has no currency. Add it after the amount, for example '{amount} EUR'.",
                param_hint="--net",
            )
    return tuple(amounts)


def parse_day(text: str) -> date:
    """Parse a day in ISO 8601."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("a day has the format YYYY-MM-DD") from error


def ask(question: str) -> None:
    """Ask for confirmation and exit unless the user agrees.

    Raises:
        BadParameter: stdin is not a terminal.
    """
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            "stdin is not a terminal, so nothing can be confirmed; add it", param_hint="--yes"
        )
    if not typer.confirm(question):
        raise typer.Exit(ExitStatus.REFUSED)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def print_json(stop: object) -> None:
    """Print a value as JSON."""
    typer.echo(msgspec.json.encode(stop).decode())


YOUNG_MAX: Final = 20_000
YOUNG_LOOKS: Final = 50
MIDDLE_LOOKS: Final = 100


def freeze_long_lived_objects() -> None:
    """Freeze all current objects and raise the collection thresholds.

    Modules, routes, templates and pools last as long as the process, and full collections over them
    stall requests; reference counting frees almost everything a request allocates. Call it once per
    process, when it is ready to serve.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # unfrozen at exit so that finalizers run
    gc.set_threshold(YOUNG_MAX, YOUNG_LOOKS, MIDDLE_LOOKS)


PROGRAM: Final = "caas"
COMPLETE_VARIABLE: Final = "_CAAS_COMPLETE"


class Shell(StrEnum):
    """A supported shell."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


HOW_TO_LOAD: Final = {
    Shell.BASH: "source <(./caas completion bash)",
    Shell.ZSH: "source <(./caas completion zsh)    # after compinit",
    Shell.FISH: "./caas completion fish | source",
}


def script(shell: Shell) -> str:
    """Return a shell's completion script; a comment in it shows how to load it."""
    text: str = get_completion_script(
        prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, shell=shell
    )
    return f"{_script_for_typed_path(shell, text)}\n# To load it: {HOW_TO_LOAD[shell]}"


def _script_for_typed_path(shell: Shell, text: str) -> str:
    """Return Typer's script with the typed path in place of the program name."""
    match shell:
        case Shell.BASH:
            return text
        case Shell.ZSH:
            return text.replace(f"complete_zsh {PROGRAM})", "complete_zsh ${words[1]})")
        case Shell.FISH:
            return text.replace(
                f"(commandline -cp) {PROGRAM}", "(commandline -cp) (commandline -opc)[1]"
            )
