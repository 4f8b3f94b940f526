"""Reinstating what came after all ends what waited for it, and keeps its loss from being reopened.

The discrepancy of the late settlement and the case of the failed one stayed open for ever, and the
decision that had given the payment up could be reopened: its loss would be accepted twice.
"""

import pytest

from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.payments import Payment
from caas.reconciliation.taking_back import LossReturnedError
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import broken
from tests.reconciliation.test_losses_taken_back import PART, REST
from tests.reconciliation.test_money_adds_up import RIGHT, decided, next_day

FAILURE = {"type": "settlement_failure", "gross": 0, "fee": 0}


async def given_up(office: Office, *, failed: bool) -> tuple[Payment, Discrepancy]:
    """Give a payment up that failed, or that is late."""
    payment = await office.capturing()
    if failed:
        await next_day(office, payment, FAILURE)
    else:
        await office.a_settlement_is_late()
    kind = Kind.FAILED_SETTLEMENT if failed else Kind.DELAYED_SETTLEMENT
    return payment, await decided(office, kind, Resolution.ACCEPT_LOSS)


async def cases(office: Office) -> list[str]:
    """Return the kinds of the open cases."""
    rows = await office.installation.database.fetch("select kind from cases where status = 'open'")
    return [row["kind"] for row in rows]


async def reinstated(office: Office) -> Discrepancy:
    """Reinstate the payment whose line came."""
    return await decided(office, Kind.STATE_CONFLICT, Resolution.REINSTATE_THE_PAYMENT)


async def test_a_late_settlement_that_was_reopened_ends_when_its_line_is_reinstated(
    office: Office,
) -> None:
    payment, late = await given_up(office, failed=False)
    await office.reconciliation.investigation.reopen(late.id, note="Look.", by="Luis")
    await next_day(office, payment, RIGHT)
    assert sorted(await office.kinds()) == [Kind.DELAYED_SETTLEMENT, Kind.STATE_CONFLICT]

    await reinstated(office)

    assert await office.kinds() == []
    assert await broken(office.installation.database) == set()


@pytest.mark.parametrize("failed", [True, False])
async def test_the_case_of_a_failed_settlement_ends_when_all_of_it_is_reinstated(
    office: Office, *, failed: bool
) -> None:
    payment, _ = await given_up(office, failed=failed)
    assert await cases(office) == ["settlement_failed"]
    await next_day(office, payment, PART)
    await reinstated(office)
    assert await cases(office) == ["settlement_failed"]
    await next_day(office, payment, REST)

    await reinstated(office)

    assert await cases(office) == []


@pytest.mark.parametrize("failed", [True, False])
async def test_a_failed_settlement_that_came_after_all_is_not_reopened(
    office: Office, *, failed: bool
) -> None:
    payment, gave_up = await given_up(office, failed=failed)
    await next_day(office, payment, RIGHT)
    back = await reinstated(office)
    investigation = office.reconciliation.investigation

    with pytest.raises(LossReturnedError):
        await investigation.reopen(gave_up.id, note="Look.", by="Luis")
    await investigation.reopen(back.id, note="Look.", by="Luis")
    await investigation.reopen(gave_up.id, note="Look.", by="Luis")

    assert await broken(office.installation.database) == set()


async def test_reopening_a_reinstatement_opens_what_it_ended(office: Office) -> None:
    payment, late = await given_up(office, failed=False)
    await office.reconciliation.investigation.reopen(late.id, note="Look.", by="Luis")
    await next_day(office, payment, RIGHT)
    back = await reinstated(office)
    assert (await office.kinds(), await cases(office)) == ([], [])

    await office.reconciliation.investigation.reopen(back.id, note="A copy.", by="Luis")

    assert sorted(await office.kinds()) == [Kind.DELAYED_SETTLEMENT, Kind.STATE_CONFLICT]
    assert await cases(office) == ["settlement_failed"]
    assert await broken(office.installation.database) == set()
    await reinstated(office)
    assert (await office.kinds(), await cases(office)) == ([], [])


async def claimed(office: Office) -> Payment:
    """Claim a late settlement whose loss had been accepted."""
    payment, late = await given_up(office, failed=False)
    await office.reconciliation.investigation.reopen(late.id, note="Look.", by="Luis")
    await decided(office, Kind.DELAYED_SETTLEMENT, Resolution.CLAIM_FROM_GATEWAY)
    assert await office.balance("gateway_claims") == 1299
    return payment


async def test_a_claim_is_paid_by_the_line_that_is_reinstated(office: Office) -> None:
    """Its line took no loss back, and the claim waited for that very line for ever."""
    payment = await claimed(office)
    await next_day(office, payment, RIGHT)

    back = await reinstated(office)

    [claim] = await office.reconciliation.bulk.claims()
    assert (claim.status, await office.kinds(), await cases(office)) == ("paid", [], [])
    assert await office.balance("gateway_claims") == 0
    assert await office.balance("bank") + await office.balance("gateway_fees") == 1299
    assert await broken(office.installation.database) == set()
    await office.reconciliation.investigation.reopen(back.id, note="A copy.", by="Luis")
    assert sorted(await office.kinds()) == [Kind.DELAYED_SETTLEMENT, Kind.STATE_CONFLICT]
    assert await broken(office.installation.database) == set()


async def test_a_part_that_is_reinstated_leaves_the_rest_to_be_claimed(office: Office) -> None:
    payment = await claimed(office)
    await next_day(office, payment, PART)

    await reinstated(office)

    [claim] = await office.reconciliation.bulk.claims()
    assert (claim.status, await office.kinds()) == ("withdrawn", [Kind.DELAYED_SETTLEMENT])
    assert await broken(office.installation.database) == set()
    await decided(office, Kind.DELAYED_SETTLEMENT, Resolution.CLAIM_FROM_GATEWAY)
    assert await office.balance("gateway_claims") == 399
    await next_day(office, payment, REST)
    await reinstated(office)
    assert await office.kinds() == []
    assert await office.balance("gateway_claims") == 0
    assert await broken(office.installation.database) == set()
