"""Sign-in accounts of customers, dealerships and operations, and the actors they stand for.

A customer's account stores no e-mail address: sign-in looks it up in `customers`, so erasing the
customer closes the account (decision 43). An actor is a person's account, or a name without an
account (decision 107). A session and all API keys of an account count as one person. Configured
keys and the command line have a name and no account.

Rules a change must keep: only password hashes are stored; accounts that are disabled or whose
customer was erased match no sign-in and no session; approval rights are checked and locked in the
transaction that decides, so that disabling an account or revoking a key takes effect before or
after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.customers import digest
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import columns, read_all, read_one

SAME_ADDRESS_MAX: Final = 5
"""The maximum number of accounts with one e-mail address that a sign-in tries."""

OTHERS: Final = """
select a.id, c.id as customer, c.name from accounts a join customers c on c.id = a.customer
 where a.id = any ($1) and a.disabled_at is null and c.erased_at is null
   and a.password_set_at <= $2
 order by a.created_at
"""


class Role(StrEnum):
    """The role of an account."""

    CUSTOMER = "customer"
    SALES = "sales"
    OPERATIONS = "operations"


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """An account that can sign in."""

    id: UUID
    role: Role
    customer: UUID | None
    dealership: str | None
    password_hash: str


BY_LOGIN: Final = f"""
select {columns(Account, "a")} from accounts a
  left join customers c on c.id = a.customer
 where a.disabled_at is null and (a.login = $1 or lower(c.email) = $1)
 order by a.password_set_at desc limit $2
"""
ONE: Final = f"""
select {columns(Account)} from accounts
 where id = $1 and disabled_at is null
"""
PUT_CUSTOMER: Final = """
insert into accounts (id, role, customer, password_hash, created_at, password_set_at)
values ($1, 'customer', $2, $3, db_now(), db_now())
on conflict (customer) do update set password_hash = excluded.password_hash,
       password_set_at = excluded.password_set_at
returning id
"""
ADD_STAFF: Final = """
insert into accounts (id, role, dealership, login, password_hash, created_at, password_set_at)
values ($1, $2, $3, $4, $5, db_now(), db_now()) on conflict (login) do nothing returning id
"""
STAFF: Final = """
select login, role, dealership, disabled_at from accounts where role <> 'customer' order by login
"""
RESET: Final = """
update accounts set password_hash = $2, password_set_at = db_now() where id = $1
"""
DISABLE: Final = """
update accounts set disabled_at = db_now()
 where login = $1 and disabled_at is null returning id
"""
OF_LINK: Final = """
select l.customer, c.name, c.email as login,
       exists (select from accounts a where a.customer = l.customer) as has_account,
       o.model, o.dealership
  from access_credentials l join customers c on c.id = l.customer join orders o on o.id = l.order_id
 where l.token_hash = $1 and l.used_at is null and l.expires_at > db_now()
   and c.erased_at is null
 union all
select null, a.login, a.login, true, null, null
  from staff_links l join accounts a on a.id = l.account
 where l.token_hash = $1 and l.used_at is null and l.expires_at > db_now()
   and a.disabled_at is null
"""
ADD_STAFF_LINK: Final = """
insert into staff_links (token_hash, account, expires_at, created_at)
select $2, id, db_now() + make_interval(secs => $3), db_now() from accounts
 where login = $1 and disabled_at is null returning account as id
"""
USE_STAFF_LINK: Final = """
with used as (update staff_links set used_at = db_now()
               where token_hash = $1 and used_at is null and expires_at > db_now()
              returning account)
update accounts set password_hash = $2, password_set_at = db_now()
 where id in (select account from used) and disabled_at is null returning id
"""
CUSTOMERS_OF_ADDRESS: Final = """
select c.id as customer, o.id as order_id from customers c
  join lateral (select o.id from orders o
                  join order_events e on e.order_id = o.id and e.to_state = 'reserved'
                 where o.customer = c.id order by o.id desc limit 1) o on true
 where lower(c.email) = $1 and c.erased_at is null
 order by c.created_at desc limit $2
"""
HAS_ACCOUNT: Final = """
select exists (select from accounts where customer = $1 and disabled_at is null)
"""
OF_DEALERSHIP: Final = """
select c.id from customers c
 where lower(c.email) = $1 and c.erased_at is null
   and dealership_knows($2, c.id)
 order by c.created_at desc limit 1
"""


class StaffMember(msgspec.Struct, frozen=True):
    """A staff account."""

    login: str
    role: Role
    dealership: str | None
    disabled_at: datetime | None = None


class LinkHolder(msgspec.Struct, frozen=True):
    """The owner of a valid access link and the order it was sent for; both are null for staff."""

    customer: UUID | None
    name: str
    login: str
    has_account: bool
    model: str | None = None
    dealership: str | None = None


class OtherAccount(msgspec.Struct, frozen=True):
    """Another account of the same person."""

    id: UUID
    customer: UUID
    name: str


class Reachable(msgspec.Struct, frozen=True):
    """A customer who paid a reservation, and their last order."""

    customer: UUID
    order_id: UUID


class Accounts:
    """The table of accounts."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def by_login(self, login: str) -> list[Account]:
        """Return the accounts that match a login or a customer's e-mail address."""
        return await read_all(Account, self._database, BY_LOGIN, login.lower(), SAME_ADDRESS_MAX)

    async def get(self, account_id: UUID) -> Account | None:
        """Return an enabled account, or None."""
        return await read_one(Account, self._database, ONE, account_id)

    async def others(self, accounts: Sequence[UUID], *, since: datetime) -> list[OtherAccount]:
        """Return other accounts of these customers whose password is older than `since`."""
        return await read_all(OtherAccount, self._database, OTHERS, list(accounts), since)

    async def put_customer(
        self, customer: UUID, password_hash: str, *, within: Connection | None = None
    ) -> UUID:
        """Create a customer's account or replace its password; return its id."""
        row = await (within or self._database).fetchrow(
            PUT_CUSTOMER, new_id(), customer, password_hash
        )
        assert row is not None, "an upsert returns its row"
        return UUID(str(row["id"]))

    async def add_staff(
        self, member: StaffMember, password_hash: str, *, within: Connection | None = None
    ) -> UUID | None:
        """Add a staff account; return None if the login exists."""
        return _id(
            await (within or self._database).fetchrow(
                ADD_STAFF, new_id(), member.role, member.dealership, member.login, password_hash
            )
        )

    async def staff(self) -> list[StaffMember]:
        """Return all staff accounts, including disabled ones."""
        return await read_all(StaffMember, self._database, STAFF)

    async def set_password(
        self, account_id: UUID, password_hash: str, *, within: Connection
    ) -> None:
        """Replace a password."""
        await within.fetch(RESET, account_id, password_hash)

    async def disable(self, login: str, *, within: Connection | None = None) -> UUID | None:
        """Disable a staff account at once; return None if no enabled one has this login."""
        return _id(await (within or self._database).fetchrow(DISABLE, login.lower()))

    async def add_staff_link(
        self, login: str, token: str, *, valid_seconds: float, within: Connection
    ) -> UUID | None:
        """Store the digest of a new access link and revoke earlier ones; None without account."""
        return _id(
            await within.fetchrow(ADD_STAFF_LINK, login.lower(), digest(token), valid_seconds)
        )

    async def use_staff_link(
        self, token: str, password_hash: str, *, within: Connection
    ) -> UUID | None:
        """Use a staff access link and set the password; None if the link is no longer valid."""
        return _id(await within.fetchrow(USE_STAFF_LINK, digest(token), password_hash))

    async def of_link(self, token: str) -> LinkHolder | None:
        """Return the owner of a valid access link without using it, or None."""
        return await read_one(LinkHolder, self._database, OF_LINK, digest(token))

    async def reachable_at(self, email: str) -> list[Reachable]:
        """Return the customers with a paid reservation and this e-mail address."""
        return await read_all(
            Reachable, self._database, CUSTOMERS_OF_ADDRESS, email.lower(), SAME_ADDRESS_MAX
        )

    async def has_account(self, customer: UUID) -> bool:
        """Return whether the customer has set a password."""
        row = await self._database.fetchrow(HAS_ACCOUNT, customer)
        assert row is not None, "exists is one row"
        return bool(row[0])

    async def customer_of(
        self, dealership: str, email: str, *, within: Connection | None = None
    ) -> UUID | None:
        """Return the dealership's customer with this e-mail address, or None."""
        row = await (within or self._database).fetchrow(OF_DEALERSHIP, email.lower(), dealership)
        return None if row is None else UUID(str(row["id"]))


def _id(row: Row | None) -> UUID | None:
    return None if row is None else UUID(str(row["id"]))


ACCOUNT: Final = """
select id from accounts where id = $1 and role = 'operations' and disabled_at is null for share
"""
KEY: Final = """
select id from api_keys
 where id = $1 and account = $2 and revoked_at is null and activated_at is not null for share
"""


class Actor(msgspec.Struct, frozen=True):
    """The actor's display name, account and API key."""

    name: str
    account: UUID | None = None
    key: UUID | None = None


async def may_approve(actor: Actor, *, within: Connection) -> bool:
    """Return whether the account, and its key if any, are valid now."""
    if await within.fetchrow(ACCOUNT, actor.account) is None:
        return False
    return actor.key is None or await within.fetchrow(KEY, actor.key, actor.account) is not None
