"""Staff accounts; another operations user resets a lost second factor.

Rules a change must keep: nobody resets their own, here or in the database; a reset ends every
session of the account, and the next sign-in sets up another second factor.
"""

from typing import Final

from caas import dual_control
from caas.billing_database.actors import may_approve
from caas.billing_database.audit_events import AuditType, audit
from caas.billing_database.connection import Connection
from caas.billing_database.second_factors import Colleague
from caas.console.confirmation import asks
from caas.console.context import Console
from caas.console.form_actions import acted, form_result
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.web.response import Response, see_other

PATH: Final = "/operations/staff"


async def staff(console: Console, request: PageRequest) -> Response:
    """Show every account of staff, and who has a second factor."""
    return console.page(
        request, "operations/staff.html", staff=await console.second_factors.staff(),
        me=request.by.account, after=form_result(console, request),
        simulators=console.simulators is not None,
    )  # fmt: skip


async def about_to_reset(console: Console, request: PageRequest) -> Response:
    """Ask to confirm a reset; a person's own needs another person."""
    colleague = await _colleague(console, request)
    if colleague.id == request.by.account:
        return see_other(f"{PATH}?refused=own_second_factor")
    return asks(console, request, "reset", back=PATH, name=colleague.login)


async def reset(console: Console, request: PageRequest) -> Response:
    """Take a colleague's second factor away."""
    colleague = await _colleague(console, request)

    async def together(connection: Connection) -> None:
        if colleague.id == request.by.account:
            raise dual_control.SamePersonError
        if not await may_approve(request.by.actor, within=connection):
            raise dual_control.ApproverNotValidError
        ended = await console.second_factors.end(
            colleague.id, by=request.by.account, within=connection
        )
        if not ended:
            raise NothingHereError
        await audit(
            AuditType.SECOND_FACTOR_RESET, by=request.by.account, subject=colleague.id,
            address=request.address, within=connection,
        )  # fmt: skip

    async def act() -> None:
        await console.platform.tables.database.in_transaction(together)
        await console.sessions.end_all(colleague.id)

    return await acted(console, request, PATH, act)


async def _colleague(console: Console, request: PageRequest) -> Colleague:
    """Return the account of the address, which has a second factor.

    Raises:
        NothingHereError: there is no such account.
    """
    for one in await console.second_factors.staff():
        if one.id == request.ids["account_id"] and one.second_factor_since is not None:
            return one
    raise NothingHereError


_RESET: Final = PATH + "/{account_id:uuid}/reset-second-factor"
OPERATIONS_STAFF_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, staff, OPERATIONS),
    get(_RESET, about_to_reset, OPERATIONS),
    post(_RESET, reset, OPERATIONS),
)
