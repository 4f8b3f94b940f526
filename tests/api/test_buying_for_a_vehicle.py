"""Who may buy a service for a vehicle is decided by the database, while nothing else moves."""

import asyncio
import contextlib
from typing import Any
from uuid import UUID, uuid4

import pytest

from caas.billing_database.payments import Payment
from caas.billing_database.vehicles import VehicleNotTheirsError
from caas.payment_processing import PaymentRequest
from caas.rules.payment_states import PaymentState
from tests.api.conftest import Doors
from tests.api.planting import pay_on
from tests.api.test_returns import RETURN, bought, withdrawn
from tests.installation import PATIENCE_SECONDS, VIN
from tests.locks import holding

SEATS = "heated-seats"
RESERVE = "select obstacle from reserve_term($1, $2, $3, $4, null, 30, 50, $5)"
REFUND_ORDER = """
insert into jobs (kind, subject, due_at, created_at)
values ('refund_order', $1, db_now() + interval '1 hour', db_now())
"""


async def owner_of(doors: Doors, order: str) -> UUID:
    """Return the customer of an order."""
    return UUID((await doors.get(f"/v1/orders/{order}")).json["customer"])


async def buys(doors: Doors, customer: UUID) -> UUID:
    """Order heated seats for the customer's own vehicle."""
    order = await doors.installation.platform.service_catalog.create_service_order(
        customer=customer, vin=VIN, service=SEATS, duration_days=30
    )
    return order.id


class _NotKeptError(Exception):
    """Ends a transaction of which nothing is to be kept."""


async def test_the_database_sells_to_the_owner_and_by_a_fleet_and_to_nobody_else(
    doors: Doors,
) -> None:
    owner = await owner_of(doors, await bought(doors))

    asked = [(uuid4(), False), (owner, False), (uuid4(), True)]
    obstacles = []
    with contextlib.suppress(_NotKeptError):
        async with doors.installation.database.transaction() as connection:
            for customer, by_fleet in asked:
                row = await connection.fetchrow(RESERVE, VIN, SEATS, customer, uuid4(), by_fleet)
                obstacles.append(row and row["obstacle"])
            raise _NotKeptError

    assert obstacles == ["not theirs", None, "pending"]


async def test_a_purchase_that_a_withdrawal_from_the_vehicle_overtakes_is_refused(
    doors: Doors,
) -> None:
    """Between the look at the assignment and the order's commit, the vehicle was given back."""
    order = await bought(doors)
    owner = await owner_of(doors, order)
    async with holding(doors.installation.database.dsn, REFUND_ORDER, UUID(order)) as holder:
        withdrawing = asyncio.create_task(
            doors.installation.platform.order_management.withdrawal.withdraw(UUID(order))
        )
        await holder.waiting(1)
        buying = asyncio.create_task(buys(doors, owner))
        await holder.waiting(2)

    await withdrawing
    with pytest.raises(VehicleNotTheirsError):
        await buying
    assert await doors.installation.platform.tables.entitlements.terms(VIN) == []


async def test_what_is_paid_on_a_page_after_the_vehicle_was_given_back_is_let_go(
    doors: Doors,
) -> None:
    order = await bought(doors)
    payment = await pays(doors, await owner_of(doors, order), None)
    assert payment.hosted_page_url is not None
    await withdrawn(doors, order)
    await pay_on(payment.hosted_page_url)

    await doors.installation.platform.payment_processing.customer_returned(payment.id)
    after = await doors.installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)

    assert after.captured_amount == 0
    seats = doors.installation.fleet.cars[VIN].services.get(SEATS)
    assert seats is None or not seats.active


async def test_a_returned_vehicle_keeps_nothing_of_its_former_owner(doors: Doors) -> None:
    """Neither what the bank never paid, nor what was paid, nor a subscription stays on."""
    await doors.installation.platform.service_catalog.put_service(
        code="navigation", name="Navigation", kind="one_time", currency="EUR",
        prices=[{"duration_days": 30, "amount": 999}],
    )  # fmt: skip
    await doors.installation.platform.service_catalog.put_service(
        code="range-plus", name="Range plus", kind="subscription", currency="EUR",
        monthly_fee=2990,
    )  # fmt: skip
    order = await bought(doors)
    owner = await owner_of(doors, order)
    unpaid = await pays(doors, owner, "pm_settlement_fails")
    paid = await pays(doors, owner, "pm_ok", service="navigation")
    subscription = await doors.installation.platform.payment_processing.subscribe(
        customer=owner, vin=VIN, service="range-plus", payment_method="pm_ok"
    )
    for one in (unpaid, paid):
        await doors.installation.until(one.id, lambda p: p.captured_amount > 0)
    await doors.installation.gateway_does("settle")
    await doors.installation.until(unpaid.id, lambda p: p.state is PaymentState.SETTLEMENT_FAILED)
    await doors.installation.until(paid.id, lambda p: p.state is PaymentState.SETTLED)
    await until_on(doors, 3)

    await withdrawn(doors, order)
    returned = await doors.post(RETURN, {}, caller="operators")
    await until_on(doors, 0)
    await doors.installation.until(paid.id, lambda p: p.state is PaymentState.REFUNDED)

    assert returned.status == 200
    terms = await doors.installation.platform.tables.entitlements.terms(VIN)
    assert {term.status for term in terms} == {"ended"}
    ended = await doors.installation.platform.subscriptions.subscription(subscription.id)
    assert ended.state == "cancelled"
    states = await doors.installation.platform.tables.entitlements.sync_states(VIN)
    assert [one.service for one in states if one.desired_on or not one.in_sync] == []
    assert (await doors.installation.platform.tables.payments.get(unpaid.id)).refunded_amount == 0


async def test_withdrawing_says_what_became_of_the_refund_and_asks_again_for_a_failed_one(
    doors: Doors,
) -> None:
    payment = await doors.installation.settled()
    path = f"/v1/service-orders/{payment.subject}"
    await doors.installation.gateway_does(
        "faults", match={"operation": "refund", "times": 1}, action={"refund_fails": True}
    )

    first = await doors.post(f"{path}/withdrawal", {}, caller="services")
    failed = await until_refund(doors, path, "failed")
    again = await doors.post(f"{path}/withdrawal", {}, caller="services")
    await until_refund(doors, path, "succeeded")
    last = await doors.post(f"{path}/withdrawal", {}, caller="services")

    assert (first.status, again.status, last.status) == (202, 202, 200)
    assert failed["failed_because"]
    assert [one["state"] for one in last.json["refunds"]] == ["failed", "succeeded"]
    assert (last.json["state"], last.json["payments"][0]["state"]) == ("withdrawn", "Refunded")


async def until_refund(doors: Doors, path: str, state: str) -> dict[str, Any]:
    """Let jobs run until the newest refund of a service order is in a state."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            refunds = (await doors.get(path)).json["refunds"]
            if refunds and refunds[-1]["state"] == state:
                newest: dict[str, Any] = refunds[-1]
                return newest
            await doors.installation.platform.jobs.run_due()
            await asyncio.sleep(0.005)


async def until_on(doors: Doors, services: int) -> None:
    """Let jobs run until the car really has so many services on."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            car = doors.installation.fleet.cars[VIN]
            if sum(one.active for one in car.services.values()) == services:
                return
            await doors.installation.platform.jobs.run_due()
            await asyncio.sleep(0.005)


async def pays(doors: Doors, customer: UUID, method: str | None, service: str = SEATS) -> Payment:
    """Order a service for the customer's own vehicle, and pay."""
    order = await doors.installation.platform.service_catalog.create_service_order(
        customer=customer, vin=VIN, service=service, duration_days=30
    )
    payment = await doors.installation.platform.payment_processing.initiate_service_payment(
        PaymentRequest(
            subject=order.id, customer=customer, amount=order.amount, currency=order.currency,
            payment_method=method,
        )
    )  # fmt: skip
    assert isinstance(payment, Payment)
    return payment
