"""Maintenance commands: migration, self-check, accounts, and the webhook endpoint."""

from typing import Annotated

import msgspec
import typer

from caas import local_machine, process_environment
from caas.billing_database import migrations
from caas.billing_database import self_check as invariants
from caas.cli.commands import FINDINGS, AsJson, run_and_return, run_command
from caas.errors import StartupError
from caas.external_systems import local_broker, stripe_webhooks
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.stripe_http import HEADERS
from caas.external_systems.stripe_settlements import API_HOST
from caas.settings import data_dir


def migrate() -> None:
    """Migrate the database to this version's schema."""
    for name in run_and_return(_migrate()):
        typer.echo(f"ran {name}")


def self_check(*, as_json: AsJson = False) -> None:
    """Check the integrity of the whole database; exit status 1 if a check fails."""
    findings = run_and_return(_self_check())
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
    vin: Annotated[str, typer.Argument(help="The vehicle's VIN.")],
) -> None:
    """Create a vehicle's account at the local MQTT broker and print its address."""

    async def account() -> None:
        typer.echo(
            await local_broker.vehicle_account(data_dir(process_environment.environment()), vin)
        )

    run_command(account())


def webhook_endpoint(
    public_url: Annotated[
        str, typer.Argument(help="The platform's public address, such as https://caas.example.")
    ],
) -> None:
    """Make the webhook endpoint at Stripe and print its signing secret, once."""
    made = run_and_return(_endpoint(public_url.rstrip("/")))
    typer.echo(f"Stripe sends webhooks to {made.url} ({made.id}). Set:")
    typer.echo(f"CAAS_GATEWAY_WEBHOOK_SECRETS={made.secret}")


async def _endpoint(public_url: str) -> stripe_webhooks.Endpoint:
    environment = process_environment.environment()
    key = environment.get("CAAS_GATEWAY_API_KEY")
    if not key:
        raise StartupError("Set CAAS_GATEWAY_API_KEY to a secret key of the Stripe account.")
    url = environment.get("CAAS_GATEWAY_URL") or f"https://{API_HOST}"
    http = HttpClient(url, partner="Stripe", api_key=Secret(key), headers=HEADERS)
    try:
        return await stripe_webhooks.create_endpoint(http, f"{public_url}/webhooks/gateway")
    finally:
        await http.close()


async def _migrate() -> list[str]:
    async with local_machine.database(process_environment.environment(), made=True) as dsn:
        return await migrations.migrate(dsn)


async def _self_check() -> list[invariants.Finding]:
    async with process_environment.reading_database(process_environment.environment()) as database:
        return await invariants.self_check(database)
