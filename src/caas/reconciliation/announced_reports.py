"""Reports that the gateway announces by webhook: downloaded into the drop folder (decision 129).

There they are applied, moved away and refused like the files that staff put there.

Rules a change must keep: a file is in the folder as a whole or not at all, and two downloads of it
do not write into each other; downloading it again has no effect, and a corrected report takes the
place of one that was not applied yet.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from caas.billing_database.cases import Cases
from caas.billing_database.identifiers import derived_id, new_id
from caas.external_systems.http_answers import GatewayFailure
from caas.external_systems.report_announcements import AnnouncedReport, ReportDownload
from caas.jobs import Answer, Done, Pause, RetryIn
from caas.payment_processing.flow import Alert
from caas.reconciliation.drop_folder import REFUSED_CASE

RETRY_SECONDS: Final = 30.0
RETRY_SECONDS_MAX: Final = 3_600.0
QUIET_ATTEMPTS: Final = 5
"""A report that did not come so many times is reported to staff."""
ATTEMPTS_MAX: Final = 100

_log = structlog.get_logger()


class AnnouncedReports:
    """Downloads announced reports."""

    def __init__(
        self,
        downloads: Mapping[str, ReportDownload],
        folder_of: Callable[[str], Path | None],
        *,
        cases: Cases,
        alert: Alert,
    ) -> None:
        """Download a gateway's reports into its folder; without one of both they are left."""
        self._downloads = downloads
        self._folder_of = folder_of
        self._cases = cases
        self._alert = alert

    async def take(self, gateway: str, report: AnnouncedReport, attempts: int) -> Answer:
        """Download a gateway's report, at the given attempt of its job."""
        download, folder = self._downloads.get(gateway), self._folder_of(gateway)
        if download is None or folder is None:
            return Done()
        subject = derived_id("announced report", report.name)
        try:
            await self._into(folder, download, report)
        except GatewayFailure as failure:
            return await self._later(report, attempts, failure.sentence)
        except OSError as error:
            return await self._later(report, attempts, f"It cannot be stored ({error.strerror}).")
        await self._cases.close(
            REFUSED_CASE, subject, resolution="The report was downloaded.", owner="reconciliation"
        )
        _log.info("reconciliation.announced_report_downloaded", file=report.name)
        return Done()

    async def _into(self, folder: Path, download: ReportDownload, report: AnnouncedReport) -> None:
        part = folder / f".{report.name}.{new_id()}.part"
        try:
            await download(report, part)
            await asyncio.to_thread(part.replace, folder / report.name)
        except BaseException:
            await asyncio.to_thread(part.unlink, missing_ok=True)
            raise

    async def _later(self, report: AnnouncedReport, attempts: int, because: str) -> Answer:
        sentence = (
            f"The announced report '{report.name}' could not be downloaded. {because} It is tried "
            "again; it can also be put into CAAS_REPORTS_FOLDER by hand."
        )
        if attempts >= QUIET_ATTEMPTS:
            await self._alert(REFUSED_CASE, derived_id("announced report", report.name), sentence)
        if attempts >= ATTEMPTS_MAX:
            return Pause(sentence)
        wait = min(RETRY_SECONDS * 2.0 ** min(attempts - 1, 20), RETRY_SECONDS_MAX)
        return RetryIn(wait, because)
