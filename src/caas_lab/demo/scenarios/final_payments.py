"""Final payments (Diagram 3): paid and delivered, declined and lost, unknown and held.

Rules a change must keep: a declined final payment has no grace period and no second attempt; a
vehicle whose payment nobody knows the outcome of is held, never sold.
"""

import asyncio
from typing import Final

from caas_lab.demo import cast, checks
from caas_lab.demo.cast import DEPOSIT, REST
from caas_lab.demo.play import Play, money
from caas_lab.demo.story import (
    ADMIN_REGISTRATION,
    BANKING_NETWORK,
    ORDER_MANAGEMENT,
    PAYMENT_GATEWAY,
    Need,
    Scene,
)

CONFLICT: Final = 409
IVA_OF_DEPOSIT: Final = (DEPOSIT * 21 + 60) // 121
ACCEPTED: Final = 202


async def _final_of(play: Play, order_id: str) -> str:
    """Return the id of an order's final payment."""
    order = await play.order(order_id)
    return str(next(it["id"] for it in order["payments"] if it["type"] == "final"))


async def _paid(play: Play) -> None:
    ana, seller = await cast.customer(play, "Ana"), cast.dealership(play, "Autos Sol")
    order_id = await cast.ready_order(play, ana, seller)

    await ana.pays_the_rest(order_id)
    order = await play.order_is(order_id, "delivery scheduled")
    play.step("Transport System", ORDER_MANAGEMENT, "brings the vehicle to the customer")
    await play.stage.partners.transport_arrives(order_id)
    order = await play.order_is(order_id, "delivered")
    final = await _final_of(play, order_id)
    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation")
    await play.stage.gateway.bank_answers(final)
    payment = await play.payment_is(final, "Settled")

    play.expect("the order is", "delivered", order["state"])
    play.expect("the vehicle has a plate", expected=True, seen=bool(order["plate"]))
    await checks.expect_vehicle(play, order["vin"], "delivered")
    checks.expect_state(play, payment, "Settled")
    checks.expect_money(play, payment, captured=REST, settled=REST)
    await checks.expect_charges(play, final, 1)
    for title in ("Your vehicle is ready", "Payment confirmed", "Vehicle delivered"):
        await checks.expect_told(play, ana, title)


async def _declined(play: Play) -> None:
    ana, luis = await cast.customer(play, "Ana"), await cast.customer(play, "Luis")
    sol, mar = cast.dealership(play, "Autos Sol"), cast.dealership(play, "Autos Mar")
    order_id = await cast.ready_order(play, ana, sol)
    deposit = play.payments[0]

    await ana.pays_the_rest(order_id, "pm_declined")
    order = await play.order(order_id)
    final = await play.payment(await _final_of(play, order_id))
    await checks.expect_vehicle(play, order["vin"], "sin asignar")
    again = await ana.pays_the_rest(order_id)
    sold = await mar.reserves(order["vin"], luis)
    other = await play.order_is(sold.order, "ready")

    checks.expect_state(play, final, "Failed")
    play.expect("the order is", "reservation lost", order["state"])
    play.expect("a second attempt is answered", CONFLICT, again.status)
    play.expect("another customer's order of the same vehicle is", "ready", other["state"])
    await checks.expect_charges(play, final["id"], 0)
    await checks.expect_told(play, ana, "Payment failed, reservation lost")
    await checks.expect_ledger(play, deposit, "reservation_held", IVA_OF_DEPOSIT - DEPOSIT)
    await checks.expect_ledger(play, deposit, "output_vat", -IVA_OF_DEPOSIT)


async def _unknown(play: Play) -> None:
    ana, luis = await cast.customer(play, "Ana"), await cast.customer(play, "Luis")
    sol, mar = cast.dealership(play, "Autos Sol"), cast.dealership(play, "Autos Mar")
    order_id = await cast.ready_order(play, ana, sol)
    vin = (await play.order(order_id))["vin"]

    play.step(PAYMENT_GATEWAY, PAYMENT_GATEWAY, "hangs up on every call, after doing it")
    await play.stage.gateway.goes_wrong({"operation": "webhook"}, drop=True)
    await play.stage.gateway.goes_wrong({"operation": "initiate"}, drop_connection_after=True)
    await play.stage.gateway.goes_wrong({"operation": "find"}, status=503)
    answered = await ana.pays_the_rest(order_id)
    final = await _final_of(play, order_id)

    async def not_known() -> bool:
        return bool((await play.payment(final))["outcome"] == "unknown")

    await play.until(not_known)
    held = await play.payment(final)
    taken = await mar.tries_to_reserve(vin, luis)
    left = await ana.withdraws(order_id)
    await checks.expect_vehicle(play, vin, "ready")
    play.step(PAYMENT_GATEWAY, PAYMENT_GATEWAY, "is well again")
    await play.stage.gateway.goes_well()
    payment = await play.payment_is(final, "Capturing")
    order = await play.order_is(order_id, "delivery scheduled")

    play.expect("the customer is answered", ACCEPTED, answered.status)
    play.expect("meanwhile the payment is", "Pending, outcome unknown",
                f"{held['state']}, outcome {held['outcome']}")  # fmt: skip
    play.expect("selling the vehicle to another is answered", CONFLICT, taken.status)
    play.expect("withdrawing meanwhile is answered", CONFLICT, left.status)
    checks.expect_state(play, payment, "Capturing")
    play.expect("the order is", "delivery scheduled", order["state"])
    await checks.expect_charges(play, final, 1)
    await checks.expect_no_second_transaction(play, final)
    await checks.expect_told(play, "operations", "Alert: gateway_outcome_unknown")


async def _twice(play: Play) -> None:
    ana, seller = await cast.customer(play, "Ana"), cast.dealership(play, "Autos Sol")
    order_id = await cast.ready_order(play, ana, seller)

    await asyncio.gather(ana.pays_the_rest(order_id), ana.pays_the_rest(order_id))
    order = await play.order_is(order_id, "delivery scheduled")
    finals = [it for it in order["payments"] if it["type"] == "final"]

    play.expect("final payments of the order", 1, len(finals))
    await checks.expect_charges(play, finals[0]["id"], 1)
    checks.expect_money(play, finals[0], captured=REST)
    play.expect("the order is", "delivery scheduled", order["state"])


async def _matriculation_late(play: Play) -> None:
    ana, seller = await cast.customer(play, "Ana"), cast.dealership(play, "Autos Sol")
    order_id = await cast.ready_order(play, ana, seller)

    down = {"operation": "registrations", "times": 3}
    await play.stage.partners.goes_wrong(down, status=503)
    play.step(ADMIN_REGISTRATION, ADMIN_REGISTRATION, "answers 503, three times")
    await ana.pays_the_rest(order_id)
    order = await play.order_is(order_id, "delivery scheduled")
    payment = await play.payment(await _final_of(play, order_id))
    registrations = (await play.stage.partners.records_of(order_id))["registrations"]

    play.expect("the order is", "delivery scheduled", order["state"])
    play.expect("matriculations of the vehicle", 1, len(registrations))
    checks.expect_state(play, payment, "Capturing")
    checks.expect_money(play, payment, captured=REST)


SCENES: Final = (
    Scene(
        name="final-paid",
        title="Final payment successful: matriculation, transport, delivery",
        rule="Diagram 3, Payment Successful",
        tells="The vehicle is ready and the customer pays the rest. It is registered, its delivery "
        "is scheduled, and it arrives.",
        ends="vehicle delivered, rest settled",
        plays=_paid,
    ),
    Scene(
        name="final-declined",
        title="Final payment failed: the customer loses the reservation entirely",
        rule="Diagram 3, Payment Failed; Critical Business Rule; decisions 19 and 21",
        tells="The bank declines. The vehicle is sin asignar at once and another customer buys it. "
        f"No grace period, no retry. The señal of {money(DEPOSIT)} is held until a person decides.",
        ends="reservation lost, vehicle sold to another",
        plays=_declined,
    ),
    Scene(
        name="final-unknown",
        title="Final payment with an unknown outcome: the vehicle is held, then it is resolved",
        rule="Diagrams 3 and 11; decisions 3 and 19",
        tells="The gateway takes the payment and hangs up, four times. Nobody knows the outcome, "
        "so the vehicle is neither released nor sold. When the gateway can be asked again, the "
        "platform learns that it is paid.",
        ends="vehicle held, then paid once",
        plays=_unknown,
    ),
    Scene(
        name="final-twice",
        title="The customer pays on the web and in the app at the same moment",
        rule="Diagram 3; decision 12: one live payment for each subject",
        tells="Two devices send the final payment. The database lets one be live; the other device "
        "is answered with that same payment.",
        ends="one payment, one charge",
        plays=_twice,
    ),
    Scene(
        name="matriculation-late",
        title="Matriculation fails three times after the final payment",
        rule="Diagram 3; decision 23",
        tells="Admin Registration answers 503. The platform asks again until the vehicle is "
        "registered; the payment is not touched.",
        ends="registered once, payment stays",
        plays=_matriculation_late,
        needs=frozenset({Need.STRINGS, Need.FAST_TIME}),
    ),
)
