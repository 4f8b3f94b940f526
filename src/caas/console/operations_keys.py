"""API keys: created with scopes, shown once, revoked permanently.

A key belongs to the account that created it. A key with the operations scope works only after a
second person has activated it (decision 107).

Rules a change must keep: only the digest of a key is stored, so the key is shown once, to its
creator; a form submitted twice creates one key; revoking is permanent.
"""

import hashlib
import re
import secrets
from typing import Final
from uuid import UUID

from caas import dual_control
from caas.billing_database.api_keys import NEEDS_SECOND, ApiKey, ApiKeys, needs_second_person
from caas.billing_database.audit_events import AuditType, audit
from caas.billing_database.connection import Connection
from caas.console.context import Console
from caas.console.form_actions import acted, asks, form_result, new_key
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.errors import RefusedError
from caas.rules.personal_data import NAME_CHARS_MAX
from caas.rules.scopes import Scope
from caas.web.forms import filled
from caas.web.response import Response, see_other

KEY_BYTES: Final = 32
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PATH: Final = "/operations/keys"


class KeyNotMadeError(RefusedError):
    """A key needs a name of letters, digits, points and dashes, and at least one scope."""

    code = "key_not_made"


async def keys(console: Console, request: PageRequest) -> Response:
    """List keys, without their values."""
    return await _page(console, request)


async def make(console: Console, request: PageRequest) -> Response:
    """Create a key and show its value once."""
    made: list[str] = []
    scopes = frozenset(scope for scope in Scope if f"scope-{scope}" in request.form)

    async def act() -> None:
        name = filled(request.form, "name", chars_max=64) or ""
        dealership = filled(request.form, "dealership", chars_max=NAME_CHARS_MAX)
        made.append(await _made(console, request, name, scopes, dealership))

    reply = await acted(console, request, PATH, act)
    if not made:
        return reply
    return await _page(console, request, made[0], made_waits=needs_second_person(scopes))


async def about_to_activate(console: Console, request: PageRequest) -> Response:
    """Ask to confirm an activation; the creator sees that another person must activate the key."""
    wanted = await _valid(console, request)
    if wanted.activated_at is not None:
        raise NothingHereError
    if wanted.account == request.by.account:
        return see_other(f"{PATH}?refused=own_key")
    return asks(console, request, "activate", back=PATH, name=wanted.name)


async def activate(console: Console, request: PageRequest) -> Response:
    """Activate a key as the second person."""
    table = ApiKeys(console.platform.tables.database)

    async def together(connection: Connection) -> None:
        await dual_control.approve(
            table, request.ids["key_id"], by=request.by.actor, within=connection
        )
        await _audited(request, AuditType.KEY_ACTIVATED, request.ids["key_id"], connection)

    return await acted(
        console, request, PATH, lambda: console.platform.tables.database.in_transaction(together)
    )


async def about_to_revoke(console: Console, request: PageRequest) -> Response:
    """Ask to confirm that a key is revoked, and state the consequences."""
    wanted = await _valid(console, request)
    return asks(console, request, "revoke", back=PATH, name=wanted.name)


async def revoke(console: Console, request: PageRequest) -> Response:
    """Revoke a key permanently; for a key that awaits activation, this rejects it."""
    table = ApiKeys(console.platform.tables.database)

    async def together(connection: Connection) -> None:
        await table.revoke_one(request.ids["key_id"], within=connection)
        await _audited(request, AuditType.KEY_REVOKED, request.ids["key_id"], connection)

    return await acted(
        console, request, PATH, lambda: console.platform.tables.database.in_transaction(together)
    )


async def _valid(console: Console, request: PageRequest) -> ApiKey:
    """Return the key in the path.

    Raises:
        NothingHereError: it does not exist or was revoked.
    """
    for one in await ApiKeys(console.platform.tables.database).listed():
        if one.id == request.ids["key_id"] and not one.revoked_at:
            return one
    raise NothingHereError


async def _made(
    console: Console,
    request: PageRequest,
    name: str,
    scopes: frozenset[str],
    dealership: str | None,
) -> str:
    if NAME.fullmatch(name) is None or not scopes:
        raise KeyNotMadeError
    key = secrets.token_urlsafe(KEY_BYTES)

    async def together(connection: Connection) -> None:
        key_id = await ApiKeys(console.platform.tables.database).make(
            key_hash=hashlib.sha256(key.encode()).digest(), name=name, scopes=scopes,
            dealership=dealership, account=request.by.account, within=connection,
        )  # fmt: skip
        await _audited(request, AuditType.KEY_MADE, key_id, connection)

    await console.platform.tables.database.in_transaction(together)
    return key


async def _audited(
    request: PageRequest, type_: AuditType, key_id: UUID, connection: Connection
) -> None:
    await audit(
        type_, by=request.by.account, subject=key_id, address=request.address, within=connection
    )


async def _page(
    console: Console, request: PageRequest, made: str = "", *, made_waits: bool = False
) -> Response:
    listed = await ApiKeys(console.platform.tables.database).listed()
    return console.page(
        request, "operations/keys.html", made=made, made_waits=made_waits,
        simulators=console.simulators is not None, scopes=list(Scope), key=new_key(),
        keys=sorted(listed, key=lambda one: (one.revoked_at is not None, one.name)),
        me=request.by.account, after=form_result(console, request),
        needs_second=sorted(NEEDS_SECOND),
    )  # fmt: skip


OPERATIONS_KEY_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, keys, OPERATIONS),
    post(PATH, make, OPERATIONS),
    get(PATH + "/{key_id:uuid}/activate", about_to_activate, OPERATIONS),
    post(PATH + "/{key_id:uuid}/activate", activate, OPERATIONS),
    get(PATH + "/{key_id:uuid}/revoke", about_to_revoke, OPERATIONS),
    post(PATH + "/{key_id:uuid}/revoke", revoke, OPERATIONS),
)
