"""Diagram 10, "Update internal records": applies the classified lines to our records.

A matching line settles its payment, unless a webhook already did. A differing line opens a
discrepancy. A line that a discrepancy was waiting for resolves it. Lines and their effects are
committed in batches, so an interrupted run resumes where it stopped.

Rules a change must keep: a line's ledger entries reference the line; a payment is changed only from
the state the comparison saw, and otherwise through the webhook path; batches are committed in
order.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancies, Discrepancy, Step
from caas.billing_database.gateway_claims import brought_by_its_line
from caas.billing_database.reconciliation_days import ReconciliationDays
from caas.billing_database.refunds import Refunds
from caas.billing_database.settlement_reports import STORED, SettlementReports
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Transition
from caas.external_systems.reconciliation_workbench import Workbench
from caas.external_systems.reconciliation_workbench_reading import Sums
from caas.payment_processing.gateway_calls import CAPTURE, POLL_SETTLEMENT, PROBE
from caas.reconciliation.fetching import Progress
from caas.reconciliation.judged_rows import (
    UNSETTLED,
    Row,
    Run,
    discrepancy_of,
    is_evidence,
    line_of,
    source_of,
)
from caas.reconciliation.throttle import Throttle, Turn
from caas.rules import postings
from caas.rules.compared_relations import AGREEING, POSTING, names
from caas.rules.discrepancies import DiscrepancyKind
from caas.rules.payment_states import PaymentEvent, PaymentState, Remark
from caas.rules.resolutions import reversed_, still_posted, taken

LATE_LINE: Final = "late_settlement_line"
CHUNK_LINES: Final = 10_000
BY: Final = "reconciliation"
OF_REFUNDS: Final = frozenset({"refund", "refund_reversal"})


@dataclass(frozen=True, slots=True)
class Applied:
    """Counts by class, and the digest of the whole result."""

    counts: dict[str, int]
    output_hash: str


@dataclass(slots=True)
class _Known:
    """The state in which this run left a payment that it settles in several steps."""

    versions: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Piece:
    """The lines of one commit, those that need more than storing, and the payments to notify."""

    sums: Sums
    lines: bytes
    apart: list[Row]
    committed: Callable[[], None]


class ResultApplication:
    """Stores lines and applies their effects."""

    def __init__(
        self,
        tables: BillingDatabase,
        *,
        reports: SettlementReports,
        discrepancies: Discrepancies,
        days: ReconciliationDays,
        chunk_lines: int = CHUNK_LINES,
    ) -> None:
        """Use these tables and commit `chunk_lines` lines at a time."""
        self._tables = tables
        self._refunds = Refunds(tables.database)
        self._reports = reports
        self._discrepancies = discrepancies
        self._days = days
        self._chunk_lines = chunk_lines

    async def apply(
        self, run: Run, bench: Workbench, progress: Progress, throttle: Throttle
    ) -> Applied:
        """Apply the result of a comparison."""
        awaited = bench.folder / "awaited.csv"
        await self._discrepancies.awaited(awaited)
        await asyncio.to_thread(bench.set_apart, awaited)
        counts = Counter(await asyncio.to_thread(bench.classes_of_new))
        chunks = await asyncio.to_thread(bench.chunks, self._chunk_lines)
        total = sum(chunk.sums.lines for chunk in chunks)
        known = _Known()
        with closing(bench.outcome_lines(names(STORED))) as outcome:
            async with throttle.overlapping() as pieces:
                done = 0
                for chunk in chunks:
                    lines = await asyncio.to_thread(outcome.take, chunk.sums.lines)
                    apart = await asyncio.to_thread(bench.apart, chunk)
                    done += chunk.sums.lines
                    piece = _Piece(
                        chunk.sums, lines, apart, partial(progress, "applied", done, total)
                    )
                    await pieces.begin(partial(self._one_piece, run, piece, known, throttle))
            output_hash = await asyncio.to_thread(outcome.end)
        counts += await self._apply_remaining(run, bench, known)
        return Applied(dict(counts), output_hash)

    async def _one_piece(
        self, run: Run, piece: _Piece, known: _Known, throttle: Throttle, turn: Turn
    ) -> None:
        """Store a batch in parallel with the previous one, and wait for that before the rest.

        Only the report totals, payments and discrepancies are shared between batches.
        """

        async def together(connection: Connection) -> _Known:
            await self._reports.append(throttle.fed(piece.lines), run_id=run.id, within=connection)
            await turn()
            sums = piece.sums
            await self._reports.advance(
                run.report.id, sums.lines, sums.gross, sums.net, within=connection
            )
            return await self._follow(run, piece.apart, known, connection)

        after = await self._tables.database.in_transaction(together)
        known.versions |= after.versions
        piece.committed()

    async def _follow(
        self, run: Run, rows: Sequence[Row], known: _Known, connection: Connection
    ) -> _Known:
        """Open discrepancies, settle matching payments, and resolve awaited lines."""
        differing = [row for row in rows if row["class"] not in AGREEING]
        await self._discrepancies.open(
            [discrepancy_of(run, row) for row in differing], within=connection
        )
        after = await self._settle(run, rows, known, connection)
        await self._enqueue_late_lines(
            run, [row for row in differing if is_evidence(row)], connection
        )
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
        transitions = [_transition(run, row, known) for row in settling]
        transitioned = await self._tables.transitions.apply_all(transitions, within=connection)
        refused = [
            row for row, it in zip(settling, transitioned, strict=True) if not it.transitioned
        ]
        await self._enqueue_late_lines(run, refused, connection)
        await self._refunds.wake_all(
            [transition.payment_id for transition in transitions], within=connection
        )
        return _Known(
            {
                row["payment_id"]: (it.version, row["settles"])
                for row, it in zip(settling, transitioned, strict=True)
                if it.transitioned and row["settles"] < row["captured"]
            }
        )

    async def _enqueue_late_lines(
        self, run: Run, rows: Iterable[Row], connection: Connection
    ) -> None:
        """Enqueue a job that notifies the payment as a webhook would."""
        work = [
            (
                LATE_LINE,
                UUID(row["payment_id"]),
                0.0,
                {
                    "line": source_of(run, row),
                    "transaction_id": row["transaction_id"],
                    "gross": row["gross"],
                    "currency": row["currency"],
                    "settles": row["settles"],
                },
            )
            for row in rows
        ]
        await self._tables.jobs.add_all(work, within=connection)

    async def _resolve_awaiting(self, rows: Sequence[Row], connection: Connection) -> None:
        """Resolve late settlements and unlisted refunds whose line has arrived (decision 36)."""
        reported = [row for row in rows if row["class"] in POSTING and row["payment_id"]]
        await self._end_listed(reported, connection)
        settles = {UUID(row["payment_id"]): row for row in reported if row["settles"] is not None}
        if not settles:
            return
        for waiting in await self._discrepancies.awaiting_line(list(settles), within=connection):
            assert waiting.payment_id is not None, "it was found by its payment"
            row = settles[waiting.payment_id]
            if waiting.kind in UNSETTLED or row["settles"] >= row["captured"]:
                await self._resolves_itself(waiting, (), line_of(row), row["class"], connection)

    async def _end_listed(self, rows: Sequence[Row], connection: Connection) -> None:
        """Resolve unlisted refunds of these lines' payments and reverse manual entries."""
        refunded = [UUID(row["payment_id"]) for row in rows if row["type"] in OF_REFUNDS]
        if not refunded:
            return
        for it in await self._discrepancies.listed_since(refunded, within=connection):
            await self._resolves_itself(it.discrepancy, (), it.line, it.line_class, connection)

    async def _apply_remaining(self, run: Run, bench: Workbench, known: _Known) -> Counter[str]:
        """Apply the rest: lines compared again, and records without a line."""
        again = await asyncio.to_thread(bench.besides, "again")
        missing_records = await asyncio.to_thread(bench.besides, "book")
        counts: Counter[str] = Counter()
        for piece in _pieces(again, self._chunk_lines):
            counts += await self._apply_rejudged(run, piece, known)
        for piece in _pieces(missing_records, self._chunk_lines):
            unlisted = [
                UUID(row["payment_id"])
                for row in piece
                if row["class"] == DiscrepancyKind.REFUND_MISMATCH
            ]
            async with self._tables.database.transaction() as connection:
                times = await self._discrepancies.times_listed(unlisted, within=connection)
                found = [discrepancy_of(run, row, times) for row in piece]
                opened = await self._discrepancies.open(found, within=connection)
            counts.update(kind.value for kind in opened)
        if run.closing:
            await self._close(run)
        return counts

    async def _apply_rejudged(self, run: Run, rows: Sequence[Row], known: _Known) -> Counter[str]:
        """Apply lines whose missing record now exists, and resolve their discrepancies."""
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
                await self._resolves_itself(open_, entries, line_of(row), row["class"], connection)
                counts[row["class"]] += 1
            await self._reports.identify(
                [(UUID(r["report"]), r["line_no"], UUID(r["payment_id"]))
                 for r in agreeing if r["payment_id"]],
                within=connection,
            )  # fmt: skip
            still = [row for row in agreeing if row["class"] not in AGREEING]
            await self._discrepancies.open(
                [discrepancy_of(run, row) for row in still], within=connection
            )
            after = await self._settle(run, agreeing, known, connection)
            await self._end_listed([r for r in agreeing if r["payment_id"]], connection)
            return counts, after

        counts, after = await self._tables.database.in_transaction(together)
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
            entries=reversed_(still_posted(posted)) + entries,
        )
        await self._discrepancies.step(discrepancy.id, step, within=connection)
        await brought_by_its_line(discrepancy.id, line, within=connection)

    async def _close(self, run: Run) -> None:
        """Record that both directions were compared and which records still lack a line."""
        async with self._tables.database.transaction() as connection:
            listed = await self._discrepancies.listed_since_of(
                run.gateway, run.day, within=connection
            )
            for it in listed:
                await self._resolves_itself(it.discrepancy, (), it.line, it.line_class, connection)
            await self._discrepancies.become_missing(run.gateway, run.day, by=BY, within=connection)
            await self._days.compared(run.gateway, run.day, run.id, within=connection)


def _transition(run: Run, row: Row, known: _Known) -> Transition:
    """Apply "Bank confirms", in full or in part, if the payment is still in the state compared."""
    version, settled = known.versions.get(row["payment_id"], (row["version"], row["settled"]))
    whole = row["settles"] >= row["captured"]
    to_state = PaymentState.SETTLED if whole else PaymentState.CAPTURING
    new = row["settles"] - settled
    return Transition(
        payment_id=UUID(row["payment_id"]),
        event=(PaymentEvent.BANK_CONFIRMS if whole else Remark.PARTIALLY_SETTLED).value,
        from_state=PaymentState.CAPTURING.value,
        to_state=to_state.value,
        source=f"settled:{row['settles']}",
        if_version=version,
        outcome="known",
        facts={"reported_by": source_of(run, row)},
        settled=new,
        entries=postings.settled(new),
        done=(CAPTURE, PROBE, POLL_SETTLEMENT) if whole else (CAPTURE, PROBE),
    )


def _pieces(rows: Sequence[Row], size: int) -> Iterable[Sequence[Row]]:
    return (rows[at : at + size] for at in range(0, len(rows), size))
