"""Integrity checks with their last result.

Rules a change must keep: a check reads the whole database, so that one process makes one at a time;
what it found is kept and shown with its time.
"""

import asyncio
from typing import Final

from caas.billing_database import invariant_checks
from caas.console.context import Console
from caas.console.form_actions import acted, form_result
from caas.console.idempotent_forms import new_key
from caas.console.operations_audit import OPERATIONS_AUDIT_ROUTES
from caas.console.operations_keys import OPERATIONS_KEY_ROUTES
from caas.console.operations_simulators import OPERATIONS_SIMULATOR_ROUTES
from caas.console.operations_staff import OPERATIONS_STAFF_ROUTES
from caas.console.page_routes import OPERATIONS, PageRoute, get, post
from caas.console.request import PageRequest
from caas.web.response import Response

_ONE_AT_A_TIME: Final = asyncio.Lock()


async def invariants(console: Console, request: PageRequest) -> Response:
    """List the integrity checks, failed ones first."""
    checked = await invariant_checks.last_checks(console.platform.tables.database)
    return console.page(
        request,
        "operations/integrity_checks.html",
        invariants=sorted(
            checked, key=lambda invariant: (-invariant.broken, invariant.checked_at is not None)
        ),
        broken=sum(invariant.broken > 0 for invariant in checked),
        checked_at=max(
            (invariant.checked_at for invariant in checked if invariant.checked_at), default=None
        ),
        key=new_key(),
        simulators=console.simulators is not None,
        after=form_result(console, request),
    )


async def check_now(console: Console, request: PageRequest) -> Response:
    """Run every integrity check."""

    async def act() -> None:
        async with _ONE_AT_A_TIME:
            await invariant_checks.checked(console.platform.tables.database)

    return await acted(console, request, "/operations/system", act)


OPERATIONS_SYSTEM_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/system", invariants, OPERATIONS),
    post("/operations/system/check", check_now, OPERATIONS),
    *OPERATIONS_KEY_ROUTES,
    *OPERATIONS_STAFF_ROUTES,
    *OPERATIONS_AUDIT_ROUTES,
    *OPERATIONS_SIMULATOR_ROUTES,
)
