"""Entitlements: terms of services in vehicles, with desired and reported state (decision 82).

Rules a change must keep: only schema functions write terms, under the lock of their entitlement;
ending a term records the command for the remaining state in the same transaction; lock payments and
subscriptions before entitlements.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection, Database, Row
from caas.billing_database.filters import composed
from caas.billing_database.rows import columns, read_all, read_one
from caas.billing_database.vehicles import not_theirs
from caas.errors import ConflictError, RefusedError

RESERVATION_LAPSES_SECONDS: Final = 50.0
TERMS_MAX: Final = 500

RESERVE: Final = "select * from reserve_term($1, $2, $3, $4, $5, $6, $7, $8)"
TERMS: Final = """
select e.service, t.id, t.customer, t.service_order, t.subscription, t.payment_id, t.state,
       t.starts_at, t.ends_at, t.ended_because,
       case when t.state = 'granted' and t.starts_at <= db_now()
                 and coalesce(t.ends_at, 'infinity') > db_now() then 'running'
            when t.state = 'granted' and t.starts_at > db_now() then 'scheduled'
            when t.state = 'granted' then 'expired' else t.state end as status
  from entitlement_terms t join entitlements e on e.id = t.entitlement
 where e.vin = $1 and {given}
 order by e.service, coalesce(t.starts_at, 'infinity'), t.reserved_at limit $2
"""
SOLD: Final = """t.state <> 'cancelled' and not (
         t.state = 'pending' and t.reserved_at < db_now() - make_interval(secs => $)
         and not exists (select from payments p
                          where p.subject = t.service_order and p.type = 'service' and p.live)
         and not exists (select from subscriptions s where s.id = t.subscription
                            and s.state = 'verifying payment method'))
"""
SYNC: Final = """
select e.id, e.vin, e.service, e.reported_epoch, e.reported_at, e.last_command,
       coalesce(e.reported_on and coalesce(e.reported_until, 'infinity') > db_now(), false)
         as reported_on,
       e.reported_until, coalesce(d.on_, false) as desired_on, d.until as desired_until,
       d.subject, coalesce(d.is_activating, false) as activating,
       k.attempt, coalesce(k.deadline <= db_now(), true) as overdue,
       v.answered is not null as answered
  from entitlements e left join desired_state(e.id) d on true
  left join ota_commands k on k.command_id = e.last_command
  left join lateral (
    select true as answered from delivery_evidence v
     where v.subject = k.subject and v.command_id = k.command_id and v.verified
       and v.status <> 'IN_PROGRESS' limit 1) v on true
"""
SYNC_OF: Final = SYNC + " where e.vin = $1 and e.service = $2"
SYNC_BY_ID: Final = SYNC + " where e.id = $1"
SYNC_OF_VEHICLE: Final = SYNC + " where e.vin = $1 order by e.service limit $2"
LOCK: Final = "select lock_entitlement($1, $2)"
END_TERM: Final = "select end_term($1, $2) as entitlement"
KEEP_TERM: Final = "select keep_term($1, $2)"
OF_ORDER: Final = """
select t.id, e.vin, e.service, t.state, t.starts_at, t.ends_at, t.ended_because,
       coalesce(t.ends_at, 'infinity') > db_now() as lasts,
       coalesce(t.starts_at > db_now(), false) as is_ahead, c.claimed_at as sold_at,
       c.reason as claimed_because,
       extract(epoch from db_now() - c.claimed_at)::float8 as sold_seconds_ago
  from entitlement_terms t join entitlements e on e.id = t.entitlement
  left join resolution_claims c on c.payment_id = t.payment_id
 where t.service_order = $1
"""


BILLING_WINDOW: Final = """
select t.starts_at, (
       select max(((o.ends_at - interval '1 microsecond') at time zone $2)::date)
         from entitlement_terms o left join subscriptions s on s.id = o.subscription
        where o.entitlement = t.entitlement and o.starts_at < t.starts_at
          and o.ends_at > o.starts_at and o.state in ('granted', 'ended')
          and coalesce(s.cancelled_because, 'customer') = 'customer') as billed_through
  from entitlement_terms t where t.subscription = $1
"""


class TermChange(msgspec.Struct, frozen=True):
    """How and why a paid term changed later; None if another payment caused it."""

    state: str
    starts_at: datetime
    ends_at: datetime | None
    because: str | None
    at: datetime


CHANGES: Final = f"""
select {columns(TermChange)} from entitlement_changes
 where term = $1 order by at limit $2
"""
VEHICLE_OF: Final = """
select e.vin from entitlements e where e.id = $1
union (select e.vin from entitlement_terms t join entitlements e on e.id = t.entitlement
        where t.payment_id = $1)
union (select e.vin from entitlement_terms t join entitlements e on e.id = t.entitlement
        where t.subscription = $1)
union (select e.vin from entitlement_terms t join entitlements e on e.id = t.entitlement
        where t.service_order = $1)
union (select e.vin from invoices i join entitlement_terms t on t.subscription = i.subscription
         join entitlements e on e.id = t.entitlement where i.id = $1)
union (select o.vin from orders o where o.id = $1 and o.vin is not null)
 limit 1
"""
BILLED_FROM: Final = "select starts_at from entitlement_terms where subscription = $1"
END_SYNCHRONIZATION: Final = "select end_synchronization($1, $2)"
CLOSE_CASES: Final = """
update cases c set status = 'resolved', resolution = $3, owner = 'caas', resolved_at = db_now()
  from entitlement_terms t
 where t.entitlement = $1 and c.subject in (t.payment_id, t.subscription, t.entitlement)
   and c.kind = any ($2) and c.status = 'open'
"""


class PurchasePendingError(ConflictError):
    """Another purchase of this service for this vehicle is pending. Wait for it, then extend it."""

    code = "purchase_pending"


class AlreadyRunningError(ConflictError):
    """The service is already running in this vehicle and cannot be bought again."""

    code = "service_already_running"


class OrderUsedError(ConflictError):
    """The service order already has a payment. Create a new order."""

    code = "service_order_used"


class Term(msgspec.Struct, frozen=True):
    """A sold term of a service in a vehicle; `ends_at` is None if open-ended.

    `status` is the state; granted terms are running, scheduled or expired.
    """

    service: str
    id: UUID
    customer: UUID
    service_order: UUID | None
    subscription: UUID | None
    payment_id: UUID | None
    state: str
    starts_at: datetime | None
    ends_at: datetime | None
    ended_because: str | None
    status: str


class OrderTerm(msgspec.Struct, frozen=True):
    """The term of a service order; `lasts` while any of it is left.

    `claimed_because` is why its payment was captured or voided, `sold_at` when.
    """

    id: UUID
    vin: str
    service: str
    state: str
    starts_at: datetime | None
    ends_at: datetime | None
    ended_because: str | None
    lasts: bool
    is_ahead: bool
    sold_at: datetime | None
    claimed_because: str | None
    sold_seconds_ago: float | None


class BillingWindow(msgspec.Struct, frozen=True):
    """The start of a subscription's billing, and the last day billed for earlier terms."""

    starts_at: datetime | None
    billed_through: date | None


class SyncState(msgspec.Struct, frozen=True):
    """The desired state of a service, the state last confirmed, and the last command.

    `desired_until` and `reported_until` are None if open-ended or off.
    """

    id: UUID
    vin: str
    service: str
    reported_epoch: int | None
    reported_at: datetime | None
    last_command: UUID | None
    reported_on: bool
    reported_until: datetime | None
    desired_on: bool
    desired_until: datetime | None
    subject: UUID | None
    activating: bool
    attempt: int | None
    overdue: bool
    answered: bool

    @property
    def in_sync(self) -> bool:
        """Whether the vehicle confirmed exactly the desired state."""
        if self.reported_on != self.desired_on:
            return False
        return not self.desired_on or self.reported_until == self.desired_until


class Entitlements:
    """The tables of entitlements and their terms."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def reserve(  # noqa: PLR0913  # the columns of a reservation, by name
        self,
        *,
        vin: str,
        service: str,
        customer: UUID,
        service_order: UUID | None = None,
        subscription: UUID | None = None,
        duration_days: int | None = None,
        by_fleet: bool | None = None,
        within: Connection | None = None,
    ) -> None:
        """Reserve the next term for a purchase; repeating it changes nothing.

        `by_fleet` allows any vehicle; None keeps the first reservation's value.

        Raises:
            VehicleNotTheirsError: the vehicle is not the customer's.
            PurchasePendingError: another purchase is pending; the error names it.
            AlreadyRunningError: a subscription is running, or the service cannot be bought twice.
            OrderUsedError: the order already had its term.
        """
        row = await (within or self._database).fetchrow(
            RESERVE,
            vin,
            service,
            customer,
            service_order,
            subscription,
            duration_days,
            RESERVATION_LAPSES_SECONDS,
            by_fleet,
        )
        if row is not None:
            raise obstacle(row, vin=vin, service=service)

    async def terms(
        self, vin: str, service: str | None = None, *, sold_only: bool = True
    ) -> list[Term]:
        """Return a vehicle's terms by service, oldest first; `sold_only` omits failed purchases.

        Purchases whose payment never began are omitted too.
        """
        query, arguments = composed(
            TERMS,
            vin,
            TERMS_MAX,
            given={
                "e.service = $": service,
                SOLD: RESERVATION_LAPSES_SECONDS if sold_only else None,
            },
        )
        return await read_all(Term, self._database, query, *arguments)

    async def of_order(
        self, service_order: UUID, *, within: Connection | None = None
    ) -> OrderTerm | None:
        """Return the term of a service order, or None."""
        return await read_one(OrderTerm, within or self._database, OF_ORDER, service_order)

    async def changes(self, term: UUID) -> list[TermChange]:
        """Return the later changes of a paid term, oldest first."""
        return await read_all(TermChange, self._database, CHANGES, term, TERMS_MAX)

    async def vehicle_of(self, subject: UUID) -> str | None:
        """Return the vehicle of an entitlement, a payment or a payment's subject."""
        row = await self._database.fetchrow(VEHICLE_OF, subject)
        return None if row is None else str(row["vin"])

    async def billing_window(self, subscription: UUID, *, zone: str) -> BillingWindow | None:
        """Return a subscription's billing window, or None if it has no term."""
        return await read_one(BillingWindow, self._database, BILLING_WINDOW, subscription, zone)

    async def billed_from(self, subscription: UUID, *, within: Connection) -> datetime | None:
        """Return the start of a subscription's term, or None."""
        starts_at: datetime | None = await within.fetchval(BILLED_FROM, subscription)
        return starts_at

    async def sync_state(self, vin: str, service: str) -> SyncState | None:
        """Return the desired and reported state of a service in a vehicle."""
        return await read_one(SyncState, self._database, SYNC_OF, vin, service)

    async def sync_state_by_id(self, entitlement: UUID) -> SyncState | None:
        """Return the desired and reported state of an entitlement."""
        return await read_one(SyncState, self._database, SYNC_BY_ID, entitlement)

    async def sync_states(self, vin: str) -> list[SyncState]:
        """Return the desired and reported states of every service ever sold for a vehicle."""
        return await read_all(SyncState, self._database, SYNC_OF_VEHICLE, vin, TERMS_MAX)

    async def close_cases(
        self, entitlement: UUID, *, kinds: Sequence[str], resolution: str
    ) -> None:
        """Close open cases of these kinds about the entitlement's payments and subscriptions."""
        await self._database.fetch(CLOSE_CASES, entitlement, list(kinds), resolution)

    async def end_synchronization(self, state: SyncState) -> None:
        """Complete the job of an answered command, unless a newer command exists."""
        await self._database.fetch(END_SYNCHRONIZATION, state.id, state.last_command)

    async def lock(self, vin: str, service: str, *, within: Connection) -> UUID:
        """Lock an entitlement until the transaction ends; return its id."""
        entitlement: UUID = await within.fetchval(LOCK, vin, service)
        return entitlement

    async def end_term(self, term: UUID, because: str, *, within: Connection) -> bool:
        """End a granted term now and move up those after it; False if it is not granted."""
        return await within.fetchval(END_TERM, term, because) is not None

    async def keep_term(self, term: UUID, because: str, *, within: Connection) -> None:
        """Record the decision to keep a granted term for which nothing is left paid."""
        await within.execute(KEEP_TERM, term, because)


def obstacle(row: Row, *, vin: str, service: str) -> ConflictError | RefusedError:
    """Return the error for a reservation conflict, with the conflicting purchase."""
    facts = {"vin": vin, "service": service}
    match row["obstacle"]:
        case "not theirs":
            return not_theirs(vin)
        case "used":
            return OrderUsedError(**facts)
        case "pending":
            first = row["service_order"] or row["subscription"]
            kind = "service order" if row["service_order"] else "subscription"
            return PurchasePendingError(
                f"The {kind} {first} for '{service}' in {vin} is still pending. Wait until it "
                "completes, then buy again to extend it.",
                **facts,
                **{kind.replace(" ", "_"): str(first)},
            )
        case "subscribed":
            return AlreadyRunningError(
                f"'{service}' runs in {vin} by the subscription {row['subscription']}. End that "
                "subscription before you buy the service in another way.",
                **facts,
                subscription=str(row["subscription"]),
            )
        case _:
            until = row["ends_at"].isoformat()
            return AlreadyRunningError(
                f"'{service}' runs in {vin} until {until} and is not sold again before that.",
                **facts,
                service_order=str(row["service_order"]),
                until=until,
            )
