"""A verdict is computed, a seal keeps its bytes, and a judged day may be told more (101)."""

import hashlib
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from caas.billing_database.payments import Payment
from caas.external_systems.report_files import BadReportError
from caas.reconciliation import INCREMENTAL, Expected
from caas.reconciliation.comparison import NotOurReportError
from caas.reconciliation.validation import ResolutionNotAllowedError
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from caas.rules.payment_states import PaymentState
from tests.reconciliation.crowd import line_of, report_file, settlements
from tests.reconciliation.office import Office


def another(number: int, payment: Payment, **reported: Any) -> str:
    """Write a line of another report of the same day."""
    return line_of(number, payment, batch_id="bat_2", **reported)


async def verdicts(office: Office, day: date) -> set[str]:
    """Return the verdict of a day, whoever tells it."""
    listed = {it.day: it.verdict for it in await office.reconciliation.listed()}
    report = await office.reconciliation.reporting.report(day)
    return {listed[day], (await office.reconciliation.verdict(day)).verdict, report.day.verdict}


async def test_another_report_of_a_judged_day_opens_it_again(
    office: Office, tmp_path: Path
) -> None:
    first, second = await office.capturing(), await office.capturing()
    path = report_file(tmp_path / "first.csv", settlements([first]))
    before = await office.reconciliation.reconcile(office.today, file=path)
    path = report_file(
        tmp_path / "second.csv",
        [another(1, second), another(2, second, transaction_id="txn_x", reference="")],
    )

    after = await office.reconciliation.reconcile(office.today, file=path)

    assert before.day.verdict == "closed"
    assert after.run.counts == {"matched": 1, "missing_in_book": 1}
    assert await verdicts(office, office.today) == {"open discrepancies"}
    assert (await office.payment(second)).state is PaymentState.SETTLED


async def test_a_line_that_cannot_be_read_opens_a_judged_day_again(
    office: Office, tmp_path: Path
) -> None:
    payment = await office.capturing()
    path = report_file(tmp_path / "first.csv", settlements([payment]))
    await office.reconciliation.reconcile(office.today, file=path)
    path = report_file(tmp_path / "second.csv", [another(1, payment, type="gift")])

    after = await office.reconciliation.reconcile(office.today, file=path)

    assert after.day.because == "lines that could not be read: 1"
    assert await verdicts(office, office.today) == {"incomplete"}


async def test_each_line_that_cannot_be_read_is_kept_though_its_place_is_taken(
    office: Office, tmp_path: Path
) -> None:
    payment = await office.capturing()
    for reported in ({"type": "gift"}, {"gross": "12.99", "net": 1, "fee": 0}):
        path = report_file(tmp_path / "bad.csv", [line_of(1, payment, **reported)])
        await office.reconciliation.reconcile(office.today, file=path)

    aside = await office.reconciliation.quarantined(office.today)

    assert [(it.place, it.released_at) for it in aside] == [(2, None), (2, None)]


async def test_a_fetch_that_brings_nothing_releases_nothing(office: Office, tmp_path: Path) -> None:
    good, bad = await office.capturing(), await office.capturing()
    path = report_file(tmp_path / "a.csv", [line_of(1, good), line_of(2, bad, type="gift")])
    await office.reconciliation.reconcile(office.today, file=path)
    await office.installation.gateway_does("close-day", date=office.today.isoformat())

    with pytest.raises(BadReportError):
        await office.reconciliation.reconcile(office.today)
    [aside] = await office.reconciliation.quarantined(office.today)
    path = report_file(tmp_path / "b.csv", [line_of(1, good), line_of(2, bad)])
    done = await office.reconciliation.reconcile(office.today, file=path)
    [released] = await office.reconciliation.quarantined(office.today)

    assert (aside.line_no, aside.released_at) == (2, None)
    assert (released.released_by, done.day.verdict) == ("reconciliation", "closed")


async def test_a_line_stays_aside_when_another_one_comes(office: Office, tmp_path: Path) -> None:
    good, bad = await office.capturing(), await office.capturing()
    lines = [line_of(1, good), line_of(2, bad, type="gift")]
    await office.reconciliation.reconcile(office.today, file=report_file(tmp_path / "a.csv", lines))
    lines.append(line_of(3, await office.capturing()))

    done = await office.reconciliation.reconcile(
        office.today, file=report_file(tmp_path / "b.csv", lines)
    )

    [aside] = await office.reconciliation.quarantined(office.today)
    assert aside.released_at is None
    assert done.day.verdict == "incomplete"


async def test_a_report_that_shrinks_is_a_contradiction_and_nothing_is_dropped(
    office: Office, tmp_path: Path
) -> None:
    payments = [await office.capturing(), await office.capturing()]
    path = report_file(tmp_path / "whole.csv", settlements(payments))
    await office.reconciliation.reconcile(office.today, file=path)
    half = report_file(tmp_path / "half.csv", settlements(payments[:1]))

    with pytest.raises(BadReportError, match=r"has shrunk: 1 stored lines .*\(line 2\)"):
        await office.reconciliation.reconcile(office.today, file=half)

    runs = await office.reconciliation.runs_of(office.today)
    assert (runs[0].state, "has shrunk" in (runs[0].because or "")) == ("refused", True)
    assert await office.balance("bank") == 2 * 1256
    [case] = await office.installation.platform.tables.cases.listed()
    assert case.kind == "settlement_report_refused"


async def test_a_refused_report_changes_nothing_of_the_accepted_one(
    office: Office, tmp_path: Path
) -> None:
    await office.line(await office.capturing())
    await office.closed()
    [accepted] = await office.reconciliation.reports.of_day(
        office.reconciliation.of().gateway, office.today
    )
    payment = await office.capturing()
    lines = [
        line_of(number, payment, transaction_id=f"txn_{number}", reference=f"order-{number}")
        for number in range(1, 151)
    ]
    path = report_file(tmp_path / "alien.csv", lines)

    with pytest.raises(NotOurReportError):
        await office.reconciliation.reconcile(office.today, file=path)

    assert await office.reconciliation.reports.of_day(
        office.reconciliation.of().gateway, office.today
    ) == [accepted]
    assert await verdicts(office, office.today) == {"closed"}
    assert await office.reconciliation.quarantined(office.today) == []


async def test_lines_of_a_sealed_day_go_to_the_next_open_day_named_as_late(office: Office) -> None:
    await office.line(await office.capturing())
    await office.closed()
    day = office.today
    await office.reconciliation.seal(day, by="Ana")
    sealed = await office.reconciliation.reporting.file(day, "csv")
    late = await office.capturing()
    office.installation.gateway.reports._reports[day.isoformat()].closed = False
    await office.line(late)
    await office.installation.gateway_does("close-day", date=day.isoformat())

    first = await office.reconciliation.reconcile(day)
    again = await office.reconciliation.reconcile(day)

    assert (first.day.day, first.run.late_of) == (day + timedelta(days=1), day)
    assert (first.run.lines, again.run.lines) == (1, 0)
    [report] = await office.reconciliation.reports.of_day(
        office.reconciliation.of().gateway, day + timedelta(days=1)
    )
    assert (report.late_of, report.lines_stored) == (day, 1)
    assert (await office.payment(late)).state is PaymentState.SETTLED
    assert await office.reconciliation.reporting.file(day, "csv") == sealed
    assert first.day.verdict == "in progress"


async def test_lines_of_a_sealed_day_come_beside_the_open_day_s_own_report(
    office: Office, tmp_path: Path
) -> None:
    """The next open day had a report already: the late one collided with it, and never came in."""
    day = office.today
    await office.closed()
    await office.reconciliation.seal(day, by="Ana")
    await office.days_pass(1)
    await office.line(await office.capturing())
    await office.reconciliation.reconcile(office.today)
    late = await office.capturing()
    path = report_file(tmp_path / "late.csv", [line_of(1, late)])

    first = await office.reconciliation.reconcile(day, file=path)
    again = await office.reconciliation.reconcile(day, file=path)

    assert (first.run.late_of, first.run.counts) == (day, {"matched": 1})
    assert (again.run.lines, len(await office.lines_of(late))) == (0, 1)
    reports = await office.reconciliation.reports.of_day(
        office.reconciliation.of().gateway, first.day.day
    )
    assert [it.late_of for it in reports] == [None, day]


async def test_what_a_seal_kept_never_changes(office: Office) -> None:
    await office.line(await office.capturing())
    await office.closed()
    sealed = await office.reconciliation.seal(office.today, by="Ana")
    files = {
        form: await office.reconciliation.reporting.file(office.today, form)
        for form in ("csv", "pdf")
    }
    await office.capturing()
    await office.days_pass(3)
    await office.closed(office.later(-1))

    for form, content in files.items():
        assert await office.reconciliation.reporting.file(sealed.day, form) == content
        kept = await office.reconciliation.days.sealed_report(sealed.gateway, sealed.day, form)
        assert kept == (content, hashlib.sha256(content).hexdigest())
    assert b"Ana" in files["csv"]


async def test_a_run_that_fails_says_why(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.line(await office.capturing())

    async def broken(*_: object) -> object:
        raise RuntimeError

    monkeypatch.setattr(office.reconciliation.of().runs._result_application, "apply", broken)
    with pytest.raises(RuntimeError):
        await office.closed()

    [run] = await office.reconciliation.runs_of(office.today)
    assert (run.state, "RuntimeError" in (run.because or "")) == ("stopped", True)


async def test_the_counts_of_a_run_are_of_that_run(office: Office) -> None:
    await office.line(transaction_id="txn_alien")
    first = await office.closed()

    second = await office.reconciliation.reconcile(office.today)

    assert (first.run.counts, second.run.counts) == ({"missing_in_book": 1}, {})
    assert second.day.verdict == "open discrepancies"


@pytest.mark.parametrize("reported", [{"currency": "USD"}, {"gross": -1299, "fee": 0}])
async def test_a_payment_is_told_only_by_its_own_money(
    office: Office, reported: dict[str, object]
) -> None:
    payment = await office.capturing()
    await office.line(payment, **reported)
    await office.closed()

    await office.a_settlement_is_late()
    late = [it.kind for it in await office.found(payment_id=payment.id, unresolved=True)]
    for _ in range(6):
        await office.days_pass(1)
        await office.closed(office.later(-1))
    missing = [it.kind for it in await office.found(payment_id=payment.id, unresolved=True)]

    assert Kind.DELAYED_SETTLEMENT in late
    assert Kind.MISSING_AT_GATEWAY in missing


async def test_what_a_payment_books_by_itself_is_not_booked_by_a_person_too(office: Office) -> None:
    payment = await office.unknown()
    transaction = await office.transaction_id_of(payment)
    await office.line(payment, transaction_id=transaction)
    await office.closed()
    [found] = await office.found(unresolved=True)

    with pytest.raises(ResolutionNotAllowedError):
        await office.resolved(Resolution.CORRECT_BY_ENTRY)
    looked = await office.reconciliation.investigation.check(found.id)

    assert (found.kind, looked.allowed) == (Kind.STATE_CONFLICT, (Resolution.WAIT,))
    assert looked.entries == []


async def test_a_refund_is_offered_only_where_there_is_a_charge_to_give_back(
    office: Office,
) -> None:
    await office.line(transaction_id="txn_alien", gross=500, fee=0)
    await office.line(transaction_id=None, gross=600, fee=0)
    await office.line(transaction_id="txn_debit", type="refund", gross=-700, fee=0)
    await office.closed()

    async def offered() -> dict[int, bool]:
        return {
            found.amount: Resolution.REFUND_THE_CUSTOMER
            in (await office.reconciliation.investigation.check(found.id)).allowed
            for found in await office.found(unresolved=True)
        }

    unknown_there = await offered()
    await office.installation.gateway_does(
        "faults", match={"operation": "find"}, action={"status": 503}
    )

    assert unknown_there == {500: False, 600: False, 700: False}
    assert await offered() == {500: False, 600: False, 700: False}


async def test_a_file_of_another_day_is_refused(office: Office, tmp_path: Path) -> None:
    payment = await office.capturing()
    path = report_file(
        tmp_path / "old.csv", [line_of(1, payment, booked_at="2026-01-02T10:00:00Z")]
    )

    with pytest.raises(BadReportError, match="are of 2026-01-02, but the requested day is"):
        await office.reconciliation.reconcile(office.today, file=path)

    assert await office.balance("bank") == 0


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        (Expected(lines=3), "has 2 lines after its header, expected 3"),
        (Expected(nets=("25.13 EUR",)), "25.12 EUR instead of 25.13 EUR"),
        (Expected(nets=("25.12 EUR", "1.00 USD")), "0.00 USD instead of 1.00 USD"),
        (Expected(lines=2, nets=("25.12 eur",)), ""),
    ],
)
async def test_half_a_file_is_found_by_what_its_giver_knows_of_it(
    office: Office, tmp_path: Path, expected: Expected, sentence: str
) -> None:
    payments = [await office.capturing(), await office.capturing()]
    path = report_file(tmp_path / "whole.csv", settlements(payments))

    if not sentence:
        done = await office.reconciliation.reconcile(office.today, file=path, expected=expected)
        assert done.day.verdict == "closed"
        return
    with pytest.raises(BadReportError, match=sentence):
        await office.reconciliation.reconcile(office.today, file=path, expected=expected)


async def test_a_day_that_is_not_over_is_in_progress_and_one_that_is_is_incomplete(
    office: Office,
) -> None:
    running = await office.reconciliation.reconcile(office.today, mode=INCREMENTAL)
    await office.days_pass(1)

    over = await office.reconciliation.verdict(running.day.day)

    assert (running.day.verdict, over.verdict) == ("in progress", "incomplete")


async def test_a_running_day_with_something_unresolved_is_not_in_progress(office: Office) -> None:
    await office.line()

    done = await office.reconciliation.reconcile(office.today)

    assert done.day.verdict == "open discrepancies"
    assert done.day.because == "not resolved: 1; a report is still open"
    assert await verdicts(office, office.today) == {"open discrepancies"}
