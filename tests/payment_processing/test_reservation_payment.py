"""Reservation Payment: a path for each arrow and each branch of Diagram 2."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from caas.billing_database.connection import Database
from caas.order_management.ordering import AccessLinkError, VehicleNotFreeError
from caas.order_management.reservation import NotDueError, NotTheSumDueError
from caas.rules.money import Money
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.rules.vehicle_states import VehicleState
from tests.showroom import (
    DEALERSHIP,
    DEPOSIT,
    KEY,
    MODEL,
    PRICE,
    VIN,
    Showroom,
    opened,
    simulated_world,
)

DEALERS = 64


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

    reserved = await showroom.orders.orders.get(order.id)
    vehicle = await showroom.orders.vehicles.get(vin)
    [factory_order] = (await showroom.world.partners("GET", "ledger"))["orders"]
    assert (payment.state, payment.captured_amount) == (PaymentState.CAPTURING, DEPOSIT.amount)
    assert reserved.state is OrderState.FACTORY_ORDER_PLACED
    assert vehicle.state is VehicleState.IN_PRODUCTION
    assert reserved.factory_order_id == factory_order["factory_order_id"]
    assert (factory_order["reference"], factory_order["vin"]) == (str(order.id), vin)
    [assignment] = await showroom.orders.vehicles.assignments(vin=vin)
    assert (assignment.order_id, assignment.customer) == (order.id, order.customer)
    assert await showroom.reported(DEALERSHIP, "dealership") == ["reservation_complete"]
    assert await showroom.reported(order.customer) == ["access_credentials"]


async def test_the_gateway_holds_one_charge_and_the_claim_names_its_evidence(
    showroom: Showroom,
) -> None:
    order = await showroom.ordered(await showroom.stock())

    payment = await showroom.reserve(order)

    ledger = await showroom.world.gateway("GET", "ledger")
    claim = await showroom.database.fetchrow("select kind, evidence_kind from resolution_claims")
    assert [t["captured"] for t in ledger["transactions"]] == [DEPOSIT.amount]
    assert dict(claim or {}) == {"kind": "capture", "evidence_kind": "reservation_recorded"}
    assert [event.event for event in await showroom.tables.payments.timeline(payment.id)] == [
        "Customer submits payment", "Gateway processing", "Funds reserved", "Initiate settlement",
        "Capture accepted",
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["pm_declined", "pm_insufficient_funds", "pm_invalid"])
async def test_a_failed_payment_makes_no_reservation_and_no_factory_order(
    showroom: Showroom, method: str
) -> None:
    vin = await showroom.stock()
    order = await showroom.ordered(vin)

    payment = await showroom.reserve(order, method)

    assert payment.state is PaymentState.FAILED
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.RESERVATION_FAILED
    assert (await showroom.orders.vehicles.get(vin)).state is VehicleState.SIN_ASIGNAR
    assert await showroom.orders.vehicles.assignments(vin=vin, active_only=False) == []
    assert (await showroom.world.partners("GET", "ledger"))["orders"] == []
    assert await showroom.reported(DEALERSHIP, "dealership") == ["reservation_failed"]
    assert await showroom.reported(order.customer) == ["reservation_failed"]


async def test_after_a_failed_payment_a_new_one_may_reserve(showroom: Showroom) -> None:
    """Decision 12: failed ends an attempt; a new attempt is a new payment."""
    order = await showroom.ordered(await showroom.stock())
    failed = await showroom.reserve(order, "pm_declined")
    await showroom.reserve(order, "pm_insufficient_funds")

    paid = await showroom.reserve(order)

    assert paid.id != failed.id
    assert (await showroom.orders.orders.get(order.id)).state is OrderState.FACTORY_ORDER_PLACED
    assert (await showroom.reported(order.customer)) == [
        "reservation_failed", "reservation_failed", "access_credentials",
    ]  # fmt: skip


async def test_sixty_four_dealers_and_one_vehicle_leave_one_reserved_and_nobody_else_charged(
    showroom: Showroom,
) -> None:
    """Fault F-R2."""
    vin = await showroom.stock(VIN)
    customer = await showroom.customer()
    orders = [await showroom.ordered(vin, customer=customer) for _ in range(DEALERS)]

    payments = await asyncio.gather(*(showroom.reserve(order) for order in orders))

    states = [payment.state for payment in payments]
    ledger = await showroom.world.gateway("GET", "ledger")
    captured = [t for t in ledger["transactions"] if t["captured"]]
    assert states.count(PaymentState.CAPTURING) == 1
    assert states.count(PaymentState.VOIDED) == DEALERS - 1
    assert len(captured) == ledger["charges_executed"] == 1
    assert [t["status"] for t in ledger["transactions"]].count("voided") == DEALERS - 1
    assert len((await showroom.world.partners("GET", "ledger"))["orders"]) == 1
    assert len(await showroom.orders.vehicles.assignments(vin=vin, active_only=False)) == 1
    reported = await showroom.reported(DEALERSHIP, "dealership")
    assert reported.count("reservation_not_possible") == DEALERS - 1
    assert reported.count("reservation_complete") == 1


@pytest.mark.parametrize(
    ("method", "decided"),
    [("pm_ok", OrderState.FACTORY_ORDER_PLACED), ("pm_declined", OrderState.RESERVATION_FAILED)],
)
async def test_what_a_time_out_left_open_is_decided_by_the_gateway_alone(
    database: Database, method: str, decided: OrderState
) -> None:
    """Fault F-G4: the gateway did it and hung up; nothing is reserved before that is known."""
    async with simulated_world() as world, opened(database, world, total_seconds=0.3) as showroom:
        await world.gateway_fault({"operation": "initiate", "times": 4}, hang_after_apply=2)
        order = await showroom.ordered(await showroom.stock())

        payment = await showroom.reserve(order, method)
        held = await showroom.orders.vehicles.get(order.vin or "")
        await showroom.work_until_order(order.id, decided)

        ledger = await world.gateway("GET", "ledger")
        assert (payment.state, payment.outcome) == (PaymentState.PENDING, "unknown")
        assert held.state is VehicleState.SIN_ASIGNAR
        assert ledger["charges_executed"] == (1 if method == "pm_ok" else 0)
        assert len(ledger["transactions"]) == 1


async def test_whoever_is_known_to_have_paid_first_has_the_vehicle(database: Database) -> None:
    """A payment that was unknown meanwhile finds the vehicle taken, and is not charged."""
    async with simulated_world() as world, opened(database, world, total_seconds=0.3) as showroom:
        vin = await showroom.stock()
        late, quick = await showroom.ordered(vin), await showroom.ordered(vin)
        await world.gateway_fault({"operation": "initiate", "times": 4}, hang_after_apply=2)
        payment = await showroom.reserve(late)
        await world.gateway("DELETE", "faults")

        await showroom.reserve(quick)
        voided = await showroom.work_until_payment(payment.id, PaymentState.VOIDED)

        [assignment] = await showroom.orders.vehicles.assignments(vin=vin)
        assert assignment.order_id == quick.id
        assert voided.captured_amount == 0
        assert (await showroom.reported(late.customer)) == ["reservation_not_possible"]


async def test_a_dealer_who_asks_again_with_a_new_key_gets_the_same_payment(
    showroom: Showroom,
) -> None:
    """Fault F-R4: the dealer's own time-out was no failure."""
    order = await showroom.ordered(await showroom.stock())

    first = await showroom.reserve(order)
    again = await showroom.reserve(order)

    ledger = await showroom.world.gateway("GET", "ledger")
    assert first.id == again.id
    assert len(ledger["transactions"]) == 1


async def test_a_vehicle_that_is_reserved_cannot_be_ordered(showroom: Showroom) -> None:
    order = await showroom.reserved(await showroom.stock())

    with pytest.raises(VehicleNotFreeError):
        await showroom.ordered(order.vin)


async def test_only_the_deposit_is_due(showroom: Showroom) -> None:
    order = await showroom.ordered(await showroom.stock())

    with pytest.raises(NotTheSumDueError):
        await showroom.initiate(order, PaymentType.RESERVATION, Money(1, "EUR"), "pm_ok")

    assert await showroom.tables.payments.listed(subject=order.id) == []


async def test_a_withdrawn_order_awaits_no_reservation(showroom: Showroom) -> None:
    order = await showroom.ordered(await showroom.stock())
    await showroom.orders.withdrawal.withdraw(order.id)

    with pytest.raises(NotDueError):
        await showroom.reserve(order)

    assert await showroom.tables.payments.listed(subject=order.id) == []


async def test_an_order_of_a_model_takes_a_vehicle_from_stock(showroom: Showroom) -> None:
    await showroom.stock()
    finished = await showroom.stock(finished=True)
    order = await showroom.ordered()

    await showroom.reserve(order)

    taken = await showroom.orders.orders.get(order.id)
    assert (taken.vin, taken.state) == (finished, OrderState.READY)
    assert (await showroom.world.partners("GET", "ledger"))["orders"] == []
    assert await showroom.reported(order.customer) == ["access_credentials", "vehicle_ready"]


async def test_an_order_of_a_model_without_stock_is_built_by_the_factory(
    showroom: Showroom,
) -> None:
    await showroom.orders.put_model(MODEL, PRICE)
    order = await showroom.ordered()
    await showroom.reserve(order)
    placed = await showroom.orders.orders.get(order.id)

    ready = await showroom.orders.partner_events.vehicle_ready(
        vin=VIN, public_key=KEY, factory_order_id=placed.factory_order_id
    )

    vehicle = await showroom.orders.vehicles.get(VIN)
    assert (placed.state, placed.vin) == (OrderState.FACTORY_ORDER_PLACED, None)
    assert (ready.state, ready.vin) == (OrderState.READY, VIN)
    assert (vehicle.state, vehicle.public_key) == (VehicleState.READY, KEY)
    assert [
        assignment.order_id for assignment in await showroom.orders.vehicles.assignments(vin=VIN)
    ] == [order.id]


async def test_two_orders_of_a_model_and_one_vehicle_in_stock_both_get_theirs(
    showroom: Showroom,
) -> None:
    vin = await showroom.stock()
    orders = [await showroom.ordered(), await showroom.ordered()]

    await asyncio.gather(*(showroom.reserve(order) for order in orders))

    vins = [(await showroom.orders.orders.get(order.id)).vin for order in orders]
    assert sorted(vins, key=str) == [None, vin] or sorted(vins, key=str) == [vin, None]
    assert len((await showroom.world.partners("GET", "ledger"))["orders"]) == 2


async def test_the_access_link_works_once_and_only_its_digest_is_kept(showroom: Showroom) -> None:
    order = await showroom.reserved(await showroom.stock())
    [token] = showroom.access_tokens

    access = await showroom.orders.ordering.open_access(token)

    assert (access.customer, access.order_id) == (order.customer, order.id)
    with pytest.raises(AccessLinkError):
        await showroom.orders.ordering.open_access(token)
    kept = await showroom.database.fetch("select encode(token_hash, 'hex') as h from"
                                         " access_credentials")  # fmt: skip
    assert token not in str([row["h"] for row in kept])


async def test_an_access_link_grows_too_old(showroom: Showroom) -> None:
    await showroom.reserved(await showroom.stock())
    [token] = showroom.access_tokens

    await showroom.pass_time(8 * 24 * 3600)

    with pytest.raises(AccessLinkError):
        await showroom.orders.ordering.open_access(token)
