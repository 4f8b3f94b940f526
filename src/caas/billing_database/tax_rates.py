"""Markets and tax rates (decision 121), and the built-in ones (`markets.toml`).

Only unknown markets, and goods without a rate, are added from the file.

Rules a change must keep: a rate that has begun never changes; another one replaces it on a future
date; one that has not begun may be withdrawn, and its row says by whom and when;
every market that sells has a rate for each kind of goods from today on; loading the file never
changes existing rows.
"""

import tomllib
from datetime import date, datetime
from importlib import resources
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.free_text import refuse_identifying
from caas.billing_database.rows import columns, read_all
from caas.errors import NotFoundError, RefusedError
from caas.rules.market import NEEDS_A_REASON, TAXED, Goods, TaxCategory

RATE_MIN: Final = 50
RATE_MAX: Final = 10_000

LISTED: Final = """
select market, goods, lower(valid) as first_day, upper(valid) as next_begins, category,
       basis_points, name, reason
  from tax_rates where not isempty(valid) and ($1::text is null or market = $1)
 order by market, goods, lower(valid)
"""
ON: Final = """
select r.market, r.goods, lower(r.valid) as first_day, upper(r.valid) as next_begins, r.category,
       r.basis_points, r.name, r.reason
  from tax_rates r join markets m on m.code = r.market
 where r.market = $1 and r.goods = $2
   and r.valid @> coalesce($3::date, (db_now() at time zone m.zone)::date)
"""
OF_CUSTOMER: Final = """
select r.market, r.goods, lower(r.valid) as first_day, upper(r.valid) as next_begins, r.category,
       r.basis_points, r.name, r.reason
  from market_of_sale('service', null, $1) as sale(market)
  join markets m on m.code = sale.market
  join tax_rates r on r.market = sale.market and r.goods = $2
   and r.valid @> (db_now() at time zone m.zone)::date
"""
OF_SALE: Final = "select market_of_sale($1, $2, $3) as market"


class TaxMarket(msgspec.Struct, frozen=True):
    """A market; `postcodes` are prefixes, empty for the whole country.

    `buyer_tax_id`: a full invoice includes the buyer's tax id.
    """

    code: str
    name: str
    country: str
    postcodes: list[str]
    zone: str
    currency: str
    simplified_up_to: int
    buyer_tax_id: bool
    documents_kept_years: int


MARKETS: Final = f"""
select {columns(TaxMarket)}
  from markets order by code
"""
ADD_MARKET: Final = """
insert into markets (code, name, country, postcodes, zone, currency, simplified_up_to,
    buyer_tax_id, documents_kept_years)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing returning code
"""
END: Final = """
update tax_rates set valid = daterange(lower(valid), $3)
 where market = $1 and goods = $2 and upper_inf(valid) and lower(valid) < $3
"""
LAST: Final = """
select lower(valid) as first_day from tax_rates
 where market = $1 and goods = $2 and not isempty(valid)
 order by lower(valid) desc limit 1 for update
"""
WITHDRAW: Final = """
update tax_rates set planned = valid, valid = 'empty', withdrawn_at = db_now(), withdrawn_by = $4
 where market = $1 and goods = $2 and lower(valid) = $3
returning basis_points, upper(planned) as next_begins
"""
GO_ON: Final = """
update tax_rates set valid = daterange(lower(valid), $4)
 where market = $1 and goods = $2 and upper(valid) = $3
"""
WITHDRAWN: Final = """
select market, goods, lower(planned) as first_day, basis_points, name, withdrawn_at, withdrawn_by
  from tax_rates where isempty(valid) and ($1::text is null or market = $1) order by id
"""
BEGIN: Final = """
insert into tax_rates (market, goods, valid, category, basis_points, name, reason, recorded_at)
values ($1, $2, daterange($3, null), $4, $5, $6, $7, db_now())
"""
SELLS_IN: Final = """
insert into dealership_markets (dealership, market) values ($1, $2)
on conflict (dealership) do update set market = excluded.market
"""
DEFAULT: Final = "update tax_settings set market = $1 where market <> $1"
WITHOUT_RATE: Final = """
select g as goods from unnest($2::text[]) as g
 where not exists (select from tax_rates r join markets m on m.code = r.market
   where r.market = $1 and r.goods = g and r.valid @> (db_now() at time zone m.zone)::date)
 order by g
"""


class UnknownMarketError(NotFoundError):
    """No market has this code. List markets with './caas taxes markets'."""

    code = "unknown_market"


class MarketKnownError(RefusedError):
    """A market with this code already exists."""

    code = "market_known"


class InvalidTaxRateError(RefusedError):
    """The tax rate is inconsistent with itself or with existing rates."""

    code = "invalid_tax_rate"


class TaxRateNotFoundError(NotFoundError):
    """No tax rate begins on this day."""

    code = "tax_rate_not_found"


class TaxRate(msgspec.Struct, frozen=True, kw_only=True):
    """A rate from `first_day` until the next one begins."""

    market: str
    goods: Goods
    first_day: date
    next_begins: date | None = None
    category: TaxCategory
    basis_points: int
    name: str
    reason: str = ""


class WithdrawnTaxRate(msgspec.Struct, frozen=True):
    """A rate that was withdrawn before it began: by whom, and when."""

    market: str
    goods: str
    first_day: date
    basis_points: int
    name: str
    withdrawn_at: datetime
    withdrawn_by: str


class TaxRates:
    """The tables of markets and tax rates."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def markets(self) -> list[TaxMarket]:
        """Return every market."""
        return await read_all(TaxMarket, self._database, MARKETS)

    async def listed(self, market: str | None = None) -> list[TaxRate]:
        """Return the rates of one or all markets in order of validity."""
        return [_rate(row) for row in await self._database.fetch(LISTED, market)]

    async def on(self, market: str, goods: Goods, day: date | None = None) -> TaxRate | None:
        """Return the rate on a date, by default today."""
        row = await self._database.fetchrow(ON, market, goods, day)
        return None if row is None else _rate(row)

    async def of_customer(self, customer: object, goods: Goods) -> TaxRate | None:
        """Return the current rate for a customer's services."""
        row = await self._database.fetchrow(OF_CUSTOMER, customer, goods)
        return None if row is None else _rate(row)

    async def market_of_sale(self, sold: str, subject: UUID | None, customer: UUID) -> str | None:
        """Return the market whose rates a payment of this type has, or None without an address's.

        A vehicle is sold where its dealership is, everything else where the customer lives.
        """
        row = await self._database.fetchrow(OF_SALE, sold, subject, customer)
        return None if row is None else row["market"]

    async def without_rate(self, market: str) -> list[str]:
        """Return the kinds of goods without a current rate in a market."""
        rows = await self._database.fetch(WITHOUT_RATE, market, [goods.value for goods in Goods])
        return [row["goods"] for row in rows]

    async def sell_in(self, market: str) -> None:
        """Set the default market for sales."""
        await self._database.fetch(DEFAULT, market)

    async def add_market(self, market: TaxMarket) -> None:
        """Add a market; it can sell once it has its rates.

        Raises:
            MarketKnownError: the code exists.
        """
        row = await self._database.fetchrow(
            ADD_MARKET, market.code, market.name, market.country, market.postcodes, market.zone,
            market.currency, market.simplified_up_to, market.buyer_tax_id,
            market.documents_kept_years,
        )  # fmt: skip
        if row is None:
            raise MarketKnownError(market=market.code)

    async def withdrawn(self, market: str | None = None) -> list[WithdrawnTaxRate]:
        """Return the rates of one or all markets that were withdrawn, the earliest first."""
        return await read_all(WithdrawnTaxRate, self._database, WITHDRAWN, market)

    async def change(self, rate: TaxRate, *, by: str) -> int | None:
        """Add a rate from a future date; the previous one ends then.

        One that was to begin on the same day is withdrawn; its basis points are returned.

        Raises:
            UnknownMarketError: no market has this code.
            InvalidTaxRateError: the rate is inconsistent or begins too early.
        """
        _check(rate)
        refuse_identifying(rate.name, rate.reason)
        which = (rate.market, rate.goods, rate.first_day)

        async def follow(connection: Connection) -> int | None:
            last = await connection.fetchrow(LAST, rate.market, rate.goods)
            replaced = None
            if last is not None and last["first_day"] == rate.first_day:
                replaced = await connection.fetchrow(WITHDRAW, *which, by)
            await connection.execute(END, *which)
            await connection.execute(
                BEGIN, rate.market, rate.goods, rate.first_day, rate.category, rate.basis_points,
                rate.name, rate.reason,
            )  # fmt: skip
            return None if replaced is None else int(replaced["basis_points"])

        try:
            return await self._database.in_transaction(follow)
        except asyncpg.ForeignKeyViolationError as error:
            raise UnknownMarketError(market=rate.market) from error
        except (asyncpg.CheckViolationError, asyncpg.ExclusionViolationError) as error:
            raise InvalidTaxRateError(
                f"The rate of {rate.goods} in {rate.market} cannot begin on {rate.first_day}: a "
                "rate begins on a day to come, and no later one may be written down; withdraw that "
                "first ('./caas taxes withdraw')."
            ) from error

    async def withdraw(self, market: str, goods: Goods, first_day: date, *, by: str) -> None:
        """Withdraw a rate that has not begun; the previous one goes on.

        Raises:
            TaxRateNotFoundError: no rate begins on this day.
            InvalidTaxRateError: the rate has begun.
        """

        async def take_back(connection: Connection) -> None:
            gone = await connection.fetchrow(WITHDRAW, market, goods, first_day, by)
            if gone is None:
                raise TaxRateNotFoundError(f"No rate of {goods} in {market} begins on {first_day}.")
            await connection.execute(GO_ON, market, goods, first_day, gone["next_begins"])

        try:
            await self._database.in_transaction(take_back)
        except asyncpg.CheckViolationError as error:
            raise InvalidTaxRateError(
                f"The rate of {goods} in {market} began on {first_day}; a rate that has begun "
                "never changes."
            ) from error

    async def dealership_sells_in(self, dealership: str, market: str) -> None:
        """Set the market of a dealership's future sales.

        Raises:
            UnknownMarketError: no market has this code.
        """
        try:
            await self._database.fetch(SELLS_IN, dealership, market)
        except asyncpg.ForeignKeyViolationError as error:
            raise UnknownMarketError(market=market) from error


def _check(rate: TaxRate) -> None:
    within = RATE_MIN <= rate.basis_points <= RATE_MAX
    if within != (rate.category in TAXED) or (rate.basis_points and not within):
        raise InvalidTaxRateError(
            f"{rate.basis_points} basis points are no rate of category {rate.category}: S, L and M "
            f"have {RATE_MIN} to {RATE_MAX}, the others 0."
        )
    if bool(rate.reason.strip()) != (rate.category in NEEDS_A_REASON):
        raise InvalidTaxRateError("Categories E and O have a reason, and no others.")


def _rate(row: Row) -> TaxRate:
    known = {**row, "goods": Goods(row["goods"]), "category": TaxCategory(row["category"])}
    return TaxRate(**known)


ADD_BUILT_IN_MARKET: Final = """
insert into markets (code, name, country, postcodes, zone, currency, simplified_up_to,
    buyer_tax_id, documents_kept_years)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing
"""
ADD_RATES: Final = """
with known as materialized (select distinct goods from tax_rates where market = $1)
insert into tax_rates (market, goods, valid, category, basis_points, name, reason, recorded_at)
select $1, g, daterange(f, u), c, b, n, r, db_now()
  from unnest($2::text[], $3::date[], $4::date[], $5::text[], $6::integer[], $7::text[], $8::text[])
    as w(g, f, u, c, b, n, r)
 where not exists (select from known k where k.goods = w.g)
"""


async def write_markets(connection: Connection) -> None:
    """Add missing markets and rates."""
    source = (resources.files("caas.billing_database") / "markets.toml").read_text("utf-8")
    for code, market in tomllib.loads(source).items():
        await connection.execute(
            ADD_BUILT_IN_MARKET, code, market["name"], market["country"],
            market.get("postcodes", []),
            market["zone"], market["currency"], market["simplified_up_to"],
            market.get("buyer_tax_id", False), market["documents_kept_years"],
        )  # fmt: skip
        rows = [row for rate in market.get("rates", []) for row in _rows(rate)]
        if rows:
            await connection.execute(ADD_RATES, code, *map(list, zip(*rows, strict=True)))


def _rows(
    rate: dict[str, Any],
) -> list[tuple[str, date, date | None, str, int, str, str]]:
    return [
        (
            goods, rate["from"], rate.get("until"), rate["category"], rate["basis_points"],
            rate["name"], rate.get("reason", ""),
        )
        for goods in rate["goods"]
    ]  # fmt: skip
