"""Desistimiento: settled money is refunded (Key States, Refunded; External Payment Gateway API).

Rules a change must keep: only received money is refunded, never more; the customer is notified when
the gateway has done it.
"""

from typing import Final

from caas_lab.demo import checks, fixtures
from caas_lab.demo.fixtures import DEPOSIT, HEATED_SEATS_PRICE, REST
from caas_lab.demo.scenario import BANKING_NETWORK, PAYMENT_GATEWAY, Need, Scenario
from caas_lab.demo.scenario_run import ScenarioRun, money

REFUND_SECONDS_MAX: Final = 30.0


async def _service(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)
    bought = await ana.buy_heated_seats(vin)
    await run.wait_for_payment(bought.payment, "Capturing")
    await run.testbed.gateway.settle(bought.payment)
    await run.wait_for_payment(bought.payment, "Settled")
    await checks.notified(run, ana, "Service active")
    run.narrate_from_here()

    run.step(ana.name, "Service Catalog", "withdraws from the service (desistimiento)",
              f"refundPayment {money(HEATED_SEATS_PRICE)}")  # fmt: skip
    path = f"/v1/payments/{bought.payment}/refunds"
    body = {"amount": HEATED_SEATS_PRICE, "reason": "desistimiento"}
    await run.testbed.platform.post(path, body, scope=fixtures.CATALOG)
    await run.wait_for_payment(bought.payment, "Refunding")
    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "pays the refund")
    await run.testbed.gateway.settle(bought.payment)
    payment = await run.wait_for_payment(bought.payment, "Refunded")
    again = await run.testbed.platform.post(path, body, scope=fixtures.CATALOG)

    checks.expect_state(run, payment, "Refunded")
    checks.expect_money(run, payment, settled=HEATED_SEATS_PRICE, refunded=HEATED_SEATS_PRICE)
    run.expect("a second refund is refused", expected=True, seen=again.status >= 400)  # noqa: PLR2004
    await checks.expect_ledger(run, bought.payment, "settled_funds", 0)
    await checks.expect_notification(run, ana, "Refund completed")


async def _order(run: ScenarioRun) -> None:
    ana, seller = await fixtures.customer(run, "Ana"), fixtures.dealership(run, "Autos Sol")
    order_id = await fixtures.ready_order(run, ana, seller)
    await ana.pay_final(order_id)
    order = await run.wait_for_order(order_id, "delivery scheduled")
    for payment_id in run.payments:
        await run.testbed.gateway.settle(payment_id)
        await run.wait_for_payment(payment_id, "Settled")
    run.narrate_from_here()

    await ana.withdraw(order_id)
    for payment_id in run.payments:
        await run.wait_for_payment(payment_id, "Refunding", seconds=REFUND_SECONDS_MAX)
        run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "pays the refund")
        await run.testbed.gateway.settle(payment_id)
    refunded = [await run.wait_for_payment(it, "Refunded") for it in run.payments]
    order = await run.order(order_id)

    run.expect("the order is", "withdrawn", order["state"])
    await checks.expect_vehicle(run, order["vin"], "sin asignar")
    for payment in refunded:
        checks.expect_state(run, payment, "Refunded")
    run.expect("refunded in all", money(DEPOSIT + REST),
                money(sum(it["amounts"]["refunded"] for it in refunded)))  # fmt: skip
    await checks.expect_notification(run, ana, "Withdrawal recorded")
    await checks.expect_notification(run, ana, "Refund completed", times=len(refunded))
    await checks.expect_notification(run, "operations", "Alert: withdrawn_after_registration")


SCENARIOS: Final = (
    Scenario(
        name="desistimiento-service",
        title="Desistimiento: the customer withdraws from a service",
        rule="Key States, Refunded; POST /transactions/{id}/refund; decision 5",
        text="The payment is settled. The customer withdraws and gets a full refund, once.",
        expected_end="refunded",
        steps=_service,
    ),
    Scenario(
        name="desistimiento-order",
        title="Desistimiento: the customer withdraws from a vehicle that is fully paid",
        rule="Key States, Refunded; decisions 5 and 6",
        text="The vehicle returns to stock; señal and final payment are refunded to the cards that "
        "paid them. Operations are alerted to cancel matriculation and transport.",
        expected_end="withdrawn, everything refunded",
        steps=_order,
        needs=frozenset({Need.CONTROL_PLANES, Need.FAST_TIME}),
    ),
)
