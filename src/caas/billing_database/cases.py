"""Cases: findings that a person must review.

The system closes a case only when its cause has ended (an unknown outcome became known), and
records how. A subject has at most one open case per kind; opening it again changes nothing.

Rule a change must keep: otherwise a person closes a case and records the decision.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.filters import Walk, composed
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import columns, row_as
from caas.errors import ConflictError, NotFoundError

ROWS_MAX = 200

OPEN = """
insert into cases (id, kind, subject, sentence, facts, opened_at)
values ($1, $2, $3, $4, $5, db_now())
on conflict (kind, subject) where status = 'open' do nothing returning id
"""


OPEN_AGAIN = """
insert into cases (id, kind, subject, sentence, facts, opened_at)
select $1, kind, subject, sentence, facts, db_now() from cases
 where kind = $2 and subject = $3 and status = 'resolved' and resolution = $4
 order by resolved_at desc limit 1
on conflict (kind, subject) where status = 'open' do nothing
"""


class Case(msgspec.Struct, frozen=True):
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
  from cases where {{given}} order by {{order}} limit $1
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
OPEN_CASE, RESOLVED_CASE = "open", "resolved"
PAUSED = "jobs_parked"
DEPOSIT_HELD = "deposit_held"
DECIDED_OTHERWISE = (DEPOSIT_HELD,)
"""Kinds of cases that a decision about money closes, not a note."""


class CaseNotFoundError(NotFoundError):
    """No open case has this id."""

    code = "case_not_found"


class CaseStillNeededError(ConflictError):
    """Jobs are paused behind this case. Release the jobs; the case then closes."""

    code = "case_still_needed"


class CaseNeedsDecisionError(ConflictError):
    """Money is held behind this case. Decide what happens to it; the case then closes."""

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
        """Open a case; return False if the subject already has an open one of this kind."""
        row = await (within or self.database).fetchrow(
            OPEN, new_id(), kind, subject, sentence, facts or {}
        )
        return row is not None

    async def open_again(
        self, kind: str, subject: UUID, *, resolution: str, within: Connection
    ) -> None:
        """Open the last case of this kind again that ended with this resolution, if any."""
        await within.execute(OPEN_AGAIN, new_id(), kind, subject, resolution)

    async def listed(
        self,
        *,
        status: str | None = "open",
        subject: UUID | None = None,
        kind: str | None = None,
    ) -> list[Case]:
        """Return cases, newest first."""
        # A status is part of the statement: the index of open cases has no others.
        given = {
            "status = 'open'": status == OPEN_CASE,
            "status = 'resolved'": status == RESOLVED_CASE,
            "subject = $": subject,
        }
        walk = Walk({"kind": kind}, key="opened_at")
        query, arguments = composed(LISTED, ROWS_MAX, given=given, along=walk)
        rows = await self.database.fetch(query, *arguments)
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
        """Close the subject's open case of this kind with these facts, and record how it ended."""
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
        """Assign an open case to a person.

        Raises:
            CaseNotFoundError: no open case has this id.
        """
        if await self.database.fetchrow(TAKE, case_id, owner) is None:
            raise CaseNotFoundError(f"No open case has the id {case_id}.")

    async def resolve(
        self, case_id: UUID, *, resolution: str, owner: str, within: Connection | None = None
    ) -> None:
        """Close a case with the decision and its author.

        Raises:
            CaseNotFoundError: no open case has this id.
            CaseStillNeededError: jobs are paused behind it.
            CaseNeedsDecisionError: money is held behind it.
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
