"""The log of payment gateway calls, the gateways' accounts, and their ids of our customers.

A payment's audit trail shows its calls between its events: request, result and duration. No
decision depends on them: a power failure may lose the latest calls, never an event.

Rules a change must keep: a call is written once, with asynchronous commit; it contains no card
number and at most one sentence; a gateway's account cannot change once it has a payment; the
Customer first stored for a customer stays, because payments are looked up under it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from caas.billing_database.batching import Batcher
from caas.billing_database.connection import (
    ACQUIRE_TIMEOUT_SECONDS,
    STATEMENT_TIMEOUT_SECONDS,
    UNREACHABLE,
    Connection,
    Database,
    cannot_open,
)
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import columns, read_all
from caas.errors import CaasError
from caas.rules.card_numbers import scrub
from caas.rules.durations import Durations
from caas.rules.personal_data import masked

ANSWER_CHARS_MAX: Final = 300
ROWS_MAX: Final = 200
BUCKETS_SECONDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ANSWERED: Final = frozenset({"answered", "refused", "turned away"})

# Asynchronous commit: a call lost in a server crash is only missing from a page.
ADD: Final = """
with not_waited_for as materialized (select set_config('synchronous_commit', 'off', true))
insert into gateway_calls (id, gateway, operation, payment_id, transaction_id, key, amount, outcome,
    summary, took_ms, asked_at)
select id, gateway, operation, payment_id, transaction_id, key, amount, outcome, summary, took_ms,
       db_now() - make_interval(secs => took_ms / 1000.0)
  from not_waited_for, jsonb_to_recordset($1) as c(id uuid, gateway text, operation text,
    payment_id uuid, transaction_id text, key text, amount bigint, outcome text, summary text,
    took_ms integer)
"""

REFUSES: Final = "gateway_refuses"
WRITES: Final = frozenset({"initiate", "capture", "void", "refund"})
# A case ends when its payment's last request was accepted. One about our key ends with any request
# that the gateway accepts, since its payment has failed and is not sent again.
ACCEPTED_AGAIN: Final = """
with ended as (
  update cases c set status = 'resolved', owner = 'caas', resolved_at = db_now(),
         resolution = 'The gateway accepts requests again.'
    from payments p
   where c.kind = $2 and c.status = 'open' and p.id = c.subject and p.gateway = $1
     and (p.state = 'Failed' and c.sentence ~ 'status 40[13]' or 'answered' = (
          select g.outcome from gateway_calls g
           where (g.payment_id = p.id
              or g.transaction_id = p.gateway_transaction_id and g.gateway = p.gateway)
             and g.operation = any ($3) order by g.asked_at desc, g.id desc limit 1))
  returning c.id)
select exists (select from cases c join payments p on p.id = c.subject
                where c.kind = $2 and c.status = 'open' and p.gateway = $1
                  and c.id not in (select id from ended)) as remain
"""


class GatewayCallRecord(msgspec.Struct, frozen=True):
    """A logged gateway call."""

    gateway: str
    operation: str
    key: str | None
    amount: int | None
    outcome: str
    summary: str
    took_ms: int
    asked_at: datetime


OF_PAYMENT: Final = f"""
select {columns(GatewayCallRecord)}
  from (select * from gateway_calls where payment_id = $1
        union select * from gateway_calls where transaction_id = $2
           and gateway = (select gateway from payments where id = $1)) c
 order by asked_at, id limit $3
"""


class CallNotRecordedError(CaasError):
    """The gateway call could not be logged. Its payment continues."""

    code = "call_not_recorded"


class GatewayCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call; `outcome` is answered, refused, turned away (429), not sent or unknown."""

    gateway: str
    operation: str
    outcome: str
    summary: str
    took_ms: int
    payment_id: UUID | None = None
    transaction_id: str | None = None
    key: str | None = None
    amount: int | None = None
    id: UUID = msgspec.field(default_factory=new_id)


class GatewayCalls:
    """The table of gateway calls."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database
        self.durations = Durations(BUCKETS_SECONDS)
        self.without_answer: dict[str, int] = {}
        self._added: Batcher[GatewayCall, None] = Batcher(self._add_batch)

    async def add(self, call: GatewayCall) -> None:
        """Log a call together with concurrent ones.

        Raises:
            CallNotRecordedError: the database rejected it.
        """
        self._count(call)
        summary = masked(scrub(call.summary))[:ANSWER_CHARS_MAX]
        try:
            await self._added.write(msgspec.structs.replace(call, summary=summary))
        except asyncpg.PostgresError as error:
            raise CallNotRecordedError(because=str(error)) from error

    async def of(self, payment_id: UUID, transaction_id: str | None) -> list[GatewayCallRecord]:
        """Return the calls of a payment, in order."""
        return await read_all(
            GatewayCallRecord, self._database, OF_PAYMENT, payment_id, transaction_id, ROWS_MAX
        )

    async def accepted_again(self, gateway: str) -> bool:
        """Close the cases of refused requests that a gateway accepts; return whether some remain.

        Raises:
            CallNotRecordedError: the database rejected it.
        """
        try:
            row = await self._database.fetchrow(ACCEPTED_AGAIN, gateway, REFUSES, list(WRITES))
        except asyncpg.PostgresError as error:
            raise CallNotRecordedError(because=str(error)) from error
        return row is not None and bool(row["remain"])

    def _count(self, call: GatewayCall) -> None:
        """Record call durations and each gateway's consecutive unanswered calls."""
        self.durations.add(call.took_ms / 1000, call.operation, call.outcome)
        answered = call.outcome in ANSWERED
        before = self.without_answer.get(call.gateway, 0)
        self.without_answer[call.gateway] = 0 if answered else before + 1

    async def _add_batch(self, calls: Sequence[GatewayCall]) -> list[None]:
        await self._database.fetch(ADD, msgspec.json.encode(calls).decode())
        return [None] * len(calls)


GATEWAYS_OF_PAYMENTS: Final = "select gateways_of_payments() as gateway"
HAS_PAYMENTS: Final = "select to_regprocedure('caas.gateways_of_payments()')::text"
# Payments not at rest have a job, and refunds under way too; other payments are not read.
UNFINISHED: Final = """
select count(distinct p.id) from jobs w left join refunds r on r.id = w.subject
  join payments p on p.id in (w.subject, r.payment_id)
 where p.gateway = $1
   and p.state in ('Initiated', 'Pending', 'Authorized', 'Capturing', 'Refunding')
"""
ACCOUNT: Final = """
insert into gateway_accounts as a (gateway, account, since) values ($1, $2, db_now())
on conflict (gateway) do update set account = excluded.account, since = excluded.since
 where a.account <> excluded.account
   and not exists (select from payments where gateway = excluded.gateway)
"""
KEPT_ACCOUNT: Final = "select account from gateway_accounts where gateway = $1"
CUSTOMER: Final = """
select gateway_customer from gateway_customers where gateway = $1 and customer = $2
"""
KEEP_CUSTOMER: Final = """
insert into gateway_customers (gateway, customer, gateway_customer, at)
values ($1, $2, $3, db_now()) on conflict (gateway, customer) do nothing
"""


async def gateways_of_payments(database: Database) -> list[str]:
    """Return the gateways that stored payments name."""
    return [row["gateway"] for row in await database.fetch(GATEWAYS_OF_PAYMENTS)]


async def gateways_in(dsn: str) -> list[str]:
    """Return the gateways that payments name in a database, which may have no schema yet.

    Raises:
        StartupError: no usable database responds at this address.
    """
    try:
        return await _gateways_in(dsn)
    except (TimeoutError, ValueError, asyncpg.PostgresError, *UNREACHABLE) as error:
        raise cannot_open(dsn, error) from error


async def _gateways_in(dsn: str) -> list[str]:
    connection = await asyncpg.connect(
        dsn, timeout=ACQUIRE_TIMEOUT_SECONDS, command_timeout=STATEMENT_TIMEOUT_SECONDS
    )
    try:
        if await connection.fetchval(HAS_PAYMENTS) is None:
            return []
        found = await connection.fetch("select caas.gateways_of_payments() as gateway")
        return [row["gateway"] for row in found]
    finally:
        await connection.close()


async def unfinished_payments(database: Database, gateway: str) -> int:
    """Return how many payments of a gateway are not at rest."""
    row = await database.fetchrow(UNFINISHED, gateway)
    assert row is not None, "a count is one row"
    return int(row["count"])


async def gateway_account(database: Database, name: str, account: str) -> str:
    """Return the account of a gateway's payments; set it to this one if it has none yet."""

    async def taken(connection: Connection) -> str:
        await connection.execute(ACCOUNT, name, account)
        kept: str = await connection.fetchval(KEPT_ACCOUNT, name)
        return kept

    return await database.in_transaction(taken)


class GatewayCustomers:
    """The ids under which a gateway knows our customers."""

    def __init__(self, database: Database, gateway: str) -> None:
        """Keep those of one gateway."""
        self._database = database
        self._gateway = gateway

    async def find(self, customer_reference: str) -> str | None:
        """Return the gateway's id of a customer, or None if there is none yet."""
        if not _is_uuid(customer_reference):
            return None
        row = await self._database.fetchrow(CUSTOMER, self._gateway, UUID(customer_reference))
        return None if row is None else str(row["gateway_customer"])

    async def keep(self, customer_reference: str, gateway_customer: str) -> str:
        """Store the gateway's id of a customer; the first that was stored is returned."""

        async def kept(connection: Connection) -> str:
            customer = UUID(customer_reference)
            await connection.execute(KEEP_CUSTOMER, self._gateway, customer, gateway_customer)
            first: str = await connection.fetchval(CUSTOMER, self._gateway, customer)
            return first

        return await self._database.in_transaction(kept)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
