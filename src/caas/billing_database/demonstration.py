"""What a demonstration needs of a Billing Database: its own one, a calendar, a look at the books.

The seed's arrow "Record Transaction" (Diagram 1) is told by what was recorded: the demonstration
reads ledger entries beside the events that made them, in sessions that cannot write.

Rules a change must keep: looking on changes nothing, by the session's own setting; only a database
that a demonstration made for itself has its calendar moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg

from caas.billing_database.connection import ACQUIRE_TIMEOUT_SECONDS

NAME: Final = "caas_demo"
SESSIONS_MAX: Final = 4

ENTRIES: Final = """
select payment_id, seq, debit, credit, amount, currency, at from ledger_entries
 where payment_id = any($1) order by id
"""
BALANCE: Final = """
select coalesce(sum(amount), 0)::bigint from ledger_lines where payment_id = $1 and account = $2
"""
MOVED: Final = """
select debit, credit, sum(amount)::bigint as amount from ledger_entries group by debit, credit
"""
PAYMENTS: Final = """
select id, type, state, gateway_transaction_id, authorised_amount, captured_amount, settled_amount,
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


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A movement of money, with the number of the payment's event that made it."""

    payment_id: UUID
    seq: int
    debit: str
    credit: str
    amount: int
    currency: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordedPayment:
    """A payment as the books have it, for comparing it with the gateway's own books."""

    id: UUID
    type: str
    state: str
    gateway_transaction_id: str | None
    authorised_amount: int
    captured_amount: int
    settled_amount: int
    refunded_amount: int
    disputed_amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class RecordedService:
    """What a vehicle was last told to do with a service, and whether it confirmed that."""

    vin: str
    service: str
    action: str
    confirmed: bool


class Onlooker:
    """Reads the books in sessions that cannot write."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """Look through these sessions; `look_at` opens them."""
        self._pool = pool

    async def entries(self, payments: Sequence[UUID]) -> list[LedgerEntry]:
        """Return the ledger entries of some payments, oldest first."""
        rows = await self._pool.fetch(ENTRIES, list(payments))
        return [LedgerEntry(**dict(row)) for row in rows]

    async def balance(self, payment: str, account: str) -> int:
        """Return what one payment left on an account, in minor units."""
        return int(await self._pool.fetchval(BALANCE, UUID(payment), account))

    async def moved(self) -> dict[tuple[str, str], int]:
        """Return how much moved between each two accounts: (debit, credit) to minor units."""
        rows = await self._pool.fetch(MOVED)
        return {(row["debit"], row["credit"]): row["amount"] for row in rows}

    async def payments(self) -> list[RecordedPayment]:
        """Return every payment, oldest first."""
        return [RecordedPayment(**dict(row)) for row in await self._pool.fetch(PAYMENTS)]

    async def services(self) -> list[RecordedService]:
        """Return the last word to each vehicle about each of its services."""
        return [RecordedService(**dict(row)) for row in await self._pool.fetch(ACTIVE)]

    async def cases(self, subject: str) -> list[tuple[str, str]]:
        """Return kind and sentence of the cases that were opened about a subject."""
        return [tuple(row) for row in await self._pool.fetch(ALERTS, UUID(subject))]

    async def refused_acknowledgements(self, payment: str) -> int:
        """Count the acknowledgements about a payment that proved nothing."""
        return int(await self._pool.fetchval(REFUSED, UUID(payment)))

    async def close(self) -> None:
        """Close the sessions."""
        await self._pool.close()


async def look_at(dsn: str) -> Onlooker:
    """Open sessions that read this database and cannot write."""
    return Onlooker(
        await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=SESSIONS_MAX,
            timeout=ACQUIRE_TIMEOUT_SECONDS,
            server_settings={
                "search_path": "caas",
                "default_transaction_read_only": "on",
                "timezone": "UTC",
                "application_name": "caas-demo",
            },
        )
    )


async def fresh_database(server_dsn: str) -> str:
    """Make an empty database in place of the last demonstration's; return its DSN."""
    server = await asyncpg.connect(server_dsn, timeout=ACQUIRE_TIMEOUT_SECONDS)
    try:
        await server.execute(f"drop database if exists {NAME} with (force)")
        await server.execute(f"create database {NAME}")
    finally:
        await server.close()
    return urlunsplit(urlsplit(server_dsn)._replace(path=f"/{NAME}"))


async def move_calendar(dsn: str, *, seconds: int) -> None:
    """Let the database's clock jump forward, so that a month is over."""
    assert seconds > 0, "time does not go back"
    assert urlsplit(dsn).path == f"/{NAME}", "nobody else's calendar is moved"
    session = await asyncpg.connect(dsn, timeout=ACQUIRE_TIMEOUT_SECONDS)
    try:
        await session.execute(
            "update caas.clock set moved = moved + make_interval(secs => $1)", float(seconds)
        )
    finally:
        await session.close()
