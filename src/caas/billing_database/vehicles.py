"""Vehicles, their assignments and holders, and the customers of a dealership.

Rules a change must keep: a vehicle changes only from the expected state, and the database rejects
illegal transitions; a vehicle has at most one active assignment, and ended ones are kept; who holds
a vehicle and which customers a dealership may see is one database function each, so that all
callers get the same answer.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.filters import Walk, composed
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import PAGE_ROWS_MAX, columns, read_all, read_one, row_as
from caas.errors import NotFoundError, RefusedError
from caas.rules.money import Money
from caas.rules.vehicle_states import VehicleEvent, VehicleState, next_state

PUT_MODEL: Final = """
insert into vehicle_models (model, price, currency, updated_at) values ($1, $2, $3, db_now())
on conflict (model) do update
   set price = excluded.price, currency = excluded.currency, updated_at = excluded.updated_at
returning model, price, currency, updated_at
"""
KNOW_MODEL: Final = """
insert into vehicle_models (model, price, currency, updated_at) values ($1, $2, $3, db_now())
on conflict (model) do nothing
"""
MODELS_MAX: Final = 1000
MODELS: Final = """
select model, price, currency, updated_at from vehicle_models order by model limit $1
"""
PRICE_OF_MODEL: Final = "select price, currency from vehicle_models where model = $1"
PUT: Final = """
insert into vehicles as v (vin, model, price, currency, public_key, finished, in_stock_since,
                           created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, db_now(), db_now(), db_now())
on conflict (vin) do update
   set price = excluded.price, currency = excluded.currency,
       public_key = coalesce(excluded.public_key, v.public_key),
       finished = v.finished or excluded.finished, updated_at = excluded.updated_at
 where v.model = excluded.model
returning vin
"""


class Vehicle(msgspec.Struct, frozen=True):
    """A vehicle; `finished` once the factory reported it ready."""

    vin: str
    model: str
    price: Money
    public_key: bytes | None
    finished: bool
    factory_order_id: str | None
    state: VehicleState
    version: int
    in_stock_since: datetime | None
    created_at: datetime
    updated_at: datetime


COLUMNS: Final = f"select {columns(Vehicle)} from vehicles"
ONE: Final = COLUMNS + " where vin = $1"
LOCKED: Final = COLUMNS + " where vin = $1 for update"
LISTED: Final = COLUMNS + " where {given} order by {order} limit $1"
FROM_STOCK: Final = (
    COLUMNS
    + """
 where model = $1 and state = 'sin asignar' order by finished desc, in_stock_since limit 1
   for update skip locked
"""
)
APPLY: Final = f"""
update vehicles set state = $3, event = $4, version = version + 1, transitioned_for = $5,
       finished = finished or $4 = 'Vehicle Ready',
       public_key = coalesce(public_key, $6),
       factory_order_id = case when $3 = 'sin asignar' and finished then null
                               else coalesce($7, factory_order_id) end,
       in_stock_since = case when $3 = 'sin asignar' then in_stock_since end,
       updated_at = db_now()
 where vin = $1 and state = $2
returning {columns(Vehicle)}
"""
ADD_TO_STOCK: Final = """
update vehicles set in_stock_since = db_now()
 where vin = $1 and state = 'sin asignar' and in_stock_since is null
"""


class VehicleTransition(msgspec.Struct, frozen=True):
    """A transition in a vehicle's history, and its order."""

    version: int
    event: str
    from_state: str | None
    to_state: str
    order_id: UUID | None
    at: datetime


HISTORY: Final = f"""
select {columns(VehicleTransition)} from vehicle_events
 where vin = $1 order by version
"""
ASSIGN: Final = """
insert into vehicle_assignments (id, vin, order_id, customer, since)
values ($1, $2, $3, $4, db_now()) on conflict do nothing returning id
"""
END: Final = """
update vehicle_assignments set active = false, until = db_now(), ended_because = $2
 where vin = $1 and active returning order_id
"""


class Assignment(msgspec.Struct, frozen=True):
    """A vehicle's holder, until `until` if it has ended."""

    vin: str
    order_id: UUID
    customer: UUID
    since: datetime
    until: datetime | None
    ended_because: str | None


ACTIVE: Final = f"""
select {columns(Assignment)} from vehicle_assignments
 where vin = $1 and active
"""
ASSIGNMENTS: Final = f"""
select {columns(Assignment)} from vehicle_assignments
 where {{given}} order by since desc, id desc limit $1
"""


class VehicleNotFoundError(NotFoundError):
    """No vehicle has this VIN."""

    code = "vehicle_not_found"


class Model(msgspec.Struct, frozen=True):
    """A model and what it costs when it is built to order."""

    model: str
    price: Money
    updated_at: datetime


class NewVehicle(msgspec.Struct, frozen=True, kw_only=True):
    """A vehicle to add or update; omitted fields keep their values."""

    vin: str
    model: str
    price: Money
    public_key: bytes | None = None
    finished: bool = False


class Vehicles:
    """The tables of vehicles, models and assignments."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def put_model(self, model: str, price: Money) -> Model:
        """Set the price of a model."""
        row = await self._database.fetchrow(PUT_MODEL, model, price.amount, price.currency)
        assert row is not None, "an upsert has a row"
        return _model_of(row)

    async def models(self) -> list[Model]:
        """Return the models with their prices, by name."""
        return [_model_of(row) for row in await self._database.fetch(MODELS, MODELS_MAX)]

    async def price_of_model(self, model: str) -> Money | None:
        """Return the price of a model, or None if it is not sold."""
        row = await self._database.fetchrow(PRICE_OF_MODEL, model)
        return None if row is None else Money(row["price"], row["currency"])

    async def put(self, vehicle: NewVehicle, *, within: Connection) -> bool:
        """Add a vehicle to stock or update it; False if its model differs."""
        price = vehicle.price
        await within.execute(KNOW_MODEL, vehicle.model, price.amount, price.currency)
        row = await within.fetchrow(
            PUT,
            vehicle.vin,
            vehicle.model,
            price.amount,
            price.currency,
            vehicle.public_key,
            vehicle.finished,
        )
        return row is not None

    async def get(self, vin: str, *, within: Connection | None = None) -> Vehicle:
        """Return a vehicle.

        Raises:
            VehicleNotFoundError: no vehicle has this VIN.
        """
        row = await (within or self._database).fetchrow(ONE, vin)
        if row is None:
            raise VehicleNotFoundError(f"No vehicle has the VIN {vin}.")
        return row_as(Vehicle, row)

    async def locked(self, vin: str, *, within: Connection) -> Vehicle | None:
        """Return the vehicle locked until the transaction ends, or None."""
        return await read_one(Vehicle, within, LOCKED, vin)

    async def from_stock(self, model: str, *, within: Connection) -> Vehicle | None:
        """Return and lock a vehicle of the model in stock, preferring a finished one."""
        return await read_one(Vehicle, within, FROM_STOCK, model)

    async def listed(
        self,
        *,
        state: VehicleState | None = None,
        model: str | None = None,
        after: str | None = None,
        rows_max: int = PAGE_ROWS_MAX,
    ) -> list[Vehicle]:
        """Return a page of vehicles by VIN; `after` is the last VIN of the previous page."""
        walk = Walk({"state": state, "model": model}, key="vin", place=after, descending=False)
        rows = min(rows_max, PAGE_ROWS_MAX)
        query, arguments = composed(LISTED, rows, given={}, along=walk)
        return await read_all(Vehicle, self._database, query, *arguments)

    async def transition(
        self,
        vehicle: Vehicle,
        event: VehicleEvent,
        *,
        order_id: UUID | None,
        within: Connection,
        reported: tuple[bytes | None, str | None] = (None, None),
    ) -> Vehicle:
        """Apply a transition to a locked vehicle; `reported` is the factory's key and order id.

        Raises:
            IllegalVehicleTransitionError: the state does not allow this event.
        """
        target = next_state(vehicle.state, event)
        row = await within.fetchrow(
            APPLY, vehicle.vin, vehicle.state, target, event, order_id, *reported
        )
        assert row is not None, "a locked vehicle is where it was seen"
        return row_as(Vehicle, row)

    async def add_to_stock(self, vin: str, *, within: Connection) -> None:
        """Make an unassigned vehicle available for sale."""
        await within.execute(ADD_TO_STOCK, vin)

    async def history(self, vin: str) -> list[VehicleTransition]:
        """Return every transition of a vehicle, oldest first."""
        return await read_all(VehicleTransition, self._database, HISTORY, vin)

    async def assign(self, vin: str, *, order_id: UUID, customer: UUID, within: Connection) -> bool:
        """Assign a vehicle to an order; False if it is already assigned."""
        row = await within.fetchrow(ASSIGN, new_id(), vin, order_id, customer)
        return row is not None

    async def end_assignment(self, vin: str, *, because: str, within: Connection) -> UUID | None:
        """End a vehicle's active assignment and return its order."""
        row = await within.fetchrow(END, vin, because)
        return None if row is None else row["order_id"]

    async def assignment(self, vin: str, *, within: Connection | None = None) -> Assignment | None:
        """Return the active assignment of a vehicle, or None."""
        return await read_one(Assignment, within or self._database, ACTIVE, vin)

    async def assignments(
        self, *, vin: str | None = None, customer: UUID | None = None, active_only: bool = True
    ) -> list[Assignment]:
        """Return the assignments of a vehicle or a customer, newest first; ended ones if asked."""
        given = {"vin = $": vin, "customer = $": customer, "active": active_only}
        query, arguments = composed(ASSIGNMENTS, PAGE_ROWS_MAX, given=given)
        return await read_all(Assignment, self._database, query, *arguments)


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


def _model_of(row: Row) -> Model:
    return Model(row["model"], Money(row["price"], row["currency"]), row["updated_at"])
