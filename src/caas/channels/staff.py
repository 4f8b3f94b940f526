"""Accounts of people who work here: dealership sales and operations.

Nobody can make one through a page: `caas up` and the command line do.

Rules a change must keep: an account that exists is never changed by a start, so that a password
somebody chose stays chosen; a login says nothing secret and a password is never kept here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from caas.billing_database.accounts import Accounts, Role, StaffMember
from caas.billing_database.connection import Database
from caas.channels.passwords import Passwords


@dataclass(frozen=True, slots=True, repr=False)
class NewStaff:
    """An account to make; sales belong to a dealership, operations to none."""

    login: str
    role: Role
    password: str
    dealership: str | None = None


async def ensure_staff(database: Database, wanted: Sequence[NewStaff]) -> list[str]:
    """Make the accounts that are missing; return the logins that are new.

    Raises:
        WeakPasswordError: a password should not be anybody's.
    """
    accounts, passwords = Accounts(database), Passwords()
    known = {member.login for member in await accounts.staff()}
    added: list[str] = []
    for new in wanted:
        login = new.login.lower()
        if login in known:
            continue
        password_hash = await passwords.hashed(new.password, known_words=(login,))
        if await accounts.add_staff(StaffMember(login, new.role, new.dealership), password_hash):
            added.append(login)
    return added
