"""A chargeback beside a refund that fails later: the decision about its line follows.

What the dispute took beyond the money that was left was a loss of its own, which the decision
moved. When the refund failed, the dispute counted it, and `dispute_excess` was below zero.
"""

import pytest

from caas.billing_database.payments import Payment
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.payment_processing.test_money_that_contradicts import until_ended
from tests.payment_processing.test_refunds import ask_back
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import balances, broken
from tests.reconciliation.test_money_adds_up import decided, next_day

DECIDED = [
    ("chargeback", Kind.CHARGEBACK, Resolution.ACCEPT_LOSS, "risk_loss:chargeback"),
    ("chargeback", Kind.CHARGEBACK, Resolution.CLAIM_FROM_GATEWAY, "gateway_claims"),
    ("refund", Kind.REFUND_MISMATCH, Resolution.ACCEPT_LOSS, "risk_loss:refund_mismatch"),
    ("refund", Kind.REFUND_MISMATCH, Resolution.CLAIM_FROM_GATEWAY, "gateway_claims"),
    ("refund", Kind.REFUND_MISMATCH, Resolution.CORRECT_BY_ENTRY, "unexplained_funds"),
]


async def beside_a_refund(office: Office, type_: str) -> Payment:
    """Let a line take back a payment of which a refund is on its way."""
    payment = await office.installation.settled("pm_refund_fails")
    await office.closed()
    refund = await ask_back(office.installation, payment, 800)
    assert refund.state == "sent"
    await next_day(office, payment, {"type": type_, "gross": -1299, "fee": 0})
    return payment


@pytest.mark.parametrize(("type_", "kind", "resolution", "account"), DECIDED)
@pytest.mark.parametrize("fails_first", [False, True])
async def test_what_fits_later_is_where_the_decision_put_it(
    office: Office, type_: str, kind: Kind, resolution: Resolution, account: str, *,
    fails_first: bool,
) -> None:  # fmt: skip
    payment = await beside_a_refund(office, type_)
    if fails_first:
        await until_ended(office.installation, payment)
    await decided(office, kind, resolution)

    await until_ended(office.installation, payment)
    await office.installation.rest()

    losses = {"risk_loss:chargeback", "risk_loss:dispute_excess", "risk_loss:refund_mismatch"}
    assert await balances(office, account) == [1299]
    assert await balances(office, *sorted(losses - {account})) == [0] * len(losses - {account})
    assert await broken(office.installation.database) == set()
