"""What goes wrong between the platform and the gateway (Diagram 11, Retry Strategy).

Rules a change must keep: what was sent again was sent with one key; how often a customer was
charged is asked of the gateway.
"""

from typing import Final

from caas_lab.demo import cast, checks
from caas_lab.demo.cast import HEATED_SEATS_PRICE
from caas_lab.demo.play import Play
from caas_lab.demo.story import PAYMENT_GATEWAY, Need, Scene

DECLINED: Final = 402
CREATED: Final = 201
SILENCE_SECONDS: Final = 30.0


async def _unavailable_then_well(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)

    await play.stage.gateway.goes_wrong({"operation": "initiate", "times": 3}, status=503)
    bought = await ana.buys_heated_seats(vin)
    payment = await play.payment_is(bought.payment, "Capturing")

    play.expect("the customer is answered", CREATED, bought.status)
    checks.expect_state(play, payment, "Capturing")
    await checks.expect_charges(play, bought.payment, 1)
    await checks.expect_no_second_transaction(play, bought.payment)
    await checks.expect_seats(play, vin, heated=True)


async def _silent_after_doing_it(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)

    silence = SILENCE_SECONDS / play.stage.scale
    for operation in ("initiate", "capture"):
        once = {"operation": operation, "times": 1}
        await play.stage.gateway.goes_wrong(once, hang_after_apply=silence)
    await play.stage.gateway.goes_wrong({"operation": "webhook"}, drop=True)
    lookups = await _lookups(play)
    bought = await ana.buys_heated_seats(vin)
    await play.payment_is(bought.payment, "Capturing")

    async def looked_up() -> bool:
        return await _lookups(play) > lookups

    await play.until(looked_up)
    payment = await play.payment(bought.payment)

    checks.expect_state(play, payment, "Capturing")
    checks.expect_money(play, payment, captured=HEATED_SEATS_PRICE)
    play.expect("calls to authorise", 2, await _calls(play, "initiate", bought.payment))
    play.expect("calls to capture", 1, await _calls(play, "capture", bought.payment))
    await checks.expect_no_second_transaction(play, bought.payment)
    await checks.expect_charges(play, bought.payment, 1)


async def _not_there(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)
    relay = play.stage.relay
    assert relay is not None, "this scene needs the relay"

    play.step(PAYMENT_GATEWAY, PAYMENT_GATEWAY, "is down: nobody answers at its address")
    await relay.cut()
    try:
        bought = await ana.buys_heated_seats(vin)
    finally:
        await relay.open()
    payment = await play.payment(bought.payment)

    play.expect("the customer is answered", DECLINED, bought.status)
    checks.expect_state(play, payment, "Failed")
    play.expect("because", "gateway_unreachable", payment["decline_code"])
    known = (await play.stage.gateway.ledger(bought.payment))["transactions"]
    play.expect("transactions the gateway knows of it", 0, len(known))
    play.expect("commands sent to the car", 0, (await play.stage.vehicles.car(vin))["commands"])
    await checks.expect_told(play, "operations", "Alert: gateway_unreachable")
    await checks.expect_told(play, ana, "The payment for the service failed")


async def _calls(play: Play, operation: str, payment_id: str) -> int:
    """Count the calls of an operation that the gateway got for a payment."""
    told = await play.stage.gateway.ledger(payment_id)
    return sum(
        int(call["count"])
        for call in told["calls"]
        if call["operation"] == operation and call["key"].startswith(payment_id)
    )


async def _lookups(play: Play) -> int:
    """Count the lookups that the gateway has answered so far, of whatever payment."""
    told = await play.stage.gateway.ledger()
    return sum(int(call["count"]) for call in told["calls"] if call["operation"] == "find")


SCENES: Final = (
    Scene(
        name="gateway-5xx",
        title="The gateway answers 503 three times, then it works",
        rule="Diagram 11, Gateway Error; Retry Strategy: 2 s, 4 s, 8 s",
        tells="Each wait is twice the one before. Every attempt carries the same key, so that the "
        "gateway cannot take two for one.",
        ends="paid after three retries, charged once",
        plays=_unavailable_then_well,
    ),
    Scene(
        name="gateway-time-out",
        title="The gateway does what it is asked and never answers",
        rule="Diagram 11, Network Error; decisions 2 and 3",
        tells="The authorisation and then the capture end in silence, and no webhook comes either. "
        "The first is asked again with its key, the second is looked up: the gateway says what it "
        "had done.",
        ends="exactly one charge",
        plays=_silent_after_doing_it,
        needs=frozenset({Need.STRINGS, Need.FAST_TIME}),
    ),
    Scene(
        name="gateway-down",
        title="The gateway is down: the payment was never sent",
        rule="Diagram 11, Payment Failed, Alert Operations; decision 3",
        tells="No connection can be made, four times. Nothing can have been charged, so the "
        "payment fails, the customer is told and operations are alerted.",
        ends="failed, operations alerted",
        plays=_not_there,
        needs=frozenset({Need.STRINGS, Need.RELAY}),
    ),
)
