"""The audit log for export: changes to keys, accounts and links, and sign-ins.

Rule a change must keep: events are ordered by id, so that `after` continues the list.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.api.call import Call
from caas.api.context import Api
from caas.api.operation import Operation
from caas.api.queries import PAGE_ROWS, Limit, QueryOf
from caas.api.row_answers import answer_from
from caas.billing_database.audit_events import AuditEvents, AuditType
from caas.rules.scopes import Scope
from caas.web.response import Response, json_response


class AuditEventAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An audit event; `actor` is the account, or a label when no account acted."""

    id: UUID
    type: AuditType
    actor: str
    account: UUID | None
    subject: UUID | None
    network: str | None
    at: datetime


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events, oldest first; `next_after` is present if there are more."""

    data: list[AuditEventAnswer]
    next_after: UUID | None


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters: events after an id, and of one type."""

    after: UUID | None = None
    type: AuditType | None = None
    limit: Limit = PAGE_ROWS


AUDITED: Final = QueryOf(AuditQuery)


async def list_audit_events(api: Api, call: Call) -> Response:
    """List audit events, the oldest first."""
    query = AUDITED.read(call.scope["query_string"])
    events = await AuditEvents(api.platform.tables.database).after(
        query.after, type_=query.type, rows_max=query.limit + 1
    )
    shown = events[: query.limit]
    more = shown[-1].id if len(events) > query.limit else None
    reported = [answer_from(AuditEventAnswer, one) for one in shown]
    return json_response(200, AuditPage(data=reported, next_after=more))


AUDIT_OPERATIONS: Final = (
    Operation(
        id="listAuditEvents", tag="operations", method="GET", path="/v1/audit-events",
        scopes=frozenset({Scope.OPERATIONS}), query=AUDITED, answers={200: AuditPage},
        handle=list_audit_events,
    ),
)  # fmt: skip
