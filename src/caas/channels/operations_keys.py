"""Keys of the API's callers: made with scopes, shown once, revoked for ever.

Rules a change must keep: of a key only its digest is stored, so that it is shown to whoever made it
and never again; a form that comes twice makes one key; what was revoked stays revoked.
"""

import hashlib
import re
import secrets
from typing import Final

from caas.billing_database.api_keys import ApiKeys
from caas.channels.acting import acted, told
from caas.channels.forms import filled
from caas.channels.page_routes import OPERATIONS, PageRoute, get, post
from caas.channels.replies import Reply
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key
from caas.channels.visit import Visit
from caas.errors import RefusedError
from caas.rules.scopes import Scope

KEY_BYTES: Final = 32
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEALERSHIP_CHARS_MAX: Final = 120
PATH: Final = "/operations/keys"


class KeyNotMadeError(RefusedError):
    """A key needs a name of letters, digits, points and dashes, and at least one scope."""

    code = "key_not_made"


async def keys(channels: Channels, visit: Visit) -> Reply:
    """Show every key, without the key."""
    return await _page(channels, visit)


async def make(channels: Channels, visit: Visit) -> Reply:
    """Make a key, and show it this once."""
    made: list[str] = []

    async def act() -> None:
        name = filled(visit.form, "name", chars_max=64) or ""
        scopes = frozenset(scope for scope in Scope if f"scope-{scope}" in visit.form)
        if NAME.fullmatch(name) is None or not scopes:
            raise KeyNotMadeError
        key = secrets.token_urlsafe(KEY_BYTES)
        await ApiKeys(channels.rooms.books.database).put(
            key_hash=hashlib.sha256(key.encode()).digest(), name=name, scopes=scopes,
            dealership=filled(visit.form, "dealership", chars_max=DEALERSHIP_CHARS_MAX),
        )  # fmt: skip
        made.append(key)

    reply = await acted(channels, visit, PATH, act)
    return await _page(channels, visit, made[0]) if made else reply


async def revoke(channels: Channels, visit: Visit) -> Reply:
    """Revoke one key for ever."""
    key_id = visit.ids["key_id"]
    return await acted(
        channels, visit, PATH,
        lambda: ApiKeys(channels.rooms.books.database).revoke_one(key_id),
    )  # fmt: skip


async def _page(channels: Channels, visit: Visit, made: str = "") -> Reply:
    listed = await ApiKeys(channels.rooms.books.database).listed()
    return channels.page(
        visit, "operations/keys.html", made=made,
        simulators=channels.rooms.simulators is not None, scopes=list(Scope), key=new_key(),
        keys=sorted(listed, key=lambda one: (one.revoked_at is not None, one.name)),
        staff=await channels.accounts.staff(), after=told(channels, visit),
    )  # fmt: skip


OPERATIONS_KEY_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, keys, OPERATIONS),
    post(PATH, make, OPERATIONS),
    post(PATH + "/{key_id:uuid}/revoke", revoke, OPERATIONS),
)
