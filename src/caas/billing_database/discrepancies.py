"""Discrepancies as rows: opened by the comparison, investigated, resolved (decision 35).

Rules a change must keep: a discrepancy changes only by a step that is an event of its own, in the
same statement; the same finding is opened once; what a resolution posts stands in entries that are
balanced by construction and taken back by their opposites, never by an edit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from caas.billing_database import discrepancy_statements as sql
from caas.billing_database.actors import Actor
from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import PAGE_ROWS_MAX, read_all, row_as
from caas.errors import NotFoundError
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.rules.postings import Entry

COPY_SECONDS_MAX: Final = 600
PROPOSED_BULKS_MAX: Final = 50


class DiscrepancyNotFoundError(NotFoundError):
    """No discrepancy has this id."""

    code = "discrepancy_not_found"


class NewDiscrepancy(msgspec.Struct, frozen=True, kw_only=True):
    """A discrepancy to open; its id follows from what it is about."""

    id: UUID
    gateway: str
    day: date
    kind: DiscrepancyKind
    amount: int
    currency: str
    payment_id: UUID | None
    report_id: UUID | None
    line_no: int | None
    due_on: date
    missing_from: date | None
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A discrepancy as it stands; `amount` is what is at stake, in minor units of `currency`."""

    id: UUID
    gateway: str
    day: date
    kind: DiscrepancyKind
    status: str
    version: int
    owner: str | None
    amount: int
    currency: str
    payment_id: UUID | None
    report_id: UUID | None
    line_no: int | None
    due_on: date
    missing_from: date | None
    resolution: str | None
    opened_at: datetime
    updated_at: datetime
    age_days: int


@dataclass(frozen=True, slots=True)
class ListedSince:
    """A refund that no line told in time, and the last line that tells it by now."""

    discrepancy: Discrepancy
    line: str
    line_class: str


@dataclass(frozen=True, slots=True)
class DiscrepancyEvent:
    """One step of an investigation, as it was appended."""

    seq: int
    event: str
    status: str
    by: str
    facts: dict[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class ProposedResolution:
    """What somebody proposed to do, and who decided it."""

    id: UUID
    discrepancy_id: UUID
    resolution: Resolution
    note: str
    amount: int
    currency: str
    needs_second_approver: bool
    state: str
    proposed_by: str
    proposed_account: UUID | None
    proposed_at: datetime
    decided_by: str | None
    decided_account: UUID | None
    decided_at: datetime | None
    bulk_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class AttachedEvidence:
    """A document that somebody attached."""

    id: UUID
    name: str
    media_type: str
    size: int
    digest: str
    attached_by: str
    attached_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a discrepancy: its event, the status after it, and what changes with it.

    `entries` are booked with it, `decision` is the resolution that asks for them.
    """

    event: str
    status: str
    by: str
    facts: dict[str, Any]
    owner: str | None = None
    kind: DiscrepancyKind | None = None
    due_on: date | None = None
    resolution: str | None = None
    entries: Sequence[Entry] = ()
    decision: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which discrepancies are asked for; None asks for any."""

    status: str | None = None
    kind: DiscrepancyKind | None = None
    day: date | None = None
    owner: str | None = None
    payment_id: UUID | None = None
    unresolved: bool = False


@dataclass(frozen=True, slots=True)
class ProposedBulk:
    """What one rule proposed and nobody has decided yet: how many discrepancies, and what of."""

    id: UUID
    kind: str
    resolution: str
    currency: str
    discrepancies: int
    amount: int
    note: str
    proposed_by: str
    proposed_account: UUID | None
    proposed_at: datetime


class Discrepancies:
    """The tables of discrepancies."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def open(
        self, found: Sequence[NewDiscrepancy], *, within: Connection
    ) -> list[DiscrepancyKind]:
        """Open what was found; return the kinds of those that were not there before."""
        if not found:
            return []
        rows = await within.fetch(sql.OPEN, msgspec.json.encode(found).decode())
        return [DiscrepancyKind(row["kind"]) for row in rows]

    async def get(self, discrepancy_id: UUID, *, within: Connection | None = None) -> Discrepancy:
        """Return a discrepancy; inside a transaction it is locked until its end.

        Raises:
            DiscrepancyNotFoundError: none has this id.
        """
        row = (
            await self._database.fetchrow(sql.ONE, discrepancy_id)
            if within is None
            else await within.fetchrow(sql.LOCKED, discrepancy_id)
        )
        if row is None:
            raise DiscrepancyNotFoundError(f"No discrepancy has the id {discrepancy_id}.")
        return row_as(Discrepancy, row)

    async def listed(
        self, asked: Asked, *, after: UUID | None = None, rows_max: int = PAGE_ROWS_MAX
    ) -> list[Discrepancy]:
        """Return discrepancies, the soonest due first."""
        rows = await self._database.fetch(
            sql.LISTED, asked.status, asked.kind, asked.day, asked.owner, asked.payment_id,
            asked.unresolved, after, min(rows_max, PAGE_ROWS_MAX),
        )  # fmt: skip
        return [row_as(Discrepancy, row) for row in rows]

    async def step(self, discrepancy_id: UUID, step: Step, *, within: Connection) -> None:
        """Take a step, with its event and its entries, which the event states."""
        entries: dict[str, Any] = {}
        if step.entries:
            entries["entries"] = [list(entry) for entry in step.entries]
            entries["decision"] = step.decision
        await within.execute(
            sql.STEP, discrepancy_id, step.status, step.owner, step.kind, step.due_on,
            step.resolution, step.event, step.by, {**step.facts, **entries},
        )  # fmt: skip
        if step.entries:
            columns = (list(column) for column in zip(*step.entries, strict=True))
            await within.execute(sql.POST, discrepancy_id, step.decision, *columns)

    async def events(
        self, discrepancy_id: UUID, *, within: Connection | None = None
    ) -> list[DiscrepancyEvent]:
        """Return every step of an investigation in order."""
        return await read_all(
            DiscrepancyEvent, within or self._database, sql.EVENTS, discrepancy_id
        )

    async def refund_is_known(self, gateway_refund_id: str) -> bool:
        """Say whether a refund at the gateway is one of a payment's, or was noted of any line."""
        return await self._database.fetchrow(sql.REFUND_IS_KNOWN, gateway_refund_id) is not None

    async def entries(
        self, discrepancy_id: UUID, *, within: Connection | None = None
    ) -> list[Entry]:
        """Return every entry that was posted for a discrepancy."""
        rows = await (within or self._database).fetch(sql.ENTRIES, discrepancy_id)
        return [Entry(*row) for row in rows]

    async def propose(
        self, discrepancy: Discrepancy, proposed: ProposedResolution, *, within: Connection
    ) -> None:
        """Write a proposal down."""
        await within.execute(
            sql.PROPOSE, proposed.id, discrepancy.id, proposed.resolution, proposed.note,
            proposed.amount, proposed.currency, proposed.needs_second_approver,
            proposed.proposed_by, proposed.proposed_account, proposed.bulk_id,
        )  # fmt: skip

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """Approve or reject a proposal; False when it does not wait any more."""
        state = "approved" if approved else "rejected"
        row = await within.fetchrow(sql.DECIDE, proposal_id, state, by.name, by.account)
        return row is not None

    async def resolutions(
        self, discrepancy_id: UUID, *, within: Connection | None = None
    ) -> list[ProposedResolution]:
        """Return what was proposed, the oldest first."""
        return await read_all(
            ProposedResolution, within or self._database, sql.RESOLUTIONS, discrepancy_id
        )

    async def proposed_bulks(self, gateway: str) -> list[ProposedBulk]:
        """Return what rules proposed and a second person has not decided, the oldest first."""
        return await read_all(
            ProposedBulk, self._database, sql.PROPOSED_BULKS, gateway, PROPOSED_BULKS_MAX
        )

    async def proposed_in_bulk(self, bulk_id: UUID) -> list[UUID]:
        """Return the discrepancies for which one rule proposed what waits for a second person."""
        rows = await self._database.fetch(sql.PROPOSED_IN_BULK, bulk_id)
        return [row["discrepancy_id"] for row in rows]

    async def proposed(
        self, discrepancy_id: UUID, *, within: Connection
    ) -> ProposedResolution | None:
        """Return the proposal that waits for a decision."""
        resolutions = await self.resolutions(discrepancy_id, within=within)
        return next((one for one in resolutions if one.state == "proposed"), None)

    async def attach(
        self,
        discrepancy_id: UUID,
        *,
        name: str,
        media_type: str,
        content: bytes,
        by: str,
        within: Connection,
    ) -> UUID:
        """Keep a document with a discrepancy; return the document's id."""
        evidence_id = new_id()
        await within.execute(sql.ATTACH, evidence_id, discrepancy_id, name, media_type, content, by)
        return evidence_id

    async def evidence(self, discrepancy_id: UUID) -> list[AttachedEvidence]:
        """Return what is attached, without its content."""
        return await read_all(AttachedEvidence, self._database, sql.EVIDENCE, discrepancy_id)

    async def evidence_content(self, evidence_id: UUID) -> tuple[str, str, bytes] | None:
        """Return a document: its name, its media type, its content."""
        row = await self._database.fetchrow(sql.EVIDENCE_CONTENT, evidence_id)
        return None if row is None else (row["name"], row["media_type"], row["content"])

    async def reject_proposal(self, discrepancy_id: UUID, *, by: str, within: Connection) -> None:
        """Reject what was proposed, if anything was."""
        await within.execute(sql.REJECT, discrepancy_id, by)

    async def awaited(self, path: Path) -> None:
        """Write the payments whose settlement somebody waits for into a file."""
        async with self._database.connection() as connection:
            await connection.copy_from_query(
                sql.AWAITED, output=path, format="csv", timeout=COPY_SECONDS_MAX
            )

    async def awaiting_line(
        self, payments: Sequence[UUID], *, within: Connection
    ) -> list[Discrepancy]:
        """Lock and return what waits for settlement lines of these payments."""
        return await read_all(Discrepancy, within, sql.AWAITING, list(payments))

    async def listed_since(
        self, payments: Sequence[UUID], *, within: Connection
    ) -> list[ListedSince]:
        """Lock and return the unlisted refunds of these payments that lines tell by now."""
        return [_listed(row) for row in await within.fetch(sql.LISTED_OF, list(payments))]

    async def listed_since_of(
        self, gateway: str, day: date, *, within: Connection
    ) -> list[ListedSince]:
        """Lock and return the unlisted refunds of a day that lines tell by now."""
        return [_listed(row) for row in await within.fetch(sql.LISTED_OF_DAY, gateway, day)]

    async def times_listed(self, payments: Sequence[UUID], *, within: Connection) -> dict[str, int]:
        """Count how often an unlisted refund of a payment was listed after all."""
        rows = await within.fetch(sql.LISTED_BEFORE, list(payments))
        return {str(row["payment_id"]): row["times"] for row in rows}

    async def of_lines(
        self, lines: Sequence[tuple[UUID, int]], *, within: Connection
    ) -> list[Discrepancy]:
        """Lock and return the unresolved discrepancies of these lines."""
        if not lines:
            return []
        reports, numbers = (list(column) for column in zip(*lines, strict=True))
        return await read_all(Discrepancy, within, sql.OF_LINES, reports, numbers)

    async def become_missing(self, gateway: str, day: date, *, by: str, within: Connection) -> None:
        """Turn the delayed settlements that count as missing on this day into missing ones."""
        await within.execute(sql.BECAME_MISSING, gateway, day, by)


def _listed(row: Row) -> ListedSince:
    return ListedSince(row_as(Discrepancy, row), row["reported_by"], row["told_class"])
