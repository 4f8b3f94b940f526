"""Page routes: method, path, roles and handler.

Each file of pages ends in a table of them. A page without roles is open to everybody.

Rules a change must keep: whoever is not signed in is sent to sign in, whoever has another role is
told that the page is not theirs; what belongs to whom is checked by the page itself.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

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
"""Where people arrive when they have signed in."""


class NotYourPageError(RefusedError):
    """This page is for people with another role."""

    code = "not_your_page"
    http_status = 403


class NothingHereError(NotFoundError):
    """There is nothing at this address that you may see."""

    code = "nothing_here"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRoute:
    """One page, or one thing that a form does."""

    method: str
    path: str
    show: Show
    roles: frozenset[Role]
    takes_file: bool = False


def get(path: str, show: Show, roles: frozenset[Role]) -> PageRoute:
    """Return the route of a page."""
    return PageRoute(method="GET", path=path, show=show, roles=roles)


def post(path: str, show: Show, roles: frozenset[Role], *, takes_file: bool = False) -> PageRoute:
    """Return the route of what a form does."""
    return PageRoute(method="POST", path=path, show=show, roles=roles, takes_file=takes_file)
