"""Staff accounts: dealership sales and operations.

No page can create one: `caas up` and the command line do. A new account, or one with a forgotten
password, gets a link to choose a password that no other person has seen.

Rules a change must keep: a start never changes an existing account, so that a chosen password is
kept; a login is not secret, and no password is stored here; a link works once and expires, and a
new link invalidates the previous one.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.billing_database.accounts import Accounts, Role, StaffMember
from caas.billing_database.audit_events import AuditType, Outsider, audit
from caas.billing_database.connection import Connection, Database
from caas.console.passwords import Passwords
from caas.errors import ConflictError, NotFoundError, RefusedError
from caas.rules.card_numbers import contains_card_number

LINK_SECONDS: Final = 24 * 3600.0
TOKEN_BYTES: Final = 32
LOGIN_CHARS: Final = range(3, 121)
DEALERSHIP_CHARS: Final = range(1, 121)


class LoginTakenError(ConflictError):
    """The login is taken, possibly by a disabled account."""

    code = "login_taken"


class StaffNotFoundError(NotFoundError):
    """No active staff account has this login."""

    code = "staff_not_found"


class StaffRefusedError(RefusedError):
    """Sales belong to a dealership, operations to none.

    A login has 3 to 120 visible characters without spaces and is not a card number.
    """

    code = "staff_refused"


@dataclass(frozen=True, slots=True, repr=False)
class NewStaff:
    """An account to create; sales belong to a dealership, operations to none."""

    login: str
    role: Role
    password: str
    dealership: str | None = None


def is_one_word(login: str) -> bool:
    """Return whether a login can be typed as displayed: no space and nothing invisible in it."""
    return login.isprintable() and not any(map(str.isspace, login))


class StaffAccounts:
    """Creates and disables staff accounts."""

    def __init__(self, database: Database, *, public_url: str) -> None:
        """Keep accounts in this database; links point to this address."""
        self._database = database
        self._accounts = Accounts(database)
        self._public_url = public_url

    async def listed(self) -> list[StaffMember]:
        """Return every account, including disabled ones."""
        return await self._accounts.staff()

    async def add(self, member: StaffMember) -> str:
        """Create an account, and return its access link.

        Raises:
            StaffRefusedError: login, role and dealership do not fit.
            LoginTakenError: the login is taken.
        """
        needs_dealership = member.role is Role.SALES
        if (
            member.role is Role.CUSTOMER
            or needs_dealership != (member.dealership is not None)
            or len(member.login) not in LOGIN_CHARS
            or not is_one_word(member.login)
            or len(member.dealership or "-") not in DEALERSHIP_CHARS
            or contains_card_number(f"{member.login} {member.dealership}")
        ):
            raise StaffRefusedError
        nobodys = await Passwords().hashed(secrets.token_urlsafe(TOKEN_BYTES))
        if not await _added(self._database, member, nobodys, by=Outsider.COMMAND_LINE):
            raise LoginTakenError(login=member.login)
        return await self.link(member.login)

    async def link(self, login: str) -> str:
        """Return a new link to choose a password with; the old password works until then.

        Raises:
            StaffNotFoundError: no active account has this login.
        """
        token = secrets.token_urlsafe(TOKEN_BYTES)

        async def together(connection: Connection) -> None:
            account = await self._accounts.add_staff_link(
                login, token, valid_seconds=LINK_SECONDS, within=connection
            )
            await _write_audit_event(AuditType.LINK_MADE, account, login, connection)

        await self._database.in_transaction(together)
        return f"{self._public_url}/access/{token}"

    async def disable(self, login: str) -> None:
        """Disable an account at once, with its sessions, its link and its password.

        Raises:
            StaffNotFoundError: no active account has this login.
        """

        async def together(connection: Connection) -> None:
            account = await self._accounts.disable(login, within=connection)
            await _write_audit_event(AuditType.STAFF_DISABLED, account, login, connection)

        await self._database.in_transaction(together)


async def ensure_staff(database: Database, wanted: Sequence[NewStaff]) -> list[str]:
    """Create the missing accounts; return the new logins.

    Raises:
        WeakPasswordError: a password is too weak.
    """
    accounts, passwords = Accounts(database), Passwords()
    known = {member.login for member in await accounts.staff()}
    added: list[str] = []
    for new in wanted:
        login = new.login.lower()
        if login in known:
            continue
        password_hash = await passwords.hashed(new.password, known_words=(login,))
        member = StaffMember(login, new.role, new.dealership)
        if await _added(database, member, password_hash, by=Outsider.SETTINGS):
            added.append(login)
    return added


async def _added(
    database: Database, member: StaffMember, password_hash: str, *, by: Outsider
) -> bool:
    """Add an account and record it; False if the login is taken."""

    async def together(connection: Connection) -> bool:
        account = await Accounts(database).add_staff(member, password_hash, within=connection)
        if account is not None:
            await audit(AuditType.STAFF_ADDED, by=by, subject=account, within=connection)
        return account is not None

    return await database.in_transaction(together)


async def _write_audit_event(
    type_: AuditType, account: UUID | None, login: str, connection: Connection
) -> None:
    """Record the command line's change to an account.

    Raises:
        StaffNotFoundError: the account does not exist.
    """
    if account is None:
        raise StaffNotFoundError(f"No open account of staff has the login {login}.")
    await audit(type_, by=Outsider.COMMAND_LINE, subject=account, within=connection)
