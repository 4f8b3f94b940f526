"""SQL statements of `caas.billing_database.discrepancies`.

Rules a change must keep: a discrepancy changes only together with its event; entries, proposals,
decisions and documents are append-only.
"""

from typing import Final

from caas.rules.discrepancies import BOOKED

BOOKED_KINDS: Final = "({})".format(", ".join(f"'{kind}'" for kind in BOOKED))
"""In SQL, the kinds whose line is posted as reported while the difference stays open."""
REFUNDED_BY_DECISIONS: Final = """
(select coalesce(sum(x.amount), 0)::bigint
                from discrepancies u join discrepancy_entries x on x.discrepancy_id = u.id
               where u.payment_id = p.id and u.currency = p.currency and u.kind = 'amount'
                 and x.debit = 'refunds_payable' and x.credit = 'settled_funds')
"""
"""In SQL, what decisions refunded of a payment `p` beside its own refunds."""
COLUMNS: Final = """
d.id, d.gateway, d.day, d.kind, d.status, d.version, d.owner, d.amount, d.currency, d.payment_id,
       d.report_id, d.line_no, d.due_on, d.missing_from, d.resolution, d.opened_at, d.updated_at,
       extract(day from db_now() - d.opened_at)::integer as age_days
"""
ONE: Final = f"select {COLUMNS} from discrepancies d where d.id = $1"
LOCKED: Final = ONE + " for update"
LISTED: Final = f"""
select {COLUMNS} from discrepancies d
 where {{given}} order by {{order}} limit $1
"""
AFTER: Final = "(d.due_on, d.id) > (select a.due_on, a.id from discrepancies a where a.id = $)"
OPEN: Final = """
with new as materialized (
  select n.*, db_now() as at from jsonb_to_recordset($1) as n(
    id uuid, gateway text, day date, kind text, amount bigint, currency text, payment_id uuid,
    report_id uuid, line_no bigint, due_on date, missing_from date, facts jsonb)
), opened as (
  insert into discrepancies (id, gateway, day, kind, status, version, amount, currency, payment_id,
      report_id, line_no, due_on, missing_from, opened_at, updated_at)
  select id, gateway, day, kind, 'open', 1, amount, currency, payment_id, report_id, line_no,
         due_on, missing_from, at, at from new
  on conflict (id) do nothing returning id, kind
), events as (
  insert into discrepancy_events (discrepancy_id, seq, event, status, by, facts, at)
  select n.id, 1, 'opened', 'open', 'reconciliation', n.facts, n.at
    from new n join opened o on o.id = n.id
)
select kind from opened
"""
STEP: Final = """
with step as (
  update discrepancies set version = version + 1, status = $2, updated_at = db_now(),
         owner = coalesce($3, owner), kind = coalesce($4, kind), due_on = coalesce($5, due_on),
         resolution = case when $2 = 'resolved' then $6 when $2 = 'open' then null
                           else coalesce($6, resolution) end
   where id = $1 returning id, version, updated_at
)
insert into discrepancy_events (discrepancy_id, seq, event, status, by, facts, at)
select id, version, $7, $2, $8, $9, updated_at from step
"""
EVENTS: Final = """
select seq, event, status, by, facts, at from discrepancy_events
 where discrepancy_id = $1 order by seq
"""
REFUND_IS_KNOWN: Final = """
select 1 from refunds where gateway = $1 and gateway_refund_id = $2
 union all
select 1 from discrepancy_events e join discrepancies d on d.id = e.discrepancy_id
 where d.gateway = $1 and e.facts->>'refund' = $2 limit 1
"""
POST: Final = """
insert into discrepancy_entries (discrepancy_id, resolution_id, payment_id, debit, credit, amount,
    currency, at)
select d.id, $2, d.payment_id, e.debit, e.credit, e.amount, d.currency, db_now()
  from discrepancies d
 cross join unnest($3::text[], $4::text[], $5::bigint[]) as e(debit, credit, amount)
 where d.id = $1
"""
ENTRIES: Final = """
select debit, credit, amount from discrepancy_entries where discrepancy_id = $1 order by id
"""
POSTED: Final = """
select debit, credit, amount from (
  select 1 as part, l.id, l.debit, l.credit, l.amount
    from discrepancies d
    join payment_events e on e.payment_id = d.payment_id and e.source = 'decision:' || d.id
    join ledger_entries l on l.payment_id = e.payment_id and l.seq = e.seq
   where d.id = $1
  union all
  select 2, id, debit, credit, amount from discrepancy_entries where discrepancy_id = $1) posted
 order by part, id
"""
PROPOSE: Final = """
insert into discrepancy_resolutions (id, discrepancy_id, resolution, note, amount, currency,
    needs_second_approver, state, proposed_by, proposed_account, proposed_at, bulk_id)
values ($1, $2, $3, $4, $5, $6, $7, 'proposed', $8, $9, db_now(), $10)
"""
DECIDE: Final = """
update discrepancy_resolutions set state = $2, decided_by = $3, decided_account = $4,
       decided_at = db_now()
 where id = $1 and state = 'proposed' returning id
"""
RESOLUTIONS: Final = """
select id, discrepancy_id, resolution, note, amount, currency, needs_second_approver, state,
       proposed_by, proposed_account, proposed_at, decided_by, decided_account, decided_at,
       bulk_id
  from discrepancy_resolutions where discrepancy_id = $1 order by proposed_at
"""
LAST_DECISION: Final = """
select state = 'approved' as approved, decided_by as by, decided_at as at
  from discrepancy_resolutions where discrepancy_id = $1 and state <> 'proposed'
 order by decided_at desc limit 1
"""
ATTACH: Final = """
insert into discrepancy_evidence (id, discrepancy_id, name, media_type, content, digest,
    attached_by, attached_at)
values ($1, $2, $3, $4, $5, sha256($5), $6, db_now())
"""
EVIDENCE: Final = """
select id, name, media_type, octet_length(content) as size, encode(digest, 'hex') as digest,
       attached_by, attached_at from discrepancy_evidence where discrepancy_id = $1
 order by attached_at
"""
EVIDENCE_CONTENT: Final = """
select name, media_type, content from discrepancy_evidence where id = $1
"""
AWAITING: Final = f"""
select {COLUMNS} from discrepancies d
 where d.status <> 'resolved' and d.payment_id = any ($1)
   and d.kind in ('delayed_settlement', 'missing_at_gateway', 'partial_settlement')
 order by d.id for update
"""
# What ended because a decision reinstated the payment that it waited for.
ENDED_BY_REINSTATING: Final = f"""
select {COLUMNS} from discrepancies d
 where d.payment_id = $1 and d.status = 'resolved' and d.resolution = 'itself'
   and d.kind in ('delayed_settlement', 'missing_at_gateway', 'partial_settlement')
   and (select e.facts->>'class' from discrepancy_events e
         where e.discrepancy_id = d.id and e.event = 'resolved itself'
         order by e.seq desc limit 1) in ('amount', 'duplicate_line', 'state_conflict')
   and not exists (select from reconciliation_days y
                    where y.gateway = d.gateway and y.day = d.day and y.sealed_at is not null)
 order by d.id for update
"""
# An overdue refund, including one that a person decided on, until its day is sealed.
UNLISTED: Final = """
d.kind = 'refund_mismatch' and d.report_id is null
   and (d.status <> 'resolved' or d.resolution <> 'itself' and not exists (
     select from reconciliation_days y
      where y.gateway = d.gateway and y.day = d.day and y.sealed_at is not null))
"""
AWAITED: Final = f"""
select payment_id from discrepancies
 where status <> 'resolved' and payment_id is not null
   and kind in ('delayed_settlement', 'missing_at_gateway', 'partial_settlement')
 union
select payment_id from discrepancies d where {UNLISTED}
"""
LISTED_SINCE: Final = f"""
select {COLUMNS}, t.line as reported_by, t.class as reported_class
  from discrepancies d join payments p on p.id = d.payment_id
 cross join lateral (
       select sum(l.gross) as gross,
              (array_agg(l.report_id || ':' || l.line_no order by l.booked_at desc))[1] as line,
              (array_agg(l.class order by l.booked_at desc))[1] as class
         from refund_lines_of(d.payment_id, d.currency) l) t
 where {{these}} and {UNLISTED} and p.refunded_amount + t.gross + {REFUNDED_BY_DECISIONS} <= 0
 order by d.id for update of d
"""
LISTED_OF: Final = LISTED_SINCE.format(these="d.payment_id = any ($1)")
LISTED_OF_DAY: Final = LISTED_SINCE.format(these="d.gateway = $1 and d.day = $2")
LISTED_BEFORE: Final = """
select payment_id, count(*) as times from discrepancies d
 where payment_id = any ($1) and kind = 'refund_mismatch' and report_id is null
   and status = 'resolved' and resolution = 'itself'
 group by payment_id
"""
REJECT: Final = """
update discrepancy_resolutions set state = 'rejected', decided_by = $2, decided_at = db_now()
 where discrepancy_id = $1 and state = 'proposed'
"""
OF_LINES: Final = f"""
select {COLUMNS} from discrepancies d
  join unnest($1::uuid[], $2::bigint[]) as l(report_id, line_no)
    on l.report_id = d.report_id and l.line_no = d.line_no
 where d.status <> 'resolved' and d.kind not in {BOOKED_KINDS}
 order by d.id for update of d
"""
WAS_REOPENED: Final = """
select exists (select from discrepancy_events where discrepancy_id = $1 and event = 'reopened')
"""
BECAME_MISSING: Final = """
with late as (
  select id from discrepancies
   where gateway = $1 and status <> 'resolved' and kind = 'delayed_settlement'
     and missing_from < $2::date for update
), step as (
  update discrepancies d set version = d.version + 1, updated_at = db_now(),
         kind = 'missing_at_gateway'
    from late where d.id = late.id returning d.id, d.version, d.status, d.updated_at
)
insert into discrepancy_events (discrepancy_id, seq, event, status, by, facts, at)
select id, version, 'became missing', status, $3, jsonb_build_object('on', $2::date), updated_at
  from step
"""
