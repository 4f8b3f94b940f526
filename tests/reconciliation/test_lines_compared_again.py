"""A line whose discrepancy is open is compared again with every run, of whatever day."""

import pytest

from caas.billing_database import self_check
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import BACK, TAKEN
from tests.reconciliation.test_money_adds_up import decided, next_day, settled


@pytest.mark.parametrize(
    ("line", "kind", "resolution"),
    [
        (TAKEN, Kind.CHARGEBACK, Resolution.ACCEPT_LOSS),
        (TAKEN, Kind.CHARGEBACK, Resolution.CLAIM_FROM_GATEWAY),
        (BACK, Kind.CHARGEBACK_REVERSAL, Resolution.REINSTATE_THE_PAYMENT),
        ({"type": "refund", "gross": -300, "fee": 0}, Kind.REFUND_MISMATCH, Resolution.ACCEPT_LOSS),
    ],
)
async def test_what_a_person_reopened_waits_for_a_person(
    office: Office, line: dict[str, object], kind: Kind, resolution: Resolution
) -> None:
    """The dispute that the first decision had made counted as a report of its line."""
    payment = await settled(office)
    await next_day(office, payment, line)
    found = await decided(office, kind, resolution)

    await office.reconciliation.investigation.reopen(found.id, note="Look again.", by="Luis")
    done = await next_day(office, payment)

    assert (done.run.cleared, await office.kinds()) == ({}, [kind])


async def test_a_fee_found_later_is_on_the_day_of_its_line(office: Office) -> None:
    """It was on the day of the run, whose report has no such line."""
    payment = await settled(office)
    first = await next_day(office, payment, TAKEN | {"fee": 1500})
    await office.told_of_dispute(payment)

    done = await next_day(office, payment)

    [drift] = await office.found(unresolved=True)
    assert (drift.kind, drift.day) == (Kind.FEE_DRIFT, first.day.day)
    assert (done.run.cleared, done.run.counts, done.day.verdict) == (
        {"chargeback": 1}, {}, "closed",
    )  # fmt: skip
    database = office.installation.database
    broken = [it for it in await self_check.self_check(database) if it.broken]
    assert broken == []
