"""The `caas` command line.

`commands.ExitStatus` defines the exit status of every command.

Rules a change must keep: commands contain no business logic; a command module is imported only when
one of its commands runs.
"""

import gc
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Annotated, Any, Final

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]  # Typer's own
from typer.core import TyperGroup

from caas import __version__
from caas.cli import commands
from caas.cli.commands import ExitStatus, Shell, status_of
from caas.errors import CaasError


def _platform(program: typer.Typer) -> None:
    from caas.cli import processes

    program.command()(processes.serve)
    program.command()(processes.work)
    program.command()(processes.bill)


def _maintenance(program: typer.Typer) -> None:
    from caas.cli import maintenance

    program.command()(maintenance.migrate)
    program.command(name="self-check")(maintenance.self_check)
    program.command()(maintenance.retention)
    program.command(name="vehicle-account")(maintenance.vehicle_account)
    program.command(name="webhook-endpoint")(maintenance.webhook_endpoint)


def _reconciliation(program: typer.Typer) -> None:
    from caas.cli import reconcile

    program.command()(reconcile.reconcile)
    program.command()(reconcile.days)
    program.command()(reconcile.report)
    program.command()(reconcile.position)
    program.command()(reconcile.seal)
    program.command(name="release-line")(reconcile.release_line)


def _discrepancies(program: typer.Typer) -> None:
    from caas.cli import finance, reconcile  # noqa: F401  # finance adds the bulk commands

    program.add_typer(reconcile.discrepancies, name="discrepancies")


def _reports(program: typer.Typer) -> None:
    from caas.cli import reports

    program.command()(reports.preview)
    program.add_typer(reports.mappings, name="mappings")


def _finance(program: typer.Typer) -> None:
    from caas.cli import finance

    program.add_typer(finance.claims, name="claims")
    program.add_typer(finance.fees, name="fees")


def _up(program: typer.Typer) -> None:
    from caas.cli import up

    program.command()(up.up)


def _verify(program: typer.Typer) -> None:
    from caas.cli import verify

    program.command()(verify.verify)


def _heads(program: typer.Typer) -> None:
    from caas.cli import verify

    program.command()(verify.heads)


def _staff(program: typer.Typer) -> None:
    from caas.cli import staff

    program.add_typer(staff.staff, name="staff")


def _taxes(program: typer.Typer) -> None:
    from caas.cli import taxes

    program.add_typer(taxes.taxes, name="taxes")


def _documents(program: typer.Typer) -> None:
    from caas.cli import documents

    program.add_typer(documents.documents, name="documents")


IMPORTED_BY: Final[Mapping[str, Callable[[typer.Typer], None]]] = {
    "reconcile": _reconciliation,
    "days": _reconciliation,
    "report": _reconciliation,
    "position": _reconciliation,
    "preview": _reports,
    "seal": _reconciliation,
    "release-line": _reconciliation,
    "up": _up,
    "verify": _verify,
    "heads": _heads,
    "vehicle-account": _maintenance,
    "webhook-endpoint": _maintenance,
    "serve": _platform,
    "work": _platform,
    "migrate": _maintenance,
    "self-check": _maintenance,
    "retention": _maintenance,
    "bill": _platform,
    "discrepancies": _discrepancies,
    "claims": _finance,
    "fees": _finance,
    "mappings": _reports,
    "staff": _staff,
    "taxes": _taxes,
    "documents": _documents,
}
"""Command name -> function that imports and registers it, so that a command pays only for its
own imports."""


class _Commands(MutableMapping[str, Any]):
    """Commands by name, imported on first use."""

    def __init__(self, loaded: Mapping[str, Any]) -> None:
        self._loaded = dict(loaded)

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            imported = typer.Typer(rich_markup_mode=None)
            gc.disable()  # modules stay, and collections over them take a tenth of the time
            try:
                IMPORTED_BY[name](imported)
            finally:
                gc.enable()
            self._loaded |= typer.main.get_group(imported).commands
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._loaded, **IMPORTED_BY})

    def __len__(self) -> int:
        return len({**self._loaded, **IMPORTED_BY})


class _Program(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(self.commands)


program = typer.Typer(
    name="caas", help="The payment side of a Car-as-a-Service platform.", no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, cls=_Program,
)  # fmt: skip


def _print_version(*, requested: bool) -> None:
    if requested:
        typer.echo(f"caas {__version__}")
        raise typer.Exit


@program.callback()
def options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda requested: _print_version(requested=requested),
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Options of the program itself."""


@program.command()
def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell.")],
) -> None:
    """Print the shell completion script; its last line shows how to load it."""
    typer.echo(commands.script(shell))


def main() -> None:
    """Run the command line and exit with an `ExitStatus`."""
    completion_init()
    try:
        program(prog_name="./caas", complete_var=commands.COMPLETE_VARIABLE)
    except CaasError as error:
        typer.echo(f"caas: {error.sentence}", err=True)
        sys.exit(status_of(error))
    except Exception:  # noqa: BLE001  # an unexpected error has its own exit status
        traceback.print_exc()
        typer.echo("caas: Internal error. Please report the traceback above.", err=True)
        sys.exit(ExitStatus.CRASHED)
