"""Discrepancies: opened by the comparison, investigated and resolved (decision 35).

Rules a change must keep: every change is a step with its own event in the same statement; the same
finding is opened once; resolutions post balanced entries, reversed by opposite entries and never
edited.
"""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from caas.billing_database import discrepancy_statements as sql
from caas.billing_database.accounts import Actor
from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.decisions import LastDecision
from caas.billing_database.filters import Walk, composed
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import PAGE_ROWS_MAX, read_all, read_one, row_as
from caas.errors import NotFoundError
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.rules.postings import Entry

COPY_SECONDS_MAX: Final = 600

RESOLVED: Final = "resolved"


class DiscrepancyNotFoundError(NotFoundError):
    """No discrepancy has this id."""

    code = "discrepancy_not_found"


class NewDiscrepancy(msgspec.Struct, frozen=True, kw_only=True):
    """A discrepancy to open; its id derives from its subject."""

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


class Discrepancy(msgspec.Struct, frozen=True):
    """A discrepancy; `amount` is the amount at stake in minor units of `currency`."""

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


class ListedSince(msgspec.Struct, frozen=True):
    """An overdue refund, and the later line that reports it."""

    discrepancy: Discrepancy
    line: str
    line_class: str


class DiscrepancyEvent(msgspec.Struct, frozen=True):
    """One step of an investigation."""

    seq: int
    event: str
    status: str
    by: str
    facts: dict[str, Any]
    at: datetime


class ProposedResolution(msgspec.Struct, frozen=True):
    """A proposed resolution and its decision."""

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


class AttachedEvidence(msgspec.Struct, frozen=True):
    """An attached document."""

    id: UUID
    name: str
    media_type: str
    size: int
    digest: str
    attached_by: str
    attached_at: datetime


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step: its event, the resulting status and further changes.

    `entries` are posted with it; `decision` is the resolution that requires them.
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


class DiscrepancyFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Filters for discrepancies; None means any."""

    gateway: str | None = None
    status: str | None = None
    kind: DiscrepancyKind | None = None
    day: date | None = None
    owner: str | None = None
    payment_id: UUID | None = None
    unresolved: bool = False


class Discrepancies:
    """The tables of discrepancies."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def open(
        self, found: Sequence[NewDiscrepancy], *, within: Connection
    ) -> list[DiscrepancyKind]:
        """Open discrepancies; return the kinds of those that are new."""
        if not found:
            return []
        rows = await within.fetch(sql.OPEN, msgspec.json.encode(found).decode())
        return [DiscrepancyKind(row["kind"]) for row in rows]

    async def get(self, discrepancy_id: UUID, *, within: Connection | None = None) -> Discrepancy:
        """Return a discrepancy, locked if inside a transaction.

        Raises:
            DiscrepancyNotFoundError: no discrepancy has this id.
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
        self, asked: DiscrepancyFilter, *, after: UUID | None = None, rows_max: int = PAGE_ROWS_MAX
    ) -> list[Discrepancy]:
        """Return discrepancies, soonest deadline first."""
        # The index of what is not resolved has no resolved one.
        is_open = asked.unresolved or asked.status not in (None, RESOLVED)
        asked_for = {"day": asked.day, "owner": asked.owner, "kind": asked.kind}
        narrowing = {name: value for name, value in asked_for.items() if value is not None}
        query, arguments = composed(
            sql.LISTED,
            min(rows_max, PAGE_ROWS_MAX),
            given={
                "d.status = $": asked.status if is_open else None,
                "d.status = 'resolved'": asked.status == RESOLVED,
                "d.status <> 'resolved'": is_open,
                "d.gateway = $": asked.gateway,
                "d.payment_id = $": asked.payment_id,
                sql.AFTER: after,
            }
            | {f"d.{name} = $": value for name, value in list(narrowing.items())[1:]},
            along=Walk(dict(list(narrowing.items())[:1]), key="d.due_on, d.id", descending=False),
        )
        return await read_all(Discrepancy, self._database, query, *arguments)

    async def step(self, discrepancy_id: UUID, step: Step, *, within: Connection) -> None:
        """Record a step with its event and the entries that the event states."""
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
        """Return all steps of an investigation in order."""
        return await read_all(
            DiscrepancyEvent, within or self._database, sql.EVENTS, discrepancy_id
        )

    async def refund_is_known(self, gateway: str, gateway_refund_id: str) -> bool:
        """Return whether a gateway refund belongs to the payment or was noted on a line."""
        return (
            await self._database.fetchrow(sql.REFUND_IS_KNOWN, gateway, gateway_refund_id)
            is not None
        )

    async def entries(
        self, discrepancy_id: UUID, *, within: Connection | None = None
    ) -> list[Entry]:
        """Return all entries posted for a discrepancy."""
        rows = await (within or self._database).fetch(sql.ENTRIES, discrepancy_id)
        return [Entry(*row) for row in rows]

    async def posted(self, discrepancy_id: UUID, *, within: Connection) -> list[Entry]:
        """Return all entries of a discrepancy, after those its decision posted with a payment."""
        return [Entry(*row) for row in await within.fetch(sql.POSTED, discrepancy_id)]

    async def propose(
        self, discrepancy: Discrepancy, proposed: ProposedResolution, *, within: Connection
    ) -> None:
        """Store a proposal."""
        await within.execute(
            sql.PROPOSE, proposed.id, discrepancy.id, proposed.resolution, proposed.note,
            proposed.amount, proposed.currency, proposed.needs_second_approver,
            proposed.proposed_by, proposed.proposed_account, proposed.bulk_id,
        )  # fmt: skip

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """Approve or reject a proposal; return False if it is no longer pending."""
        state = "approved" if approved else "rejected"
        row = await within.fetchrow(sql.DECIDE, proposal_id, state, by.name, by.account)
        return row is not None

    async def resolutions(
        self, discrepancy_id: UUID, *, within: Connection | None = None
    ) -> list[ProposedResolution]:
        """Return the proposals, oldest first."""
        return await read_all(
            ProposedResolution, within or self._database, sql.RESOLUTIONS, discrepancy_id
        )

    async def last_decision(
        self, discrepancy_id: UUID, *, within: Connection
    ) -> LastDecision | None:
        """Return how the last proposal about a discrepancy ended, or None."""
        return await read_one(LastDecision, within, sql.LAST_DECISION, discrepancy_id)

    async def proposed(
        self, discrepancy_id: UUID, *, within: Connection
    ) -> ProposedResolution | None:
        """Return the pending proposal, or None."""
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
        """Attach a document; return its id."""
        evidence_id = new_id()
        await within.execute(sql.ATTACH, evidence_id, discrepancy_id, name, media_type, content, by)
        return evidence_id

    async def evidence(self, discrepancy_id: UUID) -> list[AttachedEvidence]:
        """Return the attached documents without their content."""
        return await read_all(AttachedEvidence, self._database, sql.EVIDENCE, discrepancy_id)

    async def evidence_content(self, evidence_id: UUID) -> tuple[str, str, bytes] | None:
        """Return a document's name, media type and content."""
        row = await self._database.fetchrow(sql.EVIDENCE_CONTENT, evidence_id)
        return None if row is None else (row["name"], row["media_type"], row["content"])

    async def reject_proposal(self, discrepancy_id: UUID, *, by: str, within: Connection) -> None:
        """Reject the pending proposal, if any."""
        await within.execute(sql.REJECT, discrepancy_id, by)

    async def awaited(self, path: Path) -> None:
        """Write the payments with awaited settlements to a file."""
        async with self._database.connection() as connection:
            await connection.copy_from_query(
                sql.AWAITED, output=path, format="csv", timeout=COPY_SECONDS_MAX
            )

    async def awaiting_line(
        self, payments: Sequence[UUID], *, within: Connection
    ) -> list[Discrepancy]:
        """Lock and return the discrepancies that await settlement lines of these payments."""
        return await read_all(Discrepancy, within, sql.AWAITING, list(payments))

    async def ended_by_reinstating(
        self, payment_id: UUID, *, within: Connection
    ) -> list[Discrepancy]:
        """Lock and return what a reinstatement of a payment ended, of days that may change."""
        return await read_all(Discrepancy, within, sql.ENDED_BY_REINSTATING, payment_id)

    async def listed_since(
        self, payments: Sequence[UUID], *, within: Connection
    ) -> list[ListedSince]:
        """Lock and return overdue refunds of these payments that lines report by now."""
        return [_listed(row) for row in await within.fetch(sql.LISTED_OF, list(payments))]

    async def listed_since_of(
        self, gateway: str, day: date, *, within: Connection
    ) -> list[ListedSince]:
        """Lock and return overdue refunds of a day that lines report by now."""
        return [_listed(row) for row in await within.fetch(sql.LISTED_OF_DAY, gateway, day)]

    async def times_listed(self, payments: Sequence[UUID], *, within: Connection) -> dict[str, int]:
        """Count how often an overdue refund of a payment was reported after all."""
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

    async def was_reopened(self, discrepancy_id: UUID, *, within: Connection) -> bool:
        """Return whether a person has reopened a discrepancy: then a person ends it."""
        return bool(await within.fetchval(sql.WAS_REOPENED, discrepancy_id))

    async def become_missing(self, gateway: str, day: date, *, by: str, within: Connection) -> None:
        """Change delayed settlements that are missing as of this day to missing."""
        await within.execute(sql.BECAME_MISSING, gateway, day, by)


def _listed(row: Row) -> ListedSince:
    return ListedSince(row_as(Discrepancy, row), row["reported_by"], row["reported_class"])
