"""Settlement and disputes (Diagram 4, lower half; Common Discrepancy Scenarios).

Rules a change must keep: a delivered service stays delivered; a loss is booked and never charged
again; webhooks in any order and number, or none at all, lead to the same ledger.
"""

from typing import Final

from caas_lab.demo import checks, fixtures
from caas_lab.demo.fixtures import HEATED_SEATS_PRICE
from caas_lab.demo.scenario import (
    BANKING_NETWORK,
    PAYMENT_GATEWAY,
    PAYMENT_PROCESSING,
    Need,
    Scenario,
)
from caas_lab.demo.scenario_run import Payment, ScenarioRun

UNAUTHORIZED: Final = 401
POLL_SECONDS_MAX: Final = 90.0
PARTIAL_PERCENT: Final = 60


async def _bought(run: ScenarioRun, method: str = "pm_ok") -> tuple[fixtures.Customer, str, str]:
    """Buy a service and wait until its charge is committed; return customer, VIN and payment."""
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)
    bought = await ana.buy_heated_seats(vin, method)
    await run.wait_for_payment(bought.payment, "Capturing")
    await checks.notified(run, ana, "Service active")
    run.narrate_from_here()
    run.step("Ana", PAYMENT_PROCESSING, "has bought heated seats",
              "delivered and charged, not settled yet")  # fmt: skip
    return ana, vin, bought.payment


async def _bank_rejects(run: ScenarioRun) -> None:
    _, vin, payment_id = await _bought(run, "pm_settlement_fails")

    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "rejects the settlement, after delivery")
    await run.testbed.gateway.settle(payment_id)
    payment = await run.wait_for_payment(payment_id, "SettlementFailed")

    checks.expect_state(run, payment, "SettlementFailed")
    checks.expect_money(run, payment, settled=0)
    await checks.expect_ledger(run, payment_id, "risk_loss:settlement_failed", HEATED_SEATS_PRICE)
    await checks.expect_seats(run, vin, heated=True, what="what the customer paid for stays")
    await checks.expect_charges(run, payment_id, 1)


async def _chargeback(run: ScenarioRun) -> None:
    _, vin, payment_id = await _bought(run)
    await run.testbed.gateway.settle(payment_id)
    await run.wait_for_payment(payment_id, "Settled")

    run.step("Ana's bank", PAYMENT_GATEWAY, "disputes the charge")
    await run.testbed.gateway.with_transaction(payment_id, "dispute")
    await _dispute_is(run, payment_id, "opened")
    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "decides in favour of the customer")
    await run.testbed.gateway.with_transaction(payment_id, "dispute", outcome="lost")
    payment = await _dispute_is(run, payment_id, "lost")

    run.expect("the dispute is", "lost", payment["disputes"][0]["state"])
    checks.expect_state(run, payment, "Settled")
    checks.expect_money(run, payment, disputed=HEATED_SEATS_PRICE)
    await checks.expect_ledger(run, payment_id, "risk_loss:chargeback", HEATED_SEATS_PRICE)
    await checks.expect_ledger(run, payment_id, "settled_funds", 0)
    await checks.expect_seats(run, vin, heated=True, what="what the customer paid for stays")


async def _dispute_is(run: ScenarioRun, payment_id: str, state: str) -> Payment:
    async def there() -> bool:
        disputes = (await run.payment(payment_id))["disputes"]
        return bool(disputes) and disputes[0]["state"] == state

    await run.wait_until(there)
    return await run.payment(payment_id)


async def _partial(run: ScenarioRun) -> None:
    _, _, payment_id = await _bought(run, "pm_partial_settlement")
    part = HEATED_SEATS_PRICE * PARTIAL_PERCENT // 100

    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, f"pays {PARTIAL_PERCENT} percent")
    await run.testbed.gateway.settle(payment_id)

    async def some_came() -> bool:
        return bool((await run.payment(payment_id))["amounts"]["settled"])

    await run.wait_until(some_came)
    partly = await run.payment(payment_id)
    cases = await run.testbed.records.cases(payment_id) if run.testbed.records else []
    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "pays the rest")
    await run.testbed.gateway.with_transaction(payment_id, "settle-rest")
    payment = await run.wait_for_payment(payment_id, "Settled")

    run.expect("after the first part the payment is", "Capturing", partly["state"])
    checks.expect_money(run, partly, settled=part)
    if run.testbed.records is not None:
        run.expect("a case is open", "partial_settlement", ", ".join(kind for kind, _ in cases))
    checks.expect_state(run, payment, "Settled")
    checks.expect_money(run, payment, settled=HEATED_SEATS_PRICE)


async def _repeated(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)
    gateway = run.testbed.gateway
    settled = {"operation": "webhook", "event_type": "transaction.settled"}
    await gateway.inject_fault(settled, duplicate=3)
    await gateway.inject_fault({"operation": "webhook"}, reorder=2)
    payment_id = (await ana.buy_heated_seats(vin)).payment
    await run.wait_for_payment(payment_id, "Capturing")
    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation")
    await gateway.settle(payment_id)
    await run.wait_for_payment(payment_id, "Settled")
    await gateway.wait_for_webhooks()
    payment = await run.payment(payment_id)
    sent = await gateway.webhooks_of(payment_id)
    bank = [it for it in payment["events"] if it["event"] == "Bank confirms"]

    run.expect("webhooks received", 6, len(sent))
    run.expect("of different events", 3, len({it["id"] for it in sent}))
    checks.expect_state(run, payment, "Settled")
    checks.expect_money(run, payment, captured=HEATED_SEATS_PRICE, settled=HEATED_SEATS_PRICE)
    run.expect("times the settlement was recorded", 1, len(bank))
    await checks.expect_ledger(run, payment_id, "settled_funds", HEATED_SEATS_PRICE)


async def _forged(run: ScenarioRun) -> None:
    _, _, payment_id = await _bought(run)
    transaction = await run.testbed.gateway.transaction_of(payment_id)
    body = {
        "id": "evt_forged",
        "type": "transaction.settled",
        "occurred_at": run.now().isoformat(),
        "data": {
            "id": transaction, "reference": payment_id, "status": "settled", "currency": "EUR",
            "amount": HEATED_SEATS_PRICE, "settled_amount": HEATED_SEATS_PRICE,
        },
    }  # fmt: skip
    headers = {
        "webhook-id": "evt_forged",
        "webhook-timestamp": str(int(run.now().timestamp())),
        "webhook-signature": "v1,Zm9yZ2VkIGJ5IHNvbWVib2R5IGVsc2UsIG5vdCBzaWduZWQ=",
    }

    run.step("a forger", PAYMENT_PROCESSING, "Settlement Webhook with a forged signature")
    reply = await run.testbed.platform.post("/webhooks/gateway", body, headers=headers)
    payment = await run.payment(payment_id)

    run.expect("the answer to the forger", f"{UNAUTHORIZED} webhook_not_theirs",
                f"{reply.status} {reply.code}")  # fmt: skip
    checks.expect_state(run, payment, "Capturing")
    checks.expect_money(run, payment, settled=0)


async def _lost(run: ScenarioRun) -> None:
    _, _, payment_id = await _bought(run)
    gone = {"operation": "webhook", "reference": payment_id}
    await run.testbed.gateway.inject_fault(gone, drop=True)
    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation; its webhook is lost")
    await run.testbed.gateway.settle(payment_id)
    run.continue_in_background()
    payment = await run.wait_for_payment(payment_id, "Settled", seconds=POLL_SECONDS_MAX)
    sent = await run.testbed.gateway.webhooks_of(payment_id)

    lost = [it["state"] for it in sent if it["type"] == "transaction.settled"]
    run.expect("the settlement webhook was", "dropped", ", ".join(lost))
    checks.expect_state(run, payment, "Settled")
    checks.expect_money(run, payment, settled=HEATED_SEATS_PRICE)


SCENARIOS: Final = (
    Scenario(
        name="bank-rejects",
        title="The bank rejects the settlement after delivery: the loss is booked",
        rule="Diagram 9, Bank rejects; Diagram 7, DO NOT CHARGE; decision 17",
        text="The service was delivered on held funds, and the bank does not pay. The customer "
        "keeps the service and is not charged again; the loss is booked.",
        expected_end="SettlementFailed, loss booked, service kept",
        steps=_bank_rejects,
    ),
    Scenario(
        name="chargeback",
        title="A chargeback is lost",
        rule="Risk Mitigation Mechanisms: Accept losses; decision 37",
        text="Weeks after the settlement the customer's bank reverses it. The payment keeps its "
        "state, a dispute is recorded, and the loss is booked.",
        expected_end="dispute lost, loss booked",
        steps=_chargeback,
    ),
    Scenario(
        name="partial-settlement",
        title="Only a part is settled, the rest comes later",
        rule="Common Discrepancy Scenarios: Partial Settlements; decision 37",
        text="The settled amount is the sum of what arrives. Until it is complete, the payment "
        "stays Capturing and a case shows the difference.",
        expected_end="settled in two parts",
        steps=_partial,
    ),
    Scenario(
        name="webhooks-repeated",
        title="Webhooks arrive four times and out of order",
        rule="Diagram 4, Settlement Webhook; decision 31",
        text="The gateway reports the capture before the authorization, and the settlement four "
        "times. Each event counts once, and any order leads to the same state.",
        expected_end="settled once",
        steps=_repeated,
    ),
    Scenario(
        name="webhook-forged",
        title="A forged settlement webhook is refused",
        rule="Diagram 4, Settlement Webhook; decision 31",
        text="Someone else claims that the bank has paid. The signature is not the gateway's, so "
        "the webhook is rejected and nothing is stored.",
        expected_end="401, nothing changes",
        steps=_forged,
    ),
    Scenario(
        name="webhooks-lost",
        title="The settlement webhook is lost: the platform polls",
        rule="Diagram 4; decision 31: polling is the guarantee",
        text="No webhook reports that the bank has paid. An hour after the charge the platform "
        "queries the gateway.",
        expected_end="settled by polling",
        steps=_lost,
        needs=frozenset({Need.CONTROL_PLANES, Need.FAST_TIME}),
        is_slow=True,
    ),
)
