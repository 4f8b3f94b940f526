"""Fault F-C4: lines about payments we see otherwise are evidence, and start what follows."""

from typing import Any

import pytest

from caas.billing_database.ota_commands import OtaCommands
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.installation import VIN
from tests.people import COMMAND_LINE
from tests.reconciliation.office import Office


async def test_a_line_that_settles_a_voided_payment_gives_the_money_back(office: Office) -> None:
    payment = await office.voided_but_captured()

    await office.closed()
    found = await office.found()
    await office.refunded_at_gateway(payment)
    await office.days_pass(1)
    done = await office.closed()

    assert [it.kind for it in found] == [Kind.SETTLED_THOUGH_VOIDED]
    assert (await office.payment(payment)).state is PaymentState.VOIDED
    assert done.run.counts == {"given_back": 1}
    assert done.run.cleared == {"settled_though_voided": 1}
    assert await office.kinds() == []
    assert await office.balance("settled_funds") == 0
    assert await office.balance("bank") == -43
    assert await office.balance("gateway_fees") == 43


async def test_money_taken_and_given_back_in_one_report_is_no_discrepancy(office: Office) -> None:
    payment = await office.voided_but_captured()
    await office.installation.platform.payment_processing._charges.transitions.record_late_outcome(
        payment, payment.gateway_transaction_id or ""
    )
    await office.refunded_at_gateway(payment)

    done = await office.closed()

    assert done.run.counts == {"given_back": 2}
    assert await office.kinds() == []


async def test_a_line_resolves_a_payment_whose_outcome_is_unknown(office: Office) -> None:
    payment = await office.unknown()
    assert (payment.state, payment.outcome) == (PaymentState.PENDING, "unknown")

    await office.line(payment, transaction_id=await office.transaction_id_of(payment))
    await office.closed()
    found = await office.kinds()
    known = await office.installation.until(payment.id, lambda p: p.outcome == "known")

    assert found == [Kind.STATE_CONFLICT]
    assert known.state is not PaymentState.FAILED


async def test_a_line_for_a_loss_that_was_booked_opens_a_case(office: Office) -> None:
    payment = await office.bought()
    await office.installation.gateway_does(
        f"transactions/{payment.gateway_transaction_id}/settlement-failure"
    )
    await office.installation.until(payment.id, lambda p: p.state is PaymentState.SETTLEMENT_FAILED)
    await office.line(payment)

    await office.closed()

    assert Kind.STATE_CONFLICT in await office.kinds()
    assert (await office.payment(payment)).state is PaymentState.SETTLEMENT_FAILED


async def test_captured_and_not_delivered_goes_back_when_a_person_says_so(
    office: Office,
) -> None:
    office.installation.fleet.add(VIN, Manner(Behaviour.ASLEEP))
    payment = await office.installation.buys()
    authorized = await office.payment(payment)
    await office.line(authorized)
    await office.closed()
    [found] = await office.found(unresolved=True)

    await office.reconciliation.investigation.resolve(
        found.id, resolution=Resolution.REFUND_THE_CUSTOMER, note="The car sleeps.", by=COMMAND_LINE
    )
    after = await office.installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)

    assert authorized.state is PaymentState.AUTHORIZED
    assert found.kind is Kind.CAPTURED_NOT_DELIVERED
    assert after.captured_amount == 0


async def test_what_was_delivered_after_its_void_is_found_from_our_side(office: Office) -> None:
    payment = await office.delivered_after_void()

    await office.closed()

    [found] = await office.found(unresolved=True)
    assert (found.kind, found.amount) == (Kind.DELIVERED_NOT_CAPTURED, payment.amount)
    await office.reconciliation.investigation.resolve(
        found.id, resolution=Resolution.ACCEPT_LOSS, note="Ours to bear.", by=COMMAND_LINE
    )
    assert await office.balance("risk_loss:delivered_not_captured") == payment.amount
    assert await office.balance("service_revenue") == -payment.amount
    await office.installation.platform.ota_activation_engine.synchronize(VIN)
    await office.installation.rest()


async def test_a_line_heard_while_a_webhook_moved_its_payment_adds_nothing_twice(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await office.capturing()
    await office.line(payment)
    update = office.reconciliation.of().runs._result_application
    apply = update.apply

    async def webhook_first(*arguments: Any) -> Any:
        await office.reconciliation._late_lines.notify(
            payment.id, transaction_id=None, settled=1299, currency="EUR", source="webhook"
        )
        return await apply(*arguments)

    monkeypatch.setattr(update, "apply", webhook_first)
    await office.closed()
    await office.installation.rest()

    settled = await office.payment(payment)
    assert (settled.state, settled.settled_amount) == (PaymentState.SETTLED, 1299)
    assert await office.balance("bank") == 1256
    assert await office.balance("settled_funds") == 0


async def test_what_a_vehicle_switched_off_again_was_not_delivered(office: Office) -> None:
    """The vehicle's word that it obeyed the fence was once taken for a delivery nobody paid."""
    office.installation.fleet.add(VIN, Manner(Behaviour.REFUSES, only="activate"))
    payment = await office.installation.buys()
    await office.installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)
    await office.installation.rest()

    done = await office.closed()

    answers = await OtaCommands(office.installation.database).answers(payment.id)
    assert "SUCCEEDED" in {answer["status"] for answer in answers}
    assert done.day.verdict == "closed"
    assert await office.kinds() == []
