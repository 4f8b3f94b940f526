"""Payments: accept, read, list, and their timelines.

Rule a change must keep: a payment is accepted in one transaction with its first events, its
idempotency key and its next job; reads never lock.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import structs

from caas.billing_database.batching import Batcher, joined_reads
from caas.billing_database.connection import Connection, Database
from caas.billing_database.filters import composed
from caas.billing_database.rows import PAGE_ROWS_MAX, columns
from caas.errors import NotFoundError
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType

DESCRIPTION = "description"
"""The first event's fact with the customer-facing description."""

TERMS = ("type", "subject", "customer", "amount", "currency", "gateway")
"""The terms of a payment, repeated in its first event (invariant `payments_are_as_accepted`)."""

DIGEST_CHARS = 32
"""How much of the digests of a payment method and an idempotency key the first event states."""

ACCEPT = "select * from accept_payments($1) order by i"


class PaymentNotFoundError(NotFoundError):
    """No payment has this id."""

    code = "payment_not_found"


class Verdict(StrEnum):
    """The result of a request to accept a payment."""

    ACCEPTED = "accepted"
    KEY_USED = "key used"
    LIVE_PAYMENT = "live payment"


class NewPayment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment to accept; `pending` if the gateway is called right after the commit."""

    id: UUID
    type: PaymentType
    subject: UUID
    customer: UUID
    amount: int
    currency: str
    gateway: str
    payment_method: str | None = None
    return_url: str | None = None
    facts: dict[str, Any] | None = None
    caller: str | None = None
    key_hash: str | None = None
    request_hash: str | None = None
    job_kind: str | None = None
    due_in: float = 0.0
    pending: bool = True


class Acceptance(msgspec.Struct, frozen=True):
    """The verdict, the payment, the stored idempotent response, and the time."""

    verdict: Verdict
    payment_id: UUID | None
    request_hash: bytes | None
    answer_status: int | None
    answer_body: bytes | None
    key_created_at: datetime | None
    at: datetime


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment (Key States); amounts in minor units of `currency`.

    Defaults are those of a payment that was just accepted.
    """

    id: UUID
    type: PaymentType
    subject: UUID
    customer: UUID
    amount: int
    currency: str
    gateway: str
    payment_method: str | None
    return_url: str | None
    state: PaymentState
    outcome: str = "known"
    version: int
    decline_code: str | None = None
    gateway_transaction_id: str | None = None
    hosted_page_url: str | None = None
    capture_before: datetime | None = None
    authorized_amount: int = 0
    captured_amount: int = 0
    settled_amount: int = 0
    refunded_amount: int = 0
    disputed_amount: int = 0
    created_at: datetime
    updated_at: datetime
    age_seconds: float = 0.0
    unmoved_seconds: float = 0.0


class TimelineEvent(msgspec.Struct, frozen=True):
    """An event of a payment."""

    seq: int
    event: str
    from_state: str | None
    to_state: str
    source: str
    facts: dict[str, Any]
    at: datetime


OLD: Final = "extract(epoch from {now} - {of}created_at)::float8"
UNMOVED: Final = "extract(epoch from {now} - {of}updated_at)::float8"


def columns_of_payment(of: str = "", now: str = "db_now()") -> str:
    """Return the payment columns of this table, with ages as of now."""
    prefix = f"{of}." if of else ""
    return columns(
        Payment, of, age_seconds=OLD.format(now=now, of=prefix),
        unmoved_seconds=UNMOVED.format(now=now, of=prefix),
    )  # fmt: skip


READ = (
    f"select {columns_of_payment(now='now_.at')}"
    " from payments cross join (select db_now() as at offset 0) now_"
)
ONE = f"{READ} where id = $1"
BY_TRANSACTION = f"{READ} where gateway = $1 and gateway_transaction_id = $2"
CHANGE_GATEWAY = "select change_gateway($1, $2)"
HAS_ARRIVED = """
select exists (select from gateway_calls
                where payment_id = $1 and outcome not in ('not sent', 'turned away')) as arrived
"""
EXISTS = "select 1 from payments where id = $1"
END_PAGE = "end_page"
END_OPEN_PAGES = """
insert into jobs (kind, subject, due_at, payload, created_at)
select $2, id, db_now(), '{}', db_now() from payments
 where subject = $1 and state in ('Initiated', 'Pending')
on conflict (kind, subject) do nothing
"""
PAGE_ID = """
select substr(source, length($2) + 1) as id from payment_events
 where payment_id = $1 and event = 'Customer action required' and starts_with(source, $2)
 order by seq desc limit 1
"""
OPENED = "open:"
"""How the source of the event begins that records an open page; the page's id follows."""
VOID_REASON = "select reason from resolution_claims where payment_id = $1 and kind = 'void'"
SEVERAL = f"{READ} where id = any ($1)"
LISTED = f"""
{READ}
 where {{given}} order by id desc limit $1
"""
DESCRIBED = """
select facts->>$2 as description from payment_events where payment_id = $1 and seq = 1
"""
TIMELINES = """
select payment_id, seq, event, from_state, to_state, source, facts, at from payment_events
 where payment_id = any ($1) order by payment_id, seq
"""


class Payments:
    """Accepts and reads payments."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database
        self._batcher = Batcher(self._accept_batch)
        self._reader: Batcher[UUID, Payment | None] = joined_reads(database, SEVERAL, payment_of)
        self._timelines: Batcher[UUID, list[TimelineEvent]] = Batcher(self._read_timelines)

    async def accept(self, payment: NewPayment, *, within: Connection | None = None) -> Acceptance:
        """Store the intent to charge, or return what prevents it."""
        if within is not None:
            return (await _accept(within, [payment]))[0]
        keys: list[Hashable] = [(payment.subject, payment.type)]
        if payment.caller is not None:
            keys.append((payment.caller, payment.key_hash))
        return await self._batcher.write(payment, keys=keys)

    async def accept_all(
        self, payments: Sequence[NewPayment], *, within: Connection | None = None
    ) -> list[Acceptance]:
        """Accept many payments in one transaction (month end)."""
        if within is not None:
            return await _accept(within, payments)
        return await self._accept_batch(payments)

    async def get(self, payment_id: UUID, *, within: Connection | None = None) -> Payment:
        """Return a payment.

        Raises:
            PaymentNotFoundError: no payment has this id.
        """
        if within is None:
            payment = await self._reader.write(payment_id)
        else:
            row = await within.fetchrow(ONE, payment_id)
            payment = None if row is None else payment_of(row)
        if payment is None:
            raise PaymentNotFoundError(f"No payment has the id {payment_id}.")
        return payment

    async def change_gateway(self, payment_id: UUID, gateway: str, *, within: Connection) -> None:
        """Move a payment that its gateway has not received; its event is in the transaction."""
        await within.execute(CHANGE_GATEWAY, payment_id, gateway)

    async def has_arrived(self, payment_id: UUID, *, within: Connection) -> bool:
        """Return whether a gateway has acted on a call about the payment, or may have."""
        return bool(await within.fetchval(HAS_ARRIVED, payment_id))

    async def page_id(self, payment_id: UUID) -> str | None:
        """Return the id that the gateway gave to the page which the payment has opened last."""
        row = await self._database.fetchrow(PAGE_ID, payment_id, OPENED)
        return None if row is None else str(row["id"])

    async def exists(self, payment_id: UUID) -> bool:
        """Return whether there is a payment with this id."""
        return await self._database.fetchrow(EXISTS, payment_id) is not None

    async def void_reason(self, payment_id: UUID) -> str:
        """Return the reason of a void."""
        row = await self._database.fetchrow(VOID_REASON, payment_id)
        assert row is not None, "nothing is voided that was not claimed"
        return str(row["reason"])

    async def by_transaction(self, gateway: str, transaction_id: str) -> Payment | None:
        """Return the payment of a gateway's transaction, or None."""
        row = await self._database.fetchrow(BY_TRANSACTION, gateway, transaction_id)
        return None if row is None else payment_of(row)

    async def listed(
        self,
        *,
        subject: UUID | None = None,
        customer: UUID | None = None,
        before: UUID | None = None,
        rows_max: int = PAGE_ROWS_MAX,
        within: Connection | None = None,
    ) -> list[Payment]:
        """Return a page of payments, newest first; `before` is the last id of the previous page."""
        given = {"subject = $": subject, "customer = $": customer, "id < $": before}
        query, arguments = composed(LISTED, min(rows_max, PAGE_ROWS_MAX), given=given)
        rows = await (within or self._database).fetch(query, *arguments)
        return [payment_of(row) for row in rows]

    async def description(self, payment_id: UUID) -> str | None:
        """Return the customer-facing description stored with the payment."""
        row = await self._database.fetchrow(DESCRIBED, payment_id, DESCRIPTION)
        return None if row is None else row["description"]

    async def timeline(self, payment_id: UUID) -> list[TimelineEvent]:
        """Return every event of the payment, oldest first."""
        return await self._timelines.write(payment_id)

    async def _read_timelines(self, ids: Sequence[UUID]) -> list[list[TimelineEvent]]:
        reported: dict[UUID, list[TimelineEvent]] = {payment_id: [] for payment_id in ids}
        for payment_id, *event in await self._database.fetch(TIMELINES, list(ids)):
            reported[payment_id].append(TimelineEvent(*event))
        return [reported[payment_id] for payment_id in ids]

    async def _accept_batch(self, payments: Sequence[NewPayment]) -> list[Acceptance]:
        return await self._database.in_statement(lambda connection: _accept(connection, payments))


async def end_open_pages(subject: UUID, *, within: Connection | Database) -> None:
    """Have the pages ended on which payments for this subject are, or will be, open."""
    await within.fetch(END_OPEN_PAGES, subject, END_PAGE)


async def _accept(connection: Connection, payments: Sequence[NewPayment]) -> list[Acceptance]:
    stated = [_with_terms(payment) for payment in payments]
    rows = await connection.fetch(ACCEPT, msgspec.json.encode(stated).decode())
    assert len(rows) == len(payments), "every request to accept is answered"
    return [Acceptance(Verdict(verdict), *stored) for _, verdict, *stored in rows]


def _with_terms(payment: NewPayment) -> NewPayment:
    """Add the payment's terms to the facts of its first event, which the hash chain covers.

    Payment method and idempotency key are stated as digests, because the originals are deleted
    later.
    """
    stated: dict[str, Any] = {"terms": {name: getattr(payment, name) for name in TERMS}}
    accepted_with = {}
    if payment.payment_method is not None:
        accepted_with["payment_method"] = _digest(payment.payment_method.encode())
    if payment.caller is not None and payment.key_hash is not None:
        key_hash = bytes.fromhex(payment.key_hash.removeprefix("\\x"))
        accepted_with["key"] = _digest(payment.caller.encode() + key_hash)
    stated["accepted_with"] = accepted_with
    return structs.replace(payment, facts=(payment.facts or {}) | stated)


def _digest(of: bytes) -> str:
    return hashlib.sha256(of).hexdigest()[:DIGEST_CHARS]


def payment_of(row: Mapping[str, Any]) -> Payment:
    """Return a payment from a row of its columns."""
    values = dict(row)
    values["type"] = PaymentType(values["type"])
    values["state"] = PaymentState(values["state"])
    return Payment(**values)
