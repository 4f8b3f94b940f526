"""Diagram 10, "Compare with internal records": the report against the book as of one instant.

The lines are on the workbench; what the Billing Database knew comes there from one snapshot; one
engine judges. The outcome is a pure function of what was compared and of the rule: the same
relations give the same bytes, whichever engine runs.

Rules a change must keep: the snapshot is taken after the report was fetched, so that what a line
speaks of is known; both directions are compared when a day is closed; every line comes out once
and the sums are those of the report, or nothing is applied.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

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
from caas.external_systems.report_files import BadReportError
from caas.reconciliation.throttle import Throttle
from caas.rules.settlement_dates import (
    TERMS,
    PaymentMethod,
    add_business_days,
    expected_settlement_date,
    target_closing_days,
)
from caas.rules.settlement_fees import FeeTerms

SMALL_LINES_MAX: Final = 2_000
LOOK_BACK_DAYS: Final = 60
DUCKDB: Final = "duckdb"
STRANGERS_MIN: Final = 100
ONE_DAY: Final = timedelta(days=1)


class NotOurReportError(BadReportError):
    """Most lines speak of payments nobody made here: it is the report of another account."""

    code = "not_our_report"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """By what is judged: the day, the fees agreed, and since when deliveries are looked at."""

    day: date
    fees: FeeTerms | None
    closing: bool
    fees_by_method: Sequence[FeeTerm] = ()
    last_day: date | None = None
    last_as_of: datetime | None = None
    last_run_as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """What was compared: as of when, and by which engine."""

    as_of: datetime
    engine: str


class Comparison:
    """Holds a report against the book."""

    def __init__(
        self,
        database: Database,
        *,
        zone: ZoneInfo,
        engine: ReconciliationEngine | None,
        small_lines_max: int = SMALL_LINES_MAX,
    ) -> None:
        """Compare with this database; large reports go to this engine, or stay on the workbench."""
        self._database = database
        self._zone = zone
        self._engine = engine
        self._small_lines_max = small_lines_max

    async def compare(
        self, gateway: str, report_id: str, terms: Terms, bench: Workbench, throttle: Throttle
    ) -> Compared:
        """Judge every line on the workbench, and every record that lacks one.

        Raises:
            NotOurReportError: the report is of another account.
        """
        folder = bench.folder
        again, reported, seen = (folder / f"{name}.csv" for name in ("again", "told", "seen"))
        besides, seen_besides = (folder / f"{name}.csv" for name in ("besides", "seen_besides"))
        replayed_lines = folder / "replayed_lines.csv"

        def take_again() -> Path:
            bench.take_lines(again)
            return bench.keys()

        def take_summary() -> Path:
            bench.take_summary(reported)
            return bench.transactions()

        await throttle.rest()
        async with reconciliation_snapshot(self._database) as book:
            some = await book.replayed_lines_all(gateway, again, since=terms.last_run_as_of)
            keys = await throttle.side_by_side(
                take_again, partial(self._look_for_lacking, book, terms)
            )
            await throttle.side_by_side(
                partial(bench.take_fresh, report_id), partial(book.reported, keys, reported)
            )
            transactions = await throttle.side_by_side(
                take_summary, partial(book.seen_of_known, seen)
            )
            await book.take_transactions(transactions)
            if some:
                await book.replayed_lines_of_known(gateway, replayed_lines)
            await book.besides(besides)
            await book.seen_of_besides(seen_besides)
            as_of = book.as_of
        if some:
            await asyncio.to_thread(bench.take_again, replayed_lines)
        await asyncio.to_thread(bench.take_besides, besides)
        await asyncio.to_thread(bench.take_seen, seen, seen_besides)
        await asyncio.to_thread(bench.take_terms, _row_of(terms))
        await asyncio.to_thread(bench.take_fees, [asdict(it) for it in terms.fees_by_method])
        engine = await self.judge(bench, throttle)
        await asyncio.to_thread(_check, bench)
        return Compared(as_of, engine)

    async def judge(self, bench: Workbench, throttle: Throttle) -> str:
        """Run the one text where it runs best for this size; return the engine's name."""
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

    async def _look_for_lacking(self, book: ReconciliationSnapshot, terms: Terms) -> None:
        if not terms.closing:
            return
        await book.late(late_windows(terms.day, terms.last_day, self._zone))
        since = terms.last_as_of or book.as_of - LOOK_BACK_DAYS * ONE_DAY
        await book.delivered(since)


def late_windows(day: date, last_day: date | None, zone: ZoneInfo) -> list[LateWindow]:
    """Return the captures that become late by this day and were not late by the last.

    A settlement is late on the first day after the one it was expected on (decision 36).
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


def _row_of(terms: Terms) -> dict[str, object]:
    fees = terms.fees
    return {
        "as_of": terms.day.isoformat(),
        "fee_per_mille": fees.per_mille if fees else None,
        "fee_fixed": fees.fixed if fees else None,
        "dispute_fee": fees.dispute if fees else None,
    }


def _check(bench: Workbench) -> None:
    """Every line came out once and the sums tie out to the cent, or nothing is applied."""
    reported, judged = bench.fresh(), bench.judged()
    assert reported == judged, (
        f"the classification lost lines: {reported} went in, {judged} came out"
    )
    strangers = sum(
        row["lines"]
        for row in bench.classes()
        if row["standing"] == "new" and row["class"] == "missing_in_book"
    )
    if strangers >= STRANGERS_MIN and strangers * 2 > judged.lines:
        raise NotOurReportError(
            f"{strangers} of {judged.lines} lines speak of payments that nobody made here; it is "
            "the report of another account."
        )
