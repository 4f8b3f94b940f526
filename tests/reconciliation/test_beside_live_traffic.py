"""Fault F-C5: a run beside live traffic finds nothing that is not there, and adds nothing twice."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from caas.billing_database.reconciliation_snapshot import (
    LateWindow,
    ReconciliationSnapshot,
    reconciliation_snapshot,
)
from caas.external_systems.reconciliation_workbench import Workbench
from caas.external_systems.report_files import BadReportError, ReportFile
from caas.reconciliation import INCREMENTAL
from caas.rules.payment_states import PaymentState
from tests.reconciliation.crowd import crowd, report_file, settlements
from tests.reconciliation.office import Office

BUYERS = 6
CAPTURED: Final = {PaymentState.CAPTURING, PaymentState.SETTLED}
"""Another buyer's settlement settles everything that is captured, this payment included."""
PATIENCE_SECONDS: Final = 60


async def test_payments_bought_and_settled_meanwhile_make_no_discrepancy(office: Office) -> None:
    """Each buyer has a car: of two activations of one service at once, a car may refuse one."""
    bought = asyncio.Event()

    async def buyer(vin: str) -> None:
        payment = await office.installation.buys(vin=vin)
        await office.installation.until(payment.id, lambda p: p.state in CAPTURED)
        await office.installation.gateway_does("settle")
        await office.installation.until(payment.id, lambda p: p.state is PaymentState.SETTLED)

    async def reconciler() -> None:
        while not bought.is_set():
            await office.reconciliation.reconcile(office.today, mode=INCREMENTAL)

    running = asyncio.create_task(reconciler())
    cars = [await office.installation.car(f"VSSZZZ6JZ9R00020{n}") for n in range(BUYERS)]
    await asyncio.gather(*(buyer(vin) for vin in cars))
    bought.set()
    await running
    done = await office.closed()

    assert await office.found() == []
    assert done.day.verdict == "closed"
    assert await office.balance("bank") == BUYERS * 1256
    assert await office.balance("gateway_receivable") == 0


async def test_what_moves_after_the_snapshot_is_not_seen_by_it(
    office: Office, tmp_path: Path
) -> None:
    [payment] = await crowd(office.installation.platform.tables, 1)
    keys = tmp_path / "keys.csv"
    keys.write_text(f"{payment.id}\n")

    snapshot_is_taken = asyncio.Event()

    async def somebody_else() -> None:
        await snapshot_is_taken.wait()
        await _settle_elsewhere(office, payment.id)

    moving = asyncio.create_task(somebody_else())
    async with reconciliation_snapshot(office.installation.database, "contract") as book:
        snapshot_is_taken.set()
        await moving
        await book.reported(keys, tmp_path / "told.csv")

    assert ",Capturing," in (tmp_path / "told.csv").read_text()
    assert (await office.payment(payment)).state is PaymentState.SETTLED


async def test_records_without_a_line_are_looked_for_while_a_file_is_read(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = report_file(
        tmp_path / "day.csv", settlements(await crowd(office.installation.platform.tables, 3))
    )
    looked, late, read = threading.Event(), ReconciliationSnapshot.late, Workbench.read

    async def look(snapshot: ReconciliationSnapshot, windows: Sequence[LateWindow]) -> None:
        await late(snapshot, windows)
        looked.set()

    def read_meanwhile(bench: Workbench, report: ReportFile, *, paged: bool) -> None:
        assert looked.wait(PATIENCE_SECONDS)
        read(bench, report, paged=paged)

    monkeypatch.setattr(ReconciliationSnapshot, "late", look)
    monkeypatch.setattr(Workbench, "read", read_meanwhile)
    done = await office.reconciliation.reconcile(office.today, file=path)

    assert done.run.counts == {"matched": 3}


async def test_a_file_that_is_refused_leaves_no_snapshot_behind(
    office: Office, tmp_path: Path
) -> None:
    path = tmp_path / "day.csv"
    path.write_text("no,report\n1,2\n")

    with pytest.raises(BadReportError):
        await office.reconciliation.reconcile(office.today, file=path)

    left = await office.installation.database.fetchrow(
        "select count(*) filter (where state like 'idle in transaction%') as open"
        "  from pg_stat_activity where datname = current_database()"
    )
    assert left is not None
    assert left["open"] == 0


async def test_two_desks_and_one_run_add_nothing_twice(office: Office, tmp_path: Path) -> None:
    """The bank's word comes by webhook while the lines of the same payments are applied."""
    payments = await crowd(office.installation.platform.tables, 40)
    path = report_file(tmp_path / "day.csv", settlements(payments))

    async def webhooks() -> None:
        for payment in payments:
            await _settle_elsewhere(office, payment.id)

    await asyncio.gather(office.reconciliation.reconcile(office.today, file=path), webhooks())
    await office.installation.rest()

    settled = [await office.payment(payment) for payment in payments]
    assert {p.state for p in settled} == {PaymentState.SETTLED}
    assert all(p.settled_amount == p.captured_amount for p in settled)
    assert await office.balance("settled_funds") == 0
    assert await office.balance("gateway_receivable") == 0


async def _settle_elsewhere(office: Office, payment_id: object) -> None:
    payment = await office.installation.platform.tables.payments.get(payment_id)
    await office.reconciliation._late_lines.notify(
        payment.id, transaction_id=None, settled=payment.amount, currency="EUR", source="webhook"
    )
