"""Final payments (Diagram 3): paid and delivered, declined and lost, unknown and held.

Rules a change must keep: a declined final payment has no grace period and no second attempt; a
vehicle whose payment has an unknown outcome is held, never sold.
"""

import asyncio
from typing import Final

from caas_lab.demo import checks, fixtures
from caas_lab.demo.fixtures import DEPOSIT, REST
from caas_lab.demo.scenario import (
    ADMIN_REGISTRATION,
    BANKING_NETWORK,
    ORDER_MANAGEMENT,
    PAYMENT_GATEWAY,
    Need,
    Scenario,
)
from caas_lab.demo.scenario_run import ScenarioRun, money

CONFLICT: Final = 409
IVA_OF_DEPOSIT: Final = (DEPOSIT * 21 + 60) // 121
ACCEPTED: Final = 202


async def _final_of(run: ScenarioRun, order_id: str) -> str:
    """Return the id of an order's final payment."""
    order = await run.order(order_id)
    return str(next(it["id"] for it in order["payments"] if it["type"] == "final"))


async def _paid(run: ScenarioRun) -> None:
    ana, seller = await fixtures.customer(run, "Ana"), fixtures.dealership(run, "Autos Sol")
    order_id = await fixtures.ready_order(run, ana, seller)

    await ana.pay_final(order_id)
    order = await run.wait_for_order(order_id, "delivery scheduled")
    run.step("Transport System", ORDER_MANAGEMENT, "brings the vehicle to the customer")
    await run.testbed.partners.complete_delivery(order_id)
    order = await run.wait_for_order(order_id, "delivered")
    final = await _final_of(run, order_id)
    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation")
    await run.testbed.gateway.settle(final)
    payment = await run.wait_for_payment(final, "Settled")

    run.expect("the order is", "delivered", order["state"])
    run.expect("the vehicle has a plate", expected=True, seen=bool(order["plate"]))
    await checks.expect_vehicle(run, order["vin"], "delivered")
    checks.expect_state(run, payment, "Settled")
    checks.expect_money(run, payment, captured=REST, settled=REST)
    await checks.expect_charges(run, final, 1)
    for title in ("Your vehicle is ready", "Payment confirmed", "Vehicle delivered"):
        await checks.expect_notification(run, ana, title)


async def _declined(run: ScenarioRun) -> None:
    ana, luis = await fixtures.customer(run, "Ana"), await fixtures.customer(run, "Luis")
    sol, mar = fixtures.dealership(run, "Autos Sol"), fixtures.dealership(run, "Autos Mar")
    order_id = await fixtures.ready_order(run, ana, sol)
    deposit = run.payments[0]

    await ana.pay_final(order_id, "pm_declined")
    order = await run.order(order_id)
    final = await run.payment(await _final_of(run, order_id))
    await checks.expect_vehicle(run, order["vin"], "sin asignar")
    again = await ana.pay_final(order_id)
    sold = await mar.reserve(order["vin"], luis)
    other = await run.wait_for_order(sold.order, "ready")

    checks.expect_state(run, final, "Failed")
    run.expect("the order is", "reservation lost", order["state"])
    run.expect("the answer to a second attempt", CONFLICT, again.status)
    run.expect("another customer's order of the same vehicle is", "ready", other["state"])
    await checks.expect_charges(run, final["id"], 0)
    await checks.expect_notification(run, ana, "Payment failed, reservation lost")
    await checks.expect_ledger(run, deposit, "reservation_held", IVA_OF_DEPOSIT - DEPOSIT)
    await checks.expect_ledger(run, deposit, "output_vat", -IVA_OF_DEPOSIT)


async def _unknown(run: ScenarioRun) -> None:
    ana, luis = await fixtures.customer(run, "Ana"), await fixtures.customer(run, "Luis")
    sol, mar = fixtures.dealership(run, "Autos Sol"), fixtures.dealership(run, "Autos Mar")
    order_id = await fixtures.ready_order(run, ana, sol)
    vin = (await run.order(order_id))["vin"]

    run.step(PAYMENT_GATEWAY, PAYMENT_GATEWAY, "carries out every call and drops the connection")
    await run.testbed.gateway.inject_fault({"operation": "webhook"}, drop=True)
    await run.testbed.gateway.inject_fault({"operation": "initiate"}, drop_connection_after=True)
    await run.testbed.gateway.inject_fault({"operation": "find"}, status=503)
    answered = await ana.pay_final(order_id)
    final = await _final_of(run, order_id)

    async def not_known() -> bool:
        return bool((await run.payment(final))["outcome"] == "unknown")

    await run.wait_until(not_known)
    held = await run.payment(final)
    taken = await mar.try_to_reserve(vin, luis)
    await checks.expect_vehicle(run, vin, "ready")
    run.step(PAYMENT_GATEWAY, PAYMENT_GATEWAY, "works again")
    await run.testbed.gateway.clear_faults()
    payment = await run.wait_for_payment(final, "Capturing")
    order = await run.wait_for_order(order_id, "delivery scheduled")

    run.expect("the answer to the customer", ACCEPTED, answered.status)
    run.expect("meanwhile the payment is", "Pending, outcome unknown",
                f"{held['state']}, outcome {held['outcome']}")  # fmt: skip
    run.expect("the answer to another reservation of the vehicle", CONFLICT, taken.status)
    checks.expect_state(run, payment, "Capturing")
    run.expect("the order is", "delivery scheduled", order["state"])
    await checks.expect_charges(run, final, 1)
    await checks.expect_no_second_transaction(run, final)
    await checks.expect_notification(run, "operations", "Alert: gateway_outcome_unknown")


async def _twice(run: ScenarioRun) -> None:
    ana, seller = await fixtures.customer(run, "Ana"), fixtures.dealership(run, "Autos Sol")
    order_id = await fixtures.ready_order(run, ana, seller)

    await asyncio.gather(ana.pay_final(order_id), ana.pay_final(order_id))
    order = await run.wait_for_order(order_id, "delivery scheduled")
    finals = [it for it in order["payments"] if it["type"] == "final"]

    run.expect("final payments of the order", 1, len(finals))
    await checks.expect_charges(run, finals[0]["id"], 1)
    checks.expect_money(run, finals[0], captured=REST)
    run.expect("the order is", "delivery scheduled", order["state"])


async def _matriculation_late(run: ScenarioRun) -> None:
    ana, seller = await fixtures.customer(run, "Ana"), fixtures.dealership(run, "Autos Sol")
    order_id = await fixtures.ready_order(run, ana, seller)

    down = {"operation": "registrations", "times": 3}
    await run.testbed.partners.inject_fault(down, status=503)
    run.step(ADMIN_REGISTRATION, ADMIN_REGISTRATION, "answers 503, three times")
    await ana.pay_final(order_id)
    order = await run.wait_for_order(order_id, "delivery scheduled")
    payment = await run.payment(await _final_of(run, order_id))
    registrations = (await run.testbed.partners.records_of(order_id))["registrations"]

    run.expect("the order is", "delivery scheduled", order["state"])
    run.expect("matriculations of the vehicle", 1, len(registrations))
    checks.expect_state(run, payment, "Capturing")
    checks.expect_money(run, payment, captured=REST)


SCENARIOS: Final = (
    Scenario(
        name="final-paid",
        title="Final payment successful: matriculation, transport, delivery",
        rule="Diagram 3, Payment Successful",
        text="The vehicle is ready and the customer pays the rest. It is registered, its delivery "
        "is scheduled, and it arrives.",
        expected_end="vehicle delivered, rest settled",
        steps=_paid,
    ),
    Scenario(
        name="final-declined",
        title="Final payment failed: the customer loses the reservation entirely",
        rule="Diagram 3, Payment Failed; Critical Business Rule; decisions 19 and 21",
        text="The bank declines. The vehicle is sin asignar at once and another customer buys it. "
        f"No grace period, no retry. The señal of {money(DEPOSIT)} is held until a person decides.",
        expected_end="reservation lost, vehicle sold to another",
        steps=_declined,
    ),
    Scenario(
        name="final-unknown",
        title="Final payment with an unknown outcome: the vehicle is held, then it is resolved",
        rule="Diagrams 3 and 11; decisions 3 and 19",
        text="The gateway takes the payment and drops the connection, four times. The outcome is "
        "unknown, so the vehicle is neither released nor sold. When the gateway answers again, the "
        "platform learns that the payment succeeded.",
        expected_end="vehicle held, then paid once",
        steps=_unknown,
    ),
    Scenario(
        name="final-twice",
        title="The customer pays on the web and in the app at the same moment",
        rule="Diagram 3; decision 12: one live payment for each subject",
        text="Two devices send the final payment. The database accepts one live payment; the other "
        "device gets that same payment as its answer.",
        expected_end="one payment, one charge",
        steps=_twice,
    ),
    Scenario(
        name="matriculation-late",
        title="Matriculation fails three times after the final payment",
        rule="Diagram 3; decision 23",
        text="Admin Registration answers 503. The platform retries until the vehicle is "
        "registered; the payment does not change.",
        expected_end="registered once, payment unchanged",
        steps=_matriculation_late,
        needs=frozenset({Need.CONTROL_PLANES, Need.FAST_TIME}),
    ),
)
