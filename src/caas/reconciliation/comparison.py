"""Diagram 10, "Compare with internal records": report lines against one snapshot.

The lines and the snapshot are loaded into the workbench, and one engine classifies them. The result
depends only on the compared data and the rule, not on the engine.

Rules a change must keep: the snapshot is taken after the report was fetched, so that it includes
every payment the lines refer to; nothing uses the workbench before the report was read onto it;
closing a day compares both directions; every line is classified exactly once and the totals equal
the report's, or nothing is applied.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import asdict

from caas.billing_database.classification import PostgresqlEngine, classification
from caas.billing_database.connection import Database
from caas.billing_database.reconciliation_snapshot import (
    LateWindow,
    ReconciliationSnapshot,
    reconciliation_snapshot,
)
from caas.billing_database.report_terms import FeeTerm
from caas.external_systems.reconciliation_engine import ReconciliationEngine
from caas.external_systems.reconciliation_workbench import Workbench
from caas.external_systems.reconciliation_workbench_reading import Sums
from caas.external_systems.report_files import BadReportError
from caas.reconciliation.throttle import Throttle
from caas.rules.settlement_dates import (
    TERMS,
    FeeTerms,
    PaymentMethod,
    add_business_days,
    expected_settlement_date,
    target_closing_days,
)

SMALL_LINES_MAX: Final = 2_000
LOOK_BACK_DAYS: Final = 60
DUCKDB: Final = "duckdb"
STRANGERS_MIN: Final = 100
ONE_DAY: Final = timedelta(days=1)


class NotOurReportError(BadReportError):
    """Most lines refer to payments that are not ours; the report belongs to another account."""

    code = "not_our_report"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison parameters: the day, the agreed fees, and how far back deliveries are checked."""

    day: date
    fees: FeeTerms | None
    closing: bool
    last_day: date | None = None
    last_as_of: datetime | None = None
    last_run_as_of: datetime | None = None


class ReadReport(msgspec.Struct, frozen=True):
    """A report on the workbench: its id, and the fees agreed with its provider."""

    id: str
    fees_by_method: Sequence[FeeTerm]


class Compared(msgspec.Struct, frozen=True):
    """What was compared: the snapshot time and the engine."""

    as_of: datetime
    engine: str


class Comparing:
    """A comparison in a task of its own, which may begin while the report is still being read."""

    def __init__(
        self, compare: Callable[[Awaitable[ReadReport]], Coroutine[Any, Any, Compared]]
    ) -> None:
        """Compare with this function; it awaits the report where it needs it."""
        self._compare = compare
        self._reading: asyncio.Future[ReadReport] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[Compared] | None = None

    def begin(self) -> None:
        """Take the snapshot now: the whole report is on this machine."""
        self._task = asyncio.create_task(self._compare(self._reading))

    async def end(self, report: ReadReport) -> Compared:
        """Compare this report, which is on the workbench."""
        self._reading.set_result(report)
        if self._task is None:
            self.begin()
        assert self._task is not None, "it has begun"
        return await self._task

    async def give_up(self) -> None:
        """Stop what has begun and not ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class Comparison:
    """Compares a report with our records."""

    def __init__(
        self,
        database: Database,
        *,
        zone: ZoneInfo,
        engine: ReconciliationEngine | None,
        small_lines_max: int = SMALL_LINES_MAX,
    ) -> None:
        """Compare with this database; `engine` handles more than `small_lines_max` lines."""
        self._database = database
        self._zone = zone
        self._engine = engine
        self._small_lines_max = small_lines_max

    @asynccontextmanager
    async def of(
        self, gateway: str, terms: Terms, bench: Workbench, throttle: Throttle
    ) -> AsyncIterator[Comparing]:
        """Yield the comparison of a report; what has not ended with the block is stopped."""
        comparing = Comparing(partial(self._compare, gateway, terms, bench, throttle))
        try:
            yield comparing
        finally:
            await comparing.give_up()

    async def _compare(
        self,
        gateway: str,
        terms: Terms,
        bench: Workbench,
        throttle: Throttle,
        reading: Awaitable[ReadReport],
    ) -> Compared:
        """Classify every line on the workbench, and every record without a line.

        Until the report is read, records without a line are found in the Billing Database.

        Raises:
            NotOurReportError: the report belongs to another account.
        """
        folder = bench.folder
        again, reported, seen = (folder / f"{name}.csv" for name in ("again", "reported", "seen"))
        others, others_seen = (folder / f"{name}.csv" for name in ("others", "others_seen"))
        replayed_lines = folder / "replayed_lines.csv"

        if throttle.others_are_served:
            await reading
        async with reconciliation_snapshot(self._database, gateway) as book:
            some = await book.replayed_lines_all(again, since=terms.last_run_as_of)
            await self._find_missing(book, terms)
            report = await reading
            await throttle.rest()
            keys = await throttle.alone(partial(_keys_with, bench, again))
            taken = await throttle.side_by_side(
                partial(bench.take_fresh, report.id), partial(book.reported, keys, reported)
            )
            transactions = await throttle.side_by_side(
                partial(_transactions_without, bench, reported), partial(book.seen_of_known, seen)
            )
            await book.take_transactions(transactions)
            if some:
                await book.replayed_lines_of_known(replayed_lines)
            await book.besides(others)
            await book.seen_of_besides(others_seen)
            as_of = book.as_of
        if some:
            await asyncio.to_thread(bench.take_again, replayed_lines)
        await asyncio.to_thread(bench.take_besides, others)
        await asyncio.to_thread(bench.take_seen, seen, others_seen)
        await asyncio.to_thread(_take_terms, bench, terms, report)
        engine = await self.judge(bench, throttle)
        await asyncio.to_thread(_check, bench, taken)
        return Compared(as_of, engine)

    async def judge(self, bench: Workbench, throttle: Throttle) -> str:
        """Run the comparison on the best engine for its size; return the engine's name."""
        text = classification()
        engine = await self._engine_for(await asyncio.to_thread(bench.count))
        if engine is None:
            bench.compute_with(throttle.threads)
            await throttle.alone(partial(bench.classify, text))
            return DUCKDB
        await asyncio.to_thread(bench.hand_out, engine.file_format)
        found: Path = await engine.classify(bench.folder, text)
        await asyncio.to_thread(bench.take_outcome, found)
        return engine.name

    async def _engine_for(self, lines: int) -> ReconciliationEngine | None:
        if lines <= self._small_lines_max:
            return PostgresqlEngine(self._database)
        return self._engine

    async def _find_missing(self, book: ReconciliationSnapshot, terms: Terms) -> None:
        if not terms.closing:
            return
        await book.late(late_windows(terms.day, terms.last_day, self._zone))
        since = terms.last_as_of or book.as_of - LOOK_BACK_DAYS * ONE_DAY
        await book.delivered(since)


def late_windows(day: date, last_day: date | None, zone: ZoneInfo) -> list[LateWindow]:
    """Return the capture periods whose settlement becomes late on this day.

    A settlement is late on the first day after its expected day (decision 36).
    """
    first_expected = last_day if last_day is not None else day - LOOK_BACK_DAYS * ONE_DAY
    holidays = frozenset().union(
        *(target_closing_days(year) for year in range(day.year - 1, day.year + 2))
    )
    windows = []
    for method in PaymentMethod:
        captured_on = first_expected - 30 * ONE_DAY
        while captured_on < day:
            expected_on = expected_settlement_date(captured_on, method, holidays)
            if first_expected <= expected_on < day:
                begin = datetime(captured_on.year, captured_on.month, captured_on.day, tzinfo=zone)
                following = captured_on + ONE_DAY
                end = datetime(following.year, following.month, following.day, tzinfo=zone)
                missing_from = add_business_days(expected_on, TERMS[method].missing_after, holidays)
                windows.append(LateWindow(method.value, begin, end, expected_on, missing_from))
            captured_on += ONE_DAY
    return windows


def _keys_with(bench: Workbench, again: Path) -> Path:
    """Add the lines to classify again; return the payments that these and the new lines name."""
    bench.take_lines(again)
    return bench.keys()


def _transactions_without(bench: Workbench, reported: Path) -> Path:
    """Add the payments that lines name; return the transactions that none of them has."""
    bench.take_summary(reported)
    return bench.transactions()


def _take_terms(bench: Workbench, terms: Terms, report: ReadReport) -> None:
    bench.take_terms(_row_of(terms))
    bench.take_fees([asdict(it) for it in report.fees_by_method])


def _row_of(terms: Terms) -> dict[str, object]:
    fees = terms.fees
    return {
        "as_of": terms.day.isoformat(),
        "fee_per_mille": fees.per_mille if fees else None,
        "fee_fixed": fees.fixed if fees else None,
        "dispute_fee": fees.dispute if fees else None,
    }


def _check(bench: Workbench, reported: Sums) -> None:
    """Check that every line was classified once and that the totals are equal to the cent."""
    judged = bench.judged()
    assert reported == judged, f"the comparison lost lines: {reported} in, {judged} out"
    unmatched = sum(
        row["lines"]
        for row in bench.classes()
        if row["standing"] == "new" and row["class"] == "missing_in_book"
    )
    if unmatched >= STRANGERS_MIN and unmatched * 2 > judged.lines:
        raise NotOurReportError(
            f"{unmatched} of {judged.lines} lines refer to payments that are not "
            "ours; the report belongs to another account."
        )
