"""How a command of the command line runs, and what its end says: the exit status.

0 done, 1 findings, 2 wrong usage, 3 the environment does not allow it (the sentence on stderr says
what to do), 130 interrupted.

Rules a change must keep: an error is one sentence on stderr; stdout belongs to what was asked for.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Annotated, Any, Final

import typer

from caas.errors import CaasError, StartupError, UnavailableError

FINDINGS: Final = 1
ENVIRONMENT: Final = 3
INTERRUPTED: Final = 130

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]


def run_command(work: Coroutine[Any, Any, None], *, when_stopped: int = 0) -> None:
    """Run a command to its end, or until it is told to stop."""
    import uvloop  # noqa: PLC0415  # an import that only the long-running commands pay for

    try:
        uvloop.run(guarded(work))
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise typer.Exit(when_stopped) from None  # Told to stop, and stopped in order.


def end_in_order() -> None:
    """Let SIGTERM unwind what was started, at any moment, as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


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
