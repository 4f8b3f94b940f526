"""Reservation payments (Diagram 2): paid, declined, two for one vehicle, refused by the factory.

Rules a change must keep: each scenario reads like its branch of the diagram; what it expects at the
end are the specification's own sentences.
"""

import asyncio
from typing import Final

from caas_lab.demo import checks, fixtures
from caas_lab.demo.fixtures import DEPOSIT
from caas_lab.demo.scenario import BANKING_NETWORK, PAYMENT_GATEWAY, Need, Scenario
from caas_lab.demo.scenario_run import ScenarioRun

IN_PRODUCTION: Final = "in production"
DECLINED: Final = 402


async def _paid(run: ScenarioRun) -> None:
    ana, seller = await fixtures.customer(run, "Ana"), fixtures.dealership(run, "Autos Sol")
    vin = await fixtures.vehicle_in_stock(run)

    bought = await seller.reserve(vin, ana)
    order = await run.wait_for_order(bought.order, "factory order placed")
    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation")
    await run.testbed.gateway.settle(bought.payment)
    payment = await run.wait_for_payment(bought.payment, "Settled")

    run.expect("the order is", "factory order placed", order["state"])
    await checks.expect_vehicle(run, vin, IN_PRODUCTION)
    checks.expect_state(run, payment, "Settled")
    checks.expect_money(run, payment, captured=DEPOSIT, settled=DEPOSIT)
    await checks.expect_charges(run, bought.payment, 1)
    await checks.expect_notification(run, seller, "Reservation complete")
    await checks.expect_notification(run, ana, "Your access to CaaS")


async def _declined(run: ScenarioRun) -> None:
    ana, seller = await fixtures.customer(run, "Ana"), fixtures.dealership(run, "Autos Sol")
    vin = await fixtures.vehicle_in_stock(run)

    bought = await seller.reserve(vin, ana, "pm_declined")
    payment = await run.payment(bought.payment)
    order = await run.order(bought.order)

    run.expect("the answer to the dealership", DECLINED, bought.status)
    checks.expect_state(run, payment, "Failed")
    run.expect("decline code", "card_declined", payment["decline_code"])
    run.expect("the order is", "reservation failed", order["state"])
    await checks.expect_vehicle(run, vin, "sin asignar")
    placed = (await run.testbed.partners.records_of(bought.order))["orders"]
    run.expect("factory orders placed", 0, len(placed))
    await checks.expect_charges(run, bought.payment, 0)
    await checks.expect_notification(run, ana, "Reservation not completed")
    await checks.expect_notification(run, seller, "Reservation not completed")


async def _two_dealers(run: ScenarioRun) -> None:
    ana, luis = await fixtures.customer(run, "Ana"), await fixtures.customer(run, "Luis")
    sol, mar = fixtures.dealership(run, "Autos Sol"), fixtures.dealership(run, "Autos Mar")
    vin = await fixtures.vehicle_in_stock(run)

    slow = {"operation": "initiate", "times": 2}
    await run.testbed.gateway.inject_fault(slow, latency_after_ms=100)
    both = await asyncio.gather(sol.reserve(vin, ana), mar.reserve(vin, luis))
    payments = [await run.wait_for_payment(one.payment, "Capturing", "Voided") for one in both]
    won = [one for one, it in zip(both, payments, strict=True) if it["state"] == "Capturing"]
    lost = [one for one, it in zip(both, payments, strict=True) if it["state"] == "Voided"]

    run.expect("reservations that got the vehicle", 1, len(won))
    run.expect("reservations whose funds were released", 1, len(lost))
    for one in won:
        await checks.expect_charges(run, one.payment, 1)
        order = await run.wait_for_order(one.order, "factory order placed")
        run.expect("the winner's order is", "factory order placed", order["state"])
    for one in lost:
        await checks.expect_charges(run, one.payment, 0)
        loser = ana if one is both[0] else luis
        await checks.expect_notification(run, loser, "The vehicle is no longer available")
    await checks.expect_vehicle(run, vin, IN_PRODUCTION)


async def _factory_refuses(run: ScenarioRun) -> None:
    ana, seller = await fixtures.customer(run, "Ana"), fixtures.dealership(run, "Autos Sol")
    vin = await fixtures.vehicle_in_stock(run)

    refusal = {"operation": "orders"}
    await run.testbed.partners.inject_fault(refusal, status=422, code="not_buildable")
    bought = await seller.reserve(vin, ana)
    order = await run.wait_for_order(bought.order, "factory refused")
    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation")
    await run.testbed.gateway.settle(bought.payment)
    await run.wait_for_payment(bought.payment, "Refunding", seconds=60)
    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "pays the refund")
    await run.testbed.gateway.settle(bought.payment)
    payment = await run.wait_for_payment(bought.payment, "Refunded")

    run.expect("the order is", "factory refused", order["state"])
    await checks.expect_vehicle(run, vin, "sin asignar")
    checks.expect_state(run, payment, "Refunded")
    checks.expect_money(run, payment, settled=DEPOSIT, refunded=DEPOSIT)
    await checks.expect_notification(run, ana, "The factory cannot build the vehicle")
    await checks.expect_notification(run, seller, "The factory cannot build the vehicle")
    await checks.expect_notification(run, ana, "Refund completed")


SCENARIOS: Final = (
    Scenario(
        name="reservation-paid",
        title="Reservation payment successful",
        rule="Diagram 2, Payment Successful",
        text="The dealership waits while the gateway verifies the funds. The vehicle is blocked, "
        "the factory gets the order, and the customer gets access.",
        expected_end="vehicle in production, deposit settled",
        steps=_paid,
    ),
    Scenario(
        name="reservation-declined",
        title="Reservation payment failed",
        rule="Diagram 2, Payment Failed; Failure Handling Rule 1",
        text="The bank declines the card. No vehicle reservation is created and no factory order "
        "is placed.",
        expected_end="no reservation, nothing charged",
        steps=_declined,
    ),
    Scenario(
        name="two-dealers",
        title="Two dealerships reserve the same vehicle at the same moment",
        rule="Diagram 2, decision 20",
        text="Both payments hold funds; the vehicle can be one customer's only. The other's funds "
        "are released in the same commit, before anyone is notified.",
        expected_end="one reservation, the other voided",
        steps=_two_dealers,
    ),
    Scenario(
        name="factory-refuses",
        title="The factory refuses the order after the reservation was paid",
        rule="Diagram 2, decision 22",
        text="The deposit is refunded, the vehicle is sin asignar again, and customer and "
        "dealership are notified.",
        expected_end="order ended, deposit refunded",
        steps=_factory_refuses,
        needs=frozenset({Need.CONTROL_PLANES, Need.FAST_TIME}),
    ),
)
