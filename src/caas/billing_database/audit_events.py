"""The audit log: changes to keys, accounts and links, sign-ins, evidence sent to banks.

Rules a change must keep: an event is written in the transaction it records and never changed; it
contains ids, never names; of an IP address only the network is stored.
"""

import ipaddress
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.filters import Walk, composed
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import PAGE_ROWS_MAX

NETWORK_BITS: Final = {4: 24, 6: 48}

WRITE: Final = """
insert into audit_events (id, type, actor, account, subject, address, at)
values ($1, $2, $3, $4, $5, $6, db_now())
"""
LISTED: Final = """
select id, type, actor, account, subject, host(address) || '/' || masklen(address) as network, at
  from audit_events where {given} order by {order} limit $1
"""
NAMES: Final = """
select id, 'staff' as kind, login as name from accounts
 where id = any ($1) and role <> 'customer'
union all select id, 'key', name from api_keys where id = any ($1)
union all select id, 'customer', null from accounts where id = any ($1) and role = 'customer'
union all select id, 'customer', null from customers where id = any ($1)
"""


class AuditType(StrEnum):
    """The type of an audit event."""

    KEY_MADE = "key made"
    KEY_ACTIVATED = "key activated"
    KEY_REVOKED = "key revoked"
    STAFF_ADDED = "staff added"
    STAFF_DISABLED = "staff disabled"
    LINK_MADE = "link made"
    LINK_USED = "link used"
    SIGN_IN_OK = "sign-in ok"
    SIGN_IN_REFUSED = "sign-in refused"
    SIGN_IN_SLOWED = "sign-in slowed"
    PASSWORD_CHANGED = "password changed"  # noqa: S105 - the name of an event
    SECOND_FACTOR_ENROLLED = "second factor enrolled"
    SECOND_FACTOR_USED = "second factor used"
    SECOND_FACTOR_REFUSED = "second factor refused"
    SECOND_FACTOR_RESET = "second factor reset"
    RECOVERY_CODE_USED = "recovery code used"
    EVENTS_SUBSCRIBED = "event subscription made"
    EVENTS_UNSUBSCRIBED = "event subscription ended"
    EVIDENCE_SENT = "evidence sent"


class Outsider(StrEnum):
    """Actors without an account."""

    PLATFORM = "platform"
    SETTINGS = "settings"
    COMMAND_LINE = "command line"
    NOBODY = "nobody"


class Known(msgspec.Struct, frozen=True):
    """A known id: a staff login or a key name; customers are not named."""

    kind: str
    name: str | None


class AuditEvent(msgspec.Struct, frozen=True):
    """An audit event; `subject` is the id of a key, an account, a customer or a payment."""

    id: UUID
    type: AuditType
    actor: str
    account: UUID | None
    subject: UUID | None
    network: str | None
    at: datetime


async def audit(
    type_: AuditType,
    *,
    by: UUID | Outsider,
    within: Connection | Database,
    subject: UUID | None = None,
    address: str = "",
) -> None:
    """Write an audit event; `by` is an account, or an actor without one."""
    actor, account = (by.value, None) if isinstance(by, Outsider) else ("account", by)
    await within.fetch(WRITE, new_id(), type_, actor, account, subject, network_of(address))


class AuditEvents:
    """Reads audit events."""

    def __init__(self, database: Database) -> None:
        """Read through this database."""
        self._database = database

    async def after(
        self, event: UUID | None = None, *, type_: AuditType | None = None, rows_max: int
    ) -> list[AuditEvent]:
        """Return the events after this one, oldest first."""
        walk = Walk({"type": type_}, place=event, descending=False)
        rows_max = min(rows_max, PAGE_ROWS_MAX + 1)
        query, arguments = composed(LISTED, rows_max, given={}, along=walk)
        rows = await self._database.fetch(query, *arguments)
        return [AuditEvent(**{**row, "type": AuditType(row["type"])}) for row in rows]

    async def before(
        self, event: UUID | None = None, *, type_: AuditType | None = None
    ) -> list[AuditEvent]:
        """Return a page of events, newest first."""
        walk = Walk({"type": type_}, place=event)
        query, arguments = composed(LISTED, PAGE_ROWS_MAX, given={}, along=walk)
        rows = await self._database.fetch(query, *arguments)
        return [AuditEvent(**{**row, "type": AuditType(row["type"])}) for row in rows]

    async def known(self, events: Sequence[AuditEvent]) -> dict[UUID, Known]:
        """Return the actors and subjects of these events by id."""
        ids = {it for one in events for it in (one.account, one.subject) if it is not None}
        rows = await self._database.fetch(NAMES, list(ids))
        return {row["id"]: Known(row["kind"], row["name"]) for row in rows}


def network_of(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the network part of an IP address, or None if it is not one."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is not None:
        known = known.ipv4_mapped
    return ipaddress.ip_network((known, NETWORK_BITS[known.version]), strict=False)
