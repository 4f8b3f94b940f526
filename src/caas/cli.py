"""The command line: every way to start the platform, and what operations ask of it.

Exit status: 0 done, 1 findings (a broken law, a failed scenario), 2 wrong usage, 3 the environment
does not allow it (the sentence on stderr says what to do), 130 a demonstration was interrupted.

Rule a change must keep: a command decides nothing that the platform does not.
"""

import asyncio
import base64
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from caas import app, channels, local_machine, logs, reconciling, serving, simulating, staffing
from caas.billing_database import connection, law_checks, migrations
from caas.billing_database import self_check as laws
from caas.billing_database.event_chain import (
    BrokenLink,
    ChainChecker,
    ChainLine,
    broken_links,
    exported,
)
from caas.commands import (
    ENVIRONMENT,
    FINDINGS,
    INTERRUPTED,
    AsJson,
    end_in_order,
    guarded,
    run_command,
)
from caas.errors import CaasError, StartupError
from caas.external_systems.http import HttpClient
from caas.garbage import set_aside_what_stays
from caas.rules.mes_vencido import Month
from caas.settings import data_dir, read_settings

PORT: Final = 8080

program = typer.Typer(
    name="caas", help=__doc__, no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip

program.command()(reconciling.reconcile)
program.command()(reconciling.days)
program.command()(reconciling.report)
program.command()(reconciling.position)
program.command()(reconciling.seal)
program.command(name="release-line")(reconciling.release_line)
program.command()(simulating.simulate)
program.add_typer(reconciling.discrepancies, name="discrepancies")
program.add_typer(staffing.staff, name="staff")
Port = Annotated[int, typer.Option(help="Where the API and the channels listen.")]


@program.command()
def up(port: Port = PORT) -> None:
    """Start everything on this machine and leave it running."""
    run_command(_up(port))


@program.command()
def demo(
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Play this scene; repeat for more.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="URL", help="Play on a platform that is running.")
    ] = None,
    *,
    listed: Annotated[bool, typer.Option("--list", help="Say which scenes there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play every flow and every failure; exit status 1 unless all end as they should."""
    from caas import demo as stage  # noqa: PLC0415  # imports that only this command pays for

    async def play() -> None:
        end_in_order()
        performance = await stage.perform(wish, app.environment())
        if as_json:
            typer.echo(msgspec.json.encode(stage.as_data(performance)).decode())
        if not performance.ok:
            raise typer.Exit(FINDINGS)

    wish = stage.Wish(only=only or (), against=against, quietly=as_json)
    try:
        scenes = stage.chosen(wish.only)
    except stage.NoSuchSceneError as error:
        raise typer.BadParameter(error.sentence, param_hint="--only") from error
    if listed:
        stage.print_scenes(stage.Paper(), scenes)
    else:
        run_command(play(), when_stopped=INTERRUPTED)


@program.command()
def serve(port: Port = PORT, host: str = "127.0.0.1") -> None:
    """Serve the API and the channels; any number of these share one database."""
    run_command(_serve(host, port))


@program.command()
def work() -> None:
    """Do open work; any number of these share one database."""
    run_command(_work())


@program.command()
def migrate() -> None:
    """Bring the database to this program's schema."""
    for name in asyncio.run(guarded(_migrate())):
        typer.echo(f"ran {name}")


@program.command(name="self-check")
def self_check(*, as_json: AsJson = False) -> None:
    """Check the laws of the whole database; exit status 1 when one is broken."""
    findings = asyncio.run(guarded(_self_check()))
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
def verify(
    export: Annotated[Path | None, typer.Option(help="Write every event to this file.")] = None,
    file: Annotated[Path | None, typer.Option(help="Check an export instead.")] = None,
) -> None:
    """Check the hash chain of the events, offline or from the database."""
    checked, broken = _verify_file(file) if file else asyncio.run(guarded(_verify_database(export)))
    for link in broken:
        typer.echo(f"broken at event {link.seq} of payment {link.payment_id}: {link.because}")
    typer.echo(f"{checked} events checked, {len(broken)} broken links")
    if broken:
        raise typer.Exit(FINDINGS)


def _verify_file(file: Path) -> tuple[int, list[BrokenLink]]:
    try:
        lines = [
            msgspec.json.decode(line, type=ChainLine) for line in file.read_bytes().splitlines()
        ]
    except (OSError, msgspec.MsgspecError) as error:
        typer.echo(f"caas: {file} is no export of events: {error}", err=True)
        raise typer.Exit(ENVIRONMENT) from error
    return len(lines), list(broken_links(lines))


async def _verify_database(export: Path | None) -> tuple[int, list[BrokenLink]]:
    checker, checked, broken = ChainChecker(), 0, []
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(local_machine.database(app.environment()))
        database = await connection.connect(dsn)
        stack.push_async_callback(database.close)
        written = stack.enter_context(export.open("wb")) if export else None
        async for line in exported(database):
            checked += 1
            link = checker.take(line)
            if link is not None:
                broken.append(link)
            if written:
                written.write(msgspec.json.encode(line) + b"\n")
    return checked, broken


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
    rounds: Annotated[int, typer.Option(help="Rounds, ours and the yardstick in turns.")] = 5,
    seconds: Annotated[int, typer.Option(help="Length of each measurement.")] = 6,
    quick: Annotated[bool, typer.Option(help="Small sizes: to see that it runs.")] = False,
) -> None:
    """Measure the goals of docs/performance.md against the yardstick, on this machine."""
    from caas import bench as measuring  # noqa: PLC0415  # imports that only this command pays for

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


async def _up(port: int) -> None:
    end_in_order()
    async with AsyncExitStack() as stack:
        environment = app.environment()
        stack.enter_context(logs.to_file(data_dir(environment) / "caas.log"))
        serving.listening("127.0.0.1", port).close()
        world = await local_machine.start(stack, environment, public_url=f"http://127.0.0.1:{port}")
        settings = read_settings(world.environment)
        await migrations.migrate(settings.database_url)
        platform = await stack.enter_async_context(app.opened(settings, fleet=world.fleet))
        working = asyncio.create_task(platform.open_work.run())
        stack.callback(working.cancel)
        fleet = world.controls.get("vehicles")
        staff = await channels.first_day(
            serving.rooms_of_channels(platform),
            settings.data_dir,
            key_of=partial(_key_of_car, fleet) if fleet else None,
        )
        await serving.serve(
            platform, settings, host="127.0.0.1", port=port,
            on_listening=lambda: _is_up(port, world, staff), controls=world.controls,
        )  # fmt: skip


def _is_up(port: int, world: local_machine.LocalWorld, staff: Sequence[channels.NewStaff]) -> None:
    set_aside_what_stays()
    typer.echo(_welcome(port, world, staff))


async def _key_of_car(fleet_url: str, vin: str) -> bytes:
    """Let the simulated fleet take in a car, and return its public key."""
    fleet = HttpClient(fleet_url, partner="The vehicles")
    try:
        body = msgspec.json.encode({"vin": vin})
        answer = await fleet.send("POST", "/_control/vehicles", body=body)
    finally:
        await fleet.close()
    return base64.b64decode(msgspec.json.decode(answer.body)["public_key"])


def _welcome(port: int, world: local_machine.LocalWorld, staff: Sequence[channels.NewStaff]) -> str:
    lines = [
        f"The platform is up at http://127.0.0.1:{port} (Ctrl-C stops it, the data stays).",
        f"  Channels      http://127.0.0.1:{port}/ for people; sign in as",
        *(f"  {who.login:<28} {who.password}  ({who.dealership or who.role})" for who in staff),
        f"  API           http://127.0.0.1:{port}/docs",
        *(f"  {name:<13} {url}/_control/" for name, url in world.controls.items()),
        "Keys by scope, as `Authorization: Bearer <key>`:",
        *(f"  {scope:<17} {key}" for scope, key in world.keys.items()),
    ]
    if world.without_broker:
        lines.append(f"Without a broker, the cars are in this process: {world.without_broker}")
    lines += [
        "What to try:",
        "  reserve a car as a dealership in a browser, then pay the rest as its customer",
        f"  read what the customer was sent: {world.environment['CAAS_DATA_DIR']}/outbox",
        "  sell a service with curl: 'Try it' in README.md; every call: docs/integrating.md",
        f"  ./caas demo --against http://127.0.0.1:{port}    every flow and every failure, told",
        "  ./caas self-check    the laws of the whole database",
    ]
    return "\n".join(lines)


async def _serve(host: str, port: int) -> None:
    end_in_order()
    logs.to_stderr()
    settings = read_settings(local_machine.joined(app.environment()))
    async with app.opened(settings) as platform:
        await serving.serve(
            platform, settings, host=host, port=port, on_listening=set_aside_what_stays
        )


async def _work() -> None:
    end_in_order()
    logs.to_stderr()
    async with app.opened(read_settings(local_machine.joined(app.environment()))) as platform:
        set_aside_what_stays()
        await platform.open_work.run()


async def _migrate() -> list[str]:
    async with local_machine.database(app.environment()) as dsn:
        return await migrations.migrate(dsn)


async def _self_check() -> list[laws.Finding]:
    async with local_machine.database(app.environment()) as dsn:
        database = await connection.connect(dsn)
        try:
            return await law_checks.checked(database)
        finally:
            await database.close()


def main() -> None:
    """Run the command line."""
    try:
        program(prog_name="./caas")
    except StartupError as error:
        typer.echo(f"caas: {error.sentence}", err=True)
        sys.exit(ENVIRONMENT)


if __name__ == "__main__":
    main()
