"""Desistimiento: settled money given back (Key States, Refunded; External Payment Gateway API).

Rules a change must keep: only money that came is given back, and never more of it; the customer is
told when the gateway has done it.
"""

from typing import Final

from caas_lab.demo import cast, checks
from caas_lab.demo.cast import DEPOSIT, HEATED_SEATS_PRICE, REST
from caas_lab.demo.play import Play, money
from caas_lab.demo.story import BANKING_NETWORK, PAYMENT_GATEWAY, Need, Scene

REFUND_SECONDS_MAX: Final = 30.0


async def _service(play: Play) -> None:
    ana, vin = await cast.customer(play, "Ana"), await cast.car(play)
    bought = await ana.buys_heated_seats(vin)
    await play.payment_is(bought.payment, "Capturing")
    await play.stage.gateway.bank_answers(bought.payment)
    await play.payment_is(bought.payment, "Settled")
    await checks.told(play, ana, "Service active")
    play.begins_here()

    play.step(ana.name, "Service Catalog", "withdraws from the service (desistimiento)",
              f"refundPayment {money(HEATED_SEATS_PRICE)}")  # fmt: skip
    path = f"/v1/payments/{bought.payment}/refunds"
    body = {"amount": HEATED_SEATS_PRICE, "reason": "desistimiento"}
    await play.stage.platform.post(path, body, scope=cast.CATALOG)
    await play.payment_is(bought.payment, "Refunding")
    play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "has given the money back")
    await play.stage.gateway.bank_answers(bought.payment)
    payment = await play.payment_is(bought.payment, "Refunded")
    again = await play.stage.platform.post(path, body, scope=cast.CATALOG)

    checks.expect_state(play, payment, "Refunded")
    checks.expect_money(play, payment, settled=HEATED_SEATS_PRICE, refunded=HEATED_SEATS_PRICE)
    play.expect("a second refund is refused", expected=True, seen=again.status >= 400)  # noqa: PLR2004
    await checks.expect_ledger(play, bought.payment, "settled_funds", 0)
    await checks.expect_told(play, ana, "Refund done")


async def _order(play: Play) -> None:
    ana, seller = await cast.customer(play, "Ana"), cast.dealership(play, "Autos Sol")
    order_id = await cast.ready_order(play, ana, seller)
    await ana.pays_the_rest(order_id)
    order = await play.order_is(order_id, "delivery scheduled")
    for payment_id in play.payments:
        await play.stage.gateway.bank_answers(payment_id)
        await play.payment_is(payment_id, "Settled")
    play.begins_here()

    await ana.withdraws(order_id)
    for payment_id in play.payments:
        await play.payment_is(payment_id, "Refunding", seconds=REFUND_SECONDS_MAX)
        play.step(BANKING_NETWORK, PAYMENT_GATEWAY, "has given the money back")
        await play.stage.gateway.bank_answers(payment_id)
    refunded = [await play.payment_is(it, "Refunded") for it in play.payments]
    order = await play.order(order_id)

    play.expect("the order is", "withdrawn", order["state"])
    await checks.expect_vehicle(play, order["vin"], "sin asignar")
    for payment in refunded:
        checks.expect_state(play, payment, "Refunded")
    play.expect("given back", money(DEPOSIT + REST),
                money(sum(it["amounts"]["refunded"] for it in refunded)))  # fmt: skip
    await checks.expect_told(play, ana, "Withdrawal recorded")
    await checks.expect_told(play, ana, "Refund done", times=len(refunded))
    await checks.expect_told(play, "operations", "Alert: withdrawn_after_registration")


SCENES: Final = (
    Scene(
        name="desistimiento-service",
        title="Desistimiento: a service is given back",
        rule="Key States, Refunded; POST /transactions/{id}/refund; decision 5",
        tells="The payment was settled. The customer withdraws, and gets all of it back, once.",
        ends="refunded",
        plays=_service,
    ),
    Scene(
        name="desistimiento-order",
        title="Desistimiento: the customer withdraws from a vehicle that is fully paid",
        rule="Key States, Refunded; decisions 5 and 6",
        tells="The vehicle goes back to stock, and señal and final payment are given back the way "
        "they were paid. Operations are told to call off matriculation and transport.",
        ends="withdrawn, all given back",
        plays=_order,
        needs=frozenset({Need.STRINGS, Need.FAST_TIME}),
    ),
)
