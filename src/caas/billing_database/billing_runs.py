"""The monthly billing run as set-based statements (Diagram 6, decision 28).

`INVOICE_BATCH` implements `rules.mes_vencido` in SQL; a test compares the two. One statement
calculates the charges of thousands of subscriptions, assigns numbers, writes invoices and marks the
billed usage.

Rules a change must keep: lock the month's run first, then the series; a batch and the run's
position commit together; subscriptions already invoiced for the month are skipped, so a run can be
stopped and repeated at any point.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.rows import read_all, read_one, row_as
from caas.billing_database.usage_records import HOLD_OFF_CHANGES
from caas.rules.mes_vencido import Month, ServicePeriod
from caas.rules.money import AMOUNT_MAX
from caas.rules.payment_failures import AMOUNT_TOO_SMALL

CANNOT_BE_WRITTEN: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""SQLSTATE for a subscription whose month exceeds the limits."""

ONE: Final = "select * from billing_runs where month = $1"
LOCKED: Final = "select * from billing_runs where month = $1 for update"
LISTED: Final = "select * from billing_runs order by month desc limit 120"
NOW: Final = "select db_now()"
BEGIN: Final = """
with counter as (
  insert into invoice_series as s (series) values ($2)
  on conflict (series) do update set next = s.next returning next)
insert into billing_runs (month, series, first_number, subscriptions, charged_series,
    charged_number, started_at, zone)
select $1, $2, next, (select count(*) from subscriptions), $2, next - 1, db_now(), $3 from counter
on conflict do nothing
"""
RESTART: Final = """
update billing_runs set finished_at = null, invoiced_at = null, seen_through = null, seen = 0,
       subscriptions = (select count(*) from subscriptions), restarted = restarted + 1
 where month = $1 and finished_at is not null
"""
LOCK_SERIES: Final = """
insert into invoice_series as s (series) values ($1)
on conflict (series) do update set next = s.next returning next
"""
INVOICE_BATCH: Final = """
with batch as materialized (
  select s.id, s.customer, s.vin, s.service, s.currency, s.monthly_fee, s.metered,
         greatest(s.activated_at, t.starts_at) as activated_at,
         least(s.cancelled_at, s.deactivated_at) as ended_at, t.entitlement, t.starts_at,
         s.activated_at is not null and coalesce(s.cancelled_because, 'customer') = 'customer'
           and not exists (select from invoices i where i.subscription = s.id
             and i.month = $1 and i.correction = 0)
           and not is_erased(s.customer) as due
    from subscriptions s left join entitlement_terms t on t.subscription = s.id
   where s.id > coalesce($2, '00000000-0000-0000-0000-000000000000'::uuid) order by s.id limit $3
), delivered as materialized (
  select b.*, greatest(activated_at, $4) as start_at, least(ended_at, $5) as end_at
    from batch b where due and activated_at < $5
), counted as materialized (
  select d.*, case when start_at < end_at then greatest(0,
           greatest(((end_at - interval '1 microsecond') at time zone $6)::date, $7)
           - greatest((start_at at time zone $6)::date, $7, billed_through + 1) + 1)
           else 0 end as days
    from delivered d left join lateral (
      select max(((o.ends_at - interval '1 microsecond') at time zone $6)::date) as billed_through
        from entitlement_terms o left join subscriptions s on s.id = o.subscription
       where o.entitlement = d.entitlement and o.starts_at < d.starts_at
         and o.ends_at > o.starts_at and o.state in ('granted', 'ended')
         and coalesce(s.cancelled_because, 'customer') = 'customer') b on true
), totals as materialized (
  select u.subscription, u.unit, sum(u.quantity) as quantity
    from counted c join usage_records u on u.subscription = c.id and u.invoice is null
   where u.at < $5 and u.at >= c.activated_at and (c.ended_at is null or u.at < c.ended_at)
     and not exists (select from usage_disputes x where x.subscription = u.subscription
                       and x.source_id = u.source_id and x.ended_at is null)
   group by u.subscription, u.unit having sum(u.quantity) <> 0
), used as materialized (
  select c.id, sum(t.quantity * (m.metered->>'unit_price')::bigint) as gross,
         jsonb_agg(jsonb_build_object('kind', 'metered usage', 'unit', t.unit,
           'quantity', t.quantity, 'out_of', null, 'unit_price', m.metered->'unit_price',
           'gross', t.quantity * (m.metered->>'unit_price')::bigint) order by m.place) as lines
    from counted c
    cross join lateral jsonb_array_elements(c.metered) with ordinality as m(metered, place)
    join totals t on t.subscription = c.id and t.unit = m.metered->>'unit'
   group by c.id
), unfit as materialized (
  select c.id from counted c left join used u on u.id = c.id
   where coalesce(u.gross, 0) < 0 or c.monthly_fee * c.days / $8 + coalesce(u.gross, 0) > $11
), charged as materialized (
  select c.id, c.customer, c.vin, c.service, c.currency,
         (c.monthly_fee * c.days / $8 + coalesce(u.gross, 0))::numeric as gross,
         ((least(end_at, $5) - interval '1 microsecond') at time zone $6)::date as supplied_on,
         case when c.days > 0 and c.monthly_fee > 0 then jsonb_build_array(jsonb_build_object(
           'kind', 'fixed fee', 'unit', 'day', 'quantity', c.days, 'out_of', $8::integer,
           'unit_price', c.monthly_fee, 'gross', c.monthly_fee * c.days / $8)) else '[]' end
         || coalesce(u.lines, '[]') as lines
    from counted c left join used u
      on u.id = c.id and not exists (select from unfit x where x.id = c.id)
   where c.days > 0 and c.monthly_fee > 0 or u.id is not null
), placed as materialized (
  select c.*, b.customer is not null as has_address,
         case when b.customer is not null then market_of_address(b.country, b.postcode)
              else (select s.market from tax_settings s) end as market
    from charged c left join billing_details b on b.customer = c.customer where c.gross <= $11
), rated as materialized (
  select p.*, r.id as tax_rate, r.basis_points,
         coalesce(p.gross > m.simplified_up_to and lacking_details(b, m) <> '{}', false) as unnamed
    from placed p left join tax_rates r on r.market = p.market and r.goods = 'subscription'
     and r.valid @> p.supplied_on
    left join markets m on m.code = p.market left join billing_details b on b.customer = p.customer
), numbered as materialized (
  select r.*, row_number() over (order by r.id) as i from rated r
   where r.tax_rate is not null and not r.unnamed
), taxed as materialized (
  select n.*, c.language,
         coalesce(v.names->>c.language, v.name) as service_name,
         not n.has_address and n.gross <= m.simplified_up_to as simplified,
         case when n.has_address then buyer_of(n.customer)
              when c.name is not null then jsonb_build_object('name', c.name) end as buyer
    from numbered n left join customers c on c.id = n.customer
    left join services v on v.code = n.service
    left join markets m on m.code = n.market
), issued as materialized (
  select n.id, n.customer, n.vin, n.service, n.service_name, n.currency, n.lines,
         n.gross::bigint as gross, tax_in(n.gross::bigint, n.basis_points) as iva,
         n.market, n.tax_rate, n.basis_points,
         n.supplied_on, n.language, n.simplified, n.buyer, now_.at, n.i + $10 - 1 as number,
         overlay($12 || to_hex($13::bigint + 2 * n.i) placing '-' from 24 for 0)::uuid
           as invoice_id,
         overlay($12 || to_hex($13::bigint + 2 * n.i + 1) placing '-' from 24 for 0)::uuid
           as payment_id
    from taxed n cross join (select db_now() as at offset 0) now_
), written as (
  insert into invoices (id, series, number, kind, subscription, customer, month, service,
      service_name, vin, currency, lines, net, iva_basis_points, iva, gross, payment_id, market,
      tax_rate, supplied_on, language, simplified, seller, buyer_digest, issued_at)
  select invoice_id, $9, number, 'invoice', id, customer, $1, service, service_name, vin,
         currency, lines, gross - iva, basis_points, iva, gross,
         case when gross > 0 then payment_id end, market,
         tax_rate, supplied_on, language, simplified, $14,
         sha256(convert_to(buyer::text, 'UTF8')), at from issued
), made_out as (
  insert into document_buyers (invoice, buyer)
  select invoice_id, buyer from issued where buyer is not null
), marked as (
  update usage_records u set invoice = i.invoice_id
    from issued i join counted c on c.id = i.id
   where u.subscription = i.id and u.invoice is null
     and u.at < $5 and u.at >= c.activated_at and (c.ended_at is null or u.at < c.ended_at)
     and not exists (select from unfit x where x.id = i.id)
     and not exists (select from usage_disputes x where x.subscription = u.subscription
                       and x.source_id = u.source_id and x.ended_at is null)
)
select (select count(*) from batch) as seen, (select max(id::text)::uuid from batch) as last,
       (select count(*) from issued) as issued,
       (select array_agg(id) from unfit) as unfit,
       (select array_agg(id) from rated where tax_rate is null) as untaxed,
       (select array_agg(id) from rated where tax_rate is not null and unnamed) as unnamed,
       (select array_agg(id) from issued) as invoiced
"""
NEXT: Final = """
select id from subscriptions
 where id > coalesce($1, '00000000-0000-0000-0000-000000000000'::uuid) order by id limit 1
"""
CUSTOMER: Final = "select customer from subscriptions where id = $1"
ADVANCE: Final = """
with counter as (update invoice_series set next = next + $3 where series = $2)
update billing_runs set seen_through = coalesce($4, seen_through), seen = seen + $5,
       invoices = invoices + $3, invoiced_at = case when $5 = 0 then db_now() end
 where month = $1 returning *
"""
UNCHARGED: Final = """
select i.id, i.series, i.number, i.payment_id, i.customer, i.gross, i.currency, s.payment_method,
       s.gateway, i.month, coalesce(k.language, 'es') as language,
       coalesce(v.names->>k.language, v.name, i.service) as service
  from invoices i join subscriptions s on s.id = i.subscription
  left join customers k on k.id = i.customer left join services v on v.code = i.service
 where (i.series, i.number) > ($2, $3) and i.month = $1 and i.kind = 'invoice' and i.gross > 0
 order by i.series, i.number limit $4
"""
CHARGED: Final = """
update billing_runs set charged_series = coalesce($2, charged_series),
       charged_number = coalesce($3, charged_number), charges = charges + $4,
       finished_at = case when $2::text is null then db_now() end
 where month = $1 returning *
"""

TOO_SMALL: Final = """
select i.month, count(*) as months
  from invoices i join written_off_invoices w on w.invoice = i.id
  join payments p on p.id = w.payment_id
 where i.month = any ($1) and p.decline_code = $2 group by i.month
"""


class BillingRun(msgspec.Struct, frozen=True):
    """The progress of a month's run: `seen` of `subscriptions` are calculated."""

    month: str
    series: str
    subscriptions: int
    seen_through: UUID | None
    seen: int
    invoices: int
    invoiced_at: datetime | None
    charged_series: str
    charged_number: int
    charges: int
    started_at: datetime
    finished_at: datetime | None
    restarted: int


class Batch(NamedTuple):
    """The result of a batch: skipped subscriptions, and those with an invoice.

    For `unfit` subscriptions the usage exceeds a payment's limit or is negative, so only the fee is
    billed. `untaxed` ones have no tax rate, and `unnamed` ones lack buyer data that the invoice
    requires; neither is billed.
    """

    unfit: list[UUID]
    untaxed: list[UUID]
    unnamed: list[UUID]
    invoiced: list[UUID]


class BillingTerms(msgspec.Struct, frozen=True):
    """Values shared by all invoices of a run."""

    month: Month
    interval: ServicePeriod
    zone: str
    series: str
    seller: dict[str, str]


class MonthCharge(msgspec.Struct, frozen=True):
    """A month's invoice to charge."""

    invoice: UUID
    series: str
    number: int
    payment_id: UUID
    customer: UUID
    amount: int
    currency: str
    payment_method: str
    gateway: str
    month: str
    language: str
    service: str


class BillingRuns:
    """Billing runs and the statements that advance them."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def find(self, month: Month) -> BillingRun | None:
        """Return the run of a month, or None."""
        return await read_one(BillingRun, self._database, ONE, str(month))

    async def listed(self) -> list[BillingRun]:
        """Return the runs, newest month first."""
        return await read_all(BillingRun, self._database, LISTED)

    async def too_small(self, months: Sequence[str]) -> dict[str, int]:
        """Return how many invoices of these months were written off below a gateway's minimum."""
        rows = await self._database.fetch(TOO_SMALL, list(months), AMOUNT_TOO_SMALL)
        return {row["month"]: row["months"] for row in rows}

    async def now(self, *, within: Connection | None = None) -> datetime:
        """Return the database's time."""
        row = await (within or self._database).fetchrow(NOW)
        assert row is not None, "the time is one row"
        moment: datetime = row[0]
        return moment

    async def begin(self, month: Month, *, series: str, zone: str) -> None:
        """Create the month's run if it does not exist; its days are in the time zone."""
        await self._database.fetch(BEGIN, str(month), series, zone)

    async def restart(self, month: Month) -> None:
        """Restart a completed run so that it checks every subscription again."""
        await self._database.fetch(RESTART, str(month))

    async def locked(self, month: Month, *, within: Connection) -> BillingRun:
        """Return the month's run, locked until the transaction ends."""
        row = await within.fetchrow(LOCKED, str(month))
        assert row is not None, "a run is begun before it is carried on"
        return row_as(BillingRun, row)

    async def invoice_batch(
        self, run: BillingRun, terms: BillingTerms, *, rows_max: int, within: Connection
    ) -> tuple[BillingRun, Batch]:
        """Issue the invoices of the next subscriptions; return the updated run and the result."""
        first = await within.fetchval(LOCK_SERIES, terms.series)
        await within.execute(HOLD_OFF_CHANGES)
        ids = _ids_in_a_row()
        batch = await within.fetchrow(
            INVOICE_BATCH,
            str(terms.month),
            run.seen_through,
            rows_max,
            terms.interval.start,
            terms.interval.end,
            terms.zone,
            first_day(terms.month),
            terms.month.days,
            terms.series,
            first,
            AMOUNT_MAX,
            *ids,
            terms.seller,
        )
        assert batch is not None, "a batch is one row"
        after = await within.fetchrow(
            ADVANCE, run.month, terms.series, batch["issued"], batch["last"], batch["seen"]
        )
        assert after is not None, "the run is locked and there"
        reported = (batch[name] or [] for name in ("unfit", "untaxed", "unnamed", "invoiced"))
        return row_as(BillingRun, after), Batch(*reported)

    async def customer_of(self, subscription: UUID, *, within: Connection) -> UUID:
        """Return who has a subscription."""
        customer: UUID = await within.fetchval(CUSTOMER, subscription)
        return customer

    async def pass_over(
        self, run: BillingRun, terms: BillingTerms, *, within: Connection
    ) -> tuple[BillingRun, UUID]:
        """Advance the run past the next subscription without an invoice; return its id."""
        passed: UUID = await within.fetchval(NEXT, run.seen_through)
        after = await within.fetchrow(ADVANCE, run.month, terms.series, 0, passed, 1)
        assert after is not None, "the run is locked and there"
        return row_as(BillingRun, after), passed

    async def uncharged(
        self, run: BillingRun, *, rows_max: int, within: Connection
    ) -> list[MonthCharge]:
        """Return the next uncharged invoices of the run."""
        rows = await within.fetch(
            UNCHARGED, run.month, run.charged_series, run.charged_number, rows_max
        )
        return [MonthCharge(*row.values()) for row in rows]

    async def charged(
        self, run: BillingRun, last: MonthCharge | None, *, made: int, within: Connection
    ) -> BillingRun:
        """Advance the run past these invoices; without a last one, complete it."""
        series, number = (last.series, last.number) if last else (None, None)
        row = await within.fetchrow(CHARGED, run.month, series, number, made)
        assert row is not None, "the run is locked and there"
        return row_as(BillingRun, row)


def first_day(month: Month) -> date:
    """Return the first date of a month."""
    return date(month.year, month.number, 1)


def _ids_in_a_row() -> tuple[str, int]:
    """Return the common prefix of a batch's ids and their first counter value.

    UUIDv7 with a counter in the random part (RFC 9562, 6.2): one random draw per batch, and
    adjacent index entries. The counter is the last 64 bits as a signed integer.
    """
    drawn = new_id()
    beginning = str(drawn)[: len("tttttttt-tttt-7rrr-")]
    return beginning, -(2**63) + (drawn.int & (2**61 - 1))
