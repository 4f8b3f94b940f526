"""Customers, vehicles and orders before any payment."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from caas.billing_database import erasure_rows
from caas.billing_database.connection import Database
from caas.billing_database.customers import (
    Customer,
    CustomerErasedError,
    CustomerNotFoundError,
)
from caas.billing_database.identifiers import new_id
from caas.billing_database.vehicles import VehicleNotFoundError
from caas.order_management.ordering import (
    AccessLinkError,
    DepositError,
    ModelNotSoldError,
    NothingOrderedError,
    VehicleDiffersError,
)
from caas.rules.money import Money
from caas.rules.order_states import OrderState
from caas.rules.vehicle_states import VehicleState
from tests.showroom import DEALERSHIP, DEPOSIT, KEY, MODEL, PRICE, Showroom, opened, simulated_world


@pytest.fixture
async def showroom(database: Database) -> AsyncIterator[Showroom]:
    """A showroom with everything at hand."""
    async with simulated_world() as world, opened(database, world) as built:
        yield built


async def test_an_order_keeps_the_price_it_was_made_at(showroom: Showroom) -> None:
    vin = await showroom.stock()
    order = await showroom.ordered(vin)

    dearer = Money(PRICE.amount + 1, "EUR")
    await showroom.orders.put_vehicle(vin=vin, model=MODEL, price=dearer)

    kept = await showroom.orders.orders.get(order.id)
    assert (kept.price, kept.rest) == (PRICE, PRICE - DEPOSIT)
    assert (await showroom.orders.vehicles.get(vin)).price == dearer


@pytest.mark.parametrize(
    "deposit", [Money(0, "EUR"), PRICE, Money(PRICE.amount + 1, "EUR"), Money(100_000, "USD")]
)
async def test_a_deposit_is_less_than_the_price_and_in_its_currency(
    showroom: Showroom, deposit: Money
) -> None:
    vin, customer = await showroom.stock(), await showroom.customer()

    with pytest.raises(DepositError):
        await showroom.orders.ordering.create_order(
            customer=customer, vin=vin, model=None, dealership=DEALERSHIP, deposit=deposit
        )


async def test_what_is_ordered_must_exist(showroom: Showroom) -> None:
    customer = await showroom.customer()

    async def order(vin: str | None, model: str | None, customer: UUID = customer) -> None:
        await showroom.orders.ordering.create_order(
            customer=customer, vin=vin, model=model, dealership=DEALERSHIP, deposit=DEPOSIT
        )

    with pytest.raises(NothingOrderedError):
        await order(None, None)
    with pytest.raises(VehicleNotFoundError):
        await order("WVWZZZ1JZXW999999", None)
    with pytest.raises(ModelNotSoldError):
        await order(None, "Unheard of")
    with pytest.raises(VehicleDiffersError):
        await order(await showroom.stock(), "Dos")
    with pytest.raises(CustomerNotFoundError):
        await order(await showroom.stock(), None, new_id())


async def test_the_key_of_a_vehicle_that_is_built_is_told_by_the_factory_alone(
    showroom: Showroom,
) -> None:
    vin = await showroom.stock()

    with pytest.raises(VehicleDiffersError, match=r"is provided by the factory"):
        await showroom.orders.put_vehicle(vin=vin, model=MODEL, price=PRICE, public_key=KEY)

    assert (await showroom.orders.vehicles.get(vin)).public_key is None


async def test_a_known_vehicle_keeps_its_model_and_its_key(showroom: Showroom) -> None:
    vin = await showroom.stock(finished=True)
    put = showroom.orders.put_vehicle
    await put(vin=vin, model=MODEL, price=PRICE, public_key=KEY)

    with pytest.raises(VehicleDiffersError):
        await put(vin=vin, model="Dos", price=PRICE)
    with pytest.raises(VehicleDiffersError):
        await put(vin=vin, model=MODEL, price=PRICE, public_key=b"\2" * 32)

    vehicle = await put(vin=vin, model=MODEL, price=PRICE)
    assert (vehicle.model, vehicle.public_key) == (MODEL, KEY)


async def test_the_same_vehicle_put_at_once_by_many_is_one(showroom: Showroom) -> None:
    put = showroom.orders.put_vehicle
    vin = "WVWZZZ1JZXW777777"

    await asyncio.gather(*(put(vin=vin, model=MODEL, price=PRICE) for _ in range(16)))

    assert [vehicle.vin for vehicle in await showroom.orders.vehicles.listed(model=MODEL)] == [vin]


async def test_erasing_a_customer_leaves_the_books_whole(showroom: Showroom) -> None:
    """Decision 43."""
    order = await showroom.ready()
    await showroom.pay_rest(order)

    erased = await _cleared(showroom, order.customer)
    again = await _cleared(showroom, order.customer)

    assert (erased.name, erased.email) == (None, None)
    assert erased.erased_at == again.erased_at
    assert (await showroom.orders.orders.get(order.id)).customer == order.customer
    assert {p.customer for p in await showroom.tables.payments.listed(subject=order.id)} == {
        order.customer
    }
    with pytest.raises(AccessLinkError):
        await showroom.orders.ordering.open_access(showroom.access_tokens[0])
    with pytest.raises(CustomerErasedError):
        await showroom.ordered(await showroom.stock(), customer=order.customer)


async def _cleared(showroom: Showroom, customer: UUID) -> Customer:
    async with showroom.tables.database.transaction() as connection:
        await erasure_rows.clear(customer, within=connection)
    return await showroom.orders.customers.get(customer)


async def test_lists_are_read_page_by_page(showroom: Showroom) -> None:
    customer = await showroom.customer()
    vins = sorted([await showroom.stock() for _ in range(3)])
    made = [await showroom.ordered(vin, customer=customer) for vin in vins]

    newest_first = await showroom.orders.orders.listed(customer=customer)
    older = await showroom.orders.orders.listed(customer=customer, before=newest_first[0].id)
    after = await showroom.orders.vehicles.listed(state=VehicleState.SIN_ASIGNAR, after=vins[0])

    assert [order.id for order in newest_first] == [order.id for order in reversed(made)]
    assert [order.id for order in older] == [order.id for order in newest_first[1:]]
    assert [vehicle.vin for vehicle in after] == vins[1:]
    assert await showroom.orders.orders.listed(state=OrderState.DELIVERED) == []
    assert len(await showroom.orders.orders.listed(dealership=DEALERSHIP)) == len(made)
