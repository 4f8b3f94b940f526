"""Deduplicates provider rows across reports and days.

The same row appears in Stripe's balance and payout reports, and in a day's and a week's export. It
is identified by the provider's id or, without one, by its whole content.

Rules a change must keep: rows stored in another report are left out and reported; a row that
differs from the stored one with its id is quarantined; a report of rows without ids that is already
stored for another day is refused.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, date
from functools import partial
from uuid import UUID

from caas.billing_database.line_identities import LineIdentities
from caas.billing_database.settlement_reports import ReportSummary
from caas.external_systems.reconciliation_workbench import Workbench
from caas.external_systems.report_files import CANONICAL, BadReportError, ReportFormat


async def leave_out_stored_elsewhere(
    identities: LineIdentities,
    reported: ReportSummary,
    own: Sequence[UUID],
    bench: Workbench,
    format_: ReportFormat,
) -> dict[date, int]:
    """Drop rows stored in another report; return their number by day.

    Raises:
        BadReportError: every row is stored in a report of another day.
    """
    booked = await asyncio.to_thread(bench.booked)
    if booked is None:
        return {}
    first, last = (moment.replace(tzinfo=UTC) for moment in booked)
    path = bench.folder / "elsewhere.csv"
    by_id, by_number = format_.lines_have_ids, format_ is CANONICAL
    ids = await asyncio.to_thread(bench.ids_into, bench.folder / "ids.csv") if by_id else None
    source = (reported.gateway, reported.format)
    await identities.elsewhere(source, own, (first, last), path, by_id=ids)
    if not path.stat().st_size:
        return {}
    found = await asyncio.to_thread(
        partial(bench.leave_out_elsewhere, path, by_id=by_id, by_number=by_number)
    )
    day = reported.late_of or reported.day
    if found and not by_id and day not in found:
        left = await asyncio.to_thread(bench.fresh)
        if not left.lines:
            raise BadReportError(
                f"Every line of the file is already stored for {min(found)}; it is "
                "the report of that day."
            )
    return found


async def part_of_day(
    identities: LineIdentities, source: tuple[str, str, date], part: str, ids: Sequence[str]
) -> str:
    """Return which report of a day (gateway, format, day) the rows with these ids belong to.

    It is the report with the same batches that already holds some of them, or else a new one.
    Unreadable lines have no batch; corrected lines belong to the report that quarantined them.
    """
    parts = await identities.sharing(*source, ids) if ids else []
    alike = [it for it in parts if it.part == part or it.part.startswith(f"{part} ")]
    if alike and alike[0].rows:
        return alike[0].part
    comes_right = next((it for it in parts if it.comes_right), None)
    if comes_right is not None:
        return comes_right.part
    if not alike:
        return part
    return f"{part} {hashlib.sha256('|'.join(sorted(ids)).encode()).hexdigest()[:16]}"


async def shrunk(bench: Workbench, gone: int, format_: ReportFormat | None) -> BadReportError:
    """Return an error naming the first stored lines that are missing from a report."""
    by_id = format_ is not None and format_.lines_have_ids
    by_number = format_ is None or format_ is CANONICAL
    first = await asyncio.to_thread(partial(bench.gone, by_id=by_id, by_number=by_number))
    names = ", ".join(first) + (", ..." if gone > len(first) else "")
    return BadReportError(
        f"The report has shrunk: {gone} stored lines are no longer in it ({names}). "
        "The stored lines remain."
    )


def remarks(elsewhere: dict[date, int], not_comparable: int) -> str | None:
    """Return a run's remarks that no count contains; None if there are none."""
    noted = []
    if elsewhere:
        reported = ", ".join(f"{lines} for {day}" for day, lines in sorted(elsewhere.items()))
        noted.append(f"Lines already stored in another report and not applied again: {reported}.")
    if not_comparable:
        noted.append(
            f"Not comparable: the fees of {not_comparable} line(s) are in another "
            "currency than their payments, and no fee is agreed with this provider "
            "(./caas fees --help)."
        )
    return " ".join(noted) or None
