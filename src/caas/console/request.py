"""A browser request as the pages see it: session, form, language.

Rules a change must keep: a form's token follows from the secret in the browser's own cookie, so
that nobody else can know it; the cookie is out of reach of scripts and of other sites.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

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


@dataclass(slots=True)
class PageRequest(Request):
    """A request of a browser, filled in as more is known of it."""

    cookies: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    language: str = ""
    token: str = ""
    session: Session | None = None
    awaiting: Session | None = None
    had_session: bool = False
    form: Mapping[str, str] = field(default_factory=dict)
    refused_form: Mapping[str, str] = field(default_factory=dict)
    refused_at: str = ""
    upload: Upload | None = None
    unread: int = 0
    set_cookies: list[RawHeader] = field(default_factory=list)

    def show_again(self, path: str, query: Mapping[str, str]) -> None:
        """Become the visit of the page a refused form stood on, which keeps what was typed."""
        self.refused_form, self.refused_at, self.form = self.form, self.path, {}
        self.method, self.path, self.query = "GET", path, query

    def typed(self, action: str, name: str, proposed: object = "") -> str:
        """Return what a field of the form to `action` is filled with: as typed, or as proposed."""
        was_refused = action == self.refused_at
        return self.refused_form.get(name, "") if was_refused else str(proposed)

    @property
    def by(self) -> Session:
        """Whose request it is, of which the site made sure."""
        assert self.session is not None, "a page that needs a person is behind the sign-in"
        return self.session

    @property
    def customer(self) -> UUID:
        """The customer whose request it is."""
        assert self.by.customer is not None, "a customer's page is shown to customers"
        return self.by.customer

    @property
    def dealership(self) -> str:
        """The dealership whose request it is."""
        assert self.by.dealership is not None, "a dealership's page is shown to its sales"
        return self.by.dealership

    def place(self, name: str) -> UUID | None:
        """Return where a list goes on: the id behind `?name=`, if there is one."""
        text = self.query.get(name, "")
        return UUID(text) if _ID.fullmatch(text) else None

    @property
    def here(self) -> str:
        """The address of the page, without what it says of the form before it."""
        asked = {name: text for name, text in self.query.items() if name not in REPORTED_ONCE}
        return f"{self.path}?{urlencode(asked)}" if asked else self.path

    @property
    def is_partial(self) -> bool:
        """Whether a part of a page asks, and not a person for the whole of it."""
        return b"hx-request" in self.headers

    @property
    def form_token(self) -> str:
        """The token that every form of this browser carries."""
        digest = hashlib.sha256(b"form:" + self.token.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def has_form_token(self) -> bool:
        """Say whether the form that was sent is one we gave to this browser."""
        return hmac.compare_digest(self.form.get("form_token", ""), self.form_token)


def cookies_of(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the cookies of a request; what is malformed is left out."""
    cookies: dict[str, str] = {}
    for part in headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            cookies[name] = value
    return cookies


def cookie(name: str, value: str, *, secure: bool, seconds: int | None = None) -> RawHeader:
    """Return the header that sets a cookie for this browser alone; no seconds: until it closes."""
    parts = [f"{name}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
    if seconds is not None:
        parts.append(f"Max-Age={seconds}")
    if secure:
        parts.append("Secure")
    return (b"set-cookie", "; ".join(parts).encode())
