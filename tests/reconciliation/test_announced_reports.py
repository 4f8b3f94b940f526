"""Reports that the gateway announces are downloaded into the drop folder, whole or not at all."""

import asyncio
from pathlib import Path

from caas.external_systems.http_answers import NotSentError
from caas.external_systems.report_announcements import AnnouncedReport, ReportDownload
from caas.jobs import Done, Pause, RetryIn
from caas.reconciliation.announced_reports import ATTEMPTS_MAX, QUIET_ATTEMPTS, AnnouncedReports
from tests.reconciliation.office import Office

GATEWAY = "adyen"
REPORT = AnnouncedReport(name="report_1.csv", url="https://reports.example/report_1.csv")


def announced(
    office: Office, folder: Path | None, download: ReportDownload | None
) -> AnnouncedReports:
    """What downloads reports in this office."""
    platform = office.installation.platform
    return AnnouncedReports(
        {} if download is None else {GATEWAY: download},
        lambda name: folder if name == GATEWAY else None,
        cases=platform.tables.cases, alert=platform.notifications.alert,
    )  # fmt: skip


async def gives(_report: AnnouncedReport, path: Path) -> None:
    """Download a file."""
    path.write_text("a,b\n")


async def breaks_off(_report: AnnouncedReport, path: Path) -> None:
    """Download a part of a file."""
    path.write_text("a")
    raise NotSentError(partner="reports", call="GET report_1.csv", cause="nobody answers")


async def kinds(office: Office) -> list[str]:
    """The kinds of open cases."""
    cases = await office.installation.platform.tables.cases.listed(status="open")
    return [one.kind for one in cases]


async def test_an_announced_report_lies_in_the_drop_folder(office: Office, tmp_path: Path) -> None:
    desk = announced(office, tmp_path, gives)

    assert isinstance(await desk.take(GATEWAY, REPORT, 1), Done)
    assert isinstance(await desk.take(GATEWAY, REPORT, 1), Done)

    assert [one.name for one in tmp_path.iterdir()] == ["report_1.csv"]


async def test_two_downloads_of_a_report_do_not_write_into_each_other(
    office: Office, tmp_path: Path
) -> None:
    parts: list[Path] = []

    async def notes(_report: AnnouncedReport, path: Path) -> None:
        parts.append(path)
        path.write_text("a,b\n")

    desk = announced(office, tmp_path, notes)
    await asyncio.gather(desk.take(GATEWAY, REPORT, 1), desk.take(GATEWAY, REPORT, 1))

    assert len(set(parts)) == 2
    assert all(part.name.startswith(".") for part in parts)


async def test_a_report_that_does_not_come_leaves_nothing_and_is_reported(
    office: Office, tmp_path: Path
) -> None:
    desk = announced(office, tmp_path, breaks_off)

    first = await desk.take(GATEWAY, REPORT, 1)
    quiet = await kinds(office)
    later = await desk.take(GATEWAY, REPORT, QUIET_ATTEMPTS)
    reported = await kinds(office)
    last = await desk.take(GATEWAY, REPORT, ATTEMPTS_MAX)

    assert list(tmp_path.iterdir()) == []
    assert isinstance(first, RetryIn)
    assert isinstance(later, RetryIn)
    assert 0 < first.due_in < later.due_in
    assert isinstance(last, Pause)
    assert (quiet, reported) == ([], ["settlement_report_refused"])


async def test_a_report_that_comes_after_all_closes_its_case(
    office: Office, tmp_path: Path
) -> None:
    await announced(office, tmp_path, breaks_off).take(GATEWAY, REPORT, QUIET_ATTEMPTS)

    await announced(office, tmp_path, gives).take(GATEWAY, REPORT, QUIET_ATTEMPTS + 1)

    assert await kinds(office) == []


async def test_a_folder_that_is_missing_lets_the_report_wait(
    office: Office, tmp_path: Path
) -> None:
    answer = await announced(office, tmp_path / "missing", gives).take(GATEWAY, REPORT, 1)

    assert isinstance(answer, RetryIn)
    assert "No such file" in (answer.because or "")


async def test_without_a_download_or_a_folder_reports_are_left(
    office: Office, tmp_path: Path
) -> None:
    assert isinstance(await announced(office, tmp_path, None).take(GATEWAY, REPORT, 1), Done)
    assert isinstance(await announced(office, None, gives).take(GATEWAY, REPORT, 1), Done)
    assert list(tmp_path.iterdir()) == []
