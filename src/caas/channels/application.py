"""The channels as one ASGI application: every page of every file, behind the web edge.

Rules a change must keep: a page is reachable exactly when it stands in `ROUTES`; who may see it is
asked before anything is read for it; a form counts only with its token and from our own pages, and
a file is read only where a page takes one.
"""

from dataclasses import replace
from typing import Final

from caas.billing_database.accounts import Accounts, Role
from caas.billing_database.second_factors import SecondFactors
from caas.billing_database.sessions import Sessions
from caas.channels import languages, pwa
from caas.channels.account import ACCOUNT_ROUTES
from caas.channels.arriving import second_factor_path
from caas.channels.customer import CUSTOMER_ROUTES
from caas.channels.error_pages import error_page
from caas.channels.inbox import INBOX_ROUTES, unread
from caas.channels.intranet import INTRANET_ROUTES
from caas.channels.known_devices import KnownDevices
from caas.channels.operations import OPERATIONS_ROUTES
from caas.channels.page_routes import NothingHereError, NotYourPageError, PageRoute
from caas.channels.passwords import Passwords
from caas.channels.rendering import STATIC, Renderer
from caas.channels.returning import RETURNING_ROUTES
from caas.channels.rooms import Channels, Rooms
from caas.channels.second_factor import SECOND_FACTOR_ROUTES
from caas.channels.session_keeping import SessionKeeping
from caas.channels.settings import ChannelSettings
from caas.channels.sign_in import SIGN_IN_ROUTES, sign_in_path
from caas.channels.visit import LANGUAGE, Visit, cookies_of
from caas.errors import CaasError, NotFoundError
from caas.web import forms
from caas.web.application import FOR_BROWSERS, WebApplication
from caas.web.forms import ForeignFormError
from caas.web.limits import AddressLimit, Receive
from caas.web.problems import MethodNotAllowedError
from caas.web.request import Scope
from caas.web.response import OK, RawHeader, Response, see_other
from caas.web.router import Match, Router

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


class PagesSite:
    """How browsers are admitted and pages shown.

    In this order: how often, how large, who, from which site, with which form token, without any
    card number. Then the page of the route.
    """

    name = "channels"
    security_headers = FOR_BROWSERS

    def __init__(self, channels: Channels, routes: tuple[PageRoute, ...]) -> None:
        """Show these pages."""
        self._channels = channels
        self._router = Router(routes)
        self._addresses = AddressLimit(channels.settings.address_limit)
        self.is_secure = channels.settings.is_secure

    async def start(self) -> None:
        """Need nothing before the first request."""

    def begin(self, scope: Scope, headers: dict[bytes, bytes], request_id: str) -> Visit:
        """Begin a visit from the head of a request."""
        cookies = cookies_of(headers)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        visit = Visit(scope, method, scope["path"], headers, request_id, cookies=cookies)
        visit.language = languages.chosen(
            cookie=cookies.get(LANGUAGE),
            accept_language=headers.get(b"accept-language", b"").decode("latin-1"),
            default=self._channels.settings.language,
        )
        return visit

    async def respond(self, visit: Visit, receive: Receive) -> Response:
        """Admit a visit, read its form and show its page."""
        own = STATIC.response(visit) or pwa.response(visit.path, self._channels, visit)
        if own is not None:
            return own
        self._addresses.take(visit)
        visit.query = forms.read_query(visit.scope["query_string"])
        reads = visit.method == "GET"
        match = self._router.match(visit.method, visit.path)
        takes_file = (
            match is not None
            and match.route is not None
            and match.route.takes_file
            and forms.media_type_of(visit) == forms.MULTIPART
        )
        body = b"" if reads or takes_file else await forms.read_form_body(visit, receive)
        await self._channels.sessions.recognise(visit)
        if visit.session is not None:
            self._addresses.give_back(visit)
        if not reads:
            forms.refuse_other_sites(visit)
            if takes_file:
                await _read_file(visit, receive)
            else:
                visit.form = forms.read_form(body)
        return await self._shown(visit, match)

    def refuse(self, visit: Visit, error: CaasError) -> Response:
        """Return the page that tells of an error."""
        return error_page(self._channels, visit, error)

    def more_headers(self, visit: Visit) -> tuple[RawHeader, ...]:
        """Return the cookies that the visit sets."""
        return tuple(visit.set_cookies)

    def finish(self, visit: Visit, status: int, seconds: float) -> None:
        """Count nothing: what people do stands in the audit events."""

    async def _shown(self, visit: Visit, match: Match[PageRoute] | None) -> Response:
        if match is None:
            raise NothingHereError
        if match.route is None:
            raise MethodNotAllowedError(headers=((b"allow", match.allow),))
        visit.route, visit.ids = match.template, match.params
        response = await _page(self._channels, visit, match.route)
        return await self._again(visit, response) if response.shows_again else response

    async def _again(self, visit: Visit, refusal: Response) -> Response:
        """Show the page of a refused form again, with what was typed."""
        path, _, asked = refusal.shows_again.partition("?")
        visit.show_again(path, forms.read_query(asked.encode()))
        try:
            page = await self._shown(visit, self._router.match(visit.method, path))
        except NotFoundError:
            return refusal
        if page.status != OK:
            return refusal
        where = (b"content-location", refusal.shows_again.encode())
        return replace(page, status=REFUSED).with_headers(where)


def build_channels(
    rooms: Rooms, settings: ChannelSettings, *, routes: tuple[PageRoute, ...] = ROUTES
) -> WebApplication[Visit]:
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
    return WebApplication(PagesSite(channels, routes))


async def _read_file(visit: Visit, receive: Receive) -> None:
    """Read a form with a file, of somebody whose page it is."""
    if visit.session is None:
        return  # Sent to sign in, with nothing of the file read.
    if visit.session.role is not Role.OPERATIONS:
        raise NotYourPageError
    visit.form, visit.upload = await forms.read_upload(visit, receive)


async def _page(channels: Channels, visit: Visit, route: PageRoute) -> Response:
    reads = visit.method == "GET"
    if route.roles and visit.session is None:
        return _to_sign_in(visit)
    if not reads and not visit.has_form_token():
        raise ForeignFormError
    if route.roles and visit.by.role not in route.roles:
        raise NotYourPageError
    if visit.session is not None and reads and not visit.is_partial:
        visit.unread = await unread(channels.rooms.notifications, visit.session)
    return await route.show(channels, visit)


def _to_sign_in(visit: Visit) -> Response:
    """Send somebody to sign in; a part of a page takes the whole of it along."""
    if visit.is_partial:
        return Response(OK, b"", ((b"hx-refresh", b"true"),))
    if visit.awaiting is not None:
        return see_other(second_factor_path(visit.path if visit.method == "GET" else None))
    return see_other(sign_in_path(visit))
