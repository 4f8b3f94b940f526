"""A refund that we did not make and its reversal are posted together, or neither is.

One of them was posted while the other waited for a person, and its money stayed on settled funds.
"""

from pathlib import Path

import pytest

from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.people import COMMAND_LINE
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import broken
from tests.reconciliation.test_money_adds_up import by_file, decided, next_day, settled

BACK = Resolution.REINSTATE_THE_PAYMENT
GONE = Resolution.ACCEPT_LOSS
NOT_OURS = Resolution.CORRECT_BY_ENTRY


@pytest.mark.parametrize("resolution", [BACK, NOT_OURS])
async def test_a_reopened_reversal_explains_no_refund(
    office: Office, tmp_path: Path, resolution: Resolution
) -> None:
    payment = await settled(office)
    await by_file(office, tmp_path, payment, ("RefundedReversed", 500))
    reversal = await decided(office, Kind.REFUND_MISMATCH, NOT_OURS)
    investigation = office.reconciliation.investigation
    await investigation.reopen(reversal.id, note="Look.", by="Luis")

    await by_file(office, tmp_path, payment, ("Refunded", -500))

    assert await office.kinds() == [Kind.REFUND_MISMATCH] * 2
    assert await office.balance("settled_funds") == 0
    [refund] = [it for it in await office.found(unresolved=True) if it.id != reversal.id]
    answers = (reversal, resolution), (refund, GONE if resolution is BACK else NOT_OURS)
    for found, answer in answers:
        await investigation.resolve(found.id, resolution=answer, note="Seen.", by=COMMAND_LINE)
    await next_day(office, payment)
    assert await office.balance("settled_funds") == 0
    assert await office.balance("unexplained_funds") == 0
    assert await broken(office.installation.database) == set()


async def test_a_reopened_refund_explains_no_reversal(office: Office, tmp_path: Path) -> None:
    payment = await settled(office)
    await by_file(office, tmp_path, payment, ("Refunded", -500))
    refund = await decided(office, Kind.REFUND_MISMATCH, GONE)
    await office.reconciliation.investigation.reopen(refund.id, note="Look.", by="Luis")

    await by_file(office, tmp_path, payment, ("RefundedReversed", 500))

    assert await office.kinds() == [Kind.REFUND_MISMATCH] * 2
    assert await office.balance("settled_funds") == 0


async def test_a_refund_that_came_back_twice_is_matched_once_the_other_is_decided(
    office: Office, tmp_path: Path
) -> None:
    payment = await settled(office)
    await by_file(office, tmp_path, payment, ("Refunded", -1299))
    [refund] = await office.found(unresolved=True)

    await by_file(office, tmp_path, payment, *[("RefundedReversed", 1299)] * 2)

    assert await office.kinds() == [Kind.REFUND_MISMATCH] * 3
    assert await office.balance("settled_funds") == 0
    more = next(it for it in await office.found(unresolved=True) if it.id != refund.id)
    await office.reconciliation.investigation.resolve(
        more.id, resolution=NOT_OURS, note="Seen.", by=COMMAND_LINE
    )
    await next_day(office, payment)
    assert await office.kinds() == []
    assert await office.balance("settled_funds") == 0
    assert await office.balance("unexplained_funds") == -1299
    assert await broken(office.installation.database) == set()
