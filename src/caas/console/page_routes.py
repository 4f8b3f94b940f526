"""Page routes: method, path, roles and handler.

Each file of pages ends with a table of its routes. A page without roles is public.

Rules a change must keep: without a session, a page with roles redirects to the sign-in; another
role gets an error page; the page itself checks who owns the object.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from caas.billing_database.accounts import Role
from caas.console.context import Console
from caas.console.request import PageRequest
from caas.errors import NotFoundError, RefusedError
from caas.web.response import Response

Show = Callable[[Console, PageRequest], Awaitable[Response]]

EVERYBODY: Final[frozenset[Role]] = frozenset()
CUSTOMERS: Final = frozenset({Role.CUSTOMER})
SALES: Final = frozenset({Role.SALES})
OPERATIONS: Final = frozenset({Role.OPERATIONS})
SIGNED_IN: Final = frozenset(Role)

HOMES: Final = {
    Role.CUSTOMER: "/car",
    Role.SALES: "/intranet",
    Role.OPERATIONS: "/operations",
}
"""The home page of each role after sign-in."""


class NotYourPageError(RefusedError):
    """This page is for people with another role."""

    code = "not_your_page"
    http_status = 403


class NothingHereError(NotFoundError):
    """There is nothing at this address that you may see."""

    code = "nothing_here"


class PageRoute(msgspec.Struct, frozen=True, kw_only=True):
    """The route of a page or of a form action."""

    method: str
    path: str
    show: Show
    roles: frozenset[Role]
    takes_file: bool = False


def get(path: str, show: Show, roles: frozenset[Role]) -> PageRoute:
    """Return the route of a page."""
    return PageRoute(method="GET", path=path, show=show, roles=roles)


def post(path: str, show: Show, roles: frozenset[Role], *, takes_file: bool = False) -> PageRoute:
    """Return the route of a form action."""
    return PageRoute(method="POST", path=path, show=show, roles=roles, takes_file=takes_file)
