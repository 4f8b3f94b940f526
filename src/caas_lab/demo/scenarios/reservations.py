"""Reservation payments (Diagram 2): paid, declined, two for one vehicle, refused by the factory.

Rules a change must keep: each scene reads like its branch of the diagram; what it expects at the
end are the seed's own sentences.
"""

import asyncio
from typing import Final

from caas_lab.demo import cast, checks
from caas_lab.demo.cast import DEPOSIT
from caas_lab.demo.play import Play
from caas_lab.demo.story import BANKING_NETWORK, PAYMENT_GATEWAY, Need, Scene

IN_PRODUCTION: Final = "in production"
DECLINED: Final = 402


async def _paid(play: Play) -> None:
    ana, seller = await cast.customer(play, "Ana"), cast.dealership(play, "Autos Sol")
    vin = await cast.vehicle_in_stock(play)

    bought = await seller.reserves(vin, ana)
    order = await play.order_is(bought.order, "factory order placed")
    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation")
    await play.stage.gateway.bank_answers(bought.payment)
    payment = await play.payment_is(bought.payment, "Settled")

    play.expect("the order is", "factory order placed", order["state"])
    await checks.expect_vehicle(play, vin, IN_PRODUCTION)
    checks.expect_state(play, payment, "Settled")
    checks.expect_money(play, payment, captured=DEPOSIT, settled=DEPOSIT)
    await checks.expect_charges(play, bought.payment, 1)
    await checks.expect_told(play, seller, "Reservation complete")
    await checks.expect_told(play, ana, "Your access to CaaS")


async def _declined(play: Play) -> None:
    ana, seller = await cast.customer(play, "Ana"), cast.dealership(play, "Autos Sol")
    vin = await cast.vehicle_in_stock(play)

    bought = await seller.reserves(vin, ana, "pm_declined")
    payment = await play.payment(bought.payment)
    order = await play.order(bought.order)

    play.expect("the dealership is answered", DECLINED, bought.status)
    checks.expect_state(play, payment, "Failed")
    play.expect("because", "card_declined", payment["decline_code"])
    play.expect("the order is", "reservation failed", order["state"])
    await checks.expect_vehicle(play, vin, "sin asignar")
    placed = (await play.stage.partners.records_of(bought.order))["orders"]
    play.expect("factory orders placed", 0, len(placed))
    await checks.expect_charges(play, bought.payment, 0)
    await checks.expect_told(play, ana, "The reservation was not made")
    await checks.expect_told(play, seller, "The reservation was not made")


async def _two_dealers(play: Play) -> None:
    ana, luis = await cast.customer(play, "Ana"), await cast.customer(play, "Luis")
    sol, mar = cast.dealership(play, "Autos Sol"), cast.dealership(play, "Autos Mar")
    vin = await cast.vehicle_in_stock(play)

    slow = {"operation": "initiate", "times": 2}
    await play.stage.gateway.goes_wrong(slow, latency_after_ms=100)
    both = await asyncio.gather(sol.reserves(vin, ana), mar.reserves(vin, luis))
    payments = [await play.payment_is(one.payment, "Capturing", "Voided") for one in both]
    won = [one for one, it in zip(both, payments, strict=True) if it["state"] == "Capturing"]
    lost = [one for one, it in zip(both, payments, strict=True) if it["state"] == "Voided"]

    play.expect("reservations that got the vehicle", 1, len(won))
    play.expect("reservations whose funds were released", 1, len(lost))
    for one in won:
        await checks.expect_charges(play, one.payment, 1)
        play.expect("the winner's order is", "factory order placed",
                    (await play.order_is(one.order, "factory order placed"))["state"])  # fmt: skip
    for one in lost:
        await checks.expect_charges(play, one.payment, 0)
        loser = ana if one is both[0] else luis
        await checks.expect_told(play, loser, "The vehicle is no longer available")
    await checks.expect_vehicle(play, vin, IN_PRODUCTION)


async def _factory_refuses(play: Play) -> None:
    ana, seller = await cast.customer(play, "Ana"), cast.dealership(play, "Autos Sol")
    vin = await cast.vehicle_in_stock(play)

    refusal = {"operation": "orders"}
    await play.stage.partners.goes_wrong(refusal, status=422, code="not_buildable")
    bought = await seller.reserves(vin, ana)
    order = await play.order_is(bought.order, "factory refused")
    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "Settlement Confirmation")
    await play.stage.gateway.bank_answers(bought.payment)
    await play.payment_is(bought.payment, "Refunding", seconds=60)
    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "gives the money back to the customer")
    await play.stage.gateway.bank_answers(bought.payment)
    payment = await play.payment_is(bought.payment, "Refunded")

    play.expect("the order is", "factory refused", order["state"])
    await checks.expect_vehicle(play, vin, "sin asignar")
    checks.expect_state(play, payment, "Refunded")
    checks.expect_money(play, payment, settled=DEPOSIT, refunded=DEPOSIT)
    await checks.expect_told(play, ana, "The factory cannot build the vehicle")
    await checks.expect_told(play, seller, "The factory cannot build the vehicle")
    await checks.expect_told(play, ana, "Refund done")


SCENES: Final = (
    Scene(
        name="reservation-paid",
        title="Reservation payment successful",
        rule="Diagram 2, Payment Successful",
        tells="The dealership waits while the gateway verifies the funds. The vehicle is blocked, "
        "the factory gets its order, the customer gets access.",
        ends="vehicle in production, deposit settled",
        plays=_paid,
    ),
    Scene(
        name="reservation-declined",
        title="Reservation payment failed",
        rule="Diagram 2, Payment Failed; Failure Handling Rule 1",
        tells="The bank declines the card. No vehicle reservation is created and no factory order "
        "is placed.",
        ends="no reservation, nothing charged",
        plays=_declined,
    ),
    Scene(
        name="two-dealers",
        title="Two dealerships reserve the same vehicle at the same moment",
        rule="Diagram 2, decision 20",
        tells="Both payments hold funds; the vehicle can be one customer's only. The other's funds "
        "are released in the same commit, before anybody is told anything.",
        ends="one reservation, the other voided",
        plays=_two_dealers,
    ),
    Scene(
        name="factory-refuses",
        title="The factory refuses the order after the reservation was paid",
        rule="Diagram 2, decision 22",
        tells="What was paid is given back, the vehicle is sin asignar again, customer and "
        "dealership are told.",
        ends="order ended, deposit refunded",
        plays=_factory_refuses,
        needs=frozenset({Need.STRINGS, Need.FAST_TIME}),
    ),
)
