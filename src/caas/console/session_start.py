"""Starts a session after sign-in and remembers the device.

Rule a change must keep: while the second factor is missing, the session opens only the page that
requests it, and the device is not remembered.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote
from uuid import UUID

import msgspec

from caas.billing_database import operations_counts
from caas.billing_database.accounts import Account, Role
from caas.console.context import Console
from caas.console.page_routes import HOMES
from caas.console.request import PageRequest
from caas.web.response import Response, is_own_path, see_other

SECOND_FACTOR_PATH: Final = "/second-factor"


class Admitted(msgspec.Struct, frozen=True):
    """The account with the correct password, the typed login, and the person's other accounts."""

    account: Account
    login: str
    also: Sequence[UUID] = ()


async def arrived(
    console: Console, request: PageRequest, who: Admitted, *, next_path: str | None = None
) -> Response:
    """Begin a session and redirect to the requested page, or to the second factor."""
    if await _awaits_second_factor(console, who.account):
        await console.sessions.begin(request, who.account, awaiting=True)
        return see_other(second_factor_path(next_path))
    await let_in(console, request, who)
    return see_other(next_path or HOMES[who.account.role])


async def let_in(
    console: Console, request: PageRequest, who: Admitted, *, second_factor: bool = False
) -> None:
    """Begin a session that opens every page of its account."""
    await console.sessions.begin(request, who.account, also=who.also, second_factor=second_factor)
    now = (await operations_counts.now(console.platform.tables.database)).timestamp()
    request.set_cookies.append(console.devices.remember(request, who.login, now=now))


def second_factor_path(next_path: str | None) -> str:
    """Return the path of the second factor page, which continues to this page."""
    if next_path is None or not is_own_path(next_path):
        return SECOND_FACTOR_PATH
    return f"{SECOND_FACTOR_PATH}?next={quote(next_path, safe='/')}"


async def _awaits_second_factor(console: Console, account: Account) -> bool:
    """Return whether this account needs more than its password."""
    if account.role is not Role.OPERATIONS:
        return False
    if console.settings.second_factor_required:
        return True
    factor = await console.second_factors.of(account.id)
    return factor is not None and factor.confirmed_at is not None
