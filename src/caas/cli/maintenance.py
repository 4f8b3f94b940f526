"""Maintenance commands: migration, self-check, accounts, and the webhook endpoint."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Final

import typer

from caas import local_machine, process_environment
from caas.billing_database import connection, migrations, removals
from caas.billing_database import self_check as invariants
from caas.billing_database.removals import StoredTable
from caas.billing_database.self_check import (
    RESTS_PER_STEP,
    CheckLimits,
    CheckState,
    InvariantResult,
)
from caas.cli.commands import (
    FINDINGS,
    AsJson,
    Yes,
    ask,
    lower_priority,
    print_json,
    print_table,
    run_and_return,
    run_command,
)
from caas.errors import StartupError
from caas.external_systems import local_broker, stripe_webhooks
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.stripe_http import HEADERS
from caas.external_systems.stripe_settlements import API_HOST
from caas.gateway_settings import settings_of
from caas.settings import check_terms, data_dir, retention_terms

STRIPE: Final = "stripe"


def migrate() -> None:
    """Migrate the database to this version's schema."""
    for name in run_and_return(_migrate()):
        typer.echo(f"ran {name}")


def self_check(
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Check the whole database now, which takes a while.")
    ] = False,
    gentle: Annotated[
        bool,
        typer.Option("--gentle", help="With --full: rest ten times as long as each step takes."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the result of every integrity check; exit status 1 if one does not hold.

    By default these are the results that `work` keeps; --full checks the whole database now.
    """
    if full:
        lower_priority()
    results = run_and_return(_full_check(gentle=gentle) if full else _last_checks())
    if as_json:
        print_json(results)
    else:
        for result in results:
            typer.echo(f"{_mark(result):>12}  {result.sentence}")
            for line in (*result.examples, *filter(None, [result.unfinished_because])):
                typer.echo(f"{'':>12}  {line}")
    if any(result.state is not CheckState.HELD for result in results):
        raise typer.Exit(FINDINGS)


def _mark(result: InvariantResult) -> str:
    times = [f"{at:%m-%d %H:%M}" for at in (result.checked_at, result.fully_checked_at) if at]
    state = f"BROKEN by {result.broken}" if result.broken else str(result.state)
    return f"{state:>12}  {' '.join(times)}" if times else state


def retention(
    *,
    run: Annotated[
        bool, typer.Option("--run", help="Remove now what is older than the policy.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Print what each table holds, the policy of CAAS_RETENTION, and what the next run removes."""
    if run:
        if not yes:
            ask("Remove these rows for good?")
        lower_priority()
        removed = run_and_return(_removed())
        print_table(
            [("table", "removed"), *((table, str(rows)) for table, rows in removed.items())]
        )
        return
    tables = run_and_return(_stored())
    if as_json:
        print_json(tables)
        return
    header = ("table", "rows", "MB", "bytes per payment", "oldest", "kept", "next run removes")
    print_table([header, *map(_described, tables)])


def _described(table: StoredTable) -> tuple[str, ...]:
    return (
        table.name,
        str(table.rows),
        f"{table.bytes / (1 << 20):.1f}",
        "" if table.bytes_per_payment is None else f"{table.bytes_per_payment:.0f}",
        f"{table.oldest:%Y-%m-%d}" if table.oldest else "",
        f"{table.kept_days} days" if table.kept_days else "no policy",
        "" if table.removes is None else str(table.removes),
    )


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
    settings = settings_of(STRIPE, {"CAAS_GATEWAY": STRIPE, **environment})
    key = settings.get("CAAS_GATEWAY_API_KEY")
    if not key:
        raise StartupError("Set CAAS_GATEWAY_API_KEY to a secret key of the Stripe account.")
    url = settings.get("CAAS_GATEWAY_URL") or f"https://{API_HOST}"
    http = HttpClient(url, partner="Stripe", api_key=Secret(key), headers=HEADERS)
    try:
        return await stripe_webhooks.create_endpoint(
            http, f"{public_url}/webhooks/gateway/{STRIPE}"
        )
    finally:
        await http.close()


async def _migrate() -> list[str]:
    async with local_machine.database(process_environment.environment(), made=True) as dsn:
        return await migrations.migrate(dsn)


async def _stored() -> list[StoredTable]:
    environment = process_environment.environment()
    terms = retention_terms(environment)
    async with process_environment.reading_database(environment) as database:
        return await removals.stored(database, terms)


async def _removed() -> dict[str, int]:
    environment = process_environment.environment()
    terms = retention_terms(environment)
    async with local_machine.database(environment) as dsn:
        await migrations.check(dsn)
        database = await connection.connect(dsn)
        try:
            return {
                table: await removals.remove_all(database, table, older_than=timedelta(days=days))
                or 0
                for table, days in terms.kept_days.items()
            }
        finally:
            await database.close()


async def _last_checks() -> list[InvariantResult]:
    async with process_environment.reading_database(process_environment.environment()) as database:
        return await invariants.last_checks(database)


async def _full_check(*, gentle: bool) -> list[InvariantResult]:
    environment = process_environment.environment()
    limits = CheckLimits(
        check_terms(environment).statement_seconds_max, RESTS_PER_STEP if gentle else 0.0
    )
    async with process_environment.reading_database(environment) as database:
        with _progress_bar() as progress:
            return await invariants.full_check(database, limits, progress=progress)


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Show progress on a terminal's stderr; yield what takes the steps done and their number."""
    if not sys.stderr.isatty():
        yield lambda _done, _steps: None
        return
    with typer.progressbar(length=1, label="Checking", file=sys.stderr) as bar:

        def progress(done: int, steps: int) -> None:
            bar.length = steps
            bar.update(done - bar.pos)

        yield progress
