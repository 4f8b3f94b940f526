"""One-time services (Diagrams 4 and 8): delivered and charged, or neither.

Rules a change must keep: what was delivered is asked of the car, what was charged of the gateway;
a car's word counts only signed, for the command it was given.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from caas_lab.demo import cast, checks
from caas_lab.demo.calls import Reply
from caas_lab.demo.cast import HEATED_SEATS_PRICE
from caas_lab.demo.play import Play
from caas_lab.demo.story import (
    BANKING_NETWORK,
    IOT_GATEWAY,
    PAYMENT_GATEWAY,
    PAYMENT_PROCESSING,
    VEHICLE,
    Need,
    Scene,
)

DECLINED: Final = 402
NOT_CHARGED: Final = "Service not activated: you are not charged"
OTA_ENGINE: Final = "OTA Activation Engine"
YES: Final = {True: "yes", False: "no"}
RACES: Final = 6
LEAD_SECONDS: Final = 0.002


async def _paid(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)

    bought = await ana.buys_heated_seats(vin)
    await play.payment_is(bought.payment, "Capturing")
    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation, a day later")
    await play.stage.gateway.bank_answers(bought.payment)
    payment = await play.payment_is(bought.payment, "Settled")

    await checks.expect_seats(play, vin, heated=True)
    checks.expect_state(play, payment, "Settled")
    checks.expect_money(play, payment, captured=HEATED_SEATS_PRICE, settled=HEATED_SEATS_PRICE)
    await checks.expect_charges(play, bought.payment, 1)
    await checks.expect_ledger(play, bought.payment, "settled_funds", HEATED_SEATS_PRICE)
    await checks.expect_told(play, ana, "Service active")


async def _declined(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)

    bought = await ana.buys_heated_seats(vin, "pm_insufficient_funds")
    payment = await play.payment(bought.payment)

    play.expect("the customer is answered", DECLINED, bought.status)
    checks.expect_state(play, payment, "Failed")
    play.expect("because", "insufficient_funds", payment["decline_code"])
    play.expect("commands sent to the car", 0, (await play.stage.vehicles.car(vin))["commands"])
    await checks.expect_charges(play, bought.payment, 0)
    await checks.expect_told(play, ana, "The payment for the service failed")


async def _car_refuses(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)

    await play.stage.vehicles.behaves(vin, "refuses", only="activate", reason="no heated seats")
    bought = await ana.buys_heated_seats(vin)
    payment = await play.payment_is(bought.payment, "Voided")

    checks.expect_state(play, payment, "Voided")
    checks.expect_money(play, payment, captured=0)
    await checks.expect_charges(play, bought.payment, 0)
    await checks.expect_seats(play, vin, heated=False)
    await checks.expect_told(play, ana, NOT_CHARGED)


async def _car_asleep(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)

    play.step(VEHICLE, VEHICLE, "sleeps in a garage without reception")
    await play.stage.vehicles.behaves(vin, "asleep")
    bought = await ana.buys_heated_seats(vin)
    payment = await play.payment_is(bought.payment, "Voided")
    play.step(VEHICLE, IOT_GATEWAY, "wakes, and does what it finds waiting")
    await play.stage.vehicles.wakes(vin)
    await checks.expect_seats(play, vin, heated=False, what="in the end the service is")
    payment = await play.payment(bought.payment)
    told = (await play.stage.vehicles.car(vin))["services"].get(cast.HEATED_SEATS, {})

    checks.expect_state(play, payment, "Voided")
    play.expect("the car was switched off after it woke", expected=True,
                seen=told.get("deactivations", 0) > 0)  # fmt: skip
    await checks.expect_charges(play, bought.payment, 0)
    await checks.expect_told(play, ana, NOT_CHARGED)


async def _expires(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)

    play.step(VEHICLE, VEHICLE, "sleeps in a garage without reception")
    await play.stage.vehicles.behaves(vin, "asleep")
    bought = await ana.buys_heated_seats(vin, "pm_expires")
    payment = await play.payment_is(bought.payment, "Voided")
    play.step(VEHICLE, IOT_GATEWAY, "wakes, and does what it finds waiting")
    await play.stage.vehicles.wakes(vin)
    await checks.expect_seats(play, vin, heated=False, what="in the end the service is")

    checks.expect_state(play, payment, "Voided")
    await checks.expect_charges(play, bought.payment, 0)
    await checks.expect_told(play, ana, NOT_CHARGED)


async def _forged(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)

    await play.stage.vehicles.behaves(vin, "silent")
    bought = await ana.buys_heated_seats(vin)
    play.step("a forger", OTA_ENGINE, "confirmDelivery, signed by nobody's key")
    refused = await _forged_word(play, vin, bought.payment)
    before = await play.payment(bought.payment)
    await play.stage.vehicles.behaves(vin, "obeys")
    payment = await play.payment_is(bought.payment, "Capturing")

    play.expect("the forged word is answered", "422 evidence_refused", refused)
    play.expect("after it nothing is charged", 0, before["amounts"]["captured"])
    if play.stage.records is not None:
        counted = await play.stage.records.refused_acknowledgements(bought.payment)
        play.expect("refused acknowledgements on record", 1, counted)
    checks.expect_state(play, payment, "Capturing")
    await checks.expect_seats(play, vin, heated=True, what="by the car's own word the service is")
    await checks.expect_charges(play, bought.payment, 1)


async def _forged_word(play: Play, vin: str, payment_id: str) -> str:
    """Say over the API that the car has applied the service, with a made-up signature."""
    told = (await play.stage.vehicles.car(vin))["services"][cast.HEATED_SEATS]
    body = {
        "vin": vin,
        "command_id": told["command_id"],
        "epoch": told["epoch"],
        "service": cast.HEATED_SEATS,
        "action": "activate",
        "status": "SUCCEEDED",
        "at": play.now().isoformat(timespec="milliseconds"),
        "signature": "A" * 86 + "==",
    }
    path = f"/v1/payments/{payment_id}/delivery"
    reply = await play.stage.platform.post(path, body, scope="ota-engine")
    return f"{reply.status} {reply.code}"


async def _race(play: Play) -> None:
    together = 0
    for number in range(1, RACES + 1):
        lead = (number - RACES / 2) * LEAD_SECONDS
        end = await _one_race(play.behind_the_scenes(), void_leads_seconds=lead)
        together += end.charged == end.delivered and end.void_won is not end.charged
        play.step(
            OTA_ENGINE,
            PAYMENT_PROCESSING,
            f"race {number}: voidPayment while the car confirms",
            f"{'the void' if end.void_won else 'the capture'} won; void answered {end.answer}",
            f"charged: {YES[end.charged]}, service on: {YES[end.delivered]}",
        )
    play.expect("races that ended charged and delivered, or neither", RACES, together)


@dataclass(frozen=True, slots=True)
class _End:
    """How one race ended for everybody."""

    answer: str
    void_won: bool
    charged: bool
    delivered: bool


async def _one_race(play: Play, *, void_leads_seconds: float) -> _End:
    """Wake the car and void the payment at the same moment, give or take a few milliseconds."""
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)
    await play.stage.vehicles.behaves(vin, "asleep")
    bought = await ana.buys_heated_seats(vin)
    path = f"/v1/payments/{bought.payment}/void"

    async def voided() -> Reply:
        await asyncio.sleep(max(0.0, -void_leads_seconds))
        body = {"reason": "OTA activation failed"}
        return await play.stage.platform.post(path, body, scope="ota-engine")

    async def woken() -> None:
        await asyncio.sleep(max(0.0, void_leads_seconds))
        await play.stage.vehicles.wakes(vin)

    void, _ = await asyncio.gather(voided(), woken())
    payment = await play.payment_is(bought.payment, "Capturing", "Voided")
    captured = payment["state"] == "Capturing"

    async def at_rest() -> bool:
        return bool((await play.stage.vehicles.car(vin))["active"]) is captured

    await play.until(at_rest)
    ledger = await play.stage.gateway.ledger(bought.payment)
    return _End(
        answer=f"{void.status} {void.code}".strip(),
        void_won=void.status < HTTPStatus.BAD_REQUEST,
        charged=ledger["charges_executed"] == 1,
        delivered=bool((await play.stage.vehicles.car(vin))["active"]),
    )


SCENES: Final = (
    Scene(
        name="service-paid",
        title="One-time service: activated, charged, settled by webhook",
        rule="Diagram 4; Diagram 8, arrows 1 to 5a",
        tells="Funds are held and the car is told at once. Only its signed word commits the "
        "charge; the bank's confirmation comes later, by webhook.",
        ends="service on, charged once, settled",
        plays=_paid,
    ),
    Scene(
        name="service-declined",
        title="One-time service payment failed before the OTA activation",
        rule="Diagram 7, OTA Already Activated? No; Failure Handling Rule 3",
        tells="The bank declines. The order is cancelled and the car hears nothing of it.",
        ends="no activation, nothing charged",
        plays=_declined,
    ),
    Scene(
        name="car-refuses",
        title="The car refuses the activation: the charge is voided",
        rule="Diagram 8, arrows 4b and 5b; Critical Customer Protection Rule",
        tells="Funds were held, the car says no. The customer must not be charged for what was not "
        "delivered.",
        ends="service off, voided",
        plays=_car_refuses,
    ),
    Scene(
        name="car-asleep",
        title="The car is asleep: voided after the deadline, switched off again when it wakes late",
        rule="Diagram 8, arrow 4b, Failure After Retries; decision 16",
        tells="The car does not answer within ten minutes, so the charge is voided and a fence is "
        "sent. When the car wakes it applies the old command, and then the fence. Nobody pays.",
        ends="service off, never charged",
        plays=_car_asleep,
        needs=frozenset({Need.STRINGS, Need.FAST_TIME}),
    ),
    Scene(
        name="authorisation-expires",
        title="The authorisation expires before the car answers",
        rule="Key States, Authorized; decision 9",
        tells="The bank holds the funds for a minute only, and the car sleeps. The gateway tells "
        "that nothing is held any more: not delivered, so voided, and no new charge.",
        ends="expired, never charged",
        plays=_expires,
        needs=frozenset({Need.STRINGS, Need.FAST_TIME}),
    ),
    Scene(
        name="acknowledgement-forged",
        title="A forged acknowledgement is refused",
        rule="Diagram 8, arrow 4a; decision 15",
        tells="The car's answer gets lost, and somebody else claims that the service is on. "
        "Without the car's signature that proves nothing. The car is asked again and confirms.",
        ends="forgery refused, charged on the car's word",
        plays=_forged,
        needs=frozenset({Need.STRINGS, Need.FAST_TIME}),
    ),
    Scene(
        name="void-or-capture",
        title=f"Void and capture race, {RACES} times: one of them wins, never both",
        rule="Diagram 8, arrows 5a and 5b; decision 7",
        tells="In the same moment the car confirms and the payment is voided. Each authorisation "
        "has one claim: charged and delivered, or neither.",
        ends="charged and delivered, or neither",
        plays=_race,
    ),
)
