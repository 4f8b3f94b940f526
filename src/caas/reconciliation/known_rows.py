"""A provider's row is booked once, whatever report or day it stands in.

The same row comes in Stripe's balance report and in its payout report, in an export of a week and
in that of a day, for the day it was booked and for another. Its identity is the id that its
provider gives it, or, where there is none, all that it says.

Rules a change must keep: what is stored elsewhere is left out, and told; a row that says something
else than the stored one with its id is kept aside; a report of rows without ids that another day
has already is refused.
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
    """Leave out the rows that another report holds; return how many, by the day that has them.

    Raises:
        BadReportError: all of them are, of a report of another day.
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
                f"Every line of the file is stored already, for {min(found)}: it is the report of "
                "that day."
            )
    return found


async def part_of_day(
    identities: LineIdentities, source: tuple[str, str, date], part: str, ids: Sequence[str]
) -> str:
    """Return which report of a day (gateway, format, day) rows with ids are, by these ids.

    Of those of the same batches, it is the one that holds some of the rows already; otherwise it is
    another one, beside those that came. Lines that could not be read had no batch: what comes right
    now is the report that kept them aside.
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
    """Say that lines which are stored are not in a report any more, and name the first of them."""
    by_id = format_ is not None and format_.lines_have_ids
    by_number = format_ is None or format_ is CANONICAL
    first = await asyncio.to_thread(partial(bench.gone, by_id=by_id, by_number=by_number))
    names = ", ".join(first) + (", ..." if gone > len(first) else "")
    return BadReportError(
        f"The report has shrunk: {gone} lines of this report that are stored are not in it any "
        f"more ({names}). What is stored stays."
    )


def sentence_of(elsewhere: dict[date, int]) -> str | None:
    """Say which lines are known from elsewhere; None if there are none."""
    if not elsewhere:
        return None
    reported = ", ".join(f"{lines} for {day}" for day, lines in sorted(elsewhere.items()))
    return f"Lines that are stored already in another report, and not booked again: {reported}."
