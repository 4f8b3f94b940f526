"""Settlement reports: the gateway's payouts of a day, line by line.

`GET /settlements` of the seed, in pages or as a CSV file. The control totals of a report cover all
its lines, so that a missing page is detected.

Rules a change must keep: gross - fee = net on every line; line numbers start at 1 without gaps; a
closed day accepts no further line; lines without money (a settlement that failed before any was
received) have a gross of zero.
"""

import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta

import msgspec

from caas_simulators.faults import Action
from caas_simulators.gateway_records import (
    BookedLine,
    DayClosed,
    LineType,
    SettlementLine,
    Transaction,
)
from caas_simulators.gateway_store import Refusal, Store

FEE_PER_MILLE = 14
FEE_FIXED = 25
DISPUTE_FEE = 1500
PAGE_LINES = 500
PAGE_LINES_MAX = 5000
SATURDAY = 5


class SettlementPage(msgspec.Struct, kw_only=True):
    """One page of a report, with the control totals of the whole report."""

    report_id: str
    date: str
    status: str
    line_count: int
    gross_total: int
    net_total: int
    data: list[SettlementLine]
    next_cursor: str | None


class Report(msgspec.Struct):
    """The lines of one day."""

    date: str
    closed: bool = False
    lines: list[SettlementLine] = msgspec.field(default_factory=list)
    gross_total: int = 0
    net_total: int = 0

    @property
    def report_id(self) -> str:
        """The report's id, constant for a day."""
        return f"rep_{self.date.replace('-', '')}"


def fee_of(amount: int) -> int:
    """Return the fee on a settled amount: 1.4 % and 25 cents, rounded half up."""
    return (amount * FEE_PER_MILLE + 500) // 1000 + FEE_FIXED


class SettlementReports:
    """The reports of every day."""

    def __init__(self, store: Store) -> None:
        """Journal each line in this store."""
        self._store = store
        self._reports: dict[str, Report] = {}

    def book(
        self, transaction: Transaction, line_type: LineType, gross: int, fee: int = 0
    ) -> SettlementLine:
        """Add a line to the report of the first open day."""
        report = self._open_report()
        line = self._line(report, line_type, gross, fee)
        line.transaction_id = transaction.id
        line.reference = transaction.reference
        line.currency = transaction.currency
        self._write(report, line)
        return line

    def book_as_asked(self, day: str | None, **reported: object) -> SettlementLine:
        """Add any requested line, correct or not, even to a closed day."""
        report = self._open_report() if day is None else self._report(day)
        line = self._line(report, "adjustment", 0, 0)
        for name, value in reported.items():
            setattr(line, name, value)
        self._write(report, line)
        return line

    def add(self, booked: BookedLine) -> None:
        """Add a line and update the totals."""
        report = self._report(booked.date)
        report.lines.append(booked.line)
        report.gross_total += booked.line.gross
        report.net_total += booked.line.net

    def close_day(self, day: str) -> None:
        """Close a day's report permanently."""
        self.mark_closed(day)
        self._store.journal.write(DayClosed(date=day))

    def mark_closed(self, day: str) -> None:
        """Restore that a day was closed."""
        self._report(day).closed = True

    def snapshot(self) -> Iterator[BookedLine | DayClosed]:
        """Yield records that restore these reports."""
        for report in self._reports.values():
            yield from (BookedLine(date=report.date, line=line) for line in report.lines)
            if report.closed:
                yield DayClosed(date=report.date)

    def page(self, day: str, cursor: str, limit: int, action: Action) -> SettlementPage:
        """Return one page of a day's report.

        Raises:
            Refusal: 400, the date or the cursor is invalid.
        """
        report = self._readable(day)
        start = 0 if action.repeat_page else _start(cursor)
        end = start + max(1, min(limit, PAGE_LINES_MAX))
        return SettlementPage(
            report_id=report.report_id,
            date=report.date,
            status="closed" if self._is_closed(report) else "open",
            line_count=len(report.lines),
            gross_total=report.gross_total + (1 if action.wrong_totals else 0),
            net_total=report.net_total,
            data=_scripted(report.lines[start:end], action),
            next_cursor=f"line-{end}" if end < len(report.lines) else None,
        )

    def file(self, day: str, action: Action) -> tuple[SettlementPage, bytes]:
        """Return a day's report as CSV, and a page without lines for the totals.

        Raises:
            Refusal: 400, the date is invalid.
        """
        page = self.page(day, "", PAGE_LINES, action)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = SettlementLine.__struct_fields__
        writer.writerow(names)
        for line in _scripted(self._readable(day).lines, action):
            writer.writerow([getattr(line, name) for name in names])
        page.data, page.next_cursor = [], None
        return page, text.getvalue().encode()

    def _line(self, report: Report, line_type: LineType, gross: int, fee: int) -> SettlementLine:
        return SettlementLine(
            line_no=len(report.lines) + 1,
            batch_id=f"bat_{report.date.replace('-', '')}",
            transaction_id="",
            reference="",
            type=line_type,
            gross=gross,
            fee=fee,
            net=gross - fee,
            currency="",
            booked_at=self._store.now_text(),
            value_date=_next_business_day(report.date),
        )

    def _write(self, report: Report, line: SettlementLine) -> None:
        booked = BookedLine(date=report.date, line=line)
        self._store.journal.write(booked)
        self.add(booked)

    def _open_report(self) -> Report:
        day = self._store.clock.today()
        while self._report(day).closed:
            day = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
        return self._report(day)

    def _report(self, day: str) -> Report:
        return self._reports.setdefault(day, Report(day))

    def _readable(self, day: str) -> Report:
        try:
            canonical = date.fromisoformat(day).isoformat()
        except ValueError:
            raise Refusal(400, "invalid_date", "The date must be YYYY-MM-DD.") from None
        return self._reports.get(canonical, Report(canonical))

    def _is_closed(self, report: Report) -> bool:
        return report.closed or report.date < self._store.clock.today()


def _scripted(lines: list[SettlementLine], action: Action) -> list[SettlementLine]:
    given = []
    for line in lines:
        if line.line_no != action.drop_line:
            given.append(line)
        if line.line_no == action.duplicate_line:
            given.append(line)
    return given


def _start(cursor: str) -> int:
    if not cursor:
        return 0
    place = cursor.removeprefix("line-")
    if not (place.isascii() and place.isdigit()):
        raise Refusal(400, "invalid_cursor", "The cursor is not one of ours.")
    return int(place)


def _next_business_day(day: str) -> str:
    following = date.fromisoformat(day) + timedelta(days=1)
    while following.weekday() >= SATURDAY:
        following += timedelta(days=1)
    return following.isoformat()
