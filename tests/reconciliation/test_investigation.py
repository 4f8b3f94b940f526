"""Manual investigation: owner, notes, documents, resolutions, two people, reopening (F-C6)."""

import copy
import hashlib
from datetime import timedelta

import asyncpg
import pytest

from caas.billing_database.connection import Database
from caas.billing_database.discrepancies import Discrepancy, DiscrepancyFilter
from caas.dual_control import DecisionPendingError, NoteRefusedError, SamePersonError
from caas.reconciliation.investigation import Investigation
from caas.reconciliation.validation import (
    DiscrepancyResolvedError,
    DocumentRefusedError,
    NotResolvedError,
    ResolutionNotAllowedError,
)
from caas.rules.discrepancies import KINDS, Resolution
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.payment_states import PaymentState
from tests.people import COMMAND_LINE, employed
from tests.reconciliation.crowd import line_of, report_file
from tests.reconciliation.office import Office


@pytest.fixture
def investigation(office: Office) -> Investigation:
    """The investigation of discrepancies."""
    return office.reconciliation.investigation


async def differing(office: Office, **reported: object) -> Discrepancy:
    """Let a line differ, and return its discrepancy."""
    payment = await office.capturing()
    await office.line(payment, **reported)
    await office.closed()
    [found] = await office.found(unresolved=True)
    return found


async def decided(
    investigation: Investigation, found: Discrepancy, resolution: Resolution
) -> Discrepancy:
    """Decide about a discrepancy, as Ana."""
    return await investigation.resolve(
        found.id, resolution=resolution, note="Seen.", by=COMMAND_LINE
    )


async def test_a_discrepancy_has_a_kind_an_amount_a_line_and_a_day_it_is_due(
    office: Office, investigation: Investigation
) -> None:
    found = await differing(office, gross=1399, fee=45)

    seen = await investigation.check(found.id)

    assert (found.kind, found.amount, found.status, found.owner) == (Kind.AMOUNT, 100, "open", None)
    assert found.due_on == office.today + timedelta(days=KINDS[Kind.AMOUNT].due_days)
    assert seen.line is not None
    assert seen.line.gross == 1399
    assert Resolution.WRITE_OFF in seen.allowed
    assert [event.event for event in seen.events] == ["opened"]


async def test_a_large_amount_is_due_the_next_day(office: Office) -> None:
    found = await differing(office, gross=99_999_99, fee=1)

    assert found.due_on == office.today + timedelta(days=1)


async def test_an_owner_notes_and_documents_are_steps_with_a_name(
    office: Office, investigation: Investigation
) -> None:
    found = await differing(office, gross=1399, fee=45)

    await investigation.assign(found.id, owner="Ana", by="Luis")
    await investigation.note(found.id, text="DiscrepancyFilter the gateway.", by="Ana")
    document = await investigation.attach(
        found.id, name="mail.txt", media_type="text/plain", content=b"Our fault.", by="Ana"
    )

    seen = await investigation.check(found.id)
    assert seen.discrepancy.owner == "Ana"
    assert [(event.event, event.by) for event in seen.events] == [
        ("opened", "reconciliation"), ("assigned", "Luis"), ("noted", "Ana"),
        ("evidence attached", "Ana"),
    ]  # fmt: skip
    assert await investigation.document(document) == ("mail.txt", "text/plain", b"Our fault.")
    assert seen.evidence[0].digest == hashlib.sha256(b"Our fault.").hexdigest()


@pytest.mark.parametrize(
    ("resolution", "account", "balance"),
    [
        (Resolution.CORRECT_BY_ENTRY, "unexplained_funds", -100),
        (Resolution.WRITE_OFF, "unallocated_income", -100),
    ],
)
async def test_too_much_is_booked_where_the_decision_says(
    office: Office, investigation: Investigation, resolution: Resolution, account: str, balance: int
) -> None:
    found = await differing(office, gross=1399, fee=45)

    after = await decided(investigation, found, resolution)

    assert found.payment_id is not None
    payment = await office.installation.platform.tables.payments.get(found.payment_id)
    assert (after.status, after.resolution) == ("resolved", resolution)
    assert await office.balance(account) == balance
    assert await office.balance("bank") == 1354
    assert payment.state is PaymentState.SETTLED
    assert await office.balance("settled_funds") == 0
    assert await office.balance("gateway_receivable") == 0
    assert (await office.reconciliation.verdict(office.today)).verdict == "closed"


async def test_too_much_goes_back_to_the_customer(
    office: Office, investigation: Investigation
) -> None:
    payment = await office.installation.settled()
    [report] = office.installation.gateway.reports._reports.values()
    line = report.lines[0]
    line.gross, line.net = line.gross + 100, line.net + 100
    report.gross_total, report.net_total = report.gross_total + 100, report.net_total + 100
    office.gateway_took(payment, 1399)
    await office.closed()
    [found] = await office.found(unresolved=True)

    await decided(investigation, found, Resolution.REFUND_THE_CUSTOMER)

    refunds = await office.refunds_at_gateway(payment)
    assert [refund["amount"] for refund in refunds] == [100]
    assert await office.balance("refunds_payable") == 0


async def test_accepting_the_loss_of_a_late_settlement_ends_the_payment(
    office: Office, investigation: Investigation
) -> None:
    payment = await office.bought()
    await office.a_settlement_is_late()
    [found] = await office.found(unresolved=True)

    after = await decided(investigation, found, Resolution.ACCEPT_LOSS)

    assert after.status == "resolved"
    assert (await office.payment(payment)).state is PaymentState.SETTLEMENT_FAILED
    assert await office.balance("risk_loss:settlement_failed") == 1299
    assert await office.balance("gateway_receivable") == 0


async def test_a_claim_is_taken_back_when_the_line_comes_after_all(
    office: Office, investigation: Investigation
) -> None:
    payment = await office.capturing()
    await office.a_settlement_is_late()
    [found] = await office.found(unresolved=True)
    claimed = await decided(investigation, found, Resolution.CLAIM_FROM_GATEWAY)
    owed = await office.balance("gateway_claims")

    await office.line(payment)
    await office.closed()

    assert (claimed.status, owed) == ("waiting", 1299)
    assert claimed.due_on > found.due_on
    assert (await investigation.check(found.id)).discrepancy.status == "resolved"
    assert await office.balance("gateway_claims") == 0
    assert await office.balance("gateway_receivable") == 0
    assert (await office.payment(payment)).state is PaymentState.SETTLED


async def test_accepting_the_loss_of_the_rest_settles_the_payment(
    office: Office, investigation: Investigation
) -> None:
    found = await differing(office, gross=500, fee=32)

    await decided(investigation, found, Resolution.ACCEPT_LOSS)

    assert found.payment_id is not None
    payment = await office.installation.platform.tables.payments.get(found.payment_id)
    assert (payment.state, payment.settled_amount) == (PaymentState.SETTLED, 500)
    assert await office.balance("risk_loss:partial_settlement") == 799
    assert await office.balance("gateway_receivable") == 0


async def test_accepting_a_chargeback_books_the_loss_once(
    office: Office, investigation: Investigation
) -> None:
    payment = await office.installation.settled()
    await office.gateway_disputes(payment)
    await office.closed()
    [found] = await office.found(unresolved=True)

    await decided(investigation, found, Resolution.ACCEPT_LOSS)
    await office.told_of_dispute(payment)

    assert found.kind is Kind.CHARGEBACK
    assert (await office.payment(payment)).disputed_amount == 1299
    assert await office.balance("risk_loss:chargeback") == 1299
    assert await office.balance("disputed_funds") == 0
    assert await office.balance("bank") == 1256 - 1299 - 1500


async def test_a_failed_settlement_is_accepted(
    office: Office, investigation: Investigation
) -> None:
    found = await differing(office, type="settlement_failure", gross=0, fee=0)

    await decided(investigation, found, Resolution.ACCEPT_LOSS)

    assert found.payment_id is not None
    payment = await office.installation.platform.tables.payments.get(found.payment_id)
    assert payment.state is PaymentState.SETTLEMENT_FAILED
    assert await office.balance("risk_loss:settlement_failed") == 1299


async def test_a_fee_above_the_terms_is_claimed(
    office: Office, investigation: Investigation
) -> None:
    found = await differing(office, fee=143)

    await decided(investigation, found, Resolution.CLAIM_FROM_GATEWAY)

    assert await office.balance("gateway_claims") == 100
    assert await office.balance("gateway_fees") == 43


async def test_money_of_nobody_goes_back_where_it_came_from(
    office: Office, investigation: Investigation
) -> None:
    payment = await office.capturing()
    await office.installation.gateway_does("settle")
    await office.line(payment, transaction_id="txn_alien", reference=None)
    await office.closed()
    [found] = await office.found(unresolved=True)

    waiting = await investigation.resolve(
        found.id,
        resolution=Resolution.WAIT,
        note="The book may still learn of it.",
        by=COMMAND_LINE,
    )

    assert (waiting.status, waiting.kind) == ("waiting", Kind.MISSING_IN_BOOK)
    assert await office.balance("unexplained_funds") == 0


async def test_a_kind_is_resolved_only_as_it_allows(
    office: Office, investigation: Investigation
) -> None:
    found = await differing(office, gross=1399, fee=45)

    with pytest.raises(ResolutionNotAllowedError):
        await decided(investigation, found, Resolution.ACCEPT_LOSS)


async def test_what_is_resolved_is_not_resolved_again(
    office: Office, investigation: Investigation
) -> None:
    found = await differing(office, gross=1399, fee=45)
    await decided(investigation, found, Resolution.WRITE_OFF)

    with pytest.raises(DiscrepancyResolvedError):
        await decided(investigation, found, Resolution.WRITE_OFF)

    assert await office.balance("unallocated_income") == -100


async def test_a_large_amount_needs_a_second_person(
    office: Office, investigation: Investigation
) -> None:
    found = await differing(office, gross=100_000, fee=0)
    ana, luis = [await employed(office.installation.database, login) for login in ("ana", "luis")]

    proposed = await investigation.resolve(
        found.id, resolution=Resolution.WRITE_OFF, note="Seen.", by=ana
    )
    before = await office.balance("unallocated_income")
    with pytest.raises(SamePersonError):
        await investigation.approve(found.id, by=ana)
    with pytest.raises(DecisionPendingError):
        await decided(investigation, found, Resolution.WRITE_OFF)
    approved = await investigation.approve(found.id, by=luis)

    assert (proposed.status, before, approved.status) == ("proposed", 0, "resolved")
    assert await office.balance("unallocated_income") == -(100_000 - 1299)


async def test_a_proposal_can_be_turned_down(office: Office, investigation: Investigation) -> None:
    found = await differing(office, gross=100_000, fee=0)
    await decided(investigation, found, Resolution.WRITE_OFF)

    open_again = await investigation.reject(found.id, note="Ask them first.", by=COMMAND_LINE)

    assert open_again.status == "open"
    assert await office.balance("unallocated_income") == 0


async def test_postgresql_itself_refuses_the_same_person_twice(
    office: Office, investigation: Investigation, database: Database
) -> None:
    found = await differing(office, gross=100_000, fee=0)
    ana = await employed(database, "ana")
    await investigation.resolve(found.id, resolution=Resolution.WRITE_OFF, note="Seen.", by=ana)

    for approver in (ana.account, None):
        with pytest.raises(asyncpg.CheckViolationError, match="two people decide"):
            await database.fetch(
                "update discrepancy_resolutions set state = 'approved', decided_by = 'Somebody',"
                " decided_account = $1, decided_at = now()",
                approver,
            )


async def test_reopening_takes_the_entries_back_and_leaves_them_in_sight(
    office: Office, investigation: Investigation
) -> None:
    found = await differing(office, gross=1399, fee=45)
    await decided(investigation, found, Resolution.WRITE_OFF)

    reopened = await investigation.reopen(found.id, note="It was theirs.", by="Luis")
    between = await office.balance("unallocated_income")
    await decided(investigation, found, Resolution.CORRECT_BY_ENTRY)

    seen = await investigation.check(found.id)
    assert (reopened.status, between) == ("open", 0)
    assert await office.balance("unexplained_funds") == -100
    assert await office.balance("unallocated_income") == 0
    assert await office.balance("bank") == 1354
    assert len(seen.entries) == 9
    assert len(seen.resolutions) == 2


async def test_only_what_is_resolved_is_reopened(
    office: Office, investigation: Investigation
) -> None:
    found = await differing(office, gross=1399, fee=45)

    with pytest.raises(NotResolvedError):
        await investigation.reopen(found.id, note="Why not.", by="Ana")


@pytest.mark.parametrize(
    "statement",
    [
        "update discrepancies set amount = 0",
        "update discrepancies set status = 'resolved'",
        "update discrepancies set status = 'resolved', version = version + 1",
        "delete from discrepancies",
        "update discrepancy_events set by = 'nobody'",
        "delete from discrepancy_entries",
        "update settlement_lines set class = 'matched'",
        "update discrepancy_evidence set content = 'x'",
    ],
)
async def test_no_row_is_edited_by_hand(office: Office, database: Database, statement: str) -> None:
    await differing(office, gross=1399, fee=45)

    with pytest.raises(asyncpg.PostgresError):
        await database.fetch(statement)


@pytest.mark.parametrize("text", ["", " ", "x" * 1001, "card 4111 1111 1111 1111"])
async def test_notes_have_limits(office: Office, investigation: Investigation, text: str) -> None:
    found = await differing(office, gross=1399, fee=45)

    with pytest.raises(NoteRefusedError):
        await investigation.note(found.id, text=text, by="Ana")


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("application/x-msdownload", b"MZ"),
        ("text/plain", b""),
        ("text/plain", b"4111111111111111"),
        ("application/pdf", b"x" * (5 * 1024 * 1024 + 1)),
    ],
)
async def test_documents_have_limits(
    office: Office, investigation: Investigation, media_type: str, content: bytes
) -> None:
    found = await differing(office, gross=1399, fee=45)

    with pytest.raises(DocumentRefusedError):
        await investigation.attach(
            found.id, name="x", media_type=media_type, content=content, by="Ana"
        )


async def test_a_decision_survives_the_death_of_the_process(
    office: Office, investigation: Investigation, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await office.bought()
    await office.a_settlement_is_late()
    [found] = await office.found(unresolved=True)

    async def died(*_: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(investigation._resolution_actions, "run_now", died)
        with pytest.raises(ConnectionResetError):
            await decided(investigation, found, Resolution.ACCEPT_LOSS)
    await office.installation.until(payment.id, lambda p: p.state is PaymentState.SETTLEMENT_FAILED)

    assert (await investigation.check(found.id)).discrepancy.status == "resolved"


async def test_discrepancies_are_listed_by_what_is_asked(office: Office) -> None:
    payment = await office.capturing()
    lines = [
        line_of(1, payment, gross=1, fee=25),
        line_of(2, payment, transaction_id="x", reference=None),
    ]
    folder = office.reconciliation.of().runs._settings.folder
    folder.mkdir(parents=True, exist_ok=True)
    await office.reconciliation.reconcile(office.today, file=report_file(folder / "day.csv", lines))

    partial = await office.found(kind=Kind.PARTIAL_SETTLEMENT)
    of_payment = await office.found(payment_id=payment.id)
    everything = await office.found(unresolved=True)
    second_page = await office.reconciliation.discrepancies.listed(
        DiscrepancyFilter(), after=everything[0].id
    )

    assert [it.kind for it in partial] == [Kind.PARTIAL_SETTLEMENT]
    assert [it.id for it in of_payment] == [it.id for it in partial]
    assert len(everything) == 2
    assert [it.id for it in second_page] == [everything[1].id]


async def charged_elsewhere(office: Office) -> Discrepancy:
    """Let a line report a charge that the gateway has, and that no payment of ours accounts for."""
    payment = await office.installation.settled()
    bookings = office.installation.gateway.store.bookings
    charge = copy.deepcopy(bookings[payment.gateway_transaction_id or ""])
    charge.transaction.id, charge.transaction.reference = "txn_elsewhere", "another-shop"
    bookings["txn_elsewhere"] = charge
    await office.line(transaction_id="txn_elsewhere")
    await office.closed()
    [found] = await office.found(unresolved=True)
    return found


@pytest.mark.parametrize("is_off", [False, True])
async def test_a_charge_without_a_payment_is_refunded_only_while_its_gateway_answers(
    office: Office, investigation: Investigation, monkeypatch: pytest.MonkeyPatch, *, is_off: bool
) -> None:
    """It was offered, and the refund then stood in a job that could not be done."""
    found = await charged_elsewhere(office)
    there = await investigation.check(found.id)
    if is_off:
        gateways = investigation._resolution_actions.refundable._gateways
        monkeypatch.setattr(gateways, "_by_name", {})
    else:
        fault = {"match": {"operation": "find"}, "action": {"status": 503}}
        await office.installation.gateway_does("faults", **fault)
    silent = await investigation.check(found.id)

    assert found.kind is Kind.MISSING_IN_BOOK
    assert Resolution.REFUND_THE_CUSTOMER in there.allowed
    assert Resolution.REFUND_THE_CUSTOMER not in silent.allowed
    why = "is not configured here" if is_off else "no usable answer"
    with pytest.raises(ResolutionNotAllowedError, match=why):
        await decided(investigation, found, Resolution.REFUND_THE_CUSTOMER)
