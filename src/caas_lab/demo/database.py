"""The Billing Database of a demonstration: creating it, moving its clock, reading its records.

Rules a change must keep: records are read in read-only sessions; only the clock of the
demonstration's own database is moved.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import msgspec

from caas.billing_database import self_check
from caas.billing_database.connection import ACQUIRE_TIMEOUT_SECONDS, Database, connect
from caas.billing_database.gateway_calls import GatewayCallRecord, GatewayCalls
from caas.billing_database.payment_audit_trail import PaymentAuditTrail, record_of
from caas.billing_database.self_check import InvariantResult

NAME: Final = "caas_demo"
SESSIONS_MAX: Final = 4

BALANCE: Final = """
select coalesce(sum(amount), 0)::bigint from ledger_lines where payment_id = $1 and account = $2
"""
TRANSITIONED: Final = """
select debit, credit, sum(amount)::bigint as amount from ledger_entries group by debit, credit
"""
PAYMENTS: Final = """
select id, type, state, gateway_transaction_id, authorized_amount, captured_amount, settled_amount,
       refunded_amount, disputed_amount, currency from payments order by id
"""
ACTIVE: Final = """
select k.vin, k.service, k.action, e.id is not null as confirmed
  from (select distinct on (vin, service) subject, vin, service, action from ota_commands
         order by vin, service, epoch desc) k
  left join lateral (select id from delivery_evidence
                      where subject = k.subject and proves_delivery limit 1) e on true
"""
ALERTS: Final = """
select kind, sentence from cases where subject = $1 order by opened_at
"""
REFUSED: Final = """
select coalesce(sum(times), 0)::bigint from refused_acknowledgements where subject = $1
"""


class AuditTrail(msgspec.Struct, frozen=True):
    """What the platform recorded about one payment, and the gateway calls about it."""

    record: PaymentAuditTrail
    calls: list[GatewayCallRecord]


class RecordedPayment(msgspec.Struct, frozen=True):
    """A payment as recorded, to compare it with the gateway's own ledger."""

    id: UUID
    type: str
    state: str
    gateway_transaction_id: str | None
    authorized_amount: int
    captured_amount: int
    settled_amount: int
    refunded_amount: int
    disputed_amount: int
    currency: str


class RecordedService(msgspec.Struct, frozen=True):
    """The last command to a vehicle about a service, and whether it was confirmed."""

    vin: str
    service: str
    action: str
    confirmed: bool


class Records:
    """Reads what the platform recorded, in sessions that cannot write."""

    def __init__(self, database: Database) -> None:
        """Read through this database; `opened` opens it."""
        self._database = database

    async def audit_trail(
        self, things: Sequence[UUID], transaction: str | None, since: datetime
    ) -> AuditTrail:
        """Return what was recorded about the first of these, and who was notified about any."""
        record = await record_of(
            self._database, things[0], subjects=list(things), transaction_id=transaction,
            since=since,
        )  # fmt: skip
        return AuditTrail(record, await GatewayCalls(self._database).of(things[0], transaction))

    async def balance(self, payment: str, account: str) -> int:
        """Return the balance of one payment on an account, in minor units."""
        (row,) = await self._database.fetch(BALANCE, UUID(payment), account)
        return int(row[0])

    async def transitioned(self) -> dict[tuple[str, str], int]:
        """Return the sum of minor units for each (debit, credit)."""
        rows = await self._database.fetch(TRANSITIONED)
        return {(row["debit"], row["credit"]): row["amount"] for row in rows}

    async def payments(self) -> list[RecordedPayment]:
        """Return every payment, oldest first."""
        return [RecordedPayment(**dict(row)) for row in await self._database.fetch(PAYMENTS)]

    async def services(self) -> list[RecordedService]:
        """Return the last command to each vehicle about each of its services."""
        return [RecordedService(**dict(row)) for row in await self._database.fetch(ACTIVE)]

    async def cases(self, subject: str) -> list[tuple[str, str]]:
        """Return kind and sentence of the cases that were opened about a subject."""
        return [tuple(row) for row in await self._database.fetch(ALERTS, UUID(subject))]

    async def integrity_checks(self) -> list[InvariantResult]:
        """Check every invariant of the whole database now."""
        return await self_check.checked_now(self._database)

    async def refused_acknowledgements(self, payment: str) -> int:
        """Count the acknowledgements about a payment that proved nothing."""
        (row,) = await self._database.fetch(REFUSED, UUID(payment))
        return int(row[0])


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Records]:
    """Open the records of this database, for reading only."""
    database = await connect(dsn, connections_max=SESSIONS_MAX, read_only=True)
    try:
        yield Records(database)
    finally:
        await database.close()


async def fresh_database(server_dsn: str) -> str:
    """Create an empty database in place of the last demonstration's; return its DSN."""
    server = await asyncpg.connect(server_dsn, timeout=ACQUIRE_TIMEOUT_SECONDS)
    try:
        await server.execute(f"drop database if exists {NAME} with (force)")
        await server.execute(f"create database {NAME}")
    finally:
        await server.close()
    return urlunsplit(urlsplit(server_dsn)._replace(path=f"/{NAME}"))


async def advance_clock(dsn: str, *, seconds: int) -> None:
    """Move the database's clock forward."""
    assert seconds > 0, "the clock only moves forward"
    assert urlsplit(dsn).path == f"/{NAME}", "only its own clock is moved"
    session = await asyncpg.connect(dsn, timeout=ACQUIRE_TIMEOUT_SECONDS)
    try:
        await session.execute(
            "update caas.clock set moved = moved + make_interval(secs => $1)", float(seconds)
        )
    finally:
        await session.close()
