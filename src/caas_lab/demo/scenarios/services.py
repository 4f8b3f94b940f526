"""One-time services (Diagrams 4 and 8): delivered and charged, or neither.

Rules a change must keep: delivery is checked in the vehicle, charges at the gateway; an
acknowledgement counts only if it is signed and answers the command.
"""

import asyncio
from http import HTTPStatus
from typing import Final

import msgspec

from caas_lab.demo import checks, fixtures
from caas_lab.demo.fixtures import HEATED_SEATS_PRICE
from caas_lab.demo.http_client import Reply
from caas_lab.demo.scenario import (
    BANKING_NETWORK,
    IOT_GATEWAY,
    PAYMENT_GATEWAY,
    PAYMENT_PROCESSING,
    VEHICLE,
    Need,
    Scenario,
)
from caas_lab.demo.scenario_run import ScenarioRun

DECLINED: Final = 402
NOT_CHARGED: Final = "Service not activated, not charged"
OTA_ENGINE: Final = "OTA Activation Engine"
YES: Final = {True: "yes", False: "no"}
RACES: Final = 6
LEAD_SECONDS: Final = 0.002


async def _paid(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)

    bought = await ana.buy_heated_seats(vin)
    await run.wait_for_payment(bought.payment, "Capturing")
    run.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation, a day later")
    await run.testbed.gateway.settle(bought.payment)
    payment = await run.wait_for_payment(bought.payment, "Settled")

    await checks.expect_seats(run, vin, heated=True)
    checks.expect_state(run, payment, "Settled")
    checks.expect_money(run, payment, captured=HEATED_SEATS_PRICE, settled=HEATED_SEATS_PRICE)
    await checks.expect_charges(run, bought.payment, 1)
    await checks.expect_ledger(run, bought.payment, "settled_funds", HEATED_SEATS_PRICE)
    await checks.expect_notification(run, ana, "Service active")


async def _declined(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)

    bought = await ana.buy_heated_seats(vin, "pm_insufficient_funds")
    payment = await run.payment(bought.payment)

    run.expect("the answer to the customer", DECLINED, bought.status)
    checks.expect_state(run, payment, "Failed")
    run.expect("decline code", "insufficient_funds", payment["decline_code"])
    run.expect("commands sent to the vehicle", 0, (await run.testbed.vehicles.car(vin))["commands"])
    await checks.expect_charges(run, bought.payment, 0)
    await checks.expect_notification(run, ana, "Service payment not completed")


async def _car_refuses(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)

    await run.testbed.vehicles.set_behaviour(
        vin, "refuses", only="activate", reason="no heated seats"
    )
    bought = await ana.buy_heated_seats(vin)
    payment = await run.wait_for_payment(bought.payment, "Voided")

    checks.expect_state(run, payment, "Voided")
    checks.expect_money(run, payment, captured=0)
    await checks.expect_charges(run, bought.payment, 0)
    await checks.expect_seats(run, vin, heated=False)
    await checks.expect_notification(run, ana, NOT_CHARGED)


async def _car_asleep(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)

    run.step(VEHICLE, VEHICLE, "is asleep in a garage without reception")
    await run.testbed.vehicles.set_behaviour(vin, "asleep")
    bought = await ana.buy_heated_seats(vin)
    payment = await run.wait_for_payment(bought.payment, "Voided")
    run.step(VEHICLE, IOT_GATEWAY, "wakes up and takes the waiting commands")
    await run.testbed.vehicles.wake(vin)
    await checks.expect_seats(run, vin, heated=False, what="in the end the service is")
    payment = await run.payment(bought.payment)
    data = (await run.testbed.vehicles.car(vin))["services"].get(fixtures.HEATED_SEATS, {})

    checks.expect_state(run, payment, "Voided")
    run.expect("the service was switched off after the vehicle woke up", expected=True,
                seen=data.get("deactivations", 0) > 0)  # fmt: skip
    await checks.expect_charges(run, bought.payment, 0)
    await checks.expect_notification(run, ana, NOT_CHARGED)


async def _expires(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)

    run.step(VEHICLE, VEHICLE, "is asleep in a garage without reception")
    await run.testbed.vehicles.set_behaviour(vin, "asleep")
    bought = await ana.buy_heated_seats(vin, "pm_expires")
    payment = await run.wait_for_payment(bought.payment, "Voided")
    run.step(VEHICLE, IOT_GATEWAY, "wakes up and takes the waiting commands")
    await run.testbed.vehicles.wake(vin)
    await checks.expect_seats(run, vin, heated=False, what="in the end the service is")

    checks.expect_state(run, payment, "Voided")
    await checks.expect_charges(run, bought.payment, 0)
    await checks.expect_notification(run, ana, NOT_CHARGED)


async def _forged(run: ScenarioRun) -> None:
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)

    await run.testbed.vehicles.set_behaviour(vin, "silent")
    bought = await ana.buy_heated_seats(vin)
    run.step("a forger", OTA_ENGINE, "confirmDelivery with a forged signature")
    refused = await _confirm_forged(run, vin, bought.payment)
    before = await run.payment(bought.payment)
    await run.testbed.vehicles.set_behaviour(vin, "obeys")
    payment = await run.wait_for_payment(bought.payment, "Capturing")

    run.expect("the answer to the forged acknowledgement", "422 evidence_refused", refused)
    run.expect("charged after it", 0, before["amounts"]["captured"])
    if run.testbed.records is not None:
        counted = await run.testbed.records.refused_acknowledgements(bought.payment)
        run.expect("refused acknowledgements on record", 1, counted)
    checks.expect_state(run, payment, "Capturing")
    await checks.expect_seats(run, vin, heated=True, what="in the vehicle the service is")
    await checks.expect_charges(run, bought.payment, 1)


async def _confirm_forged(run: ScenarioRun, vin: str, payment_id: str) -> str:
    """Confirm the delivery over the API with a made-up signature."""
    data = (await run.testbed.vehicles.car(vin))["services"][fixtures.HEATED_SEATS]
    body = {
        "vin": vin,
        "command_id": data["command_id"],
        "epoch": data["epoch"],
        "service": fixtures.HEATED_SEATS,
        "action": "activate",
        "status": "SUCCEEDED",
        "at": run.now().isoformat(timespec="milliseconds"),
        "signature": "A" * 86 + "==",
    }
    path = f"/v1/payments/{payment_id}/delivery"
    reply = await run.testbed.platform.post(path, body, scope="ota-engine")
    return f"{reply.status} {reply.code}"


async def _race(run: ScenarioRun) -> None:
    together = 0
    for number in range(1, RACES + 1):
        lead = (number - RACES / 2) * LEAD_SECONDS
        end = await _one_race(run.unnarrated(), void_leads_seconds=lead)
        together += end.charged == end.delivered and end.void_won is not end.charged
        run.step(
            OTA_ENGINE,
            PAYMENT_PROCESSING,
            f"race {number}: voidPayment while the vehicle confirms",
            f"{'the void' if end.void_won else 'the capture'} won; void answered {end.answer}",
            f"charged: {YES[end.charged]}, service on: {YES[end.delivered]}",
        )
    run.expect("races that ended charged and delivered, or neither", RACES, together)


class _End(msgspec.Struct, frozen=True):
    """The end of one race."""

    answer: str
    void_won: bool
    charged: bool
    delivered: bool


async def _one_race(run: ScenarioRun, *, void_leads_seconds: float) -> _End:
    """Wake the vehicle and void the payment within a few milliseconds."""
    ana, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)
    await run.testbed.vehicles.set_behaviour(vin, "asleep")
    bought = await ana.buy_heated_seats(vin)
    path = f"/v1/payments/{bought.payment}/void"

    async def voided() -> Reply:
        await asyncio.sleep(max(0.0, -void_leads_seconds))
        body = {"reason": "OTA activation failed"}
        return await run.testbed.platform.post(path, body, scope="ota-engine")

    async def woken() -> None:
        await asyncio.sleep(max(0.0, void_leads_seconds))
        await run.testbed.vehicles.wake(vin)

    void, _ = await asyncio.gather(voided(), woken())
    payment = await run.wait_for_payment(bought.payment, "Capturing", "Voided")
    captured = payment["state"] == "Capturing"

    async def at_rest() -> bool:
        return bool((await run.testbed.vehicles.car(vin))["active"]) is captured

    await run.wait_until(at_rest)
    ledger = await run.testbed.gateway.ledger(bought.payment)
    return _End(
        answer=f"{void.status} {void.code}".strip(),
        void_won=void.status < HTTPStatus.BAD_REQUEST,
        charged=ledger["charges_executed"] == 1,
        delivered=bool((await run.testbed.vehicles.car(vin))["active"]),
    )


SCENARIOS: Final = (
    Scenario(
        name="service-paid",
        title="One-time service: activated, charged, settled by webhook",
        rule="Diagram 4; Diagram 8, arrows 1 to 5a",
        text="Funds are held, and the vehicle gets its command at once. Only its signed "
        "acknowledgement commits the charge; the bank confirms later, by webhook.",
        expected_end="service on, charged once, settled",
        steps=_paid,
    ),
    Scenario(
        name="service-declined",
        title="One-time service payment failed before the OTA activation",
        rule="Diagram 7, OTA Already Activated? No; Failure Handling Rule 3",
        text="The bank declines. The order is cancelled, and the vehicle gets no command.",
        expected_end="no activation, nothing charged",
        steps=_declined,
    ),
    Scenario(
        name="car-refuses",
        title="The vehicle refuses the activation: the charge is voided",
        rule="Diagram 8, arrows 4b and 5b; Critical Customer Protection Rule",
        text="Funds are held, and the vehicle refuses. The customer must not pay for a service "
        "that was not delivered.",
        expected_end="service off, voided",
        steps=_car_refuses,
    ),
    Scenario(
        name="car-asleep",
        title="The vehicle is asleep: voided at the deadline, switched off when it wakes up late",
        rule="Diagram 8, arrow 4b, Failure After Retries; decision 16",
        text="The vehicle does not answer within ten minutes, so the charge is voided and a "
        "deactivation is sent. When the vehicle wakes up, it applies both. Nothing is charged.",
        expected_end="service off, never charged",
        steps=_car_asleep,
        needs=frozenset({Need.CONTROL_PLANES, Need.FAST_TIME}),
    ),
    Scenario(
        name="authorization-expires",
        title="The authorization expires before the vehicle answers",
        rule="Key States, Authorized; decision 9",
        text="The bank holds the funds for one minute, and the vehicle is asleep. The gateway "
        "reports that the hold expired: nothing was delivered, so the payment is voided.",
        expected_end="expired, never charged",
        steps=_expires,
        needs=frozenset({Need.CONTROL_PLANES, Need.FAST_TIME}),
    ),
    Scenario(
        name="acknowledgement-forged",
        title="A forged acknowledgement is refused",
        rule="Diagram 8, arrow 4a; decision 15",
        text="The vehicle's answer is lost, and someone else claims that the service is on. "
        "Without the vehicle's signature this proves nothing. The vehicle is asked again and "
        "confirms.",
        expected_end="forgery refused, charged once confirmed",
        steps=_forged,
        needs=frozenset({Need.CONTROL_PLANES, Need.FAST_TIME}),
    ),
    Scenario(
        name="void-or-capture",
        title=f"Void and capture race, {RACES} times: one of them wins, never both",
        rule="Diagram 8, arrows 5a and 5b; decision 7",
        text="The vehicle confirms while the payment is being voided. One of the two wins: charged "
        "and delivered, or neither.",
        expected_end="charged and delivered, or neither",
        steps=_race,
    ),
)
