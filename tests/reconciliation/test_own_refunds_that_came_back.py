"""A refund of ours that failed after it had succeeded, and the line that brings its money back.

The decision that the payment stands again did nothing to the refund: it stayed succeeded, and the
money was unexplained.
"""

from pathlib import Path

import pytest

from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund, Refunds
from caas.reconciliation.own_refunds import RefundReturnedError
from caas.reconciliation.validation import ResolutionNotAllowedError
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.payment_processing.test_refunds_that_return import at_gateway, returns
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import broken
from tests.reconciliation.test_money_adds_up import by_file, decided, next_day

BACK = ("RefundedReversed", 500)
REINSTATED = Resolution.REINSTATE_THE_PAYMENT


async def refunded(office: Office, *amounts: int) -> tuple[Payment, list[Refund]]:
    """Make a payment that is settled and refunded by these amounts, with all their lines."""
    payment = await office.installation.settled()
    processing = office.installation.platform.payment_processing
    whole = 0
    for amount in amounts:
        whole += amount
        await processing.refund_payment(
            payment.id, amount=amount, reason="goodwill", key=str(whole), requested_by="ops"
        )
        await office.installation.until(
            payment.id,
            lambda p, whole=whole: p.refunded_amount == whole,  # type: ignore[misc]  # of its loop
        )
    await office.closed()
    return payment, await Refunds(office.installation.database).of_payment(payment.id)


async def is_even(office: Office, payment: Payment, refunded_amount: int = 0) -> bool:
    """Say whether the payment has its money again and nothing is left on other accounts."""
    now = await office.payment(payment)
    await office.installation.platform.issuing.issue_due()
    assert await broken(office.installation.database) == set()
    accounts = [await office.balance(it) for it in ("settled_funds", "unexplained_funds")]
    return now.refunded_amount == refunded_amount and accounts == [0, 0]


async def test_the_line_matches_once_the_gateway_has_reported(
    office: Office, tmp_path: Path
) -> None:
    payment, [refund] = await refunded(office, 500)
    await returns(office.installation, payment, refund)

    await by_file(office, tmp_path, payment, BACK)

    assert await office.kinds() == []
    assert await is_even(office, payment)


async def test_the_decision_about_the_line_takes_the_refund_back(
    office: Office, tmp_path: Path
) -> None:
    payment, [refund] = await refunded(office, 500)
    at_gateway(office.installation, payment)
    await by_file(office, tmp_path, payment, BACK)

    found = await decided(office, Kind.REFUND_MISMATCH, REINSTATED)

    assert await is_even(office, payment)
    await returns(office.installation, payment, refund)
    assert await is_even(office, payment)
    [failed] = await Refunds(office.installation.database).of_payment(payment.id)
    assert failed.state == "failed"
    with pytest.raises(RefundReturnedError):
        await office.reconciliation.investigation.reopen(found.id, note="Look.", by="Luis")


async def test_a_line_that_came_first_matches_after_the_report(
    office: Office, tmp_path: Path
) -> None:
    payment, [refund] = await refunded(office, 500)
    await by_file(office, tmp_path, payment, BACK)
    await returns(office.installation, payment, refund)

    await next_day(office, payment)

    assert await office.kinds() == []
    assert await is_even(office, payment)


async def test_a_decision_after_the_report_takes_it_back_once(
    office: Office, tmp_path: Path
) -> None:
    payment, [refund] = await refunded(office, 500)
    await by_file(office, tmp_path, payment, BACK)
    await returns(office.installation, payment, refund)

    await decided(office, Kind.REFUND_MISMATCH, REINSTATED)

    assert await is_even(office, payment)


async def test_the_next_refund_has_its_line(office: Office, tmp_path: Path) -> None:
    payment, _ = await refunded(office, 500)
    at_gateway(office.installation, payment)
    await by_file(office, tmp_path, payment, BACK)
    await decided(office, Kind.REFUND_MISMATCH, REINSTATED)

    await office.days_pass(1)
    await office.refund_order(payment, 500)
    await office.closed()

    assert await office.kinds() == []
    assert await is_even(office, payment, 500)


async def test_of_two_refunds_of_one_amount_the_gateway_says_which(
    office: Office, tmp_path: Path
) -> None:
    payment, [first, _] = await refunded(office, 500, 500)
    await by_file(office, tmp_path, payment, BACK)

    with pytest.raises(ResolutionNotAllowedError):
        await decided(office, Kind.REFUND_MISMATCH, REINSTATED)

    await returns(office.installation, payment, first)
    await next_day(office, payment)
    assert await office.kinds() == []
    assert await is_even(office, payment, 500)
