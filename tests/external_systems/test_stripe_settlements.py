"""A day's itemized report from Stripe's Reports API, against a stand-in as strict as Stripe."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from caas.external_systems.http import HttpClient, HttpLimits, OutcomeUnknownError, Secret
from caas.external_systems.http_answers import RefusedByPartnerError, UnknownReason
from caas.external_systems.payment_gateway import ReportStatus, SettlementsNotReadyError
from caas.external_systems.report_files import STRIPE, examine
from caas.external_systems.stripe_gateway import HEADERS, StripeGateway
from tests.external_systems.scripted_server import (
    Behaviour,
    ScriptedServer,
    read_request,
    scripted_server,
)
from tests.external_systems.stripe_answers import just_now
from tests.external_systems.stripe_asked import KnownCustomers
from tests.external_systems.stripe_reports import (
    KEY,
    StripeReportsStandIn,
    movement,
    stripe_reports,
)

DAY = date(2026, 11, 24)
AT = "2026-11-24 10:00:00"
MANY = 60_000
LIMITS = HttpLimits(total_seconds=5.0, connect_seconds=1.0, answer_bytes_max=1 << 16)
AT_ONCE = (0.0,) * 3


def gateway_at(url: str, key: str = KEY) -> StripeGateway:
    """The adapter, which does not wait long."""
    http = HttpClient(url, partner="stripe", api_key=Secret(key), limits=LIMITS, headers=HEADERS)
    return StripeGateway(http, KnownCustomers(), now=just_now, report_waits_seconds=AT_ONCE)


@pytest.fixture
async def stripe() -> AsyncIterator[StripeReportsStandIn]:
    """A stand-in with one movement."""
    async with stripe_reports() as served:
        served.movements.append(movement(1, AT))
        yield served


@pytest.fixture
async def gateway(stripe: StripeReportsStandIn) -> AsyncIterator[StripeGateway]:
    """The adapter, let in there."""
    adapter = gateway_at(stripe.url)
    yield adapter
    await adapter.close()


async def test_a_day_of_any_size_is_one_file(
    stripe: StripeReportsStandIn, gateway: StripeGateway, tmp_path: Path
) -> None:
    """It was pages of a hundred movements, and no more than 50,000 of them."""
    stripe.movements = [movement(number, AT) for number in range(MANY)]
    stripe.movements += [movement(MANY, "2026-11-23 23:59:59"), movement(-1, "2026-11-25 00:00:00")]

    reported = await gateway.settlement_file(DAY, tmp_path / "day.csv")

    examined = examine(tmp_path / "day.csv", tmp_path)
    assert (reported.report_id, reported.status) == ("stripe-2026-11-24", ReportStatus.CLOSED)
    assert (examined.format, examined.lines) == (STRIPE, MANY)
    assert stripe.asked == ["type", "order", "look", "look", "file"]


async def test_a_day_that_is_not_over_goes_as_far_as_stripe_has_data(
    stripe: StripeReportsStandIn, gateway: StripeGateway, tmp_path: Path
) -> None:
    stripe.available_to = datetime(2026, 11, 24, 12, tzinfo=UTC)
    stripe.movements.append(movement(2, "2026-11-24 13:00:00"))

    reported = await gateway.settlement_file(DAY, tmp_path / "day.csv")

    assert reported.status is ReportStatus.OPEN
    assert examine(tmp_path / "day.csv", tmp_path).lines == 1


async def test_a_day_of_which_stripe_has_no_data_is_not_ready(
    stripe: StripeReportsStandIn, gateway: StripeGateway, tmp_path: Path
) -> None:
    stripe.available_to = datetime(2026, 11, 24, tzinfo=UTC)

    with pytest.raises(SettlementsNotReadyError, match="to 2026-11-24 00:00 UTC, and none of"):
        await gateway.settlement_file(DAY, tmp_path / "day.csv")

    assert stripe.asked == ["type"]


async def test_whoever_gave_up_waiting_finds_the_same_report_again(
    stripe: StripeReportsStandIn, gateway: StripeGateway, tmp_path: Path
) -> None:
    stripe.pending_looks = 4

    with pytest.raises(SettlementsNotReadyError, match="still preparing the report frr_1"):
        await gateway.settlement_file(DAY, tmp_path / "day.csv")
    await gateway.settlement_file(DAY, tmp_path / "day.csv")

    assert list(stripe.runs) == ["frr_1"]


async def test_a_report_that_failed_is_ordered_anew_a_few_times(
    stripe: StripeReportsStandIn, gateway: StripeGateway, tmp_path: Path
) -> None:
    stripe.failing_runs = 2
    await gateway.settlement_file(DAY, tmp_path / "day.csv")
    assert len(stripe.runs) == 3

    stripe.failing_runs = 99
    with pytest.raises(SettlementsNotReadyError, match="3 times: It could not be prepared"):
        await gateway.settlement_file(date(2026, 11, 23), tmp_path / "day.csv")


async def test_a_file_that_is_cut_off_or_lies_elsewhere_is_not_taken(
    stripe: StripeReportsStandIn, gateway: StripeGateway, tmp_path: Path
) -> None:
    stripe.cut_bytes = 5
    with pytest.raises(OutcomeUnknownError) as cut:
        await gateway.settlement_file(DAY, tmp_path / "day.csv")
    assert cut.value.reason is UnknownReason.CUT

    stripe.files_at = stripe.url.replace("127.0.0.1", "localhost")
    with pytest.raises(OutcomeUnknownError) as elsewhere:
        await gateway.settlement_file(DAY, tmp_path / "day.csv")
    assert elsewhere.value.reason is UnknownReason.REDIRECTED
    assert stripe.asked.count("file") == 1


async def test_a_key_that_stripe_does_not_know_is_refused_in_its_words(
    stripe: StripeReportsStandIn, tmp_path: Path
) -> None:
    stranger = gateway_at(stripe.url, "sk_test_other")

    with pytest.raises(RefusedByPartnerError, match="Invalid API Key"):
        await stranger.settlement_file(DAY, tmp_path / "day.csv")

    await stranger.close()


async def test_a_download_that_stands_still_ends(tmp_path: Path) -> None:
    def behave(served: ScriptedServer) -> Behaviour:
        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.requests.append(await read_request(reader))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
            await writer.drain()
            await reader.read()

        return one

    quick = HttpLimits(total_seconds=0.3, connect_seconds=0.2)
    async with scripted_server(behave) as server:
        http = HttpClient(server.url, partner="stripe", limits=quick)
        with pytest.raises(OutcomeUnknownError) as caught:
            await http.download("/file", tmp_path / "half.csv")
        await http.close()

    assert caught.value.reason is UnknownReason.TIMED_OUT
    assert (tmp_path / "half.csv").read_bytes() == b"half of it"
