"""What banks say later (Diagram 4, lower half; Common Discrepancy Scenarios), and how it is told.

Rules a change must keep: what was delivered stays delivered; a loss is booked, never charged again;
webhooks in any order and number, or none at all, end in the same books.
"""

from typing import Final

from caas_lab.demo import cast, checks
from caas_lab.demo.cast import HEATED_SEATS_PRICE
from caas_lab.demo.play import Payment, Play
from caas_lab.demo.story import BANKING_NETWORK, PAYMENT_GATEWAY, PAYMENT_PROCESSING, Need, Scene

UNAUTHORISED: Final = 401
POLL_SECONDS_MAX: Final = 90.0
PARTIAL_PERCENT: Final = 60


async def _bought(play: Play, method: str = "pm_ok") -> tuple[cast.Customer, str, str]:
    """Buy a service and wait until its charge is committed; return customer, VIN and payment."""
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)
    bought = await ana.buys_heated_seats(vin, method)
    await play.payment_is(bought.payment, "Capturing")
    await checks.told(play, ana, "Service active")
    play.begins_here()
    play.step("Ana", PAYMENT_PROCESSING, "has bought heated seats",
              "delivered and charged, not settled yet")  # fmt: skip
    return ana, vin, bought.payment


async def _bank_rejects(play: Play) -> None:
    _, vin, payment_id = await _bought(play, "pm_settlement_fails")

    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "rejects the settlement, after delivery")
    await play.stage.gateway.bank_answers(payment_id)
    payment = await play.payment_is(payment_id, "SettlementFailed")

    checks.expect_state(play, payment, "SettlementFailed")
    checks.expect_money(play, payment, settled=0)
    await checks.expect_ledger(play, payment_id, "risk_loss:settlement_failed", HEATED_SEATS_PRICE)
    await checks.expect_seats(play, vin, heated=True, what="what the customer paid for stays")
    await checks.expect_charges(play, payment_id, 1)


async def _chargeback(play: Play) -> None:
    _, vin, payment_id = await _bought(play)
    await play.stage.gateway.bank_answers(payment_id)
    await play.payment_is(payment_id, "Settled")

    play.step("Ana's bank", PAYMENT_GATEWAY, "disputes the charge")
    await play.stage.gateway.with_transaction(payment_id, "dispute")
    await _dispute_is(play, payment_id, "opened")
    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "decides for the customer")
    await play.stage.gateway.with_transaction(payment_id, "dispute", outcome="lost")
    payment = await _dispute_is(play, payment_id, "lost")

    play.expect("the dispute is", "lost", payment["disputes"][0]["state"])
    checks.expect_state(play, payment, "Settled")
    checks.expect_money(play, payment, disputed=HEATED_SEATS_PRICE)
    await checks.expect_ledger(play, payment_id, "risk_loss:chargeback", HEATED_SEATS_PRICE)
    await checks.expect_ledger(play, payment_id, "settled_funds", 0)
    await checks.expect_seats(play, vin, heated=True, what="what the customer paid for stays")


async def _dispute_is(play: Play, payment_id: str, state: str) -> Payment:
    async def there() -> bool:
        disputes = (await play.payment(payment_id))["disputes"]
        return bool(disputes) and disputes[0]["state"] == state

    await play.until(there)
    return await play.payment(payment_id)


async def _partial(play: Play) -> None:
    _, _, payment_id = await _bought(play, "pm_partial_settlement")
    part = HEATED_SEATS_PRICE * PARTIAL_PERCENT // 100

    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, f"pays {PARTIAL_PERCENT} percent")
    await play.stage.gateway.bank_answers(payment_id)

    async def some_came() -> bool:
        return bool((await play.payment(payment_id))["amounts"]["settled"])

    await play.until(some_came)
    partly = await play.payment(payment_id)
    cases = await play.stage.records.cases(payment_id) if play.stage.records else []
    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "pays the rest")
    await play.stage.gateway.with_transaction(payment_id, "settle-rest")
    payment = await play.payment_is(payment_id, "Settled")

    play.expect("after the first part the payment is", "Capturing", partly["state"])
    checks.expect_money(play, partly, settled=part)
    if play.stage.records is not None:
        play.expect("a case is open", "partial_settlement", ", ".join(kind for kind, _ in cases))
    checks.expect_state(play, payment, "Settled")
    checks.expect_money(play, payment, settled=HEATED_SEATS_PRICE)


async def _repeated(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)
    gateway = play.stage.gateway
    bank_says = {"operation": "webhook", "event_type": "transaction.settled"}
    await gateway.goes_wrong(bank_says, duplicate=3)
    await gateway.goes_wrong({"operation": "webhook"}, reorder=2)
    payment_id = (await ana.buys_heated_seats(vin)).payment
    await play.payment_is(payment_id, "Capturing")
    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation")
    await gateway.bank_answers(payment_id)
    await play.payment_is(payment_id, "Settled")
    await gateway.webhooks_arrive()
    payment = await play.payment(payment_id)
    sent = await gateway.webhooks_of(payment_id)
    bank = [it for it in payment["events"] if it["event"] == "Bank confirms"]

    play.expect("webhooks that came", 6, len(sent))
    play.expect("of different events", 3, len({it["id"] for it in sent}))
    checks.expect_state(play, payment, "Settled")
    checks.expect_money(play, payment, captured=HEATED_SEATS_PRICE, settled=HEATED_SEATS_PRICE)
    play.expect("times the settlement was recorded", 1, len(bank))
    await checks.expect_ledger(play, payment_id, "settled_funds", HEATED_SEATS_PRICE)


async def _forged(play: Play) -> None:
    _, _, payment_id = await _bought(play)
    transaction = await play.stage.gateway.transaction_of(payment_id)
    body = {
        "id": "evt_forged",
        "type": "transaction.settled",
        "occurred_at": play.now().isoformat(),
        "data": {
            "id": transaction, "reference": payment_id, "status": "settled", "currency": "EUR",
            "amount": HEATED_SEATS_PRICE, "settled_amount": HEATED_SEATS_PRICE,
        },
    }  # fmt: skip
    headers = {
        "webhook-id": "evt_forged",
        "webhook-timestamp": str(int(play.now().timestamp())),
        "webhook-signature": "v1,Zm9yZ2VkIGJ5IHNvbWVib2R5IGVsc2UsIG5vdCBzaWduZWQ=",
    }

    play.step("a forger", PAYMENT_PROCESSING, "Settlement Webhook, signed by nobody's secret")
    reply = await play.stage.platform.post("/webhooks/gateway", body, headers=headers)
    payment = await play.payment(payment_id)

    play.expect("the forger is answered", f"{UNAUTHORISED} webhook_not_theirs",
                f"{reply.status} {reply.code}")  # fmt: skip
    checks.expect_state(play, payment, "Capturing")
    checks.expect_money(play, payment, settled=0)


async def _lost(play: Play) -> None:
    _, _, payment_id = await _bought(play)
    gone = {"operation": "webhook", "reference": payment_id}
    await play.stage.gateway.goes_wrong(gone, drop=True)
    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation; its webhook is lost")
    await play.stage.gateway.bank_answers(payment_id)
    play.meanwhile()
    payment = await play.payment_is(payment_id, "Settled", seconds=POLL_SECONDS_MAX)
    sent = await play.stage.gateway.webhooks_of(payment_id)

    lost = [it["state"] for it in sent if it["type"] == "transaction.settled"]
    play.expect("the settlement webhook was", "dropped", ", ".join(lost))
    checks.expect_state(play, payment, "Settled")
    checks.expect_money(play, payment, settled=HEATED_SEATS_PRICE)


SCENES: Final = (
    Scene(
        name="bank-rejects",
        title="The bank rejects the settlement after delivery: the loss is ours",
        rule="Diagram 9, Bank rejects; Diagram 7, DO NOT CHARGE; decision 17",
        tells="The service was delivered on held funds. The bank does not pay. The customer keeps "
        "what was paid for and is never charged again; the loss is booked.",
        ends="SettlementFailed, loss booked, service kept",
        plays=_bank_rejects,
    ),
    Scene(
        name="chargeback",
        title="A chargeback is lost",
        rule="Risk Mitigation Mechanisms: Accept losses; decision 37",
        tells="Weeks after the settlement the customer's bank takes the money back. The payment "
        "keeps its state, the dispute stands beside it, the loss is booked.",
        ends="dispute lost, loss booked",
        plays=_chargeback,
    ),
    Scene(
        name="partial-settlement",
        title="Only a part is settled, the rest comes later",
        rule="Common Discrepancy Scenarios: Partial Settlements; decision 37",
        tells="The settled amount adds up from what arrives. Until it is whole the payment stays "
        "Capturing and a person sees the difference.",
        ends="settled in two parts",
        plays=_partial,
    ),
    Scene(
        name="webhooks-repeated",
        title="Webhooks come four times, and in the wrong order",
        rule="Diagram 4, Settlement Webhook; decision 31",
        tells="The gateway tells of the capture before it tells of the authorisation, and of the "
        "settlement four times. Each event counts once, and any order ends in the same state.",
        ends="settled once",
        plays=_repeated,
    ),
    Scene(
        name="webhook-forged",
        title="A forged settlement webhook is refused",
        rule="Diagram 4, Settlement Webhook; decision 31",
        tells="Somebody else says that the bank has paid. The signature is not the gateway's, so "
        "that nothing is believed and nothing is stored.",
        ends="401, nothing changes",
        plays=_forged,
    ),
    Scene(
        name="webhooks-lost",
        title="The settlement webhook is lost: the platform asks by itself",
        rule="Diagram 4; decision 31: polling is the guarantee",
        tells="Nobody tells that the bank has paid. An hour after the charge the platform asks the "
        "gateway, and learns it.",
        ends="settled by asking",
        plays=_lost,
        needs=frozenset({Need.STRINGS, Need.FAST_TIME}),
        takes_long=True,
    ),
)
