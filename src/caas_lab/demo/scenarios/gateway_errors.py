"""Errors between the platform and the gateway (Diagram 11, Retry Strategy).

Rules a change must keep: every attempt uses the same key; the number of charges is checked at the
gateway.
"""

from typing import Final

from caas_lab.demo import checks, fixtures
from caas_lab.demo.fixtures import HEATED_SEATS_PRICE
from caas_lab.demo.scenario import PAYMENT_GATEWAY, Need, Scenario
from caas_lab.demo.scenario_run import ScenarioRun

DECLINED: Final = 402
CREATED: Final = 201
SILENCE_SECONDS: Final = 30.0


async def _unavailable_then_well(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)

    await run.testbed.gateway.inject_fault({"operation": "initiate", "times": 3}, status=503)
    bought = await ana.buy_heated_seats(vin)
    payment = await run.wait_for_payment(bought.payment, "Capturing")

    run.expect("the answer to the customer", CREATED, bought.status)
    checks.expect_state(run, payment, "Capturing")
    await checks.expect_charges(run, bought.payment, 1)
    await checks.expect_no_second_transaction(run, bought.payment)
    await checks.expect_seats(run, vin, heated=True)


async def _silent_after_doing_it(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)

    silence = SILENCE_SECONDS / run.testbed.scale
    for operation in ("initiate", "capture"):
        once = {"operation": operation, "times": 1}
        await run.testbed.gateway.inject_fault(once, hang_after_apply=silence)
    await run.testbed.gateway.inject_fault({"operation": "webhook"}, drop=True)
    lookups = await _lookups(run)
    bought = await ana.buy_heated_seats(vin)
    await run.wait_for_payment(bought.payment, "Capturing")

    async def looked_up() -> bool:
        return await _lookups(run) > lookups

    await run.wait_until(looked_up)
    payment = await run.payment(bought.payment)

    checks.expect_state(run, payment, "Capturing")
    checks.expect_money(run, payment, captured=HEATED_SEATS_PRICE)
    for operation, what in (("initiate", "authorizations"), ("capture", "captures")):
        keys = await _keys(run, operation, bought.payment)
        run.expect(f"keys under which {what} were asked for", 1, len(keys))
    await checks.expect_no_second_transaction(run, bought.payment)
    await checks.expect_charges(run, bought.payment, 1)


async def _not_there(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)
    relay = run.testbed.relay
    assert relay is not None, "this scenario needs the relay"

    run.step(PAYMENT_GATEWAY, PAYMENT_GATEWAY, "is down: nothing listens at its address")
    await relay.cut()
    try:
        bought = await ana.buy_heated_seats(vin)
    finally:
        await relay.open()
    payment = await run.payment(bought.payment)

    run.expect("the answer to the customer", DECLINED, bought.status)
    checks.expect_state(run, payment, "Failed")
    run.expect("decline code", "gateway_unreachable", payment["decline_code"])
    known = (await run.testbed.gateway.ledger(bought.payment))["transactions"]
    run.expect("transactions at the gateway", 0, len(known))
    run.expect("commands sent to the vehicle", 0, (await run.testbed.vehicles.car(vin))["commands"])
    await checks.expect_notification(run, "operations", "Alert: gateway_unreachable")
    await checks.expect_notification(run, ana, "Service payment not completed")


async def _keys(run: ScenarioRun, operation: str, payment_id: str) -> set[str]:
    """Return the keys of the calls of an operation that the gateway got for a payment.

    How often one is repeated depends on how fast this machine is.
    """
    data = await run.testbed.gateway.ledger(payment_id)
    return {
        call["key"]
        for call in data["calls"]
        if call["operation"] == operation and call["key"].startswith(payment_id)
    }


async def _lookups(run: ScenarioRun) -> int:
    """Count the lookups that the gateway has answered so far, of whatever payment."""
    data = await run.testbed.gateway.ledger()
    return sum(int(call["count"]) for call in data["calls"] if call["operation"] == "find")


SCENARIOS: Final = (
    Scenario(
        name="gateway-5xx",
        title="The gateway answers 503 three times, then it works",
        rule="Diagram 11, Gateway Error; Retry Strategy: 2 s, 4 s, 8 s",
        text="Each wait is twice the one before. Every attempt carries the same key, so the "
        "gateway recognizes a repetition.",
        expected_end="paid after three retries, charged once",
        steps=_unavailable_then_well,
    ),
    Scenario(
        name="gateway-time-out",
        title="The gateway carries out a call and never answers",
        rule="Diagram 11, Network Error; decisions 2 and 3",
        text="The authorization and the capture time out, and no webhook arrives. The platform "
        "repeats the first with its key and looks the second up; the gateway reports what it did.",
        expected_end="exactly one charge",
        steps=_silent_after_doing_it,
        needs=frozenset({Need.CONTROL_PLANES, Need.FAST_TIME}),
    ),
    Scenario(
        name="gateway-down",
        title="The gateway is down: the payment was never sent",
        rule="Diagram 11, Payment Failed, Alert Operations; decision 3",
        text="Four connection attempts fail. Nothing can have been charged, so the payment fails, "
        "the customer is notified and operations are alerted.",
        expected_end="failed, operations alerted",
        steps=_not_there,
        needs=frozenset({Need.CONTROL_PLANES, Need.RELAY}),
    ),
)
