"""A browser request as the pages see it: session, form, language.

Rules a change must keep: a form's token derives from the secret in the browser's own cookie, so
that no other site can know it; scripts and other sites cannot read the cookie.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from caas.billing_database.sessions import Session
from caas.web.forms import Upload
from caas.web.request import Request
from caas.web.response import RawHeader

SESSION: Final = "caas-session"
VISITOR: Final = "caas-visitor"
LANGUAGE: Final = "caas-language"
TOKEN_BYTES: Final = 32
REPORTED_ONCE: Final = frozenset({"done", "refused"})
LANGUAGE_SECONDS: Final = 365 * 24 * 3600
_ID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class PageRequest(Request):
    """A browser request, completed step by step while it is handled."""

    cookies: Mapping[str, str] = msgspec.field(default_factory=dict)
    query: Mapping[str, str] = msgspec.field(default_factory=dict)
    language: str = ""
    token: str = ""
    session: Session | None = None
    awaiting: Session | None = None
    had_session: bool = False
    form: Mapping[str, str] = msgspec.field(default_factory=dict)
    refused_form: Mapping[str, str] = msgspec.field(default_factory=dict)
    refused_at: str = ""
    upload: Upload | None = None
    unread: int = 0
    set_cookies: list[RawHeader] = msgspec.field(default_factory=list)

    def show_again(self, path: str, query: Mapping[str, str]) -> None:
        """Become a GET request for the page of a rejected form, which shows the input again."""
        self.refused_form, self.refused_at, self.form = self.form, self.path, {}
        self.method, self.path, self.query = "GET", path, query

    def typed(self, action: str, name: str, proposed: object = "") -> str:
        """Return a field's value in the form to `action`: the rejected input or `proposed`."""
        was_refused = action == self.refused_at
        return self.refused_form.get(name, "") if was_refused else str(proposed)

    @property
    def by(self) -> Session:
        """The session; the site has checked that there is one."""
        assert self.session is not None, "a page that needs a person is behind the sign-in"
        return self.session

    @property
    def customer(self) -> UUID:
        """The session's customer."""
        assert self.by.customer is not None, "a customer's page is shown to customers"
        return self.by.customer

    @property
    def dealership(self) -> str:
        """The session's dealership."""
        assert self.by.dealership is not None, "a dealership's page is shown to its sales"
        return self.by.dealership

    def place(self, name: str) -> UUID | None:
        """Return the cursor of a list: the id in `?name=`, if there is one."""
        text = self.query.get(name, "")
        return UUID(text) if _ID.fullmatch(text) else None

    @property
    def here(self) -> str:
        """The address of the page, without the result of the previous form."""
        asked = {name: text for name, text in self.query.items() if name not in REPORTED_ONCE}
        return f"{self.path}?{urlencode(asked)}" if asked else self.path

    @property
    def is_partial(self) -> bool:
        """Whether a fragment of the page is requested, instead of the whole page."""
        return b"hx-request" in self.headers

    @property
    def form_token(self) -> str:
        """The token for every form in this browser."""
        digest = hashlib.sha256(b"form:" + self.token.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def has_form_token(self) -> bool:
        """Return whether the form has this browser's token."""
        return hmac.compare_digest(self.form.get("form_token", ""), self.form_token)


def cookies_of(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the cookies of a request, without malformed ones."""
    cookies: dict[str, str] = {}
    for part in headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            cookies[name] = value
    return cookies


def cookie(name: str, value: str, *, secure: bool, seconds: int | None = None) -> RawHeader:
    """Return the header that sets a cookie, without `seconds` for the browser session."""
    parts = [f"{name}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
    if seconds is not None:
        parts.append(f"Max-Age={seconds}")
    if secure:
        parts.append("Secure")
    return (b"set-cookie", "; ".join(parts).encode())
