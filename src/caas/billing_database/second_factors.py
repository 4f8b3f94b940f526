"""Second factors: an account's TOTP secret and recovery codes.

Rules a change must keep: secrets are stored encrypted; a code counts once, enforced by the row when
two attempts race; only digests of recovery codes are stored.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection, Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import read_all, read_one

BEGIN: Final = """
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
END: Final = """
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


@dataclass(frozen=True, slots=True)
class Colleague:
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
        row = await self._database.fetchrow(BEGIN, new_id(), account, sealed_secret)
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
        return await within.fetchrow(END, account, by) is not None

    async def staff(self) -> list[Colleague]:
        """Return all staff accounts, enabled ones first."""
        return await read_all(Colleague, self._database, STAFF)


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
