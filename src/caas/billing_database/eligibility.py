"""Who holds a vehicle, and which customers a dealership knows.

Rule a change must keep: each question is one database function, so that all callers get the same
answer.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection, Database
from caas.errors import RefusedError

HAS_VEHICLE: Final = "select has_vehicle($1, $2)"
MAY_STILL_BE_SOLD: Final = "select coalesce(may_still_be_sold($1), true)"
DEALERSHIP_KNOWS: Final = "select dealership_knows($1, $2)"
CANCEL_PENDING: Final = "select cancel_pending_terms($1, $2, $3)"
DEALERSHIP_SELLS: Final = """
select exists (select from vehicle_assignments a join orders o on o.id = a.order_id
                where a.vin = $2 and a.active and o.dealership = $1)
"""


class VehicleNotTheirsError(RefusedError):
    """A service can be sold only to the customer who holds the vehicle."""

    code = "vehicle_not_theirs"


async def has_vehicle(database: Database, customer: UUID, vin: str) -> bool:
    """Return whether this vehicle was delivered to this customer and is still theirs."""
    return await _is_true(database, HAS_VEHICLE, customer, vin)


async def may_still_be_sold(database: Database, service_order: UUID) -> bool:
    """Return whether a service order can still be delivered to its customer."""
    return await _is_true(database, MAY_STILL_BE_SOLD, service_order)


async def cancel_pending_terms(
    customer: UUID, vin: str | None, because: str, *, within: Connection
) -> None:
    """Cancel a customer's unpaid orders, for one vehicle or for all."""
    await within.execute(CANCEL_PENDING, customer, vin, because)


def not_theirs(vin: str) -> VehicleNotTheirsError:
    """Return the error for a service sold for another customer's vehicle."""
    return VehicleNotTheirsError(
        f"No vehicle {vin} was delivered to this customer, so no service is sold to them for it. "
        "A fleet operator needs a key with the scope fleet."
    )


async def dealership_knows(database: Database, dealership: str, customer: UUID) -> bool:
    """Return whether a dealership created this customer or sold to them (a paid reservation)."""
    return await _is_true(database, DEALERSHIP_KNOWS, dealership, customer)


async def dealership_sells(database: Database, dealership: str, vin: str) -> bool:
    """Return whether the vehicle's holder bought it from this dealership."""
    return await _is_true(database, DEALERSHIP_SELLS, dealership, vin)


async def _is_true(database: Database, query: str, *arguments: object) -> bool:
    row = await database.fetchrow(query, *arguments)
    assert row is not None, "a function returns one row"
    return bool(row[0])
