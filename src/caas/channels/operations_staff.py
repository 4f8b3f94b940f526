"""Colleagues and their second factors: another person resets the one of whoever has lost it.

Rules a change must keep: nobody resets their own, here or in the database; a reset ends every
session of the account, and the next sign-in sets up another second factor.
"""

from typing import Final

from caas import dual_control
from caas.billing_database.actors import may_approve
from caas.billing_database.audit_events import AuditType, audit
from caas.billing_database.connection import Connection
from caas.billing_database.second_factors import Colleague
from caas.channels.acting import acted, told
from caas.channels.confirmation import asks
from caas.channels.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.channels.rooms import Channels
from caas.channels.visit import Visit
from caas.web.response import Response, see_other

PATH: Final = "/operations/staff"


async def staff(channels: Channels, visit: Visit) -> Response:
    """Show every account of staff, and who has a second factor."""
    return channels.page(
        visit, "operations/staff.html", staff=await channels.second_factors.staff(),
        me=visit.by.account, after=told(channels, visit),
        simulators=channels.rooms.simulators is not None,
    )  # fmt: skip


async def about_to_reset(channels: Channels, visit: Visit) -> Response:
    """Say what a reset does, and ask; whoever means themselves is told who can."""
    colleague = await _colleague(channels, visit)
    if colleague.id == visit.by.account:
        return see_other(f"{PATH}?refused=own_second_factor")
    return asks(channels, visit, "reset", back=PATH, name=colleague.login)


async def reset(channels: Channels, visit: Visit) -> Response:
    """Take a colleague's second factor away."""
    colleague = await _colleague(channels, visit)

    async def together(connection: Connection) -> None:
        if colleague.id == visit.by.account:
            raise dual_control.SamePersonError
        if not await may_approve(visit.by.actor, within=connection):
            raise dual_control.ApproverNotValidError
        ended = await channels.second_factors.end(
            colleague.id, by=visit.by.account, within=connection
        )
        if not ended:
            raise NothingHereError
        await audit(
            AuditType.SECOND_FACTOR_RESET, by=visit.by.account, subject=colleague.id,
            address=visit.address, within=connection,
        )  # fmt: skip

    async def act() -> None:
        await channels.rooms.books.database.in_transaction(together)
        await channels.sessions.end_all(colleague.id)

    return await acted(channels, visit, PATH, act)


async def _colleague(channels: Channels, visit: Visit) -> Colleague:
    """Return the account of the address, which has a second factor.

    Raises:
        NothingHereError: there is no such account.
    """
    for one in await channels.second_factors.staff():
        if one.id == visit.ids["account_id"] and one.second_factor_since is not None:
            return one
    raise NothingHereError


_RESET: Final = PATH + "/{account_id:uuid}/reset-second-factor"
OPERATIONS_STAFF_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(PATH, staff, OPERATIONS),
    get(_RESET, about_to_reset, OPERATIONS),
    post(_RESET, reset, OPERATIONS),
)
