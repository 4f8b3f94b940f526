"""The fee of a line that a decision posts is compared as that of a line which matches.

The rest of a payment that had been given up came with a fee far above the terms. It was reinstated,
its fee was posted, and nothing compared it. So it was with a part, and with a line of too much.
"""

from typing import Any

import pytest

from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.payments import Payment
from caas.reconciliation.fees import FeeDecidedError
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import TAKEN, broken
from tests.reconciliation.test_losses_taken_back import PART, REST
from tests.reconciliation.test_losses_that_came_after_all import lost
from tests.reconciliation.test_money_adds_up import RIGHT, decided, next_day, settled
from tests.reconciliation.test_what_reinstating_ends import given_up, reinstated


async def fee_of(office: Office) -> Discrepancy:
    """Return the one open discrepancy, which is about a fee."""
    [found] = await office.found(unresolved=True)
    assert found.kind is Kind.FEE_DRIFT
    return found


@pytest.mark.parametrize("failed", [True, False])
@pytest.mark.parametrize(
    ("lines", "more"),
    [
        ((RIGHT | {"fee": 143},), 100),
        ((PART, REST | {"fee": 231}), 200),
        ((RIGHT | {"fee": 13},), -30),
    ],
)
async def test_the_fee_of_what_is_reinstated_is_held_against_its_terms(
    office: Office, lines: tuple[dict[str, Any], ...], more: int, *, failed: bool
) -> None:
    payment, _ = await given_up(office, failed=failed)
    for line in lines:
        await next_day(office, payment, line)
        await reinstated(office)
    back = (await office.found(kind=Kind.STATE_CONFLICT))[-1]

    found = await fee_of(office)

    assert (found.amount, found.day) == (abs(more), back.day)
    assert (found.payment_id, found.line_no) == (payment.id, back.line_no)
    before = await office.balance("gateway_fees")
    resolution = Resolution.CLAIM_FROM_GATEWAY if more > 0 else Resolution.CORRECT_BY_ENTRY
    await decided(office, Kind.FEE_DRIFT, resolution)
    assert await office.balance("gateway_claims") == max(more, 0)
    assert await office.balance("gateway_fees") == before - max(more, 0)
    assert await lost(office) == 0
    done = await office.reconciliation.reconcile(office.today)
    assert (await office.kinds(), done.day.verdict) == ([], "closed")
    assert await broken(office.installation.database) == set()


async def test_a_fee_as_agreed_is_no_discrepancy(office: Office) -> None:
    payment, _ = await given_up(office, failed=True)
    await next_day(office, payment, RIGHT)

    await reinstated(office)

    assert await office.kinds() == []


@pytest.mark.parametrize(("fee", "kinds"), [(48, []), (49, [Kind.FEE_DRIFT])])
async def test_a_fee_may_differ_by_the_tolerance(
    office: Office, fee: int, kinds: list[Kind]
) -> None:
    terms = office.reconciliation.finance_terms
    await terms.keep_fee("*", "settlement", office.today, (14_000, 25, 5), by="Luis")
    payment, _ = await given_up(office, failed=True)
    await next_day(office, payment, RIGHT | {"fee": fee})

    await reinstated(office)

    assert await office.kinds() == kinds


async def reopen(office: Office, found: Discrepancy) -> None:
    """Reopen a decision."""
    await office.reconciliation.investigation.reopen(found.id, note="Look.", by="Luis")


async def test_the_fee_of_a_line_ends_with_its_decision_and_comes_back_with_it(
    office: Office,
) -> None:
    payment, _ = await given_up(office, failed=True)
    await next_day(office, payment, RIGHT | {"fee": 143})
    back = await reinstated(office)

    await reopen(office, back)

    assert await office.kinds() == [Kind.STATE_CONFLICT]
    assert await office.balance("gateway_fees") == 0
    await reinstated(office)
    assert (await fee_of(office)).amount == 100
    assert await broken(office.installation.database) == set()


@pytest.mark.parametrize("resolution", [Resolution.CLAIM_FROM_GATEWAY, Resolution.WRITE_OFF])
async def test_a_decision_about_the_fee_of_a_line_is_reopened_first(
    office: Office, resolution: Resolution
) -> None:
    payment, _ = await given_up(office, failed=True)
    await next_day(office, payment, RIGHT | {"fee": 143})
    back = await reinstated(office)
    fee = await decided(office, Kind.FEE_DRIFT, resolution)

    with pytest.raises(FeeDecidedError):
        await reopen(office, back)
    await reopen(office, fee)
    await reopen(office, back)

    assert await office.kinds() == [Kind.STATE_CONFLICT]
    assert await office.balance("gateway_fees") == 0
    assert await broken(office.installation.database) == set()


async def test_the_fee_of_a_part_is_held_against_its_terms(office: Office) -> None:
    payment = await office.capturing()

    await next_day(office, payment, PART | {"fee": 138})

    assert await office.kinds() == [Kind.FEE_DRIFT, Kind.PARTIAL_SETTLEMENT]
    fee = await decided(office, Kind.FEE_DRIFT, Resolution.CLAIM_FROM_GATEWAY)
    assert (fee.amount, await office.balance("gateway_fees")) == (100, 38)
    await next_day(office, payment, REST)
    assert await office.kinds() == []
    assert await broken(office.installation.database) == set()


@pytest.mark.parametrize(
    ("line", "kind", "resolution"),
    [
        ({"gross": 1399, "fee": 145}, Kind.AMOUNT, Resolution.CORRECT_BY_ENTRY),
        ({"gross": 1399, "fee": 145}, Kind.AMOUNT, Resolution.WRITE_OFF),
    ],
)
async def test_the_fee_of_a_line_of_too_much_is_held_against_its_terms(
    office: Office, line: dict[str, Any], kind: Kind, resolution: Resolution
) -> None:
    payment = await office.capturing()
    await next_day(office, payment, line)
    assert await office.kinds() == [kind]

    await decided(office, kind, resolution)

    assert (await fee_of(office)).amount == 100
    await decided(office, Kind.FEE_DRIFT, Resolution.CLAIM_FROM_GATEWAY)
    assert await office.balance("gateway_fees") == 45
    await next_day(office, payment, RIGHT)
    assert await office.kinds() == [Kind.DUPLICATE_LINE]  # as without any discrepancy of a fee
    assert await broken(office.installation.database) == set()


async def test_a_fee_that_was_found_later_is_claimed(office: Office) -> None:
    """What it differs by was that of its line, which was judged as another class."""
    payment: Payment = await settled(office)
    await next_day(office, payment, TAKEN | {"fee": 1500})
    await office.told_of_dispute(payment)
    await next_day(office, payment)

    await decided(office, Kind.FEE_DRIFT, Resolution.CLAIM_FROM_GATEWAY)

    assert await office.balance("gateway_claims") == 1500
    assert await office.balance("gateway_fees") == 43
