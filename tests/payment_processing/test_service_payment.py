"""One-Time Service Payment: a path for each branch of Diagrams 4, 7 and 8."""

from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.house import VIN, House


async def test_the_charge_is_committed_when_the_vehicle_confirms(house: House) -> None:
    payment = await house.buys()

    captured = await house.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await house.rest()

    order = await house.platform.service_catalog.service_order(payment.subject)
    assert captured.captured_amount == payment.amount
    assert order.state == "active"
    assert house.fleet.cars[VIN].services["heated-seats"].payment_id == str(payment.id)
    assert [letter.recipient for letter in house.letterbox.letters] == ["ana@example.com"]


async def test_a_declined_card_cancels_the_order_and_nothing_is_activated(house: House) -> None:
    payment = await house.buys("pm_declined")
    await house.rest()

    order = await house.platform.service_catalog.service_order(payment.subject)
    assert (payment.state, payment.decline_code) == (PaymentState.FAILED, "card_declined")
    assert order.state == "cancelled"
    assert not house.fleet.cars[VIN].services


async def test_the_charge_is_voided_when_the_vehicle_refuses(house: House) -> None:
    house.fleet.add(VIN, Manner(Behaviour.REFUSES))

    payment = await house.buys()
    voided = await house.until(payment.id, lambda p: p.state is PaymentState.VOIDED)

    assert voided.captured_amount == 0


async def test_the_charge_is_voided_when_the_vehicle_stays_asleep(house: House) -> None:
    house.fleet.add(VIN, Manner(Behaviour.ASLEEP))

    payment = await house.buys()
    voided = await house.until(payment.id, lambda p: p.state is PaymentState.VOIDED)

    order = await house.platform.service_catalog.service_order(payment.subject)
    assert voided.captured_amount == 0
    assert order.state == "activation failed"


async def test_the_payment_settles_when_the_bank_confirms(house: House) -> None:
    payment = await house.buys()
    await house.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)

    await house.gateway_does("settle")
    settled = await house.until(payment.id, lambda p: p.state is PaymentState.SETTLED)

    assert settled.settled_amount == payment.amount


async def test_the_gateways_page_says_what_is_bought_as_it_was_called_then(house: House) -> None:
    """A name that changed between two attempts would be another request under the same key."""
    payment = await house.buys(None, respond_async=True)
    await house.platform.service_catalog.put_service(
        code="heated-seats", name="Renamed", kind="one_time", currency="EUR",
        prices=[{"duration_days": 30, "amount": 1299}],
    )  # fmt: skip

    await house.until(payment.id, lambda p: p.hosted_page_url is not None)

    (booking,) = house.gateway.store.bookings.values()
    assert booking.description == "Heated seats, 30 días"
