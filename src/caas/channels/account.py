"""One's own account: password, other sessions, language.

Rules a change must keep: a new password needs the old one, and ends every other session; nobody
reaches an account from here but those that the same password opened at the sign-in, and none whose
password is another one since.
"""

from typing import Final

from caas.billing_database.accounts import OtherAccount, Role
from caas.billing_database.audit_events import AuditType, audit
from caas.billing_database.connection import Connection
from caas.channels import tries
from caas.channels.page_routes import (
    CUSTOMERS,
    HOMES,
    SIGNED_IN,
    NothingHereError,
    PageRoute,
    get,
    post,
)
from caas.channels.passwords import WeakPasswordError
from caas.channels.rooms import Channels
from caas.channels.visit import Visit
from caas.web.response import Response, is_own_path, see_other

REFUSED: Final = 422


async def account(channels: Channels, visit: Visit) -> Response:
    """Show what somebody can change about their account."""
    return await _page(channels, visit, done=visit.query.get("done", ""))


async def change_password(channels: Channels, visit: Visit) -> Response:
    """Replace the password, and end every other session."""
    account_id = str(visit.by.account)
    this_try = await tries.begin(channels, visit, account_id, what="password")
    known = await channels.accounts.get(visit.by.account)
    assert known is not None, "a session's account is there"
    if not await channels.passwords.matches(visit.form.get("password", ""), known.password_hash):
        await this_try.was_wrong(known.id)
        return await _page(channels, visit, wrong="password")
    await this_try.was_right()
    try:
        password_hash = await channels.passwords.hashed(
            visit.form.get("new_password", ""), known_words=await _known_words(channels, visit)
        )
    except WeakPasswordError as error:
        return await _page(channels, visit, wrong="weak", weak=error.weakness)

    async def change(connection: Connection) -> None:
        await channels.accounts.set_password(known.id, password_hash, within=connection)
        await audit(
            AuditType.PASSWORD_CHANGED, by=known.id, subject=known.id, address=visit.address,
            within=connection,
        )  # fmt: skip

    await channels.rooms.books.database.in_transaction(change)
    await channels.sessions.end_others(visit.by)
    return see_other("/account?done=password")


async def end_other_sessions(channels: Channels, visit: Visit) -> Response:
    """Sign out everywhere else."""
    await channels.sessions.end_others(visit.by)
    return see_other("/account?done=sessions")


async def switch(channels: Channels, visit: Visit) -> Response:
    """Go on as another customer that the same person is."""
    wanted = visit.form.get("account", "")
    others = await other_accounts(channels, visit)
    other = next((one for one in others if str(one.id) == wanted), None)
    known = None if other is None else await channels.accounts.get(other.id)
    if known is None:
        raise NothingHereError
    also = [visit.by.account, *(one.id for one in others if one.id != known.id)]
    await channels.sessions.begin(visit, known, also=also)
    path = visit.form.get("next", "")
    return see_other(path if is_own_path(path) else HOMES[known.role])


async def other_accounts(channels: Channels, visit: Visit) -> list[OtherAccount]:
    """Return the other accounts of the person who is signed in."""
    if not visit.by.also:
        return []
    return await channels.accounts.others(visit.by.also, since=visit.by.created_at)


async def _known_words(channels: Channels, visit: Visit) -> tuple[str, ...]:
    """Return what says who is signed in: a login, or a name and an address."""
    if visit.by.customer is None:
        return (visit.by.name,)
    customer = await channels.rooms.order_management.customer(visit.by.customer)
    return (visit.by.name, customer.email or "")


async def _page(
    channels: Channels, visit: Visit, *, wrong: str = "", weak: str = "", done: str = ""
) -> Response:
    factor = None
    if visit.by.role is Role.OPERATIONS:
        factor = await channels.second_factors.of(visit.by.account)
    return channels.page(
        visit, "account.html", wrong=wrong, weak=weak, done=done, factor=factor,
        others=await other_accounts(channels, visit), status=REFUSED if wrong else 200,
    )  # fmt: skip


ACCOUNT_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/account", account, SIGNED_IN),
    post("/account/password", change_password, SIGNED_IN),
    post("/account/sessions", end_other_sessions, SIGNED_IN),
    post("/account/switch", switch, CUSTOMERS),
)
