"""Diagram 10, "Update internal records": what follows from the class of each line.

A line that agrees settles its payment, if a webhook has not; a line that differs opens a
discrepancy and changes nothing else; a line that brings what a discrepancy waited for resolves it.
Lines are stored with what follows from them in the same commit, a piece at a time, so that a run
that was stopped anywhere goes on where it stopped and ends the same.

Rules a change must keep: money that a line moves is in the ledger by the line itself; a payment is
moved only from where the comparison saw it, and otherwise told as a late word by the door that
webhooks use; a discrepancy's id follows from what it is about.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancies, Discrepancy, NewDiscrepancy, Step
from caas.billing_database.gateway_claims import brought_by_its_line
from caas.billing_database.identifiers import derived_id
from caas.billing_database.moves import Move
from caas.billing_database.reconciliation_days import ReconciliationDays
from caas.billing_database.refunds import Refunds
from caas.billing_database.settlement_reports import STORED, SettlementReport, SettlementReports
from caas.external_systems.reconciliation_workbench import Chunk, Workbench
from caas.payment_processing.gateway_calls import CAPTURE, POLL_SETTLEMENT, PROBE
from caas.payment_processing.reconciliation.effort import Effort
from caas.payment_processing.reconciliation.fetching import Progress
from caas.rules import postings
from caas.rules.compared_relations import AGREEING, POSTING, names
from caas.rules.discrepancies import DiscrepancyKind, due_days
from caas.rules.money import Money
from caas.rules.payment_states import PaymentEvent, PaymentState, Remark
from caas.rules.resolutions import still_posted, taken, taken_back

LATE_LINE: Final = "late_settlement_line"
CHUNK_LINES: Final = 5_000
BY: Final = "reconciliation"
UNSETTLED: Final = frozenset(
    {DiscrepancyKind.DELAYED_SETTLEMENT, DiscrepancyKind.MISSING_AT_GATEWAY}
)
OF_REFUNDS: Final = frozenset({"refund", "refund_reversal"})
# Lines that are evidence of money taken where our records say that there is none.
EVIDENCE: Final = frozenset(
    {
        DiscrepancyKind.SETTLED_THOUGH_VOIDED,
        DiscrepancyKind.CAPTURED_NOT_DELIVERED,
        DiscrepancyKind.STATE_CONFLICT,
    }
)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is applied: a run, of a report, of a day, of a gateway."""

    id: UUID
    gateway: str
    day: date
    today: date
    report: SettlementReport
    closing: bool


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of it, by class, and the digest of the whole outcome."""

    counts: dict[str, int]
    output_hash: str


@dataclass(slots=True)
class _Known:
    """Where this run itself has left a payment that it settles in several steps."""

    versions: dict[str, tuple[int, int]] = field(default_factory=dict)


class Updating:
    """Stores lines, and does what follows from them."""

    def __init__(
        self,
        books: Books,
        *,
        reports: SettlementReports,
        discrepancies: Discrepancies,
        days: ReconciliationDays,
        chunk_lines: int = CHUNK_LINES,
    ) -> None:
        """Apply to these books, so many lines a commit."""
        self._books = books
        self._refunds = Refunds(books.database)
        self._reports = reports
        self._discrepancies = discrepancies
        self._days = days
        self._chunk_lines = chunk_lines

    async def apply(
        self, run: Run, bench: Workbench, progress: Progress, effort: Effort
    ) -> Applied:
        """Apply a comparison."""
        awaited = bench.folder / "awaited.csv"
        await self._discrepancies.awaited(awaited)
        await asyncio.to_thread(bench.set_apart, awaited)
        counts = Counter(await asyncio.to_thread(bench.classes_of_new))
        chunks = await asyncio.to_thread(bench.chunks, self._chunk_lines)
        total = sum(chunk.sums.lines for chunk in chunks)
        known = _Known()
        done = 0
        with closing(bench.outcome_lines(names(STORED))) as outcome:
            for chunk in chunks:
                lines = await asyncio.to_thread(outcome.take, chunk.sums.lines)
                apart = await asyncio.to_thread(bench.apart, chunk)
                await self._one_chunk(run, chunk, lines, apart, known, effort)
                done += chunk.sums.lines
                progress("applied", done, total)
            output_hash = await asyncio.to_thread(outcome.end)
        counts += await self._besides(run, bench, known)
        return Applied(dict(counts), output_hash)

    async def _one_chunk(
        self,
        run: Run,
        chunk: Chunk,
        lines: bytes,
        apart: list[Row],
        known: _Known,
        effort: Effort,
    ) -> None:
        async def together(connection: Connection) -> _Known:
            sums = (chunk.sums.lines, chunk.sums.gross, chunk.sums.net)
            await self._reports.store(
                run.report.id, effort.fed(lines), run_id=run.id, sums=sums, within=connection
            )
            return await self._follow(run, apart, known, connection)

        after = await self._books.database.in_transaction(together)
        known.versions |= after.versions

    async def _follow(
        self, run: Run, rows: Sequence[Row], known: _Known, connection: Connection
    ) -> _Known:
        """Open what differs, settle what agrees, resolve what waited for these lines."""
        differing = [row for row in rows if row["class"] not in AGREEING]
        await self._discrepancies.open(
            [_discrepancy(run, row) for row in differing], within=connection
        )
        after = await self._settle(run, rows, known, connection)
        await self._leave_late(run, [row for row in differing if _is_evidence(row)], connection)
        await self._resolve_awaiting(rows, connection)
        return after

    async def _settle(
        self, run: Run, rows: Sequence[Row], known: _Known, connection: Connection
    ) -> _Known:
        last: dict[str, Row] = {
            row["payment_id"]: row
            for row in rows
            if row["class"] in POSTING and row["settles"] is not None
            and row["state"] == PaymentState.CAPTURING and row["settles"] > row["settled"]
        }  # fmt: skip
        settling = list(last.values())
        moves = [_move(run, row, known) for row in settling]
        moved = await self._books.moves.apply_all(moves, within=connection)
        refused = [row for row, it in zip(settling, moved, strict=True) if not it.moved]
        await self._leave_late(run, refused, connection)
        await self._refunds.wake_all([move.payment_id for move in moves], within=connection)
        return _Known(
            {
                row["payment_id"]: (it.version, row["settles"])
                for row, it in zip(settling, moved, strict=True)
                if it.moved and row["settles"] < row["captured"]
            }
        )

    async def _leave_late(self, run: Run, rows: Iterable[Row], connection: Connection) -> None:
        """Leave work behind that tells the payment, by the door that webhooks use."""
        work = [
            (
                LATE_LINE,
                UUID(row["payment_id"]),
                0.0,
                {
                    "line": _source(run, row),
                    "transaction_id": row["transaction_id"],
                    "gross": row["gross"],
                    "currency": row["currency"],
                    "settles": row["settles"],
                },
            )
            for row in rows
        ]
        await self._books.work.add_all(work, within=connection)

    async def _resolve_awaiting(self, rows: Sequence[Row], connection: Connection) -> None:
        """A late settlement, or an unlisted refund, resolves itself when its line comes (36)."""
        told = [row for row in rows if row["class"] in POSTING and row["payment_id"]]
        await self._end_listed(told, connection)
        settles = {UUID(row["payment_id"]): row for row in told if row["settles"] is not None}
        if not settles:
            return
        for waiting in await self._discrepancies.awaiting_line(list(settles), within=connection):
            assert waiting.payment_id is not None, "it was found by its payment"
            row = settles[waiting.payment_id]
            if waiting.kind in UNSETTLED or row["settles"] >= row["captured"]:
                await self._resolves_itself(waiting, (), _line(row), row["class"], connection)

    async def _end_listed(self, rows: Sequence[Row], connection: Connection) -> None:
        """End unlisted refunds of these lines' payments; what a person booked is taken back."""
        refunded = [UUID(row["payment_id"]) for row in rows if row["type"] in OF_REFUNDS]
        if not refunded:
            return
        for it in await self._discrepancies.listed_since(refunded, within=connection):
            await self._resolves_itself(it.discrepancy, (), it.line, it.line_class, connection)

    async def _besides(self, run: Run, bench: Workbench, known: _Known) -> Counter[str]:
        """Follow what is no new line: lines judged again, and records without one."""
        again = await asyncio.to_thread(bench.besides, "again")
        lacking = await asyncio.to_thread(bench.besides, "book")
        counts: Counter[str] = Counter()
        for piece in _pieces(again, self._chunk_lines):
            counts += await self._judged_again(run, piece, known)
        for piece in _pieces(lacking, self._chunk_lines):
            unlisted = [
                UUID(row["payment_id"])
                for row in piece
                if row["class"] == DiscrepancyKind.REFUND_MISMATCH
            ]
            async with self._books.database.transaction() as connection:
                times = await self._discrepancies.times_listed(unlisted, within=connection)
                found = [_discrepancy(run, row, times) for row in piece]
                opened = await self._discrepancies.open(found, within=connection)
            counts.update(kind.value for kind in opened)
        if run.closing:
            await self._close(run)
        return counts

    async def _judged_again(self, run: Run, rows: Sequence[Row], known: _Known) -> Counter[str]:
        """What our records lacked has come: the line is taken now, and its discrepancy ends."""
        agreeing = [row for row in rows if row["class"] in POSTING]
        if not agreeing:
            return Counter()

        async def together(connection: Connection) -> tuple[Counter[str], _Known]:
            by_line = {(UUID(row["report"]), row["line_no"]): row for row in agreeing}
            counts: Counter[str] = Counter()
            for open_ in await self._discrepancies.of_lines(list(by_line), within=connection):
                assert open_.report_id is not None
                assert open_.line_no is not None
                row = by_line[open_.report_id, open_.line_no]
                entries = taken(gross=row["gross"], fee=row["fee"], net=row["net"])
                await self._resolves_itself(open_, entries, _line(row), row["class"], connection)
                counts[row["class"]] += 1
            await self._reports.identify(
                [(UUID(r["report"]), r["line_no"], UUID(r["payment_id"]))
                 for r in agreeing if r["payment_id"]],
                within=connection,
            )  # fmt: skip
            still = [row for row in agreeing if row["class"] not in AGREEING]
            await self._discrepancies.open(
                [_discrepancy(run, row) for row in still], within=connection
            )
            after = await self._settle(run, agreeing, known, connection)
            await self._end_listed([r for r in agreeing if r["payment_id"]], connection)
            return counts, after

        counts, after = await self._books.database.in_transaction(together)
        known.versions |= after.versions
        return counts

    async def _resolves_itself(
        self,
        discrepancy: Discrepancy,
        entries: tuple[postings.Entry, ...],
        line: str,
        line_class: str,
        connection: Connection,
    ) -> None:
        posted = await self._discrepancies.entries(discrepancy.id, within=connection)
        await self._discrepancies.reject_proposal(discrepancy.id, by=BY, within=connection)
        step = Step(
            event="resolved itself",
            status="resolved",
            by=BY,
            facts={"line": line, "class": line_class},
            resolution="itself",
            entries=taken_back(still_posted(posted)) + entries,
        )
        await self._discrepancies.step(discrepancy.id, step, within=connection)
        await brought_by_its_line(discrepancy.id, line, within=connection)

    async def _close(self, run: Run) -> None:
        """Write down that both directions were compared, and what is missing by now."""
        async with self._books.database.transaction() as connection:
            listed = await self._discrepancies.listed_since_of(
                run.gateway, run.day, within=connection
            )
            for it in listed:
                await self._resolves_itself(it.discrepancy, (), it.line, it.line_class, connection)
            await self._discrepancies.become_missing(run.gateway, run.day, by=BY, within=connection)
            await self._days.compared(run.gateway, run.day, run.id, within=connection)


def _is_evidence(row: Row) -> bool:
    """Whether a payment is told of a line: one that is its own, and names no other payment."""
    return (
        row["class"] in EVIDENCE
        and row["payment_id"] is not None
        and row["type"] == "settlement"
        and row["gross"] > 0
        and row["reference"] in {None, row["payment_id"]}
    )


def _move(run: Run, row: Row, known: _Known) -> Move:
    """The bank confirms, wholly or in part, where the comparison saw the payment."""
    version, settled = known.versions.get(row["payment_id"], (row["version"], row["settled"]))
    whole = row["settles"] >= row["captured"]
    to_state = PaymentState.SETTLED if whole else PaymentState.CAPTURING
    new = row["settles"] - settled
    return Move(
        payment_id=UUID(row["payment_id"]),
        event=(PaymentEvent.BANK_CONFIRMS if whole else Remark.PARTIALLY_SETTLED).value,
        from_state=PaymentState.CAPTURING.value,
        to_state=to_state.value,
        source=f"settled:{row['settles']}",
        if_version=version,
        outcome="known",
        facts={"told_by": _source(run, row)},
        settled=new,
        entries=postings.settled(new),
        done=(CAPTURE, PROBE, POLL_SETTLEMENT) if whole else (CAPTURE, PROBE),
    )


def _source(run: Run, row: Row) -> str:
    return f"line:{run.report.report_ref}:{row['line_no']}"


def _line(row: Row) -> str:
    return f"{row['report']}:{row['line_no']}"


def _discrepancy(
    run: Run, row: Row, times: Mapping[str, int] = MappingProxyType({})
) -> NewDiscrepancy:
    """Return what a row opens; a refund that was listed after all makes way for the next one."""
    kind = DiscrepancyKind(row["class"])
    about = (row["report"], row["line_no"]) if row["line_no"] else (row["payment_id"],)
    if not row["line_no"] and kind is DiscrepancyKind.REFUND_MISMATCH:
        before = times.get(row["payment_id"], 0)
        about = (*about, f"after {before}") if before else about
    label = "unsettled" if kind in UNSETTLED else kind.value
    money = Money(row["at_stake"], row["currency"])
    return NewDiscrepancy(
        id=derived_id("discrepancy", label, *about),
        gateway=run.gateway,
        day=run.day,
        kind=kind,
        amount=row["at_stake"],
        currency=row["currency"],
        payment_id=UUID(row["payment_id"]) if row["payment_id"] else None,
        report_id=UUID(row["report"]) if row["line_no"] else None,
        line_no=row["line_no"],
        due_on=max(run.day, run.today) + timedelta(days=due_days(kind, money)),
        missing_from=_date(row.get("missing_from")),
        facts=_facts(row),
    )


def _facts(row: Row) -> dict[str, Any]:
    told = (
        "transaction_id", "reference", "type", "gross", "fee", "net", "state", "fee_agreed",
        "payout_fee",
    )  # fmt: skip
    return {name: row[name] for name in told if row[name] is not None}


def _date(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _pieces(rows: Sequence[Row], size: int) -> Iterable[Sequence[Row]]:
    return (rows[at : at + size] for at in range(0, len(rows), size))
