"""Which lines of a report are kept aside, and which of those kept aside before came right.

Rules a change must keep: why a line is kept aside follows from the file and from what is stored, so
that the same file gives the same verdict however often it is given; a line that the file still
has to keep aside is not released, whatever else the file has.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.quarantined_lines import (
    CONTRADICTS,
    REPEATED,
    UNREADABLE,
    Aside,
    Quarantined,
)
from caas.external_systems.reconciliation_workbench import Workbench
from caas.external_systems.reconciliation_workbench_identities import (
    OTHERWISE,
    SAME,
    STORED_OTHERWISE,
    TWICE,
)
from caas.external_systems.reconciliation_workbench_reading import Unreadable
from caas.external_systems.report_files import CANONICAL, ReportFormat
from caas.rules.card_numbers import contains_card_number, scrub
from caas.rules.personal_data import masked

FROM_PAGES: Final = None
"""The format of a report that was fetched page by page."""


class Identity(msgspec.Struct, frozen=True):
    """What identifies the lines of a format: an id of its own, an id, a number, or its values."""

    has_own_id: bool
    by_id: bool
    by_number: bool


def identity_of(format_: ReportFormat | None) -> Identity:
    """Return what identifies the lines of a format."""
    return Identity(
        has_own_id=format_ is not None and format_.ids_are_of_the_provider,
        by_id=format_ is not None and format_.lines_have_ids,
        by_number=format_ in (FROM_PAGES, CANONICAL),
    )


async def kept_aside(
    bench: Workbench, identity: Identity, *, any_stored: bool
) -> list[Quarantined]:
    """Return the lines of a file that are kept aside."""
    found = await asyncio.to_thread(bench.quarantined)
    numbers = [bad.line_no for bad in found if bad.line_no is not None]
    known: set[int] = set()
    if any_stored and numbers:
        known = await asyncio.to_thread(bench.known, numbers)
    return [
        Quarantined(
            bad.place,
            bad.line_no,
            _clean(bad.line_id),
            _kind(bad, known),
            bad.reason,
            masked(scrub(bad.text)),
            identity.has_own_id and _clean(bad.line_id) is not None,
            _clean(bad.batch_id),
            _clean(bad.transaction_id),
            _clean(bad.reference),
            bad.type,
        )
        for bad in found
    ]


def came_right(
    asides: Iterable[Aside],
    well_formed: tuple[set[int], set[str]],
    still: Sequence[Quarantined],
    identity: Identity,
) -> list[UUID]:
    """Return what was kept aside and now came well formed, as far as the file tells.

    Whether that line is stored is asked when it is released.
    """
    numbers, ids = well_formed
    numbers = numbers - {it.line_no for it in still}
    ids = ids - {it.line_id for it in still}
    texts = {it.text for it in still}
    return [
        aside.row
        for aside in asides
        if (
            aside.line_id in ids
            if aside.has_own_id
            else aside.line_no in numbers
            if identity.by_number
            else aside.text not in texts
        )
    ]


def _kind(bad: Unreadable, known: set[int]) -> str:
    if bad.reason == STORED_OTHERWISE or bad.reason.startswith(OTHERWISE):
        return CONTRADICTS
    if bad.reason in (TWICE, SAME) or bad.beside:
        return REPEATED
    return CONTRADICTS if bad.line_no in known else UNREADABLE


def _clean(identifier: str | None) -> str | None:
    """Return an identifier, unless it holds a card number."""
    if identifier is None or contains_card_number(identifier):
        return None
    return identifier
