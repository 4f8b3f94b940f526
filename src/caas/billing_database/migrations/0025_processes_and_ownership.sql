-- Whose work is whose, while its process lives; who may be sold a service, decided here; and refunds
-- that people decide.
--
-- Every session of a process holds a shared advisory lock in the process's name. PostgreSQL frees it
-- with the session, so a process none of whose sessions is left is dead, or has lost everything it
-- had under way here; a frozen one keeps its sessions and is not.
--
-- Rules a change must keep: work that is taken from a process gets another fence, so that whatever
-- is left of that process ends nothing; a service is sold while its buyer's ownership is locked.

create table processes (
  id integer primary key,
  name text not null check (length(name) between 1 and 200),
  started_at timestamptz not null,
  gone_at timestamptz
);

-- The process whose session this is; null in a session of nobody's.
create function this_process() returns integer language sql stable as
$$ select nullif(current_setting('caas.process', true), '')::integer $$;

-- Whether any session of a process is left; 1667326323 is "caas" in ASCII. Null for nobody.
create function process_lives(p_id integer) returns boolean language sql stable strict as $$
  select exists (select from pg_locks l
                  where l.locktype = 'advisory' and l.classid = 1667326323 and l.objid = p_id::oid
                    and l.objsubid = 2 and l.granted
                    and l.database = (select d.oid from pg_database d
                                       where d.datname = current_database()))
$$;

-- Who claimed a piece of work, or wrote it down as the safety net of what it began itself.
alter table open_work add column held_by integer default this_process();
alter table idempotency_keys add column held_by integer default this_process();

-- Returns the processes of which no session is left; one that came back is watched again.
create function silent_processes() returns setof integer
language sql security definer set search_path = caas, pg_temp as $$
  update processes set gone_at = null where gone_at is not null and process_lives(id);
  delete from processes where gone_at < db_now() - interval '1 day';
  select id from processes where gone_at is null and not process_lives(id)
$$;

-- Takes what dead processes had under way from them: what they had claimed, and of `p_kinds`, what
-- they were doing themselves. Work whose process dies again and again waits a little longer.
create function free_work_of(p_processes integer[], p_kinds text[]) returns bigint
language sql security definer set search_path = caas, pg_temp as $$
  with gone as (
    update processes p set gone_at = db_now()
     where p.id = any (p_processes) and p.gone_at is null and not process_lives(p.id)
    returning p.id
  ), freed as (
    update open_work o
       set due_at = least(o.due_at, db_now()
                    + make_interval(secs => least(greatest(o.attempts - 1, 0), 4))),
           lease_until = null, held_by = null, fence = o.fence + 1
      from gone
     where o.held_by = gone.id and o.parked_at is null
       and (o.lease_until is not null or o.kind = any (p_kinds))
    returning 1
  )
  select count(*) from freed
$$;

-- Whether a term was sold by a fleet operator, who sells for any vehicle; null before this was kept.
alter table entitlement_terms add column by_fleet boolean;

-- Whether a vehicle was delivered to a customer and is theirs, which stays so until the transaction
-- ends: a withdrawal from its order waits, or came first and is seen.
create function lock_ownership(p_customer uuid, p_vin text) returns boolean
language plpgsql security definer set search_path = caas, pg_temp as $$
begin
  perform from vehicle_assignments a join orders o on o.id = a.order_id
    where a.vin = p_vin and a.customer = p_customer and a.active and o.state = 'delivered'
    for share of a, o;
  return found;
end $$;

-- Whether what a service order asks for may still be delivered to its customer.
create function may_still_be_sold(p_service_order uuid) returns boolean language sql stable
set search_path = caas, pg_temp as $$
  select coalesce(t.by_fleet, true) or has_vehicle(t.customer, e.vin)
    from entitlement_terms t join entitlements e on e.id = t.entitlement
   where t.service_order = p_service_order
$$;

-- Reserves as before, for the vehicle's owner or by a fleet operator; "not theirs" is said of
-- everybody else. Reserved again, a term is judged as it was sold first.
drop function reserve_term(text, text, uuid, uuid, uuid, integer, double precision);
create function reserve_term(
  p_vin text, p_service text, p_customer uuid, p_service_order uuid, p_subscription uuid,
  p_duration_days integer, p_lapses_after double precision, p_by_fleet boolean
) returns table (obstacle text, service_order uuid, subscription uuid, ends_at timestamptz)
language plpgsql security definer set search_path = caas, pg_temp as $$
#variable_conflict use_column
declare
  v_entitlement uuid := lock_entitlement(p_vin, p_service); v_at timestamptz := db_now();
  v_by_fleet boolean := p_by_fleet;
begin
  if v_by_fleet is null then
    select coalesce(t.by_fleet, true) into v_by_fleet from entitlement_terms t
     where t.service_order = p_service_order;
  end if;
  if not coalesce(v_by_fleet, false) and not lock_ownership(p_customer, p_vin) then
    return query select 'not theirs', null::uuid, null::uuid, null::timestamptz;
    return;
  end if;
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
      duration_days, state, reserved_at, updated_at, by_fleet)
  values (gen_random_uuid(), v_entitlement, p_customer, p_service_order, p_subscription,
      p_duration_days, 'pending', v_at, v_at, v_by_fleet)
  on conflict (service_order) do update
     set state = 'pending', reserved_at = v_at, updated_at = v_at, payment_id = null,
         starts_at = null, ends_at = null, ended_because = null
   where t.state = 'cancelled';
end $$;

drop function add_service_order(
  uuid, uuid, text, text, integer, bigint, text, double precision, bytea);
create function add_service_order(
  p_id uuid, p_customer uuid, p_vin text, p_service text, p_duration_days integer,
  p_amount bigint, p_currency text, p_lapses_after double precision, p_request_key bytea,
  p_by_fleet boolean
) returns table (id uuid, amount bigint, created_at timestamptz, obstacle text, service_order uuid,
                 subscription uuid, ends_at timestamptz)
language plpgsql security definer set search_path = caas, pg_temp as $$
#variable_conflict use_column
declare
  v_id uuid := p_id; v_amount bigint := p_amount; v_at timestamptz := db_now();
  v_is_new boolean := true;
begin
  if p_request_key is not null then
    perform lock_entitlement(p_vin, p_service);
    select o.id, o.amount, o.created_at, false into v_id, v_amount, v_at, v_is_new
      from service_orders o where o.request_key = p_request_key;
    if not found then
      v_id := p_id; v_amount := p_amount; v_at := db_now(); v_is_new := true;
    end if;
  end if;
  return query
    select v_id, v_amount, v_at, r.* from reserve_term(
      p_vin, p_service, p_customer, v_id, null, p_duration_days, p_lapses_after, p_by_fleet) r;
  if found then
    return;
  end if;
  if v_is_new then
    insert into service_orders (id, customer, vin, service, duration_days, amount, currency,
        created_at, request_key)
    values (v_id, p_customer, p_vin, p_service, p_duration_days, p_amount, p_currency, v_at,
        p_request_key);
  end if;
  return query select v_id, v_amount, v_at, null::text, null::uuid, null::uuid, null::timestamptz;
end $$;

-- What people decided to refund: one of them, or two above a limit.
create table refund_decisions (
  id uuid primary key,
  payment_id uuid not null references payments,
  amount bigint not null check (amount > 0),
  reason text not null check (length(reason) between 1 and 200),
  term text check (term in ('end', 'keep')),
  note text not null check (length(note) between 1 and 1000),
  needs_second boolean not null,
  state text not null check (state in ('proposed', 'agreed', 'withdrawn')),
  proposed_by text not null,
  proposed_account uuid references accounts,
  proposed_at timestamptz not null,
  decided_by text,
  decided_account uuid references accounts,
  decided_at timestamptz,
  check ((state = 'proposed') = (decided_by is null)),
  check ((decided_by is null) = (decided_at is null)),
  check (decided_by is not null or decided_account is null)
);
create unique index one_refund_proposal_at_a_time on refund_decisions (payment_id)
  where state = 'proposed';
create index refund_decisions_of_payment on refund_decisions (payment_id);
create trigger never_removed before delete or truncate on refund_decisions
  for each statement execute function refuse_change();
create trigger is_decided_once before update on refund_decisions for each row
  when (old.state <> 'proposed'
        or (new.id, new.payment_id, new.amount, new.reason, new.term, new.note, new.needs_second,
            new.proposed_by, new.proposed_account, new.proposed_at)
           is distinct from (old.id, old.payment_id, old.amount, old.reason, old.term, old.note,
            old.needs_second, old.proposed_by, old.proposed_account, old.proposed_at))
  execute function refuse_other_decision();
create trigger two_people_decide before insert or update on refund_decisions for each row
  when (new.state = 'agreed' and new.needs_second)
  execute function refuse_one_person('proposed_account', 'decided_account');
