"""Invariants of rows and signed heads: no uncounted statement changed, added or removed a row.

Where no other record repeats a row's content, the writing transaction updates a checksum (table
`table_checksums`). Where that would cost a purchase an extra statement, another record covers it: a
payment's first event, or the daily signed head (decision 118).

Rule a change must keep: a table with a checksum is in `SUMMED` and in a migration
(`keep_checksum`); changes that only a head covers are found after the next head, within a day.
"""

from collections.abc import Sequence
from typing import Final

from caas.billing_database.history_heads import BY_NAME, HistoryTable
from caas.billing_database.removals import REMOVABLE, removed_key

SUMMED_OFTEN: Final = (
    "accounts", "api_keys", "staff_links", "second_factors", "recovery_codes", "services",
    "vehicle_models", "dealership_markets", "tax_rates", "tax_settings", "billing_runs",
    "deposit_decisions", "outcome_decisions", "refund_decisions", "credit_note_decisions",
    "event_subscriptions", "webhook_quarantine",
)  # fmt: skip
SUMMED_AT_NIGHT: Final = (
    "customers", "access_credentials", "audit_events", "billing_details", "orders", "vehicles",
    "vehicle_assignments", "subscriptions", "usage_records", "usage_disputes", "refunds",
    "disputes", "cases", "gateway_calls", "webhook_inbox",
)  # fmt: skip
"""Tables that grow with customers and payments, and are read as a whole for their sum."""
SUMMED: Final = (*SUMMED_OFTEN, *SUMMED_AT_NIGHT)
COUNTED_BY_HEADS: Final = (
    "gateway_calls", "webhook_inbox", "webhook_quarantine", "delivery_evidence", "report_mappings",
)  # fmt: skip
"""History tables whose lost rows only the checksum detects."""


def _unlike_their_sums(tables: Sequence[str], sums: str) -> str:
    """Return the query for tables whose rows do not add up to those of the kept sums."""
    now = " union all ".join(
        f"select '{table}' as of_table, count(*) as rows, coalesce(sum(fixed_checksum(t)), 0)"
        f" as fixed, coalesce(sum(moving_checksum(t)), 0) as moving from {table} t"
        for table in tables
    )
    return f"""with now as ({now}), kept as (
             select of_table, sum(rows) as rows, sum(fixed) as fixed, sum(moving) as moving
               from table_checksums where of_table {sums} group by of_table)
           select coalesce(n.of_table, k.of_table) || ': ' || case
                    when n.rows < k.rows then k.rows - n.rows || ' rows are missing'
                    when n.rows > k.rows then n.rows - k.rows || ' rows were not written here'
                    else 'a row is not as it was written' end
             from now n full join kept k on k.of_table = n.of_table
            where (n.rows, n.fixed, n.moving) is distinct from (k.rows, k.fixed, k.moving)"""


def _gone(table: HistoryTable) -> str:
    """Return the query for keys that a head covers and the table lacks."""
    (key,) = table.key if len(table.key) == 1 else ("",)
    own = f"t.{key}::text" if key else " || '/' || ".join(f"t.{name}::text" for name in table.key)
    return (
        f"select '{table.name} ' || l.key from (select unnest(keys) as key from history_leaves"
        f" where of_table = '{table.name}') l"
        f" where not exists (select from {table.name} t where {own} = l.key){_not_removed(table)}"
    )


def _not_removed(table: HistoryTable) -> str:
    """Return the condition that retention has not removed a row, by the time in its id."""
    return f" and not {removed_key(table.name)}" if table.name in REMOVABLE else ""


ROWS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "tables_match_their_checksums",
        "Tables of access and terms match their checksums: no row was changed from outside.",
        _unlike_their_sums(SUMMED_OFTEN, f"in {SUMMED_OFTEN}"),
    ),
    (
        "growing_tables_match_their_checksums",
        "Tables that grow match their checksums: no row was changed from outside.",
        _unlike_their_sums(SUMMED_AT_NIGHT, f"not in {SUMMED_OFTEN}"),
    ),
    (
        "counted_rows_exist",
        "Every row covered by a signed head exists.",
        " union all ".join(_gone(BY_NAME[table]) for table in COUNTED_BY_HEADS),
    ),
    (
        "payment_requests_match_their_events",
        "A payment's method and deadline equal those in its events.",
        """select p.id from payments p join payment_events e on e.payment_id = p.id and e.seq = 1
             left join customers c on c.id = p.customer
            where within(p.id) and e.facts ? 'accepted_with'
              and e.facts->'accepted_with'->>'payment_method' is distinct from
                  left(encode(sha256(convert_to(p.payment_method, 'UTF8')), 'hex'), 32)
              and (p.payment_method is not null or c.erased_at is null)
           union all
           select p.id from payments p left join (
             select distinct on (payment_id) payment_id,
                    (facts->>'capture_before')::timestamptz as at
               from payment_events where within(payment_id) and facts ? 'capture_before'
              order by payment_id, seq desc) b on b.payment_id = p.id
            where within(p.id) and p.capture_before is distinct from b.at
              and p.created_at > (select min(ran_at) from migrations)""",
    ),
    (
        "idempotency_keys_match_their_payments",
        "A payment has one idempotency key, the one in its first event.",
        """select p.id from payments p join payment_events e on e.payment_id = p.id and e.seq = 1
            where e.facts->'accepted_with' ? 'key'
              and p.created_at > db_now() - interval '89 days'
              and not exists (
                select from idempotency_keys k where k.payment_id = p.id
                   and left(encode(sha256(convert_to(k.caller, 'UTF8') || k.key_hash), 'hex'), 32)
                       = e.facts->'accepted_with'->>'key')
           union all
           select min(k.payment_id::text)::uuid from idempotency_keys k
            where k.payment_id is not null group by k.payment_id having count(*) > 1""",
    ),
    (
        "applied_webhooks_are_kept",
        "Every webhook that caused a payment event is in the inbox.",
        """select e.payment_id from payment_events e join payments p on p.id = e.payment_id
            where within(e.payment_id)
              and e.at > removed_before('webhook_inbox') + interval '7 days'
              and e.facts->>'reported_by' like 'webhook:%' and not exists (
              select from webhook_inbox n where n.gateway = p.gateway
                 and n.event_id = substr(e.facts->>'reported_by', 9))""",
    ),
    (
        "cases_end_with_a_decision",
        "Every resolved case records the decision and who took it.",
        """select c.id from cases c
            where c.status = 'resolved' and (c.owner is null or c.resolution is null)""",
    ),
    (
        "subscription_dates_match_their_events",
        "A subscription's activation and cancellation times equal those of its events.",
        """select s.id from subscriptions s join subscription_events e
              on e.subscription = s.id and e.event = 'Service Active'
            where within(s.id) and (s.activated_at is null
               or abs(extract(epoch from s.activated_at - e.at)) > 60)
           union all
           select s.id from subscriptions s join subscription_events e
              on e.subscription = s.id and e.to_state = 'cancelled' and e.from_state <> 'cancelled'
            where within(s.id) and (s.cancelled_at is null
               or abs(extract(epoch from s.cancelled_at - e.at)) > 60)""",
    ),
    (
        "states_have_their_required_data",
        "Every row has the data that its state requires.",
        """select t.id::text from entitlement_terms t
             join payments p on p.subject = t.service_order and p.type = 'service'
             join ota_commands k on k.subject = p.id and k.action = 'activate'
            where within(t.id) and t.payment_id is null
           union all
           select t.id::text from entitlement_terms t
            where within(t.id) and t.by_fleet is null
              and t.reserved_at > (select min(ran_at) from migrations)
           union all
           select i.id::text from invoices i
            where within(i.id) and i.digest is null
              and i.issued_at > (select min(ran_at) from migrations)
           union all
           select e.subscription::text from subscription_events e
            where within(e.subscription)
              and e.event in ('Payment method verified', 'Payment method changed')
              and e.payment_id is null
              and exists (select from payments p where p.subject = e.subscription)
           union all
           select e.vin from vehicle_events e
            where within(e.vin) and e.order_id is null and e.version > 1
              and e.event <> 'Vehicle Ready'
           union all
           select o.id::text from order_events x join orders o on o.id = x.order_id
            where within(x.order_id) and x.to_state = 'ready' and o.vin is not null
              and not exists (select from vehicle_events e where e.vin = o.vin
                                 and e.order_id = o.id and e.event = 'Vehicle Ready')
           union all
           select l.report_id || ':' || l.line_no from discrepancies d
             join settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
            where within(d.id) and l.payment_id is null and d.payment_id is not null
              and not exists (select from identified_lines i
                               where i.report_id = l.report_id and i.line_no = l.line_no)
           union all
           select d.day::text from reconciliation_days d
            where (d.closed_by_run is null) <> (d.closed_at is null)
           union all
           select d.payment_id::text from documents_due d left join refunds r on r.id = d.refund
            where d.refund is not null and r.payment_id is distinct from d.payment_id
           union all
           select t.payment_id::text from payment_taxes t join markets m on m.code = t.market
             join payments p on p.id = t.payment_id and p.type <> 'subscription'
            where within(t.payment_id) and t.supplied_on not between
                  ((t.recorded_at - interval '1 minute') at time zone m.zone)::date
                  and (t.recorded_at at time zone m.zone)::date
              and not exists (select from payment_events e
                where e.payment_id = p.id and e.event = 'Initiate settlement'
                  and (e.at at time zone m.zone)::date = t.supplied_on)""",
    ),
    (
        "schedules_are_complete",
        "If one scheduled job of a worker exists, all of them exist.",
        """select planned.kind
             from unnest(array['bill_month', 'reconcile_daily', 'reconcile_hourly',
                               'issue_documents', 'check_invariants']) as planned(kind)
            where not exists (select from jobs w where w.kind = planned.kind)
              and (exists (select from jobs w where w.kind = 'issue_documents')
                or exists (select from jobs w where w.kind = 'bill_month')
                   and exists (select from jobs w where w.kind = 'check_invariants'))""",
    ),
)


HISTORY_INVARIANTS: Final = (
    (
        "heads_are_chained",
        "Every signed head contains the digest of the previous one, and none is missing.",
        """select h.head::text from history_heads h
             left join history_heads b on b.head = h.head - 1
            where h.body::jsonb ->> 'previous' is distinct from
                  coalesce(encode(sha256(convert_to(b.body, 'UTF8')), 'hex'), '')
               or (h.head > 1 and b.head is null)
               or (h.body::jsonb ->> 'head')::bigint <> h.head""",
    ),
    (
        "leaves_are_complete",
        "Every Merkle tree has all of its leaves, without gaps.",
        """select coalesce(t.of_table, l.of_table) from history_trees t
             full join (select of_table, sum(cardinality(keys)) as leaves,
                               max(first_leaf + cardinality(keys)) as behind
                          from history_leaves group by of_table) l on l.of_table = t.of_table
            where coalesce(l.leaves, 0) <> coalesce(t.size, 0)
               or coalesce(l.behind, 0) <> coalesce(t.size, 0)""",
    ),
)
