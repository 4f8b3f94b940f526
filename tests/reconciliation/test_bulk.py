"""Many discrepancies decided by one rule, and claims with their receipts."""

from functools import partial
from uuid import UUID

import asyncpg
import pytest

from caas.billing_database import self_check
from caas.billing_database.accounts import Actor
from caas.billing_database.connection import Database
from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.gateway_claims import ClaimEndedError, ClaimPostedError, LineAwaitedError
from caas.dual_control import ApprovalNeedsAccountError, SamePersonError
from caas.reconciliation.bulk import (
    BulkRule,
    ClaimStatus,
    ReceiptRefusedError,
)
from caas.reconciliation.validation import ResolutionNotAllowedError
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.people import COMMAND_LINE, employed
from tests.reconciliation.office import Office

STRANGERS = BulkRule(kind=Kind.MISSING_IN_BOOK, currency="EUR")


ANA = COMMAND_LINE
ENDINGS: tuple[ClaimStatus, ...] = ("paid", "refused")


async def violated_invariants(database: Database) -> set[str]:
    return {found.invariant.name for found in await self_check.self_check(database) if found.broken}


async def strangers(office: Office, *amounts: int) -> None:
    """Close a day with lines of so much that nobody knows."""
    for number, amount in enumerate(amounts):
        await office.line(transaction_id=f"txn_{number}", gross=amount, fee=0)
    await office.closed()


async def test_a_rule_decides_what_it_meets_and_nothing_else(office: Office) -> None:
    await strangers(office, 100, 200, 900)
    rule = BulkRule(kind=Kind.MISSING_IN_BOOK, currency="EUR", day=office.today, amount_max=500)

    done = await office.reconciliation.bulk.resolve(
        rule,
        resolution=Resolution.CORRECT_BY_ENTRY,
        note="Test lines.",
        by=await employed(office.installation.database, "ana"),
    )

    assert (done.met, done.amount, dict(done.by_status)) == (2, 300, {"resolved": 2})
    assert [it.amount for it in await office.found(unresolved=True)] == [900]


async def test_many_small_amounts_need_a_second_person_as_one_large_one_does(
    office: Office,
) -> None:
    await strangers(office, 30_000, 30_000)

    done = await office.reconciliation.bulk.resolve(
        STRANGERS,
        resolution=Resolution.CORRECT_BY_ENTRY,
        note="Theirs.",
        by=await employed(office.installation.database, "ana"),
    )
    with pytest.raises(SamePersonError):
        await office.reconciliation.bulk.approve(
            done.id, by=await employed(office.installation.database, "ana")
        )
    before = await office.balance("unexplained_funds")
    approved = await office.reconciliation.bulk.approve(
        done.id, by=await employed(office.installation.database, "luis")
    )

    assert (done.needs_second_approver, dict(done.by_status)) == (True, {"proposed": 2})
    assert (before, approved.decided, approved.left) == (0, 2, [])
    assert await office.balance("unexplained_funds") == -60_000
    assert await office.found(unresolved=True) == []


async def test_what_is_not_offered_is_left_as_it_is(office: Office) -> None:
    await office.line(transaction_id=None, gross=100, fee=0)
    await office.closed()

    done = await office.reconciliation.bulk.resolve(
        STRANGERS,
        resolution=Resolution.REFUND_THE_CUSTOMER,
        note="Back.",
        by=await employed(office.installation.database, "ana"),
    )

    assert dict(done.by_status) == {"not offered": 1}
    assert done.left == [it.id for it in await office.found(unresolved=True)]
    assert [it.status for it in await office.found(unresolved=True)] == ["open"]


async def test_nothing_is_claimed_where_we_owe_the_gateway(office: Office) -> None:
    """A claim of 1.00 was filed, and the account said that we owed the gateway 1.00."""
    await strangers(office, 100)
    [found] = await office.found(unresolved=True)

    with pytest.raises(ResolutionNotAllowedError, match=r"owes us nothing here.*wait"):
        await office.resolved(Resolution.CLAIM_FROM_GATEWAY)
    done = await office.reconciliation.bulk.resolve(
        STRANGERS, resolution=Resolution.CLAIM_FROM_GATEWAY, note="Theirs.", by=ANA
    )

    looked = await office.reconciliation.investigation.check(found.id)
    assert Resolution.CLAIM_FROM_GATEWAY not in looked.allowed
    assert dict(done.by_status) == {"not offered": 1}
    assert await office.reconciliation.bulk.claims() == []


async def test_a_claim_has_a_status_and_a_receipt_and_ages(office: Office) -> None:
    await strangers(office, -100)
    claimed = await office.resolved(Resolution.CLAIM_FROM_GATEWAY)
    with pytest.raises(ReceiptRefusedError):
        await office.reconciliation.bulk.claim_step(
            claimed.id, "sent", receipt=None, note="By mail.", by=ANA
        )
    sent = await office.reconciliation.bulk.claim_step(
        claimed.id, "sent", receipt="CASE-7", note="By mail.", by=ANA
    )
    await office.days_pass(12)
    [aged] = await office.reconciliation.bulk.claims(open_only=True)
    paid = await office.reconciliation.bulk.claim_step(
        claimed.id, "paid", receipt=None, note="Came.", by=ANA
    )

    assert (sent.status, sent.receipt, sent.age_days) == ("sent", "CASE-7", 0)
    assert (aged.age_days, aged.due_on < office.today) == (12, True)
    assert (paid.status, await office.reconciliation.bulk.claims(open_only=True)) == ("paid", [])


async def test_reopening_ends_the_claim(office: Office) -> None:
    await strangers(office, -100)
    claimed = await office.resolved(Resolution.CLAIM_FROM_GATEWAY)

    await office.reconciliation.investigation.reopen(claimed.id, note="Ours after all.", by="Luis")

    [claim] = await office.reconciliation.bulk.claims()
    assert claim.status == "withdrawn"
    assert await office.reconciliation.bulk.claims(open_only=True) == []


@pytest.mark.parametrize("status", ENDINGS)
async def test_a_claim_that_was_withdrawn_awaits_no_line(
    office: Office, status: ClaimStatus
) -> None:
    """It was called refused, and the answer said that a settlement line is still expected."""
    await office.line(await office.capturing(), fee=50)
    await office.closed()
    claimed = await office.resolved(Resolution.CLAIM_FROM_GATEWAY)
    await office.reconciliation.investigation.reopen(claimed.id, note="Ours after all.", by="Luis")

    with pytest.raises(ClaimEndedError) as refused:
        await office.reconciliation.bulk.claim_step(
            claimed.id, status, receipt="C-7", note="Came.", by=ANA
        )

    assert refused.value.sentence == "The claim has ended and cannot change."
    again = await office.resolved(Resolution.CLAIM_FROM_GATEWAY)
    [claim] = await office.reconciliation.bulk.claims(open_only=True)
    assert (claim.discrepancy_id, claim.status) == (again.id, "filed")
    assert await violated_invariants(office.installation.database) == set()


async def test_a_paid_claim_moves_to_the_line_that_brings_it(office: Office) -> None:
    await strangers(office, -100)
    claimed = await office.resolved(Resolution.CLAIM_FROM_GATEWAY)
    owed, unexplained = await office.balance("gateway_claims"), await office.balance(
        "unexplained_funds"
    )  # fmt: skip
    claims = office.reconciliation.bulk
    before = await violated_invariants(office.installation.database)
    await office.reconciliation.seal(office.today, by="Ana")

    await claims.claim_step(claimed.id, "paid", receipt="CASE-7", note="Came.", by=ANA)

    assert (owed, await office.balance("gateway_claims"), before) == (100, 0, set())
    assert await office.balance("unexplained_funds") == unexplained + owed
    assert await violated_invariants(office.installation.database) == set()


async def test_a_refused_claim_is_a_loss_and_a_large_one_needs_two_people(office: Office) -> None:
    await strangers(office, -100, -60_000)
    small, large = sorted(await office.found(unresolved=True), key=lambda it: it.amount)
    ana, luis = [await employed(office.installation.database, name) for name in ("ana", "luis")]
    for found in (small, large):
        await office.reconciliation.investigation.resolve(
            found.id, resolution=Resolution.CLAIM_FROM_GATEWAY, note="Theirs.", by=ana
        )
    await office.reconciliation.investigation.approve(large.id, by=luis)

    await office.reconciliation.bulk.claim_step(
        small.id, "refused", receipt=None, note="No.", by=ANA
    )
    with pytest.raises(ClaimPostedError):
        await office.reconciliation.investigation.reopen(small.id, note="Once more.", by="Luis")
    await office.closed()
    await office.reconciliation.seal(office.today, by="Ana")
    refuses = partial(
        office.reconciliation.bulk.claim_step, large.id, "refused", receipt=None, note="No."
    )
    proposed = await refuses(by=ana)
    reversed_ = await office.reconciliation.bulk.claim_step(
        large.id, "sent", receipt="C-9", note="Sent once more.", by=ana
    )
    await refuses(by=ana)
    owed = await office.balance("gateway_claims")
    with pytest.raises(SamePersonError):
        await refuses(by=ana)
    with pytest.raises(ApprovalNeedsAccountError):
        await refuses(by=COMMAND_LINE)
    with pytest.raises(asyncpg.CheckViolationError, match="two people decide"):
        await office.installation.database.fetch(
            "update gateway_claims set status = 'refused' where discrepancy_id = $1", large.id
        )
    ended = await refuses(by=luis)

    assert (proposed.status, proposed.refusal_by) == ("filed", ana.name)
    assert (reversed_.status, reversed_.refusal_by) == ("sent", None)
    assert (owed, await office.balance("gateway_claims")) == (60_000, 0)
    assert ended.status == "refused"
    assert await office.balance("risk_loss:missing_in_book") == 60_100
    assert await violated_invariants(office.installation.database) == set()


async def test_a_claim_whose_line_is_awaited_ends_with_its_line(office: Office) -> None:
    payment = await office.capturing()
    await office.a_settlement_is_late()
    claimed = await office.resolved(Resolution.CLAIM_FROM_GATEWAY)
    claims = office.reconciliation.bulk
    for status in ENDINGS:
        with pytest.raises(LineAwaitedError):
            await claims.claim_step(claimed.id, status, receipt="C-7", note="Came.", by=ANA)

    await office.line(payment)
    await office.closed()

    [claim] = await claims.claims()
    assert claim.status == "paid"
    assert await office.balance("gateway_claims") == 0
    assert await office.balance("unexplained_funds") == 0
    assert await violated_invariants(office.installation.database) == set()


async def test_a_claim_given_up_for_a_loss_leaves_nothing_owed(office: Office) -> None:
    await office.bought()
    await office.a_settlement_is_late()
    await office.resolved(Resolution.CLAIM_FROM_GATEWAY)
    await office.resolved(Resolution.ACCEPT_LOSS)

    [claim] = await office.reconciliation.bulk.claims()
    assert claim.status == "withdrawn"
    assert await office.balance("gateway_claims") == 0
    assert await office.balance("gateway_receivable") == 0
    assert await office.balance("risk_loss:settlement_failed") == 1299
    assert await violated_invariants(office.installation.database) == set()


async def test_what_is_not_offered_any_more_is_left_and_named(office: Office) -> None:
    """Approving a rule stopped at the first such discrepancy, and the others stayed proposed."""
    payments = [await office.capturing() for _ in range(3)]
    for payment in payments:
        await office.line(payment, gross=payment.amount + 30_000, fee=463)
    await office.closed()
    rule = BulkRule(kind=Kind.AMOUNT, currency="EUR")
    ana, luis = [await employed(office.installation.database, it) for it in ("ana", "luis")]
    bulk = office.reconciliation.bulk
    done = await bulk.resolve(rule, resolution=Resolution.WRITE_OFF, note="Theirs.", by=ana)
    first = min(it.id for it in await office.found(kind=Kind.AMOUNT))
    approves = office.reconciliation.investigation.approve

    async def all_but_one(discrepancy_id: UUID, *, by: Actor) -> Discrepancy:
        if discrepancy_id == first:
            raise ResolutionNotAllowedError
        return await approves(discrepancy_id, by=by)

    with pytest.MonkeyPatch.context() as other:
        other.setattr(office.reconciliation.investigation, "approve", all_but_one)
        approved = await bulk.approve(done.id, by=luis)

    assert (approved.decided, approved.left) == (2, [first])
    assert await bulk.reject(done.id, note="Another way.", by=luis) == 1
