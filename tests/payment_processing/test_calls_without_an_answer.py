"""An outcome is unknown from the first call without an answer, while the call is still tried."""

from caas.billing_database.payments import Payment
from caas.rules.payment_states import PaymentState, Remark
from caas_simulators.vehicle_car import Behaviour
from tests.house import House
from tests.payment_processing.test_entitlements import Owner, owner

__all__ = ["owner"]


async def unanswered_once(house: House, operation: str) -> None:
    """Let the next call of a kind be without an answer, and the one after it well."""
    await house.gateway_does(
        "faults", match={"operation": operation, "times": 1}, action={"status": 502}
    )


async def told(house: House, payment: Payment) -> list[object]:
    """Of which operations it was said that their outcome is unknown."""
    events = await house.platform.books.payments.timeline(payment.id)
    unknown = [event for event in events if event.event == Remark.OUTCOME_UNKNOWN]
    return [event.facts["operation"] for event in unknown]


async def test_a_charge_is_unknown_until_a_later_try_is_answered(owner: Owner) -> None:
    """It was told as known for as long as the call was tried again."""
    house = owner.house
    owner.car_does(Behaviour.ASLEEP)
    await unanswered_once(house, "initiate")
    payment = await owner.pays(await owner.orders(30))
    authorising = await told(house, payment)
    await unanswered_once(house, "void")
    await owner.withdraws(payment)
    after = await house.until(payment.id, lambda it: it.state is PaymentState.VOIDED)

    assert (payment.state, payment.outcome) == (PaymentState.AUTHORIZED, "known")
    assert authorising == ["authorise"]
    assert await told(house, payment) == ["authorise", "void"]
    assert after.outcome == "known"


async def test_a_case_that_is_opened_late_ends_at_once(owner: Owner) -> None:
    """Another process had learnt the outcome, and the case stayed open on a settled payment."""
    charges = owner.house.platform.payment_processing._charges
    payment = await owner.pays(await owner.orders(30))
    stale = await owner.house.until(payment.id, lambda it: it.state is PaymentState.CAPTURING)
    await owner.house.rest()
    await owner.house.gateway_does("settle")
    await owner.house.until(payment.id, lambda it: it.state is PaymentState.SETTLED)

    await charges.leave_unknown(stale, "capture", "nobody answered")
    await owner.house.rest()

    cases = await owner.house.platform.books.cases.listed(subject=payment.id)
    after = await owner.house.platform.books.payments.get(payment.id)
    assert ([case.kind for case in cases], after.outcome) == ([], "known")


async def test_a_capture_is_unknown_until_it_is_answered(owner: Owner) -> None:
    await unanswered_once(owner.house, "capture")

    payment = await owner.pays(await owner.orders(30))
    await owner.house.until(payment.id, lambda it: it.state is PaymentState.CAPTURING)
    await owner.house.rest()
    await owner.house.gateway_does("settle")
    after = await owner.house.until(payment.id, lambda it: it.state is PaymentState.SETTLED)

    assert await told(owner.house, payment) == ["capture"]
    assert after.outcome == "known"
