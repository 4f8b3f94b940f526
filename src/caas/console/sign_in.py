"""Sign-in, sign-out, access links, the language switch, and throttling of sign-in attempts.

Diagram 2, "Send Access Credentials": the link opens a page where the customer chooses a password;
staff get their link from the command line. Opening the page does not consume the link, because mail
programs open links too; choosing a password does. Attempts are throttled by login, address or known
device.

Rules a change must keep: too many attempts mean a wait, whichever account they target; an attempt
is counted before it is checked; an attempt from a device known for the login waits only for that
device's own failures; a correct password does not clear the failures that others caused at the same
address; an unknown login and a wrong password get the same response, and so does every request for
a link; a new password ends every earlier session; two accounts with one address belong to one
person only if one password opens both.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlsplit
from uuid import UUID

import msgspec

from caas.billing_database import operations_counts
from caas.billing_database.accounts import Account, LinkHolder, Role
from caas.billing_database.audit_events import AuditType, Outsider, audit
from caas.billing_database.connection import Connection
from caas.billing_database.sessions import CountedFor, SignInAttempts
from caas.console.context import Console
from caas.console.page_routes import EVERYBODY, HOMES, SIGNED_IN, PageRoute, get, post
from caas.console.passwords import WeakPasswordError
from caas.console.request import LANGUAGE, LANGUAGE_SECONDS, PageRequest, cookie
from caas.console.session_start import Admitted, arrived
from caas.errors import CaasError
from caas.rules.market import LOCALES
from caas.rules.personal_data import EMAIL_CHARS_MAX
from caas.rules.rate_limits import OF_A_DEVICE, OF_A_LOGIN, OF_AN_ADDRESS, owner_of
from caas.web.forms import filled
from caas.web.response import Response, is_own_path, see_other


class TooManyTriesError(CaasError):
    """Too many attempts failed. Wait for the time given in Retry-After."""

    code = "too_many_tries"
    http_status = 429

    def __init__(self, wait_seconds: float) -> None:
        """Record the wait."""
        super().__init__(retry_after_seconds=max(math.ceil(wait_seconds), 1))


class Try(msgspec.Struct, frozen=True):
    """An attempt in progress; it counts as failed until `was_right`."""

    console: Console
    request: PageRequest
    own: tuple[CountedFor, ...]
    address: tuple[CountedFor, ...]
    next_wait_seconds: float

    async def was_wrong(self, account: UUID | None) -> None:
        """Record in the audit log that the next attempt must wait, if it must."""
        if self.next_wait_seconds:
            await audit(
                AuditType.SIGN_IN_SLOWED, by=Outsider.NOBODY, subject=account,
                address=self.request.address, within=self.console.platform.tables.database,
            )  # fmt: skip

    async def was_right(self) -> None:
        """Clear the failed attempts before it."""
        table = SignInAttempts(self.console.platform.tables.database)
        await table.forget(self.own)
        if self.address:
            await table.take_back(self.address)


async def begin(
    console: Console, request: PageRequest, login: str, *, what: str = "sign-in"
) -> Try:
    """Count an attempt of `what` for the login as typed.

    Raises:
        TooManyTriesError: too many attempts preceded it.
    """
    database = console.platform.tables.database
    now = (await operations_counts.now(database)).timestamp()
    device = console.devices.known(request, login, now=now)
    own: tuple[CountedFor, ...] = (CountedFor(f"{what}:login:{login}", OF_A_LOGIN),)
    address: tuple[CountedFor, ...] = (
        CountedFor(f"{what}:address:{owner_of(request.address)}", OF_AN_ADDRESS),
    )
    if device is not None:
        own, address = (CountedFor(f"{what}:device:{device}", OF_A_DEVICE),), ()
    counted = await SignInAttempts(database).count((*own, *address))
    if counted.wait_seconds:
        raise TooManyTriesError(counted.wait_seconds)
    return Try(console, request, own, address, counted.next_wait_seconds)


REFUSED: Final = 422


def sign_in_path(request: PageRequest) -> str:
    """Return the path of the sign-in page, which continues to this page."""
    ended = "&ended=1" if request.had_session else ""
    here = request.path if request.method == "GET" else _page_of_form(request)
    return f"/sign-in?next={quote(here if is_own_path(here) else '/', safe='/')}{ended}"


def _page_of_form(request: PageRequest) -> str:
    """Return the page of a form; the form's own path may have no page."""
    return urlsplit(request.headers.get(b"referer", b"").decode("latin-1")).path


async def front_page(console: Console, request: PageRequest) -> Response:
    """Show the home page of a session, or the public front page."""
    if request.session is not None:
        return see_other(HOMES[request.session.role])
    return console.page(request, "front.html")


async def sign_in_form(console: Console, request: PageRequest) -> Response:
    """Show the sign-in form."""
    if request.session is not None:
        return see_other(_next(request.query) or HOMES[request.session.role])
    return _sign_in_page(console, request, next_path=_next(request.query))


async def sign_in(console: Console, request: PageRequest) -> Response:
    """Sign in by password."""
    login = (filled(request.form, "login", chars_max=EMAIL_CHARS_MAX) or "").lower()
    next_path = _next(request.form)
    this_try = await begin(console, request, login)
    candidates = await console.accounts.by_login(login)
    opened = await _opened_by(console, candidates, request.form.get("password", ""))
    await _audited_sign_in(console, request, opened)
    if not opened:
        await this_try.was_wrong(candidates[0].id if candidates else None)
        return _sign_in_page(console, request, login=login, next_path=next_path, refused=True)
    account = opened[0]
    await this_try.was_right()
    admitted = Admitted(account, login, also=_also(account, opened))
    return await arrived(console, request, admitted, next_path=next_path)


async def sign_out(console: Console, request: PageRequest) -> Response:
    """End the session of this browser."""
    await console.sessions.end(request)
    return see_other("/")


async def access_form(console: Console, request: PageRequest) -> Response:
    """Show the account of an access link, and the form for a password."""
    holder = await console.accounts.of_link(request.ids["token"])
    return console.page(
        request, "access.html", holder=holder, weak="", status=200 if holder else 410
    )


async def access(console: Console, request: PageRequest) -> Response:
    """Consume the link, set the password, and sign its account in."""
    token, password = request.ids["token"], request.form.get("password", "")
    holder = await console.accounts.of_link(token)
    if holder is None:
        return console.page(request, "access.html", holder=None, weak="", status=410)
    try:
        password_hash = await console.passwords.hashed(
            password, known_words=(holder.name, holder.login)
        )
    except WeakPasswordError as error:
        return console.page(
            request, "access.html", holder=holder, weak=error.weakness, status=REFUSED
        )
    account = await _opened(console, request, holder, password_hash)
    if account is None:
        return console.page(request, "access.html", holder=None, weak="", status=410)
    await console.sessions.end_all(account.id)
    login = holder.login.lower()
    candidates = await console.accounts.by_login(login)
    opened = await _opened_by(console, candidates, password)
    return await arrived(console, request, Admitted(account, login, also=_also(account, opened)))


async def forgotten_form(console: Console, request: PageRequest) -> Response:
    """Show the form that requests a new link."""
    return console.page(request, "forgotten.html", asked=False)


async def forgotten(console: Console, request: PageRequest) -> Response:
    """Send a link if the address is a customer's; the response is the same if it is not."""
    email = filled(request.form, "email", chars_max=EMAIL_CHARS_MAX)
    if email is not None:
        await console.platform.access_links.ask(email, asked_from=request.address)
        console.platform.jobs.wake()
    return console.page(request, "forgotten.html", asked=True)


async def choose_language(console: Console, request: PageRequest) -> Response:
    """Store the language for this browser."""
    language = request.form.get("language", "")
    if language in LOCALES:
        request.set_cookies.append(
            cookie(LANGUAGE, language, secure=console.settings.is_secure,
                   seconds=LANGUAGE_SECONDS)
        )  # fmt: skip
    return see_other(_next(request.form) or "/")


async def _audited_sign_in(console: Console, request: PageRequest, opened: list[Account]) -> None:
    database = console.platform.tables.database
    if opened:
        await audit(
            AuditType.SIGN_IN_OK, by=opened[0].id, subject=opened[0].id, address=request.address,
            within=database,
        )  # fmt: skip
    else:
        await audit(
            AuditType.SIGN_IN_REFUSED, by=Outsider.NOBODY, address=request.address, within=database
        )


async def _opened(
    console: Console, request: PageRequest, holder: LinkHolder, password_hash: str
) -> Account | None:
    """Return the account of a link; None if the link was already used."""
    token = request.ids["token"]
    customer = None
    if holder.customer is not None:
        customer = (await console.platform.order_management.ordering.open_access(token)).customer

    async def use(connection: Connection) -> UUID | None:
        if customer is None:
            used = await console.accounts.use_staff_link(token, password_hash, within=connection)
        else:
            used = await console.accounts.put_customer(customer, password_hash, within=connection)
        if used is not None:
            await audit(
                AuditType.LINK_USED, by=used, subject=used, address=request.address,
                within=connection,
            )  # fmt: skip
        return used

    account_id = await console.platform.tables.database.in_transaction(use)
    return None if account_id is None else await console.accounts.get(account_id)


async def _opened_by(
    console: Console, candidates: Sequence[Account], password: str
) -> list[Account]:
    """Return those of these accounts that have this password."""
    if not candidates:
        await console.passwords.matches(password, None)
    return [
        account
        for account in candidates
        if await console.passwords.matches(password, account.password_hash)
    ]


def _also(account: Account, opened: Sequence[Account]) -> list[UUID]:
    """Return the customer's other accounts that the same password opens, for switching."""
    if account.role is not Role.CUSTOMER:
        return []
    return [other.id for other in opened if other.id != account.id and other.role is Role.CUSTOMER]


def _sign_in_page(
    console: Console,
    request: PageRequest,
    *,
    login: str = "",
    next_path: str | None = None,
    refused: bool = False,
) -> Response:
    return console.page(
        request,
        "sign_in.html",
        login=login,
        next_path=next_path,
        refused=refused,
        ended="ended" in request.query,
        status=REFUSED if refused else 200,
    )


def _next(values: Mapping[str, str]) -> str | None:
    """Return the path to continue to, if it is one of ours."""
    path = values.get("next", "")
    return path if is_own_path(path) and path != "/" else None


SIGN_IN_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/", front_page, EVERYBODY),
    get("/sign-in", sign_in_form, EVERYBODY),
    post("/sign-in", sign_in, EVERYBODY),
    post("/sign-out", sign_out, SIGNED_IN),
    get("/access/{token:word}", access_form, EVERYBODY),
    post("/access/{token:word}", access, EVERYBODY),
    get("/forgotten", forgotten_form, EVERYBODY),
    post("/forgotten", forgotten, EVERYBODY),
    post("/language", choose_language, EVERYBODY),
)
