"""The verdict of a day, its seal, its schedule, its report, and judging it again."""

import asyncio
import csv
import io
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from unittest.mock import AsyncMock
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.job_rows import Job
from caas.billing_database.reconciliation_days import (
    DayNotClosedError,
    DayNotFoundError,
    DaySealedError,
)
from caas.jobs import RetryIn
from caas.reconciliation import INCREMENTAL
from caas.reconciliation.refundable import Refundable
from caas.reconciliation.reporting import as_csv, as_data, as_pdf, position_text
from caas.reconciliation.runs import (
    KEPT,
    KEPT_DAYS_MAX,
    NotReplayableError,
)
from caas.reconciliation.schedule import Schedule, seconds_to_closing
from caas.rules.compared_relations import RULE_VERSION
from caas.rules.discrepancies import Resolution
from tests.installation import PATIENCE_SECONDS
from tests.reconciliation.office import Office

MADRID = ZoneInfo("Europe/Madrid")


async def test_a_day_that_was_never_compared_has_no_verdict(office: Office) -> None:
    with pytest.raises(DayNotFoundError):
        await office.reconciliation.verdict(office.today)


async def test_a_day_is_closed_only_after_both_directions_were_compared(office: Office) -> None:
    await office.installation.gateway_does("close-day", date=office.today.isoformat())

    half = await office.reconciliation.reconcile(office.today, mode=INCREMENTAL)
    whole = await office.reconciliation.reconcile(office.today)

    assert (half.day.verdict, whole.day.verdict) == ("in progress", "closed")
    assert half.day.because == "our records were not compared yet"


async def test_only_a_closed_day_can_be_sealed(office: Office) -> None:
    await office.line(transaction_id="txn_alien")
    await office.closed()

    with pytest.raises(DayNotClosedError):
        await office.reconciliation.seal(office.today, by="Ana")
    await office.resolved(Resolution.CORRECT_BY_ENTRY)
    sealed = await office.reconciliation.seal(office.today, by="Ana")

    assert (sealed.sealed_by, sealed.verdict) == ("Ana", "closed")


async def test_a_day_is_not_sealed_before_its_decisions_are_carried_out(
    office: Office, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parked decision was overlooked: its refund, let go later, could not be written down."""
    monkeypatch.setattr(Refundable, "refusal", AsyncMock(return_value=None))
    await office.line(await office.capturing(), gross=1399, fee=45)
    await office.closed()
    decided = await office.resolved(Resolution.REFUND_THE_CUSTOMER)
    paused = "select 1 from jobs where subject = $1 and paused_at is not null"

    async with asyncio.timeout(PATIENCE_SECONDS):
        while await database.fetchrow(paused, decided.id) is None:
            await office.installation.platform.jobs.run_due()
            await asyncio.sleep(0.01)

    with pytest.raises(DayNotClosedError, match="not carried out: 1"):
        await office.reconciliation.seal(office.today, by="Ana")
    with pytest.raises(asyncpg.CheckViolationError, match="not carried out"):
        await database.fetch(
            "update reconciliation_days set sealed_at = db_now(), sealed_by = 'Ana'"
        )
    await office.reconciliation.investigation.reopen(decided.id, note="They refuse.", by="Luis")
    await office.resolved(Resolution.CORRECT_BY_ENTRY)
    assert (await office.reconciliation.seal(office.today, by="Ana")).sealed_by == "Ana"


async def test_a_sealed_day_is_not_sealed_again(office: Office) -> None:
    await office.line(await office.capturing())
    await office.closed()
    await office.reconciliation.seal(office.today, by="Ana")

    with pytest.raises(DayNotClosedError, match=r"is sealed by Ana\. Nothing was changed"):
        await office.reconciliation.seal(office.today, by="Luis")


@pytest.mark.parametrize(
    "statement",
    [
        "insert into settlement_lines (report_id, line_no, batch_id, type, gross, fee, net,"
        " currency, booked_at, value_date, class, at_stake, run_id, at) select report_id, 99, 'b',"
        " 'fee', 0, 0, 0, 'EUR', now(), now(), 'matched', 0, run_id, now() from settlement_lines",
        "update settlement_reports set lines_stored = 0",
        "update discrepancies set version = version + 1, status = 'open'",
        "insert into discrepancy_entries (discrepancy_id, debit, credit, amount, currency, at)"
        " select id, 'bank', 'risk_loss:x', 1, 'EUR', now() from discrepancies",
        "insert into discrepancy_events select discrepancy_id, 9, 'noted', 'resolved', 'me', '{}',"
        " now() from discrepancy_events limit 1",
        "update reconciliation_days set sealed_at = null, sealed_by = null",
    ],
    ids=lambda statement: " ".join(statement.split()[:3]),
)
async def test_postgresql_itself_keeps_the_seal(
    office: Office, database: Database, statement: str
) -> None:
    await office.line(transaction_id="txn_alien")
    await office.closed()
    await office.resolved(Resolution.CORRECT_BY_ENTRY)
    await office.reconciliation.seal(office.today, by="Ana")

    with pytest.raises(asyncpg.RestrictViolationError, match="sealed"):
        await database.fetch(statement)


async def test_a_sealed_day_s_discrepancy_is_not_reopened(office: Office) -> None:
    await office.line(transaction_id="txn_alien")
    await office.closed()
    resolved = await office.resolved(Resolution.CORRECT_BY_ENTRY)
    await office.reconciliation.seal(office.today, by="Ana")

    with pytest.raises(DaySealedError):
        await office.reconciliation.investigation.reopen(resolved.id, note="Again.", by="Luis")


async def test_the_night_closes_yesterday_and_what_was_missed_before(office: Office) -> None:
    payment = await office.capturing()
    await office.line(payment)
    first = office.today
    await office.reconciliation.reconcile(first, mode=INCREMENTAL)
    await office.days_pass(3)

    answer = await office.reconciliation.of().schedule.daily(job())

    days = await office.reconciliation.days.listed(office.reconciliation.of().gateway)
    assert isinstance(answer, RetryIn)
    assert [day.day for day in days] == [first + timedelta(days=n) for n in (2, 1, 0)]
    assert {day.verdict for day in days} == {"closed"}


async def test_the_hour_takes_in_the_running_day(office: Office) -> None:
    await office.line(await office.capturing())

    answer = await office.reconciliation.of().schedule.hourly(job())

    assert isinstance(answer, RetryIn)
    assert await office.balance("bank") == 1256
    assert (await office.reconciliation.verdict(office.today)).verdict == "in progress"


async def test_a_gateway_that_reports_batches_has_no_days_before_its_first_payment(
    office: Office,
) -> None:
    """A gateway kept for later had an incomplete day every day, the first before the database."""
    asked: list[date] = []

    async def reconcile(day: date, _mode: str) -> None:
        asked.append(day)

    def schedule(gateway: str) -> Schedule:
        return Schedule(
            tables=office.installation.platform.tables, days=office.reconciliation.days,
            gateway=gateway, zone=MADRID, reconcile=reconcile, reports_daily=False,
        )  # fmt: skip

    await office.capturing()
    for run in (schedule("adyen").hourly, schedule("adyen").daily):
        assert isinstance(await run(job()), RetryIn)
    assert asked == []
    await schedule("contract").hourly(job())
    assert asked == [office.today]


async def test_a_silent_gateway_is_asked_again_and_nobody_is_alerted(office: Office) -> None:
    await office.installation.gateway_does(
        "faults", match={"operation": "settlements"}, action={"status": 503}
    )

    answer = await office.reconciliation.of().schedule.daily(job())

    assert isinstance(answer, RetryIn)
    assert (answer.due_in, answer.because is None) == (600.0, False)
    assert await office.installation.platform.tables.cases.listed() == []


async def test_the_schedule_is_jobs_and_begun_once(office: Office) -> None:
    await office.reconciliation.begin_schedule()
    await office.reconciliation.begin_schedule()

    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(await office.reconciliation.days.listed(office.reconciliation.of().gateway)) < 2:
            await office.installation.platform.jobs.run_due()
            await asyncio.sleep(0.01)

    row = await office.installation.database.fetchrow(
        "select count(*) from jobs where kind like 'reconcile_%'"
    )
    assert row is not None
    assert row[0] == 2


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        (datetime(2026, 6, 1, 10, tzinfo=UTC), 16),
        (datetime(2026, 10, 24, 10, tzinfo=UTC), 17),
        (datetime(2026, 3, 28, 10, tzinfo=UTC), 16),
    ],
)
def test_the_night_s_job_keeps_the_market_s_clock(now: datetime, hours: int) -> None:
    assert seconds_to_closing(now.astimezone(MADRID).date(), now, MADRID) == hours * 3600


async def test_a_run_is_judged_again_and_gives_the_same_bytes(office: Office) -> None:
    await office.line(await office.capturing())
    await office.line(transaction_id="txn_alien")
    done = await office.closed()
    await office.resolved(Resolution.CORRECT_BY_ENTRY)

    digest = await office.reconciliation.replay(done.run.id)

    assert digest == done.run.output_hash
    assert (done.run.rule_version, done.run.engine) == (RULE_VERSION, "postgresql")
    assert done.run.as_of is not None


async def test_a_run_whose_inputs_are_gone_is_not_judged_again(office: Office) -> None:
    refused = await office.closed()
    for kept in office.reconciliation.of().runs._settings.folder.rglob("*.parquet"):
        kept.unlink()
    (office.reconciliation.of().runs._settings.folder / "compared" / str(refused.run.id)).rmdir()

    with pytest.raises(NotReplayableError):
        await office.reconciliation.replay(refused.run.id)


async def test_what_was_compared_is_kept_for_more_than_a_year_and_not_for_ever(
    office: Office,
) -> None:
    await office.installation.gateway_does("close-day", date=office.today.isoformat())
    first, second = [(await office.reconciliation.reconcile(office.today)).run.id for _ in range(2)]
    kept = office.reconciliation.of().runs._settings.folder / KEPT
    for run, days in ((first, KEPT_DAYS_MAX + 1), (second, KEPT_DAYS_MAX - 1)):
        at = (kept / str(run)).stat().st_mtime - timedelta(days=days).total_seconds()
        os.utime(kept / str(run), (at, at))

    third = (await office.reconciliation.reconcile(office.today)).run.id

    assert {folder.name for folder in kept.iterdir()} == {str(second), str(third)}
    with pytest.raises(NotReplayableError):
        await office.reconciliation.replay(first)


async def test_a_day_s_report_says_the_same_in_its_three_forms(office: Office) -> None:
    settled = await office.capturing()
    await office.capturing()
    await office.line(settled)
    await office.line(transaction_id="txn_alien")
    await office.closed()

    report = await office.reconciliation.reporting.report(office.today)
    tables = dict(tables_of(as_csv(report)))
    pages = as_pdf(report)

    position = await office.reconciliation.reporting.position(office.today, office.today)
    [exposure], [age] = position.exposure, position.ageing
    assert (report.matched_lines, report.differing_lines, report.ties_out) == (1, 1, True)
    assert (exposure.payments, exposure.amount) == (1, 1299)
    assert (age.kind, age.days, age.discrepancies) == ("missing_in_book", "0-1", 1)
    assert tables["Lines by class"][1:] == [
        ["matched", "1", "12.99", "0.43", "12.56", "EUR"],
        ["missing_in_book", "1", "12.99", "0.43", "12.56", "EUR"],
    ]
    assert pages.startswith(b"%PDF")
    assert as_data(report)["ties_out"] is True


async def test_what_was_kept_makes_no_loss_smaller(office: Office) -> None:
    """Where 1.00 too much was kept, and 5.00 were lost, the position had a loss of 4.00."""
    payment, day = await office.capturing(), office.today
    await office.line(payment, gross=1399, fee=45)
    await office.closed()
    await office.resolved(Resolution.WRITE_OFF)
    kept = (await office.reconciliation.reporting.report(day)).figures
    await office.days_pass(1)
    await office.line(payment, gross=-500, fee=0)
    await office.closed()
    await office.resolved(Resolution.WRITE_OFF)

    found = await office.reconciliation.reporting.position(day, office.today)

    assert [it.amount for it in kept.unallocated_income] == [100]
    assert kept.losses == []
    assert [(loss.cause, loss.amount) for loss in found.losses] == [("write_off", 500)]
    assert [it.amount for it in found.unallocated_income] == [100]
    assert "Unallocated income" in position_text(found)


async def test_no_cell_of_the_report_is_a_formula(office: Office) -> None:
    payment = await office.capturing()
    await office.line(payment, gross=1399, fee=45)
    await office.closed()
    [found] = await office.found(unresolved=True)
    await office.reconciliation.investigation.assign(found.id, owner="=HYPERLINK(1)", by="Ana")

    report = await office.reconciliation.reporting.report(office.today)

    cells = [cell for _, rows in tables_of(as_csv(report)) for row in rows for cell in row]
    assert "'=HYPERLINK(1)" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


def job() -> Job:
    """A piece of the schedule's jobs."""
    return Job("reconcile", new_id(), {}, 1, 1)


def tables_of(content: bytes) -> Iterator[tuple[str, list[list[str]]]]:
    """Cut a report's CSV into its tables."""
    title: str = ""
    rows: list[list[str]] = []
    for row in csv.reader(io.StringIO(content.decode())):
        if not row:
            yield title, rows
            title, rows = "", []
        elif not title:
            [title] = row
        else:
            rows.append(row)
