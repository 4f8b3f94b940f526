"""Markets and tax rates: `caas taxes list | markets | change | withdraw | add-market | dealership`.

The commands use the configured database, or that of the platform running on this machine.

Rule a change must keep: past and current rates never change; only future rates can be added,
replaced or withdrawn.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
import typer

from caas import local_machine, process_environment
from caas.billing_database import connection
from caas.billing_database.tax_rates import TaxMarket, TaxRate, TaxRates
from caas.cli.commands import INTERRUPTED, AsJson, By, run_command
from caas.rules.market import Goods, TaxCategory
from caas.settings import read_market

taxes = typer.Typer(help="Tax rates by market, kind of goods and day.", no_args_is_help=True)

Code = Annotated[str, typer.Argument(help="Market code, for example ES or ES-CN.")]
NewJob = Callable[[TaxRates], Awaitable[None]]


@taxes.command(name="list")
def list_(
    market: Annotated[str | None, typer.Argument(help="Only this market.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List past, current and future rates with their last days, then withdrawn ones."""

    async def operation(rates: TaxRates) -> None:
        listed = await rates.listed(market)
        if as_json:
            typer.echo(msgspec.json.encode(listed).decode())
            return
        for one in listed:
            last_day = one.next_begins and one.next_begins - timedelta(days=1)
            until = f"to {last_day}" if last_day else ""
            typer.echo(
                f"{one.market:<6}  {one.goods:<12}  from {one.first_day}  {until:<13}  "
                f"{one.name:<8}  {one.category}  {one.basis_points / 100:>5.2f} %  {one.reason}"
            )
        for gone in await rates.withdrawn(market):
            typer.echo(
                f"{gone.market:<6}  {gone.goods:<12}  from {gone.first_day}  {'withdrawn':<13}  "
                f"{gone.name:<8}     {gone.basis_points / 100:>5.2f} %  "
                f"by {gone.withdrawn_by}, {gone.withdrawn_at:%Y-%m-%d %H:%M} UTC"
            )

    _reading(operation)


@taxes.command()
def markets(*, as_json: AsJson = False) -> None:
    """List markets."""

    async def operation(rates: TaxRates) -> None:
        listed = await rates.markets()
        if as_json:
            typer.echo(msgspec.json.encode(listed).decode())
            return
        for one in listed:
            typer.echo(f"{one.code:<6}  {one.name:<20}  {one.zone:<20}  {one.currency}")

    _reading(operation)


@taxes.command()
def change(  # noqa: PLR0913  # the columns of a rate, by name
    market: Code,
    goods: Annotated[Goods, typer.Argument(help="Kind of goods.")],
    *,
    first_day: Annotated[
        datetime,
        typer.Option(
            "--from", formats=["%Y-%m-%d"], help="First day in effect; must be in the future."
        ),
    ],
    basis_points: Annotated[
        int, typer.Option(min=0, max=10_000, help="Rate in basis points: 2100 is 21 %.")
    ],
    name: Annotated[str, typer.Option(help="Name of the tax, for example IVA.")],
    category: Annotated[
        TaxCategory,
        typer.Option(
            help="Category: S standard, Z zero, E exempt, O out of scope, L IGIC, M IPSI."
        ),
    ] = TaxCategory.STANDARD,
    reason: Annotated[str, typer.Option(help="Reason for no tax, required for E and O.")] = "",
    by: By,
) -> None:
    """Set the tax rate from a future day on; the previous rate ends on the day before.

    A rate that was to begin on that day is replaced.
    """
    rate = TaxRate(
        market=market,
        goods=goods,
        first_day=first_day.date(),
        category=category,
        basis_points=basis_points,
        name=name,
        reason=reason,
    )

    async def operation(rates: TaxRates) -> None:
        replaced = await rates.change(rate, by=by)
        instead = "" if replaced is None else f", instead of {replaced / 100:.2f} %"
        typer.echo(
            f"{goods} in {market} is taxed at {basis_points / 100:.2f} % from {rate.first_day}"
            f"{instead}."
        )

    _writing(operation)


@taxes.command()
def withdraw(
    market: Code,
    goods: Annotated[Goods, typer.Argument(help="Kind of goods.")],
    *,
    first_day: Annotated[
        datetime,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day of the rate."),
    ],
    by: By,
) -> None:
    """Withdraw a rate that has not begun; the previous rate goes on."""

    async def operation(rates: TaxRates) -> None:
        await rates.withdraw(market, goods, first_day.date(), by=by)
        typer.echo(f"The rate of {goods} in {market} from {first_day.date()} is withdrawn.")

    _writing(operation)


@taxes.command(name="add-market")
def add_market(  # noqa: PLR0913  # the columns of a market, by name
    code: Code,
    *,
    name: Annotated[str, typer.Option(help="Display name.")],
    country: Annotated[str, typer.Option(help="ISO 3166 code, for example ES.")],
    zone: Annotated[str, typer.Option(help="Time zone, for example Europe/Madrid.")],
    currency: Annotated[str, typer.Option(help="ISO 4217 code, for example EUR.")],
    simplified_up_to: Annotated[
        int, typer.Option(min=0, help="Largest simplified invoice, in minor units.")
    ] = 0,
    buyer_tax_id: Annotated[
        bool, typer.Option(help="Require the buyer's tax id on full invoices.")
    ] = False,
    documents_kept_years: Annotated[
        int, typer.Option(min=1, max=30, help="Years that documents must be kept by law.")
    ] = 10,
    postcode: Annotated[
        list[str] | None, typer.Option(help="Postcode prefix of a regional market; repeatable.")
    ] = None,
) -> None:
    """Add a market. It can sell once every kind of goods has a rate."""
    read_market(f"{zone},{currency},en")
    market = TaxMarket(
        code, name, country, postcode or [], zone, currency, simplified_up_to, buyer_tax_id,
        documents_kept_years,
    )  # fmt: skip

    async def operation(rates: TaxRates) -> None:
        await rates.add_market(market)
        typer.echo(f"Added {code}. Add its rates with './caas taxes change'.")

    _writing(operation)


@taxes.command()
def dealership(
    name: Annotated[str, typer.Argument(help="Dealership name as used in orders.")],
    market: Annotated[str, typer.Option(help="Code of the market.")],
) -> None:
    """Set the market in which a dealership sells."""

    async def operation(rates: TaxRates) -> None:
        await rates.dealership_sells_in(name, market)
        typer.echo(f"{name} sells in {market}.")

    _writing(operation)


def _reading(operation: NewJob) -> None:
    async def opened() -> None:
        async with process_environment.reading_database(
            process_environment.environment()
        ) as database:
            await operation(TaxRates(database))

    run_command(opened(), when_stopped=INTERRUPTED)


def _writing(operation: NewJob) -> None:
    async def opened() -> None:
        async with local_machine.database(process_environment.environment()) as dsn:
            database = await connection.connect(dsn)
            try:
                await operation(TaxRates(database))
            finally:
                await database.close()

    run_command(opened(), when_stopped=INTERRUPTED)
