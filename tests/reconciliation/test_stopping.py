"""Fault F-C2: stopped at any line and started again, a run ends as if it had never stopped."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from caas.billing_database import tables as billing_tables
from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.billing_database.reconciliation_days import AlreadyReconcilingError
from caas.billing_database.tables import BillingDatabase
from caas.external_systems import reconciliation_workbench as workbench
from caas.external_systems.reconciliation_workbench import Workbench
from caas.reconciliation.apply_results import ResultApplication
from caas.reconciliation.runs import NotReplayableError
from caas.reconciliation.throttle import Throttle
from tests.installation import PATIENCE_SECONDS
from tests.reconciliation.crowd import crowd, line_of, report_file
from tests.reconciliation.office import Office

LINES = 12
RUNS = "select id from reconciliation_runs"


class PowerCutError(BaseException):
    """The machine went dark."""


async def a_day(office: Office, path: Path) -> list[Payment]:
    """Twelve lines: some settle, some are two parts of one payment, some differ."""
    payments = await crowd(office.installation.platform.tables, 8)
    settled = await crowd(office.installation.platform.tables, 2, settled=True)
    part = payments[7]
    lines = [
        line_of(1, payments[0]),
        line_of(2, part, gross=400, fee=31),
        line_of(3, payments[1], gross=1),
        line_of(4, settled[0]),
        line_of(5, payments[2], transaction_id="txn_alien", reference=None),
        line_of(6, part, gross=part.amount - 400, fee=33),
        line_of(7, payments[3]),
        line_of(8, payments[3]),
        line_of(9, payments[4], currency="USD"),
        line_of(10, payments[5]),
        line_of(11, settled[1], fee=1000),
        line_of(12, payments[6]),
    ]
    report_file(path, lines)
    return [*payments, *settled]


async def aftermath(office: Office, payments: list[Payment]) -> dict[str, Any]:
    """Return everything that a run leaves behind, but for its own id and time."""
    tables: BillingDatabase = office.installation.platform.tables
    place = {payment.id: number for number, payment in enumerate(payments)}
    now = [await tables.payments.get(payment.id) for payment in payments]
    lines = await office.installation.database.fetch(
        "select line_no, class, at_stake, payment_id from settlement_lines order by line_no"
    )
    open_ = await office.found(unresolved=True)
    accounts = ("bank", "gateway_fees", "settled_funds", "gateway_receivable")
    return {
        "payments": [(p.state, p.settled_amount) for p in now],
        "lines": [(r[0], r[1], r[2], place.get(r[3])) for r in lines],
        "discrepancies": sorted((d.kind, d.line_no, d.amount) for d in open_),
        "ledger": [await office.balance(account) for account in accounts],
        "verdict": (await office.reconciliation.verdict(office.today)).verdict,
    }


def line_by_line(office: Office) -> None:
    """Commit every line by itself."""
    runs = office.reconciliation.of().runs
    runs._result_application = ResultApplication(
        office.installation.platform.tables, reports=runs.reports, discrepancies=runs.discrepancies,
        days=runs.days, chunk_lines=1,
    )  # fmt: skip


@pytest.fixture
async def unbroken(office: Office, tmp_path: Path) -> dict[str, Any]:
    """What a run leaves behind that nobody stops."""
    payments = await a_day(office, tmp_path / "day.csv")
    line_by_line(office)
    await office.reconciliation.reconcile(office.today, file=tmp_path / "day.csv")
    return await aftermath(office, payments)


EXPECTED_CLASSES = [
    "matched", "matched", "partial_settlement", "matched", "missing_in_book", "matched",
    "matched", "duplicate_line", "currency", "matched", "fee_drift", "matched",
]  # fmt: skip


async def test_an_unbroken_run_finds_what_is_there(unbroken: dict[str, Any]) -> None:
    assert [line[1] for line in unbroken["lines"]] == EXPECTED_CLASSES


@pytest.mark.parametrize("stop_after", range(LINES + 1))
async def test_a_run_stopped_after_any_line_ends_the_same(
    office: Office, tmp_path: Path, stop_after: int
) -> None:
    payments = await a_day(office, tmp_path / "day.csv")
    line_by_line(office)

    def cut(phase: str, done: int, _total: int) -> None:
        if (phase == "applied" and done == stop_after) or (phase == "compared" and stop_after == 0):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        await office.reconciliation.reconcile(office.today, file=tmp_path / "day.csv", progress=cut)
    await office.reconciliation.reconcile(office.today, file=tmp_path / "day.csv")

    left = await aftermath(office, payments)
    assert [line[1] for line in left["lines"]] == EXPECTED_CLASSES
    assert left["discrepancies"] == [
        ("currency", 9, 1004), ("duplicate_line", 8, 1003), ("fee_drift", 3, 14),
        ("fee_drift", 11, 961),
        ("missing_in_book", 5, 1002), ("partial_settlement", 3, 1000),
    ]  # fmt: skip
    assert [state for state, _ in left["payments"]] == [
        "Settled", "Capturing", "Capturing", "Settled", "Capturing", "Settled", "Settled",
        "Settled", "Settled", "Settled",
    ]  # fmt: skip
    assert left["payments"][1][1] == 1
    assert left["verdict"] == "open discrepancies"


@pytest.mark.parametrize("served", [False, True])
async def test_what_a_run_compared_is_kept_before_it_applies_anything(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, served: bool
) -> None:
    """Beside customers it was kept last, and a run killed before could not be judged again."""
    await a_day(office, tmp_path / "day.csv")
    line_by_line(office)

    async def watch(self: Throttle, _database: Database) -> None:
        self.others_are_served = served

    def cut(phase: str, done: int, _total: int) -> None:
        if phase == "applied" and done == 1:
            raise PowerCutError

    monkeypatch.setattr(Throttle, "watch", watch)
    monkeypatch.setattr("caas.reconciliation.throttle.RESTS", 0.0)
    with pytest.raises(PowerCutError):
        await office.reconciliation.reconcile(office.today, file=tmp_path / "day.csv", progress=cut)
    [run_id] = [row[0] for row in await office.installation.database.fetch(RUNS)]

    assert await office.reconciliation.replay(run_id)


async def test_a_run_that_is_stopped_while_it_computes_ends_in_order(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB refused to close beside the computation, and the process ended with its error."""
    began, ended = threading.Event(), threading.Event()

    def counted(bench: Workbench, _relation: str = "report_lines") -> int:
        began.set()
        try:
            return int(bench._one("from range(10000000) a, range(10000000) b select count(*)"))
        finally:
            ended.set()

    await a_day(office, tmp_path / "day.csv")
    running = office.reconciliation.of().runs._running()
    monkeypatch.setattr(Workbench, "count", counted)
    run = asyncio.create_task(
        office.reconciliation.reconcile(office.today, file=tmp_path / "day.csv")
    )
    assert await asyncio.to_thread(began.wait, PATIENCE_SECONDS), run

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert await asyncio.to_thread(ended.wait, PATIENCE_SECONDS)
    assert [*running.iterdir()] == []
    [stopped] = await office.installation.database.fetch("select state from reconciliation_runs")
    assert stopped["state"] == "stopped"


async def test_what_was_kept_in_part_cannot_be_judged_again(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_day(office, tmp_path / "day.csv")

    def dark(*_: object) -> None:
        raise PowerCutError

    monkeypatch.setattr(workbench, "hashlib", SimpleNamespace(sha256=dark))
    with pytest.raises(PowerCutError):
        await office.reconciliation.reconcile(office.today, file=tmp_path / "day.csv")
    [run_id] = [row[0] for row in await office.installation.database.fetch(RUNS)]

    with pytest.raises(NotReplayableError):
        await office.reconciliation.replay(run_id)


async def test_what_a_killed_run_left_on_the_disk_is_cleared_by_the_next(
    office: Office, tmp_path: Path
) -> None:
    """A process that is killed cannot remove its folder; each left a report's size behind."""
    await a_day(office, tmp_path / "day.csv")
    running = office.reconciliation.of().runs._running()
    (running / "left").mkdir(parents=True)

    await office.reconciliation.reconcile(office.today, file=tmp_path / "day.csv")

    assert [*running.iterdir()] == []


async def test_a_killed_run_is_told_as_stopped_by_the_next(office: Office, tmp_path: Path) -> None:
    """A process that is killed cannot say that it ended; its run was running for ever."""
    await a_day(office, tmp_path / "day.csv")
    days, killed = office.reconciliation.days, new_id()
    await days.begin(killed, office.reconciliation.of().gateway, office.today, "close", "1")

    await office.reconciliation.reconcile(office.today, file=tmp_path / "day.csv")

    assert (await days.run(killed)).state == "stopped"


async def test_only_one_run_at_a_time(office: Office, tmp_path: Path) -> None:
    await a_day(office, tmp_path / "day.csv")

    async with office.reconciliation.days.alone(office.reconciliation.of().gateway):
        with pytest.raises(AlreadyReconcilingError):
            await office.reconciliation.reconcile(office.today, file=tmp_path / "day.csv")


async def test_a_crowd_is_lawful(database: Database) -> None:
    payments = await crowd(billing_tables.opened(database), 3, settled=True)

    assert {payment.state for payment in payments} == {"Settled"}
