"""Adyen's settlement details reports: named by a webhook, downloaded as the report user.

Source: https://docs.adyen.com/reporting/automatically-get-reports. The webhook REPORT_AVAILABLE has
the name of the file as its pspReference and its address as its reason; neither the company nor the
merchant account can be asked which reports there are.

Rules a change must keep:
- The address in a webhook chooses no host: the user's password goes to the configured one only.
- A file that is larger than the limit is not kept.
"""

import re
from base64 import b64encode
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.http_answers import NotSentError, failure_of
from caas.external_systems.report_announcements import AnnouncedReport

LIVE_URL: Final = "https://ca-live.adyen.com"
TEST_URL: Final = "https://ca-test.adyen.com"
FOLDER: Final = "/reports/download/"
FILE_BYTES_MAX: Final = 512 * 1024 * 1024
SETTLEMENT_REPORT: Final = re.compile(r"settlement_detail_report[A-Za-z0-9_-]{0,100}\.csv")
"""The names of the reports that are downloaded; an account may have others made."""
PARTNER: Final = "Adyen's reports"


class ReportUser(msgspec.Struct, frozen=True, kw_only=True):
    """Who downloads reports, and from where."""

    url: str
    name: str
    password: Secret

    @property
    def authorization(self) -> str:
        """The header of basic authentication."""
        pair = f"{self.name}:{self.password.reveal()}".encode()
        return f"Basic {b64encode(pair).decode()}"


def is_settlement_report(name: str) -> bool:
    """Say whether this is the file of a settlement details report."""
    return SETTLEMENT_REPORT.fullmatch(name) is not None


async def download(user: ReportUser, report: AnnouncedReport, path: Path) -> None:
    """Write an announced report to a file.

    Raises:
        GatewayFailure: it is elsewhere, or it did not come.
        OSError: it cannot be written, or is larger than the limit.
    """
    target = _target(user, report)
    headers = {"Authorization": user.authorization, "Accept": "text/csv"}
    http = HttpClient(user.url, partner=PARTNER, headers=headers)
    try:
        answer = await http.download(target, path, bytes_max=FILE_BYTES_MAX)
    finally:
        await http.close()
    if answer.status != HTTPStatus.OK:
        raise failure_of(answer)


def _target(user: ReportUser, report: AnnouncedReport) -> str:
    """Return the path of a report.

    Raises:
        NotSentError: its address is not that of this file at the configured host.
    """
    there, here = urlsplit(report.url), urlsplit(user.url)
    same = (there.scheme, there.netloc) == (here.scheme, here.netloc)
    plain = not there.query and not there.fragment and ".." not in there.path
    of_file = there.path.startswith(FOLDER) and there.path.endswith(f"/{report.name}")
    if not (same and plain and of_file):
        cause = f"the report is announced at {there.scheme}://{there.netloc:.100}, not {user.url}"
        raise NotSentError(partner=PARTNER, call=f"GET {report.name}", cause=cause)
    return there.path
