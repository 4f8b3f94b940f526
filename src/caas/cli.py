"""The command line: every way to start the platform, and what operations ask of it.

The exit status of every command is one of `commands.ExitStatus`.

Rule a change must keep: a command decides nothing that the platform does not.
"""

import sys
import traceback
from contextlib import AsyncExitStack
from typing import Annotated, Final

import msgspec
import typer
from typer.completion import completion_init  # type: ignore[attr-defined]  # Typer's own

from caas import (
    __version__,
    app,
    document_commands,
    finance_commands,
    history_commands,
    local_machine,
    logs,
    reconciling,
    report_commands,
    serving,
    shell_completion,
    simulating,
    staffing,
    tax_commands,
    up,
    verifying,
)
from caas.billing_database import migrations
from caas.billing_database import self_check as laws
from caas.commands import (
    FINDINGS,
    INTERRUPTED,
    AsJson,
    ExitStatus,
    end_in_order,
    finished,
    run_command,
    status_of,
)
from caas.errors import CaasError
from caas.external_systems import local_broker
from caas.garbage import set_aside_what_stays
from caas.own_port import open_port
from caas.rules.mes_vencido import Month
from caas.settings import data_dir, read_settings
from caas.shell_completion import Shell
from caas.vital_signs import VitalSigns

PORT: Final = 8080
PORT_MAX: Final = 65_535
COUNT_MAX: Final = 10_000

program = typer.Typer(
    name="caas", help="The payment side of a Car-as-a-Service platform.", no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip

program.command()(reconciling.reconcile)
program.command()(reconciling.days)
program.command()(reconciling.report)
program.command()(reconciling.position)
program.command()(report_commands.preview)
program.command()(reconciling.seal)
program.command(name="release-line")(reconciling.release_line)
program.command()(simulating.simulate)
program.command()(up.up)
program.command()(verifying.verify)
program.command()(history_commands.heads)
program.add_typer(reconciling.discrepancies, name="discrepancies")
program.add_typer(finance_commands.claims, name="claims")
program.add_typer(finance_commands.fees, name="fees")
program.add_typer(report_commands.mappings, name="mappings")
program.add_typer(staffing.staff, name="staff")
program.add_typer(tax_commands.taxes, name="taxes")
program.add_typer(document_commands.documents, name="documents")
Port = Annotated[
    int, typer.Option(min=1, max=PORT_MAX, help="Where the API and the channels listen.")
]


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


@program.command()
def demo(
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Play this scene; repeat for more.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="URL", help="Play on a platform that is running.")
    ] = None,
    *,
    short: Annotated[
        bool, typer.Option("--short", help="Only each payment type, paid and failed.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="Say which scenes there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play every flow and every failure; exit status 1 unless all end as they should."""
    if short and only:
        raise typer.BadParameter("choose the scenes, or the short form", param_hint="--only")
    from caas import demo as stage  # noqa: PLC0415  # imports that only this command pays for

    async def play() -> None:
        end_in_order()
        performance = await stage.perform(wish, app.environment())
        if as_json:
            typer.echo(msgspec.json.encode(stage.as_data(performance)).decode())
        if not performance.ok:
            raise typer.Exit(FINDINGS)

    wish = stage.Wish(only=only or (), short=short, against=against, quietly=as_json)
    try:
        scenes = stage.chosen(wish)
    except stage.NoSuchSceneError as error:
        raise typer.BadParameter(error.sentence, param_hint="--only") from error
    if listed:
        stage.print_scenes(stage.Paper(), scenes)
    else:
        run_command(play(), when_stopped=INTERRUPTED)


@program.command(name="vehicle-account")
def vehicle_account(
    vin: Annotated[str, typer.Argument(help="Whose account.")],
) -> None:
    """Give a vehicle an account at this machine's MQTT broker, and print its address."""

    async def account() -> None:
        typer.echo(await local_broker.vehicle_account(data_dir(app.environment()), vin))

    run_command(account())


@program.command()
def serve(port: Port = PORT, host: str = "127.0.0.1") -> None:
    """Serve the API and the channels; any number of these share one database."""
    run_command(_serve(host, port))


@program.command()
def work(host: str = "127.0.0.1") -> None:
    """Do open work; any number of these share one database."""
    run_command(_work(host))


@program.command()
def migrate() -> None:
    """Bring the database to this program's schema."""
    for name in finished(_migrate()):
        typer.echo(f"ran {name}")


@program.command(name="self-check")
def self_check(*, as_json: AsJson = False) -> None:
    """Check the laws of the whole database; exit status 1 when one is broken."""
    findings = finished(_self_check())
    if as_json:
        typer.echo(msgspec.json.encode(findings).decode())
    else:
        for found in findings:
            mark = "holds " if not found.broken else f"BROKEN by {found.broken}"
            typer.echo(f"{mark:>8}  {found.law.sentence}")
            for example in found.examples:
                typer.echo(f"          {example}")
    if any(found.broken for found in findings):
        raise typer.Exit(FINDINGS)


@program.command()
def bill(
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="The month to bill.")],
) -> None:
    """Bill a month that is over; it may be stopped and started again at any point."""
    try:
        wanted = Month.parse(month)
    except CaasError as error:
        raise typer.BadParameter(error.sentence, param_hint="--month") from error
    run_command(_bill(wanted))


@program.command()
def bench(
    only: Annotated[
        list[str] | None, typer.Option(metavar="GOAL", help="P1, P2, ...; repeat for more.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=COUNT_MAX, help="Rounds, ours and the yardstick in turns.")
    ] = 5,
    seconds: Annotated[
        int, typer.Option(min=1, max=COUNT_MAX, help="Length of each measurement.")
    ] = 6,
    quick: Annotated[bool, typer.Option(help="Small sizes: to see that it runs.")] = False,
) -> None:
    """Measure the goals of docs/performance.md against the yardstick, on this machine."""
    from caas import bench as measuring  # noqa: PLC0415  # imports that only this command pays for

    unknown = sorted(set(only or ()) - measuring.GOALS.keys())
    if unknown:
        there_are = f"there is no goal {unknown[0]}; there are: {', '.join(measuring.GOALS)}"
        raise typer.BadParameter(there_are, param_hint="--only")
    run_command(measuring.measure(only=only or (), rounds=rounds, seconds=seconds, quick=quick))


async def _bill(month: Month) -> None:
    from rich.progress import Progress  # noqa: PLC0415  # an import that only this command pays for

    settings = read_settings(local_machine.joined(app.environment()))
    async with app.opened(settings, hears_vehicles=False) as platform:
        with Progress(transient=True) as bar:
            task = bar.add_task(f"Billing {month}")
            run = await platform.billing.run_month(
                month,
                progress=lambda r: bar.update(task, total=r.subscriptions, completed=r.seen),
            )
    typer.echo(
        f"{run.month}: {run.subscriptions} subscriptions, {run.invoices} invoices, "
        f"{run.charges} charges"
    )


async def _serve(host: str, port: int) -> None:
    end_in_order()
    logs.to_stderr()
    settings = read_settings(local_machine.joined(app.environment()))
    async with app.opened(settings, login_checked=True) as platform:
        await serving.serve(
            platform,
            settings,
            listener=serving.listening(host, port),
            on_listening=set_aside_what_stays,
        )


async def _work(host: str) -> None:
    end_in_order()
    logs.to_stderr()
    settings = read_settings(local_machine.joined(app.environment()))
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(app.opened(settings, login_checked=True))
        if settings.work_port is not None:
            signs = VitalSigns(platform)
            stack.push_async_callback(signs.close)
            await stack.enter_async_context(open_port(host, settings.work_port, signs))
        set_aside_what_stays()
        await platform.open_work.run()


async def _migrate() -> list[str]:
    async with local_machine.database(app.environment(), made=True) as dsn:
        return await migrations.migrate(dsn)


async def _self_check() -> list[laws.Finding]:
    async with app.reading_database(app.environment()) as database:
        return await laws.self_check(database)


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


if __name__ == "__main__":
    main()
