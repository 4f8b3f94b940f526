"""The account page: password, other sessions and the person's other accounts.

Rules a change must keep: a new password requires the old one and ends every other session; the page
switches only to accounts that the same password opened at sign-in and whose password has not
changed since.
"""

from typing import Final

from caas.billing_database.accounts import OtherAccount, Role
from caas.billing_database.audit_events import AuditType, audit
from caas.billing_database.connection import Connection
from caas.console import sign_in
from caas.console.context import Console
from caas.console.page_routes import (
    CUSTOMERS,
    HOMES,
    SIGNED_IN,
    NothingHereError,
    PageRoute,
    get,
    post,
)
from caas.console.passwords import WeakPasswordError
from caas.console.request import PageRequest
from caas.web.response import Response, is_own_path, see_other

REFUSED: Final = 422


async def account(console: Console, request: PageRequest) -> Response:
    """Show the account settings."""
    return await _page(console, request, done=request.query.get("done", ""))


async def change_password(console: Console, request: PageRequest) -> Response:
    """Change the password and end every other session."""
    account_id = str(request.by.account)
    this_try = await sign_in.begin(console, request, account_id, what="password")
    known = await console.accounts.get(request.by.account)
    assert known is not None, "a session's account is there"
    if not await console.passwords.matches(request.form.get("password", ""), known.password_hash):
        await this_try.was_wrong(known.id)
        return await _page(console, request, wrong="password")
    await this_try.was_right()
    try:
        password_hash = await console.passwords.hashed(
            request.form.get("new_password", ""), known_words=await _known_words(console, request)
        )
    except WeakPasswordError as error:
        return await _page(console, request, wrong="weak", weak=error.weakness)

    async def change(connection: Connection) -> None:
        await console.accounts.set_password(known.id, password_hash, within=connection)
        await audit(
            AuditType.PASSWORD_CHANGED, by=known.id, subject=known.id, address=request.address,
            within=connection,
        )  # fmt: skip

    await console.platform.tables.database.in_transaction(change)
    await console.sessions.end_others(request.by)
    return see_other("/account?done=password")


async def end_other_sessions(console: Console, request: PageRequest) -> Response:
    """End every other session of this account."""
    await console.sessions.end_others(request.by)
    return see_other("/account?done=sessions")


async def switch(console: Console, request: PageRequest) -> Response:
    """Switch to another account of the same person."""
    wanted = request.form.get("account", "")
    others = await other_accounts(console, request)
    other = next((one for one in others if str(one.id) == wanted), None)
    known = None if other is None else await console.accounts.get(other.id)
    if known is None:
        raise NothingHereError
    also = [request.by.account, *(one.id for one in others if one.id != known.id)]
    await console.sessions.begin(request, known, also=also)
    path = request.form.get("next", "")
    return see_other(path if is_own_path(path) else HOMES[known.role])


async def other_accounts(console: Console, request: PageRequest) -> list[OtherAccount]:
    """Return the other accounts of the signed-in person."""
    if not request.by.also:
        return []
    return await console.accounts.others(request.by.also, since=request.by.created_at)


async def _known_words(console: Console, request: PageRequest) -> tuple[str, ...]:
    """Return the login, or the name and address, which the new password must not contain."""
    if request.by.customer is None:
        return (request.by.name,)
    customer = await console.platform.order_management.customers.get(request.by.customer)
    return (request.by.name, customer.email or "")


async def _page(
    console: Console, request: PageRequest, *, wrong: str = "", weak: str = "", done: str = ""
) -> Response:
    factor = None
    if request.by.role is Role.OPERATIONS:
        factor = await console.second_factors.of(request.by.account)
    return console.page(
        request, "account.html", wrong=wrong, weak=weak, done=done, factor=factor,
        others=await other_accounts(console, request), status=REFUSED if wrong else 200,
    )  # fmt: skip


ACCOUNT_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/account", account, SIGNED_IN),
    post("/account/password", change_password, SIGNED_IN),
    post("/account/sessions", end_other_sessions, SIGNED_IN),
    post("/account/switch", switch, CUSTOMERS),
)
