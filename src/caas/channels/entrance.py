"""The one door through which browsers come in and pages go out.

In this order: static files, how often, how large, from which site, who, with which form token,
without any card number. Then the page of the route. On the way out every reply gets its security
headers.

Rules a change must keep: no page runs a script or a style that is not a file of ours, and none is
shown inside another site; a form counts only with its token and from our own pages; a form is read
only as far as `BODY_BYTES_MAX`, one with a file only where a page takes one; what is not expected
is logged here and says nothing of the inside.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from caas.billing_database.accounts import Role
from caas.channels import forms, languages, pwa, static_files, uploads
from caas.channels.error_pages import error_page
from caas.channels.forms import FORM, ForeignFormError, MalformedFormError
from caas.channels.page_routes import NotYourPageError
from caas.channels.replies import RawHeader, Reply
from caas.channels.rooms import Channels
from caas.channels.visit import LANGUAGE, SCOPE_KEY, Scope, Visit, cookies_of
from caas.errors import CaasError, RefusedError, UnavailableError
from caas.rules.rate_limits import TokenBuckets, owner_of

BODY_BYTES_MAX: Final = 64 * 1024
VISITS_UNDER_WAY_MAX: Final = 1_000
POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; "
    b"base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = (
    (b"content-security-policy", POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=()"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)
TRANSPORT_SECURITY: Final[RawHeader] = (
    b"strict-transport-security",
    b"max-age=63072000; includeSubDomains",
)
READING: Final = frozenset({"GET", "HEAD"})
FAILURES_FROM: Final = 500

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = structlog.get_logger()


class TooManyVisitsError(UnavailableError):
    """Too many pages are being shown at this moment; try again shortly."""

    code = "too_many_visits"


class TooManyRequestsError(RefusedError):
    """Too many pages were asked for from your network without signing in; wait a moment."""

    code = "rate_limited"
    http_status = 429


class BodyTooLargeError(RefusedError):
    """The form is larger than any of ours."""

    code = "body_too_large"
    http_status = 413


class Entrance:
    """The channels' outermost ASGI application."""

    def __init__(self, channels: Channels, routed: Callable[[Visit], Awaitable[Reply]]) -> None:
        """Show pages by `routed`, which matches addresses."""
        self._channels = channels
        self._routed = routed
        self._under_way = 0
        self._addresses = TokenBuckets(channels.settings.address_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request from its arrival to its reply."""
        assert scope["type"] == "http", "the lifespan is the API's"
        headers = dict(scope["headers"])
        if scope["path"].startswith(static_files.PREFIX):
            accepts_gzip = b"gzip" in headers.get(b"accept-encoding", b"")
            reply = static_files.static_reply(scope["path"], accepts_gzip=accepts_gzip)
            await self._send(scope, reply, send)
            return
        self._under_way += 1
        try:
            await self._take(_visit_of(scope, headers, self._channels), receive, send)
        finally:
            self._under_way -= 1

    async def _take(self, visit: Visit, receive: Receive, send: Send) -> None:
        try:
            reply = pwa.reply_to(visit.path, self._channels, visit) or await self._page(
                visit, receive
            )
        except CaasError as error:
            reply = self._told(visit, error)
        except Exception as error:  # noqa: BLE001  # the entrypoint: a bug ends here, as a 500
            reply = self._told(visit, error)
        await self._send(visit.scope, reply.with_headers(*visit.set_cookies), send)

    async def _page(self, visit: Visit, receive: Receive) -> Reply:
        if self._under_way > VISITS_UNDER_WAY_MAX:
            raise TooManyVisitsError
        owner, now = owner_of(visit.address), time.monotonic()
        if not self._addresses.take(owner, now=now).granted:
            raise TooManyRequestsError
        visit.query = forms.read_query(visit.scope["query_string"])
        takes_file = _takes_file(visit)
        body = b""
        if visit.method not in READING and not takes_file:
            body = await _form_body(visit, receive)
        await self._channels.sessions.recognise(visit)
        if visit.session is not None:
            self._addresses.give_back(owner, now=now)
        if visit.method not in READING:
            _refuse_other_sites(visit)
            if takes_file:
                await _read_file(visit, receive)
            else:
                visit.form = forms.read_form(body)
        return await self._routed(visit)

    def _told(self, visit: Visit, error: Exception) -> Reply:
        """Return the page that tells of an error; what is our fault is logged."""
        if not isinstance(error, CaasError) or error.http_status >= FAILURES_FROM:
            _log.error("channels.failed", request_id=visit.request_id, exc_info=error)
        return error_page(self._channels, visit, error)

    async def _send(self, scope: Scope, reply: Reply, send: Send) -> None:
        headers = [*reply.headers, *SECURITY_HEADERS]
        headers.append((b"content-length", b"%d" % len(reply.body)))
        if self._channels.settings.is_secure:
            headers.append(TRANSPORT_SECURITY)
        body = b"" if scope["method"] == "HEAD" else reply.body
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _visit_of(scope: Scope, headers: dict[bytes, bytes], channels: Channels) -> Visit:
    cookies = cookies_of(headers)
    visit = Visit(
        scope=scope,
        method="GET" if scope["method"] == "HEAD" else scope["method"],
        path=scope["path"],
        headers=headers,
        cookies=cookies,
        query={},
        language=languages.chosen(
            cookie=cookies.get(LANGUAGE),
            accept_language=headers.get(b"accept-language", b"").decode("latin-1"),
            default=channels.settings.language,
        ),
        token="",
    )
    scope.setdefault("state", {})[SCOPE_KEY] = visit
    return visit


def _takes_file(visit: Visit) -> bool:
    """Say whether this is a form with a file, at the address of a page that takes one."""
    return visit.method not in READING and (
        _media_type(visit) == uploads.MULTIPART
        and uploads.TAKES_FILE.fullmatch(visit.path) is not None
    )


async def _read_file(visit: Visit, receive: Receive) -> None:
    """Read a form with a file, of somebody whose page it is."""
    if visit.session is None:
        return  # Sent to sign in, with nothing of the file read.
    if visit.session.role is not Role.OPERATIONS:
        raise NotYourPageError
    body = await _body(visit, receive, uploads.UPLOAD_BYTES_MAX)
    fields, visit.upload = uploads.read_upload(visit.headers[b"content-type"], body)
    forms.refuse_card_numbers((*fields, *fields.values()))
    visit.form = fields


async def _form_body(visit: Visit, receive: Receive) -> bytes:
    """Return the body of a form, at most `BODY_BYTES_MAX` of it."""
    if _media_type(visit) != FORM:
        raise MalformedFormError
    return await _body(visit, receive, BODY_BYTES_MAX)


def _media_type(visit: Visit) -> bytes:
    return visit.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


async def _body(visit: Visit, receive: Receive, bytes_max: int) -> bytes:
    declared = visit.headers.get(b"content-length", b"0")
    if not declared.isdigit():
        raise MalformedFormError
    if int(declared) > bytes_max:
        raise BodyTooLargeError
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise MalformedFormError
        body += message.get("body", b"")
        if len(body) > bytes_max:
            raise BodyTooLargeError
        more = message.get("more_body", False)
    return bytes(body)


def _refuse_other_sites(visit: Visit) -> None:
    """Refuse a form that another site has sent (the routes ask for its token besides)."""
    site = visit.headers.get(b"sec-fetch-site", b"same-origin")
    origin = visit.headers.get(b"origin")
    host = visit.headers.get(b"host", b"").decode("latin-1")
    if site not in {b"same-origin", b"none"}:
        raise ForeignFormError
    if origin is not None and urlsplit(origin.decode("latin-1")).netloc != host:
        raise ForeignFormError
