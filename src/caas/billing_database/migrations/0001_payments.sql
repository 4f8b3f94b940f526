-- The payment, its events, its claim, its evidence, its money, its open work.
--
-- Read in this order: legal_arrows (Diagram 9 as data), payments (one row each, state by the last
-- event), payment_events (append-only, hash-chained), delivery_evidence and resolution_claims
-- (who may capture, and why), ledger_entries (every movement of money), open_work (everything
-- that must still happen), idempotency_keys, webhook_inbox, cases.
--
-- Rules a change must keep: money is bigint minor units with its currency; what is append-only
-- is guarded by a trigger; a payment changes only through accept_payments and move_payments.

-- The database's clock. Only tests move it; waits and leases all read it here.
create table clock (
  only_row boolean primary key default true check (only_row),
  moved interval not null default '0'
);
insert into clock default values;

create function db_now() returns timestamptz language sql stable as
$$ select clock_timestamp() + (select moved from caas.clock) $$;

-- Diagram 9 and the arrows beyond it; a remark leads from each state to the same one.
create table legal_arrows (
  event text not null,
  from_state text not null,
  to_state text not null,
  primary key (event, from_state, to_state)
);

create table payments (
  id uuid primary key,
  type text not null check (type in ('reservation', 'final', 'service', 'subscription')),
  subject uuid not null,
  customer uuid not null,
  amount bigint not null check (amount > 0),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  payment_method text,
  return_url text,
  state text not null,
  came_from text,
  outcome text not null default 'known' check (outcome in ('known', 'unknown')),
  version integer not null,
  event_hash bytea not null,
  decline_code text,
  gateway_transaction_id text unique,
  hosted_page_url text,
  capture_before timestamptz,
  authorised_amount bigint not null default 0 check (authorised_amount between 0 and amount),
  captured_amount bigint not null default 0 check (captured_amount between 0 and amount),
  settled_amount bigint not null default 0 check (settled_amount >= 0),
  refunded_amount bigint not null default 0 check (refunded_amount >= 0),
  disputed_amount bigint not null default 0 check (disputed_amount >= 0),
  created_at timestamptz not null,
  updated_at timestamptz not null,
  live boolean not null generated always as (state not in ('Failed', 'Voided', 'Refunded')) stored
) with (fillfactor = 60);
create unique index one_live_payment_per_subject on payments (subject, type) where live;
create index payments_of_customer on payments (customer, created_at);
create index payments_of_subject on payments (subject);

create table payment_events (
  payment_id uuid not null,
  seq integer not null,
  event text not null,
  from_state text,
  to_state text not null,
  source text not null,
  facts jsonb not null,
  at timestamptz not null,
  hash bytea not null,
  primary key (payment_id, seq),
  unique (payment_id, source)
);

-- The bytes of which an event's hash is the digest, behind the hash of the event before it.
-- Stable, because convert_to is no more than that: only then is it written out where it is called.
create function event_digest(
  before bytea, payment_id uuid, seq integer, event text, to_state text, source text,
  facts jsonb, at timestamptz
) returns bytea language sql stable parallel safe as
$$ select sha256(before || convert_to(
     payment_id::text || '|' || seq::text || '|' || event || '|' || to_state || '|' || source
     || '|' || facts::text || '|' || extract(epoch from at)::text, 'UTF8')) $$;

-- What proves a delivery: the vehicle's signed acknowledgement of a one-time service, or the
-- record behind the other payment types (decisions 14, 15). Refused acknowledgements stay too.
-- A vehicle that confirms a deactivation has delivered nothing.
create table delivery_evidence (
  id uuid primary key,
  subject uuid not null,
  kind text not null check (kind in
    ('vehicle_acknowledgement', 'reservation_recorded', 'order_confirmed', 'usage_snapshot')),
  command_id uuid,
  action text check (action in ('activate', 'deactivate')),
  epoch bigint,
  vin text,
  service text,
  status text not null,
  status_reason text,
  at text not null,
  signature bytea,
  verified boolean not null,
  refused_because text,
  recorded_at timestamptz not null,
  proves_delivery boolean not null generated always as
    (verified and status = 'SUCCEEDED' and action is distinct from 'deactivate') stored,
  check (kind <> 'vehicle_acknowledgement' or not verified
    or (command_id is not null and epoch is not null and action is not null
        and signature is not null and octet_length(signature) = 64)),
  check (verified = (refused_because is null)),
  unique (subject, id, kind, proves_delivery)
);
create unique index evidence_counts_once on delivery_evidence
  (subject, kind, coalesce(command_id, subject), status, coalesce(signature, ''::bytea));

-- One capture or one void per authorisation, claimed before the gateway hears of it (decision 7).
create table resolution_claims (
  payment_id uuid primary key,
  payment_type text not null,
  kind text not null check (kind in ('capture', 'void')),
  reason text not null,
  evidence_id uuid,
  evidence_kind text,
  proves_delivery boolean,
  claimed_at timestamptz not null,
  check (kind = 'void' or (evidence_id is not null and evidence_kind is not null
                           and proves_delivery is true)),
  check (kind = 'void' or evidence_kind = case payment_type
    when 'service' then 'vehicle_acknowledgement'
    when 'reservation' then 'reservation_recorded'
    when 'final' then 'order_confirmed'
    when 'subscription' then 'usage_snapshot' end),
  foreign key (payment_id, evidence_id, evidence_kind, proves_delivery)
    references delivery_evidence (subject, id, kind, proves_delivery)
);

-- Every movement of money, as a transfer between two accounts: an entry cannot be unbalanced,
-- because it has exactly one amount and exactly two sides (decision 40).
create table ledger_entries (
  id bigint generated always as identity primary key,
  payment_id uuid not null,
  seq integer not null,
  debit text not null,
  credit text not null,
  amount bigint not null check (amount > 0),
  currency text not null,
  at timestamptz not null,
  check (debit <> credit)
);
create index ledger_entries_of_payment on ledger_entries (payment_id);

create view ledger_lines as
  select id, payment_id, seq, debit as account, amount, currency, at from ledger_entries
  union all
  select id, payment_id, seq, credit, -amount, currency, at from ledger_entries;

-- Everything that must still happen; the happy path does it at once, this row is the safety net.
create table open_work (
  kind text not null,
  subject uuid not null,
  due_at timestamptz not null,
  attempts integer not null default 0,
  lease_until timestamptz,
  fence bigint not null default 0,
  payload jsonb not null default '{}',
  last_error text,
  parked_at timestamptz,
  created_at timestamptz not null,
  primary key (kind, subject)
) with (fillfactor = 60);
create index open_work_due on open_work (due_at) where parked_at is null;
create index open_work_of_subject on open_work (subject);

-- One counter for all vehicles: a later command always has the higher epoch (decision 16).
create sequence ota_epochs;

create table ota_commands (
  command_id uuid primary key,
  subject uuid not null,
  vin text not null,
  service text not null,
  action text not null check (action in ('activate', 'deactivate')),
  purpose text not null check (purpose in ('service payment', 'subscription')),
  epoch bigint not null default nextval('ota_epochs') unique,
  valid_until timestamptz,
  deadline timestamptz not null,
  created_at timestamptz not null
);
create index ota_commands_of_subject on ota_commands (subject);

create table idempotency_keys (
  caller text not null,
  key_hash bytea not null,
  request_hash bytea not null,
  payment_id uuid,
  answer_status integer,
  answer_body bytea,
  created_at timestamptz not null,
  primary key (caller, key_hash)
);

create table webhook_inbox (
  id uuid primary key,
  gateway text not null,
  event_id text not null,
  body_hash bytea not null,
  body jsonb not null,
  received_at timestamptz not null,
  unique (gateway, event_id)
);

-- What a person must look at: a contradiction, an unknown outcome, a late truth.
create table cases (
  id uuid primary key,
  kind text not null,
  subject uuid not null,
  sentence text not null,
  facts jsonb not null default '{}',
  owner text,
  status text not null default 'open' check (status in ('open', 'resolved')),
  resolution text,
  opened_at timestamptz not null,
  resolved_at timestamptz,
  check ((status = 'resolved') = (resolved_at is not null))
);
create unique index one_open_case_per_kind on cases (kind, subject) where status = 'open';

-- Guards. They hold for every session, whoever it belongs to.

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only: a row of it is never changed or removed', tg_table_name
    using errcode = 'restrict_violation';
end $$;

create trigger append_only before update or delete or truncate on payment_events
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on ledger_entries
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on delivery_evidence
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on resolution_claims
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on webhook_inbox
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on ota_commands
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on payments
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on cases
  for each statement execute function refuse_change();
create trigger never_emptied before truncate on open_work
  for each statement execute function refuse_change();
create trigger never_emptied before truncate on idempotency_keys
  for each statement execute function refuse_change();

-- What may move where is the rules' to say: it is written down while a migration runs, and by nobody
-- else.
create function refuse_other_arrows() returns trigger language plpgsql as $$
begin
  if current_setting('caas.migration', true) is distinct from 'runs' then
    raise exception '% is written by a migration alone', tg_table_name
      using errcode = 'restrict_violation';
  end if;
  return null;
end $$;
create trigger are_the_rules before insert or update or delete or truncate on legal_arrows
  for each statement execute function refuse_other_arrows();

-- An answer is repeated for as long as callers may repeat their requests, and stays as it was.
create function refuse_other_answer() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    if old.created_at < caas.db_now() - interval '90 days' or old.answer_status is null
       and not exists (select from caas.payments p where p.id = old.payment_id) then
      return old;
    end if;
    raise exception 'a key is kept for 90 days: whoever repeats a request gets the first answer'
      using errcode = 'restrict_violation';
  end if;
  raise exception 'a key belongs to one request, which is answered once'
    using errcode = 'restrict_violation';
end $$;
create trigger answers_once before update on idempotency_keys for each row
  when (old.answer_status is not null
        or (old.caller, old.key_hash, old.request_hash, old.payment_id)
           is distinct from (new.caller, new.key_hash, new.request_hash, new.payment_id))
  execute function refuse_other_answer();
create trigger is_kept before delete on idempotency_keys
  for each row execute function refuse_other_answer();

create function refuse_other_case() returns trigger language plpgsql as $$
begin
  raise exception 'case %: what it is about never changes, and it is resolved once', old.id
    using errcode = 'check_violation';
end $$;
create trigger is_about_one_thing before update on cases for each row
  when (old.status = 'resolved'
        or (old.id, old.kind, old.subject, old.sentence, old.facts, old.opened_at)
           is distinct from (new.id, new.kind, new.subject, new.sentence, new.facts, new.opened_at))
  execute function refuse_other_case();

-- A payment row says what its last event says, and that event is a legal arrow.
create function check_new_payments() returns trigger language plpgsql
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare v_id uuid;
begin
  select n.id into v_id from new_rows n
    left join caas.payment_events e on e.payment_id = n.id and e.seq = n.version
     and e.to_state = n.state and e.hash = n.event_hash
   where e.payment_id is null or n.state not in ('Initiated', 'Pending') limit 1;
  if found then
    raise exception 'payment % does not begin as Diagram 9 begins', v_id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;
create trigger begins_as_drawn after insert on payments
  referencing new table as new_rows for each statement execute function check_new_payments();

create function check_moved_payments() returns trigger language plpgsql
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare v_id uuid; v_from text; v_to text; v_legal boolean;
begin
  select n.id, n.came_from, n.state, a.event is not null into v_id, v_from, v_to, v_legal
    from new_rows n
    left join caas.payment_events e on e.payment_id = n.id and e.seq = n.version
     and e.hash = n.event_hash and e.from_state = n.came_from and e.to_state = n.state
    left join caas.legal_arrows a
      on a.event = e.event and a.from_state = e.from_state and a.to_state = e.to_state
    left join lateral (
      select c.kind from caas.resolution_claims c
       where n.came_from = 'Authorized' and n.state <> 'Authorized' and c.payment_id = n.id
       limit 1) c on true
   where a.event is null or n.came_from = 'Authorized' and n.state <> 'Authorized'
     and c.kind is distinct from case n.state when 'Capturing' then 'capture' else 'void' end
   limit 1;
  if not found then
    return null;
  elsif v_legal then
    raise exception 'payment % cannot become % without its claim', v_id, v_to
      using errcode = 'check_violation';
  end if;
  raise exception 'illegal move of payment % from % to %: no event of Diagram 9 leads there',
    v_id, v_from, v_to using errcode = 'check_violation';
end $$;
create trigger moves_as_drawn after update on payments
  referencing new table as new_rows for each statement execute function check_moved_payments();

create function refuse_rewrite() returns trigger language plpgsql as $$
begin
  raise exception 'payment % changes only by a move with its event; what it is for never changes',
    old.id using errcode = 'check_violation';
end $$;
create trigger changes_only_by_a_move before update on payments for each row
  when (new.version <> old.version + 1 or new.came_from is distinct from old.state
        or old.gateway_transaction_id is not null
        and new.gateway_transaction_id is distinct from old.gateway_transaction_id)
  execute function refuse_rewrite();
create trigger is_for_one_thing
  before update of id, type, subject, customer, amount, currency, created_at on payments
  for each row execute function refuse_rewrite();

create function check_new_entries() returns trigger language plpgsql
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare v_id uuid;
begin
  select n.payment_id into v_id from new_rows n
    left join caas.payments p on p.id = n.payment_id and p.currency = n.currency
   where p.id is null limit 1;
  if found then
    raise exception 'ledger entry for payment % has no such payment in its currency', v_id
      using errcode = 'foreign_key_violation';
  end if;
  return null;
end $$;
create trigger belongs_to_a_payment after insert on ledger_entries
  referencing new table as new_rows for each statement execute function check_new_entries();

-- A claim is on a payment, and asks for the evidence of that payment's type.
create function check_new_claims() returns trigger language plpgsql
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare v_id uuid;
begin
  select n.payment_id into v_id from new_rows n
    left join caas.payments p on p.id = n.payment_id and p.type = n.payment_type
   where p.id is null limit 1;
  if found then
    raise exception 'claim on payment %: there is no such payment of its type', v_id
      using errcode = 'foreign_key_violation';
  end if;
  return null;
end $$;
create trigger is_of_its_payment after insert on resolution_claims
  referencing new table as new_rows for each statement execute function check_new_claims();

-- A vehicle's word counts for what this vehicle was told to do for this subject, and nothing else;
-- a record of ours counts for a payment of the type that it is a record of.
create function check_new_evidence() returns trigger language plpgsql
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare v_id uuid;
begin
  select n.id into v_id from new_rows n
    left join caas.ota_commands c on c.command_id = n.command_id and c.subject = n.subject
     and c.action = n.action and c.epoch = n.epoch and c.vin = n.vin and c.service = n.service
   where n.verified and n.kind = 'vehicle_acknowledgement' and c.command_id is null limit 1;
  if found then
    raise exception 'acknowledgement % is not of a command that its vehicle was given', v_id
      using errcode = 'foreign_key_violation';
  end if;
  select n.id into v_id from new_rows n
    left join caas.payments p on p.id = n.subject and p.type = case n.kind
      when 'reservation_recorded' then 'reservation' when 'order_confirmed' then 'final'
      when 'usage_snapshot' then 'subscription' end
   where n.verified and n.kind <> 'vehicle_acknowledgement' and p.id is null limit 1;
  if found then
    raise exception 'evidence % is not of a payment of its type', v_id
      using errcode = 'foreign_key_violation';
  end if;
  return null;
end $$;
create trigger answers_a_command after insert on delivery_evidence
  referencing new table as new_rows for each statement execute function check_new_evidence();

-- The doors.

-- Accepts payments: the intent is durable before the gateway hears of it. Each row either
-- becomes a payment, or says which earlier call or which live payment stands in its way.
create function accept_payments(p_payments jsonb)
returns table (i bigint, verdict text, payment_id uuid, request_hash bytea,
               answer_status integer, answer_body bytea, key_created_at timestamptz,
               at timestamptz)
language plpgsql security definer
set search_path = caas, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
#variable_conflict use_column
begin
  return query
  with w as materialized (
    select r.id, r.type, r.subject, r.customer, r.amount, r.currency, r.payment_method,
           r.return_url, coalesce(r.facts, '{}') as facts, r.caller, r.key_hash, r.request_hash,
           r.work_kind, r.due_in, r.pending, r.i, now_.at,
           event_digest(''::bytea, r.id, 1, 'Customer submits payment', 'Initiated', 'accept',
                        coalesce(r.facts, '{}'), now_.at) as hash
      from rows from (jsonb_to_recordset(p_payments) as (
      id uuid, type text, subject uuid, customer uuid, amount bigint, currency text,
      payment_method text, return_url text, facts jsonb, caller text, key_hash bytea,
      request_hash bytea, work_kind text, due_in double precision, pending boolean))
      with ordinality as r(id, type, subject, customer, amount, currency, payment_method,
        return_url, facts, caller, key_hash, request_hash, work_kind, due_in, pending, i)
    cross join (select db_now() as at offset 0) now_
  ), keyed as (
    insert into idempotency_keys as k (caller, key_hash, request_hash, payment_id, created_at)
    select w.caller, w.key_hash, w.request_hash, w.id, w.at from w where w.caller is not null
    on conflict do nothing
    returning k.payment_id
  ), fresh as materialized (
    select w.*, w.caller is null or w.id in (select k.payment_id from keyed k) as is_fresh,
           event_digest(w.hash, w.id, 2, 'Gateway processing', 'Pending', 'intent', '{}', w.at)
             as second_hash
      from w
  ), accepted as (
    insert into payments as p (id, type, subject, customer, amount, currency, payment_method,
        return_url, state, version, event_hash, created_at, updated_at)
    select f.id, f.type, f.subject, f.customer, f.amount, f.currency, f.payment_method,
        f.return_url, case when f.pending then 'Pending' else 'Initiated' end,
        case when f.pending then 2 else 1 end,
        case when f.pending then f.second_hash else f.hash end, f.at, f.at
      from fresh f where f.is_fresh
    on conflict do nothing
    returning p.id
  ), going as materialized (
    select f.*, f.id in (select a.id from accepted a) as goes from fresh f
  ), events as (
    insert into payment_events
    select g.id, 1, 'Customer submits payment', null, 'Initiated', 'accept', g.facts, g.at, g.hash
      from going g where g.goes
    union all
    select g.id, 2, 'Gateway processing', 'Initiated', 'Pending', 'intent', '{}', g.at,
           g.second_hash
      from going g where g.goes and g.pending
  ), work as (
    insert into open_work (kind, subject, due_at, payload, created_at)
    select g.work_kind, g.id, g.at + make_interval(secs => g.due_in),
           jsonb_build_object('maybe_sent', g.due_in > 0), g.at
      from going g where g.goes and g.work_kind is not null
  )
  select g.i, case when g.goes then 'accepted' when g.is_fresh then 'live payment'
                   else 'key used' end,
         case when g.goes then g.id else coalesce(k.payment_id, l.id) end,
         k.request_hash, k.answer_status, k.answer_body, k.created_at, g.at
    from going g
    left join lateral (select * from idempotency_keys k
      where k.caller = g.caller and k.key_hash = g.key_hash and not g.goes and not g.is_fresh
      limit 1) k on true
    left join lateral (select p.id from payments p
      where p.subject = g.subject and p.type = g.type and p.live and not g.goes and g.is_fresh
      limit 1) l on true;
end $$;

-- Moves payments: guarded state, event, claim, evidence, entries, work done and work next, all
-- or nothing for each payment. A row whose guard fails is told so and changes nothing.
create function move_payments(p_moves jsonb)
returns table (i bigint, moved boolean, state text, version integer, claim text,
               epoch bigint, deadline timestamptz, valid_until timestamptz)
language plpgsql security definer
set search_path = caas, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
#variable_conflict use_column
begin
  -- Whoever had to wait for a payment here sees below what the one before it committed.
  perform from payments p
    where p.id = any (array(select (m->>'payment_id')::uuid from jsonb_array_elements(p_moves) m))
    order by p.id for update;
  return query
  with w as materialized (
    select r.*, now_.at from rows from (jsonb_to_recordset(p_moves) as (
      payment_id uuid, event text, from_state text, to_state text, source text,
      if_version integer, facts jsonb, outcome text, gateway_transaction_id text,
      hosted_page_url text, decline_code text, capture_before timestamptz,
      authorised bigint, captured bigint, settled bigint, refunded bigint, disputed bigint,
      claim jsonb, evidence jsonb, command jsonb, entries jsonb, done text[], next jsonb))
      with ordinality as r(payment_id, event, from_state, to_state, source, if_version, facts,
        outcome, gateway_transaction_id, hosted_page_url, decline_code, capture_before,
        authorised, captured, settled, refunded, disputed,
        claim, evidence, command, entries, done, next, i)
    cross join (select db_now() as at offset 0) now_
  ), looked as materialized (
    select w.*, l.id, l.version + 1 as seq, l.event_hash as hash_before, l.type, l.currency
      from w
      left join lateral (
        select p.id, p.version, p.event_hash, p.type, p.currency from payments p
         where p.id = w.payment_id and p.state = w.from_state
           and (w.if_version is null or p.version = w.if_version)
           and not exists (select from payment_events e
                            where e.payment_id = p.id and e.source = w.source)
         limit 1) l on true
  ), claimed as (
    insert into resolution_claims as c (payment_id, payment_type, kind, reason, evidence_id,
        evidence_kind, proves_delivery, claimed_at)
    select l.id, l.type, l.claim->>'kind', l.claim->>'reason', (l.claim->>'evidence_id')::uuid,
           l.claim->>'evidence_kind',
           case when l.claim->>'evidence_id' is not null then true end, l.at
      from looked l where l.id is not null and l.claim is not null
    on conflict do nothing
    returning c.payment_id
  ), going as materialized (
    select l.*, l.id is not null
             and (l.claim is null or l.id in (select c.payment_id from claimed c)) as goes,
           case when l.command is not null then nextval('ota_epochs') end as epoch,
           l.at + make_interval(secs => (l.command->>'deadline_in')::float8) as deadline,
           l.at + make_interval(secs => (l.command->>'valid_for')::float8) as valid_until,
           event_digest(l.hash_before, l.id, l.seq, l.event, l.to_state, l.source,
                        coalesce(l.facts, '{}'), l.at) as hash
      from looked l
  ), moved as (
    update payments p set
        state = g.to_state, came_from = p.state, version = g.seq, event_hash = g.hash, updated_at = g.at,
        outcome = coalesce(g.outcome, p.outcome),
        gateway_transaction_id = coalesce(g.gateway_transaction_id, p.gateway_transaction_id),
        hosted_page_url = coalesce(g.hosted_page_url, p.hosted_page_url),
        decline_code = coalesce(g.decline_code, p.decline_code),
        capture_before = coalesce(g.capture_before, p.capture_before),
        authorised_amount = p.authorised_amount + coalesce(g.authorised, 0),
        captured_amount = p.captured_amount + coalesce(g.captured, 0),
        settled_amount = p.settled_amount + coalesce(g.settled, 0),
        refunded_amount = p.refunded_amount + coalesce(g.refunded, 0),
        disputed_amount = p.disputed_amount + coalesce(g.disputed, 0)
      from going g where g.goes and p.id = g.id
  ), events as (
    insert into payment_events
    select g.id, g.seq, g.event, g.from_state, g.to_state, g.source, coalesce(g.facts, '{}'),
           g.at, g.hash
      from going g where g.goes
  ), evidence as (
    insert into delivery_evidence (id, subject, kind, command_id, action, epoch, vin, service,
        status, status_reason, at, signature, verified, recorded_at)
    select e.id, g.id, e.kind, e.command_id,
           (select c.action from ota_commands c where c.command_id = e.command_id),
           e.epoch, e.vin, e.service, e.status, e.status_reason, coalesce(e.at, g.at::text),
           decode(e.signature, 'base64'), true, g.at
      from going g cross join lateral jsonb_to_record(g.evidence) as e(
        id uuid, kind text, command_id uuid, epoch bigint, vin text, service text, status text,
        status_reason text, at text, signature text)
     where g.goes and g.evidence is not null
  ), commands as (
    insert into ota_commands (command_id, subject, vin, service, action, purpose, epoch,
        valid_until, deadline, created_at)
    select (g.command->>'command_id')::uuid, g.id, g.command->>'vin', g.command->>'service',
           g.command->>'action', 'service payment', g.epoch, g.valid_until, g.deadline, g.at
      from going g where g.goes and g.command is not null
  ), entries as (
    insert into ledger_entries (payment_id, seq, debit, credit, amount, currency, at)
    select g.id, g.seq, e.entry->>0, e.entry->>1, (e.entry->>2)::bigint, g.currency, g.at
      from going g cross join lateral jsonb_array_elements(g.entries) as e(entry)
     where g.goes and g.entries is not null
  ), done as (
    delete from open_work o using going g
     where g.goes and o.subject = g.id and o.kind = any (g.done)
       and not exists (select from jsonb_array_elements(g.next) n where n->>'kind' = o.kind)
  ), next as (
    insert into open_work as o (kind, subject, due_at, payload, created_at)
    select n.kind, g.id, g.at + make_interval(secs => n.due_in), coalesce(n.payload, '{}'), g.at
      from going g cross join lateral jsonb_to_recordset(g.next) as n(
        kind text, due_in double precision, payload jsonb)
     where g.goes and g.next is not null
    on conflict (kind, subject) do update
       set due_at = excluded.due_at, payload = excluded.payload, attempts = 0,
           fence = o.fence + 1, lease_until = null, parked_at = null, last_error = null
  )
  select g.i, g.goes, case when g.goes then g.to_state else p.state end,
         case when g.goes then g.seq else p.version end,
         case when not g.goes then
           (select c.kind from resolution_claims c where c.payment_id = g.payment_id) end,
         case when g.goes then g.epoch end, g.deadline, g.valid_until
    from going g
    left join lateral (select p.state, p.version from payments p
                        where p.id = g.payment_id and not g.goes limit 1) p on true;
end $$;
