"""Markets and tax rates: `caas taxes list | markets | change | add-market | dealership`.

They work on the database of the settings, or of the platform that is up on this machine.

Rule a change must keep: a command decides nothing that the books do not; what a rate was is never
changed, only what it will be from a day to come on.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from caas import local_machine, process_environment
from caas.billing_database import connection
from caas.billing_database.tax_rates import TaxMarket, TaxRate, TaxRates
from caas.cli.commands import INTERRUPTED, AsJson, run_command
from caas.rules.taxes import Goods, TaxCategory
from caas.settings import read_market

taxes = typer.Typer(
    help="Tax rates of the markets, by kind of goods and day.", no_args_is_help=True
)

Code = Annotated[str, typer.Argument(help="The market's code, such as ES or ES-CN.")]
NewJob = Callable[[TaxRates], Awaitable[None]]


@taxes.command(name="list")
def list_(
    market: Annotated[str | None, typer.Argument(help="Only this market's.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the rates, those that were and those to come."""

    async def work(rates: TaxRates) -> None:
        listed = await rates.listed(market)
        if as_json:
            typer.echo(msgspec.json.encode(listed).decode())
            return
        for one in listed:
            until = f"until {one.next_begins}" if one.next_begins else ""
            typer.echo(
                f"{one.market:<6}  {one.goods:<12}  from {one.first_day}  {until:<16}  "
                f"{one.name:<8}  {one.category}  {one.basis_points / 100:>5.2f} %  {one.reason}"
            )

    _reading(work)


@taxes.command()
def markets(*, as_json: AsJson = False) -> None:
    """List the markets."""

    async def work(rates: TaxRates) -> None:
        listed = await rates.markets()
        if as_json:
            typer.echo(msgspec.json.encode(listed).decode())
            return
        for one in listed:
            typer.echo(f"{one.code:<6}  {one.name:<20}  {one.zone:<20}  {one.currency}")

    _reading(work)


@taxes.command()
def change(  # noqa: PLR0913  # the columns of a rate, by name
    market: Code,
    goods: Annotated[Goods, typer.Argument(help="What is taxed so.")],
    *,
    first_day: Annotated[
        datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="Its first day, one to come.")
    ],
    basis_points: Annotated[int, typer.Option(min=0, max=10_000, help="2100 for 21 %.")],
    name: Annotated[str, typer.Option(help="What the tax is called, such as IVA.")],
    category: Annotated[
        TaxCategory, typer.Option(help="S a rate, Z none, E exempt, O not subject, L IGIC, M IPSI.")
    ] = TaxCategory.STANDARD,
    reason: Annotated[str, typer.Option(help="Why there is none, for E and O.")] = "",
) -> None:
    """Let another rate hold from a day to come on; the one before it ends there."""
    rate = TaxRate(
        market=market,
        goods=goods,
        first_day=first_day.date(),
        category=category,
        basis_points=basis_points,
        name=name,
        reason=reason,
    )

    async def work(rates: TaxRates) -> None:
        await rates.change(rate)
        typer.echo(
            f"{goods} in {market} is taxed at {basis_points / 100:.2f} % from {rate.first_day}."
        )

    _writing(work)


@taxes.command(name="add-market")
def add_market(  # noqa: PLR0913  # the columns of a market, by name
    code: Code,
    *,
    name: Annotated[str, typer.Option(help="What it is called.")],
    country: Annotated[str, typer.Option(help="ISO 3166, such as ES.")],
    zone: Annotated[str, typer.Option(help="Its time zone, such as Europe/Madrid.")],
    currency: Annotated[str, typer.Option(help="ISO 4217, such as EUR.")],
    simplified_up_to: Annotated[
        int, typer.Option(min=0, help="Up to which sum documents name no customer, minor units.")
    ] = 0,
    buyer_tax_id: Annotated[
        bool, typer.Option(help="A full invoice has the buyer's tax id.")
    ] = False,
    documents_kept_years: Annotated[
        int, typer.Option(min=1, max=30, help="How long the law wants documents kept.")
    ] = 10,
    postcode: Annotated[
        list[str] | None, typer.Option(help="Beginning of its postcodes, if it is a part; repeat.")
    ] = None,
) -> None:
    """Write down a market; it sells once it has a rate for everything."""
    read_market(f"{zone},{currency},en")
    market = TaxMarket(
        code, name, country, postcode or [], zone, currency, simplified_up_to, buyer_tax_id,
        documents_kept_years,
    )  # fmt: skip

    async def work(rates: TaxRates) -> None:
        await rates.add_market(market)
        typer.echo(f"{code} is a market; write its rates with './caas taxes change'.")

    _writing(work)


@taxes.command()
def dealership(
    name: Annotated[str, typer.Argument(help="The dealership, as orders name it.")],
    market: Annotated[str, typer.Option(help="The code of the market it sells in.")],
) -> None:
    """Say in which market a dealership sells vehicles from now on."""

    async def work(rates: TaxRates) -> None:
        await rates.dealership_sells_in(name, market)
        typer.echo(f"{name} sells in {market}.")

    _writing(work)


def _reading(work: NewJob) -> None:
    async def opened() -> None:
        async with process_environment.reading_database(
            process_environment.environment()
        ) as database:
            await work(TaxRates(database))

    run_command(opened(), when_stopped=INTERRUPTED)


def _writing(work: NewJob) -> None:
    async def opened() -> None:
        async with local_machine.database(process_environment.environment()) as dsn:
            database = await connection.connect(dsn)
            try:
                await work(TaxRates(database))
            finally:
                await database.close()

    run_command(opened(), when_stopped=INTERRUPTED)
