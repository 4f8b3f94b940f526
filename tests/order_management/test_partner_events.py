"""What the factory and the transport tell by themselves: twice, early, late, wrong."""

from collections.abc import AsyncIterator

import pytest

from caas.billing_database.connection import Database
from caas.order_management.ordering import VehicleDiffersError
from caas.order_management.partner_events import (
    DeliveryNotFoundError,
    FactoryOrderNotFoundError,
    NotYetPossibleError,
)
from caas.rules.order_states import OrderState
from caas.rules.vehicle_states import VehicleState
from tests.showroom import KEY, MODEL, PRICE, VIN, Showroom, opened, simulated_world

OTHER_KEY = bytes(reversed(KEY))
OTHER_VIN = "WVWZZZ1JZXW000002"


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom with everything at hand."""
    async with simulated_world() as world, opened(database, world) as built:
        yield built


async def test_a_vehicle_that_is_ready_is_told_to_its_customer_once(showroom: Showroom) -> None:
    order = await showroom.reserved(await showroom.stock())
    vin = order.vin or ""

    reported = [
        await showroom.orders.partner_events.vehicle_ready(
            vin=vin, public_key=KEY, factory_order_id=order.factory_order_id
        )
        for _ in range(3)
    ]

    vehicle = await showroom.orders.vehicles.get(vin)
    assert {order.state for order in reported} == {OrderState.READY}
    assert len({order.version for order in reported}) == 1
    assert (vehicle.state, vehicle.public_key) == (VehicleState.READY, KEY)
    assert await showroom.reported(order.customer) == ["access_credentials", "vehicle_ready"]


async def test_the_letter_says_what_a_declined_final_payment_costs(showroom: Showroom) -> None:
    order = await showroom.ready()

    [letter, *_] = await showroom.notifications.inbox(order.customer, language="en")

    assert "29,000.00" in letter.text
    assert "you lose the reservation" in letter.text


async def test_news_of_a_factory_order_nobody_knows_is_refused_by_name(showroom: Showroom) -> None:
    with pytest.raises(FactoryOrderNotFoundError):
        await showroom.orders.partner_events.vehicle_ready(
            vin=VIN, public_key=KEY, factory_order_id="fac_unknown"
        )


async def test_news_of_a_delivery_nobody_knows_is_refused_by_name(showroom: Showroom) -> None:
    with pytest.raises(DeliveryNotFoundError):
        await showroom.orders.partner_events.delivery_completed("del_unknown")


async def test_no_vehicle_is_ready_for_an_order_that_is_not_paid(showroom: Showroom) -> None:
    order = await showroom.ordered(await showroom.stock())

    with pytest.raises(NotYetPossibleError):
        await showroom.orders.partner_events.vehicle_ready(
            vin=order.vin or "", public_key=KEY, order_id=order.id
        )


async def test_another_vehicle_than_was_ordered_is_refused(showroom: Showroom) -> None:
    order = await showroom.reserved(await showroom.stock())

    with pytest.raises(VehicleDiffersError):
        await showroom.orders.partner_events.vehicle_ready(
            vin=OTHER_VIN, public_key=KEY, factory_order_id=order.factory_order_id
        )

    assert (await showroom.orders.orders.get(order.id)).state is OrderState.FACTORY_ORDER_PLACED


async def test_another_factory_order_than_was_confirmed_is_refused(showroom: Showroom) -> None:
    order = await showroom.reserved(await showroom.stock())

    with pytest.raises(VehicleDiffersError):
        await showroom.orders.partner_events.vehicle_ready(
            vin=order.vin or "", public_key=KEY, order_id=order.id, factory_order_id="fac_other"
        )


async def test_another_key_than_is_known_is_refused(showroom: Showroom) -> None:
    """Whoever holds the key decides what is charged: it is never replaced in silence."""
    order = await showroom.ready()
    vin = order.vin or ""

    with pytest.raises(VehicleDiffersError):
        await showroom.orders.partner_events.vehicle_ready(
            vin=vin, public_key=OTHER_KEY, order_id=order.id
        )

    assert (await showroom.orders.vehicles.get(vin)).public_key == KEY


async def test_the_factory_cannot_give_somebody_elses_vehicle(showroom: Showroom) -> None:
    taken = await showroom.reserved(await showroom.stock())
    await showroom.orders.put_model(MODEL, PRICE)
    order = await showroom.ordered()
    await showroom.reserve(order)

    with pytest.raises(VehicleDiffersError):
        await showroom.orders.partner_events.vehicle_ready(
            vin=taken.vin or "", public_key=KEY, order_id=order.id
        )

    [assignment] = await showroom.orders.vehicles.assignments(vin=taken.vin)
    assert assignment.order_id == taken.id


async def test_a_key_that_comes_later_is_learnt(showroom: Showroom) -> None:
    order = await showroom.reserved(await showroom.stock())
    vin = order.vin or ""
    await showroom.orders.partner_events.vehicle_ready(vin=vin, public_key=None, order_id=order.id)

    vehicle = await showroom.orders.put_vehicle(vin=vin, model=MODEL, price=PRICE, public_key=KEY)

    assert vehicle.public_key == KEY
