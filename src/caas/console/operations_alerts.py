"""Redirects an alert to its case or payment.

Rule a change must keep: an alert leads somewhere for ever, also when its case is closed.
"""

from typing import Final
from uuid import UUID

from caas.console.context import Console
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get
from caas.console.request import PageRequest
from caas.web.response import Response, see_other


async def alert(console: Console, request: PageRequest) -> Response:
    """Lead to the newest case of the alert's kind and subject, or to the payment."""
    alert_id: UUID = request.ids["alert_id"]
    alerted = await console.platform.notifications.alerted(alert_id)
    if alerted is None:
        raise NothingHereError
    tables = console.platform.tables
    cases = await tables.cases.listed(status=None, subject=alerted.subject, kind=alerted.kind)
    if cases:
        return see_other(f"/operations/cases/{cases[0].id}")
    if await tables.payments.exists(alerted.subject):
        return see_other(f"/operations/payments/{alerted.subject}")
    return see_other(f"/operations/payments?q={alerted.subject}")


OPERATIONS_ALERT_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/alerts/{alert_id:uuid}", alert, OPERATIONS),
)
