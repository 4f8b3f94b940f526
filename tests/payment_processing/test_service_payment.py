"""One-Time Service Payment: a path for each branch of Diagrams 4, 7 and 8."""

from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.installation import VIN, Installation


async def test_the_charge_is_committed_when_the_vehicle_confirms(
    installation: Installation,
) -> None:
    payment = await installation.buys()

    captured = await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await installation.rest()

    order = await installation.platform.service_catalog.service_order(payment.subject)
    assert captured.captured_amount == payment.amount
    assert order.state == "active"
    assert installation.fleet.cars[VIN].services["heated-seats"].payment_id == str(payment.id)
    assert [letter.recipient for letter in installation.letterbox.letters] == ["ana@example.com"]


async def test_a_declined_card_cancels_the_order_and_nothing_is_activated(
    installation: Installation,
) -> None:
    payment = await installation.buys("pm_declined")
    await installation.rest()

    order = await installation.platform.service_catalog.service_order(payment.subject)
    assert (payment.state, payment.decline_code) == (PaymentState.FAILED, "card_declined")
    assert order.state == "cancelled"
    assert not installation.fleet.cars[VIN].services


async def test_the_charge_is_voided_when_the_vehicle_refuses(installation: Installation) -> None:
    installation.fleet.add(VIN, Manner(Behaviour.REFUSES))

    payment = await installation.buys()
    voided = await installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)

    assert voided.captured_amount == 0


async def test_the_charge_is_voided_when_the_vehicle_stays_asleep(
    installation: Installation,
) -> None:
    installation.fleet.add(VIN, Manner(Behaviour.ASLEEP))

    payment = await installation.buys()
    voided = await installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)

    order = await installation.platform.service_catalog.service_order(payment.subject)
    assert voided.captured_amount == 0
    assert order.state == "activation failed"


async def test_the_payment_settles_when_the_bank_confirms(installation: Installation) -> None:
    payment = await installation.buys()
    await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)

    settled = await installation.until_settled(payment.id)

    assert settled.settled_amount == payment.amount


async def test_the_gateways_page_says_what_is_bought_as_it_was_called_then(
    installation: Installation,
) -> None:
    """A name that changed between two attempts would be another request under the same key."""
    payment = await installation.buys(None, respond_async=True)
    await installation.platform.service_catalog.put_service(
        code="heated-seats", name="Renamed", kind="one_time", currency="EUR",
        prices=[{"duration_days": 30, "amount": 1299}],
    )  # fmt: skip

    await installation.until(payment.id, lambda p: p.hosted_page_url is not None)

    (booking,) = installation.gateway.store.bookings.values()
    assert booking.description == "Heated seats, 30 días"
