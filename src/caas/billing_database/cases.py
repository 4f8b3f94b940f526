"""Cases: what a person must look at, opened by the system, never closed by it in silence.

A case that ends by itself (an unknown outcome that became known) is closed with what it became.

At most one open case of a kind for a subject; opening it again adds nothing.

Rule a change must keep: a case is closed by a person, with what was decided.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from caas.billing_database.connection import Connection, Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import columns, row_as
from caas.errors import ConflictError, NotFoundError

ROWS_MAX = 200

OPEN = """
insert into cases (id, kind, subject, sentence, facts, opened_at)
values ($1, $2, $3, $4, $5, db_now())
on conflict (kind, subject) where status = 'open' do nothing returning id
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One case, open or resolved."""

    id: UUID
    kind: str
    subject: UUID
    sentence: str
    facts: dict[str, Any]
    owner: str | None
    status: str
    resolution: str | None
    opened_at: datetime
    resolved_at: datetime | None


LISTED = f"""
select {columns(Case)}
  from cases where ($1::text is null or status = $1) and ($2::uuid is null or subject = $2)
   and ($3::text is null or kind = $3)
 order by opened_at desc limit $4
"""
CLOSE = """
update cases set status = 'resolved', resolution = $3, owner = $4, resolved_at = db_now()
 where kind = $1 and subject = $2 and status = 'open' and facts @> $5
"""
RESOLVE = """
update cases set status = 'resolved', resolution = $2, owner = $3, resolved_at = db_now()
 where id = $1 and status = 'open' and kind <> all ($5)
   and not (kind = $4 and exists (
     select from jobs o where o.subject = cases.subject and o.paused_at is not null))
returning id
"""
TAKE = "update cases set owner = $2 where id = $1 and status = 'open' returning id"
ONE = f"""
select {columns(Case)}
  from cases where id = $1
"""
PAUSED = "jobs_parked"
DEPOSIT_HELD = "deposit_held"
DECIDED_OTHERWISE = (DEPOSIT_HELD,)
"""Kinds of cases that no words close: a decision does, which moves money."""


class CaseNotFoundError(NotFoundError):
    """No open case has this id."""

    code = "case_not_found"


class CaseStillNeededError(ConflictError):
    """Work is parked behind this case; release the work, and the case closes with it."""

    code = "case_still_needed"


class CaseNeedsDecisionError(ConflictError):
    """Money waits behind this case; decide what becomes of it, and the case closes with it."""

    code = "case_needs_decision"


class Cases:
    """The table of cases."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self.database = database

    async def open(
        self,
        kind: str,
        subject: UUID,
        sentence: str,
        *,
        facts: dict[str, Any] | None = None,
        within: Connection | None = None,
    ) -> bool:
        """Open a case; return False when one of this kind is open for the subject already."""
        row = await (within or self.database).fetchrow(
            OPEN, new_id(), kind, subject, sentence, facts or {}
        )
        return row is not None

    async def listed(
        self,
        *,
        status: str | None = "open",
        subject: UUID | None = None,
        kind: str | None = None,
    ) -> list[Case]:
        """Return cases, newest first."""
        rows = await self.database.fetch(LISTED, status, subject, kind, ROWS_MAX)
        return [row_as(Case, row) for row in rows]

    async def close(
        self,
        kind: str,
        subject: UUID,
        *,
        resolution: str,
        owner: str,
        facts: dict[str, Any] | None = None,
        within: Connection | None = None,
    ) -> None:
        """Close the open case of a kind for a subject, of these facts, saying how it ended."""
        by = within or self.database
        await by.fetch(CLOSE, kind, subject, resolution, owner, facts or {})

    async def get(self, case_id: UUID) -> Case:
        """Return a case, open or resolved.

        Raises:
            CaseNotFoundError: none has this id.
        """
        row = await self.database.fetchrow(ONE, case_id)
        if row is None:
            raise CaseNotFoundError(f"No case has the id {case_id}.")
        return row_as(Case, row)

    async def take(self, case_id: UUID, *, owner: str) -> None:
        """Make somebody the owner of an open case.

        Raises:
            CaseNotFoundError: no open case has this id.
        """
        if await self.database.fetchrow(TAKE, case_id, owner) is None:
            raise CaseNotFoundError(f"No open case has the id {case_id}.")

    async def resolve(
        self, case_id: UUID, *, resolution: str, owner: str, within: Connection | None = None
    ) -> None:
        """Close a case with what was decided and by whom.

        Raises:
            CaseNotFoundError: no open case has this id.
            CaseStillNeededError: work is parked behind it.
            CaseNeedsDecisionError: money waits behind it.
        """
        by = within or self.database
        closing = (case_id, resolution, owner, PAUSED, DECIDED_OTHERWISE)
        if await by.fetchrow(RESOLVE, *closing) is not None:
            return
        row = await by.fetchrow(ONE, case_id)
        if row is None or row["status"] != "open":
            raise CaseNotFoundError(f"No open case has the id {case_id}.")
        if row["kind"] in DECIDED_OTHERWISE:
            raise CaseNeedsDecisionError(case=str(case_id))
        raise CaseStillNeededError(case=str(case_id))
