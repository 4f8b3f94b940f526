"""The book as of one instant, for Diagram 10: what is known of the payments a report speaks of.

Everything is read in one repeatable-read snapshot, so that payments which move meanwhile make no
false discrepancy, and leaves by COPY into files. What is read grows with the report and with what
is still open, never with the ledger: payments are looked up by the keys of the lines, and those
without a line by the day they were captured. Payments of other gateways are left out.

Rules a change must keep: columns and order are those of `rules.compared_relations`; a payment
comes out once in each file; nothing is written but temporary tables.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.discrepancy_statements import BOOKED_KINDS, REFUNDED_BY_DECISIONS

EXPORT_SECONDS_MAX: Final = 600

TEMPORARY: Final = """
drop table if exists line_keys, line_transactions, late_windows, compared_payments;
create temp table line_keys (payment_id uuid);
create temp table line_transactions (transaction_id text);
create temp table late_windows (
  method text, captured_from timestamptz, captured_to timestamptz,
  expected_on date, missing_from date);
create temp table compared_payments (
  id uuid primary key, expected_on date, missing_from date, refund_expected_on date,
  watch_delivery boolean not null default false);
"""
GONE: Final = "drop table if exists line_keys, line_transactions, late_windows, compared_payments"

# A payment's life is read by its keys, one after the other: on a ledger ten times as long that
# costs the same, and a plan that reads the whole ledger would not.
BY_KEY: Final = """
set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_seqscan = off;
set local jit = off; set local max_parallel_workers_per_gather = 0
"""

HELD: Final = """
p.id, p.gateway_transaction_id, p.state, p.version, p.currency, p.captured_amount,
       p.settled_amount
"""
# What was decided about a refund without a line, and sealed, is no refund that a line may tell.
REFUNDED: Final = """
       case when p.refunded_amount > 0 or p.state in ('Refunding', 'Refunded') then
         (select coalesce(sum(r.amount), 0)::bigint from refunds r
           where r.payment_id = p.id and r.state in ('sent', 'succeeded'))
         - (select coalesce(sum(u.amount), 0)::bigint from discrepancies u
              join reconciliation_days y on y.gateway = u.gateway and y.day = u.day
             where u.payment_id = p.id and u.kind = 'refund_mismatch' and u.report_id is null
               and u.resolution <> 'itself' and y.sealed_at is not null) else 0 end
"""
PAYMENT: Final = f"""
{HELD}, {REFUNDED} + coalesce(d.refund_lines, 0) + b.decided,
       p.refunded_amount + coalesce(d.refund_lines, 0) + b.decided,
       coalesce(d.known, 0), coalesce(d.number, 0), coalesce(d.back, 0)
"""
DISPUTED: Final = f"""
left join lateral (
         select sum(m.taken) filter (where not m.of_refund)::bigint as known,
                sum(d.taken - d.amended) filter (where not m.of_refund)::bigint as number,
                sum(m.back) filter (where not m.of_refund)::bigint as back,
                sum(m.taken - m.back) filter (where m.of_refund)::bigint as refund_lines
           from disputes d join disputed_amounts(p.id, p.currency) m on m.dispute = d.id
          where d.payment_id = p.id) d on true
 cross join lateral {REFUNDED_BY_DECISIONS} b (decided)
"""
# Few payments were disputed or decided about: what that came to is added up for those alone.
KNOWN: Final = f"""
select {HELD}, {REFUNDED}, p.refunded_amount
  from line_keys k join payments p on p.id = k.payment_id and p.gateway = $1
"""
DECIDED: Final = """
insert into compared_payments (id)
select k.payment_id
  from line_keys k cross join lateral (
       (select from disputes d where d.payment_id = k.payment_id limit 1)
        union all
       (select from discrepancies u where u.payment_id = k.payment_id and u.kind = 'amount' limit 1)
       ) is_more
on conflict do nothing
"""
# Lines without our reference, or whose payment has another transaction than the line.
BY_TRANSACTION: Final = """
insert into compared_payments (id)
select t.id from line_transactions k
  join payments t on t.gateway = $1 and t.gateway_transaction_id = k.transaction_id
on conflict do nothing
"""
# Captured so long ago that the bank should have spoken, and no line with its own money yet. What
# was captured is found by its time, and nearly all has its line, so that little is looked up.
LATE: Final = """
with captured as materialized (
  select e.payment_id, e.currency, w.method, w.expected_on, w.missing_from
    from late_windows w cross join lateral (
         select payment_id, currency from ledger_entries
          where at >= w.captured_from and at < w.captured_to and debit = 'gateway_receivable'
         offset 0) e
), lacking as materialized (
  select c.* from captured c
    left join lateral (select 1 as line from settlement_lines l
                        where l.payment_id = c.payment_id and l.currency = c.currency
                          and (l.type = 'settlement' and l.gross > 0
                               or l.type = 'settlement_failure') limit 1) l on true
    left join lateral (select 1 as line from identified_lines i
                         join settlement_lines l using (report_id, line_no)
                        where i.payment_id = c.payment_id and l.currency = c.currency
                          and (l.type = 'settlement' and l.gross > 0
                               or l.type = 'settlement_failure') limit 1) i on true
   where l.line is null and i.line is null
)
insert into compared_payments as c (id, expected_on, missing_from)
select distinct on (k.payment_id) k.payment_id, k.expected_on, k.missing_from
  from lacking k join payments p on p.id = k.payment_id and p.gateway = $1
 where k.method = case when p.payment_method ~ '(debit|sepa)' then 'bank_debit' else 'card' end
 order by k.payment_id, k.expected_on
on conflict (id) do update
   set expected_on = excluded.expected_on, missing_from = excluded.missing_from
"""
LATE_REFUNDS: Final = """
insert into compared_payments as c (id, refund_expected_on)
select distinct on (e.payment_id) e.payment_id, w.expected_on
  from late_windows w cross join lateral (
       select payment_id from ledger_entries
        where at >= w.captured_from and at < w.captured_to
          and debit = 'refunds_payable' and credit = 'settled_funds'
        union all
       select payment_id from discrepancy_entries
        where at >= w.captured_from and at < w.captured_to and payment_id is not null
          and debit = 'refunds_payable' and credit = 'settled_funds'
       offset 0) e
  join payments p on p.id = e.payment_id and p.gateway = $1
 where w.method = 'card'
 order by e.payment_id, w.expected_on desc
on conflict (id) do update set refund_expected_on = excluded.refund_expected_on
"""
DELIVERED: Final = """
insert into compared_payments as c (id, watch_delivery)
select distinct p.id, true
  from delivery_evidence e join payments p on p.id = e.subject and p.gateway = $1
 where e.recorded_at >= $2 and e.recorded_at < $3 and e.proves_delivery
   and p.captured_amount = 0 and p.state in ('Authorized', 'Voided', 'Failed')
   and not exists (select from entitlements n
                    where n.vin = e.vin and n.service = e.service and n.reported_epoch > e.epoch)
on conflict (id) do update set watch_delivery = true
"""
COMPARED: Final = f"""
select {PAYMENT},
       case when c.watch_delivery then p.amount end, c.expected_on, c.missing_from,
       c.refund_expected_on
  from compared_payments c join payments p on p.id = c.id and p.gateway = $1 {DISPUTED}
"""

LINE: Final = """
l.report_id, l.line_no, l.batch_id, l.line_id, l.transaction_id, l.reference, l.type, l.gross,
       l.fee, l.net, l.currency,
       to_char(l.booked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), l.value_date,
       l.method, null, null, null, null, null, l.payout_fee, l.payout_unit
"""
# A line accounts for what it left on settled funds: all of it when it posts, what a decision about
# it did not explain otherwise, and the rest of a part that a decision gave up. A loss that
# was taken back with it was of other lines. What was refunded by
# a decision is money of that refund.
SEEN: Final = f"""
select 0, 'seen', case when l.posts then l.gross else 0 end
                  + case when l.posts and not s.resolved then 0 else coalesce(s.counts, 0) end,
       {LINE}
  from {{payments}} k
  join lateral (
         select * from settlement_lines where payment_id = k.{{id}}
          union all
         select s.* from identified_lines i
           join settlement_lines s on s.report_id = i.report_id and s.line_no = i.line_no
          where i.payment_id = k.{{id}}) l on true
  join settlement_reports o on o.id = l.report_id and o.gateway = $1
  left join lateral (
         select d.status = 'resolved' as resolved,
                (select sum(case 'settled_funds' when e.credit then e.amount
                                 when e.debit then -e.amount end)::bigint
                   from discrepancy_entries e
                  where e.discrepancy_id = d.id and e.debit <> 'refunds_payable')
                + (select greatest(sum((e.facts->'position'->>'settled_funds')::bigint), 0)
                     from discrepancy_events e
                    where e.discrepancy_id = d.id and e.facts ? 'position' and e.seq > (
                      select max(x.seq) from discrepancy_events x
                       where x.discrepancy_id = d.id and x.event in ('resolved', 'approved'))
                  )::bigint as counts
           from discrepancies d
          where (not l.posts or l.class = 'partial_settlement') and d.kind <> 'fee_drift'
            and d.report_id = l.report_id and d.line_no = l.line_no) s on true
 where l.posts or coalesce(s.resolved, true)
"""
SEEN_OF_KNOWN: Final = SEEN.format(payments="line_keys", id="payment_id")
SEEN_OF_COMPARED: Final = SEEN.format(payments="compared_payments", id="id")
# Lines whose discrepancy is still open are judged again: what they lacked may have come. A refund
# or a reversal that was reopened waits for a person, so that it explains no other line meanwhile.
AGAIN: Final = f"""
select 0, 'again',
       case when d.kind = 'refund_mismatch' and exists (
              select from discrepancy_events e
               where e.discrepancy_id = d.id and e.event = 'reopened') then 0 else l.gross end,
       {LINE}
  from {{these}} d
  join settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
 where d.status <> 'resolved' and d.gateway = $1 and not l.posts
   and d.kind not in {BOOKED_KINDS}
 order by l.at, l.report_id, l.line_no
"""
AGAIN_ALL: Final = AGAIN.format(these="discrepancies")
# Where many are open, those about a payment that moved since the last run, or is new since then.
AGAIN_CHANGED: Final = """
with changed as materialized (select distinct payment_id from payment_events where at >= $2
), touched as materialized (
  select d.id from changed c join discrepancies d on d.payment_id = c.payment_id
   where d.status <> 'resolved' and d.report_id is not null
   union
  select d.id from changed c join payments p on p.id = c.payment_id
    join settlement_lines l on l.class = 'missing_in_book'
     and l.transaction_id = p.gateway_transaction_id
    join discrepancies d on d.report_id = l.report_id and d.line_no = l.line_no
   union
  select d.id from changed c
    join settlement_lines l on l.class = 'missing_in_book' and l.reference = c.payment_id::text
    join discrepancies d on d.report_id = l.report_id and d.line_no = l.line_no
), chosen as (select d.* from touched t join discrepancies d on d.id = t.id)
""" + AGAIN.format(these="chosen")
# And those about whom the new lines speak of.
REPLAYED_OF_KNOWN: Final = """
with touched as materialized (
  select d.id from line_keys k join discrepancies d on d.payment_id = k.payment_id
   where d.status <> 'resolved' and d.report_id is not null
   union
  select d.id from compared_payments k join discrepancies d on d.payment_id = k.id
   where d.status <> 'resolved' and d.report_id is not null
   union
  select d.id from line_transactions k
    join settlement_lines l on l.class = 'missing_in_book' and l.transaction_id = k.transaction_id
    join discrepancies d on d.report_id = l.report_id and d.line_no = l.line_no
), chosen as (select d.* from touched t join discrepancies d on d.id = t.id)
""" + AGAIN.format(these="chosen")
OPEN_COUNT: Final = """
select count(*) from (select from discrepancies
  where gateway = $1 and status <> 'resolved' and report_id is not null limit $2) o
"""
AGAIN_ALL_MAX: Final = 5_000
"""As many lines are judged again in every run; above it, those to which something happened."""
SINCE_MARGIN: Final = timedelta(minutes=5)


class LateWindow(msgspec.Struct, frozen=True):
    """A span of captures whose settlement was expected on one day, by one payment method."""

    method: str
    captured_from: datetime
    captured_to: datetime
    expected_on: date
    missing_from: date


class ReconciliationSnapshot:
    """One instant of the Billing Database, held until everything is read."""

    def __init__(self, connection: Connection, gateway: str, as_of: datetime) -> None:
        """Read a gateway's payments through this connection, as of the instant of its snapshot."""
        self._connection = connection
        self._gateway = gateway
        self.as_of = as_of

    async def replayed_lines_all(self, path: Path, *, since: datetime | None) -> bool:
        """Write the lines of the gateway's open discrepancies, to be judged again.

        Where there are many, only those about payments that moved since then; return whether.
        """
        number = await self._connection.fetchval(OPEN_COUNT, self._gateway, AGAIN_ALL_MAX + 1)
        if since is None or number <= AGAIN_ALL_MAX:
            await self._export(path, AGAIN_ALL)
            return False
        await self._export(path, AGAIN_CHANGED, since - SINCE_MARGIN)
        return True

    async def replayed_lines_of_known(self, path: Path) -> None:
        """Write those about the payments and transactions that the lines speak of."""
        await self._export(path, REPLAYED_OF_KNOWN)

    async def late(self, windows: Sequence[LateWindow]) -> None:
        """Add what was captured or refunded in these spans and has no line."""
        await self._connection.copy_records_to_table(
            "late_windows",
            records=[
                (w.method, w.captured_from, w.captured_to, w.expected_on, w.missing_from)
                for w in windows
            ],
        )
        await self._execute(LATE)
        await self._execute(LATE_REFUNDS)

    async def delivered(self, since: datetime) -> None:
        """Add what was delivered since then, not switched off again, and ended without a charge."""
        await self._execute(DELIVERED, since, self.as_of)

    async def reported(self, keys: Path, path: Path) -> None:
        """Take the payments that lines refer to, and write what is known of them.

        What their disputes and decisions came to is in `besides`.
        """
        await self._take("line_keys", keys)
        await self._export(path, KNOWN)

    async def seen_of_known(self, path: Path) -> None:
        """Add the disputed of these payments, and write their lines that earlier runs judged."""
        await self._connection.execute(DECIDED, timeout=EXPORT_SECONDS_MAX)
        await self._export(path, SEEN_OF_KNOWN)

    async def take_transactions(self, path: Path) -> None:
        """Add the payments of these transactions, of which lines speak that refer to no other."""
        await self._take("line_transactions", path)
        await self._execute(BY_TRANSACTION)
        await self._connection.execute("analyze compared_payments")

    async def besides(self, path: Path) -> None:
        """Write what is known of the payments that were added."""
        await self._export(path, COMPARED)

    async def seen_of_besides(self, path: Path) -> None:
        """Write the lines of these payments that earlier runs judged."""
        await self._export(path, SEEN_OF_COMPARED)

    async def _take(self, table: str, path: Path) -> None:
        await self._connection.copy_to_table(
            table, source=path, format="csv", timeout=EXPORT_SECONDS_MAX
        )
        await self._connection.execute(f"analyze {table}")

    async def _execute(self, query: str, *arguments: object) -> None:
        """Run a statement about the gateway, its first argument."""
        await self._connection.execute(query, self._gateway, *arguments, timeout=EXPORT_SECONDS_MAX)

    async def _export(self, path: Path, query: str, *arguments: object) -> None:
        """Write what a query about the gateway, its first argument, gives into a file.

        A path would cost a hop into a thread for every few rows; a write of so few does not block.
        """
        with path.open("wb") as file:

            async def write(rows: bytes) -> None:
                file.write(rows)

            await self._connection.copy_from_query(
                query,
                self._gateway,
                *arguments,
                output=write,
                format="csv",
                timeout=EXPORT_SECONDS_MAX,
            )


@asynccontextmanager
async def reconciliation_snapshot(
    database: Database, gateway: str
) -> AsyncIterator[ReconciliationSnapshot]:
    """Hold a gateway's payments as of now until the block is left."""
    async with database.connection() as connection:
        await connection.execute(TEMPORARY)
        try:
            async with connection.transaction(isolation="repeatable_read"):
                await connection.execute(BY_KEY)
                as_of = await connection.fetchval("select db_now()")
                yield ReconciliationSnapshot(connection, gateway, as_of)
        finally:
            if not connection.is_closed():
                await connection.execute(GONE)
