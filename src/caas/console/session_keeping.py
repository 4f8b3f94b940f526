"""Sessions (start, recognition, end) and known devices, which failed attempts do not lock out.

Staff are signed out after half an hour without use and after a working day; customers, who use the
app on their own phone, after a week without use and after a month. These durations are real time
and ignore the time scale.

After a sign-in the browser keeps a signed cookie for that login, the known device. Failed attempts
elsewhere do not slow it down; its own do, with a separate counter. The cookie alone admits nobody.

Rules a change must keep: a sign-in always begins a new session and ends the previous one; polling
by a page does not extend a session; a session that awaits a second factor opens only its page and
expires after ten minutes; the token exists only in the browser's cookie; a device is known only for
the login that signed in on it; the cookie does not contain the login and is valid for
`DEVICE_SECONDS`.
"""

import re
import secrets
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.accounts import Account, Role
from caas.billing_database.sessions import Session, Sessions
from caas.console.request import SESSION, TOKEN_BYTES, VISITOR, PageRequest, cookie
from caas.console.sign_in_keys import SignInKeys
from caas.web.response import RawHeader

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 24 * HOUR


class Span(msgspec.Struct, frozen=True):
    """The duration of a session: without use, and at most."""

    idle_seconds: int
    seconds_max: int


SPANS: Final = {
    Role.CUSTOMER: Span(7 * DAY, 30 * DAY),
    Role.SALES: Span(HOUR // 2, 12 * HOUR),
    Role.OPERATIONS: Span(HOUR // 2, 12 * HOUR),
}


AWAITING_SECOND_FACTOR: Final = Span(10 * MINUTE, 10 * MINUTE)


class SessionKeeping:
    """Begins, recognises and ends sessions."""

    def __init__(
        self, sessions: Sessions, *, is_secure: bool, second_factor_required: bool
    ) -> None:
        """Use this session table; secure cookies are sent by https only.

        If `second_factor_required`, operations sessions without a second factor open only its page.
        """
        self._sessions = sessions
        self._second_factor_required = second_factor_required
        self._is_secure = is_secure
        prefix = "__Host-" if is_secure else ""
        self._session_name = prefix + SESSION
        self._visitor_name = prefix + VISITOR

    async def recognise(self, request: PageRequest) -> None:
        """Find the session of the request, or give a browser without one a secret of its own."""
        token = request.cookies.get(self._session_name)
        request.had_session = bool(token)
        if token:
            request.session = await self._sessions.find(token)
        if token and request.session is not None:
            request.token = token
            if self._awaits_second_factor(request.session):
                request.awaiting, request.session = request.session, None
                return
            if request.session.stale and not request.is_partial:
                idle_seconds = SPANS[request.session.role].idle_seconds
                await self._sessions.seen(request.session, idle_seconds=idle_seconds)
            return
        request.token = request.cookies.get(self._visitor_name, "")
        if not request.token:
            request.token = secrets.token_urlsafe(TOKEN_BYTES)
            request.set_cookies.append(self._cookie(self._visitor_name, request.token))

    async def begin(
        self,
        request: PageRequest,
        account: Account,
        *,
        also: Sequence[UUID] = (),
        second_factor: bool = False,
        awaiting: bool = False,
    ) -> None:
        """Begin a session for this browser; `also` are other accounts of the same person."""
        await self.end(request)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        span = AWAITING_SECOND_FACTOR if awaiting else SPANS[account.role]
        await self._sessions.begin(
            token,
            account.id,
            idle_seconds=span.idle_seconds,
            seconds_max=span.seconds_max,
            also=also,
            second_factor=second_factor,
        )
        kept = span.seconds_max if account.role is Role.CUSTOMER else None
        request.set_cookies.append(self._cookie(self._session_name, token, kept))

    async def end(self, request: PageRequest) -> None:
        """End the session of this browser, if it has one."""
        if request.session is not None or request.awaiting is not None:
            await self._sessions.end(request.token)
        if request.had_session:
            request.set_cookies.append(self._cookie(self._session_name, "", 0))

    async def end_others(self, session: Session) -> int:
        """End every other session of the same account; return the number ended."""
        return await self._sessions.end_others(session.account, but=session.token_hash)

    async def end_all(self, account: UUID) -> None:
        """End every session of an account, because its credentials changed."""
        await self._sessions.end_others(account)

    def _awaits_second_factor(self, session: Session) -> bool:
        """Return whether a session was begun with less than its account needs now."""
        if session.role is not Role.OPERATIONS or session.second_factor:
            return False
        return self._second_factor_required or session.has_second_factor

    def _cookie(self, name: str, value: str, seconds: int | None = None) -> RawHeader:
        return cookie(name, value, secure=self._is_secure, seconds=seconds)


DEVICE: Final = "caas-device"
DEVICE_SECONDS: Final = 180 * 24 * 3600
LOGINS_MAX: Final = 4
_ID_BYTES: Final = 12
_MARK: Final = re.compile(r"([A-Za-z0-9_-]{16})\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})")
_BETWEEN: Final = "~"


class KnownDevices:
    """Recognises devices by their cookies."""

    def __init__(self, keys: SignInKeys, *, is_secure: bool) -> None:
        """Sign cookies with these keys."""
        self._keys = keys
        self._is_secure = is_secure
        self._name = f"__Host-{DEVICE}" if is_secure else DEVICE

    def known(self, request: PageRequest, login: str, *, now: float) -> str | None:
        """Return the device's id if this login has signed in on it before."""
        for device, since, signature in self._marks(request):
            is_fresh = now - DEVICE_SECONDS < int(since) <= now
            if is_fresh and self._keys.is_signed(_signed(device, since, login), signature):
                return device
        return None

    def remember(self, request: PageRequest, login: str, *, now: float) -> RawHeader:
        """Return the cookie that makes the browser of this request a known device."""
        others = [
            ".".join(mark)
            for mark in self._marks(request)
            if not self._keys.is_signed(_signed(mark[0], mark[1], login), mark[2])
        ]
        device, since = secrets.token_urlsafe(_ID_BYTES), str(int(now))
        mine = f"{device}.{since}.{self._keys.sign(_signed(device, since, login))}"
        marks = _BETWEEN.join([mine, *others[: LOGINS_MAX - 1]])
        return cookie(self._name, marks, secure=self._is_secure, seconds=DEVICE_SECONDS)

    def _marks(self, request: PageRequest) -> list[tuple[str, str, str]]:
        parts = request.cookies.get(self._name, "").split(_BETWEEN, LOGINS_MAX)[:LOGINS_MAX]
        matches = [_MARK.fullmatch(part) for part in parts]
        return [(match[1], match[2], match[3]) for match in matches if match]


def _signed(device: str, since: str, login: str) -> str:
    return f"{device}.{since}.{login}"
