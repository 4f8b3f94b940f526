"""Failed sign-in attempts, and when the next one is allowed.

They are stored in the database, so that all processes share the limit.

Rules a change must keep: an attempt is counted before it is checked, so that concurrent ones are
limited; keys are digests, so that neither logins nor addresses are stored.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from caas.billing_database.connection import Connection, Database
from caas.rules.throttling import FORGOTTEN_AFTER_SECONDS, Slowing

SWEPT_AT_ONCE: Final = 100

LOCK: Final = """
with old as (delete from sign_in_attempts where counted_for in (
  select counted_for from sign_in_attempts
   where failed_at < db_now() - make_interval(secs => $2) and free_at < db_now()
     and counted_for <> all ($1) limit $3))
insert into sign_in_attempts as t (counted_for, failures, failed_at, free_at)
select who, 1, db_now(), db_now() from unnest($1::bytea[]) who order by who
on conflict (counted_for) do update
   set failures = case when t.failed_at < db_now() - make_interval(secs => $2)
                       and t.free_at <= db_now() then 1
                       else t.failures + (t.free_at <= db_now())::integer end
returning counted_for, failures,
          greatest(0, extract(epoch from free_at - db_now()))::double precision as wait
"""
SLOW: Final = """
update sign_in_attempts t
   set failed_at = db_now(), free_at = db_now() + make_interval(secs => w.wait)
  from unnest($1::bytea[], $2::double precision[]) as w(who, wait) where t.counted_for = w.who
"""
TAKE_BACK: Final = """
update sign_in_attempts set failures = greatest(failures - 1, 1), free_at = db_now()
 where counted_for = any ($1)
"""
FORGET: Final = "delete from sign_in_attempts where counted_for = any ($1)"


@dataclass(frozen=True, slots=True)
class CountedFor:
    """What an attempt is counted for, and its throttling."""

    who: str
    slowing: Slowing

    @property
    def digest(self) -> bytes:
        """What is stored of it."""
        return hashlib.sha256(self.who.encode()).digest()


@dataclass(frozen=True, slots=True)
class Counted:
    """A counted attempt: the wait before it, and the wait after it if it fails."""

    wait_seconds: float
    next_wait_seconds: float


class SignInAttempts:
    """The table of failed attempts."""

    def __init__(self, database: Database) -> None:
        """Count in this database."""
        self._database = database

    async def count(self, counted_for: Sequence[CountedFor]) -> Counted:
        """Count an attempt as failed for all of these, unless one of them must wait."""

        async def counted(connection: Connection) -> Counted:
            by_digest = {one.digest: one.slowing for one in counted_for}
            rows = await connection.fetch(
                LOCK, list(by_digest), FORGOTTEN_AFTER_SECONDS, SWEPT_AT_ONCE
            )
            waits = {row["counted_for"]: row["wait"] for row in rows}
            if any(waits.values()):
                free = [who for who, wait in waits.items() if not wait]
                await connection.execute(TAKE_BACK, free)
                return Counted(max(waits.values()), 0.0)
            to_wait = {
                row["counted_for"]: by_digest[row["counted_for"]].wait_seconds(row["failures"])
                for row in rows
            }
            await connection.execute(SLOW, list(to_wait), list(to_wait.values()))
            return Counted(0.0, max(to_wait.values()))

        return await self._database.in_transaction(counted)

    async def take_back(self, counted_for: Sequence[CountedFor]) -> None:
        """Uncount a successful attempt; earlier failures stay."""
        await self._database.fetch(TAKE_BACK, [one.digest for one in counted_for])

    async def forget(self, counted_for: Sequence[CountedFor]) -> None:
        """Reset the counters."""
        await self._database.fetch(FORGET, [one.digest for one in counted_for])
