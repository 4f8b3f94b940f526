"""Adyen's settlement details reports are downloaded from the configured host, and from no other."""

from base64 import b64encode
from pathlib import Path

import pytest
from msgspec.structs import replace

from caas.external_systems import adyen_reports
from caas.external_systems.adyen_adapter import ADYEN_ADAPTER
from caas.external_systems.adyen_reports import ReportUser, download, is_settlement_report
from caas.external_systems.http import Secret
from caas.external_systems.http_answers import GatewayFailure
from caas.external_systems.report_announcements import AnnouncedReport
from caas.setting_values import SettingError
from caas_simulators.adyen.server import running
from caas_simulators.adyen.world import AdyenSettings
from tests.external_systems.conformance.simulated import HMAC_KEY
from tests.external_systems.scripted_server import answering, http_answer, scripted_server

NAME = "settlement_detail_report_batch_12.csv"
PATH = f"/reports/download/MerchantAccount/TestMerchant/{NAME}"
USER = ReportUser(url="", name="report@Company.Test", password=Secret("report-secret"))
SETTINGS = {
    "CAAS_GATEWAY_URL": "https://checkout-test.adyen.com",
    "CAAS_GATEWAY_API_KEY": "AQE-tests",
    "CAAS_GATEWAY_WEBHOOK_SECRETS": HMAC_KEY,
    "CAAS_ADYEN_MERCHANT_ACCOUNT": "TestMerchant",
}
REPORTS = {
    "CAAS_ADYEN_REPORT_USER": "report@Company.Test",
    "CAAS_ADYEN_REPORT_PASSWORD": "report-secret",
    "CAAS_REPORTS_FOLDER": "/srv/reports",
}


@pytest.mark.parametrize("days", ["monday", "mon,mon", "mon;tue", "0"])
def test_days_of_reports_that_are_none_are_refused(days: str) -> None:
    with pytest.raises(SettingError, match="CAAS_ADYEN_REPORT_DAYS"):
        ADYEN_ADAPTER.configure(SETTINGS | {"CAAS_ADYEN_REPORT_DAYS": days})


async def downloaded(path: Path, *answers: bytes, url: str = "") -> list[bytes]:
    """Download from a scripted server, or from another address; return what it was asked."""
    async with scripted_server(answering(*answers)) as server:
        user = replace(USER, url=server.url)
        report = AnnouncedReport(name=NAME, url=url.format(host=server.url) or server.url + PATH)
        try:
            await download(user, report, path)
        except GatewayFailure:
            if answers:
                raise
        return server.requests


async def test_a_report_is_downloaded_as_the_report_user(tmp_path: Path) -> None:
    path = tmp_path / NAME

    [request] = await downloaded(path, http_answer(b"a,b\n1,2\n", content_type="text/csv"))

    pair = b64encode(b"report@Company.Test:report-secret")
    assert path.read_bytes() == b"a,b\n1,2\n"
    assert request.startswith(f"GET {PATH} HTTP/1.1".encode())
    assert b"Authorization: Basic " + pair in request


@pytest.mark.parametrize(
    "url",
    [
        f"https://evil.example{PATH}", f"http://ca-test.adyen.com.evil.example{PATH}",
        f"{{host}}@evil.example{PATH}", f"{{host}}:1{PATH}", f"{{host}}{PATH}?then=elsewhere",
        f"{{host}}{PATH}#x", f"{{host}}/reports/download/../../{NAME}", "{host}/secrets.csv",
        f"{{host}}/reports/download/MerchantAccount/TestMerchant/x{NAME}", "file:///etc/passwd",
        "//", "x",
    ],
)  # fmt: skip
async def test_no_other_address_is_asked(tmp_path: Path, url: str) -> None:
    assert await downloaded(tmp_path / NAME, url=url) == []
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    "status", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "500 Internal Server Error"]
)
async def test_a_report_that_is_not_given_is_a_failure(tmp_path: Path, status: str) -> None:
    with pytest.raises(GatewayFailure):
        await downloaded(tmp_path / NAME, http_answer(b"", status=status))


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    elsewhere = http_answer(b"", status="302 Found", headers="Location: https://evil.example/\r\n")

    with pytest.raises(GatewayFailure):
        await downloaded(tmp_path / NAME, elsewhere)


async def test_a_report_without_end_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adyen_reports, "FILE_BYTES_MAX", 10)

    with pytest.raises(OSError, match="too large"):
        await downloaded(tmp_path / NAME, http_answer(b"x" * 11, content_type="text/csv"))


@pytest.mark.parametrize(
    ("name", "is_read"),
    [
        (NAME, True), ("settlement_detail_report_2026_11.csv", True),
        ("received_payments_report_2026_11_29.csv", False),
        ("settlement_detail_report_batch_12.csv/../x.csv", False),
        ("../settlement_detail_report_batch_12.csv", False),
        ("settlement_detail_report_batch_12.xlsx", False),
    ],
)  # fmt: skip
def test_only_settlement_details_reports_are_downloaded(name: str, *, is_read: bool) -> None:
    assert is_settlement_report(name) is is_read


def test_reports_are_downloaded_only_for_a_user_and_into_a_folder() -> None:
    assert ADYEN_ADAPTER.configure(SETTINGS).download is None
    assert ADYEN_ADAPTER.configure(SETTINGS | REPORTS).download is not None
    for missing in REPORTS:
        given = {name: value for name, value in REPORTS.items() if name != missing}
        with pytest.raises(SettingError, match=missing):
            ADYEN_ADAPTER.configure(SETTINGS | given)


@pytest.mark.parametrize(
    ("gateway", "host"),
    [
        ("https://checkout-test.adyen.com", "https://ca-test.adyen.com"),
        ("https://prefix-checkout-live.adyenpayments.com/checkout", "https://ca-live.adyen.com"),
    ],
)
def test_the_host_of_reports_is_that_of_the_gateways_mode(gateway: str, host: str) -> None:
    configured = ADYEN_ADAPTER.configure(SETTINGS | REPORTS | {"CAAS_GATEWAY_URL": gateway})

    assert configured.download is not None
    assert configured.download.args[0].url == host  # type: ignore[attr-defined]
    assert "report-secret" not in repr(configured.download)


async def test_the_simulated_adyen_gives_reports_to_its_report_user_only(tmp_path: Path) -> None:
    settings = AdyenSettings(seed=1)
    async with running(settings) as (server, _):
        account = settings.merchant_account
        url = f"{server.url}/reports/download/MerchantAccount/{account}/{NAME}"
        stranger = replace(USER, url=server.url)
        known = ReportUser(
            url=server.url, name=settings.report_user, password=Secret(settings.report_password)
        )

        with pytest.raises(GatewayFailure, match="401"):
            await download(stranger, AnnouncedReport(name=NAME, url=url), tmp_path / "a")
        with pytest.raises(GatewayFailure, match="404"):
            await download(known, AnnouncedReport(name=NAME, url=url), tmp_path / "b")
