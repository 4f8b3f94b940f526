"""Diagram 10 from its start to its end, over HTTP, with the simulated gateway's reports."""

import pytest

from caas.reconciliation import INCREMENTAL
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.payment_states import PaymentState
from tests.reconciliation.office import Office


async def test_a_line_settles_a_payment_whose_webhook_was_lost(office: Office) -> None:
    payment = await office.capturing()
    await office.line(payment)

    done = await office.closed()

    assert (await office.payment(payment)).state is PaymentState.SETTLED
    assert (done.run.counts, done.day.verdict) == ({"matched": 1}, "closed")
    assert await office.balance("bank") == 1256
    assert await office.balance("gateway_fees") == 43
    assert await office.balance("settled_funds") == 0
    assert await office.balance("gateway_receivable") == 0


async def test_a_payment_that_a_webhook_settled_only_gets_its_payout(office: Office) -> None:
    payment = await office.installation.settled()
    before = await office.installation.platform.tables.payments.timeline(payment.id)

    done = await office.closed()

    after = await office.installation.platform.tables.payments.timeline(payment.id)
    assert len(after) == len(before)
    assert done.run.counts == {"matched": 1}
    assert await office.balance("bank") == 1256
    assert await office.balance("settled_funds") == 0


async def test_a_day_without_settlements_is_closed_and_clean(office: Office) -> None:
    done = await office.closed()

    assert (done.run.lines, done.day.verdict) == (0, "closed")


async def test_a_running_day_whose_report_is_still_open_is_in_progress(office: Office) -> None:
    await office.line(await office.capturing())

    done = await office.reconciliation.reconcile(office.today)

    assert done.day.verdict == "in progress"
    assert done.day.because == "a report is still open"


async def test_an_open_report_is_taken_in_as_it_grows(office: Office) -> None:
    first, second = await office.capturing(), await office.capturing()
    await office.line(first)
    early = await office.reconciliation.reconcile(office.today, mode=INCREMENTAL)
    await office.line(second)

    later = await office.reconciliation.reconcile(office.today, mode=INCREMENTAL)
    done = await office.closed()

    assert (early.run.lines, later.run.lines, done.run.lines) == (1, 1, 0)
    assert (await office.payment(second)).state is PaymentState.SETTLED
    assert (done.day.verdict, await office.balance("bank")) == ("closed", 2 * 1256)


async def test_the_same_report_twice_counts_once(office: Office) -> None:
    await office.line(await office.capturing())
    await office.closed()

    again = await office.reconciliation.reconcile(office.today)

    assert (again.run.lines, again.day.verdict) == (0, "closed")
    assert await office.balance("bank") == 1256


async def test_a_delayed_settlement_resolves_itself_when_its_line_comes(office: Office) -> None:
    payment = await office.capturing()
    captured_on = office.today
    await office.days_pass(7)
    late = await office.closed(office.later(-1))
    [delayed] = await office.found(unresolved=True)

    await office.line(payment)
    done = await office.closed()

    assert late.day.verdict == "open discrepancies"
    assert delayed.kind in {Kind.DELAYED_SETTLEMENT, Kind.MISSING_AT_GATEWAY}
    assert (delayed.payment_id, delayed.amount) == (payment.id, 1299)
    assert done.day.verdict == "closed"
    assert await office.kinds() == []
    assert (await office.reconciliation.verdict(office.later(-1))).verdict == "closed"
    assert captured_on < office.today


async def test_what_is_not_due_yet_is_no_discrepancy(office: Office) -> None:
    await office.capturing()

    await office.closed()

    assert await office.kinds() == []


async def test_a_delayed_settlement_becomes_a_missing_one(office: Office) -> None:
    payment = await office.capturing()
    for _ in range(14):
        await office.days_pass(1)
        await office.closed(office.later(-1))

    [missing] = await office.found(unresolved=True)
    events = await office.reconciliation.discrepancies.events(missing.id)

    assert (missing.kind, missing.payment_id) == (Kind.MISSING_AT_GATEWAY, payment.id)
    assert [event.event for event in events] == ["opened", "became missing"]


async def test_a_partial_settlement_counts_what_came_and_waits_for_the_rest(
    office: Office,
) -> None:
    payment = await office.capturing()
    await office.line(payment, gross=500, fee=32)
    await office.closed()
    between = await office.payment(payment)
    [partial] = await office.found(unresolved=True)

    await office.days_pass(1)
    await office.line(payment, gross=799, fee=36)
    await office.closed()

    assert (between.state, between.settled_amount) == (PaymentState.CAPTURING, 500)
    assert (partial.kind, partial.amount) == (Kind.PARTIAL_SETTLEMENT, 799)
    assert (await office.payment(payment)).state is PaymentState.SETTLED
    assert await office.kinds() == []
    assert await office.balance("bank") == 1299 - 32 - 36


async def test_a_chargeback_nobody_told_us_of_is_a_discrepancy(office: Office) -> None:
    payment = await office.installation.settled()
    await office.closed()
    await office.days_pass(1)
    await office.line(payment, type="chargeback", gross=-1299, fee=0)

    await office.closed()

    [chargeback] = await office.found(unresolved=True)
    assert (chargeback.kind, chargeback.amount) == (Kind.CHARGEBACK, 1299)
    assert await office.balance("bank") == 1256


async def test_a_chargeback_line_ties_to_its_dispute(office: Office) -> None:
    payment = await office.installation.settled()
    await office.disputed(payment)

    done = await office.closed()

    assert done.run.counts == {"matched": 3}
    assert await office.balance("disputed_funds") == 1299
    assert await office.balance("bank") == 1256 - 1299 - 1500
    assert await office.balance("settled_funds") == 0


async def test_a_chargeback_resolves_itself_when_its_dispute_is_told(office: Office) -> None:
    payment = await office.installation.settled()
    await office.closed()
    await office.days_pass(1)
    await office.gateway_disputes(payment)
    await office.closed()
    before = await office.kinds()

    await office.told_of_dispute(payment)
    await office.days_pass(1)
    await office.closed()

    assert before == [Kind.CHARGEBACK]
    assert await office.kinds() == []
    assert await office.balance("bank") == 1256 - 1299 - 1500


async def test_a_failed_settlement_is_a_discrepancy_until_our_records_say_so(
    office: Office,
) -> None:
    payment = await office.bought()
    await office.installation.gateway_does(
        f"transactions/{payment.gateway_transaction_id}/settlement-failure"
    )
    await office.closed()
    before = await office.kinds()

    await office.installation.until(payment.id, lambda p: p.state is PaymentState.SETTLEMENT_FAILED)
    await office.days_pass(1)
    await office.closed()

    assert before == [Kind.FAILED_SETTLEMENT]
    assert await office.kinds() == []
    assert await office.balance("risk_loss:settlement_failed") == 1299


@pytest.mark.parametrize(
    ("reported", "kind", "at_stake"),
    [
        ({"transaction_id": "txn_alien", "reference": None}, Kind.MISSING_IN_BOOK, 1299),
        ({"gross": 1399, "fee": 45}, Kind.AMOUNT, 100),
        ({"currency": "USD"}, Kind.CURRENCY, 1299),
        ({"fee": 143}, Kind.FEE_DRIFT, 100),
        ({"type": "refund", "gross": -1299, "fee": 0}, Kind.REFUND_MISMATCH, 1299),
        ({"type": "adjustment", "gross": -7, "fee": 0}, Kind.AMOUNT, 7),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_line_that_differs_opens_its_kind_and_changes_nothing_else(
    office: Office, reported: dict[str, object], kind: Kind, at_stake: int
) -> None:
    payment = await office.capturing()
    await office.line(payment, **reported)

    done = await office.closed()

    [found] = await office.found(unresolved=True)
    assert (found.kind, found.amount) == (kind, at_stake)
    assert done.run.counts == {kind.value: 1}
    settles = kind is Kind.FEE_DRIFT
    assert (await office.payment(payment)).state is (
        PaymentState.SETTLED if settles else PaymentState.CAPTURING
    )


async def test_a_line_that_is_there_twice_pays_once(office: Office) -> None:
    payment = await office.capturing()
    await office.line(payment, booked_at="2026-01-01T00:00:00Z")
    await office.line(payment, booked_at="2026-01-01T00:00:00Z")

    done = await office.closed()

    assert done.run.counts == {"matched": 1, "duplicate_line": 1}
    assert await office.kinds() == [Kind.DUPLICATE_LINE]
    assert await office.balance("bank") == 1256


async def test_a_refund_the_gateway_never_lists_is_found(office: Office) -> None:
    payment = await office.installation.settled()
    await office.closed()
    await office.refund_order(payment, 300)
    await office.forget_lines_of("refund")
    await office.days_pass(9)

    await office.closed(office.later(-1))

    [found] = await office.found(unresolved=True)
    assert (found.kind, found.amount) == (Kind.REFUND_MISMATCH, 300)


async def test_every_line_ends_in_one_class_and_the_sums_tie_out(office: Office) -> None:
    payment = await office.capturing()
    await office.line(payment)
    await office.line(payment, type="adjustment", gross=-5, fee=0)
    await office.line(transaction_id="txn_alien")

    await office.closed()

    report = await office.reconciliation.reporting.report(office.today)
    [stored] = report.reports
    assert report.ties_out
    assert (report.matched_lines, report.differing_lines) == (1, 2)
    assert (stored.lines_stored, stored.gross_stored) == (stored.line_count, stored.gross_total)
    assert stored.net_stored == stored.net_total
