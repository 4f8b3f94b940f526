"""Known devices, so that failed attempts elsewhere do not lock the owner out.

A browser that was let in keeps a signed cookie for that login. Wrong tries from elsewhere do not
slow it down; its own do, by a count of its own. It lets nobody in.

Rules a change must keep: a device is known for the login it was let in with and for no other; the
login itself does not stand in the cookie; a cookie is good for `DEVICE_SECONDS` and no longer.
"""

import re
import secrets
from typing import Final

from caas.console.request import PageRequest, cookie
from caas.console.sign_in_keys import SignInKeys
from caas.web.response import RawHeader

DEVICE: Final = "caas-device"
DEVICE_SECONDS: Final = 180 * 24 * 3600
LOGINS_MAX: Final = 4
_ID_BYTES: Final = 12
_MARK: Final = re.compile(r"([A-Za-z0-9_-]{16})\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})")
_BETWEEN: Final = "~"


class KnownDevices:
    """Knows devices again by their cookies."""

    def __init__(self, keys: SignInKeys, *, is_secure: bool) -> None:
        """Sign cookies with these keys."""
        self._keys = keys
        self._is_secure = is_secure
        self._name = f"__Host-{DEVICE}" if is_secure else DEVICE

    def known(self, request: PageRequest, login: str, *, now: float) -> str | None:
        """Return the id of this device if this login has signed in on it before."""
        for device, since, signature in self._marks(request):
            is_fresh = now - DEVICE_SECONDS < int(since) <= now
            if is_fresh and self._keys.is_signed(_signed(device, since, login), signature):
                return device
        return None

    def remember(self, request: PageRequest, login: str, *, now: float) -> RawHeader:
        """Return the cookie by which the device of this visit is known from now on."""
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
