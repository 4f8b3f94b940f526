"""Days on which Adyen settles no batch: closed by a later one, as the settings declare them.

A weekend stayed incomplete until somebody closed it by hand.
"""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from caas.external_systems.adyen_gateway import AdyenGateway
from caas.external_systems.http import HttpClient
from caas.reconciliation.fetching import ReportUnavailableError
from caas.reconciliation.runs import ReconciliationSettings, Runs
from tests.external_systems.stripe_asked import NothingReported
from tests.reconciliation.office import Office
from tests.reconciliation.test_days import MADRID
from tests.reconciliation.test_half_files import adyen
from tests.reconciliation.test_rows_booked_once import DAY

WEEKDAYS = frozenset(range(5))


@pytest.fixture
async def runs(office: Office, tmp_path: Path) -> AsyncIterator[Runs]:
    """Reconciliation runs of Adyen, which settles no batch at weekends."""
    http = HttpClient("http://127.0.0.1:9", partner="adyen")
    platform = office.installation.platform
    yield Runs(
        tables=platform.tables, alert=platform.notifications.alert,
        gateway=AdyenGateway(
            http, NothingReported(), merchant_account="TestMerchant",
            return_url="http://caas.example", report_days=WEEKDAYS,
        ),
        settings=ReconciliationSettings(zone=MADRID, folder=tmp_path / "runs"),
    )  # fmt: skip
    await http.close()


def days_until(today: date) -> tuple[date, date, date]:
    """Return the last Friday, Saturday and Monday that are all over."""
    monday = today - timedelta(days=today.weekday() or 7)
    return monday - timedelta(days=3), monday - timedelta(days=2), monday


async def batch(runs: Runs, day: date, folder: Path) -> str:
    """Read the batch of a day; return the day's verdict."""
    path = folder / f"{day}.csv"
    text = adyen("0.24").replace(str(DAY), day.isoformat())
    path.write_text(text.replace("1777", str(day.toordinal())))
    return (await runs.reconcile(day, file=path)).day.verdict


async def test_a_day_without_a_batch_is_closed_by_a_later_batch_alone(
    office: Office, runs: Runs, tmp_path: Path
) -> None:
    friday, saturday, monday = days_until(office.today)
    with pytest.raises(ReportUnavailableError, match="nor a later one"):
        await runs.reconcile(saturday)
    before = await runs.days.get("adyen", saturday)

    of_monday = await batch(runs, monday, tmp_path)
    covered = await runs.reconcile(saturday)

    [report] = await runs.reports.of_day("adyen", saturday)
    assert (before.verdict, of_monday, covered.day.verdict) == ("incomplete", "closed", "closed")
    assert (report.report_ref, report.lines_stored) == ("no batch on a Saturday", 0)
    with pytest.raises(ReportUnavailableError):
        await runs.reconcile(friday)
    assert (await runs.days.get("adyen", friday)).verdict == "incomplete"


async def test_a_batch_of_such_a_day_counts_however_late_it_comes(
    office: Office, runs: Runs, tmp_path: Path
) -> None:
    _, saturday, monday = days_until(office.today)
    await batch(runs, monday, tmp_path)
    await runs.reconcile(saturday)

    verdict = await batch(runs, saturday, tmp_path)

    lines = [one.lines_stored for one in await runs.reports.of_day("adyen", saturday)]
    assert verdict == "closed"
    assert sum(lines) > 0
