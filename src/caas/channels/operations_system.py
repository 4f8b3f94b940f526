"""The laws with their last check, and the ways to keys, staff and the simulators.

Rules a change must keep: a check reads the whole database, so that one process makes one at a time;
what it found is kept and shown with its time.
"""

import asyncio
from typing import Final

from caas.billing_database import law_checks
from caas.channels.acting import acted, told
from caas.channels.operations_audit import OPERATIONS_AUDIT_ROUTES
from caas.channels.operations_keys import OPERATIONS_KEY_ROUTES
from caas.channels.operations_simulators import OPERATIONS_SIMULATOR_ROUTES
from caas.channels.operations_staff import OPERATIONS_STAFF_ROUTES
from caas.channels.page_routes import OPERATIONS, PageRoute, get, post
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key
from caas.channels.visit import Visit
from caas.web.response import Response

_ONE_AT_A_TIME: Final = asyncio.Lock()


async def laws(channels: Channels, visit: Visit) -> Response:
    """Show the laws: the broken ones first."""
    checked = await law_checks.last_checks(channels.rooms.books.database)
    return channels.page(
        visit, "operations/laws.html",
        laws=sorted(checked, key=lambda law: (-law.broken, law.checked_at is not None)),
        broken=sum(law.broken > 0 for law in checked),
        checked_at=max((law.checked_at for law in checked if law.checked_at), default=None),
        key=new_key(),
        simulators=channels.rooms.simulators is not None, after=told(channels, visit),
    )  # fmt: skip


async def check_now(channels: Channels, visit: Visit) -> Response:
    """Check every law."""

    async def act() -> None:
        async with _ONE_AT_A_TIME:
            await law_checks.checked(channels.rooms.books.database)

    return await acted(channels, visit, "/operations/system", act)


OPERATIONS_SYSTEM_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/system", laws, OPERATIONS),
    post("/operations/system/check", check_now, OPERATIONS),
    *OPERATIONS_KEY_ROUTES,
    *OPERATIONS_STAFF_ROUTES,
    *OPERATIONS_AUDIT_ROUTES,
    *OPERATIONS_SIMULATOR_ROUTES,
)
