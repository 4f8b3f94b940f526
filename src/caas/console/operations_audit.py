"""The audit log: sign-ins and changes to keys, accounts, links and passwords.

Rule a change must keep: staff are shown by their logins and keys by their names, as everywhere in
the console; of a customer nothing is shown but the id.
"""

from typing import Final

from caas.billing_database.audit_events import AuditEvents, AuditType
from caas.billing_database.rows import PAGE_ROWS_MAX
from caas.console.context import Console
from caas.console.page_routes import OPERATIONS, PageRoute, get
from caas.console.request import PageRequest
from caas.web.response import Response

PATH: Final = "/operations/audit"


async def audit_events(console: Console, request: PageRequest) -> Response:
    """Show a page of events, the newest first."""
    chosen = request.query.get("type", "")
    type_ = AuditType(chosen) if chosen in set(AuditType) else None
    table = AuditEvents(console.platform.tables.database)
    events = await table.before(request.place("before"), type_=type_)
    return console.page(
        request, "operations/audit.html", events=events, known=await table.known(events),
        types=list(AuditType), chosen=chosen,
        more=events[-1].id if len(events) == PAGE_ROWS_MAX else None,
        simulators=console.simulators is not None,
    )  # fmt: skip


OPERATIONS_AUDIT_ROUTES: Final[tuple[PageRoute, ...]] = (get(PATH, audit_events, OPERATIONS),)
