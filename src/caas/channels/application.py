"""The channels as one ASGI application: every page of every file, behind one entrance.

Rules a change must keep: a page is reachable exactly when it stands in `ROUTES`; who may see it is
asked before anything is read for it; a form's token is asked of everybody.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from caas.billing_database.accounts import Accounts
from caas.billing_database.second_factors import SecondFactors
from caas.billing_database.sessions import Sessions
from caas.channels.account import ACCOUNT_ROUTES
from caas.channels.arriving import second_factor_path
from caas.channels.customer import CUSTOMER_ROUTES
from caas.channels.entrance import READING, Entrance
from caas.channels.forms import ForeignFormError, read_query
from caas.channels.inbox import INBOX_ROUTES, unread
from caas.channels.intranet import INTRANET_ROUTES
from caas.channels.known_devices import KnownDevices
from caas.channels.operations import OPERATIONS_ROUTES
from caas.channels.page_routes import NothingHereError, NotYourPageError, PageRoute
from caas.channels.passwords import Passwords
from caas.channels.rendering import Renderer
from caas.channels.replies import OK, Reply, see_other
from caas.channels.returning import RETURNING_ROUTES
from caas.channels.rooms import Channels, Rooms
from caas.channels.second_factor import SECOND_FACTOR_ROUTES
from caas.channels.session_keeping import SessionKeeping
from caas.channels.settings import ChannelSettings
from caas.channels.sign_in import SIGN_IN_ROUTES, sign_in_path
from caas.channels.visit import Visit
from caas.errors import NotFoundError, RefusedError

ROUTES: Final[tuple[PageRoute, ...]] = (
    *SIGN_IN_ROUTES,
    *SECOND_FACTOR_ROUTES,
    *INBOX_ROUTES,
    *ACCOUNT_ROUTES,
    *RETURNING_ROUTES,
    *INTRANET_ROUTES,
    *CUSTOMER_ROUTES,
    *OPERATIONS_ROUTES,
)

REFUSED: Final = 422
_PLACE: Final = re.compile(r"\{(\w+)(?::(\w+))?\}")
_KINDS: Final = {
    None: "[A-Za-z0-9_-]{1,64}",
    "uuid": "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}


class MethodNotAllowedError(RefusedError):
    """This address does not take a form."""

    code = "method_not_allowed"
    http_status = 405


def build_channels(
    rooms: Rooms, settings: ChannelSettings, *, routes: tuple[PageRoute, ...] = ROUTES
) -> Entrance:
    """Build the channels over the rooms."""
    database = rooms.books.database
    channels = Channels(
        rooms=rooms,
        settings=settings,
        accounts=Accounts(database),
        passwords=Passwords(),
        sessions=SessionKeeping(
            Sessions(database),
            is_secure=settings.is_secure,
            second_factor_required=settings.second_factor_required,
        ),
        devices=KnownDevices(settings.sign_in_keys, is_secure=settings.is_secure),
        second_factors=SecondFactors(database),
        renderer=Renderer(settings.zone),
    )
    return Entrance(channels, routed(channels, routes))


def routed(
    channels: Channels, routes: tuple[PageRoute, ...]
) -> Callable[[Visit], Awaitable[Reply]]:
    """Return what finds the page of an address and shows it to whoever may see it."""
    table = [(_pattern(route.path), route) for route in routes]

    async def show(visit: Visit) -> Reply:
        there = False
        for pattern, route in table:
            match = pattern.fullmatch(visit.path)
            there = there or match is not None
            if match is not None and route.method == visit.method:
                visit.ids = {name: _value(text) for name, text in match.groupdict().items()}
                reply = await _shown(channels, visit, route)
                return await again(visit, reply) if reply.shows_again else reply
        raise MethodNotAllowedError if there else NothingHereError

    async def again(visit: Visit, refusal: Reply) -> Reply:
        path, _, asked = refusal.shows_again.partition("?")
        visit.show_again(path, read_query(asked.encode()))
        try:
            page = await show(visit)
        except NotFoundError:
            return refusal
        if page.status != OK:
            return refusal
        where = (b"content-location", refusal.shows_again.encode())
        return replace(page, status=REFUSED).with_headers(where)

    return show


async def _shown(channels: Channels, visit: Visit, route: PageRoute) -> Reply:
    if route.roles and visit.session is None:
        return _to_sign_in(visit)
    if visit.method not in READING and not visit.has_form_token():
        raise ForeignFormError
    if route.roles and visit.by.role not in route.roles:
        raise NotYourPageError
    if visit.session is not None and visit.method in READING and not visit.is_partial:
        visit.unread = await unread(channels.rooms.notifications, visit.session)
    return await route.show(channels, visit)


def _to_sign_in(visit: Visit) -> Reply:
    """Send somebody to sign in; a part of a page takes the whole of it along."""
    if visit.is_partial:
        return Reply(200, b"", ((b"hx-refresh", b"true"),))
    if visit.awaiting is not None:
        return see_other(second_factor_path(visit.path if visit.method in READING else None))
    return see_other(sign_in_path(visit))


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(_PLACE.sub(lambda place: f"(?P<{place[1]}>{_KINDS[place[2]]})", path))


def _value(text: str) -> Any:
    return UUID(text) if re.fullmatch(_KINDS["uuid"], text) else text
