"""One's own account: password, other sessions, language.

Rules a change must keep: a new password needs the old one, and ends every other session; nobody
reaches another account from here.
"""

from typing import Final

from caas.billing_database.sessions import RefusedSignIns
from caas.channels.page_routes import SIGNED_IN, PageRoute, get, post
from caas.channels.passwords import WeakPasswordError
from caas.channels.replies import Reply, see_other
from caas.channels.rooms import Channels
from caas.channels.sign_in import TRIES_OF_ONE_MAX, WINDOW_SECONDS, TooManyTriesError
from caas.channels.visit import Visit

REFUSED: Final = 422


async def account(channels: Channels, visit: Visit) -> Reply:
    """Show what somebody can change about their account."""
    return channels.page(visit, "account.html", wrong="", done=visit.query.get("done", ""))


async def change_password(channels: Channels, visit: Visit) -> Reply:
    """Replace the password, and end every other session."""
    tries = RefusedSignIns(channels.rooms.books.database, window_seconds=WINDOW_SECONDS)
    counted = f"password:{visit.by.account}"
    if (await tries.tried(counted))[0] > TRIES_OF_ONE_MAX:
        raise TooManyTriesError
    known = await channels.accounts.get(visit.by.account)
    assert known is not None, "a session's account is there"
    if not await channels.passwords.matches(visit.form.get("password", ""), known.password_hash):
        return channels.page(visit, "account.html", wrong="password", done="", status=REFUSED)
    try:
        password_hash = await channels.passwords.hashed(
            visit.form.get("new_password", ""), known_words=(visit.by.name,)
        )
    except WeakPasswordError:
        return channels.page(visit, "account.html", wrong="weak", done="", status=REFUSED)
    await tries.forgive(counted)
    await channels.accounts.set_password(known.id, password_hash)
    await channels.sessions.end_others(visit.by)
    return see_other("/account?done=password")


async def end_other_sessions(channels: Channels, visit: Visit) -> Reply:
    """Sign out everywhere else."""
    await channels.sessions.end_others(visit.by)
    return see_other("/account?done=sessions")


ACCOUNT_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/account", account, SIGNED_IN),
    post("/account/password", change_password, SIGNED_IN),
    post("/account/sessions", end_other_sessions, SIGNED_IN),
)
