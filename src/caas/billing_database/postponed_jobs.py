"""When a job is due again whose step was run beside the queue, or which ended its own step.

Rules a change must keep: a step is run by a process that may have been frozen since it began; it
sets nothing back that another process, a report or a settlement has set meanwhile (decision 260).
A job belongs to the process that wrote or claimed it, until it is postponed or woken.
"""

from typing import Any
from uuid import UUID

import msgspec

from caas.billing_database.connection import Database

POSTPONE = """
insert into jobs as o (kind, subject, due_at, last_error, payload, created_at, held_by)
values ($1, $2, db_now() + make_interval(secs => $3), $4, $5, db_now(), null)
on conflict (kind, subject) do update
   set due_at = excluded.due_at, last_error = excluded.last_error, fence = o.fence + 1,
       lease_until = null, held_by = null, attempts = 0, payload = o.payload || excluded.payload
"""
POSTPONE_OWN = """
insert into jobs as o (kind, subject, due_at, last_error, payload, created_at, held_by)
select $1, $2, db_now() + make_interval(secs => $3), $4, $5, db_now(), null
 where exists (select from payments where id = $2 and version = $7)
on conflict (kind, subject) do update
   set due_at = excluded.due_at, last_error = excluded.last_error, fence = o.fence + 1,
       lease_until = null, held_by = null, attempts = 0, payload = o.payload || excluded.payload
 where o.fence = $6
returning kind
"""
POSTPONE_FIRST = """
update jobs set due_at = db_now() + make_interval(secs => $3), last_error = $4, fence = fence + 1,
       lease_until = null, held_by = null, attempts = 0, payload = payload || $5
 where kind = $1 and subject = $2 and held_by is not distinct from this_process()
"""
# A later issue always counts; of the same one, what its own process says.
POSTPONE_ISSUE = f"""{POSTPONE}
 where coalesce((o.payload->>'issue')::integer, 1) < $6
    or coalesce((o.payload->>'issue')::integer, 1) = $6
       and o.held_by is not distinct from this_process()
"""
HAS_LATER_ISSUE = """
select 1 from jobs
 where kind = $1 and subject = $2 and coalesce((payload->>'issue')::integer, 1) > $3
"""


class Delay(msgspec.Struct, frozen=True):
    """When a job is due again, in seconds from now, why so late, and what it needs to know then."""

    due_in: float
    because: str | None
    payload: dict[str, Any]


class PostponedJobs:
    """Sets when jobs become due."""

    def __init__(self, database: Database) -> None:
        """Write through this database."""
        self._database = database

    async def postpone(
        self,
        kind: str,
        subject: UUID,
        *,
        due_in: float,
        because: str | None = None,
        payload: dict[str, Any] | None = None,
    ) -> None:
        """Set when a job becomes due; a process that runs it meanwhile then sets nothing."""
        await self._database.fetch(POSTPONE, kind, subject, due_in, because, payload or {})

    async def postpone_first(self, kind: str, subject: UUID, delay: Delay) -> None:
        """Set when a job becomes due whose first attempt the caller made outside the queue.

        Nothing is set if it has ended, or was woken or taken over by another process meanwhile.
        """
        await self._database.fetch(
            POSTPONE_FIRST, kind, subject, delay.due_in, delay.because, delay.payload
        )

    async def postpone_issue(
        self, kind: str, payment_id: UUID, delay: Delay, *, issue: int
    ) -> None:
        """Set when an operation's job becomes due that was asked for under this issue of its key.

        Nothing is set if a later issue is due, or another process has taken the job over.
        """
        await self._database.fetch(
            POSTPONE_ISSUE, kind, payment_id, delay.due_in, delay.because,
            {**delay.payload, "issue": issue}, issue,
        )  # fmt: skip

    async def has_later_issue(self, kind: str, payment_id: UUID, *, issue: int) -> bool:
        """Return whether an operation is due under a later issue of its key than this one."""
        return await self._database.fetchrow(HAS_LATER_ISSUE, kind, payment_id, issue) is not None

    async def postpone_own(
        self,
        kind: str,
        payment_id: UUID,
        delay: Delay,
        *,
        fence: int,
        version: int,
    ) -> bool:
        """Set when a payment's job becomes due, unless another process has taken it over.

        That is so if the job has another fence than ours, or the payment another version than the
        one that was worked on.
        """
        row = await self._database.fetchrow(
            POSTPONE_OWN,
            kind,
            payment_id,
            delay.due_in,
            delay.because,
            delay.payload,
            fence,
            version,
        )
        return row is not None
