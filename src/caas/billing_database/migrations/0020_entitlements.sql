-- Entitlements: who may use which service in which vehicle, from when until when.
--
-- Read in this order: entitlements (one service in one vehicle, and what the vehicle last confirmed
-- of it), entitlement_terms (what was sold: each term is paid for by one payment or one
-- subscription, and terms of one entitlement never overlap), entitlement_changes (what became of a
-- granted term), then the functions that write them.
--
-- The terms are the only source of what a vehicle should have on, its desired state. Every command
-- carries it, whatever made the command necessary. What the vehicle confirmed with the highest epoch
-- is its reported state.
--
-- Rules a change must keep: a term changes only here, under the lock of its entitlement; a command
-- is numbered under that lock, so that a higher epoch always carries the newer desired state.

create extension if not exists btree_gist with schema caas;

create table entitlements (
  id uuid primary key,
  vin text not null,
  service text not null,
  last_command uuid,
  reported_epoch bigint,
  reported_on boolean,
  reported_until timestamptz,
  reported_at timestamptz,
  created_at timestamptz not null,
  unique (vin, service),
  check ((reported_epoch is null) = (reported_on is null)),
  check (reported_until is null or reported_on)
) with (fillfactor = 70);

create table entitlement_terms (
  id uuid primary key,
  entitlement uuid not null references entitlements,
  customer uuid not null,
  service_order uuid unique,
  subscription uuid unique,
  payment_id uuid unique,
  duration_days integer check (duration_days between 1 and 3660),
  state text not null check (state in ('pending', 'activating', 'granted', 'cancelled', 'ended')),
  starts_at timestamptz,
  ends_at timestamptz,
  ended_because text check (length(ended_because) between 1 and 200),
  reserved_at timestamptz not null,
  updated_at timestamptz not null,
  check ((service_order is null) <> (subscription is null)),
  check ((duration_days is null) = (service_order is null)),
  check (payment_id is null or service_order is not null),
  check (state not in ('activating', 'granted', 'ended') or starts_at is not null),
  check (service_order is null or state not in ('activating', 'granted', 'ended')
         or (ends_at is not null and payment_id is not null)),
  check (state <> 'ended' or (ends_at is not null and ended_because is not null)),
  check (ends_at >= starts_at),
  constraint terms_never_overlap exclude using gist (
    entitlement with =, tstzrange(starts_at, coalesce(ends_at, 'infinity')) with &&)
    where (state in ('activating', 'granted', 'ended')) deferrable initially deferred
) with (fillfactor = 70);
create unique index one_pending_term on entitlement_terms (entitlement)
  where state in ('pending', 'activating');
create index terms_of_entitlement on entitlement_terms (entitlement);

-- How a term that was paid for changed afterwards, and why; the happy path writes nothing here.
create table entitlement_changes (
  term uuid not null,
  state text not null,
  starts_at timestamptz not null,
  ends_at timestamptz,
  because text,
  at timestamptz not null
);
create index entitlement_changes_of_term on entitlement_changes (term);
create trigger append_only before update or delete or truncate on entitlement_changes
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on entitlements
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on entitlement_terms
  for each statement execute function refuse_change();

-- Whether a service that runs already may be bought again for the same vehicle.
alter table services add column repeat_purchase text not null default 'extend'
  check (repeat_purchase in ('extend', 'refuse'));

alter table ota_commands add column attempt integer not null default 1 check (attempt > 0);

create function refuse_other_term() returns trigger language plpgsql as $$
begin
  raise exception 'entitlement term % cannot go from % to %, and what it is for never changes',
    old.id, old.state, new.state using errcode = 'check_violation';
end $$;
create trigger changes_as_sold before update on entitlement_terms for each row
  when ((old.id, old.entitlement, old.customer, old.service_order, old.subscription,
         old.duration_days)
        is distinct from (new.id, new.entitlement, new.customer, new.service_order,
         new.subscription, new.duration_days)
     or (old.state, new.state) not in (
          ('pending', 'activating'), ('pending', 'cancelled'), ('activating', 'granted'),
          ('activating', 'cancelled'), ('activating', 'activating'), ('granted', 'granted'),
          ('granted', 'ended'), ('cancelled', 'pending'))
     or old.state = 'cancelled' and old.service_order is null
     or old.state = 'granted' and new.payment_id is distinct from old.payment_id)
  execute function refuse_other_term();

create function write_entitlement_change() returns trigger language plpgsql security definer
set search_path = caas, pg_temp as $$
begin
  insert into entitlement_changes
  values (new.id, new.state, new.starts_at, new.ends_at, new.ended_because, db_now());
  return null;
end $$;
create trigger is_written_down after update on entitlement_terms for each row
  when (old.state = 'granted' and (old.state, old.starts_at, old.ends_at)
        is distinct from (new.state, new.starts_at, new.ends_at))
  execute function write_entitlement_change();

-- Locks an entitlement until the transaction ends, made if there was none, and returns its id.
create function lock_entitlement(p_vin text, p_service text) returns uuid
language plpgsql security definer set search_path = caas, pg_temp as $$
declare v_id uuid;
begin
  select id into v_id from entitlements where vin = p_vin and service = p_service for update;
  if not found then
    insert into entitlements (id, vin, service, created_at)
    values (gen_random_uuid(), p_vin, p_service, db_now()) on conflict (vin, service) do nothing;
    select id into v_id from entitlements where vin = p_vin and service = p_service for update;
  end if;
  return v_id;
end $$;

-- Reserves the next term of a service in a vehicle for one purchase, or says what stands in its
-- way. A reservation whose payment was never asked for lapses after a while.
create function reserve_term(
  p_vin text, p_service text, p_customer uuid, p_service_order uuid, p_subscription uuid,
  p_duration_days integer, p_lapses_after double precision
) returns table (obstacle text, service_order uuid, subscription uuid, ends_at timestamptz)
language plpgsql security definer set search_path = caas, pg_temp as $$
#variable_conflict use_column
declare v_entitlement uuid := lock_entitlement(p_vin, p_service); v_at timestamptz := db_now();
begin
  update entitlement_terms t set state = 'cancelled', ended_because = 'its payment never began',
         updated_at = v_at
   where t.entitlement = v_entitlement and t.state = 'pending'
     and t.service_order is distinct from p_service_order
     and t.reserved_at < v_at - make_interval(secs => p_lapses_after)
     and not exists (select from payments p
                      where p.subject = t.service_order and p.type = 'service' and p.live)
     and not exists (select from subscriptions s
                      where s.id = t.subscription and s.state = 'verifying payment method');
  return query
    select case when t.service_order = p_service_order then 'used'
                when t.state in ('pending', 'activating') then 'pending'
                when t.subscription is not null then 'subscribed' else 'running' end,
           t.service_order, t.subscription, t.ends_at
      from entitlement_terms t join services v on v.code = p_service
     where t.entitlement = v_entitlement
       and (t.state in ('pending', 'activating') and t.service_order is distinct from p_service_order
         or t.state in ('activating', 'granted', 'ended') and t.service_order = p_service_order
         or t.state = 'granted' and t.ends_at is null
         or t.state = 'granted' and t.ends_at > v_at and v.repeat_purchase = 'refuse')
     order by t.state in ('pending', 'activating') desc limit 1;
  if found then
    return;
  end if;
  insert into entitlement_terms as t (id, entitlement, customer, service_order, subscription,
      duration_days, state, reserved_at, updated_at)
  values (gen_random_uuid(), v_entitlement, p_customer, p_service_order, p_subscription,
      p_duration_days, 'pending', v_at, v_at)
  on conflict (service_order) do update
     set state = 'pending', reserved_at = v_at, updated_at = v_at, payment_id = null,
         starts_at = null, ends_at = null, ended_because = null
   where t.state = 'cancelled';
end $$;

-- Writes a service order with the reservation of its term; without a row of its own when an
-- obstacle is returned.
create function add_service_order(
  p_id uuid, p_customer uuid, p_vin text, p_service text, p_duration_days integer,
  p_amount bigint, p_currency text, p_lapses_after double precision
) returns table (created_at timestamptz, obstacle text, service_order uuid, subscription uuid,
                 ends_at timestamptz)
language plpgsql security definer set search_path = caas, pg_temp as $$
#variable_conflict use_column
declare v_at timestamptz := db_now();
begin
  return query
    select v_at, r.* from reserve_term(
      p_vin, p_service, p_customer, p_id, null, p_duration_days, p_lapses_after) r;
  if found then
    return;
  end if;
  insert into service_orders (id, customer, vin, service, duration_days, amount, currency, created_at)
  values (p_id, p_customer, p_vin, p_service, p_duration_days, p_amount, p_currency, v_at);
  return query select v_at, null::text, null::uuid, null::uuid, null::timestamptz;
end $$;

-- What a vehicle should have on of one service. A purchase under way is named first, because its
-- payment needs the vehicle's word; then the term that runs; with nothing on, the last one there was.
create function desired_state(p_entitlement uuid)
returns table (on_ boolean, until timestamptz, subject uuid, purpose text, is_activating boolean)
language sql stable set search_path = caas, pg_temp as $$
  with terms as materialized (
    select t.*, t.state in ('activating', 'granted') and coalesce(t.ends_at, 'infinity') > db_now()
             as is_on,
           coalesce(t.payment_id, t.subscription) as named
      from entitlement_terms t
     where t.entitlement = p_entitlement and coalesce(t.payment_id, t.subscription) is not null
  )
  select bool_or(is_on),
         case when not bool_or(is_on and ends_at is null) then max(ends_at) filter (where is_on) end,
         (array_agg(named order by is_on desc, state = 'activating' desc,
            case when is_on then starts_at end, updated_at desc))[1],
         (array_agg(case when subscription is null then 'service payment' else 'subscription' end
            order by is_on desc, state = 'activating' desc,
            case when is_on then starts_at end, updated_at desc))[1],
         bool_or(is_on and state = 'activating')
    from terms having count(*) > 0
$$;

-- Records the command that carries the desired state, and the job that sees it through. The caller
-- holds the entitlement's lock. Without a sale there is nothing to say.
create function command_desired_state(
  p_entitlement uuid, p_command_id uuid, p_activate_within double precision,
  p_deadline_in double precision, p_resend_in double precision
) returns setof ota_commands
language plpgsql security definer set search_path = caas, pg_temp as $$
declare v_at timestamptz; v_command ota_commands;
begin
  perform from entitlements where id = p_entitlement for update;
  v_at := db_now();
  insert into ota_commands (command_id, subject, vin, service, action, purpose, valid_until,
      deadline, created_at, attempt)
  select p_command_id, d.subject, e.vin, e.service, case when d.on_ then 'activate' else 'deactivate' end,
         d.purpose, d.until,
         v_at + make_interval(secs => case when d.is_activating then p_activate_within
                                           else p_deadline_in end), v_at,
         case when (l.subject, l.action, l.valid_until) is not distinct from
                   (d.subject, case when d.on_ then 'activate' else 'deactivate' end, d.until)
              then l.attempt + 1 else 1 end
    from entitlements e cross join desired_state(p_entitlement) d
    left join ota_commands l on l.command_id = e.last_command
   where e.id = p_entitlement
  returning * into v_command;
  if not found then
    return;
  end if;
  update entitlements set last_command = v_command.command_id where id = p_entitlement;
  insert into open_work as o (kind, subject, due_at, created_at)
  values ('synchronize', p_entitlement, v_at + make_interval(secs => p_resend_in), v_at)
  on conflict (kind, subject) do update
     set due_at = excluded.due_at, attempts = 0, fence = o.fence + 1, lease_until = null,
         parked_at = null, last_error = null;
  return next v_command;
end $$;

-- Ends the job of a command that was answered, unless a newer command was recorded meanwhile.
create function end_synchronization(p_entitlement uuid, p_command_id uuid) returns void
language plpgsql security definer set search_path = caas, pg_temp as $$
begin
  perform from entitlements where id = p_entitlement and last_command = p_command_id for update;
  if found then
    delete from open_work where kind = 'synchronize' and subject = p_entitlement;
  end if;
end $$;

-- Ends a granted term now, whatever is left of it; the terms behind it move up by as much.
create function end_term(p_term uuid, p_because text) returns uuid
language plpgsql security definer set search_path = caas, pg_temp as $$
declare v_term entitlement_terms; v_at timestamptz; v_end timestamptz;
begin
  perform from entitlements e
    where e.id = (select t.entitlement from entitlement_terms t where t.id = p_term) for update;
  v_at := db_now();
  select * into v_term from entitlement_terms where id = p_term and state = 'granted';
  if not found then
    return null;
  end if;
  v_end := greatest(v_term.starts_at, least(coalesce(v_term.ends_at, 'infinity'), v_at));
  update entitlement_terms set state = 'ended', ends_at = v_end, ended_because = p_because,
         updated_at = v_at
   where id = p_term;
  update entitlement_terms t
     set starts_at = t.starts_at - (v_term.ends_at - v_end),
         ends_at = t.ends_at - (v_term.ends_at - v_end)
   where t.entitlement = v_term.entitlement and t.state in ('activating', 'granted')
     and v_term.ends_at > v_end and t.starts_at >= v_term.ends_at;
  return v_term.entitlement;
end $$;

-- A subscription's term follows its subscription; it begins where the terms before it end.
create function follow_subscription() returns trigger language plpgsql security definer
set search_path = caas, pg_temp as $$
declare v_entitlement uuid; v_term uuid; v_at timestamptz;
begin
  v_entitlement := lock_entitlement(new.vin, new.service);
  v_at := db_now();
  if new.state = 'activating' then
    update entitlement_terms t set state = 'activating', updated_at = v_at,
           starts_at = greatest(v_at, (select max(g.ends_at) from entitlement_terms g
                                        where g.entitlement = v_entitlement and g.state = 'granted'))
     where t.subscription = new.id and t.state = 'pending';
  elsif new.state = 'active' then
    update entitlement_terms t set state = 'granted', updated_at = v_at
     where t.subscription = new.id and t.state = 'activating';
  else
    update entitlement_terms t set state = 'cancelled', updated_at = v_at,
           ended_because = 'subscription ' || new.state
     where t.subscription = new.id and t.state in ('pending', 'activating');
    select t.id into v_term from entitlement_terms t
     where t.subscription = new.id and t.state = 'granted';
    if found then
      perform end_term(v_term, 'subscription ' || new.state);
    end if;
  end if;
  return null;
end $$;
create trigger has_its_term after update on subscriptions for each row
  when (old.state <> new.state) execute function follow_subscription();

-- The reported state of a vehicle is what it confirmed with the highest epoch.
create function report_state() returns trigger language plpgsql security definer
set search_path = caas, pg_temp
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
  update entitlements e
     set reported_epoch = r.epoch, reported_on = r.action = 'activate',
         reported_until = r.valid_until, reported_at = r.recorded_at
    from (select distinct on (c.vin, c.service) c.vin, c.service, c.epoch, c.action, c.valid_until,
                 n.recorded_at
            from new_rows n join ota_commands c on c.command_id = n.command_id
           where n.verified and n.kind = 'vehicle_acknowledgement' and n.status = 'SUCCEEDED'
           order by c.vin, c.service, c.epoch desc) r
   where e.vin = r.vin and e.service = r.service
     and (e.reported_epoch is null or e.reported_epoch < r.epoch);
  update subscriptions s set deactivated_at = n.recorded_at
    from new_rows n join ota_commands c on c.command_id = n.command_id
   where n.verified and n.kind = 'vehicle_acknowledgement' and n.status = 'SUCCEEDED'
     and s.vin = c.vin and s.service = c.service and s.state = 'cancelled'
     and s.activated_at is not null and s.deactivated_at is null and s.cancelled_at <= c.created_at;
  return null;
end $$;
create trigger reports_a_state after insert on delivery_evidence
  referencing new table as new_rows for each statement execute function report_state();

create index subscriptions_of_vehicle on subscriptions (vin, service);

-- Where a service order stands: by its payment, and by its term once it was paid.
drop view service_order_states;
create view service_order_states as
  select o.*, p.id as payment_id, p.state as payment_state, c.kind as claim,
         case when t.state in ('granted', 'ended') then t.starts_at end as active_from,
         case when t.state in ('granted', 'ended') then t.ends_at end as active_until,
         case when t.state = 'ended' and t.ended_because = 'desistimiento' then 'withdrawn'
              when t.state = 'ended' then 'ended'
              when t.state = 'granted' and t.ends_at <= db_now() then 'expired'
              when t.state = 'granted' then 'active'
              when p.id is null then 'awaiting payment'
              when e.id is not null then 'active'
              when c.kind = 'void' or p.state = 'Voided' then 'activation failed'
              when p.state = 'Failed' then 'cancelled'
              when p.state = 'Authorized' then 'activating'
              else 'awaiting payment' end as state
    from service_orders o
    left join entitlement_terms t on t.service_order = o.id
    left join lateral (select id, state from payments p
      where p.subject = o.id order by p.id desc limit 1) p on true
    left join resolution_claims c on c.payment_id = p.id
    left join delivery_evidence e on e.id = c.evidence_id;

-- Moves payments as before, and with a service payment the term that it pays for: activating with
-- the funds held, granted with the claim to capture, cancelled when nothing will be charged. A
-- command carries the desired state that the move leaves behind.
drop function move_payments(jsonb);
create function move_payments(p_moves jsonb)
returns table (i bigint, moved boolean, state text, version integer, claim text,
               command_id uuid, subject uuid, vin text, service text, action text, purpose text,
               epoch bigint, valid_until timestamptz, deadline timestamptz,
               created_at timestamptz, attempt integer, overdue boolean)
language plpgsql security definer
set search_path = caas, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
#variable_conflict use_column
begin
  -- Whoever had to wait for a payment here sees below what the one before it committed.
  perform from payments p
    where p.id = any (array(select (m->>'payment_id')::uuid from jsonb_array_elements(p_moves) m))
    order by p.id for update;
  -- A command is numbered under the lock of its entitlement, so that no older state overtakes it.
  perform from entitlements e
    where e.id = any (array(
      select t.entitlement from jsonb_array_elements(p_moves) m
        join payments p on p.id = (m->>'payment_id')::uuid
        join entitlement_terms t on t.service_order = p.subject
       where m ? 'command'))
    order by e.vin, e.service for update;
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
    select w.*, l.id, l.version + 1 as seq, l.event_hash as hash_before, l.type, l.currency,
           l.subject
      from w
      left join lateral (
        select p.id, p.version, p.event_hash, p.type, p.currency, p.subject from payments p
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
           event_digest(l.hash_before, l.id, l.seq, l.event, l.to_state, l.source,
                        coalesce(l.facts, '{}'), l.at) as hash
      from looked l
  ), becoming as materialized (
    select g.*, t.id as term, t.entitlement, t.duration_days,
           case when g.to_state = 'Authorized' and t.state = 'pending' then 'activating'
                when g.to_state = 'Capturing' and t.state = 'activating' then 'granted'
                when (g.to_state in ('Failed', 'Voided') or g.claim->>'kind' = 'void')
                     and t.state in ('pending', 'activating') then 'cancelled' end as becomes
      from going g left join entitlement_terms t on t.service_order = g.subject
     where g.goes and g.type = 'service'
  ), desired as materialized (  -- of those with a command, what the other terms of the service say
    select b.id, b.term, b.entitlement, b.becomes, b.at, b.command, e.vin, e.service,
           nextval('ota_epochs') as epoch,
           b.at + make_interval(secs => (b.command->>'deadline_in')::float8) as deadline,
           greatest(b.at, o.until) as starts_at,
           greatest(b.at, o.until) + make_interval(secs => b.duration_days * 86400.0) as ends_at,
           o.on_ as others_on, case when not o.endless then o.until end as others_until,
           o.subject as others_subject, o.purpose as others_purpose
      from becoming b join entitlements e on e.id = b.entitlement
      cross join lateral (
        select count(*) > 0 as on_, max(t.ends_at) as until,
               coalesce(bool_or(t.ends_at is null), false) as endless,
               (array_agg(coalesce(t.payment_id, t.subscription) order by t.starts_at))[1] as subject,
               (array_agg(case when t.subscription is null then 'service payment'
                               else 'subscription' end order by t.starts_at))[1] as purpose
          from entitlement_terms t
         where t.entitlement = b.entitlement and t.state = 'granted'
           and coalesce(t.ends_at, 'infinity') > b.at) o
     where b.command is not null and b.becomes in ('activating', 'cancelled')
  ), commanded as materialized (
    select d.id, d.entitlement, d.vin, d.service, d.epoch, d.deadline, d.at,
           (d.command->>'command_id')::uuid as command_id,
           case when d.becomes = 'activating' or not d.others_on then d.id
                else d.others_subject end as subject,
           case when d.becomes = 'activating' or not d.others_on then 'service payment'
                else d.others_purpose end as purpose,
           case when d.becomes = 'activating' or d.others_on then 'activate'
                else 'deactivate' end as action,
           case when d.becomes = 'activating' then d.ends_at
                when d.others_on then d.others_until end as valid_until,
           case when d.becomes = 'cancelled' then (d.command->>'resend_in')::float8 end as resend_in
      from desired d
  ), terms as (
    update entitlement_terms t set state = b.becomes, updated_at = b.at,
           payment_id = case when b.becomes = 'activating' then b.id else t.payment_id end,
           starts_at = coalesce(d.starts_at, t.starts_at), ends_at = coalesce(d.ends_at, t.ends_at),
           ended_because = case when b.becomes = 'cancelled' then 'payment not charged' end
      from becoming b left join desired d on d.id = b.id and d.becomes = 'activating'
     where t.id = b.term and b.becomes is not null
       and (b.becomes <> 'activating' or d.id is not null)
  ), last_commands as (
    update entitlements e set last_command = c.command_id from commanded c
     where e.id = c.entitlement
  ), synchronizing as (
    insert into open_work as o (kind, subject, due_at, created_at)
    select 'synchronize', c.entitlement, c.at + make_interval(secs => c.resend_in), c.at
      from commanded c where c.resend_in is not null
    on conflict (kind, subject) do update
       set due_at = excluded.due_at, attempts = 0, fence = o.fence + 1, lease_until = null,
           parked_at = null, last_error = null
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
    select c.command_id, c.subject, c.vin, c.service, c.action, c.purpose, c.epoch, c.valid_until,
           c.deadline, c.at
      from commanded c
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
         c.command_id, c.subject, c.vin, c.service, c.action, c.purpose, c.epoch, c.valid_until,
         c.deadline, c.at, 1, false
    from going g
    left join commanded c on c.id = g.id
    left join lateral (select p.state, p.version from payments p
                        where p.id = g.payment_id and not g.goes limit 1) p on true;
end $$;

-- What was sold before there were entitlements: the terms of a service in a vehicle one behind the
-- other, in the order in which they became active. Where a vehicle was told something else, it is
-- told anew. Beside a subscription that has no end there is no room for a term.
do $$
declare sold record; v_entitlement uuid; v_start timestamptz;
begin
  for sold in
    select o.vin, o.service, o.customer, o.id as service_order, null::uuid as subscription,
           p.id as payment_id, o.duration_days, e.recorded_at as active_from, 'granted' as state,
           null::timestamptz as ended_at
      from service_orders o join payments p on p.subject = o.id and p.captured_amount > 0
      join resolution_claims c on c.payment_id = p.id and c.kind = 'capture'
      join delivery_evidence e on e.id = c.evidence_id
    union all
    select s.vin, s.service, s.customer, null, s.id, null, null, s.activated_at,
           case when s.state = 'active' then 'granted' else 'ended' end,
           least(s.cancelled_at, s.deactivated_at)
      from subscriptions s where s.activated_at is not null
    order by 1, 2, 8
  loop
    v_entitlement := lock_entitlement(sold.vin, sold.service);
    continue when exists (select from entitlement_terms t
                           where t.entitlement = v_entitlement and t.ends_at is null);
    select greatest(sold.active_from, max(t.ends_at)) into v_start
      from entitlement_terms t where t.entitlement = v_entitlement;
    insert into entitlement_terms (id, entitlement, customer, service_order, subscription,
        payment_id, duration_days, state, starts_at, ends_at, ended_because, reserved_at, updated_at)
    values (gen_random_uuid(), v_entitlement, sold.customer, sold.service_order, sold.subscription,
        sold.payment_id, sold.duration_days, sold.state, v_start,
        case when sold.subscription is null
             then v_start + make_interval(secs => sold.duration_days * 86400.0)
             else greatest(v_start, sold.ended_at) end,
        case when sold.state = 'ended' then 'subscription cancelled' end,
        sold.active_from, sold.active_from);
  end loop;
  for sold in
    select s.id, s.vin, s.service, s.customer, s.state from subscriptions s
     where s.state in ('verifying payment method', 'activating')
  loop
    insert into entitlement_terms (id, entitlement, customer, subscription, state, starts_at,
        reserved_at, updated_at)
    values (gen_random_uuid(), lock_entitlement(sold.vin, sold.service), sold.customer, sold.id,
        case sold.state when 'activating' then 'activating' else 'pending' end,
        case sold.state when 'activating' then db_now() end, db_now(), db_now());
  end loop;
  update entitlements e set last_command = (
    select k.command_id from ota_commands k
     where k.vin = e.vin and k.service = e.service order by k.epoch desc limit 1);
  update entitlements e set reported_epoch = r.epoch, reported_on = r.action = 'activate',
         reported_until = r.valid_until, reported_at = r.recorded_at
    from (select distinct on (k.vin, k.service) k.vin, k.service, k.epoch, k.action, k.valid_until,
                 v.recorded_at
            from ota_commands k join delivery_evidence v on v.command_id = k.command_id
             and v.subject = k.subject and v.verified and v.status = 'SUCCEEDED'
           order by k.vin, k.service, k.epoch desc) r
   where e.vin = r.vin and e.service = r.service;
  perform command_desired_state(e.id, gen_random_uuid(), 600, 30 * 86400, 0)
     from entitlements e join desired_state(e.id) d on true
    where d.on_ and not d.is_activating
      and (not coalesce(e.reported_on, false)
           or coalesce(e.reported_until, 'infinity') <> coalesce(d.until, 'infinity'));
end $$;
