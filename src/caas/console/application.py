"""The console as one ASGI application: all page routes behind the web middleware.

Rules a change must keep: a page is reachable exactly when it is in `ROUTES`; the role is checked
before any data is read for the page; a form is accepted only from our own site and with a valid
form token; a file is read only where the route takes one.
"""

from typing import Final

from msgspec.structs import replace

from caas.billing_database.accounts import Accounts, Role
from caas.billing_database.sessions import SecondFactors, Sessions
from caas.billing_database.simulated_calendar import SimulatedCalendar
from caas.console import languages, pwa
from caas.console.account import ACCOUNT_ROUTES
from caas.console.context import Console
from caas.console.customer import CUSTOMER_ROUTES
from caas.console.customer_payments import RETURNING_ROUTES
from caas.console.error_pages import error_page
from caas.console.intranet import INTRANET_ROUTES
from caas.console.messages import INBOX_ROUTES, unread
from caas.console.operations import OPERATIONS_ROUTES
from caas.console.page_routes import NothingHereError, NotYourPageError, PageRoute
from caas.console.passwords import Passwords
from caas.console.rendering import STATIC, Renderer
from caas.console.request import LANGUAGE, PageRequest, cookies_of
from caas.console.second_factor import SECOND_FACTOR_ROUTES
from caas.console.session_keeping import KnownDevices, SessionKeeping
from caas.console.session_start import second_factor_path
from caas.console.settings import ConsoleSettings
from caas.console.sign_in import SIGN_IN_ROUTES, sign_in_path
from caas.errors import CaasError, NotFoundError
from caas.external_systems.local_outbox import OutboxLetters
from caas.external_systems.simulator_control import SimulatorControl
from caas.platform import Platform
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
    """Admits browser requests and shows pages.

    Checks, in this order: rate limit, size, session and role, origin, form token, card numbers.
    Then the page of the route runs.
    """

    name = "console"
    security_headers = FOR_BROWSERS

    def __init__(self, console: Console, routes: tuple[PageRoute, ...]) -> None:
        """Serve these pages."""
        self._console = console
        self._router = Router(routes)
        self._addresses = AddressLimit(console.settings.address_limit)
        self.is_secure = console.settings.is_secure

    async def start(self) -> None:
        """Do nothing: pages need no preparation."""

    def begin(self, scope: Scope, headers: dict[bytes, bytes], request_id: str) -> PageRequest:
        """Create the page request from the head of an HTTP request."""
        cookies = cookies_of(headers)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        request = PageRequest(scope, method, scope["path"], headers, request_id, cookies=cookies)
        request.language = languages.chosen(
            cookie=cookies.get(LANGUAGE),
            accept_language=headers.get(b"accept-language", b"").decode("latin-1"),
            default=self._console.settings.language,
        )
        return request

    async def respond(self, request: PageRequest, receive: Receive) -> Response:
        """Check the request, read its form and return its page."""
        own = STATIC.response(request) or pwa.response(request.path, self._console, request)
        if own is not None:
            return own
        self._addresses.take(request)
        request.query = forms.read_query(request.scope["query_string"])
        reads = request.method == "GET"
        match = self._router.match(request.method, request.path)
        takes_file = (
            match is not None
            and match.route is not None
            and match.route.takes_file
            and forms.media_type_of(request) == forms.MULTIPART
        )
        body = b"" if reads or takes_file else await forms.read_form_body(request, receive)
        await self._console.sessions.recognise(request)
        if request.session is not None:
            self._addresses.give_back(request)
        if not reads:
            forms.refuse_other_sites(request)
            if takes_file:
                await _read_file(request, receive)
            else:
                request.form = forms.read_form(body)
        return await self._shown(request, match)

    def refuse(self, request: PageRequest, error: CaasError) -> Response:
        """Return the error page."""
        return error_page(self._console, request, error)

    def more_headers(self, request: PageRequest) -> tuple[RawHeader, ...]:
        """Return the cookies that the request sets."""
        return tuple(request.set_cookies)

    def finish(self, request: PageRequest, status: int, seconds: float) -> None:
        """Do nothing: user actions are recorded as audit events."""

    async def _shown(self, request: PageRequest, match: Match[PageRoute] | None) -> Response:
        if match is None:
            raise NothingHereError
        if match.route is None:
            raise MethodNotAllowedError(headers=((b"allow", match.allow),))
        request.route, request.ids = match.template, match.params
        response = await _page(self._console, request, match.route)
        return await self._again(request, response) if response.shows_again else response

    async def _again(self, request: PageRequest, refusal: Response) -> Response:
        """Show the page of a rejected form again, with its input."""
        path, _, asked = refusal.shows_again.partition("?")
        request.show_again(path, forms.read_query(asked.encode()))
        try:
            page = await self._shown(request, self._router.match(request.method, path))
        except NotFoundError:
            return refusal
        if page.status != OK:
            return refusal
        where = (b"content-location", refusal.shows_again.encode())
        return replace(page, status=REFUSED).with_headers(where)


def build_console(
    platform: Platform,
    settings: ConsoleSettings,
    *,
    simulators: SimulatorControl | None = None,
    calendar: SimulatedCalendar | None = None,
    letters: OutboxLetters | None = None,
    routes: tuple[PageRoute, ...] = ROUTES,
) -> WebApplication[PageRequest]:
    """Build the console over the platform."""
    database = platform.tables.database
    console = Console(
        platform=platform,
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
        simulators=simulators,
        calendar=calendar,
        letters=letters,
    )
    return WebApplication(PagesSite(console, routes))


async def _read_file(request: PageRequest, receive: Receive) -> None:
    """Read a form with a file if the role may use the page."""
    if request.session is None:
        return  # `_page` redirects to sign-in; the file stays unread.
    if request.session.role is not Role.OPERATIONS:
        raise NotYourPageError
    request.form, request.upload = await forms.read_upload(request, receive)


async def _page(console: Console, request: PageRequest, route: PageRoute) -> Response:
    reads = request.method == "GET"
    if route.roles and request.session is None:
        return _to_sign_in(request)
    if not reads and not request.has_form_token():
        raise ForeignFormError
    if route.roles and request.by.role not in route.roles:
        raise NotYourPageError
    if request.session is not None and reads and not request.is_partial:
        request.unread = await unread(console.platform.notifications, request.session)
    return await route.show(console, request)


def _to_sign_in(request: PageRequest) -> Response:
    """Redirect to the sign-in page; a fragment request redirects the whole page."""
    if request.is_partial:
        return Response(OK, b"", ((b"hx-refresh", b"true"),))
    if request.awaiting is not None:
        return see_other(second_factor_path(request.path if request.method == "GET" else None))
    return see_other(sign_in_path(request))
