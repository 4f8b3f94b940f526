"""A loss that a bank's message booked is looked for in the reports, as a settlement is.

A reversed settlement, or a lost dispute, whose line never came left the bank with money that was
booked as lost. No discrepancy said so, and the days were closed and sealed.
"""

from typing import Any

import pytest

from caas.billing_database import self_check
from caas.billing_database.payments import Payment
from caas.billing_database.unlisted_losses import LISTED_WITHIN_DAYS
from caas.external_systems.payment_gateway import DisputeStatus
from caas.payment_processing.settlement import SettlementNotice
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.people import COMMAND_LINE
from tests.reconciliation.office import Office
from tests.reconciliation.test_money_adds_up import decided, settled

BOTH = pytest.mark.parametrize("what", ["settlement", "dispute"])


async def lost(office: Office, what: str) -> Payment:
    """Let a payment be settled, with its line, and lost by a message alone."""
    payment = await settled(office)
    await office.days_pass(1)
    if what == "settlement":
        notice = SettlementNotice(
            settlement_id="s", settled=False, settled_amount=0, currency=payment.currency
        )
        await office.installation.platform.payment_processing.record_settlement(payment.id, notice)
    else:
        await office.told_of_dispute(payment)
        await office.told_of_dispute(payment, DisputeStatus.LOST)
    return await office.payment(payment)


def its_line(what: str) -> dict[str, Any]:
    """The line that takes the money of the loss."""
    type_ = "settlement_failure" if what == "settlement" else "chargeback"
    return {"type": type_, "gross": -1299, "fee": 0}


@BOTH
async def test_a_loss_without_a_line_is_a_discrepancy_in_time(office: Office, what: str) -> None:
    await lost(office, what)
    early = await office.closed()
    await office.days_pass(LISTED_WITHIN_DAYS)

    done = await office.closed()

    [found] = await office.found(unresolved=True)
    allowed = (await office.reconciliation.investigation.check(found.id)).allowed
    assert (early.run.counts, done.run.counts) == ({}, {"loss_not_listed": 1})
    assert (found.kind, found.amount, found.line_no) == (Kind.LOSS_NOT_LISTED, 1299, None)
    assert set(allowed) == {Resolution.ACCEPT_LOSS, Resolution.WAIT}
    assert (await office.reconciliation.verdict(office.today)).verdict != "closed"


@BOTH
@pytest.mark.parametrize("resolution", [None, Resolution.WAIT, Resolution.ACCEPT_LOSS])
async def test_the_line_ends_it_and_a_loss_that_is_accepted_stays(
    office: Office, what: str, resolution: Resolution | None
) -> None:
    payment = await lost(office, what)
    await office.days_pass(LISTED_WITHIN_DAYS)
    await office.closed()
    before = {it: await office.balance(it) for it in ("bank", "settled_funds")}
    if resolution is not None:
        await decided(office, Kind.LOSS_NOT_LISTED, resolution)
    await office.days_pass(1)
    again = await office.closed()
    kept = {it: await office.balance(it) for it in ("bank", "settled_funds")}

    await office.days_pass(1)
    await office.line(payment, **its_line(what))
    done = await office.closed()

    accepted = resolution is Resolution.ACCEPT_LOSS
    assert (again.run.counts, kept) == ({}, before)
    assert done.run.counts == {"matched": 1}
    assert done.run.cleared == ({} if accepted else {"loss_not_listed": 1})
    assert await office.kinds() == []
    assert await office.balance("settled_funds") == 0


@BOTH
async def test_a_loss_whose_line_came_is_no_discrepancy(office: Office, what: str) -> None:
    payment = await lost(office, what)
    await office.line(payment, **its_line(what))
    await office.closed()
    await office.days_pass(LISTED_WITHIN_DAYS)

    done = await office.closed()

    assert (done.run.counts, await office.kinds()) == ({}, [])


async def test_what_lines_brought_before_an_accepted_failure_is_no_loss(office: Office) -> None:
    payment = await office.capturing()
    await office.line(payment, gross=799, fee=36)
    await office.closed()
    await office.days_pass(1)
    await office.line(payment, type="settlement_failure", gross=0, fee=0)
    await office.closed()
    for found in await office.found(unresolved=True, kind=Kind.FAILED_SETTLEMENT):
        await office.reconciliation.investigation.resolve(
            found.id, resolution=Resolution.ACCEPT_LOSS, note="Seen.", by=COMMAND_LINE
        )
    for found in await office.found(unresolved=True):
        await office.reconciliation.investigation.resolve(
            found.id, resolution=Resolution.ACCEPT_LOSS, note="Seen.", by=COMMAND_LINE
        )
    await office.days_pass(LISTED_WITHIN_DAYS + 1)

    done = await office.closed()

    assert done.run.counts == {}
    assert await office.balance("bank") + await office.balance("gateway_fees") == 799
    assert await office.balance("settled_funds") == 0


@BOTH
async def test_a_loss_that_is_not_looked_for_is_found_by_the_invariant(
    office: Office, what: str
) -> None:
    await lost(office, what)
    await office.days_pass(LISTED_WITHIN_DAYS)
    await office.installation.gateway_does("close-day", date=office.today.isoformat())
    await office.reconciliation.reconcile(office.today, mode="incremental")
    database = office.installation.database

    async def broken() -> set[str]:
        checked = await self_check.self_check(database)
        return {it.invariant.name for it in checked if it.broken}

    await database.fetch(
        "update reconciliation_days set closed_at = db_now() + interval '11 minutes'"
        " where closed_by_run is not null"
    )
    unseen = await broken()
    await office.reconciliation.reconcile(office.today)

    assert (unseen, await broken()) == ({"losses_without_a_line_are_found"}, set())
