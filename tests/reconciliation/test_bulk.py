"""Many discrepancies decided by one rule, and claims with their receipts."""

import pytest

from caas.dual_control import SamePersonError
from caas.payment_processing.reconciliation.bulk import BulkRule, ReceiptRefusedError
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.people import employed
from tests.reconciliation.office import Office

STRANGERS = BulkRule(kind=Kind.MISSING_IN_BOOK, currency="EUR")


async def strangers(office: Office, *amounts: int) -> None:
    """Close a day with lines of so much that nobody knows."""
    for number, amount in enumerate(amounts):
        await office.line(transaction_id=f"txn_{number}", gross=amount, fee=0)
    await office.closed()


async def test_a_rule_decides_what_it_meets_and_nothing_else(office: Office) -> None:
    await strangers(office, 100, 200, 900)
    rule = BulkRule(kind=Kind.MISSING_IN_BOOK, currency="EUR", day=office.today, amount_max=500)

    done = await office.room.bulk.resolve(
        rule,
        resolution=Resolution.CORRECT_BY_ENTRY,
        note="Test lines.",
        by=await employed(office.house.database, "ana"),
    )

    assert (done.met, done.amount, dict(done.by_status)) == (2, 300, {"resolved": 2})
    assert [it.amount for it in await office.found(unresolved=True)] == [900]


async def test_many_small_amounts_need_a_second_person_as_one_large_one_does(
    office: Office,
) -> None:
    await strangers(office, 30_000, 30_000)

    done = await office.room.bulk.resolve(
        STRANGERS,
        resolution=Resolution.CORRECT_BY_ENTRY,
        note="Theirs.",
        by=await employed(office.house.database, "ana"),
    )
    with pytest.raises(SamePersonError):
        await office.room.bulk.approve(done.id, by=await employed(office.house.database, "ana"))
    before = await office.balance("unexplained_funds")
    approved = await office.room.bulk.approve(
        done.id, by=await employed(office.house.database, "luis")
    )

    assert (done.needs_second_approver, dict(done.by_status)) == (True, {"proposed": 2})
    assert (before, approved) == (0, 2)
    assert await office.balance("unexplained_funds") == -60_000
    assert await office.found(unresolved=True) == []


async def test_what_is_not_offered_is_left_as_it_is(office: Office) -> None:
    await office.line(transaction_id=None, gross=100, fee=0)
    await office.closed()

    done = await office.room.bulk.resolve(
        STRANGERS,
        resolution=Resolution.REFUND_THE_CUSTOMER,
        note="Back.",
        by=await employed(office.house.database, "ana"),
    )

    assert dict(done.by_status) == {"not offered": 1}
    assert [it.status for it in await office.found(unresolved=True)] == ["open"]


async def test_a_claim_has_a_status_and_a_receipt_and_ages(office: Office) -> None:
    await strangers(office, 100)
    claimed = await office.resolved(Resolution.CLAIM_FROM_GATEWAY)
    with pytest.raises(ReceiptRefusedError):
        await office.room.bulk.claim_step(
            claimed.id, "sent", receipt=None, note="By mail.", by="Ana"
        )
    sent = await office.room.bulk.claim_step(
        claimed.id, "sent", receipt="CASE-7", note="By mail.", by="Ana"
    )
    await office.days_pass(12)
    [aged] = await office.room.bulk.claims(open_only=True)
    paid = await office.room.bulk.claim_step(
        claimed.id, "paid", receipt=None, note="Came.", by="Ana"
    )

    assert (sent.status, sent.receipt, sent.age_days) == ("sent", "CASE-7", 0)
    assert (aged.age_days, aged.due_on < office.today) == (12, True)
    assert (paid.status, await office.room.bulk.claims(open_only=True)) == ("paid", [])


async def test_reopening_ends_the_claim(office: Office) -> None:
    await strangers(office, 100)
    claimed = await office.resolved(Resolution.CLAIM_FROM_GATEWAY)

    await office.room.investigation.reopen(claimed.id, note="Ours after all.", by="Luis")

    [claim] = await office.room.bulk.claims()
    assert claim.status == "refused"
