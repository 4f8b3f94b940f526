"""Subscriptions (Diagram 6), and the payment methods that customers have used (decision 44).

A payment method is a gateway token, never a card. It is stored when funds were authorized with it,
and the customer can choose it for a subscription.

Rules a change must keep: a subscription changes only by a legal transition from the state that was
read; tokens are never displayed, only when and for what they were used; a customer sees only their
own.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.filters import Walk, composed
from caas.billing_database.payments import end_open_pages
from caas.billing_database.rows import PAGE_ROWS_MAX, read_all, read_one, row_as
from caas.errors import NotFoundError
from caas.rules.payment_types import PaymentType
from caas.rules.subscription_states import LIVE, SubscriptionEvent, SubscriptionState, next_state

ADD: Final = """
insert into subscriptions (id, customer, vin, service, currency, monthly_fee, metered,
    payment_method, gateway, request_key, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, db_now(), db_now())
on conflict do nothing returning *
"""
ONE: Final = "select * from subscriptions where id = $1"
OF_REQUEST: Final = "select * from subscriptions where request_key = $1"
LOCKED: Final = "select * from subscriptions where id = $1 for update"
LISTED: Final = """
select * from subscriptions where {given} order by {order} limit $1
"""
APPLY: Final = """
update subscriptions set state = $3, event = $4, version = version + 1, transitioned_for = $5,
       updated_at = db_now(),
       activation_evidence = coalesce($6, activation_evidence),
       activated_at = case when $6::uuid is null then activated_at else db_now() end,
       payment_method = coalesce($8, payment_method), gateway = coalesce($9, gateway),
       cancelled_because = coalesce($7, cancelled_because),
       cancelled_at = coalesce(cancelled_at, case when $7::text is not null then db_now() end)
 where id = $1 and state = $2 returning *
"""
# In time, and the customer's first withdrawal from this service in this vehicle: repeated
# withdrawals would make it free.
MAY_WITHDRAW: Final = """
select db_now() - s.created_at <= $2 * interval '1 second' and not exists (
         select from subscriptions o
          where o.customer = s.customer and o.vin = s.vin and o.service = s.service
            and o.cancelled_because = 'withdrawal') as may
  from subscriptions s where s.id = $1
"""
DONE: Final = "delete from jobs where kind = $1 and subject = $2"
EVENTS: Final = """
select event, from_state, to_state, payment_id, at from subscription_events
 where subscription = $1 order by version
"""


class SubscriptionNotFoundError(NotFoundError):
    """No subscription has this id."""

    code = "subscription_not_found"


class NewSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription to add, with its current terms; `gateway` has its payment method.

    Without a payment method the customer enters one at the gateway.
    """

    id: UUID
    customer: UUID
    vin: str
    service: str
    currency: str
    monthly_fee: int
    metered: list[dict[str, Any]]
    payment_method: str | None
    gateway: str
    request_key: bytes | None = None


class Subscription(msgspec.Struct, frozen=True):
    """A subscription; money in minor units of `currency`. `gateway` has its payment method.

    It has none until the customer has entered one at the gateway (decision 242).
    """

    id: UUID
    customer: UUID
    vin: str
    service: str
    currency: str
    monthly_fee: int
    metered: list[dict[str, Any]]
    payment_method: str | None
    gateway: str
    state: SubscriptionState
    activated_at: datetime | None
    deactivated_at: datetime | None
    cancelled_at: datetime | None
    cancelled_because: str | None
    created_at: datetime


class SubscriptionRows:
    """The table of subscriptions."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def add(self, new: NewSubscription, *, within: Connection) -> Subscription | None:
        """Add a subscription; None if its request added it, or the vehicle has a live one."""
        return await read_one(
            Subscription, within, ADD, new.id, new.customer, new.vin, new.service, new.currency,
            new.monthly_fee, new.metered, new.payment_method, new.gateway, new.request_key,
        )  # fmt: skip

    async def of_request(
        self, request_key: bytes | None, *, within: Connection
    ) -> Subscription | None:
        """Return the subscription that a request created, or None."""
        return await read_one(Subscription, within, OF_REQUEST, request_key)

    async def find(
        self, subscription_id: UUID, *, within: Connection | None = None
    ) -> Subscription | None:
        """Return a subscription, or None."""
        return await read_one(Subscription, within or self._database, ONE, subscription_id)

    async def get(self, subscription_id: UUID, *, within: Connection | None = None) -> Subscription:
        """Return a subscription.

        Raises:
            SubscriptionNotFoundError: no subscription has this id.
        """
        row = await (within or self._database).fetchrow(ONE, subscription_id)
        return _found(row, subscription_id)

    async def locked(self, subscription_id: UUID, *, within: Connection) -> Subscription:
        """Return a subscription locked until the transaction ends.

        Raises:
            SubscriptionNotFoundError: no subscription has this id.
        """
        return _found(await within.fetchrow(LOCKED, subscription_id), subscription_id)

    async def listed(
        self,
        *,
        customer: UUID | None = None,
        vin: str | None = None,
        state: SubscriptionState | None = None,
        before: UUID | None = None,
    ) -> list[Subscription]:
        """Return subscriptions, newest first, at most a page of them."""
        query, arguments = composed(
            LISTED,
            PAGE_ROWS_MAX,
            given={"customer = $": customer, "vin = $": vin},
            along=Walk({"state": state}, place=before),
        )
        return await read_all(Subscription, self._database, query, *arguments)

    async def transition(  # noqa: PLR0913  # each column that a move may set, by its name
        self,
        subscription: Subscription,
        event: SubscriptionEvent,
        *,
        within: Connection,
        payment_id: UUID | None = None,
        evidence_id: UUID | None = None,
        cancelled_because: str | None = None,
        payment_method: str | None = None,
        gateway: str | None = None,
    ) -> Subscription | None:
        """Apply a transition; None if the current state does not allow it.

        An ended one takes no payment method any more: its open pages are ended.
        """
        target = next_state(subscription.state, event)
        if target is None:
            return None
        if target not in LIVE:
            await end_open_pages(subscription.id, within=within)
        return await read_one(
            Subscription, within, APPLY, subscription.id, subscription.state.value, target.value,
            event.value, payment_id, evidence_id, cancelled_because, payment_method, gateway,
        )  # fmt: skip

    async def may_withdraw(
        self, subscription_id: UUID, period_seconds: float, *, within: Connection
    ) -> bool:
        """Return whether ending a subscription now counts as a withdrawal."""
        return bool(await within.fetchval(MAY_WITHDRAW, subscription_id, period_seconds))

    async def jobs_done(self, kind: str, subscription_id: UUID, *, within: Connection) -> None:
        """Delete jobs that a response made unnecessary."""
        await within.execute(DONE, kind, subscription_id)

    async def events(self, subscription_id: UUID) -> list[dict[str, Any]]:
        """Return all events of a subscription, in order."""
        return [dict(row) for row in await self._database.fetch(EVENTS, subscription_id)]


def _found(row: Row | None, subscription_id: UUID) -> Subscription:
    if row is None:
        raise SubscriptionNotFoundError(f"No subscription has the id {subscription_id}.")
    return row_as(Subscription, row)


METHODS_MAX: Final = 5

OF_CUSTOMER: Final = """
select token, gateway, payment_id, type, used_at from (
  select distinct on (p.gateway, e.facts->>'payment_method') e.facts->>'payment_method' as token,
         p.gateway, p.id as payment_id, p.type, e.at as used_at
    from payments p join payment_events e on e.payment_id = p.id
   where p.customer = $1 and e.event = 'Funds reserved' and e.facts ? 'payment_method'
   order by p.gateway, e.facts->>'payment_method', e.at desc) last_use
 order by used_at desc limit $2
"""


SAVED_AT: Final = """
select p.gateway from payments p join payment_events e on e.payment_id = p.id
 where p.customer = $1 and e.event = 'Funds reserved'
   and coalesce(e.facts->>'payment_method', p.payment_method) = $2
 order by e.at desc limit 1
"""
LEARNT: Final = """
select facts->>'payment_method' from payment_events
 where payment_id = $1 and event = 'Funds reserved'
"""


class UsedMethod(msgspec.Struct, frozen=True):
    """A token of a gateway with an authorization, and its last payment."""

    token: str
    gateway: str
    payment_id: UUID
    type: PaymentType
    used_at: datetime


class PaymentMethods:
    """The payment methods customers have used."""

    def __init__(self, database: Database) -> None:
        """Read from this database."""
        self._database = database

    async def used_by(self, customer: UUID) -> list[UsedMethod]:
        """Return a customer's payment methods, most recent first."""
        rows = await self._database.fetch(OF_CUSTOMER, customer, METHODS_MAX)
        return [UsedMethod(**{**row, "type": PaymentType(row["type"])}) for row in rows]

    async def saved_at(self, customer: UUID, token: str) -> str | None:
        """Return the gateway at which a customer has last used a token, or None."""
        row = await self._database.fetchrow(SAVED_AT, customer, token)
        return None if row is None else str(row["gateway"])

    async def learnt_from(self, payment_id: UUID, *, within: Connection) -> str | None:
        """Return the token of an authorized payment, or None if the gateway reports none."""
        token: str | None = await within.fetchval(LEARNT, payment_id)
        return token
