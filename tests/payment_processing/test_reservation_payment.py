"""Reservation Payment: a path for each arrow and each branch of Diagram 2."""

from collections.abc import AsyncIterator

import pytest
from tests.showroom import DEALERSHIP, DEPOSIT, VIN, Showroom, opened, simulated_world

from caas.billing_database.connection import Database
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.rules.vehicle_states import VehicleState


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom with everything at hand."""
    async with simulated_world() as world, opened(database, world) as built:
        yield built


async def test_a_paid_reservation_blocks_the_vehicle_and_places_the_factory_order(
    showroom: Showroom,
) -> None:
    vin = await showroom.stock(VIN)
    order = await showroom.ordered(vin)

    payment = await showroom.reserve(order)

    reserved = await showroom.orders.order(order.id)
    vehicle = await showroom.orders.vehicle(vin)
    [factory_order] = (await showroom.world.partners("GET", "ledger"))["orders"]
    assert (payment.state, payment.captured_amount) == (PaymentState.CAPTURING, DEPOSIT.amount)
    assert reserved.state is OrderState.FACTORY_ORDER_PLACED
    assert vehicle.state is VehicleState.IN_PRODUCTION
    assert reserved.factory_order_id == factory_order["factory_order_id"]
    assert (factory_order["reference"], factory_order["vin"]) == (str(order.id), vin)
    [assignment] = await showroom.orders.assignments(vin=vin)
    assert (assignment.order_id, assignment.customer) == (order.id, order.customer)
    assert await showroom.told(DEALERSHIP, "dealership") == ["reservation_complete"]
    assert await showroom.told(order.customer) == ["access_credentials"]
