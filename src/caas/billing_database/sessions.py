"""Browser sessions, and limits on requested access links.

Rules a change must keep: only token digests are stored; a session ends when idle too long, and at
its maximum age; counters are keyed by digest, so that neither logins nor addresses are stored.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.accounts import Role
from caas.billing_database.actors import Actor
from caas.billing_database.connection import Database
from caas.billing_database.customers import digest

SEEN_AGAIN_SECONDS: Final = 60.0
"""The minimum seconds between updates of a session in use."""

SWEPT_AT_ONCE: Final = 100

BEGIN: Final = """
with old as (delete from sessions where token_hash in (
  select token_hash from sessions where ends_at < db_now() limit $5))
insert into sessions (token_hash, account, created_at, seen_at, idle_until, ends_at, also,
                      second_factor)
values ($1, $2, db_now(), db_now(), db_now() + make_interval(secs => $3),
        db_now() + make_interval(secs => $4), $6, $7)
"""
FIND: Final = """
select s.token_hash, s.account, a.role, a.customer, a.dealership, c.language,
       coalesce(a.login, c.name) as name, s.also, s.created_at,
       s.seen_at < db_now() - make_interval(secs => $2) as stale, s.second_factor,
       exists (select from second_factors f where f.account = a.id and f.ended_at is null
                and f.confirmed_at is not null) as has_second_factor
  from sessions s join accounts a on a.id = s.account left join customers c on c.id = a.customer
 where s.token_hash = $1 and s.ended_at is null and s.idle_until > db_now()
   and s.ends_at > db_now() and a.disabled_at is null
   and (a.customer is null or c.erased_at is null)
"""
SEEN: Final = """
update sessions set seen_at = db_now(), idle_until = db_now() + make_interval(secs => $2)
 where token_hash = $1 and ended_at is null
"""
END: Final = """
update sessions set ended_at = db_now() where token_hash = $1 and ended_at is null
"""
END_OTHERS: Final = """
update sessions set ended_at = db_now()
 where account = $1 and ended_at is null and token_hash is distinct from $2 returning 1
"""
TRIED: Final = """
with old as (delete from refused_sign_ins where counted_for in (
  select counted_for from refused_sign_ins
   where since < db_now() - make_interval(secs => $2) and counted_for <> all($1) limit $3))
insert into refused_sign_ins as r (counted_for, times, since)
select who, 1, db_now() from unnest($1::bytea[]) who
on conflict (counted_for) do update
   set times = case when r.since < db_now() - make_interval(secs => $2) then 1
                    else r.times + 1 end,
       since = case when r.since < db_now() - make_interval(secs => $2) then db_now()
                    else r.since end
returning counted_for, times
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser; `name` is a login or the customer's name.

    `also` are further accounts with the same e-mail address and password; `second_factor` says that
    one was used at sign-in, `has_second_factor` that the account has one now.
    """

    token_hash: bytes
    account: UUID
    role: Role
    customer: UUID | None
    dealership: str | None
    language: str | None
    name: str
    stale: bool
    also: list[UUID]
    created_at: datetime
    second_factor: bool
    has_second_factor: bool

    @property
    def actor(self) -> Actor:
        """The actor of this session."""
        return Actor(self.name, self.account)


class Sessions:
    """The table of sessions."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def begin(
        self,
        token: str,
        account: UUID,
        *,
        idle_seconds: float,
        seconds_max: float,
        also: Sequence[UUID] = (),
        second_factor: bool = False,
    ) -> None:
        """Start a session, and delete some that ended long ago."""
        await self._database.fetch(
            BEGIN,
            digest(token),
            account,
            idle_seconds,
            seconds_max,
            SWEPT_AT_ONCE,
            list(also),
            second_factor,
        )

    async def find(self, token: str) -> Session | None:
        """Return the valid session with this token, or None."""
        row = await self._database.fetchrow(FIND, digest(token), SEEN_AGAIN_SECONDS)
        return None if row is None else Session(**{**row, "role": Role(row["role"])})

    async def seen(self, session: Session, *, idle_seconds: float) -> None:
        """Record that a session is in use."""
        await self._database.fetch(SEEN, session.token_hash, idle_seconds)

    async def end(self, token: str) -> None:
        """End a session."""
        await self._database.fetch(END, digest(token))

    async def end_others(self, account: UUID, *, but: bytes | None = None) -> int:
        """End every other session of an account; return their number."""
        return len(await self._database.fetch(END_OTHERS, account, but))


class RefusedSignIns:
    """Counts recent requests for access links."""

    def __init__(self, database: Database, *, window_seconds: float) -> None:
        """Count over this window."""
        self._database = database
        self._window_seconds = window_seconds

    async def tried(self, *counted_for: str) -> list[int]:
        """Count an attempt for each of these before it is decided; return the counts.

        Counting first prevents concurrent attempts from passing together.
        """
        hashes = [_hash(who) for who in counted_for]
        rows = await self._database.fetch(
            TRIED, sorted(set(hashes)), self._window_seconds, SWEPT_AT_ONCE
        )
        times = {row["counted_for"]: row["times"] for row in rows}
        return [times[who] for who in hashes]


def _hash(who: str) -> bytes:
    return hashlib.sha256(who.encode()).digest()
