"""Counts for a dealership's overview: its orders by state, and vehicles in stock.

Rule a change must keep: only the dealership's own orders are counted; the stock is shared.
"""

from dataclasses import dataclass
from typing import Final

from caas.billing_database.connection import Database
from caas.rules.order_states import OrderState

COUNTS: Final = """
select state, count(*) as orders from orders where dealership = $1 group by state
"""
SIN_ASIGNAR: Final = "select count(*) from vehicles where state = 'sin asignar'"


@dataclass(frozen=True, slots=True)
class DealershipCounts:
    """The number of orders by state, and of vehicles that can be reserved."""

    orders: dict[OrderState, int]
    sin_asignar: int


async def counts_of(database: Database, dealership: str) -> DealershipCounts:
    """Count a dealership's orders and the stock."""
    rows = await database.fetch(COUNTS, dealership)
    stock = await database.fetchrow(SIN_ASIGNAR)
    assert stock is not None, "a count is one row"
    return DealershipCounts(
        dict.fromkeys(OrderState, 0) | {OrderState(row["state"]): row["orders"] for row in rows},
        stock[0],
    )
