"""Writes the built-in markets and tax rates (`markets.toml`) into the database.

Only unknown markets and goods without a rate are added.

Rule a change must keep: existing rows are never changed.
"""

import tomllib
from datetime import date
from importlib import resources
from typing import Any, Final

from caas.billing_database.connection import Connection

ADD_MARKET: Final = """
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
            ADD_MARKET, code, market["name"], market["country"], market.get("postcodes", []),
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
