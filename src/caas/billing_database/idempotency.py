"""Idempotency keys: a repeated request returns the stored response.

`payments.accept` stores the keys of payments; every other call begins and ends its key here. Keys
are scoped to their caller; only hashes are stored.

Rules a change must keep: a key never returns the response of another request; a key is taken over
only from a request that has certainly ended: its process died, it gave up the key, or it began long
ago; giving up a key names the attempt that took it.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from caas.billing_database.batching import Batcher
from caas.billing_database.connection import Connection, Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.unknown_claims import UnknownClaims
from caas.errors import RefusedError, UnavailableError

IN_FLIGHT_SECONDS_MAX = 60
LOOK_AGAIN_SECONDS = 1.0

BEGIN = """
with mine as (
  insert into idempotency_keys (caller, key_hash, request_hash, created_at, attempt)
  values ($1, $2, $3, db_now(), $5) on conflict do nothing returning 1)
select exists (select from mine) as fresh, k.request_hash, k.answer_status, k.answer_body,
       k.payment_id, k.created_at < db_now() - make_interval(secs => $4) as abandoned,
       case when k.answer_status is null then not process_lives(k.held_by) end as orphaned
  from (values (1)) one(row) left join idempotency_keys k on k.caller = $1 and k.key_hash = $2
"""
TAKE_OVER = """
update idempotency_keys set created_at = db_now(), held_by = this_process(), attempt = $4
 where caller = $1 and key_hash = $2 and answer_status is null
   and (created_at < db_now() - make_interval(secs => $3) or not process_lives(held_by))
returning 1
"""
ORPHANED = """
select 1 from idempotency_keys
 where caller = $1 and key_hash = $2 and answer_status is null and not process_lives(held_by)
"""
END = """
update idempotency_keys k set answer_status = w.status, answer_body = w.body
  from unnest($1::text[], $2::bytea[], $3::integer[], $4::bytea[])
       as w(caller, key_hash, status, body)
 where k.caller = w.caller and k.key_hash = w.key_hash and k.answer_status is null
"""
# A key claimed for a payment that was not accepted refers to a payment that does not exist.
FORGET = """
delete from idempotency_keys k
 where k.caller = $1 and k.key_hash = $2 and k.answer_status is null
   and ($3::uuid is null or k.attempt = $3)
   and not exists (select from payments p where p.id = k.payment_id)
"""
# A payment's id is the attempt that accepted it. A payment's key is never executed again.
GIVE_UP = """
update idempotency_keys k set held_by = 0
  from unnest($1::text[], $2::bytea[], $3::uuid[]) as w(caller, key_hash, attempt)
 where k.caller = w.caller and k.key_hash = w.key_hash and k.answer_status is null
   and w.attempt in (k.attempt, k.payment_id)
returning w.caller, w.key_hash, w.attempt
"""


PAYMENT_OF = """
select k.payment_id from idempotency_keys k join payments p on p.id = k.payment_id
 where k.caller = $1 and k.key_hash = $2
"""


class KeyReusedError(RefusedError):
    """The Idempotency-Key was used for another request. Send a new key with each new request."""

    code = "idempotency_key_reused"


class InFlightError(RefusedError):
    """The first request with this Idempotency-Key is still running. Retry shortly."""

    code = "idempotency_key_in_flight"
    http_status = 409


class StoredAnswer(msgspec.Struct, frozen=True):
    """The stored response of the first request with this key."""

    status: int
    body: bytes


class _Ended(NamedTuple):
    caller: str
    key_hash: bytes
    status: int
    body: bytes


class _Taken(NamedTuple):
    caller: str
    key_hash: bytes
    attempt: UUID


def hashed(text: str | bytes) -> bytes:
    """Return the digest that is stored for a key or a request body."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).digest()


class IdempotencyKeys:
    """The table of idempotency keys."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database
        self._batcher: Batcher[_Ended, None] = Batcher(self._end_batch)
        self._given_up: UnknownClaims[_Taken] = UnknownClaims(database, self._give_up_all)
        self._unwritten: UnknownClaims[_Ended] = UnknownClaims(database, self._end_late)

    async def begin(
        self, caller: str, key: str, request: bytes, *, attempt: UUID | None = None
    ) -> StoredAnswer | None:
        """Claim the key for this attempt, or return its stored response.

        Raises:
            KeyReusedError: the key was used with another body.
            InFlightError: the first request is still running.
        """
        taken = _Taken(caller, hashed(key), attempt or new_id())
        try:
            return await self._begin(taken, hashed(request))
        except (UnavailableError, asyncio.CancelledError):
            self._given_up.add(taken)
            raise

    async def _begin(self, taken: _Taken, asked: bytes) -> StoredAnswer | None:
        caller, digest, attempt = taken
        row = await self._database.fetchrow(
            BEGIN, caller, digest, asked, IN_FLIGHT_SECONDS_MAX, attempt
        )
        assert row is not None, "a query over one value returns one row"
        if row["fresh"]:
            return None
        if row["request_hash"] is not None and row["request_hash"] != asked:
            raise KeyReusedError
        if row["answer_status"] is not None:
            return StoredAnswer(row["answer_status"], row["answer_body"])
        over = row["abandoned"] or (row["orphaned"] and await self.is_orphaned(caller, digest))
        if over and await self._take_over(taken):
            return None
        raise InFlightError

    async def end(
        self,
        caller: str,
        key: str,
        answer: StoredAnswer,
        *,
        within: Connection | None = None,
    ) -> None:
        """Store the response for repeated requests."""
        ended = _Ended(caller, hashed(key), answer.status, answer.body)
        if within is not None:
            await _end(within, [ended])
        else:
            try:
                await self._batcher.write(ended, keys=[(caller, ended.key_hash)])
            except UnavailableError:
                self._unwritten.add(ended)
                raise

    async def forget(self, caller: str, key: str, *, attempt: UUID | None = None) -> None:
        """Release the key after an attempt that changed nothing."""
        try:
            await self._database.fetch(FORGET, caller, hashed(key), attempt)
        except (UnavailableError, asyncio.CancelledError):
            if attempt is not None:
                self.give_up(caller, hashed(key), attempt)
            raise

    def give_up(self, caller: str, key_hash: bytes, attempt: UUID) -> None:
        """Allow the next request to take the key over from an attempt that ended.

        An attempt to accept a payment is identified by the payment's id.
        """
        self._given_up.add(_Taken(caller, key_hash, attempt))

    async def forget_phantom(self, caller: str, key_hash: bytes) -> None:
        """Release a key that has neither a response nor a payment."""
        await self._database.fetch(FORGET, caller, key_hash, None)

    async def payment_of(self, caller: str, key_hash: bytes) -> UUID | None:
        """Return the payment accepted under a key, or None."""
        row = await self._database.fetchrow(PAYMENT_OF, caller, key_hash)
        return None if row is None else row["payment_id"]

    async def is_orphaned(self, caller: str, key_hash: bytes) -> bool:
        """Return whether the process that claimed a key died before it responded.

        It must be missing in two checks, because a restarted server sees no processes at first.
        """
        if await self._database.fetchrow(ORPHANED, caller, key_hash) is None:
            return False
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return await self._database.fetchrow(ORPHANED, caller, key_hash) is not None

    async def _end_batch(self, batch: Sequence[_Ended]) -> list[None]:
        async with self._database.connection() as connection:
            await _end(connection, batch)
        return [None] * len(batch)

    async def _take_over(self, taken: _Taken) -> bool:
        row = await self._database.fetchrow(
            TAKE_OVER, taken.caller, taken.key_hash, IN_FLIGHT_SECONDS_MAX, taken.attempt
        )
        return row is not None

    async def _give_up_all(self, taken: Sequence[_Taken]) -> list[_Taken]:
        columns = (list(column) for column in zip(*taken, strict=True))
        return [_Taken(*row) for row in await self._database.fetch(GIVE_UP, *columns)]

    async def _end_late(self, ended: Sequence[_Ended]) -> Sequence[_Ended]:
        await self._end_batch(ended)
        return ended


async def _end(connection: Connection, batch: Sequence[_Ended]) -> None:
    await connection.fetch(END, *(list(column) for column in zip(*batch, strict=True)))
