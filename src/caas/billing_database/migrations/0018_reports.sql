-- Reconciliation, second part: verdicts are computed, seals keep what they sealed, late lines have
-- a day, what could not be read stays until that line comes, and finance keeps formats, fee terms
-- and claims as data.
--
-- Rules a change must keep: a verdict is never stored; a sealed report is never written again; a
-- claim changes only with its event; a run that did not end well says why.

-- Verdicts -----------------------------------------------------------------------------------

drop trigger sealed_only_when_closed on reconciliation_days;
drop function check_day_to_seal;
alter table reconciliation_days drop column verdict, drop column because;

-- Lines of a sealed day that come later belong to the next open day, as a report of their own.
alter table settlement_reports add column late_of date check (late_of < day),
  add column resume_rows bigint not null default 0 check (resume_rows >= 0);
alter table reconciliation_runs add column late_of date check (late_of < day),
  add constraint a_run_says_why_it_did_not_end
    check (state not in ('refused', 'stopped') or because is not null) not valid;

-- One row for each time that a line was unreadable, or contradicted what is stored.
alter table quarantined_lines drop constraint quarantined_lines_pkey,
  add column id uuid primary key default gen_random_uuid(),
  add column kind text not null default 'unreadable'
    check (kind in ('unreadable', 'contradicts')),
  add column line_no bigint,
  add column line_id text;
create index quarantined_lines_of_report on quarantined_lines (report_id, place);

create index unresolved_of_day on discrepancies (gateway, day) where status <> 'resolved';
create index unresolved_by_due on discrepancies (due_on, id) where status <> 'resolved';

create view reconciliation_verdicts as
select d.gateway, d.day, d.closed_by_run, d.closed_at, d.sealed_at, d.sealed_by,
       case when d.sealed_at is not null then 'closed'
            when c.lacking <> '' or c.wrong <> '' then 'incomplete'
            when u.discrepancies + w.decisions > 0 then 'open discrepancies'
            else 'closed' end as verdict,
       case when d.sealed_at is not null then null
            when c.lacking <> '' or c.wrong <> '' then concat_ws('; ', nullif(c.lacking, ''),
              nullif(c.wrong, ''))
            when u.discrepancies > 0 then 'not resolved: ' || u.discrepancies
            when w.decisions > 0 then 'not carried out: ' || w.decisions end as because,
       c.wrong = '' as only_unfinished
  from reconciliation_days d
 cross join lateral (
       select count(*) filter (where r.late_of is null) as reports,
              count(*) filter (where r.status = 'open') as open_reports,
              count(*) filter (where r.line_count > r.lines_stored + (
                select count(distinct q.line_no) from quarantined_lines q
                 where q.report_id = r.id and q.kind = 'unreadable'
                   and q.released_by is distinct from 'reconciliation')) as short_reports
         from settlement_reports r where r.gateway = d.gateway and r.day = d.day) r
 cross join lateral (
       select count(*) filter (where q.kind = 'unreadable') as unreadable,
              count(*) filter (where q.kind <> 'unreadable') as contradicting
         from quarantined_lines q join settlement_reports s on s.id = q.report_id
        where s.gateway = d.gateway and s.day = d.day and q.released_at is null) q
 cross join lateral (
       select count(*) as discrepancies from discrepancies o
        where o.gateway = d.gateway and o.day = d.day and o.status <> 'resolved') u
 cross join lateral (
       select count(*) as decisions from open_work w join discrepancies o on o.id = w.subject
        where w.kind = 'carry_out_resolution'
          and o.gateway = d.gateway and o.day = d.day) w
 cross join lateral (
       select concat_ws('; ',
                case when r.reports = 0 then 'no settlement report has come' end,
                case when r.open_reports > 0 then 'a report is still open' end,
                case when d.closed_by_run is null then 'our records were not compared yet' end
              ) as lacking,
              concat_ws('; ',
                case when r.short_reports > 0 then 'a report lacks lines' end,
                case when q.unreadable > 0
                     then 'lines that could not be read: ' || q.unreadable end,
                case when q.contradicting > 0
                     then 'lines that contradict what is stored: ' || q.contradicting end
              ) as wrong) c;

create function check_seal() returns trigger language plpgsql as $$
declare v_verdict text; v_because text;
begin
  select verdict, because into v_verdict, v_because from caas.reconciliation_verdicts
   where gateway = new.gateway and day = new.day;
  if v_verdict is distinct from 'closed' then
    raise exception 'the day % of % cannot be sealed: it is %', new.day, new.gateway,
      coalesce(v_verdict || ' (' || v_because || ')', 'new')
      using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger sealed_only_when_closed before insert or update on reconciliation_days
  for each row when (new.sealed_at is not null) execute function check_seal();

-- What was sealed, byte for byte.
create table sealed_reports (
  gateway text not null,
  day date not null,
  form text not null check (form in ('csv', 'pdf')),
  content bytea not null,
  digest bytea not null check (digest = sha256(content)),
  sealed_at timestamptz not null,
  primary key (gateway, day, form),
  foreign key (gateway, day) references reconciliation_days
);
create trigger append_only before update or delete or truncate on sealed_reports
  for each statement execute function refuse_change();

-- Lines ----------------------------------------------------------------------------------------

-- What a provider keeps, holds back, bills, taxes, transfers or converts is no payment's money: its
-- net moves between the bank and an account of its own (postings.OF_PROVIDER).
alter table settlement_lines drop constraint settlement_lines_type_check,
  add constraint settlement_lines_type_check check (type in (
    'settlement', 'refund', 'refund_reversal', 'chargeback', 'chargeback_reversal', 'fee',
    'settlement_failure', 'adjustment', 'cost', 'tax', 'invoice', 'reserve', 'transfer',
    'carried', 'conversion')),
  add column method text,
  add column commission bigint,
  add column markup bigint,
  add column scheme_fees bigint,
  add column interchange bigint,
  add column rate numeric check (rate > 0);
create index unknown_lines_by_transaction on settlement_lines (transaction_id)
  where class = 'missing_in_book' and transaction_id is not null;
create index unknown_lines_by_reference on settlement_lines (reference)
  where class = 'missing_in_book' and reference is not null;
create index payment_events_in_time on payment_events using brin (at)
  with (pages_per_range = 32, autosummarize = on);

create or replace view ledger_lines as
  select id, payment_id, seq, debit as account, amount, currency, at from ledger_entries
  union all
  select id, payment_id, seq, credit, -amount, currency, at from ledger_entries
  union all
  select null::bigint, l.payment_id, null::integer, leg.account, leg.amount, l.currency, l.at
    from settlement_lines l cross join lateral (values
      ('bank', l.net), ('gateway_fees', l.fee), ('settled_funds', -l.gross)) leg(account, amount)
   where l.posts and leg.amount <> 0
  union all
  select null::bigint, null::uuid, null::integer, leg.account, leg.amount, l.currency, l.at
    from settlement_lines l
    join (values ('provider_fee', 'gateway_fees'), ('provider_cost', 'provider_costs'),
            ('provider_tax', 'provider_tax'), ('provider_invoice', 'provider_invoices'),
            ('reserve', 'provider_reserves'), ('own_transfer', 'own_transfers'),
            ('carried_balance', 'provider_balance'), ('conversion', 'currency_conversion'))
      of(class, account) on of.class = l.class
   cross join lateral (values ('bank', l.net), ('gateway_fees', l.fee * (l.gross <> 0)::integer),
      (of.account, - l.net - l.fee * (l.gross <> 0)::integer)) leg(account, amount)
   where leg.amount <> 0
  union all
  select id, payment_id, null::integer, debit, amount, currency, at from discrepancy_entries
  union all
  select id, payment_id, null::integer, credit, -amount, currency, at from discrepancy_entries;

-- What finance keeps as data -------------------------------------------------------------------

-- A provider's own file format: which of its columns is which of ours. Each change is a version.
create table report_mappings (
  name text not null check (name ~ '^[a-z0-9][a-z0-9_-]{0,39}$'),
  version integer not null check (version > 0),
  mapping jsonb not null,
  kept_by text not null,
  kept_at timestamptz not null,
  retired boolean not null default false,
  primary key (name, version)
);
create trigger append_only before update or delete or truncate on report_mappings
  for each statement execute function refuse_change();

-- What a provider may keep of a line, by payment method and kind of line; '*' is any other.
create table fee_terms (
  gateway text not null,
  method text not null check (method ~ '^(\*|[a-z0-9][a-z0-9_-]{0,39})$'),
  kind text not null check (kind in
    ('settlement', 'refund', 'refund_reversal', 'chargeback', 'chargeback_reversal', 'fee')),
  valid_from date not null,
  rate_ppm bigint not null check (rate_ppm between 0 and 1000000),
  fixed bigint not null check (fixed between 0 and 1000000),
  tolerance bigint not null check (tolerance between 0 and 1000000),
  kept_by text not null,
  kept_at timestamptz not null,
  primary key (gateway, method, kind, valid_from, kept_at)
);
create trigger append_only before update or delete or truncate on fee_terms
  for each statement execute function refuse_change();

-- Many discrepancies decided by one rule are one decision.
alter table discrepancy_resolutions add column bulk_id uuid;
create index discrepancy_resolutions_of_bulk on discrepancy_resolutions (bulk_id)
  where bulk_id is not null;

-- A claim on the provider: what it came to since it was filed, with the provider's receipt.
create table gateway_claims (
  discrepancy_id uuid primary key references discrepancies,
  gateway text not null,
  status text not null check (status in ('filed', 'sent', 'accepted', 'paid', 'refused')),
  version integer not null check (version > 0),
  receipt text check (length(receipt) between 1 and 200),
  amount bigint not null check (amount >= 0),
  currency text not null,
  due_on date not null,
  filed_at timestamptz not null,
  updated_at timestamptz not null,
  check (status not in ('sent', 'accepted', 'paid') or receipt is not null)
);
create index open_gateway_claims on gateway_claims (due_on) where status not in ('paid', 'refused');
create table gateway_claim_events (
  discrepancy_id uuid not null references gateway_claims deferrable initially deferred,
  seq integer not null,
  status text not null,
  by text not null,
  note text not null check (length(note) between 1 and 1000),
  receipt text,
  at timestamptz not null,
  primary key (discrepancy_id, seq)
);
create trigger append_only before update or delete or truncate on gateway_claim_events
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on gateway_claims
  for each statement execute function refuse_change();
create function check_gateway_claim() returns trigger language plpgsql as $$
begin
  if not exists (select from caas.gateway_claim_events e
                  where e.discrepancy_id = new.discrepancy_id and e.seq = new.version
                    and e.status = new.status) then
    raise exception 'the claim of discrepancy % changes only with its event', new.discrepancy_id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;
create constraint trigger changes_with_its_event after insert or update on gateway_claims
  deferrable initially deferred for each row execute function check_gateway_claim();
