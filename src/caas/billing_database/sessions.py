"""Browser sessions, link request limits, sign-in throttling, and second factors.

All are stored in the database, so that all processes share the limits. A second factor is an
account's TOTP secret and recovery codes.

Rules a change must keep:

- Only token digests are stored; a session ends when idle too long, and at its maximum age.
- Counters are keyed by digest, so that neither logins nor addresses are stored. An attempt is
  counted before it is checked, so that concurrent ones are limited.
- TOTP secrets are stored encrypted, recovery codes as digests. A code counts once, enforced by the
  row when two attempts race.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.accounts import Actor, Role
from caas.billing_database.connection import Connection, Database
from caas.billing_database.customers import digest
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import read_all, read_one
from caas.rules.rate_limits import FORGOTTEN_AFTER_SECONDS, Slowing

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


class Session(msgspec.Struct, frozen=True):
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


class CountedFor(msgspec.Struct, frozen=True):
    """The key that an attempt is counted for, and its throttling."""

    who: str
    slowing: Slowing

    @property
    def digest(self) -> bytes:
        """The stored digest."""
        return hashlib.sha256(self.who.encode()).digest()


class Counted(msgspec.Struct, frozen=True):
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


BEGIN_FACTOR: Final = """
insert into second_factors as f (id, account, sealed_secret, created_at)
values ($1, $2, $3, db_now())
on conflict (account) where ended_at is null do update
   set sealed_secret = excluded.sealed_secret, created_at = excluded.created_at
 where f.confirmed_at is null
returning id
"""
OF: Final = """
select id, account, sealed_secret, confirmed_at, last_step,
       extract(epoch from clock_timestamp())::double precision as now,
       (select count(*) from recovery_codes c where c.factor = f.id and c.used_at is null)
         as codes_left
  from second_factors f where account = $1 and ended_at is null
"""
CONFIRM: Final = """
update second_factors set confirmed_at = db_now(), last_step = $2
 where id = $1 and confirmed_at is null and ended_at is null returning id
"""
ADD_CODES: Final = """
insert into recovery_codes (code_hash, factor, created_at)
select c, $1, db_now() from unnest($2::bytea[]) c
"""
TAKE_STEP: Final = """
update second_factors set last_step = $2
 where id = $1 and confirmed_at is not null and ended_at is null and last_step < $2 returning id
"""
USE_CODE: Final = """
update recovery_codes set used_at = db_now()
 where code_hash = $2 and factor = $1 and used_at is null returning factor
"""
END_FACTOR: Final = """
update second_factors set ended_at = db_now(), ended_by = $2
 where account = $1 and ended_at is null and confirmed_at is not null returning id
"""
STAFF: Final = """
select a.id, a.login, a.role, a.dealership, a.disabled_at, f.confirmed_at as second_factor_since
  from accounts a left join second_factors f on f.account = a.id and f.ended_at is null
 where a.role <> 'customer' order by a.disabled_at is not null, a.login
"""


@dataclass(frozen=True, slots=True, repr=False)
class SecondFactor:
    """An account's second factor; `now` is the real Unix time that authenticator apps use."""

    id: UUID
    account: UUID
    sealed_secret: bytes
    confirmed_at: datetime | None
    last_step: int | None
    now: float
    codes_left: int


class Colleague(msgspec.Struct, frozen=True):
    """A staff account, and since when it has a second factor."""

    id: UUID
    login: str
    role: str
    dealership: str | None
    disabled_at: datetime | None
    second_factor_since: datetime | None


class SecondFactors:
    """The table of second factors."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def begin(self, account: UUID, sealed_secret: bytes) -> bool:
        """Store a secret to confirm, replacing an unconfirmed one; False if one is confirmed."""
        row = await self._database.fetchrow(BEGIN_FACTOR, new_id(), account, sealed_secret)
        return row is not None

    async def of(self, account: UUID) -> SecondFactor | None:
        """Return an account's second factor, confirmed or not, or None."""
        return await read_one(SecondFactor, self._database, OF, account)

    async def confirm(
        self, factor: UUID, *, step: int, codes: Sequence[str], within: Connection
    ) -> bool:
        """Confirm a second factor; False if it is already confirmed."""
        if await within.fetchrow(CONFIRM, factor, step) is None:
            return False
        await within.execute(ADD_CODES, factor, [_digest(code) for code in codes])
        return True

    async def take_step(self, factor: UUID, step: int, *, within: Connection) -> bool:
        """Use the code of a time step; False if it or a later one was used."""
        return await within.fetchrow(TAKE_STEP, factor, step) is not None

    async def use_code(self, factor: UUID, code: str, *, within: Connection) -> bool:
        """Use a recovery code; False if there is none left that matches."""
        return await within.fetchrow(USE_CODE, factor, _digest(code)) is not None

    async def end(self, account: UUID, *, by: UUID, within: Connection) -> bool:
        """Remove an account's second factor as another person; False if it has none."""
        return await within.fetchrow(END_FACTOR, account, by) is not None

    async def staff(self) -> list[Colleague]:
        """Return all staff accounts, enabled ones first."""
        return await read_all(Colleague, self._database, STAFF)


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
