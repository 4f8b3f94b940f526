"""An outcome is unknown from the first call without an answer, while the call is still tried."""

from caas.billing_database.payments import Payment
from caas.rules.payment_states import PaymentState, Remark
from caas_simulators.vehicle_car import Behaviour
from tests.installation import Installation
from tests.payment_processing.test_entitlements import Owner, owner

__all__ = ["owner"]


async def unanswered_once(installation: Installation, operation: str) -> None:
    """Let the next call of a kind be without an answer, and the one after it well."""
    await installation.gateway_does(
        "faults", match={"operation": operation, "times": 1}, action={"status": 502}
    )


async def reported(installation: Installation, payment: Payment) -> list[object]:
    """Of which operations it was said that their outcome is unknown."""
    events = await installation.platform.tables.payments.timeline(payment.id)
    unknown = [event for event in events if event.event == Remark.OUTCOME_UNKNOWN]
    return [event.facts["operation"] for event in unknown]


async def test_a_charge_is_unknown_until_a_later_try_is_answered(owner: Owner) -> None:
    """It was told as known for as long as the call was tried again."""
    installation = owner.installation
    owner.car_does(Behaviour.ASLEEP)
    await unanswered_once(installation, "initiate")
    payment = await owner.pays(await owner.orders(30))
    authorizing = await reported(installation, payment)
    await unanswered_once(installation, "void")
    await owner.withdraws(payment)
    after = await installation.until(payment.id, lambda it: it.state is PaymentState.VOIDED)

    assert (payment.state, payment.outcome) == (PaymentState.AUTHORIZED, "known")
    assert authorizing == ["authorize"]
    assert await reported(installation, payment) == ["authorize", "void"]
    assert after.outcome == "known"


async def test_a_case_that_is_opened_late_ends_at_once(owner: Owner) -> None:
    """Another process had learnt the outcome, and the case stayed open on a settled payment."""
    charges = owner.installation.platform.payment_processing._charges
    payment = await owner.pays(await owner.orders(30))
    stale = await owner.installation.until(
        payment.id, lambda it: it.state is PaymentState.CAPTURING
    )
    await owner.installation.rest()
    await owner.installation.until_settled(payment.id)

    await charges.transitions.leave_unknown(stale, "capture", "nobody answered")
    await owner.installation.rest()

    cases = await owner.installation.platform.tables.cases.listed(subject=payment.id)
    after = await owner.installation.platform.tables.payments.get(payment.id)
    assert ([case.kind for case in cases], after.outcome) == ([], "known")


async def test_a_capture_is_unknown_until_it_is_answered(owner: Owner) -> None:
    await unanswered_once(owner.installation, "capture")

    payment = await owner.pays(await owner.orders(30))
    await owner.installation.until(payment.id, lambda it: it.state is PaymentState.CAPTURING)
    await owner.installation.rest()
    after = await owner.installation.until_settled(payment.id)

    assert await reported(owner.installation, payment) == ["capture"]
    assert after.outcome == "known"
