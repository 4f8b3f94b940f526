"""Orders and their transitions (Diagrams 2 and 3), and cancelled sales.

Money of a cancelled sale must be refunded once it is received.

Rules a change must keep: an order changes only while it is locked, and the database rejects illegal
transitions; what was ordered never changes; follow-up jobs are written in the transaction of the
transition; cancellation is derived from the order, term, decision or subscription, never stored
separately. If a refund ended a term, only disputes that held money at that time count; later
disputes were kept by a person's decision.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.filters import Walk, composed
from caas.billing_database.rows import PAGE_ROWS_MAX, columns, read_all, read_one, row_as
from caas.errors import NotFoundError
from caas.rules.money import Money
from caas.rules.order_states import OrderEvent, OrderState, next_state


class Order(msgspec.Struct, frozen=True):
    """An order; `vin` is null until its vehicle is built, `event` is its last transition's."""

    id: UUID
    customer: UUID
    model: str
    vin: str | None
    dealership: str
    deposit: Money
    price: Money
    state: OrderState
    event: str
    version: int
    factory_order_id: str | None
    plate: str | None
    registered_at: datetime | None
    delivery_id: str | None
    delivery_scheduled_for: datetime | None
    delivered_at: datetime | None
    created_at: datetime
    updated_at: datetime
    delivered_seconds_ago: float | None

    @property
    def rest(self) -> Money:
        """The final payment: the price less the deposit."""
        return self.price - self.deposit

    @property
    def withdrawal_requested(self) -> bool:
        """Whether it is withdrawn once the outcome of its final payment is known."""
        return self.event == OrderEvent.WITHDRAWAL_REQUESTED


ORDER_COLUMNS: Final = columns(
    Order, delivered_seconds_ago="extract(epoch from db_now() - delivered_at)::float8"
)
ADD: Final = f"""
insert into orders (id, customer, model, vin, dealership, deposit, price, currency, created_at,
                    updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, db_now(), db_now())
returning {ORDER_COLUMNS}
"""
COLUMNS: Final = f"select {ORDER_COLUMNS} from orders"
ONE: Final = COLUMNS + " where id = $1"
LOCKED: Final = COLUMNS + " where id = $1 for update"
BY_FACTORY_ORDER: Final = COLUMNS + " where factory_order_id = $1 order by id desc limit 1"
BY_DELIVERY: Final = COLUMNS + " where delivery_id = $1"
LISTED: Final = COLUMNS + " where {given} order by {order} limit $1"
APPLY: Final = f"""
update orders set state = $3, event = $4, version = version + 1, updated_at = db_now(),
       vin = coalesce($5, vin), factory_order_id = coalesce(factory_order_id, $6),
       plate = coalesce($7, plate), registered_at = coalesce($8, registered_at),
       delivery_id = coalesce($9, delivery_id),
       delivery_scheduled_for = coalesce($10, delivery_scheduled_for),
       delivered_at = case when $3 = 'delivered' then db_now() else delivered_at end
 where id = $1 and version = $2
returning {ORDER_COLUMNS}
"""
REMEMBER_FACTORY_ORDER: Final = """
update orders set factory_order_id = $2 where id = $1 and factory_order_id is null
"""


class OrderTransition(msgspec.Struct, frozen=True):
    """A transition in an order's history."""

    version: int
    event: str
    from_state: str | None
    to_state: str
    at: datetime


TIMELINE: Final = f"""
select {columns(OrderTransition)} from order_events
 where order_id = $1 order by version
"""


class OrderNotFoundError(NotFoundError):
    """No order has this id."""

    code = "order_not_found"


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A new order at the current price."""

    id: UUID
    customer: UUID
    model: str
    vin: str | None
    dealership: str
    deposit: Money
    price: Money


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """Data that a transition adds to the order."""

    vin: str | None = None
    factory_order_id: str | None = None
    plate: str | None = None
    registered_at: datetime | None = None
    delivery_id: str | None = None
    delivery_scheduled_for: datetime | None = None


NOTHING: Final = Learnt()


class Orders:
    """The table of orders."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def add(self, order: NewOrder, *, within: Connection | None = None) -> Order:
        """Add an order that awaits its reservation payment."""
        row = await (within or self._database).fetchrow(
            ADD,
            order.id,
            order.customer,
            order.model,
            order.vin,
            order.dealership,
            order.deposit.amount,
            order.price.amount,
            order.price.currency,
        )
        assert row is not None, "what is added is returned"
        return row_as(Order, row)

    async def get(self, order_id: UUID, *, within: Connection | None = None) -> Order:
        """Return an order.

        Raises:
            OrderNotFoundError: no order has this id.
        """
        row = await (within or self._database).fetchrow(ONE, order_id)
        if row is None:
            raise OrderNotFoundError(f"No order has the id {order_id}.")
        return row_as(Order, row)

    async def locked(self, order_id: UUID, *, within: Connection) -> Order | None:
        """Return the order locked until the transaction ends, or None."""
        return await read_one(Order, within, LOCKED, order_id)

    async def get_locked(self, order_id: UUID, *, within: Connection) -> Order:
        """Return the order locked until the transaction ends.

        Raises:
            OrderNotFoundError: no order has this id.
        """
        order = await self.locked(order_id, within=within)
        if order is None:
            raise OrderNotFoundError(f"No order has the id {order_id}.")
        return order

    async def of_factory_order(self, factory_order_id: str) -> Order | None:
        """Return the latest order with this factory order id, or None."""
        return await read_one(Order, self._database, BY_FACTORY_ORDER, factory_order_id)

    async def of_delivery(self, delivery_id: str) -> Order | None:
        """Return the order with this delivery id, or None."""
        return await read_one(Order, self._database, BY_DELIVERY, delivery_id)

    async def listed(
        self,
        *,
        customer: UUID | None = None,
        dealership: str | None = None,
        state: OrderState | None = None,
        before: UUID | None = None,
        rows_max: int = PAGE_ROWS_MAX,
    ) -> list[Order]:
        """Return a page of orders, newest first; `before` is the last id of the previous page."""
        query, arguments = composed(
            LISTED,
            min(rows_max, PAGE_ROWS_MAX),
            given={"customer = $": customer},
            along=Walk({"dealership": dealership, "state": state}, place=before),
        )
        return await read_all(Order, self._database, query, *arguments)

    async def transition(
        self, order: Order, event: OrderEvent, *, within: Connection, learnt: Learnt = NOTHING
    ) -> Order:
        """Apply a transition to a locked order, with the data it adds.

        Raises:
            IllegalOrderTransitionError: the state does not allow this event.
        """
        target = next_state(order.state, event)
        row = await within.fetchrow(
            APPLY,
            order.id,
            order.version,
            target,
            event,
            learnt.vin,
            learnt.factory_order_id,
            learnt.plate,
            learnt.registered_at,
            learnt.delivery_id,
            learnt.delivery_scheduled_for,
        )
        assert row is not None, "a locked order is where it was seen"
        return row_as(Order, row)

    async def remember_factory_order(
        self, order_id: UUID, factory_order_id: str, *, within: Connection
    ) -> None:
        """Store the factory's id of an order that has moved on without it."""
        await within.execute(REMEMBER_FACTORY_ORDER, order_id, factory_order_id)

    async def timeline(self, order_id: UUID) -> list[OrderTransition]:
        """Return every transition of an order, oldest first."""
        return await read_all(OrderTransition, self._database, TIMELINE, order_id)


HELD: Final = """
select id, amount from disputes where payment_id = $1 and state in ('opened', 'lost')
"""
# A term ended by a refund, and the disputes that held money at that time:
# that money belonged to the customer when the refund was decided.
ENDED: Final = """
select t.ended_because as reason, array(
       select d.id from disputes d
        where d.payment_id = t.payment_id and (
          select e.event from payment_events e
           where e.payment_id = t.payment_id and e.facts->>'dispute' = d.id and e.at <= c.at
           order by e.seq desc limit 1)
          in ('Dispute opened', 'Dispute counted', 'Dispute lost')) as held
  from entitlement_terms t
  join entitlement_changes c on c.term = t.id and c.state = 'ended' and c.kept is null
 where t.payment_id = $1 and t.state = 'ended'
"""
UNDONE: Final = """
select case o.state when 'withdrawn' then 'desistimiento' else 'factory_refused' end as reason
  from payments p join orders o on o.id = p.subject
 where p.id = $1 and o.state in ('withdrawn', 'factory refused')
union all
select t.ended_because from entitlement_terms t
 where t.payment_id = $1 and t.state = 'ended' and t.ended_because = 'desistimiento'
union all
select 'reservation_lost' from deposit_decisions d
 where d.payment_id = $1 and d.state = 'agreed' and d.decision = 'refund'
limit 1
"""
WITHDRAWN: Final = """
select s.id from payments p
  join invoices i on i.id = p.subject
  join subscriptions s on s.id = i.subscription
 where p.id = $1 and s.cancelled_because = 'withdrawal'
"""
PROMISED_REST: Final = """
select w.subject as id from jobs w
 where w.kind = 'promised_refund' and w.payload->>'payment' = $1::uuid::text
   and w.payload->>'amount' is null
"""


class Undone(msgspec.Struct, frozen=True):
    """Why a payment is refunded, and the subscription whose month it paid for.

    If `only` lists disputes, money from other disputes is kept by decision.
    """

    reason: str | None
    subscription: UUID | None
    only: frozenset[str] | None = None


async def held_by_banks(by: Connection, payment_id: UUID) -> dict[str, int]:
    """Return the amount that each dispute of a payment holds."""
    return {row["id"]: int(row["amount"]) for row in await by.fetch(HELD, payment_id)}


async def of_payment(by: Connection, payment_id: UUID) -> Undone:
    """Return whether the sale of a payment was cancelled."""
    undone = await by.fetchrow(UNDONE, payment_id)
    withdrawn = await by.fetchrow(WITHDRAWN, payment_id)
    subscription = withdrawn["id"] if withdrawn else None
    if undone is not None:
        return Undone(undone["reason"], subscription)
    ended = await by.fetchrow(ENDED, payment_id)
    if ended is not None and ended["held"]:
        return Undone(ended["reason"], subscription, frozenset(ended["held"]))
    return Undone(None, subscription)


async def promised_rest(by: Connection, payment_id: UUID) -> list[UUID]:
    """Return the jobs that refund the rest of a payment."""
    return [row["id"] for row in await by.fetch(PROMISED_REST, payment_id)]
