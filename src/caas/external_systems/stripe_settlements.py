"""Stripe's itemized reports by its Reports API: order that of a day, wait, download the file.

Seed: `GET /settlements`; decision 33. The file is read like one that finance exported by hand
(`report_files.STRIPE`), so that both say the same; a day of any size is one file.

Rules a change must keep:
- The same day up to the same moment is ordered with the same key: a caller that gave up waiting
  finds the report again, and does not order a second one. A report that failed is ordered anew, a
  few times.
- Only columns that never change for a movement are asked for: a payout that is assigned later would
  contradict what is stored.
- The key of the API goes to the API's own host and to Stripe's file host, and to no other.
- A file that is shorter than Stripe says is not taken.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlencode, urlsplit

import msgspec

from caas.external_systems.http import HttpClient
from caas.external_systems.http_answers import (
    HttpAnswer,
    OutcomeUnknownError,
    UnknownReason,
    decoded,
    failure_of,
)
from caas.external_systems.payment_gateway import (
    ReportStatus,
    SettlementFile,
    SettlementsNotReadyError,
)
from caas.external_systems.stripe_wire import Id, Seconds, Url, moment
from caas.rules.card_numbers import scrub

REPORT_TYPE: Final = "balance_change_from_activity.itemized.3"
FORMAT: Final = "stripe"
RUNS: Final = "/v1/reporting/report_runs"
COLUMNS: Final = (
    "balance_transaction_id", "created_utc", "available_on_utc", "currency", "gross", "fee", "net",
    "reporting_category", "source_id", "customer_facing_amount", "customer_facing_currency",
    "charge_id", "payment_intent_id", "payment_method_type", "payment_metadata[reference]",
)  # fmt: skip
API_HOST: Final = "api.stripe.com"
FILE_HOST: Final = "files.stripe.com"
ORDERS_MAX: Final = 3
WAITS_SECONDS: Final = (1.0, 1.0, 2.0, 3.0, 5.0, 8.0, *(10.0,) * 10)
"""How long a report that is being prepared is waited for, before it is asked for another time."""


class ReportType(msgspec.Struct, frozen=True):
    """For which time Stripe has prepared the data of a type of report."""

    data_available_start: Seconds
    data_available_end: Seconds


class ReportResult(msgspec.Struct, frozen=True):
    """The file of a report that is ready."""

    url: Url
    size: Annotated[int, msgspec.Meta(ge=0)]


class ReportRun(msgspec.Struct, frozen=True):
    """A report that was ordered, as far as it is."""

    id: Id
    status: Literal["pending", "succeeded", "failed"]
    error: str | None = None
    result: ReportResult | None = None


_TYPE_DECODER: Final = msgspec.json.Decoder(ReportType)
_RUN_DECODER: Final = msgspec.json.Decoder(ReportRun)


class Interval(msgspec.Struct, frozen=True):
    """The part of a day (UTC) for which a report can be had."""

    begin: datetime
    end: datetime
    whole: bool

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Return what a report of it is ordered with."""
        return [
            ("report_type", REPORT_TYPE),
            ("parameters[interval_start]", str(int(self.begin.timestamp()))),
            ("parameters[interval_end]", str(int(self.end.timestamp()))),
            ("parameters[timezone]", "Etc/UTC"),
            *(("parameters[columns][]", column) for column in COLUMNS),
        ]


class StripeReports:
    """The Reports API of a Stripe account."""

    def __init__(
        self,
        http: HttpClient,
        accepted: Callable[[HttpAnswer], HttpAnswer],
        waits_seconds: Sequence[float] = WAITS_SECONDS,
    ) -> None:
        """Speak over a client; `accepted` raises what an answer means that is no success."""
        self._http = http
        self._accepted = accepted
        self._waits_seconds = waits_seconds

    async def file(self, day: date, path: Path) -> SettlementFile:
        """Have the itemized report of a day prepared, and write it to a file.

        Raises:
            SettlementsNotReadyError: Stripe has no data of the day yet, or is still preparing it.
            GatewayFailure: it gave no usable answer.
        """
        interval = await self._available(day)
        result = await self._prepared(day, interval)
        await self._download(result, path)
        return SettlementFile(
            report_id=f"stripe-{day.isoformat()}",
            format=FORMAT,
            status=ReportStatus.CLOSED if interval.whole else ReportStatus.OPEN,
        )

    async def _available(self, day: date) -> Interval:
        """Return the part of a day of which Stripe has data: it prepares them twice a day."""
        target = f"/v1/reporting/report_types/{REPORT_TYPE}"
        answer = self._accepted(await self._http.send("GET", target))
        reported = decoded(answer, _TYPE_DECODER)
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        until = begin + timedelta(days=1)
        end = min(until, moment(reported.data_available_end))
        if begin < moment(reported.data_available_start) or end <= begin:
            raise SettlementsNotReadyError(
                f"Stripe has the data of {moment(reported.data_available_start):%Y-%m-%d %H:%M} to "
                f"{moment(reported.data_available_end):%Y-%m-%d %H:%M} UTC, and none of {day}. It "
                "prepares them twice a day; ask again later.",
                partner=self._http.partner, call=f"GET {target}",
            )  # fmt: skip
        return Interval(begin, end, whole=end == until)

    async def _prepared(self, day: date, interval: Interval) -> ReportResult:
        """Order the report, or find it ordered, and wait until it is ready."""
        error = ""
        for order in range(1, ORDERS_MAX + 1):
            key = f"settlement-report:{day}:{int(interval.end.timestamp())}:{order}"
            body = urlencode(interval.fields).encode("ascii")
            answer = self._accepted(await self._http.send("POST", RUNS, body=body, key=key))
            run = await self._ended(decoded(answer, _RUN_DECODER))
            if run.status == "succeeded":
                if run.result is None:
                    raise answer.unknown(UnknownReason.MALFORMED, "a report without its file")
                return run.result
            error = scrub(run.error or "without saying why")
        raise SettlementsNotReadyError(
            f"Stripe failed to prepare the report of {day}, {ORDERS_MAX} times: {error}",
            partner=self._http.partner, call=f"POST {RUNS}",
        )  # fmt: skip

    async def _ended(self, run: ReportRun) -> ReportRun:
        """Wait until a report is ready, or failed.

        Raises:
            SettlementsNotReadyError: that takes longer than is waited here.
        """
        target = f"{RUNS}/{run.id}"
        for seconds in self._waits_seconds:
            if run.status != "pending":
                return run
            await asyncio.sleep(seconds)
            run = decoded(self._accepted(await self._http.send("GET", target)), _RUN_DECODER)
        if run.status != "pending":
            return run
        raise SettlementsNotReadyError(
            f"Stripe is still preparing the report {run.id}; ask again shortly, to go on there.",
            partner=self._http.partner, call=f"GET {target}",
        )  # fmt: skip

    async def _download(self, result: ReportResult, path: Path) -> None:
        parts = urlsplit(result.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if not _is_trusted(origin, self._http.base_url):
            raise OutcomeUnknownError(
                partner=self._http.partner, call="GET the report's file",
                reason=UnknownReason.REDIRECTED, detail=f"it is at {origin:.100}",
            )  # fmt: skip
        files = self._http.beside(origin, headers={"Accept": "text/csv"})
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            answer = await files.download(target, path)
        finally:
            await files.close()
        if answer.status != HTTPStatus.OK:
            raise failure_of(answer)
        size = path.stat().st_size
        if size != result.size:
            raise answer.unknown(UnknownReason.CUT, f"{size} bytes came of {result.size}")


def _is_trusted(files: str, api: str) -> bool:
    """Whether the API's key may go there: to the API's own host, or to Stripe's own file host."""
    there, here = urlsplit(files), urlsplit(api)
    if there.scheme != here.scheme:
        return False
    return there.hostname == here.hostname or (
        here.hostname == API_HOST and there.hostname == FILE_HOST and there.port is None
    )
