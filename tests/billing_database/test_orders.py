"""What PostgreSQL refuses of vehicles and orders, whoever asks: the guards of 0001_schema.sql."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from caas.billing_database.connection import Database
from caas.rules import order_states, vehicle_states
from tests.showroom import Showroom, opened, simulated_world

REFUSED = asyncpg.exceptions.CheckViolationError


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom with everything at hand."""
    async with simulated_world() as world, opened(database, world) as built:
        yield built


async def test_the_database_knows_the_ways_that_the_rules_know(database: Database) -> None:
    vehicles = await database.fetch("select from_state, event, to_state from vehicle_transitions")
    orders = await database.fetch("select from_state, event, to_state from order_transitions")

    assert {tuple(row) for row in vehicles} == set(vehicle_states.transitions())
    assert {tuple(row) for row in orders} == set(order_states.transitions())


async def test_a_second_owner_is_refused_by_the_database_itself(showroom: Showroom) -> None:
    """Decision 20, from a psql session that knows nothing of our code."""
    order = await showroom.reserved(await showroom.stock())
    other = await showroom.ordered(await showroom.stock())

    with pytest.raises(asyncpg.UniqueViolationError, match="one_active_assignment_per_vehicle"):
        await showroom.as_owner(
            "insert into vehicle_assignments (id, vin, order_id, customer, since) values"
            f" (gen_random_uuid(), '{order.vin}', '{other.id}', '{other.customer}', now())"
        )


@pytest.mark.parametrize(
    "change",
    [
        "state = 'ready'",
        "state = 'fully paid', event = 'Mark Fully Paid', version = version + 1",
        "state = 'sin asignar', event = 'Vehicle Ready', version = version + 1",
        "event = 'Vehicle Ready'",
        "version = version + 1",
    ],
)
async def test_a_move_of_a_vehicle_that_is_no_arrow_is_refused(
    showroom: Showroom, change: str
) -> None:
    order = await showroom.reserved(await showroom.stock())

    with pytest.raises(REFUSED, match="illegal move of vehicle"):
        await showroom.as_owner(f"update vehicles set {change} where vin = '{order.vin}'")


@pytest.mark.parametrize(
    "change",
    [
        "state = 'delivered'",
        "state = 'ready', event = 'Mark Fully Paid', version = version + 1",
        "state = 'reservation lost', event = 'Mark Payment Failed', version = version + 1",
    ],
)
async def test_a_move_of_an_order_that_is_no_arrow_is_refused(
    showroom: Showroom, change: str
) -> None:
    order = await showroom.reserved(await showroom.stock())

    with pytest.raises(REFUSED, match="illegal move of order"):
        await showroom.as_owner(f"update orders set {change} where id = '{order.id}'")


async def test_nothing_is_reserved_without_its_payment(showroom: Showroom) -> None:
    order = await showroom.ordered(await showroom.stock())

    with pytest.raises(REFUSED, match="cannot be reserved without its payment"):
        await showroom.as_owner(
            "update orders set state = 'reserved', event = 'Mark Vehicle Reserved',"
            f" version = version + 1 where id = '{order.id}'"
        )


async def test_nothing_is_fully_paid_without_its_payment(showroom: Showroom) -> None:
    order = await showroom.ready()

    with pytest.raises(REFUSED, match="cannot be fully paid without its payment"):
        await showroom.as_owner(
            "update orders set state = 'fully paid', event = 'Mark Fully Paid',"
            f" version = version + 1 where id = '{order.id}'"
        )


@pytest.mark.parametrize(
    "statement",
    [
        (
            "update vehicles set state = 'sin asignar', event = 'Mark Vehicle Sin Asignar',"
            " version = version + 1, in_stock_since = now() where vin = '{vin}'"
        ),
        (
            "update vehicle_assignments set active = false, until = now(), ended_because = 'x'"
            " where vin = '{vin}'"
        ),
    ],
)
async def test_a_vehicle_and_its_assignment_never_part(showroom: Showroom, statement: str) -> None:
    order = await showroom.reserved(await showroom.stock())

    with pytest.raises(REFUSED, match="says otherwise"):
        await showroom.as_owner(statement.format(vin=order.vin))


async def test_an_assignment_that_has_ended_stays_as_it_is(showroom: Showroom) -> None:
    order = await showroom.reserved(await showroom.stock())
    await showroom.orders.withdrawal.withdraw(order.id)

    for change in ("active = true, until = null, ended_because = null", "until = now()"):
        with pytest.raises(REFUSED, match="ends once"):
            await showroom.as_owner(f"update vehicle_assignments set {change}")


@pytest.mark.parametrize(
    "change", ["deposit = 1", "price = price + 1", "customer = gen_random_uuid()", "vin = null"]
)
async def test_what_an_order_is_for_never_changes(showroom: Showroom, change: str) -> None:
    order = await showroom.reserved(await showroom.stock())

    with pytest.raises(asyncpg.PostgresError, match="never change"):
        await showroom.as_owner(f"update orders set {change} where id = '{order.id}'")


@pytest.mark.parametrize(
    "table", ["customers", "vehicles", "orders", "vehicle_assignments", "vehicle_events",
              "order_events"]
)  # fmt: skip
async def test_nothing_of_a_purchase_is_ever_removed(showroom: Showroom, table: str) -> None:
    await showroom.reserved(await showroom.stock())

    with pytest.raises(asyncpg.exceptions.RestrictViolationError):
        await showroom.as_owner(f"delete from {table}")


@pytest.mark.parametrize("table", ["vehicle_events", "order_events", "order_transitions"])
async def test_the_application_cannot_write_history_itself(database: Database, table: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.fetch(f"insert into {table} default values")


async def test_every_move_is_written_down_by_the_trigger_that_allows_it(
    showroom: Showroom,
) -> None:
    order = await showroom.ready()

    vehicle = await showroom.orders.vehicles.history(order.vin or "")
    transitions = await showroom.orders.orders.timeline(order.id)

    assert [transitioned.event for transitioned in vehicle] == [
        "Add to Stock Inventory", "Mark Vehicle Reserved", "Order Confirmation", "Vehicle Ready",
    ]  # fmt: skip
    assert {transitioned.order_id for transitioned in vehicle[1:]} == {order.id}
    assert [transitioned.version for transitioned in transitions] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "statement",
    [
        "insert into customers values (gen_random_uuid(), '', 'a@b', 'es', now(), null)",
        "insert into customers values (gen_random_uuid(), 'A', 'nobody', 'es', now(), null)",
        "insert into customers values (gen_random_uuid(), 'A', 'a@b', 'spanish', now(), null)",
        "insert into customers values (gen_random_uuid(), 'A', 'a@b', 'es', now(), now())",
        "insert into vehicle_models values ('Uno', 0, 'EUR', now())",
        "insert into vehicle_models values ('Uno', 1, 'euro', now())",
    ],
)
async def test_what_is_not_sane_is_refused(showroom: Showroom, statement: str) -> None:
    with pytest.raises(REFUSED):
        await showroom.as_owner(statement)
