-- Reconciliation (Diagram 10): what the gateway says it settled, what became of each line, and
-- what a person decided where the two sides differ (decisions 33 to 37).
--
-- Read in this order: reconciliation_days (the verdict of a day, and its seal), settlement_reports,
-- settlement_lines (each in one class), quarantined_lines, reconciliation_runs, discrepancies with
-- their events, resolutions, entries and evidence, and at the end what the ledger shows of it.
--
-- Rules a change must keep: a line stands once, in one class, for ever; a discrepancy changes only
-- with its event; money that a decision moves is a balanced entry; a second approver is another
-- person; nothing of a sealed day changes, whoever asks.

create table reconciliation_days (
  gateway text not null,
  day date not null,
  closed_by_run uuid,
  closed_at timestamptz,
  verdict text not null default 'incomplete'
    check (verdict in ('incomplete', 'open discrepancies', 'closed')),
  because text,
  sealed_at timestamptz,
  sealed_by text,
  primary key (gateway, day),
  check ((sealed_at is null) = (sealed_by is null)),
  check (sealed_at is null or verdict = 'closed')
);

create table settlement_reports (
  id uuid primary key,
  gateway text not null,
  day date not null,
  part text not null default '',
  report_ref text not null,
  origin text not null check (origin in ('gateway', 'file')),
  format text not null,
  status text not null check (status in ('open', 'closed')),
  line_count bigint check (line_count >= 0),
  gross_total bigint,
  net_total bigint,
  lines_stored bigint not null default 0,
  gross_stored bigint not null default 0,
  net_stored bigint not null default 0,
  resume_cursor text,
  received_at timestamptz not null,
  updated_at timestamptz not null,
  unique (gateway, day, part)
);

-- A line that counts is its own entry in the ledger: net to the bank, the fee kept, the gross out
-- of the settled funds (postings.paid_out). That is one row a line where entries would be three.
create table settlement_lines (
  report_id uuid not null,
  line_no bigint not null check (line_no > 0),
  batch_id text not null,
  line_id text,
  transaction_id text,
  reference text,
  type text not null check (type in ('settlement', 'refund', 'chargeback', 'chargeback_reversal',
                                     'fee', 'settlement_failure', 'adjustment')),
  gross bigint not null,
  fee bigint not null,
  net bigint not null,
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  booked_at timestamptz not null,
  value_date date not null,
  payment_id uuid,
  class text not null,
  at_stake bigint not null check (at_stake >= 0),
  fee_agreed bigint check (class = 'fee_drift' or fee_agreed is null),
  run_id uuid not null default current_setting('caas.run_id')::uuid,
  at timestamptz not null default current_setting('caas.run_at')::timestamptz,
  posts boolean not null generated always as
    (class in ('matched', 'given_back', 'partial_settlement', 'fee_drift')) stored,
  primary key (report_id, line_no),
  check (gross - fee = net)
);
create index settlement_lines_of_payment on settlement_lines (payment_id)
  where payment_id is not null;

-- Lines whose payment was not known when they were judged, and is since.
create table identified_lines (
  report_id uuid not null,
  line_no bigint not null,
  payment_id uuid not null,
  at timestamptz not null,
  primary key (report_id, line_no),
  foreign key (report_id, line_no) references settlement_lines (report_id, line_no)
);
create index identified_lines_of_payment on identified_lines (payment_id);

create table quarantined_lines (
  report_id uuid not null references settlement_reports,
  place bigint not null,
  reason text not null,
  text text not null,
  found_at timestamptz not null,
  released_at timestamptz,
  released_by text,
  note text,
  primary key (report_id, place),
  check ((released_at is null) = (released_by is null))
);

create table reconciliation_runs (
  id uuid primary key,
  gateway text not null,
  day date not null,
  mode text not null check (mode in ('incremental', 'close')),
  state text not null check (state in ('running', 'done', 'refused', 'stopped')),
  rule_version text not null,
  engine text,
  as_of timestamptz,
  lines bigint not null default 0,
  input_hash text,
  output_hash text,
  counts jsonb not null default '{}',
  because text,
  started_at timestamptz not null,
  finished_at timestamptz
);
create index reconciliation_runs_of_day on reconciliation_runs (gateway, day);

create table discrepancies (
  id uuid primary key,
  gateway text not null,
  day date not null,
  kind text not null,
  status text not null check (status in ('open', 'waiting', 'proposed', 'resolved')),
  version integer not null,
  owner text,
  amount bigint not null check (amount >= 0),
  currency text not null,
  payment_id uuid,
  report_id uuid,
  line_no bigint,
  due_on date not null,
  missing_from date,
  resolution text,
  opened_at timestamptz not null,
  updated_at timestamptz not null,
  foreign key (report_id, line_no) references settlement_lines (report_id, line_no)
);
create index open_discrepancies on discrepancies (payment_id) where status <> 'resolved';
create index discrepancies_of_line on discrepancies (report_id, line_no)
  where report_id is not null;
create index discrepancies_of_day on discrepancies (gateway, day);

create table discrepancy_events (
  discrepancy_id uuid not null references discrepancies deferrable initially deferred,
  seq integer not null,
  event text not null check (event in
    ('opened', 'assigned', 'noted', 'evidence attached', 'became missing', 'proposed', 'rejected',
     'approved', 'resolved', 'resolved itself', 'reopened')),
  status text not null,
  by text not null,
  facts jsonb not null default '{}',
  at timestamptz not null,
  primary key (discrepancy_id, seq)
);

create table discrepancy_resolutions (
  id uuid primary key,
  discrepancy_id uuid not null references discrepancies,
  resolution text not null check (resolution in
    ('accept_loss', 'wait', 'claim_from_gateway', 'refund_the_customer', 'write_off',
     'correct_by_entry')),
  note text not null check (length(note) between 1 and 1000),
  amount bigint not null,
  currency text not null,
  needs_second_approver boolean not null,
  state text not null check (state in ('proposed', 'approved', 'rejected')),
  proposed_by text not null,
  proposed_at timestamptz not null,
  decided_by text,
  decided_at timestamptz,
  check ((state = 'proposed') = (decided_by is null)),
  check ((decided_by is null) = (decided_at is null)),
  constraint second_approver_is_another_person
    check (not needs_second_approver or state <> 'approved' or decided_by <> proposed_by)
);
create unique index one_proposal_at_a_time on discrepancy_resolutions (discrepancy_id)
  where state = 'proposed';

create table discrepancy_entries (
  id bigint generated always as identity primary key,
  discrepancy_id uuid not null references discrepancies,
  resolution_id uuid references discrepancy_resolutions,
  payment_id uuid,
  debit text not null,
  credit text not null,
  amount bigint not null check (amount > 0),
  currency text not null,
  at timestamptz not null,
  check (debit <> credit)
);
create index discrepancy_entries_of on discrepancy_entries (discrepancy_id);

create table discrepancy_evidence (
  id uuid primary key,
  discrepancy_id uuid not null references discrepancies,
  name text not null check (length(name) between 1 and 200),
  media_type text not null,
  content bytea not null check (octet_length(content) between 1 and 5242880),
  digest bytea not null,
  attached_by text not null,
  attached_at timestamptz not null
);
create index discrepancy_evidence_of on discrepancy_evidence (discrepancy_id);

-- Which captures, refunds and deliveries came in a span of time, without reading the whole ledger.
create index ledger_entries_in_time on ledger_entries using brin (at)
  with (pages_per_range = 32, autosummarize = on);
create index delivery_evidence_in_time on delivery_evidence using brin (recorded_at)
  with (pages_per_range = 32, autosummarize = on);

-- The ledger, whole: payments' entries, the lines that count, and what people decided.
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
  select id, payment_id, null::integer, debit, amount, currency, at from discrepancy_entries
  union all
  select id, payment_id, null::integer, credit, -amount, currency, at from discrepancy_entries;

-- Guards. They hold for every session, whoever it belongs to.

create trigger append_only before update or delete or truncate on settlement_lines
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on identified_lines
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on discrepancy_events
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on discrepancy_entries
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on discrepancy_evidence
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on discrepancies
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on discrepancy_resolutions
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on settlement_reports
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on quarantined_lines
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on reconciliation_days
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on reconciliation_runs
  for each statement execute function refuse_change();

create function refuse_if_sealed(p_gateway text, p_day date) returns void language plpgsql as $$
declare v_sealed_at timestamptz;
begin
  -- The lock makes a seal and a change that race each other wait for one another.
  select sealed_at into v_sealed_at from caas.reconciliation_days
   where gateway = p_gateway and day = p_day for share;
  if v_sealed_at is not null then
    raise exception 'the day % of % is sealed: nothing of it changes any more', p_day, p_gateway
      using errcode = 'restrict_violation';
  end if;
end $$;

create function refuse_change_of_sealed_day() returns trigger language plpgsql as $$
begin
  perform caas.refuse_if_sealed(new.gateway, new.day);
  return new;
end $$;
create trigger not_of_a_sealed_day before insert or update on settlement_reports
  for each row execute function refuse_change_of_sealed_day();
create trigger not_of_a_sealed_day before insert or update on discrepancies
  for each row execute function refuse_change_of_sealed_day();

-- One look at the report for all the lines of a statement, where a foreign key looks once a line.
create function refuse_lines_of_sealed_day() returns trigger language plpgsql as $$
declare v_report uuid; v_gateway text; v_day date;
begin
  for v_report, v_gateway, v_day in
    select n.report_id, r.gateway, r.day
      from (select distinct report_id from new_rows) n
      left join caas.settlement_reports r on r.id = n.report_id
  loop
    if v_gateway is null then
      raise exception 'a line belongs to a report, and there is none with the id %', v_report
        using errcode = 'foreign_key_violation';
    end if;
    perform caas.refuse_if_sealed(v_gateway, v_day);
  end loop;
  return null;
end $$;
create trigger not_of_a_sealed_day after insert on settlement_lines
  referencing new table as new_rows for each statement execute function refuse_lines_of_sealed_day();
create trigger not_of_a_sealed_day after insert on quarantined_lines
  referencing new table as new_rows for each statement execute function refuse_lines_of_sealed_day();
create trigger not_of_a_sealed_day_either after update on quarantined_lines
  referencing new table as new_rows for each statement execute function refuse_lines_of_sealed_day();

create function refuse_children_of_sealed_day() returns trigger language plpgsql as $$
begin
  perform caas.refuse_if_sealed(d.gateway, d.day)
     from (select distinct discrepancy_id from new_rows) n
     join caas.discrepancies d on d.id = n.discrepancy_id;
  return null;
end $$;
create trigger not_of_a_sealed_day after insert on discrepancy_events
  referencing new table as new_rows
  for each statement execute function refuse_children_of_sealed_day();
create trigger not_of_a_sealed_day after insert on discrepancy_entries
  referencing new table as new_rows
  for each statement execute function refuse_children_of_sealed_day();
create trigger not_of_a_sealed_day after insert on discrepancy_evidence
  referencing new table as new_rows
  for each statement execute function refuse_children_of_sealed_day();
create trigger not_of_a_sealed_day after insert on discrepancy_resolutions
  referencing new table as new_rows
  for each statement execute function refuse_children_of_sealed_day();
create trigger not_of_a_sealed_day_either after update on discrepancy_resolutions
  referencing new table as new_rows
  for each statement execute function refuse_children_of_sealed_day();

create function refuse_broken_seal() returns trigger language plpgsql as $$
begin
  raise exception 'the day % of % is sealed: nothing of it changes any more', old.day, old.gateway
    using errcode = 'restrict_violation';
end $$;
create trigger stays_sealed before update on reconciliation_days for each row
  when (old.sealed_at is not null) execute function refuse_broken_seal();

create function check_day_to_seal() returns trigger language plpgsql as $$
begin
  if new.verdict = 'closed' and exists (
       select from caas.discrepancies
        where gateway = new.gateway and day = new.day and status <> 'resolved') then
    raise exception 'the day % of % has open discrepancies', new.day, new.gateway
      using errcode = 'check_violation';
  end if;
  if new.sealed_at is not null and exists (
       select from caas.open_work w join caas.discrepancies o on o.id = w.subject
        where w.kind = 'carry_out_resolution' and o.gateway = new.gateway and o.day = new.day) then
    raise exception 'decisions of the day % of % are not carried out', new.day, new.gateway
      using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger sealed_only_when_closed before insert or update on reconciliation_days
  for each row execute function check_day_to_seal();

-- A discrepancy says what its last event says; what it is about never changes, but for a delayed
-- settlement that has become a missing one.
create function check_discrepancy() returns trigger language plpgsql as $$
begin
  if not exists (select from caas.discrepancy_events e
                  where e.discrepancy_id = new.id and e.seq = new.version
                    and e.status = new.status) then
    raise exception 'discrepancy % changes only with its event', new.id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;
create constraint trigger changes_with_its_event after insert or update on discrepancies
  deferrable initially deferred for each row execute function check_discrepancy();

create function refuse_other_discrepancy() returns trigger language plpgsql as $$
begin
  raise exception 'discrepancy % changes only with its event; what it is about never changes',
    old.id using errcode = 'check_violation';
end $$;
create trigger is_about_one_thing before update on discrepancies for each row
  when ((new.id, new.gateway, new.day, new.amount, new.currency, new.payment_id, new.report_id,
         new.line_no, new.opened_at)
        is distinct from (old.id, old.gateway, old.day, old.amount, old.currency, old.payment_id,
         old.report_id, old.line_no, old.opened_at)
        or new.version <> old.version + 1
        or new.kind <> old.kind
           and not (old.kind = 'delayed_settlement' and new.kind = 'missing_at_gateway'))
  execute function refuse_other_discrepancy();

create function refuse_other_resolution() returns trigger language plpgsql as $$
begin
  raise exception 'a resolution is decided once, and stays as it was proposed'
    using errcode = 'check_violation';
end $$;
create trigger is_decided_once before update on discrepancy_resolutions for each row
  when (old.state <> 'proposed'
        or (new.id, new.discrepancy_id, new.resolution, new.note, new.amount, new.currency,
            new.needs_second_approver, new.proposed_by, new.proposed_at)
           is distinct from (old.id, old.discrepancy_id, old.resolution, old.note, old.amount,
            old.currency, old.needs_second_approver, old.proposed_by, old.proposed_at))
  execute function refuse_other_resolution();

create trigger is_finished_once before update on reconciliation_runs for each row
  when (old.finished_at is not null
        or (old.id, old.gateway, old.day, old.mode, old.rule_version, old.started_at)
           is distinct from
           (new.id, new.gateway, new.day, new.mode, new.rule_version, new.started_at))
  execute function refuse_other_run();

create function refuse_other_report() returns trigger language plpgsql as $$
begin
  raise exception '% of a report: what the gateway sent never changes', tg_table_name
    using errcode = 'check_violation';
end $$;
create trigger is_of_one_day before update on settlement_reports for each row
  when ((old.id, old.gateway, old.day, old.part, old.origin, old.format, old.received_at)
        is distinct from
        (new.id, new.gateway, new.day, new.part, new.origin, new.format, new.received_at))
  execute function refuse_other_report();
create trigger is_released_once before update on quarantined_lines for each row
  when (old.released_at is not null
        or (old.report_id, old.place, old.reason, old.text, old.found_at)
           is distinct from (new.report_id, new.place, new.reason, new.text, new.found_at))
  execute function refuse_other_report();
