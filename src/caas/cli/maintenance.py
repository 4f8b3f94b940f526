"""What an installation needs beside its roles: `caas migrate`, `self-check`, `vehicle-account`.

Rule a change must keep: a command decides nothing that the platform does not.
"""

from typing import Annotated

import msgspec
import typer

from caas import local_machine, process_environment
from caas.billing_database import migrations
from caas.billing_database import self_check as invariants
from caas.cli.commands import FINDINGS, AsJson, finished, run_command
from caas.external_systems import local_broker
from caas.settings import data_dir


def migrate() -> None:
    """Bring the database to this program's schema."""
    for name in finished(_migrate()):
        typer.echo(f"ran {name}")


def self_check(*, as_json: AsJson = False) -> None:
    """Check the invariants of the whole database; exit status 1 when one is broken."""
    findings = finished(_self_check())
    if as_json:
        typer.echo(msgspec.json.encode(findings).decode())
    else:
        for found in findings:
            mark = "holds " if not found.broken else f"BROKEN by {found.broken}"
            typer.echo(f"{mark:>8}  {found.invariant.sentence}")
            for example in found.examples:
                typer.echo(f"          {example}")
    if any(found.broken for found in findings):
        raise typer.Exit(FINDINGS)


def vehicle_account(
    vin: Annotated[str, typer.Argument(help="Whose account.")],
) -> None:
    """Give a vehicle an account at this machine's MQTT broker, and print its address."""

    async def account() -> None:
        typer.echo(
            await local_broker.vehicle_account(data_dir(process_environment.environment()), vin)
        )

    run_command(account())


async def _migrate() -> list[str]:
    async with local_machine.database(process_environment.environment(), made=True) as dsn:
        return await migrations.migrate(dsn)


async def _self_check() -> list[invariants.Finding]:
    async with process_environment.reading_database(process_environment.environment()) as database:
        return await invariants.self_check(database)
