"""Reopening takes back the loss with which a decision settled a payment for less.

The loss was posted with the payment's transition and stayed. The rest that came later opened a
discrepancy of its own, and the claim on it could be neither paid nor refused.
"""

import pytest

from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.payments import Payment
from caas.payment_processing.settlement import SettlementNotice
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from caas.rules.payment_states import PaymentState
from tests.reconciliation.office import Office
from tests.reconciliation.test_money_adds_up import RIGHT, decided, next_day, settled

PART, REST = {"gross": 900, "fee": 38}, {"gross": 399, "fee": 31}
CAUSES = {
    Resolution.WRITE_OFF: "risk_loss:write_off",
    Resolution.ACCEPT_LOSS: "risk_loss:partial_settlement",
}


async def settled_for_less(office: Office, resolution: Resolution) -> tuple[Payment, Discrepancy]:
    """Settle a payment of 12.99 for 9.00, and give up the rest."""
    payment = await office.capturing()
    await next_day(office, payment, PART)
    given_up = await decided(office, Kind.PARTIAL_SETTLEMENT, resolution)
    assert await office.balance(CAUSES[resolution]) == 399
    return payment, given_up


async def reopened(office: Office, given_up: Discrepancy) -> None:
    """Reopen the decision, which leaves no loss."""
    await office.reconciliation.investigation.reopen(given_up.id, note="It comes.", by="Luis")
    for account in CAUSES.values():
        assert await office.balance(account) == 0


async def all_came(office: Office, payment: Payment) -> None:
    """Check that all of the payment is with the bank, and nothing is left of the decisions."""
    after = await office.payment(payment)
    assert (after.state, after.settled_amount) == (PaymentState.SETTLED, 1299)
    assert await office.kinds() == []
    assert await office.balance("bank") + await office.balance("gateway_fees") == 1299
    others = ["gateway_claims", "unexplained_funds", "settled_funds", "gateway_receivable"]
    for account in [*others, *CAUSES.values()]:
        assert await office.balance(account) == 0


@pytest.mark.parametrize("resolution", CAUSES)
@pytest.mark.parametrize("came_first", [False, True])
async def test_the_rest_ends_the_reopened_discrepancy(
    office: Office, resolution: Resolution, *, came_first: bool
) -> None:
    payment, given_up = await settled_for_less(office, resolution)
    if came_first:
        await next_day(office, payment, REST)
        assert await office.kinds() == [Kind.AMOUNT]

    await reopened(office, given_up)
    await next_day(office, payment, *([] if came_first else [REST]))

    await all_came(office, payment)
    seen = await office.reconciliation.investigation.check(given_up.id)
    steps = [it for it in seen.events if it.event == "reopened"]
    entry = ["gateway_receivable", CAUSES[resolution], 399]
    assert [it.facts["entries"] for it in steps] == [[entry]]


async def test_the_rest_ends_the_claim_on_a_reopened_discrepancy(office: Office) -> None:
    payment, given_up = await settled_for_less(office, Resolution.WRITE_OFF)
    await reopened(office, given_up)
    await decided(office, Kind.PARTIAL_SETTLEMENT, Resolution.CLAIM_FROM_GATEWAY)
    claimed = await office.balance("gateway_claims")

    await next_day(office, payment, REST)

    assert claimed == 399
    await all_came(office, payment)
    claims = office.reconciliation.investigation._claims
    assert (await claims.get(given_up.id)).status == "paid"


@pytest.mark.parametrize("resolution", CAUSES)
async def test_a_loss_is_given_up_and_taken_back_again(
    office: Office, resolution: Resolution
) -> None:
    payment, given_up = await settled_for_less(office, Resolution.WRITE_OFF)
    for _ in range(2):
        await reopened(office, given_up)
        await decided(office, Kind.PARTIAL_SETTLEMENT, resolution)
        assert await office.balance(CAUSES[resolution]) == 399
        assert await office.balance("settled_funds") == 0

    await reopened(office, given_up)
    await next_day(office, payment, REST)

    await all_came(office, payment)


async def test_a_payment_whose_settlement_was_reversed_keeps_its_loss(office: Office) -> None:
    payment, given_up = await settled_for_less(office, Resolution.WRITE_OFF)
    processing = office.installation.platform.payment_processing
    notice = SettlementNotice(
        settlement_id="s", settled=False, settled_amount=0, currency=payment.currency
    )
    await processing.record_settlement(payment.id, notice)
    assert (await office.payment(payment)).state is PaymentState.SETTLEMENT_FAILED

    await office.reconciliation.investigation.reopen(given_up.id, note="No.", by="Luis")

    assert await office.balance("risk_loss:write_off") == 399


async def test_a_failed_settlement_that_was_accepted_is_claimed_instead(office: Office) -> None:
    """The loss stayed on the payment, beside a claim of the same money."""
    payment = await settled(office)
    failure = {"type": "settlement_failure", "gross": -1299, "fee": 0}
    await next_day(office, payment, failure)
    accepted = await decided(office, Kind.FAILED_SETTLEMENT, Resolution.ACCEPT_LOSS)
    await office.reconciliation.investigation.reopen(accepted.id, note="No.", by="Luis")

    await decided(office, Kind.FAILED_SETTLEMENT, Resolution.CLAIM_FROM_GATEWAY)

    accounts = ("gateway_claims", "risk_loss:settlement_reversed", "settled_funds", "bank")
    assert [await office.balance(it) for it in accounts] == [1299, 0, 0, -43]


async def test_a_settlement_that_never_came_is_claimed_after_its_loss_was_accepted(
    office: Office,
) -> None:
    """The claim was of nothing, and was not offered; the accepted loss stayed."""
    payment = await office.capturing()
    await office.a_settlement_is_late()
    accepted = await decided(office, Kind.DELAYED_SETTLEMENT, Resolution.ACCEPT_LOSS)
    lost = await office.balance("risk_loss:settlement_failed")
    await office.reconciliation.investigation.reopen(accepted.id, note="No.", by="Luis")

    await decided(office, Kind.DELAYED_SETTLEMENT, Resolution.CLAIM_FROM_GATEWAY)

    accounts = ("gateway_claims", "risk_loss:settlement_failed", "settled_funds", "bank")
    assert lost == 1299
    assert [await office.balance(it) for it in accounts] == [1299, 0, 0, 0]
    assert (await office.payment(payment)).state is PaymentState.SETTLEMENT_FAILED


async def test_what_was_claimed_after_its_loss_was_accepted_may_still_come(office: Office) -> None:
    payment = await office.capturing()
    await office.a_settlement_is_late()
    accepted = await decided(office, Kind.DELAYED_SETTLEMENT, Resolution.ACCEPT_LOSS)
    await office.reconciliation.investigation.reopen(accepted.id, note="No.", by="Luis")
    await decided(office, Kind.DELAYED_SETTLEMENT, Resolution.CLAIM_FROM_GATEWAY)

    await next_day(office, payment, RIGHT)
    await decided(office, Kind.DELAYED_SETTLEMENT, Resolution.ACCEPT_LOSS)
    await decided(office, Kind.STATE_CONFLICT, Resolution.REINSTATE_THE_PAYMENT)

    accounts = ("gateway_claims", "risk_loss:settlement_failed", "settled_funds", "bank")
    assert [await office.balance(it) for it in accounts] == [0, 0, 0, 1256]
