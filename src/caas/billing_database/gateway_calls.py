"""The log of payment gateway calls, and the gateway that a Billing Database belongs to.

A payment's audit trail shows its calls between its events: request, result and duration. No
decision depends on them: a power failure may lose the latest calls, never an event.

Rules a change must keep: a call is written once, with asynchronous commit; it contains no card
number and at most one sentence; neither the gateway nor its account can change once a payment
exists; the Customer first stored for a customer stays, because payments are looked up under it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from caas.billing_database.batching import Batcher
from caas.billing_database.connection import Connection, Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import columns, read_all
from caas.errors import CaasError
from caas.rules.card_numbers import scrub
from caas.rules.durations import Durations
from caas.rules.personal_data import masked

ANSWER_CHARS_MAX: Final = 300
ROWS_MAX: Final = 200
BUCKETS_SECONDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ANSWERED: Final = frozenset({"answered", "refused"})

# Asynchronous commit: a call lost in a server crash is only missing from a page.
ADD: Final = """
with not_waited_for as materialized (select set_config('synchronous_commit', 'off', true))
insert into gateway_calls (id, operation, payment_id, transaction_id, key, amount, outcome, summary,
    took_ms, asked_at)
select id, operation, payment_id, transaction_id, key, amount, outcome, summary, took_ms,
       db_now() - make_interval(secs => took_ms / 1000.0)
  from not_waited_for, jsonb_to_recordset($1) as c(id uuid, operation text, payment_id uuid,
    transaction_id text, key text, amount bigint, outcome text, summary text, took_ms integer)
"""


@dataclass(frozen=True, slots=True)
class GatewayCallRecord:
    """A logged gateway call."""

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
        union select * from gateway_calls where transaction_id = $2) c
 order by asked_at, id limit $3
"""


class CallNotRecordedError(CaasError):
    """The gateway call could not be logged. Its payment continues."""

    code = "call_not_recorded"


class GatewayCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call; `outcome` is answered, refused, not sent or unknown."""

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
        self.no_answer = 0
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

    def _count(self, call: GatewayCall) -> None:
        """Record call durations and consecutive unanswered calls."""
        self.durations.add(call.took_ms / 1000, call.operation, call.outcome)
        answered = call.outcome in ANSWERED
        self.no_answer = 0 if answered else self.no_answer + 1

    async def _add_batch(self, calls: Sequence[GatewayCall]) -> list[None]:
        await self._database.fetch(ADD, msgspec.json.encode(calls).decode())
        return [None] * len(calls)


TAKE: Final = """
insert into configured_gateway as g (name, since) values ($1, db_now())
on conflict (only_row) do update set name = excluded.name, since = excluded.since
 where g.name <> excluded.name and not exists (select from payments)
"""
KEPT: Final = "select name from configured_gateway"
ACCOUNT: Final = """
insert into gateway_accounts as a (gateway, account, since) values ($1, $2, db_now())
on conflict (gateway) do update set account = excluded.account, since = excluded.since
 where a.account <> excluded.account and not exists (select from payments)
"""
KEPT_ACCOUNT: Final = "select account from gateway_accounts where gateway = $1"
CUSTOMER: Final = """
select gateway_customer from gateway_customers where gateway = $1 and customer = $2
"""
KEEP_CUSTOMER: Final = """
insert into gateway_customers (gateway, customer, gateway_customer, at)
values ($1, $2, $3, db_now()) on conflict (gateway, customer) do nothing
"""


async def configured_gateway(database: Database, name: str) -> str:
    """Return the gateway of this database; set it to this one if no payment exists yet."""

    async def taken(connection: Connection) -> str:
        await connection.execute(TAKE, name)
        kept: str = await connection.fetchval(KEPT)
        return kept

    return await database.in_transaction(taken)


async def gateway_account(database: Database, name: str, account: str) -> str:
    """Return the account of the stored payments; set it to this one if no payment exists yet."""

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
