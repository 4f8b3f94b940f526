"""Services and service orders (Service Catalog), and the display names of services and vehicles.

Messages store ids and codes; names are looked up when messages are read, in the reader's language.

Rules a change must keep: a service order never changes, its state is that of its payment; objects
without a name are omitted and shown by id.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from caas.billing_database.batching import Batcher, joined_reads
from caas.billing_database.connection import Database
from caas.billing_database.entitlements import RESERVATION_LAPSES_SECONDS, obstacle
from caas.billing_database.filters import composed
from caas.billing_database.rows import PAGE_ROWS_MAX, columns, read_all, read_one

NAMES_MAX: Final = 1000
ORDERS_KNOWN_MAX: Final = 10_000

PUT_SERVICE = """
insert into services (code, name, kind, currency, prices, monthly_fee, metered, offered, names,
                      repeat_purchase, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, db_now())
on conflict (code) do update set name = excluded.name, kind = excluded.kind,
  currency = excluded.currency, prices = excluded.prices, monthly_fee = excluded.monthly_fee,
  metered = excluded.metered, offered = excluded.offered, names = excluded.names,
  repeat_purchase = excluded.repeat_purchase, updated_at = excluded.updated_at
"""


class Service(msgspec.Struct, frozen=True):
    """A service of the catalogue; money in minor units of `currency`.

    `names` maps languages to names that differ from `name`.
    `prices` of a one-time service: `[{"duration_days": 30, "amount": 1299}]`. `metered` of a
    subscription: `[{"unit": "kWh", "unit_price": 12}]`.
    """

    code: str
    name: str
    kind: str
    currency: str
    prices: list[dict[str, Any]]
    monthly_fee: int | None
    metered: list[dict[str, Any]]
    offered: bool = True
    names: dict[str, str] = msgspec.field(default_factory=dict)
    repeat_purchase: str = "extend"

    def named(self, language: str) -> str:
        """Return its name in a language, such as "es"."""
        return self.names.get(language, self.name)


SERVICE = f"""
select {columns(Service)}
  from services
 where code = $1
"""
SERVICES = f"""
select {columns(Service)}
  from services
 where offered order by code limit $1
"""
NAMES = "select code, coalesce(names->>$1, name) as name from services limit $2"
CAN_BE_REACHED = "select 1 from vehicles where vin = $1 and public_key is not null"
ADD_ORDER = "select * from add_service_order($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"


class ServiceOrder(msgspec.Struct, frozen=True):
    """A one-time service ordered for a vehicle, and its state."""

    id: UUID
    customer: UUID
    vin: str
    service: str
    duration_days: int
    amount: int
    currency: str
    created_at: datetime
    state: str = "awaiting payment"
    payment_id: UUID | None = None
    active_from: datetime | None = None
    active_until: datetime | None = None
    begins_at: datetime | None = None


BEGINS_AT = """coalesce(
         (select max(g.ends_at) from entitlement_terms t
            join entitlement_terms g on g.entitlement = t.entitlement and g.state = 'granted'
             and g.ends_at > db_now()
           where t.service_order = service_order_states.id
             and t.state in ('pending', 'activating')),
         case when active_from > db_now() then active_from end)"""
ORDER_COLUMNS = f"""
select {columns(ServiceOrder, begins_at=BEGINS_AT)} from service_order_states
"""
ORDER = ORDER_COLUMNS + " where id = $1"


class WantedService(msgspec.Struct, frozen=True, kw_only=True):
    """The content and price of a service order, which never change."""

    id: UUID
    customer: UUID
    vin: str
    service: str
    duration_days: int
    amount: int
    currency: str


WANTED = f"""
select {columns(WantedService)} from service_orders
 where id = any ($1)
"""
ORDERS = ORDER_COLUMNS + " where {given} order by id desc limit $1"


class Services:
    """The tables of the Service Catalog."""

    def __init__(self, database: Database) -> None:
        """Use this database."""
        self._database = database
        self._wanted: Batcher[UUID, WantedService | None] = joined_reads(
            database, WANTED, lambda row: WantedService(**row)
        )
        self._known: dict[UUID, WantedService] = {}

    async def put(self, service: Service) -> None:
        """Create or change a service."""
        await self._database.fetch(
            PUT_SERVICE,
            service.code,
            service.name,
            service.kind,
            service.currency,
            service.prices,
            service.monthly_fee,
            service.metered,
            service.offered,
            service.names,
            service.repeat_purchase,
        )

    async def service(self, code: str) -> Service | None:
        """Return a service, or None."""
        return await read_one(Service, self._database, SERVICE, code)

    async def offered(self) -> list[Service]:
        """Return the services on offer."""
        return await read_all(Service, self._database, SERVICES, PAGE_ROWS_MAX)

    async def names(self, language: str) -> dict[str, str]:
        """Return the names of all services in a language, including those no longer offered."""
        rows = await self._database.fetch(NAMES, language, NAMES_MAX)
        return {row["code"]: row["name"] for row in rows}

    async def can_be_reached(self, vin: str) -> bool:
        """Return whether the vehicle is stored with a public key."""
        return await self._database.fetchrow(CAN_BE_REACHED, vin) is not None

    async def add_order(
        self, order: WantedService, *, by_fleet: bool, request_key: bytes | None = None
    ) -> ServiceOrder:
        """Create a service order, with the reservation of its term.

        A repeated request returns the order it created.

        Raises:
            VehicleNotTheirsError, PurchasePendingError, AlreadyRunningError: the term cannot be
                reserved; nothing was written.
        """
        row = await self._database.fetchrow(
            ADD_ORDER,
            order.id,
            order.customer,
            order.vin,
            order.service,
            order.duration_days,
            order.amount,
            order.currency,
            RESERVATION_LAPSES_SECONDS,
            request_key,
            by_fleet,
        )
        assert row is not None, "the function answers with one row"
        if row["obstacle"] is not None:
            raise obstacle(row, vin=order.vin, service=order.service)
        stored = msgspec.structs.replace(order, id=row["id"], amount=row["amount"])
        return ServiceOrder(**msgspec.structs.asdict(stored), created_at=row["created_at"])

    async def wanted(self, order_id: UUID) -> WantedService | None:
        """Return the content of a service order without its state (cheaper), or None."""
        known = self._known.get(order_id)
        if known is not None:
            return known
        wanted = await self._wanted.write(order_id)
        if wanted is not None:
            if len(self._known) >= ORDERS_KNOWN_MAX:
                self._known.clear()
            self._known[order_id] = wanted
        return wanted

    async def order(self, order_id: UUID) -> ServiceOrder | None:
        """Return a service order with its state, or None."""
        return await read_one(ServiceOrder, self._database, ORDER, order_id)

    async def orders(
        self,
        *,
        customer: UUID | None = None,
        vin: str | None = None,
        before: UUID | None = None,
        rows_max: int = PAGE_ROWS_MAX,
    ) -> list[ServiceOrder]:
        """Return service orders, newest first, at most a page of them."""
        given = {"customer = $": customer, "vin = $": vin, "id < $": before}
        query, arguments = composed(ORDERS, min(rows_max, PAGE_ROWS_MAX), given=given)
        return await read_all(ServiceOrder, self._database, query, *arguments)


DISPLAY_NAMES: Final = """
select id::text as thing, model as name from orders where id = any($1)
union all select code, coalesce(names->>$3, name) from services where code = any($2)
"""
BOUGHT: Final = """
select c.language, coalesce(o.model, s.names->>c.language, s.name) as name, w.duration_days as days
  from customers c
  left join orders o on o.id = $2
  left join service_orders w on w.id = $2
  left join subscriptions b on b.id = $2
  left join services s on s.code = coalesce(w.service, b.service)
 where c.id = $1
"""
_ID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Description(msgspec.Struct, frozen=True):
    """The object of a payment: a vehicle model, or a service and its duration."""

    language: str
    name: str | None
    days: int | None


async def bought(database: Database, *, customer: UUID, subject: UUID) -> Description | None:
    """Return the object of a payment in the customer's language, or None."""
    return await read_one(Description, database, BOUGHT, customer, subject)


async def names_of(
    database: Database, *, orders: Iterable[str], services: Iterable[str], language: str
) -> dict[str, str]:
    """Return the names of orders (given as text) and of services in a language."""
    ids = [UUID(order) for order in set(orders) if _ID.fullmatch(order)]
    codes = sorted(set(services))
    if not ids and not codes:
        return {}
    rows = await database.fetch(DISPLAY_NAMES, ids, codes, language)
    return {row["thing"]: row["name"] for row in rows}
