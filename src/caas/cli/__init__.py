"""The command line: every way to start the platform, and what operations ask of it.

The exit status of every command is one of `commands.ExitStatus`.

Rules a change must keep: a command decides nothing that the platform does not; it is imported when
it is asked for, and nothing that only other commands need.
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Annotated, Any, Final

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]  # Typer's own
from typer.core import TyperGroup

from caas import __version__
from caas.cli import shell_completion
from caas.cli.commands import ExitStatus, status_of
from caas.cli.shell_completion import Shell
from caas.errors import CaasError


def _of_the_platform(program: typer.Typer) -> None:
    from caas.cli import processes

    program.command()(processes.serve)
    program.command()(processes.work)
    program.command()(processes.bill)


def _of_upkeep(program: typer.Typer) -> None:
    from caas.cli import maintenance

    program.command()(maintenance.migrate)
    program.command(name="self-check")(maintenance.self_check)
    program.command(name="vehicle-account")(maintenance.vehicle_account)


def _of_reconciling(program: typer.Typer) -> None:
    from caas.cli import reconcile

    program.command()(reconcile.reconcile)
    program.command()(reconcile.days)
    program.command()(reconcile.report)
    program.command()(reconcile.position)
    program.command()(reconcile.seal)
    program.command(name="release-line")(reconcile.release_line)


def _discrepancies(program: typer.Typer) -> None:
    from caas.cli import finance, reconcile  # noqa: F401  # the first adds those for many

    program.add_typer(reconcile.discrepancies, name="discrepancies")


def _of_reports(program: typer.Typer) -> None:
    from caas.cli import reports

    program.command()(reports.preview)
    program.add_typer(reports.mappings, name="mappings")


def _of_finance(program: typer.Typer) -> None:
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
    from caas.cli import history

    program.command()(history.heads)


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
    "reconcile": _of_reconciling,
    "days": _of_reconciling,
    "report": _of_reconciling,
    "position": _of_reconciling,
    "preview": _of_reports,
    "seal": _of_reconciling,
    "release-line": _of_reconciling,
    "up": _up,
    "verify": _verify,
    "heads": _heads,
    "vehicle-account": _of_upkeep,
    "serve": _of_the_platform,
    "work": _of_the_platform,
    "migrate": _of_upkeep,
    "self-check": _of_upkeep,
    "bill": _of_the_platform,
    "discrepancies": _discrepancies,
    "claims": _of_finance,
    "fees": _of_finance,
    "mappings": _of_reports,
    "staff": _staff,
    "taxes": _taxes,
    "documents": _documents,
}
"""A command's name, and what imports it: a command pays for its own imports only."""


class _Commands(MutableMapping[str, Any]):
    """Commands by name; each is imported when it is asked for."""

    def __init__(self, at_hand: Mapping[str, Any]) -> None:
        self._at_hand = dict(at_hand)

    def __getitem__(self, name: str) -> Any:
        if name not in self._at_hand:
            imported = typer.Typer(rich_markup_mode=None)
            IMPORTED_BY[name](imported)
            self._at_hand |= typer.main.get_group(imported).commands
        return self._at_hand[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._at_hand[name] = command

    def __delitem__(self, name: str) -> None:
        del self._at_hand[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._at_hand, **IMPORTED_BY})

    def __len__(self) -> int:
        return len({**self._at_hand, **IMPORTED_BY})


class _Program(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(self.commands)


program = typer.Typer(
    name="caas", help="The payment side of a Car-as-a-Service platform.", no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, cls=_Program,
)  # fmt: skip


def _print_version(*, asked: bool) -> None:
    if asked:
        typer.echo(f"caas {__version__}")
        raise typer.Exit


@program.callback()
def options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda asked: _print_version(asked=asked),
            is_eager=True,
            help="Say which version this is.",
        ),
    ] = False,
) -> None:
    """Take what is asked of no command."""


@program.command()
def completion(
    shell: Annotated[Shell, typer.Argument(help="Whose script.")],
) -> None:
    """Print the script that completes commands; its last line says how to load it."""
    typer.echo(shell_completion.script(shell))


def main() -> None:
    """Run the command line, and end with the status that `ExitStatus` defines."""
    completion_init()
    try:
        program(prog_name="./caas", complete_var=shell_completion.COMPLETE_VARIABLE)
    except CaasError as error:
        typer.echo(f"caas: {error.sentence}", err=True)
        sys.exit(status_of(error))
    except Exception:  # noqa: BLE001  # whatever it is, it is told apart from a refusal
        traceback.print_exc()
        typer.echo("caas: This is a fault of the program; report what is above.", err=True)
        sys.exit(ExitStatus.CRASHED)
