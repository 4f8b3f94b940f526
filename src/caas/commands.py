"""How a command of the command line runs, and what its end says: the exit status.

0 done, 1 findings, 2 wrong usage, 3 the environment does not allow it (the sentence on stderr says
what to do), 130 interrupted.

Rules a change must keep: an error is one sentence on stderr; stdout belongs to what was asked for.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, Final

import typer

from caas.errors import CaasError, StartupError, UnavailableError

FINDINGS: Final = 1
ENVIRONMENT: Final = 3
INTERRUPTED: Final = 130
UNWIND_SECONDS_MAX: Final = 120.0
NICENESS: Final = 19

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]


def run_command(work: Coroutine[Any, Any, None], *, when_stopped: int = 0) -> None:
    """Run a command to its end, or until it is told to stop."""
    import uvloop  # noqa: PLC0415  # an import that only the long-running commands pay for

    try:
        uvloop.run(guarded(work))
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise typer.Exit(when_stopped) from None  # Told to stop, and stopped in order.


def end_in_order() -> None:
    """Let SIGTERM unwind what was started, at any moment, as Ctrl-C does; but not for ever.

    A process that is not done by then dies as if killed, which every flow survives.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def told() -> None:
        task.cancel()
        loop.call_later(UNWIND_SECONDS_MAX, _give_up)

    loop.add_signal_handler(signal.SIGTERM, told)


def _give_up() -> None:
    sys.stderr.write(f"caas: Not unwound after {UNWIND_SECONDS_MAX:.0f} s of being told to stop.\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def step_back() -> None:
    """Let every other program of this machine go first: a long command must not slow customers."""
    os.nice(NICENESS)
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


async def guarded(work: Coroutine[Any, Any, Any]) -> Any:
    """Turn an error into its sentence on stderr and its exit status."""
    try:
        return await work
    except (StartupError, UnavailableError) as error:
        typer.echo(f"caas: {error.sentence}", err=True)
        raise typer.Exit(ENVIRONMENT) from error
    except CaasError as error:
        typer.echo(f"caas: {error.sentence}", err=True)
        raise typer.Exit(FINDINGS) from error
