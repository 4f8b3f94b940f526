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
from datetime import date
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from msgspec import structs

from caas.billing_database import foreign_disputes, unlisted_losses
from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancies, Discrepancy, ListedSince, Step
from caas.billing_database.gateway_claims import brought_by_its_line
from caas.billing_database.reconciliation_days import ReconciliationDays
from caas.billing_database.refunds import Refunds
from caas.billing_database.settlement_reports import STORED, SettlementReports
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Transition
from caas.external_systems.reconciliation_workbench import Workbench
from caas.external_systems.reconciliation_workbench_reading import Sums
from caas.payment_processing.chargeback_lines import ChargebackLines
from caas.payment_processing.gateway_calls import CAPTURE, POLL_SETTLEMENT, PROBE
from caas.payment_processing.settlement_positions import SettlementPositions
from caas.reconciliation import fees
from caas.reconciliation.fetching import Progress
from caas.reconciliation.judged_rows import (
    UNSETTLED,
    Row,
    Run,
    discrepancy_of,
    fees_of_parts,
    is_evidence,
    line_of,
    of_foreign_dispute,
    of_unlisted_loss,
    source_of,
)
from caas.reconciliation.reversals import Reversals
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
DECIDED_ON_PAYMENT: Final = frozenset({
    DiscrepancyKind.CHARGEBACK, DiscrepancyKind.CHARGEBACK_REVERSAL,
    DiscrepancyKind.REFUND_MISMATCH, DiscrepancyKind.FAILED_SETTLEMENT,
})  # fmt: skip
"""Kinds whose decision is recorded on the payment: reopened, it is no evidence of its own line."""


class Applied(msgspec.Struct, frozen=True):
    """The result of a run, and its digest.

    `counts` has the run's own lines by class and the discrepancies that it opened without a line;
    `cleared` has the open discrepancies, of any day, that ended because of it, by kind.
    """

    counts: dict[str, int]
    cleared: dict[str, int]
    output_hash: str


class _Done(msgspec.Struct):
    """What a run, or one transaction of it, did.

    `versions` is the state in which it left a payment that is settled in several steps.
    """

    versions: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    opened: Counter[str] = msgspec.field(default_factory=Counter)
    cleared: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, committed: "_Done") -> None:
        """Add what a transaction committed."""
        self.versions |= committed.versions
        self.opened += committed.opened
        self.cleared += committed.cleared


class _Piece(msgspec.Struct, frozen=True):
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
        self._reversals = Reversals(tables, discrepancies, reports, ChargebackLines(tables))
        self._positions = SettlementPositions(tables)
        self._chunk_lines = chunk_lines

    async def apply(
        self, run: Run, bench: Workbench, progress: Progress, throttle: Throttle
    ) -> Applied:
        """Apply the result of a comparison."""
        awaited = bench.folder / "awaited.csv"
        await self._discrepancies.awaited(awaited)
        await asyncio.to_thread(bench.set_apart, awaited)
        of_lines = Counter(await asyncio.to_thread(bench.classes_of_new))
        chunks = await asyncio.to_thread(bench.chunks, self._chunk_lines)
        total = sum(chunk.sums.lines for chunk in chunks)
        so_far = _Done()
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
                    await pieces.begin(partial(self._one_piece, run, piece, so_far, throttle))
            output_hash = await asyncio.to_thread(outcome.end)
        await self._apply_remaining(run, bench, so_far)
        return Applied(dict(of_lines + so_far.opened), dict(so_far.cleared), output_hash)

    async def _one_piece(
        self, run: Run, piece: _Piece, so_far: _Done, throttle: Throttle, turn: Turn
    ) -> None:
        """Store a batch in parallel with the previous one, and wait for that before the rest.

        Only the report totals, payments and discrepancies are shared between batches.
        """

        async def together(connection: Connection) -> _Done:
            await self._reports.append(throttle.fed(piece.lines), run_id=run.id, within=connection)
            await turn()
            sums = piece.sums
            await self._reports.advance(
                run.report.id, sums.lines, sums.gross, sums.net, within=connection
            )
            return await self._follow(run, piece.apart, so_far, connection)

        so_far.add(await self._tables.database.in_transaction(together))
        piece.committed()

    async def _follow(
        self, run: Run, rows: Sequence[Row], so_far: _Done, connection: Connection
    ) -> _Done:
        """Open discrepancies, settle matching payments, and resolve awaited lines."""
        differing = [row for row in rows if row["class"] not in AGREEING]
        found = [discrepancy_of(run, row) for row in differing]
        await self._discrepancies.open(found + fees_of_parts(run, rows), within=connection)
        done = _Done(await self._settle(run, rows, so_far, connection))
        await self._enqueue_late_lines(
            run, [row for row in differing if is_evidence(row)], connection
        )
        await self._resolve_awaiting(rows, done, connection)
        return done

    async def _settle(
        self, run: Run, rows: Sequence[Row], so_far: _Done, connection: Connection
    ) -> dict[str, tuple[int, int]]:
        """Settle matching payments; return those that are settled in part, as they were left."""
        last: dict[str, Row] = {
            row["payment_id"]: row
            for row in rows
            if row["class"] in POSTING and row["settles"] is not None
            and row["state"] == PaymentState.CAPTURING and row["settles"] > row["settled"]
        }  # fmt: skip
        settling = list(last.values())
        transitions = [_transition(run, row, so_far.versions) for row in settling]
        transitioned = await self._tables.transitions.apply_all(transitions, within=connection)
        refused = [
            row for row, it in zip(settling, transitioned, strict=True) if not it.transitioned
        ]
        await self._enqueue_late_lines(run, refused, connection)
        await self._refunds.wake_all(
            [transition.payment_id for transition in transitions], within=connection
        )
        return {
            row["payment_id"]: (it.version, row["settles"])
            for row, it in zip(settling, transitioned, strict=True)
            if it.transitioned and row["settles"] < row["captured"]
        }

    async def _enqueue_late_lines(
        self, run: Run, rows: Iterable[Row], connection: Connection
    ) -> None:
        """Enqueue a job that notifies the payment as a webhook would, by its transactions."""
        work = [
            (LATE_LINE, UUID(row["payment_id"]), 0.0, {f"of {row['transaction_id']}": {
                "line": source_of(run, row),
                "transaction_id": row["transaction_id"],
                "gross": row["gross"],
                "currency": row["currency"],
                "settles": row["settles"],
            }})
            for row in rows
        ]  # fmt: skip
        await self._tables.jobs.add_all(work, within=connection)

    async def _resolve_awaiting(
        self, rows: Sequence[Row], done: _Done, connection: Connection
    ) -> None:
        """Resolve late settlements and unlisted refunds whose line has arrived (decision 36)."""
        reported = [row for row in rows if row["class"] in POSTING and row["payment_id"]]
        await self._end_listed(reported, done, connection)
        settles = {UUID(row["payment_id"]): row for row in reported if row["settles"] is not None}
        if not settles:
            return
        for waiting in await self._discrepancies.awaiting_line(list(settles), within=connection):
            assert waiting.payment_id is not None, "it was found by its payment"
            row = settles[waiting.payment_id]
            if waiting.kind in UNSETTLED or row["settles"] >= row["captured"]:
                await self._resolves_itself(waiting, (), _reported(row), done, connection)

    async def _end_listed(self, rows: Sequence[Row], done: _Done, connection: Connection) -> None:
        """Resolve unlisted refunds of these lines' payments and reverse manual entries."""
        refunded = [UUID(row["payment_id"]) for row in rows if row["type"] in OF_REFUNDS]
        if not refunded:
            return
        for it in await self._discrepancies.listed_since(refunded, within=connection):
            await self._is_listed(it, done, connection)

    async def _apply_remaining(self, run: Run, bench: Workbench, so_far: _Done) -> None:
        """Apply the rest: lines compared again, and records without a line."""
        again = await asyncio.to_thread(bench.besides, "again")
        missing_records = await asyncio.to_thread(bench.besides, "book")
        for piece in _pieces(again, self._chunk_lines):
            await self._apply_rejudged(run, piece, so_far)
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
            so_far.opened.update(opened)
        rejudged = [row["payment_id"] for row in again if row["class"] in POSTING]
        await self._positions.explain_report(run.gateway, run.report.id, rejudged)
        if run.closing:
            so_far.add(await self._close(run))

    async def _apply_rejudged(self, run: Run, rows: Sequence[Row], so_far: _Done) -> None:
        """Apply lines whose missing record now exists, and resolve their discrepancies."""
        agreeing = [row for row in rows if row["class"] in POSTING]
        if not agreeing:
            return

        async def together(connection: Connection) -> _Done:
            by_line = {(UUID(row["report"]), row["line_no"]): row for row in agreeing}
            days = dict[tuple[UUID, int], date]()
            done = _Done()
            for open_ in await self._discrepancies.of_lines(list(by_line), within=connection):
                assert open_.report_id is not None
                assert open_.line_no is not None
                line = open_.report_id, open_.line_no
                if open_.kind in DECIDED_ON_PAYMENT and await self._discrepancies.was_reopened(
                    open_.id, within=connection
                ):
                    del by_line[line]
                    continue
                row, days[line] = by_line[line], open_.day
                entries = taken(gross=row["gross"], fee=row["fee"], net=row["net"])
                await self._resolves_itself(open_, entries, _reported(row), done, connection)
            agreed = list(by_line.values())
            await self._reports.identify(
                [(UUID(r["report"]), r["line_no"], UUID(r["payment_id"]))
                 for r in agreed if r["payment_id"]],
                within=connection,
            )  # fmt: skip
            still = [
                structs.replace(found, day=days.get(line, run.day))
                for line, row in by_line.items()
                if row["class"] not in AGREEING
                for found in (discrepancy_of(run, row), *fees_of_parts(run, [row]))
            ]  # not of this run's lines
            await fees.open_again(self._discrepancies, still, within=connection)
            done.versions = await self._settle(run, agreed, so_far, connection)
            await self._resolve_awaiting(agreed, done, connection)
            return done

        so_far.add(await self._tables.database.in_transaction(together))

    async def _is_listed(self, it: ListedSince, done: _Done, connection: Connection) -> None:
        reported = {"line": it.line, "class": it.line_class}
        await self._resolves_itself(it.discrepancy, (), reported, done, connection)

    async def _resolves_itself(
        self,
        discrepancy: Discrepancy,
        entries: tuple[postings.Entry, ...],
        reported: dict[str, str],
        done: _Done,
        connection: Connection,
    ) -> None:
        """Resolve what the line that `reported` names explains."""
        posted = await self._discrepancies.posted(discrepancy.id, within=connection)
        await self._discrepancies.reject_proposal(discrepancy.id, by=BY, within=connection)
        step = Step(
            event="resolved itself",
            status="resolved",
            by=BY,
            facts=reported,
            resolution="itself",
            entries=reversed_(still_posted(posted)) + entries,
        )
        await self._discrepancies.step(discrepancy.id, step, within=connection)
        await brought_by_its_line(discrepancy.id, reported["line"], within=connection)
        done.cleared[discrepancy.kind] += 1

    async def _close(self, run: Run) -> _Done:
        """Record that both directions were compared and which records still lack a line."""
        done = _Done()
        await self._reversals.cancel_earlier(run.gateway)
        async with self._tables.database.transaction() as connection:
            for it in await self._discrepancies.listed_since_of(
                run.gateway, run.day, within=connection
            ):
                await self._is_listed(it, done, connection)
            for found, dispute in await foreign_disputes.returned(run.gateway, within=connection):
                reported = {"line": f"dispute {dispute}", "class": found.kind.value}
                await self._resolves_itself(found, (), reported, done, connection)
            for one in await unlisted_losses.listed(run.gateway, within=connection):
                reported = {"line": f"lines of {one.payment_id}", "class": "matched"}
                await self._resolves_itself(one, (), reported, done, connection)
            foreign = await foreign_disputes.lost(run.gateway, within=connection)
            unlisted = await unlisted_losses.lacking(run.gateway, within=connection)
            found_now = [of_foreign_dispute(run, it) for it in foreign]
            found_now += [of_unlisted_loss(run, it) for it in unlisted]
            done.opened.update(await self._discrepancies.open(found_now, within=connection))
            await self._discrepancies.become_missing(run.gateway, run.day, by=BY, within=connection)
            await self._days.compared(run.gateway, run.day, run.id, within=connection)
        return done


def _reported(row: Row) -> dict[str, str]:
    """Return the line that resolves a discrepancy, and its class."""
    return {"line": line_of(row), "class": row["class"]}


def _transition(run: Run, row: Row, versions: dict[str, tuple[int, int]]) -> Transition:
    """Apply "Bank confirms", in full or in part, if the payment is still in the state compared."""
    version, settled = versions.get(row["payment_id"], (row["version"], row["settled"]))
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
