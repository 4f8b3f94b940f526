-- Made by `make docs` from a database that all migrations ran on; never edited.

CREATE SCHEMA caas;

CREATE TYPE caas.transition_step AS (
	i bigint,
	id uuid,
	payment_id uuid,
	type text,
	subject uuid,
	currency text,
	at timestamp with time zone,
	seq integer,
	hash bytea,
	event text,
	from_state text,
	to_state text,
	source text,
	facts jsonb,
	outcome text,
	gateway_transaction_id text,
	hosted_page_url text,
	decline_code text,
	capture_before timestamp with time zone,
	authorized bigint,
	captured bigint,
	settled bigint,
	refunded bigint,
	disputed bigint,
	claim jsonb,
	evidence jsonb,
	command jsonb,
	entries jsonb,
	done text[],
	next jsonb
);

CREATE FUNCTION caas.accept_payments(p_payments jsonb) RETURNS TABLE(i bigint, verdict text, payment_id uuid, request_hash bytea, answer_status integer, answer_body bytea, key_created_at timestamp with time zone, at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
#variable_conflict use_column
begin
  return query
  with w as materialized (
    select r.id, r.type, r.subject, r.customer, r.amount, r.currency, r.gateway, r.payment_method,
           r.return_url, coalesce(r.facts, '{}') as facts, r.caller, r.key_hash, r.request_hash,
           r.job_kind, r.due_in, r.pending, r.i, now_.at,
           event_digest(''::bytea, r.id, 1, 'Customer submits payment', 'Initiated', 'accept',
                        coalesce(r.facts, '{}'), now_.at) as hash
      from rows from (jsonb_to_recordset(p_payments) as (
      id uuid, type text, subject uuid, customer uuid, amount bigint, currency text,
      gateway text, payment_method text, return_url text, facts jsonb, caller text, key_hash bytea,
      request_hash bytea, job_kind text, due_in double precision, pending boolean))
      with ordinality as r(id, type, subject, customer, amount, currency, gateway, payment_method,
        return_url, facts, caller, key_hash, request_hash, job_kind, due_in, pending, i)
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
    insert into payments as p (id, type, subject, customer, amount, currency, gateway,
        payment_method, return_url, state, version, event_hash, created_at, updated_at)
    select f.id, f.type, f.subject, f.customer, f.amount, f.currency, f.gateway,
        f.payment_method, f.return_url, case when f.pending then 'Pending' else 'Initiated' end,
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
    insert into jobs (kind, subject, due_at, payload, created_at)
    select g.job_kind, g.id, g.at + make_interval(secs => g.due_in),
           jsonb_build_object('maybe_sent', g.due_in > 0), g.at
      from going g where g.goes and g.job_kind is not null
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

CREATE FUNCTION caas.add_service_order(p_id uuid, p_customer uuid, p_vin text, p_service text, p_duration_days integer, p_amount bigint, p_currency text, p_lapses_after double precision, p_request_key bytea, p_by_fleet boolean) RETURNS TABLE(id uuid, amount bigint, created_at timestamp with time zone, obstacle text, service_order uuid, subscription uuid, ends_at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
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

CREATE FUNCTION caas.address_without_tax_table(p_customer uuid) RETURNS text
    LANGUAGE plpgsql STABLE
    AS $$
declare v_country text; v_postcode text; v_market text;
begin
  select b.country, b.postcode into v_country, v_postcode from billing_details b
   where b.customer = p_customer;
  if not found then
    return null;
  end if;
  v_market := market_of_address(v_country, v_postcode);
  if (select count(*) from markets m join tax_rates r on r.market = m.code
         and r.valid @> (db_now() at time zone m.zone)::date
       where m.code = v_market) = 3 then
    return null;
  end if;
  return v_country || ', postcode ' || v_postcode || coalesce(' (market ' || v_market || ')', '');
end $$;

CREATE FUNCTION caas.apply_transitions(p_transitions jsonb) RETURNS TABLE(i bigint, moved boolean, state text, version integer, claim text, command_id uuid, subject uuid, vin text, service text, action text, purpose text, epoch bigint, valid_until timestamp with time zone, deadline timestamp with time zone, created_at timestamp with time zone, attempt integer, overdue boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $_$
#variable_conflict use_column
declare
  v_steps transition_step[]; v_going transition_step[]; v_resolve boolean; v_terms boolean;
  v_entries boolean; v_jobs boolean;
begin
  -- A caller that had to wait for a payment here sees below what the one before it committed.
  perform from payments p
    where p.id = any (array(select (m->>'payment_id')::uuid from jsonb_array_elements(p_transitions) m))
    order by p.id for update;
  -- A command is numbered under the lock of its entitlement, so that no older state overtakes it.
  if p_transitions @? '$[*].command' then
    perform from entitlements e
      where e.id = any (array(
        select t.entitlement from jsonb_array_elements(p_transitions) m
          join payments p on p.id = (m->>'payment_id')::uuid
          join entitlement_terms t on t.service_order = p.subject
         where m ? 'command'))
      order by e.vin, e.service for update;
  end if;
  with w as materialized (
    select r.*, now_.at from rows from (jsonb_to_recordset(p_transitions) as (
      payment_id uuid, event text, from_state text, to_state text, source text,
      if_version integer, facts jsonb, outcome text, gateway_transaction_id text,
      hosted_page_url text, decline_code text, capture_before timestamptz,
      authorized bigint, captured bigint, settled bigint, refunded bigint, disputed bigint,
      claim jsonb, evidence jsonb, command jsonb, entries jsonb, done text[], next jsonb))
      with ordinality as r(payment_id, event, from_state, to_state, source, if_version, facts,
        outcome, gateway_transaction_id, hosted_page_url, decline_code, capture_before,
        authorized, captured, settled, refunded, disputed,
        claim, evidence, command, entries, done, next, i)
    cross join (select db_now() as at offset 0) now_
  )
  select array_agg(row(
           w.i, l.id, w.payment_id, l.type, l.subject, l.currency, w.at, l.version + 1,
           event_digest(l.event_hash, l.id, l.version + 1, w.event, w.to_state, w.source,
                        coalesce(w.facts, '{}'), w.at),
           w.event, w.from_state, w.to_state, w.source, coalesce(w.facts, '{}'),
           w.outcome, w.gateway_transaction_id, w.hosted_page_url, w.decline_code,
           w.capture_before, w.authorized, w.captured, w.settled, w.refunded,
           w.disputed, w.claim, w.evidence, w.command, w.entries, w.done,
           w.next)::transition_step),
         bool_or(w.claim is not null or w.evidence is not null),
         bool_or(l.type = 'service' and (w.to_state in ('Authorized', 'Capturing', 'Failed', 'Voided')
                                         or w.claim->>'kind' = 'void')),
         bool_or(w.entries is not null), bool_or(w.done is not null or w.next is not null)
    into v_steps, v_resolve, v_terms, v_entries, v_jobs
    from w
    left join lateral (
      select p.id, p.version, p.event_hash, p.type, p.currency, p.subject from payments p
       where p.id = w.payment_id and p.state = w.from_state
         and (w.if_version is null or p.version = w.if_version)
         and not exists (select from payment_events e
                          where e.payment_id = p.id and e.source = w.source)
       limit 1) l on true;
  if v_resolve then
    with claimed as (
      insert into resolution_claims as c (payment_id, payment_type, kind, reason, evidence_id,
          evidence_kind, proves_delivery, claimed_at)
      select s.id, s.type, s.claim->>'kind', s.claim->>'reason', (s.claim->>'evidence_id')::uuid,
             s.claim->>'evidence_kind',
             case when s.claim->>'evidence_id' is not null then true end, s.at
        from unnest(v_steps) s where s.id is not null and s.claim is not null
      on conflict do nothing
      returning c.payment_id
    ), going as materialized (
      select s as step from unnest(v_steps) s
       where s.id is not null
         and (s.claim is null or s.id in (select c.payment_id from claimed c))
    ), evidence as (
      insert into delivery_evidence (id, subject, kind, command_id, action, epoch, vin, service,
          status, status_reason, at, signature, verified, recorded_at)
      select e.id, (g.step).id, e.kind, e.command_id,
             (select c.action from ota_commands c where c.command_id = e.command_id),
             e.epoch, e.vin, e.service, e.status, e.status_reason,
             coalesce(e.at, (g.step).at::text), decode(e.signature, 'base64'), true, (g.step).at
        from going g cross join lateral jsonb_to_record((g.step).evidence) as e(
          id uuid, kind text, command_id uuid, epoch bigint, vin text, service text, status text,
          status_reason text, at text, signature text)
       where (g.step).evidence is not null
    )
    select array_agg(g.step) into v_going from going g;
  else
    select array_agg(s) into v_going from unnest(v_steps) s where s.id is not null;
  end if;
  if cardinality(v_steps) > coalesce(cardinality(v_going), 0) then
    return query
    select s.i, false, p.state, p.version,
           (select c.kind from resolution_claims c where c.payment_id = s.payment_id),
           null::uuid, null::uuid, null::text, null::text, null::text, null::text, null::bigint,
           null::timestamptz, null::timestamptz, null::timestamptz, 1, false
      from unnest(v_steps) s
      left join payments p on p.id = s.payment_id
     where s.i not in (select g.i from unnest(v_going) g);
  end if;
  if v_going is null then
    return;
  end if;
  with transitioned as (
    update payments p set
        state = g.to_state, came_from = p.state, version = g.seq, event_hash = g.hash, updated_at = g.at,
        outcome = coalesce(g.outcome, p.outcome),
        gateway_transaction_id = coalesce(g.gateway_transaction_id, p.gateway_transaction_id),
        hosted_page_url = coalesce(g.hosted_page_url, p.hosted_page_url),
        decline_code = coalesce(g.decline_code, p.decline_code),
        capture_before = coalesce(g.capture_before, p.capture_before),
        authorized_amount = p.authorized_amount + coalesce(g.authorized, 0),
        captured_amount = p.captured_amount + coalesce(g.captured, 0),
        settled_amount = p.settled_amount + coalesce(g.settled, 0),
        refunded_amount = p.refunded_amount + coalesce(g.refunded, 0),
        disputed_amount = p.disputed_amount + coalesce(g.disputed, 0)
      from unnest(v_going) g where p.id = g.id
  )
  insert into payment_events
  select g.id, g.seq, g.event, g.from_state, g.to_state, g.source, g.facts, g.at, g.hash
    from unnest(v_going) g;
  if v_terms then
    return query
    with becoming as materialized (
      select g.id, g.at, g.command, t.id as term, t.entitlement, t.duration_days,
             case when g.to_state = 'Authorized' and t.state = 'pending' then 'activating'
                  when g.to_state = 'Capturing' and t.state = 'activating' then 'granted'
                  when (g.to_state in ('Failed', 'Voided') or g.claim->>'kind' = 'void')
                       and t.state in ('pending', 'activating') then 'cancelled' end as becomes
        from unnest(v_going) g left join entitlement_terms t on t.service_order = g.subject
       where g.type = 'service'
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
      insert into jobs as o (kind, subject, due_at, created_at)
      select 'synchronize', c.entitlement, c.at + make_interval(secs => c.resend_in), c.at
        from commanded c where c.resend_in is not null
      on conflict (kind, subject) do update
         set due_at = excluded.due_at, attempts = 0, fence = o.fence + 1, lease_until = null,
             paused_at = null, last_error = null
    ), commands as (
      insert into ota_commands (command_id, subject, vin, service, action, purpose, epoch,
          valid_until, deadline, created_at)
      select c.command_id, c.subject, c.vin, c.service, c.action, c.purpose, c.epoch, c.valid_until,
             c.deadline, c.at
        from commanded c
    )
    select g.i, true, g.to_state, g.seq, null::text, c.command_id, c.subject, c.vin, c.service,
           c.action, c.purpose, c.epoch, c.valid_until, c.deadline, c.at, 1, false
      from unnest(v_going) g left join commanded c on c.id = g.id;
  else
    return query
    select g.i, true, g.to_state, g.seq, null::text, null::uuid, null::uuid, null::text, null::text,
           null::text, null::text, null::bigint, null::timestamptz, null::timestamptz,
           null::timestamptz, 1, false
      from unnest(v_going) g;
  end if;
  if v_entries then
    insert into ledger_entries (payment_id, seq, debit, credit, amount, currency, at)
    select g.id, g.seq, e.entry->>0, e.entry->>1, (e.entry->>2)::bigint, g.currency, g.at
      from unnest(v_going) g cross join lateral jsonb_array_elements(g.entries) as e(entry)
     where g.entries is not null;
  end if;
  if v_jobs then
    with done as (
      delete from jobs o using unnest(v_going) g
       where o.subject = g.id and o.kind = any (g.done)
         and not exists (select from jsonb_array_elements(g.next) n where n->>'kind' = o.kind)
    )
    insert into jobs as o (kind, subject, due_at, payload, created_at)
    select n.kind, g.id, g.at + make_interval(secs => n.due_in), coalesce(n.payload, '{}'), g.at
      from unnest(v_going) g cross join lateral jsonb_to_recordset(g.next) as n(
        kind text, due_in double precision, payload jsonb)
     where g.next is not null
    on conflict (kind, subject) do update
       set due_at = excluded.due_at, payload = excluded.payload, attempts = 0,
           fence = o.fence + 1, lease_until = null, paused_at = null, last_error = null;
  end if;
end $_$;

CREATE FUNCTION caas.book_output_tax(p_payments uuid[], p_seqs integer[], p_at timestamp with time zone[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare
  v_earned constant text[] := array['customer_deposits', 'vehicle_sales', 'service_revenue',
                                    'subscription_revenue', 'reservation_held'];
begin
  insert into ledger_entries (payment_id, seq, debit, credit, amount, currency, at)
  select b.payment_id, b.seq, case when b.owed > b.booked then b.account else 'output_vat' end,
         case when b.owed > b.booked then 'output_vat' else b.account end,
         abs(b.owed - b.booked), b.currency, b.at
    from (
      select x.payment_id, l.account, x.seq, x.at,
             max(l.currency) as currency, coalesce(sum(l.amount) filter (where l.is_tax), 0) as booked,
             tax_left(t.tax, greatest(coalesce(
               -sum(l.amount) filter (where not l.is_tax), 0), 0)::bigint, t.gross) as owed
        from unnest(p_payments, p_seqs, p_at) as x(payment_id, seq, at)
        join payment_taxes t on t.payment_id = x.payment_id and t.tax > 0
        cross join lateral (
          select side.account, side.amount, e.currency, 'output_vat' in (e.debit, e.credit) as is_tax
            from ledger_entries e cross join lateral (
              values (e.debit, e.amount), (e.credit, -e.amount)) side(account, amount)
           where e.payment_id = x.payment_id and side.account = any (v_earned)) l
       group by x.payment_id, x.seq, x.at, l.account, t.tax, t.gross) b
   where b.owed <> b.booked;
end $$;

CREATE FUNCTION caas.buyer_of(p_customer uuid) RETURNS jsonb
    LANGUAGE sql STABLE
    AS $$
  select case when b.customer is not null then jsonb_strip_nulls(jsonb_build_object(
                'name', b.name, 'street', b.street, 'postcode', b.postcode, 'city', b.city,
                'country', b.country, 'tax_id', b.tax_id))
              when c.name is not null then jsonb_build_object('name', c.name) end
    from customers c left join billing_details b on b.customer = c.id where c.id = p_customer
$$;

CREATE FUNCTION caas.cancel_pending_terms(p_customer uuid, p_vin text, p_because text) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
  with over as (
    update entitlement_terms t
       set state = 'cancelled', ended_because = p_because, updated_at = db_now()
      from entitlements e
     where e.id = t.entitlement and t.customer = p_customer and (p_vin is null or e.vin = p_vin)
       and t.state = 'pending' and t.service_order is not null
    returning t.id
  )
  select count(*) from over
$$;

CREATE FUNCTION caas.change_gateway(p_payment uuid, p_gateway text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$ update payments set gateway = p_gateway where id = p_payment $$;

CREATE FUNCTION caas.check_accounts_of_entries() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
declare v_account text;
begin
  select used.name into v_account
    from (select debit as name from new_rows union select credit from new_rows) used
   where not exists (select from caas.ledger_accounts a where a.name = used.name) limit 1;
  if found then
    raise exception 'there is no account % in the chart of accounts', v_account
      using errcode = 'foreign_key_violation';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.check_assignment() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
declare v_state text; v_in_stock boolean; v_assigned boolean;
begin
  select v.state, v.in_stock_since is not null into v_state, v_in_stock
    from caas.vehicles v where v.vin = new.vin;
  v_assigned := exists (
    select from caas.vehicle_assignments a where a.vin = new.vin and a.active);
  if v_assigned = (v_state = 'sin asignar') or v_in_stock <> (v_state = 'sin asignar') then
    raise exception 'vehicle % is %, and its assignment or the stock says otherwise',
      new.vin, v_state using errcode = 'check_violation';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.check_cancelled_by() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if not caas.may_cancel(new.transitioned_for) then
    raise exception 'subscription % cannot be cancelled for payment %', new.id, new.transitioned_for
      using errcode = 'check_violation',
            hint = 'Only a decline, a confirmation that never came, or the bank cancels.';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.check_cancelled_use() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if not exists (
    select from caas.usage_records u
     where u.subscription = new.subscription and u.source_id = new.cancels
       and (u.quantity, u.unit, u.at) = (-new.quantity, new.unit, new.at)
       and u.cancels is null and u.invoice is null) then
    raise exception 'usage % of subscription % takes back nothing that is recorded and not billed',
      new.source_id, new.subscription using errcode = 'check_violation';
  end if;
  return new;
end $$;

CREATE FUNCTION caas.check_discrepancy() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if not exists (select from caas.discrepancy_events e
                  where e.discrepancy_id = new.id and e.seq = new.version
                    and e.status = new.status) then
    raise exception 'discrepancy % changes only with its event', new.id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.check_gateway_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if old.state = 'Pending' and new.state = 'Pending' and old.outcome = 'known'
     and old.gateway_transaction_id is null and old.hosted_page_url is null
     and exists (select from caas.payment_events e
                  where e.payment_id = old.id and e.seq = old.version
                    and to_jsonb(new) - '{gateway,live}'::text[] = to_jsonb(old) - '{gateway,live}'::text[]
                    and e.event = 'Gateway changed' and e.facts->>'from' = old.gateway
                    and e.facts->>'to' = new.gateway)
     and not exists (select from caas.gateway_calls c
                      where c.payment_id = old.id
                        and c.outcome not in ('not sent', 'turned away')) then
    return new;
  end if;
  raise exception 'payment % stays at %: only what % has certainly not received goes to another',
    old.id, old.gateway, old.gateway using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.check_gateway_claim() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if not exists (select from caas.gateway_claim_events e
                  where e.discrepancy_id = new.discrepancy_id and e.seq = new.version
                    and e.status = new.status) then
    raise exception 'the claim of discrepancy % changes only with its event', new.discrepancy_id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.check_given_back() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
declare v_captured bigint; v_given bigint;
begin
  v_captured := caas.lock_payment(new.payment_id);
  if not exists (select from caas.payments p
                  where p.id = new.payment_id and p.currency = new.currency) then
    raise exception 'payment % was not received in %', new.payment_id, new.currency
      using errcode = 'foreign_key_violation';
  end if;
  v_given := caas.money_out(new.payment_id);
  if tg_table_name = 'refunds' and tg_op = 'INSERT' then
    select v_given + coalesce(sum(amount), 0) into v_given
      from caas.refunds where payment_id = new.payment_id and state = 'waiting';
  end if;
  if v_given > v_captured then
    raise exception 'more would be given back of payment % than was received', new.payment_id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.check_lost() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if not exists (
    select from caas.payments p
     where p.subject = new.id and p.type = 'final' and p.state = 'Failed'
       and caas.is_decline(p.decline_code)) then
    raise exception 'order % cannot lose its reservation without a declined payment', new.id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.check_new_claims() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
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

CREATE FUNCTION caas.check_new_entries() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
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

CREATE FUNCTION caas.check_new_evidence() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
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

CREATE FUNCTION caas.check_new_payments() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
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

CREATE FUNCTION caas.check_not_erased() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
declare v_id uuid;
begin
  perform from new_rows n join caas.customers c on c.id = n.customer for share of c;
  select n.id into v_id from new_rows n join caas.customers c on c.id = n.customer
   where c.erased_at is not null limit 1;
  if found then
    raise exception '% of %: its customer was erased', tg_table_name, v_id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.check_paid() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if not exists (
    select from caas.payments p join caas.resolution_claims c on c.payment_id = p.id
     where p.subject = new.id and c.kind = 'capture'
       and p.type = case new.state when 'reserved' then 'reservation' else 'final' end) then
    raise exception 'order % cannot be % without its payment', new.id, new.state
      using errcode = 'check_violation';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.check_payment_transitions() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
declare v_id uuid; v_from text; v_to text; v_legal boolean;
begin
  select n.id, n.came_from, n.state, a.event is not null into v_id, v_from, v_to, v_legal
    from new_rows n
    left join caas.payment_events e on e.payment_id = n.id and e.seq = n.version
     and e.hash = n.event_hash and e.from_state = n.came_from and e.to_state = n.state
    left join caas.payment_transitions a
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

CREATE FUNCTION caas.check_replacement() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
declare v_old caas.invoices; v_credited bigint;
begin
  select * into v_old from caas.invoices where id = new.replaces;
  select coalesce(-sum(n.gross), 0) into v_credited from caas.invoices n where n.corrects = v_old.id;
  if v_credited <> v_old.gross
     or (new.customer, new.currency, new.gross, new.iva, new.tax_rate, new.market, new.supplied_on)
        is distinct from (v_old.customer, v_old.currency, v_old.gross, v_old.iva, v_old.tax_rate,
                          v_old.market, v_old.supplied_on) then
    raise exception 'document % does not replace document % as it was', new.id, v_old.id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.check_returned() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if not exists (select from caas.payment_events e
                  where e.payment_id = new.payment_id and e.event = 'Refund returned'
                    and e.source = 'refund-returned:' || new.id) then
    raise exception 'refund % succeeded, and no event brings its money back', new.id
      using errcode = 'check_violation';
  end if;
  return new;
end $$;

CREATE FUNCTION caas.check_seal() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION caas.check_series() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
declare v_next bigint; v_last bigint;
begin
  select s.next into v_next from caas.invoice_series s where s.series = new.series;
  select coalesce(max(i.number), 0) into v_last from caas.invoices i where i.series = new.series;
  if v_next <> v_last + 1 then
    raise exception 'series %: % does not follow number %', new.series, v_next, v_last
      using errcode = 'check_violation';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.check_whose() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
declare v_id uuid;
begin
  select n.id into v_id from new_rows n
    left join caas.customers c on c.id = n.customer
    left join caas.vehicles v on v.vin = n.vin
   where c.id is null or v.vin is null limit 1;
  if found then
    raise exception '% of % is of a customer or of a vehicle that nobody knows', tg_table_name, v_id
      using errcode = 'foreign_key_violation';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.claimed_by(p_discrepancy uuid) RETURNS bigint
    LANGUAGE sql STABLE
    AS $$
  select coalesce(sum(case when e.debit = 'gateway_claims' then e.amount else -e.amount end), 0)::bigint
    from discrepancy_entries e
   where e.discrepancy_id = p_discrepancy and 'gateway_claims' in (e.debit, e.credit)
$$;

CREATE FUNCTION caas.clear_customer(p_customer uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
  delete from document_buyers b using invoices i
   where i.id = b.invoice and i.customer = p_customer and i.simplified;
  delete from billing_details where customer = p_customer;
  update customers set name = null, email = null, erased_at = coalesce(erased_at, db_now())
   where id = p_customer;
  update access_credentials set used_at = db_now() where customer = p_customer and used_at is null;
  delete from sessions where account in (select a.id from accounts a where a.customer = p_customer);
  update accounts set disabled_at = coalesce(disabled_at, db_now()) where customer = p_customer;
  update api_keys set revoked_at = db_now() where customer = p_customer and revoked_at is null;
  update notifications set not_sent_because = 'the customer was erased',
         facts = case when facts ? 'access_url' then facts || '{"access_url": ""}' else facts end
   where audience = 'customer' and recipient = p_customer::text and sent_at is null
     and not_sent_because is null;
  update payments set payment_method = null, return_url = null
   where customer = p_customer and came_from is not null
     and (payment_method is not null or return_url is not null);
  update subscriptions set payment_method = 'erased'
   where customer = p_customer and payment_method <> 'erased'
     and state not in ('verifying payment method', 'activating', 'active')
$$;

CREATE SEQUENCE caas.ota_epochs
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE caas.ota_commands (
    command_id uuid NOT NULL,
    subject uuid NOT NULL,
    vin text NOT NULL,
    service text NOT NULL,
    action text NOT NULL,
    purpose text NOT NULL,
    epoch bigint DEFAULT nextval('caas.ota_epochs'::regclass) NOT NULL,
    valid_until timestamp with time zone,
    deadline timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    attempt integer DEFAULT 1 NOT NULL,
    CONSTRAINT ota_commands_action_check CHECK ((action = ANY (ARRAY['activate'::text, 'deactivate'::text]))),
    CONSTRAINT ota_commands_attempt_check CHECK ((attempt > 0)),
    CONSTRAINT ota_commands_purpose_check CHECK ((purpose = ANY (ARRAY['service payment'::text, 'subscription'::text])))
);

CREATE FUNCTION caas.command_desired_state(p_entitlement uuid, p_command_id uuid, p_activate_within double precision, p_deadline_in double precision, p_resend_in double precision) RETURNS SETOF caas.ota_commands
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
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
  insert into jobs as o (kind, subject, due_at, created_at)
  values ('synchronize', p_entitlement, v_at + make_interval(secs => p_resend_in), v_at)
  on conflict (kind, subject) do update
     set due_at = excluded.due_at, attempts = 0, fence = o.fence + 1, lease_until = null,
         paused_at = null, last_error = null;
  return next v_command;
end $$;

CREATE TABLE caas.invoices (
    id uuid NOT NULL,
    series text NOT NULL,
    number bigint NOT NULL,
    kind text NOT NULL,
    subscription uuid,
    customer uuid NOT NULL,
    month text,
    service text,
    vin text,
    currency text NOT NULL,
    lines jsonb NOT NULL,
    net bigint NOT NULL,
    iva_basis_points integer NOT NULL,
    iva bigint NOT NULL,
    gross bigint NOT NULL,
    payment_id uuid,
    corrects uuid,
    correction integer DEFAULT 0 NOT NULL,
    reason text,
    issued_at timestamp with time zone NOT NULL,
    market text,
    tax_rate bigint,
    supplied_on date,
    subject uuid,
    refund uuid,
    advance uuid,
    simplified boolean NOT NULL,
    language text,
    seller jsonb,
    buyer_digest bytea,
    digest bytea,
    service_name text,
    replaces uuid,
    returned uuid,
    CONSTRAINT adds_or_takes_back CHECK (
CASE
    WHEN (kind = 'debit note'::text) THEN ((net >= 0) AND (iva >= 0) AND (gross > 0) AND (corrects IS NOT NULL) AND (reason IS NOT NULL) AND (refund IS NULL) AND (payment_id IS NULL))
    WHEN (kind <> 'credit note'::text) THEN ((net >= 0) AND (iva >= 0) AND (corrects IS NULL) AND (reason IS NULL) AND (refund IS NULL) AND ((payment_id IS NULL) = (gross = 0)))
    ELSE ((net <= 0) AND (iva <= 0) AND (gross < 0) AND (corrects IS NOT NULL) AND (reason IS NOT NULL) AND (payment_id IS NULL))
END),
    CONSTRAINT comes_of_a_returned_refund CHECK (((kind = 'debit note'::text) = (returned IS NOT NULL))),
    CONSTRAINT corrects_one CHECK (((kind = ANY (ARRAY['credit note'::text, 'debit note'::text])) = (correction > 0))),
    CONSTRAINT deducts_an_advance CHECK (((advance IS NULL) OR (kind = 'vehicle invoice'::text))),
    CONSTRAINT invoices_check CHECK ((gross = (net + iva))),
    CONSTRAINT invoices_correction_check CHECK ((correction >= 0)),
    CONSTRAINT invoices_currency_check CHECK ((length(currency) = 3)),
    CONSTRAINT invoices_iva_basis_points_check CHECK (((iva_basis_points >= 0) AND (iva_basis_points <= 10000))),
    CONSTRAINT invoices_month_check CHECK ((month ~~ '____-__'::text)),
    CONSTRAINT invoices_number_check CHECK ((number > 0)),
    CONSTRAINT invoices_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 200))),
    CONSTRAINT is_about_something CHECK (
CASE
    WHEN (kind = 'invoice'::text) THEN ((subscription IS NOT NULL) AND (month IS NOT NULL))
    WHEN (kind <> ALL (ARRAY['credit note'::text, 'debit note'::text])) THEN ((subscription IS NULL) AND (subject IS NOT NULL))
    ELSE true
END),
    CONSTRAINT is_in_a_series_of_its_kind CHECK ((series ~
CASE kind
    WHEN 'invoice'::text THEN '^([A-Z0-9]{1,6}-)?[0-9]{4}$'::text
    WHEN 'advance invoice'::text THEN '^([A-Z0-9]{1,6}-)?A[0-9]{4}$'::text
    WHEN 'vehicle invoice'::text THEN '^([A-Z0-9]{1,6}-)?V[0-9]{4}$'::text
    WHEN 'service invoice'::text THEN '^([A-Z0-9]{1,6}-)?S[0-9]{4}$'::text
    ELSE '^([A-Z0-9]{1,6}-)?R[0-9]{4}$'::text
END)),
    CONSTRAINT is_of_a_kind CHECK ((kind = ANY (ARRAY['invoice'::text, 'advance invoice'::text, 'vehicle invoice'::text, 'service invoice'::text, 'credit note'::text, 'debit note'::text]))),
    CONSTRAINT replaces_with_a_document CHECK (((replaces IS NULL) OR (kind = ANY (ARRAY['advance invoice'::text, 'vehicle invoice'::text, 'service invoice'::text]))))
);

CREATE FUNCTION caas.credited_by(p_refund uuid) RETURNS SETOF caas.invoices
    LANGUAGE sql STABLE
    AS $$
  select n.* from refunds f
    join invoices n on n.kind = 'credit note' and (n.refund = f.id
      or n.refund in (select o.id from refunds o
                       where o.payment_id = f.payment_id and o.reason = f.reason)
         and f.reason = 'credit note ' || n.series || '-' || lpad(n.number::text, 6, '0'))
   where f.id = p_refund
$$;

CREATE FUNCTION caas.db_now() RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    AS $$ select clock_timestamp() + (select moved from caas.clock) $$;

CREATE FUNCTION caas.dealership_knows(p_dealership text, p_customer uuid) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
  select exists (select from caas.customers c where c.id = p_customer and c.dealership = p_dealership)
      or exists (select from caas.orders o
                   join caas.order_events e on e.order_id = o.id and e.to_state = 'reserved'
                  where o.customer = p_customer and o.dealership = p_dealership)
$$;

CREATE FUNCTION caas.desired_state(p_entitlement uuid) RETURNS TABLE(on_ boolean, until timestamp with time zone, subject uuid, purpose text, is_activating boolean)
    LANGUAGE sql STABLE
    SET search_path TO 'caas', 'pg_temp'
    AS $$
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

CREATE FUNCTION caas.digest_of_document(p_document caas.invoices) RETURNS bytea
    LANGUAGE sql STABLE
    AS $$
  select sha256(convert_to((jsonb_strip_nulls(to_jsonb(p_document)) - 'digest' - 'issued_at'
    || jsonb_build_object('issued_at', extract(epoch from p_document.issued_at)))::text, 'UTF8'))
$$;

CREATE FUNCTION caas.disputed_amounts(p_payment uuid, p_currency text) RETURNS TABLE(dispute text, named boolean, of_refund boolean, taken bigint, back bigint)
    LANGUAGE sql STABLE
    AS $$
  with words as (
    select d.id, d.gateway_dispute_id is not null as named, d.origin = 'refund line' as of_refund,
           e.event = 'Dispute opened' as opens,
           coalesce((e.facts->'claimed'->>0)::bigint, d.claimed_amount) as claimed,
           coalesce((e.facts->'instead'->>1)::bigint, 0) as instead,
           lag(coalesce((e.facts->'claimed'->>0)::bigint, d.claimed_amount))
             over (partition by d.id, e.event = 'Dispute opened' order by e.seq) as before
      from caas.disputes d
      join caas.payment_events e on e.payment_id = d.payment_id and e.facts->>'dispute' = d.id
       and e.event in ('Dispute opened', 'Dispute won', 'Dispute reversed')
     where d.payment_id = p_payment and d.claimed_currency = p_currency
  ), amended as (
    select w.*, case when opens and claimed <> before then least(claimed, before) else 0 end as again
      from words w
  )
  select id, named, of_refund,
         (coalesce(sum(claimed) filter (where opens), 0) - sum(again) - sum(instead))::bigint,
         (coalesce(sum(claimed) filter (where not opens), 0) - sum(again) - sum(instead))::bigint
    from amended group by id, named, of_refund
$$;

CREATE FUNCTION caas.end_older_credentials() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  perform from customers where id = new.customer for no key update;
  update access_credentials set used_at = db_now()
   where customer = new.customer and used_at is null;
  return new;
end $$;

CREATE FUNCTION caas.end_older_staff_links() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  perform from accounts where id = new.account for no key update;
  update staff_links set used_at = db_now() where account = new.account and used_at is null;
  return new;
end $$;

CREATE FUNCTION caas.end_synchronization(p_entitlement uuid, p_command_id uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
begin
  perform from entitlements where id = p_entitlement and last_command = p_command_id for update;
  if found then
    delete from jobs where kind = 'synchronize' and subject = p_entitlement;
  end if;
end $$;

CREATE FUNCTION caas.end_term(p_term uuid, p_because text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
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

CREATE FUNCTION caas.event_digest(before bytea, payment_id uuid, seq integer, event text, to_state text, source text, facts jsonb, at timestamp with time zone) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ select sha256(before || convert_to(
     payment_id::text || '|' || seq::text || '|' || event || '|' || to_state || '|' || source
     || '|' || facts::text || '|' || extract(epoch from at)::text, 'UTF8')) $$;

CREATE FUNCTION caas.events_are_whole_until() RETURNS timestamp with time zone
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
  select least(clock_timestamp(), min(case when a.state is null
                                           then clock_timestamp() - interval '60 seconds'
                                           else a.xact_start end))
         + (select moved from clock)
    from pg_stat_activity a
   where a.datname = current_database() and a.pid <> pg_backend_pid()
     and coalesce(a.backend_type, 'client backend') = 'client backend'
$$;

CREATE TABLE caas.access_credentials (
    token_hash bytea NOT NULL,
    customer uuid NOT NULL,
    order_id uuid NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT access_credentials_token_hash_check CHECK ((octet_length(token_hash) = 32))
);

CREATE FUNCTION caas.fixed_checksum(r caas.access_credentials) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.created_at, r.customer, r.expires_at, r.order_id, r.token_hash), 0)::bigint$$;

CREATE TABLE caas.accounts (
    id uuid NOT NULL,
    role text NOT NULL,
    customer uuid,
    dealership text,
    login text,
    password_hash text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    password_set_at timestamp with time zone NOT NULL,
    disabled_at timestamp with time zone,
    CONSTRAINT accounts_check CHECK (((role = 'customer'::text) = (customer IS NOT NULL))),
    CONSTRAINT accounts_check1 CHECK (((role = 'sales'::text) = (dealership IS NOT NULL))),
    CONSTRAINT accounts_check2 CHECK (((role = 'customer'::text) = (login IS NULL))),
    CONSTRAINT accounts_dealership_check CHECK (((length(dealership) >= 1) AND (length(dealership) <= 120))),
    CONSTRAINT accounts_login_check CHECK (((length(login) >= 3) AND (length(login) <= 120) AND (login = lower(login)))),
    CONSTRAINT accounts_password_hash_check CHECK ((password_hash ~~ '$argon2id$%'::text)),
    CONSTRAINT accounts_role_check CHECK ((role = ANY (ARRAY['customer'::text, 'sales'::text, 'operations'::text])))
);

CREATE FUNCTION caas.fixed_checksum(r caas.accounts) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.created_at, r.id), 0)::bigint$$;

CREATE TABLE caas.api_keys (
    id uuid NOT NULL,
    key_hash bytea NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    customer uuid,
    dealership text,
    created_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    account uuid,
    activated_at timestamp with time zone,
    activated_account uuid,
    CONSTRAINT api_keys_key_hash_check CHECK ((octet_length(key_hash) = 32)),
    CONSTRAINT api_keys_name_check CHECK ((name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'::text)),
    CONSTRAINT api_keys_scopes_check CHECK ((cardinality(scopes) > 0))
);

CREATE FUNCTION caas.fixed_checksum(r caas.api_keys) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.account, r.created_at, r.customer, r.dealership, r.id, r.key_hash, r.scopes), 0)::bigint$$;

CREATE TABLE caas.audit_events (
    id uuid NOT NULL,
    type text NOT NULL,
    actor text NOT NULL,
    account uuid,
    subject uuid,
    address cidr,
    at timestamp with time zone NOT NULL,
    CONSTRAINT audit_events_actor_check CHECK ((actor = ANY (ARRAY['account'::text, 'platform'::text, 'settings'::text, 'command line'::text, 'nobody'::text]))),
    CONSTRAINT audit_events_address_check CHECK ((masklen((address)::inet) <=
CASE family((address)::inet)
    WHEN 4 THEN 24
    ELSE 48
END)),
    CONSTRAINT audit_events_check CHECK (((actor = 'account'::text) = (account IS NOT NULL))),
    CONSTRAINT audit_events_type_check CHECK ((type = ANY (ARRAY['key made'::text, 'key activated'::text, 'key revoked'::text, 'staff added'::text, 'staff disabled'::text, 'link made'::text, 'link used'::text, 'sign-in ok'::text, 'sign-in refused'::text, 'sign-in slowed'::text, 'password changed'::text, 'second factor enrolled'::text, 'second factor used'::text, 'second factor refused'::text, 'second factor reset'::text, 'recovery code used'::text, 'event subscription made'::text, 'event subscription ended'::text, 'evidence sent'::text])))
);

CREATE FUNCTION caas.fixed_checksum(r caas.audit_events) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.account, r.actor, r.address, r.at, r.id, r.subject, r.type), 0)::bigint$$;

CREATE TABLE caas.billing_details (
    customer uuid NOT NULL,
    name text NOT NULL,
    street text NOT NULL,
    postcode text NOT NULL,
    city text NOT NULL,
    country text NOT NULL,
    tax_id text,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT billing_details_city_check CHECK (((length(city) >= 1) AND (length(city) <= 100))),
    CONSTRAINT billing_details_country_check CHECK ((country ~ '^[A-Z]{2}$'::text)),
    CONSTRAINT billing_details_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT billing_details_postcode_check CHECK (((length(postcode) >= 1) AND (length(postcode) <= 20))),
    CONSTRAINT billing_details_street_check CHECK (((length(street) >= 1) AND (length(street) <= 200))),
    CONSTRAINT billing_details_tax_id_check CHECK (((length(tax_id) >= 3) AND (length(tax_id) <= 40)))
);

CREATE FUNCTION caas.fixed_checksum(r caas.billing_details) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select 0::bigint$$;

CREATE TABLE caas.billing_runs (
    month text NOT NULL,
    series text NOT NULL,
    first_number bigint NOT NULL,
    subscriptions bigint NOT NULL,
    seen_through uuid,
    seen bigint DEFAULT 0 NOT NULL,
    invoices bigint DEFAULT 0 NOT NULL,
    invoiced_at timestamp with time zone,
    charged_series text NOT NULL,
    charged_number bigint NOT NULL,
    charges bigint DEFAULT 0 NOT NULL,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    zone text,
    restarted integer DEFAULT 0 NOT NULL,
    CONSTRAINT billing_runs_check CHECK (((finished_at IS NULL) OR (invoiced_at IS NOT NULL))),
    CONSTRAINT billing_runs_month_check CHECK ((month ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'::text))
);

CREATE FUNCTION caas.fixed_checksum(r caas.billing_runs) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.first_number, r.month, r.series, r.started_at), 0)::bigint$$;

CREATE TABLE caas.cases (
    id uuid NOT NULL,
    kind text NOT NULL,
    subject uuid NOT NULL,
    sentence text NOT NULL,
    facts jsonb DEFAULT '{}'::jsonb NOT NULL,
    owner text,
    status text DEFAULT 'open'::text NOT NULL,
    resolution text,
    opened_at timestamp with time zone NOT NULL,
    resolved_at timestamp with time zone,
    CONSTRAINT cases_check CHECK (((status = 'resolved'::text) = (resolved_at IS NOT NULL))),
    CONSTRAINT cases_status_check CHECK ((status = ANY (ARRAY['open'::text, 'resolved'::text])))
);

CREATE FUNCTION caas.fixed_checksum(r caas.cases) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.facts, r.id, r.kind, r.opened_at, r.sentence, r.subject), 0)::bigint$$;

CREATE TABLE caas.credit_note_decisions (
    id uuid NOT NULL,
    invoice uuid NOT NULL,
    gross bigint NOT NULL,
    reason text NOT NULL,
    state text NOT NULL,
    proposed_by text NOT NULL,
    proposed_account uuid,
    proposed_at timestamp with time zone NOT NULL,
    decided_by text,
    decided_account uuid,
    decided_at timestamp with time zone,
    term text,
    CONSTRAINT credit_note_decisions_check CHECK (((state = 'proposed'::text) = (decided_by IS NULL))),
    CONSTRAINT credit_note_decisions_check1 CHECK (((decided_by IS NULL) = (decided_at IS NULL))),
    CONSTRAINT credit_note_decisions_check2 CHECK (((decided_by IS NOT NULL) OR (decided_account IS NULL))),
    CONSTRAINT credit_note_decisions_gross_check CHECK ((gross > 0)),
    CONSTRAINT credit_note_decisions_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 200))),
    CONSTRAINT credit_note_decisions_state_check CHECK ((state = ANY (ARRAY['proposed'::text, 'agreed'::text, 'withdrawn'::text]))),
    CONSTRAINT credit_note_decisions_term_check CHECK ((term = ANY (ARRAY['end'::text, 'keep'::text, 'reissue'::text])))
);

CREATE FUNCTION caas.fixed_checksum(r caas.credit_note_decisions) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.gross, r.id, r.invoice, r.proposed_account, r.proposed_at, r.proposed_by, r.reason, r.term), 0)::bigint$$;

CREATE TABLE caas.customers (
    id uuid NOT NULL,
    name text,
    email text,
    language text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    erased_at timestamp with time zone,
    dealership text,
    CONSTRAINT customers_check CHECK (
CASE
    WHEN (erased_at IS NULL) THEN ((name IS NOT NULL) AND (email IS NOT NULL))
    ELSE ((name IS NULL) AND (email IS NULL))
END),
    CONSTRAINT customers_dealership_check CHECK (((length(dealership) >= 1) AND (length(dealership) <= 120))),
    CONSTRAINT customers_email_check CHECK (((length(email) >= 3) AND (length(email) <= 254) AND (email ~ '^[^@\s]+@[^@\s]+$'::text))),
    CONSTRAINT customers_language_check CHECK ((language ~ '^[a-z]{2}(-[A-Z]{2})?$'::text)),
    CONSTRAINT customers_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200)))
);

CREATE FUNCTION caas.fixed_checksum(r caas.customers) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.created_at, r.dealership, r.id), 0)::bigint$$;

CREATE TABLE caas.dealership_markets (
    dealership text NOT NULL,
    market text NOT NULL,
    CONSTRAINT dealership_markets_dealership_check CHECK (((length(dealership) >= 1) AND (length(dealership) <= 120)))
);

CREATE FUNCTION caas.fixed_checksum(r caas.dealership_markets) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select 0::bigint$$;

CREATE TABLE caas.deposit_decisions (
    id uuid NOT NULL,
    payment_id uuid NOT NULL,
    decision text NOT NULL,
    note text NOT NULL,
    needs_second boolean NOT NULL,
    state text NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamp with time zone NOT NULL,
    decided_by text,
    decided_at timestamp with time zone,
    proposed_account uuid,
    decided_account uuid,
    by_policy boolean DEFAULT false NOT NULL,
    CONSTRAINT deposit_decisions_check CHECK (((state = 'proposed'::text) = (decided_by IS NULL))),
    CONSTRAINT deposit_decisions_check1 CHECK (((decided_by IS NULL) = (decided_at IS NULL))),
    CONSTRAINT deposit_decisions_check2 CHECK (((decided_by IS NOT NULL) OR (decided_account IS NULL))),
    CONSTRAINT deposit_decisions_decision_check CHECK ((decision = ANY (ARRAY['refund'::text, 'keep'::text]))),
    CONSTRAINT deposit_decisions_note_check CHECK (((length(note) >= 1) AND (length(note) <= 1000))),
    CONSTRAINT deposit_decisions_state_check CHECK ((state = ANY (ARRAY['proposed'::text, 'agreed'::text, 'withdrawn'::text]))),
    CONSTRAINT policies_decide_alone CHECK (((NOT by_policy) OR ((state = 'agreed'::text) AND (NOT needs_second) AND (proposed_account IS NULL) AND (decided_account IS NULL))))
);

CREATE FUNCTION caas.fixed_checksum(r caas.deposit_decisions) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.by_policy, r.decision, r.id, r.needs_second, r.note, r.payment_id, r.proposed_account, r.proposed_at, r.proposed_by), 0)::bigint$$;

CREATE TABLE caas.disputes (
    gateway text NOT NULL,
    id text NOT NULL,
    payment_id uuid NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    claimed_amount bigint NOT NULL,
    claimed_currency text NOT NULL,
    origin text DEFAULT 'gateway'::text NOT NULL,
    gateway_dispute_id text,
    reported_at timestamp with time zone,
    steps integer DEFAULT 0 NOT NULL,
    taken integer DEFAULT 0 NOT NULL,
    back integer DEFAULT 0 NOT NULL,
    excess bigint GENERATED ALWAYS AS (
CASE
    WHEN (claimed_currency = currency) THEN (claimed_amount - amount)
    ELSE (0)::bigint
END) STORED NOT NULL,
    amended integer DEFAULT 0 NOT NULL,
    CONSTRAINT counts_no_more_than_claimed CHECK (((claimed_currency <> currency) OR (amount <= claimed_amount))),
    CONSTRAINT disputes_amount_check CHECK ((amount >= 0)),
    CONSTRAINT disputes_check CHECK (((back >= 0) AND (back <= taken))),
    CONSTRAINT disputes_check1 CHECK (((amended >= 0) AND (amended <= taken))),
    CONSTRAINT disputes_claimed_amount_check CHECK ((claimed_amount > 0)),
    CONSTRAINT disputes_origin_check CHECK ((origin = ANY (ARRAY['gateway'::text, 'chargeback line'::text, 'refund line'::text]))),
    CONSTRAINT disputes_state_check CHECK ((state = ANY (ARRAY['opened'::text, 'won'::text, 'lost'::text, 'reversed'::text]))),
    CONSTRAINT disputes_taken_check CHECK ((taken >= 0))
);

CREATE FUNCTION caas.fixed_checksum(r caas.disputes) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.claimed_currency, r.currency, r.gateway, r.id, r.opened_at, r.origin, r.payment_id, r.reason), 0)::bigint$$;

CREATE TABLE caas.event_subscriptions (
    id uuid NOT NULL,
    url text NOT NULL,
    types text[] DEFAULT '{}'::text[] NOT NULL,
    secret text,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    encrypted_secret bytea,
    CONSTRAINT event_subscriptions_check CHECK ((ended_at >= created_at)),
    CONSTRAINT event_subscriptions_created_by_check CHECK (((length(created_by) >= 1) AND (length(created_by) <= 200))),
    CONSTRAINT event_subscriptions_encrypted_secret_check CHECK (((length(encrypted_secret) >= 32) AND (length(encrypted_secret) <= 256))),
    CONSTRAINT event_subscriptions_secret_check CHECK ((secret ~ '^whsec_[A-Za-z0-9+/]{32,86}=*$'::text)),
    CONSTRAINT event_subscriptions_types_check CHECK ((cardinality(types) <= 50)),
    CONSTRAINT event_subscriptions_url_check CHECK (((url ~ '^https?://'::text) AND (length(url) <= 500))),
    CONSTRAINT one_secret_while_it_runs CHECK ((num_nonnulls(secret, encrypted_secret) = ((ended_at IS NULL))::integer))
);

CREATE FUNCTION caas.fixed_checksum(r caas.event_subscriptions) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.created_at, r.created_by, r.id, r.types, r.url), 0)::bigint$$;

CREATE TABLE caas.gateway_calls (
    id uuid NOT NULL,
    gateway text NOT NULL,
    operation text NOT NULL,
    payment_id uuid,
    transaction_id text,
    key text,
    amount bigint,
    outcome text NOT NULL,
    summary text NOT NULL,
    took_ms integer NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    CONSTRAINT gateway_calls_outcome_check CHECK ((outcome = ANY (ARRAY['answered'::text, 'refused'::text, 'turned away'::text, 'not sent'::text, 'unknown'::text]))),
    CONSTRAINT gateway_calls_took_ms_check CHECK ((took_ms >= 0))
);

CREATE FUNCTION caas.fixed_checksum(r caas.gateway_calls) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.amount, r.asked_at, r.gateway, r.id, r.key, r.operation, r.outcome, r.payment_id, r.summary, r.took_ms, r.transaction_id), 0)::bigint$$;

CREATE TABLE caas.orders (
    id uuid NOT NULL,
    customer uuid NOT NULL,
    model text NOT NULL,
    vin text,
    dealership text NOT NULL,
    deposit bigint NOT NULL,
    price bigint NOT NULL,
    currency text NOT NULL,
    state text DEFAULT 'awaiting reservation payment'::text NOT NULL,
    event text DEFAULT 'Order created'::text NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    factory_order_id text,
    plate text,
    registered_at timestamp with time zone,
    delivery_id text,
    delivery_scheduled_for timestamp with time zone,
    delivered_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT orders_check CHECK ((price > deposit)),
    CONSTRAINT orders_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT orders_dealership_check CHECK (((length(dealership) >= 1) AND (length(dealership) <= 120))),
    CONSTRAINT orders_delivery_id_check CHECK (((length(delivery_id) >= 1) AND (length(delivery_id) <= 200))),
    CONSTRAINT orders_deposit_check CHECK ((deposit > 0)),
    CONSTRAINT orders_factory_order_id_check CHECK (((length(factory_order_id) >= 1) AND (length(factory_order_id) <= 200))),
    CONSTRAINT orders_plate_check CHECK (((length(plate) >= 1) AND (length(plate) <= 40)))
);

CREATE FUNCTION caas.fixed_checksum(r caas.orders) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.created_at, r.currency, r.customer, r.dealership, r.deposit, r.id, r.model, r.price), 0)::bigint$$;

CREATE TABLE caas.outcome_decisions (
    id uuid NOT NULL,
    payment_id uuid NOT NULL,
    note text NOT NULL,
    state text NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamp with time zone NOT NULL,
    decided_by text,
    decided_at timestamp with time zone,
    proposed_account uuid,
    decided_account uuid,
    CONSTRAINT outcome_decisions_check CHECK (((state = 'proposed'::text) = (decided_by IS NULL))),
    CONSTRAINT outcome_decisions_check1 CHECK (((decided_by IS NULL) = (decided_at IS NULL))),
    CONSTRAINT outcome_decisions_check2 CHECK (((decided_by IS NOT NULL) OR (decided_account IS NULL))),
    CONSTRAINT outcome_decisions_note_check CHECK (((length(note) >= 1) AND (length(note) <= 1000))),
    CONSTRAINT outcome_decisions_state_check CHECK ((state = ANY (ARRAY['proposed'::text, 'agreed'::text, 'withdrawn'::text])))
);

CREATE FUNCTION caas.fixed_checksum(r caas.outcome_decisions) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.id, r.note, r.payment_id, r.proposed_account, r.proposed_at, r.proposed_by), 0)::bigint$$;

CREATE TABLE caas.recovery_codes (
    code_hash bytea NOT NULL,
    factor uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    CONSTRAINT recovery_codes_code_hash_check CHECK ((octet_length(code_hash) = 32))
);

CREATE FUNCTION caas.fixed_checksum(r caas.recovery_codes) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.code_hash, r.created_at, r.factor), 0)::bigint$$;

CREATE TABLE caas.refund_decisions (
    id uuid NOT NULL,
    payment_id uuid NOT NULL,
    amount bigint NOT NULL,
    reason text NOT NULL,
    term text,
    note text NOT NULL,
    needs_second boolean NOT NULL,
    state text NOT NULL,
    proposed_by text NOT NULL,
    proposed_account uuid,
    proposed_at timestamp with time zone NOT NULL,
    decided_by text,
    decided_account uuid,
    decided_at timestamp with time zone,
    CONSTRAINT refund_decisions_amount_check CHECK ((amount > 0)),
    CONSTRAINT refund_decisions_check CHECK (((state = 'proposed'::text) = (decided_by IS NULL))),
    CONSTRAINT refund_decisions_check1 CHECK (((decided_by IS NULL) = (decided_at IS NULL))),
    CONSTRAINT refund_decisions_check2 CHECK (((decided_by IS NOT NULL) OR (decided_account IS NULL))),
    CONSTRAINT refund_decisions_note_check CHECK (((length(note) >= 1) AND (length(note) <= 1000))),
    CONSTRAINT refund_decisions_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 200))),
    CONSTRAINT refund_decisions_state_check CHECK ((state = ANY (ARRAY['proposed'::text, 'agreed'::text, 'withdrawn'::text]))),
    CONSTRAINT refund_decisions_term_check CHECK ((term = ANY (ARRAY['end'::text, 'keep'::text])))
);

CREATE FUNCTION caas.fixed_checksum(r caas.refund_decisions) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.amount, r.id, r.needs_second, r.note, r.payment_id, r.proposed_account, r.proposed_at, r.proposed_by, r.reason, r.term), 0)::bigint$$;

CREATE TABLE caas.refunds (
    id uuid NOT NULL,
    payment_id uuid NOT NULL,
    gateway text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    reason text NOT NULL,
    requested_by text NOT NULL,
    state text NOT NULL,
    outcome text DEFAULT 'known'::text NOT NULL,
    issue integer DEFAULT 1 NOT NULL,
    gateway_refund_id text,
    failed_because text,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT refunds_amount_check CHECK ((amount > 0)),
    CONSTRAINT refunds_outcome_check CHECK ((outcome = ANY (ARRAY['known'::text, 'unknown'::text]))),
    CONSTRAINT refunds_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 200))),
    CONSTRAINT refunds_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'sent'::text, 'succeeded'::text, 'failed'::text])))
);

CREATE FUNCTION caas.fixed_checksum(r caas.refunds) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.amount, r.created_at, r.currency, r.gateway, r.id, r.payment_id, r.reason, r.requested_by), 0)::bigint$$;

CREATE TABLE caas.second_factors (
    id uuid NOT NULL,
    account uuid NOT NULL,
    sealed_secret bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    confirmed_at timestamp with time zone,
    last_step bigint,
    ended_at timestamp with time zone,
    ended_by uuid,
    CONSTRAINT second_factors_check CHECK (((confirmed_at IS NULL) = (last_step IS NULL))),
    CONSTRAINT second_factors_check1 CHECK (((ended_at IS NULL) = (ended_by IS NULL))),
    CONSTRAINT second_factors_sealed_secret_check CHECK (((octet_length(sealed_secret) >= 29) AND (octet_length(sealed_secret) <= 256)))
);

CREATE FUNCTION caas.fixed_checksum(r caas.second_factors) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.account, r.id), 0)::bigint$$;

CREATE TABLE caas.services (
    code text NOT NULL,
    name text NOT NULL,
    names jsonb DEFAULT '{}'::jsonb NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    prices jsonb DEFAULT '[]'::jsonb NOT NULL,
    monthly_fee bigint,
    metered jsonb DEFAULT '[]'::jsonb NOT NULL,
    offered boolean DEFAULT true NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    repeat_purchase text DEFAULT 'extend'::text NOT NULL,
    CONSTRAINT services_check CHECK (((kind = 'subscription'::text) = (monthly_fee IS NOT NULL))),
    CONSTRAINT services_code_check CHECK ((code ~ '^[a-z0-9][a-z0-9-]{0,63}$'::text)),
    CONSTRAINT services_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT services_kind_check CHECK ((kind = ANY (ARRAY['one_time'::text, 'subscription'::text]))),
    CONSTRAINT services_monthly_fee_check CHECK ((monthly_fee >= 0)),
    CONSTRAINT services_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT services_names_check CHECK ((jsonb_typeof(names) = 'object'::text)),
    CONSTRAINT services_repeat_purchase_check CHECK ((repeat_purchase = ANY (ARRAY['extend'::text, 'refuse'::text])))
);

CREATE FUNCTION caas.fixed_checksum(r caas.services) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select 0::bigint$$;

CREATE TABLE caas.staff_links (
    token_hash bytea NOT NULL,
    account uuid NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT staff_links_token_hash_check CHECK ((octet_length(token_hash) = 32))
);

CREATE FUNCTION caas.fixed_checksum(r caas.staff_links) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.created_at, r.token_hash), 0)::bigint$$;

CREATE TABLE caas.subscriptions (
    id uuid NOT NULL,
    customer uuid NOT NULL,
    vin text NOT NULL,
    service text NOT NULL,
    currency text NOT NULL,
    monthly_fee bigint NOT NULL,
    metered jsonb DEFAULT '[]'::jsonb NOT NULL,
    payment_method text,
    gateway text NOT NULL,
    state text DEFAULT 'verifying payment method'::text NOT NULL,
    event text DEFAULT 'Subscribe to Monthly Service'::text NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    transitioned_for uuid,
    activation_evidence uuid,
    evidence_kind text GENERATED ALWAYS AS (
CASE
    WHEN (activation_evidence IS NOT NULL) THEN 'vehicle_acknowledgement'::text
    ELSE NULL::text
END) STORED,
    proves_delivery boolean GENERATED ALWAYS AS (
CASE
    WHEN (activation_evidence IS NOT NULL) THEN true
    ELSE NULL::boolean
END) STORED,
    activated_at timestamp with time zone,
    deactivated_at timestamp with time zone,
    cancelled_at timestamp with time zone,
    cancelled_because text,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    request_key bytea,
    CONSTRAINT subscriptions_cancelled_because_check CHECK ((cancelled_because = ANY (ARRAY['customer'::text, 'withdrawal'::text, 'payment failed'::text]))),
    CONSTRAINT subscriptions_check CHECK (((activated_at IS NULL) = (activation_evidence IS NULL))),
    CONSTRAINT subscriptions_check1 CHECK (((state <> 'active'::text) OR (activated_at IS NOT NULL))),
    CONSTRAINT subscriptions_check2 CHECK (((state = 'cancelled'::text) = (cancelled_at IS NOT NULL))),
    CONSTRAINT subscriptions_check3 CHECK (((cancelled_at IS NULL) = (cancelled_because IS NULL))),
    CONSTRAINT subscriptions_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT subscriptions_monthly_fee_check CHECK (((monthly_fee >= 0) AND (monthly_fee <= '10000000000000'::bigint))),
    CONSTRAINT subscriptions_payment_method_check CHECK (((length(payment_method) >= 1) AND (length(payment_method) <= 200))),
    CONSTRAINT subscriptions_payment_method_needed CHECK (((payment_method IS NOT NULL) OR (state = ANY (ARRAY['verifying payment method'::text, 'payment method refused'::text, 'cancelled'::text]))))
)
WITH (fillfactor='80');

CREATE FUNCTION caas.fixed_checksum(r caas.subscriptions) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.created_at, r.currency, r.customer, r.id, r.metered, r.monthly_fee, r.service, r.vin), 0)::bigint$$;

CREATE TABLE caas.tax_rates (
    id bigint NOT NULL,
    market text NOT NULL,
    goods text NOT NULL,
    valid daterange NOT NULL,
    category text NOT NULL,
    basis_points integer NOT NULL,
    name text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    planned daterange,
    withdrawn_at timestamp with time zone,
    withdrawn_by text,
    CONSTRAINT a_withdrawn_rate_is_never_valid CHECK (((isempty(valid) = (withdrawn_at IS NOT NULL)) AND ((withdrawn_at IS NULL) = (withdrawn_by IS NULL)) AND ((withdrawn_at IS NULL) = (planned IS NULL)))),
    CONSTRAINT tax_rates_basis_points_check CHECK (((basis_points = 0) OR ((basis_points >= 50) AND (basis_points <= 10000)))),
    CONSTRAINT tax_rates_category_check CHECK ((category = ANY (ARRAY['S'::text, 'Z'::text, 'E'::text, 'O'::text, 'L'::text, 'M'::text]))),
    CONSTRAINT tax_rates_check CHECK (((category = ANY (ARRAY['S'::text, 'L'::text, 'M'::text])) = (basis_points > 0))),
    CONSTRAINT tax_rates_check1 CHECK (((category = ANY (ARRAY['E'::text, 'O'::text])) = (reason <> ''::text))),
    CONSTRAINT tax_rates_goods_check CHECK ((goods = ANY (ARRAY['vehicle'::text, 'service'::text, 'subscription'::text]))),
    CONSTRAINT tax_rates_name_check CHECK (((length(name) >= 1) AND (length(name) <= 40))),
    CONSTRAINT tax_rates_reason_check CHECK ((length(reason) <= 200)),
    CONSTRAINT tax_rates_valid_check CHECK ((NOT lower_inf(valid)))
);

CREATE FUNCTION caas.fixed_checksum(r caas.tax_rates) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.id), 0)::bigint$$;

CREATE TABLE caas.tax_settings (
    only_row boolean DEFAULT true NOT NULL,
    market text NOT NULL,
    since timestamp with time zone NOT NULL,
    CONSTRAINT tax_settings_only_row_check CHECK (only_row)
);

CREATE FUNCTION caas.fixed_checksum(r caas.tax_settings) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select 0::bigint$$;

CREATE TABLE caas.usage_disputes (
    id uuid NOT NULL,
    subscription uuid NOT NULL,
    source_id text NOT NULL,
    because text NOT NULL,
    opened_by text NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    outcome text,
    ended_by text,
    ended_at timestamp with time zone,
    CONSTRAINT usage_disputes_because_check CHECK (((length(because) >= 1) AND (length(because) <= 200))),
    CONSTRAINT usage_disputes_check CHECK ((((outcome IS NULL) = (ended_at IS NULL)) AND ((ended_by IS NULL) = (ended_at IS NULL)))),
    CONSTRAINT usage_disputes_outcome_check CHECK ((outcome = ANY (ARRAY['billed'::text, 'cancelled'::text])))
);

CREATE FUNCTION caas.fixed_checksum(r caas.usage_disputes) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.because, r.id, r.opened_at, r.opened_by, r.source_id, r.subscription), 0)::bigint$$;

CREATE TABLE caas.usage_records (
    subscription uuid NOT NULL,
    source_id text NOT NULL,
    unit text NOT NULL,
    quantity bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    invoice uuid,
    cancels text,
    CONSTRAINT usage_records_quantity_check CHECK (((abs(quantity) >= 1) AND (abs(quantity) <= '1000000000000'::bigint) AND ((quantity > 0) = (cancels IS NULL)))),
    CONSTRAINT usage_records_source_id_check CHECK (((length(source_id) >= 1) AND (length(source_id) <= 200)))
)
WITH (fillfactor='80');

CREATE FUNCTION caas.fixed_checksum(r caas.usage_records) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.at, r.cancels, r.quantity, r.recorded_at, r.source_id, r.subscription, r.unit), 0)::bigint$$;

CREATE TABLE caas.vehicle_assignments (
    id uuid NOT NULL,
    vin text NOT NULL,
    order_id uuid NOT NULL,
    customer uuid NOT NULL,
    active boolean DEFAULT true NOT NULL,
    since timestamp with time zone NOT NULL,
    until timestamp with time zone,
    ended_because text,
    CONSTRAINT vehicle_assignments_check CHECK ((active = (until IS NULL))),
    CONSTRAINT vehicle_assignments_check1 CHECK ((active = (ended_because IS NULL)))
);

CREATE FUNCTION caas.fixed_checksum(r caas.vehicle_assignments) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.customer, r.id, r.order_id, r.since, r.vin), 0)::bigint$$;

CREATE TABLE caas.vehicle_models (
    model text NOT NULL,
    price bigint NOT NULL,
    currency text NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT vehicle_models_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT vehicle_models_model_check CHECK (((length(model) >= 1) AND (length(model) <= 120))),
    CONSTRAINT vehicle_models_price_check CHECK ((price > 0))
);

CREATE FUNCTION caas.fixed_checksum(r caas.vehicle_models) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select 0::bigint$$;

CREATE TABLE caas.vehicles (
    vin text NOT NULL,
    model text NOT NULL,
    price bigint NOT NULL,
    currency text NOT NULL,
    public_key bytea,
    finished boolean DEFAULT false NOT NULL,
    factory_order_id text,
    state text DEFAULT 'sin asignar'::text NOT NULL,
    event text DEFAULT 'Add to Stock Inventory'::text NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    transitioned_for uuid,
    in_stock_since timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT vehicles_check CHECK (((state = 'sin asignar'::text) OR (in_stock_since IS NULL))),
    CONSTRAINT vehicles_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT vehicles_factory_order_id_check CHECK (((length(factory_order_id) >= 1) AND (length(factory_order_id) <= 200))),
    CONSTRAINT vehicles_price_check CHECK ((price > 0)),
    CONSTRAINT vehicles_public_key_check CHECK ((octet_length(public_key) = 32)),
    CONSTRAINT vehicles_vin_check CHECK (((vin ~ '^[A-Z0-9][A-Z0-9-]{2,31}$'::text) AND (vin ~ '[A-Z]'::text)))
);

CREATE FUNCTION caas.fixed_checksum(r caas.vehicles) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.created_at, r.model, r.vin), 0)::bigint$$;

CREATE TABLE caas.webhook_inbox (
    id uuid NOT NULL,
    gateway text NOT NULL,
    event_id text NOT NULL,
    body_hash bytea NOT NULL,
    body jsonb NOT NULL,
    received_at timestamp with time zone NOT NULL
);

CREATE FUNCTION caas.fixed_checksum(r caas.webhook_inbox) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.body, r.body_hash, r.event_id, r.gateway, r.id, r.received_at), 0)::bigint$$;

CREATE TABLE caas.webhook_quarantine (
    id uuid NOT NULL,
    gateway text NOT NULL,
    event_id text NOT NULL,
    contradicts uuid,
    reason text NOT NULL,
    body_hash bytea NOT NULL,
    body text NOT NULL,
    received_at timestamp with time zone NOT NULL
);

CREATE FUNCTION caas.fixed_checksum(r caas.webhook_quarantine) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.body, r.body_hash, r.contradicts, r.event_id, r.gateway, r.id, r.reason, r.received_at), 0)::bigint$$;

CREATE FUNCTION caas.follow_subscription() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
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

CREATE FUNCTION caas.forget_buyers() RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
  with gone as (
    delete from document_buyers b using invoices i, customers c
     where i.id = b.invoice and c.id = i.customer and c.erased_at is not null
       and not is_kept_by_law(i) returning 1)
  select count(*) from gone
$$;

CREATE FUNCTION caas.free_jobs_of(p_processes integer[], p_kinds text[], p_awaited text[]) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
  with gone as (
    update processes p set gone_at = db_now()
     where p.id = any (p_processes) and p.gone_at is null and not process_lives(p.id)
    returning p.id
  ), freed as (
    update jobs o
       set due_at = least(o.due_at, db_now()
                    + make_interval(secs => least(greatest(o.attempts - 1, 0), 4))),
           lease_until = null, held_by = null, fence = o.fence + 1
      from gone
     where o.held_by = gone.id and o.paused_at is null
       and (o.lease_until is not null or o.kind = any (p_kinds))
    returning o.kind, o.subject
  ), questions as (
    select o.kind, o.subject, row_number() over (order by o.created_at desc) as place
      from jobs o
     where o.kind = any (p_awaited) and o.paused_at is null and o.lease_until is null
       and o.due_at > db_now() and exists (select from gone)
       and (o.kind, o.subject) not in (select f.kind, f.subject from freed f)
       and not exists (select from processes p
                        where p.gone_at > db_now() - interval '10 seconds'
                          and p.id <> all (p_processes))
     order by o.created_at desc limit 1000
  ), asked as (
    update jobs o
       set due_at = least(o.due_at, db_now() + make_interval(secs => q.place / 50.0))
      from questions q
     where o.kind = q.kind and o.subject = q.subject and o.lease_until is null
    returning 1
  )
  select (select count(*) from freed) + (select count(*) from asked)
$$;

CREATE FUNCTION caas.gateways_of_payments() RETURNS SETOF text
    LANGUAGE sql STABLE
    AS $$
  with recursive named as (
    (select gateway from caas.payments order by gateway limit 1)
    union all
    select (select p.gateway from caas.payments p where p.gateway > n.gateway
             order by p.gateway limit 1)
      from named n where n.gateway is not null
  )
  select gateway from named where gateway is not null
$$;

CREATE FUNCTION caas.has_vehicle(p_customer uuid, p_vin text) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
  select exists (select from caas.vehicle_assignments a join caas.orders o on o.id = a.order_id
                  where a.vin = p_vin and a.customer = p_customer and a.active
                    and o.state = 'delivered')
$$;

CREATE FUNCTION caas.is_decline(p_code text) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
  select exists (select from caas.refusal_codes c where c.code = p_code and c.class = 'decline')
$$;

CREATE FUNCTION caas.is_erased(p_customer uuid) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$ select exists (select from caas.customers where id = p_customer and erased_at is not null) $$;

CREATE FUNCTION caas.is_kept_by_law(p_document caas.invoices) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
  select (db_now() at time zone m.zone)::date < make_date(extract(year from
      p_document.issued_at at time zone m.zone)::integer + 1 + m.documents_kept_years, 1, 1)
    from markets m
   where m.code = coalesce(p_document.market, (select s.market from tax_settings s))
$$;

CREATE FUNCTION caas.keep_checksum(p_table text, p_fixed text[], p_removable boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql
    AS $_$
declare v_fixed text; v_moving text; v_name text := 'sum_' || p_table;
begin
  select coalesce('hash_record_extended(row('
                  || string_agg('r.' || quote_ident(attname), ', ' order by attname)
                     filter (where attname = any (p_fixed)) || '), 0)', '0'),
         coalesce('hash_record_extended(row('
                  || string_agg('r.' || quote_ident(attname), ', ' order by attname)
                     filter (where attname <> all (p_fixed)) || '), 0)', '0')
    into v_fixed, v_moving from pg_attribute
   where attrelid = ('caas.' || p_table)::regclass and attnum > 0 and not attisdropped
     and attgenerated = '';
  execute format('create or replace function caas.fixed_checksum(r caas.%I) returns bigint'
    ' language sql immutable parallel safe as %L', p_table, 'select ' || v_fixed || '::bigint');
  execute format('create or replace function caas.moving_checksum(r caas.%I) returns bigint'
    ' language sql immutable parallel safe as %L', p_table, 'select ' || v_moving || '::bigint');
  execute format('create or replace function caas.%I() returns trigger language plpgsql'
    ' security definer set search_path = caas, pg_temp as %L', v_name, format($f$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(%2$s), 0), coalesce(sum(%3$s), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(%3$s), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(%2$s), 0), -coalesce(sum(%3$s), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values (%1$L, pg_backend_pid() %% 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $f$, p_table, v_fixed, v_moving));
  execute format('create or replace trigger checksum_of_inserted after insert on caas.%I'
    ' referencing new table as new_rows for each statement execute function caas.%I()',
    p_table, v_name);
  if v_moving <> '0' then
    execute format('create or replace trigger checksum_of_updated after update on caas.%I'
      ' referencing old table as old_rows new table as new_rows'
      ' for each statement execute function caas.%I()', p_table, v_name);
  end if;
  if p_removable then
    execute format('create or replace trigger checksum_of_deleted after delete on caas.%I'
      ' referencing old table as old_rows for each statement execute function caas.%I()',
      p_table, v_name);
  end if;
  perform sum_anew(p_table);
end $_$;

CREATE FUNCTION caas.keep_term(p_term uuid, p_because text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
  insert into entitlement_changes (term, state, starts_at, ends_at, because, at, kept)
  select id, state, starts_at, ends_at, p_because, db_now(), true
    from entitlement_terms where id = p_term and state = 'granted'
$$;

CREATE TABLE caas.markets (
    code text NOT NULL,
    name text NOT NULL,
    country text NOT NULL,
    postcodes text[] DEFAULT '{}'::text[] NOT NULL,
    zone text NOT NULL,
    currency text NOT NULL,
    simplified_up_to bigint NOT NULL,
    buyer_tax_id boolean DEFAULT false NOT NULL,
    documents_kept_years integer DEFAULT 10 NOT NULL,
    CONSTRAINT markets_code_check CHECK ((code ~ '^[A-Z]{2}(-[A-Z0-9]{1,3})?$'::text)),
    CONSTRAINT markets_country_check CHECK ((country ~ '^[A-Z]{2}$'::text)),
    CONSTRAINT markets_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT markets_documents_kept_years_check CHECK (((documents_kept_years >= 1) AND (documents_kept_years <= 30))),
    CONSTRAINT markets_name_check CHECK (((length(name) >= 1) AND (length(name) <= 80))),
    CONSTRAINT markets_postcodes_check CHECK ((cardinality(postcodes) <= 20)),
    CONSTRAINT markets_simplified_up_to_check CHECK ((simplified_up_to >= 0)),
    CONSTRAINT markets_zone_check CHECK (((length(zone) >= 1) AND (length(zone) <= 64)))
);

CREATE FUNCTION caas.lacking_details(p_details caas.billing_details, p_market caas.markets) RETURNS text[]
    LANGUAGE sql IMMUTABLE
    AS $$
  select case when (p_details).customer is null
              then '{street,postcode,city,country}'::text[] else '{}'::text[] end
      || case when (p_market).buyer_tax_id and (p_details).tax_id is null
              then '{tax_id}'::text[] else '{}'::text[] end
$$;

CREATE FUNCTION caas.lock_entitlement(p_vin text, p_service text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
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

CREATE FUNCTION caas.lock_ownership(p_customer uuid, p_vin text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
begin
  perform from vehicle_assignments a join orders o on o.id = a.order_id
    where a.vin = p_vin and a.customer = p_customer and a.active and o.state = 'delivered'
    for share of a, o;
  return found;
end $$;

CREATE FUNCTION caas.lock_payment(p_payment uuid) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$ select captured_amount from payments where id = p_payment for update $$;

CREATE FUNCTION caas.market_of_address(p_country text, p_postcode text) RETURNS text
    LANGUAGE plpgsql STABLE
    AS $$
begin
  return (select m.code from markets m
           where m.country = p_country and (m.postcodes = '{}' or exists (
             select from unnest(m.postcodes) as beginning where starts_with(p_postcode, beginning)))
           order by m.postcodes = '{}',
                 not exists (select from tax_rates r where r.market = m.code), m.code limit 1);
end $$;

CREATE FUNCTION caas.market_of_sale(p_type text, p_subject uuid, p_customer uuid) RETURNS text
    LANGUAGE plpgsql STABLE
    AS $$
declare v_market text; v_country text; v_postcode text;
begin
  if p_type in ('reservation', 'final') then
    select d.market into v_market from orders o join dealership_markets d
        on d.dealership = o.dealership where o.id = p_subject;
  else
    select b.country, b.postcode into v_country, v_postcode from billing_details b
     where b.customer = p_customer;
    if found then
      return market_of_address(v_country, v_postcode);
    end if;
  end if;
  return coalesce(v_market, (select s.market from tax_settings s));
end $$;

CREATE FUNCTION caas.may_cancel(p_payment uuid) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
  select exists (
    select from caas.payments p
     where p.id = p_payment and p.type = 'subscription'
       and (p.state = 'Failed' and (p.decline_code = 'abandoned' or caas.is_decline(p.decline_code))
            or exists (select from caas.payment_events e
                        where e.payment_id = p.id and e.to_state = 'SettlementFailed')))
$$;

CREATE FUNCTION caas.may_still_be_sold(p_service_order uuid) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'caas', 'pg_temp'
    AS $$
  select coalesce(t.by_fleet, true) or has_vehicle(t.customer, e.vin)
    from entitlement_terms t join entitlements e on e.id = t.entitlement
   where t.service_order = p_service_order
$$;

CREATE FUNCTION caas.money_out(p_payment uuid) RETURNS bigint
    LANGUAGE sql STABLE
    AS $$ select (coalesce((select sum(amount) from caas.refunds
                      where payment_id = p_payment and state in ('sent', 'succeeded')), 0)
         + coalesce((select sum(amount) from caas.disputes
                      where payment_id = p_payment and state in ('opened', 'lost')), 0))::bigint $$;

CREATE FUNCTION caas.moving_checksum(r caas.access_credentials) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.used_at), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.accounts) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.customer, r.dealership, r.disabled_at, r.login, r.password_hash, r.password_set_at, r.role), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.api_keys) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.activated_account, r.activated_at, r.name, r.revoked_at), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.audit_events) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select 0::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.billing_details) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.city, r.country, r.customer, r.name, r.postcode, r.street, r.tax_id, r.updated_at), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.billing_runs) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.charged_number, r.charged_series, r.charges, r.finished_at, r.invoiced_at, r.invoices, r.restarted, r.seen, r.seen_through, r.subscriptions, r.zone), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.cases) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.owner, r.resolution, r.resolved_at, r.status), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.credit_note_decisions) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.customers) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.email, r.erased_at, r.language, r.name), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.dealership_markets) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.dealership, r.market), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.deposit_decisions) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.disputes) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.amended, r.amount, r.back, r.claimed_amount, r.gateway_dispute_id, r.reported_at, r.state, r.steps, r.taken, r.updated_at), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.event_subscriptions) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.encrypted_secret, r.ended_at, r.secret), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.gateway_calls) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select 0::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.orders) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.delivered_at, r.delivery_id, r.delivery_scheduled_for, r.event, r.factory_order_id, r.plate, r.registered_at, r.state, r.updated_at, r.version, r.vin), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.outcome_decisions) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.recovery_codes) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.used_at), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.refund_decisions) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.refunds) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.failed_because, r.gateway_refund_id, r.issue, r.outcome, r.state, r.updated_at), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.second_factors) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.confirmed_at, r.created_at, r.ended_at, r.ended_by, r.last_step, r.sealed_secret), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.services) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.code, r.currency, r.kind, r.metered, r.monthly_fee, r.name, r.names, r.offered, r.prices, r.repeat_purchase, r.updated_at), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.staff_links) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.account, r.expires_at, r.used_at), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.subscriptions) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.activated_at, r.activation_evidence, r.cancelled_at, r.cancelled_because, r.deactivated_at, r.event, r.gateway, r.payment_method, r.request_key, r.state, r.transitioned_for, r.updated_at, r.version), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.tax_rates) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.basis_points, r.category, r.goods, r.market, r.name, r.planned, r.reason, r.recorded_at, r.valid, r.withdrawn_at, r.withdrawn_by), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.tax_settings) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.market, r.only_row, r.since), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.usage_disputes) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.ended_at, r.ended_by, r.outcome), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.usage_records) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.invoice), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.vehicle_assignments) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.active, r.ended_because, r.until), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.vehicle_models) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.currency, r.model, r.price, r.updated_at), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.vehicles) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select hash_record_extended(row(r.currency, r.event, r.factory_order_id, r.finished, r.in_stock_since, r.price, r.public_key, r.state, r.transitioned_for, r.updated_at, r.version), 0)::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.webhook_inbox) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select 0::bigint$$;

CREATE FUNCTION caas.moving_checksum(r caas.webhook_quarantine) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select 0::bigint$$;

CREATE FUNCTION caas.named_object(p_body jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
  select coalesce(p_body->'data'->'object'->>'id', p_body->'data'->>'id')
$$;

CREATE FUNCTION caas.names_of_dead(p_processes integer[]) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
  select p.name from processes p
   where p.id = any (p_processes)
     and not exists (select from processes q
                      where q.name = p.name and q.id <> p.id and process_lives(q.id))
$$;

CREATE FUNCTION caas.names_payment(p_body jsonb, p_payment uuid, p_transaction text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
  select position(p_payment::text in p_body::text) > 0
      or coalesce(position(p_transaction in p_body::text) > 0, false)
$$;

CREATE FUNCTION caas.note_credit_note_due() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
begin
  insert into documents_due (payment_id, refund, at)
  select new.payment_id, new.id, db_now()
   where (exists (select from payment_taxes t where t.payment_id = new.payment_id)
          or exists (select from invoices i where i.payment_id = new.payment_id))
     and not exists (select from invoices i where i.refund = new.id);
  return null;
end $$;

CREATE FUNCTION caas.note_debit_note_due() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
begin
  delete from documents_due d where d.refund = new.id;
  insert into documents_due (payment_id, refund, at)
  select new.payment_id, new.id, db_now() where exists (select from credited_by(new.id));
  return null;
end $$;

CREATE FUNCTION caas.note_documents_due() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
begin
  insert into documents_due (payment_id, at)
  select n.payment_id, n.recorded_at from new_rows n join payments p on p.id = n.payment_id
   where p.type <> 'subscription' order by n.payment_id;
  return null;
end $$;

CREATE FUNCTION caas.note_missing_documents(p_payment uuid DEFAULT NULL::uuid) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
  with paid as (
    insert into documents_due (payment_id, at)
    select p.id, db_now() from payments p
     where p.captured_amount > 0 and p.type <> 'subscription' and p.id = coalesce(p_payment, p.id)
       and not exists (select from invoices i where i.payment_id = p.id and i.kind <> 'invoice')
       and not exists (select from documents_due d where d.payment_id = p.id and d.refund is null)
     order by p.created_at, p.id returning 1
  ), refunded as (
    insert into documents_due (payment_id, refund, at)
    select f.payment_id, f.id, db_now() from refunds f
     where f.state = 'succeeded' and f.payment_id = coalesce(p_payment, f.payment_id)
       and f.reason not like 'credit note %'
       and not exists (select from invoices n where n.refund = f.id)
       and not exists (select from documents_due d where d.refund = f.id)
     order by f.updated_at, f.id returning 1
  ), returned as (
    insert into documents_due (payment_id, refund, at)
    select f.payment_id, f.id, db_now() from refunds f
      join payment_events e on e.payment_id = f.payment_id
       and e.source = 'refund-returned:' || f.id
     where f.payment_id = coalesce(p_payment, f.payment_id)
       and exists (select from credited_by(f.id))
       and not exists (select from invoices b where b.returned = f.id)
       and not exists (select from documents_due d where d.refund = f.id)
     order by f.updated_at, f.id returning 1
  )
  select (select count(*) from paid) + (select count(*) from refunded)
         + (select count(*) from returned)
$$;

CREATE FUNCTION caas.note_untaxed(p_payments uuid[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
  insert into documents_due (payment_id, at)
  select p.id, db_now() from payments p join tax_settings s on p.created_at >= s.since
   where p.id = any (p_payments)
     and not exists (select from payment_taxes t where t.payment_id = p.id)
     and not exists (select from documents_due d where d.payment_id = p.id)
   order by p.id
$$;

CREATE FUNCTION caas.obstacle_to_refund(p_payment uuid) RETURNS text
    LANGUAGE sql STABLE
    AS $$
  select obstacle.what from (
    select 'a dispute is open' as what from caas.disputes
     where payment_id = p_payment and state = 'opened'
    union all
    select 'the case "' || kind || '" is open' from caas.cases
     where subject = p_payment and status = 'open'
       and kind in ('dispute_contradiction', 'refund_contradiction', 'reversed_after_refund')
    union all
    select 'a webhook that names the payment was set aside: the case "' || c.kind || '" is open'
      from caas.cases c
      join caas.webhook_quarantine q on c.subject in (q.id, q.contradicts)
      join caas.payments p on p.id = p_payment
     where c.status = 'open' and c.kind in ('webhook_unreadable', 'webhook_contradiction')
       and q.gateway = p.gateway
       and (position(p.gateway_transaction_id in q.body) > 0
            or position(p.id::text in q.body) > 0)
    union all
    select 'a webhook about money that went out of it has not been applied'
      from caas.jobs w
      join caas.webhook_inbox n on n.id = w.subject
      join caas.payments p on p.id = p_payment
     where w.kind = 'apply_webhook' and n.gateway = p.gateway
       and caas.tells_of_outgoing_money(n.body)
       and caas.names_payment(n.body, p.id, p.gateway_transaction_id)
       and not exists (select from caas.refunds r
                        where r.payment_id = p.id and r.gateway_refund_id = caas.named_object(n.body))
       and not exists (select from caas.cases c
                        where c.subject = p.id and c.kind = 'refund_contradiction'
                          and c.facts->>'refund' = caas.named_object(n.body))
    union all
    select 'the discrepancy "' || d.kind || '" of ' || d.day || ' is not resolved'
      from caas.discrepancies d
      left join caas.settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
     where d.payment_id = p_payment and d.status <> 'resolved'
       and (d.kind in ('chargeback', 'refund_mismatch', 'failed_settlement')
            or d.kind <> 'fee_drift' and l.type in
               ('refund', 'chargeback', 'chargeback_reversal', 'settlement_failure', 'adjustment'))
    union all
    select 'a decision about a settlement line is not carried out'
      from caas.jobs w join caas.discrepancies d on d.id = w.subject
     where w.kind = 'carry_out_resolution' and d.payment_id = p_payment
    union all
    select 'a chargeback was settled in another currency'
      from caas.discrepancies d
      join caas.settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
     where d.payment_id = p_payment and d.kind = 'currency' and l.type = 'chargeback'
       and l.gross < 0
  ) obstacle limit 1
$$;

CREATE FUNCTION caas.order_terms(o caas.orders) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    AS $$ select jsonb_build_object('customer', o.customer, 'model', o.model, 'dealership', o.dealership,
     'deposit', o.deposit, 'price', o.price, 'currency', o.currency) $$;

CREATE FUNCTION caas.process_lives(p_id integer) RETURNS boolean
    LANGUAGE sql STABLE STRICT
    AS $$
  select exists (select from pg_locks l
                  where l.locktype = 'advisory' and l.classid = 1667326323 and l.objid = p_id::oid
                    and l.objsubid = 2 and l.granted
                    and l.database = (select d.oid from pg_database d
                                       where d.datname = current_database()))
$$;

CREATE FUNCTION caas.refund_lines_of(p_payment uuid, p_currency text) RETURNS TABLE(report_id uuid, line_no bigint, class text, gross bigint, booked_at timestamp with time zone)
    LANGUAGE sql STABLE
    AS $$
  select l.report_id, l.line_no, l.class, l.gross, l.booked_at
    from (select s.report_id, s.line_no from settlement_lines s where s.payment_id = p_payment
           union
          select i.report_id, i.line_no from identified_lines i where i.payment_id = p_payment) k
    join settlement_lines l on l.report_id = k.report_id and l.line_no = k.line_no
   where l.currency = p_currency and l.type in ('refund', 'refund_reversal')
     and (l.posts or exists (
       select from discrepancies d where d.report_id = l.report_id and d.line_no = l.line_no
          and d.status = 'resolved' and d.resolution = 'itself'))
$$;

CREATE FUNCTION caas.refuse_bill_of_erased() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'customer % was erased and is not billed', new.customer
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_broken_seal() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'the day % of % is sealed: nothing of it changes any more', old.day, old.gateway
    using errcode = 'restrict_violation';
end $$;

CREATE FUNCTION caas.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if tg_op = 'DELETE' and current_setting('caas.removes', true) = tg_table_name
     and current_user = (select relowner::regrole::text from pg_class where oid = tg_relid) then
    return null;
  end if;
  raise exception '% is append-only: a row of it is never changed or removed', tg_table_name
    using errcode = 'restrict_violation';
end $$;

CREATE FUNCTION caas.refuse_change_of_sealed_day() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  perform caas.refuse_if_sealed(new.gateway, new.day);
  return new;
end $$;

CREATE FUNCTION caas.refuse_children_of_sealed_day() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  perform caas.refuse_if_sealed(d.gateway, d.day)
     from (select distinct discrepancy_id from new_rows) n
     join caas.discrepancies d on d.id = n.discrepancy_id;
  return null;
end $$;

CREATE FUNCTION caas.refuse_if_sealed(p_gateway text, p_day date) RETURNS void
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION caas.refuse_late_factor() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'a session began with a second factor, or it never has one'
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_lines_of_sealed_day() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION caas.refuse_one_person() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
declare
  v_proposer uuid := to_jsonb(new) ->> tg_argv[0];
  v_approver uuid := to_jsonb(new) ->> tg_argv[1];
begin
  if v_approver is null or v_approver = v_proposer then
    raise exception 'two people decide in %: an account approves, and not the one that proposed',
      tg_table_name using errcode = 'check_violation';
  end if;
  if not exists (select from accounts a where a.id = v_approver and a.role = 'operations'
                    and a.disabled_at is null) then
    raise exception 'two people decide in %: the approver needs an active account of operations',
      tg_table_name using errcode = 'check_violation';
  end if;
  return new;
end $$;

CREATE FUNCTION caas.refuse_other_answer() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if tg_op = 'DELETE' then
    if old.created_at < caas.db_now() - interval '90 days' or old.answer_status is null
       and not exists (select from caas.payments p where p.id = old.payment_id) then
      return old;
    end if;
    raise exception 'an idempotency key is kept for 90 days: a repeated request gets the first answer'
      using errcode = 'restrict_violation';
  end if;
  raise exception 'a key belongs to one request, which is answered once'
    using errcode = 'restrict_violation';
end $$;

CREATE FUNCTION caas.refuse_other_assignment() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'assignment % of vehicle %: an assignment ends once and changes in no other way',
    old.id, old.vin using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_case() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'case %: what it is about never changes, and it is resolved once', old.id
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_creator() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'customer %: the dealership that created it never changes', old.id
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_customer() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'customer %: an erasure cannot be undone', old.id
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_decision() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'a decision is taken once, and stays as it was proposed'
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_discrepancy() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'discrepancy % changes only with its event; what it is about never changes',
    old.id using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_factor() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'a second factor keeps its secret, counts each code once, and ends for good'
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_key() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'key "%" is the key it is, and stays revoked once it was', old.name
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_link() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'a link gives access once, to one customer, and for as long as was said'
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_notification() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'notification %: its recipient and content never change', old.id
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_order() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'order %: its purpose, and every recorded fact about it, never change', old.id
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_owner() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'key "%" belongs to whom it belongs, and is activated once', old.name
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_rate() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
declare
  today constant date := (select (caas.db_now() at time zone m.zone)::date
                            from caas.markets m where m.code = new.market);
begin
  if tg_op = 'INSERT' then
    if lower(new.valid) <= today and exists (
      select from caas.tax_rates r
       where r.market = new.market and r.goods = new.goods and not isempty(r.valid)) then
      raise exception 'a tax rate of % for % begins on a day to come', new.market, new.goods
        using errcode = 'check_violation';
    end if;
    return new;
  end if;
  if (old.market, old.goods, old.category, old.basis_points, old.name, old.reason, old.recorded_at)
     is distinct from (new.market, new.goods, new.category, new.basis_points, new.name, new.reason,
       new.recorded_at)
     or isempty(old.valid)
     or (case when isempty(new.valid)
              then lower(old.valid) <= today or new.planned is distinct from old.valid
              else lower(new.valid) <> lower(old.valid)
                or coalesce(upper(old.valid) <= today, false)
                or coalesce(upper(new.valid) <= today, false) end) then
    raise exception 'the tax rate % of % for % never changes, it ends on a day to come', old.id,
      old.market, old.goods using errcode = 'check_violation';
  end if;
  return new;
end $$;

CREATE FUNCTION caas.refuse_other_refund() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'what a refund or dispute is for never changes' using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_report() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception '% of a report: what the gateway sent never changes', tg_table_name
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_resolution() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'a resolution is decided once, and stays as it was proposed'
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_run() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'what was finished stays as it was finished' using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_scopes() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'key "%" keeps its scopes and whom it is narrowed to', old.name
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_subscriber() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'where events are sent to never changes; end it and make another'
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_subscription() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'subscription %: its terms and what proved its delivery never change', old.id
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_term() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'entitlement term % cannot go from % to %, and what it is for never changes',
    old.id, old.state, new.state using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_transitions() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if current_setting('caas.migration', true) is distinct from 'runs' then
    raise exception '% is written by a migration alone', tg_table_name
      using errcode = 'restrict_violation';
  end if;
  return null;
end $$;

CREATE FUNCTION caas.refuse_other_usage() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'usage % of subscription % is billed once and changes in no other way',
    old.source_id, old.subscription using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_usage_dispute() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'dispute %: it ends once and changes in no other way', old.id
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_other_vehicle() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'vehicle %: neither what it is nor the key it signs with ever changes', old.vin
    using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_plain_secret() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'a secret is written encrypted' using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_refund_meanwhile() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
declare v_obstacle text;
begin
  perform caas.lock_payment(new.payment_id);
  v_obstacle := caas.obstacle_to_refund(new.payment_id);
  if v_obstacle is not null then
    raise exception 'no refund of payment % is sent: %', new.payment_id, v_obstacle
      using errcode = 'check_violation';
  end if;
  return new;
end $$;

CREATE FUNCTION caas.refuse_revival() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'a session that has ended stays ended' using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.refuse_rewrite() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception 'payment % changes only by a move with its event; what it is for never changes',
    old.id using errcode = 'check_violation';
end $$;

CREATE FUNCTION caas.release_documents() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
begin
  update documents_due d set held = false from payments p
   where p.customer = new.customer and d.payment_id = p.id and d.held
     and d.case_kind = 'buyer_details_missing';
  return null;
end $$;

CREATE FUNCTION caas.remove_old_rows(p_table text, p_before timestamp with time zone, p_rows integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $_$
declare v_at text; v_kept interval; v_only text; v_removed bigint;
begin
  select r.at, r.kept, r.only_if into v_at, v_kept, v_only from (values
    ('idempotency_keys', 'created_at', interval '90 days', 'answer_status is not null'),
    ('gateway_calls', 'asked_at', interval '180 days', 'true'),
    ('webhook_inbox', 'received_at', interval '180 days',
     'not exists (select from jobs w where w.subject = t.id)')) r(name, at, kept, only_if)
   where r.name = p_table;
  if v_at is null then
    raise exception 'rows of % are never removed', p_table using errcode = 'restrict_violation';
  end if;
  if p_before > db_now() - v_kept then
    raise exception 'rows of % are kept for at least %', p_table, v_kept
      using errcode = 'restrict_violation';
  end if;
  insert into removals as r (of_table, before, last_at) values (p_table, p_before, db_now())
  on conflict (of_table) do update set before = greatest(r.before, excluded.before);
  perform set_config('caas.removes', p_table, true);
  execute format('delete from %1$I t where t.ctid = any (array(
      select ctid from %1$I t where %2$I < $1 and %3$s limit $2))', p_table, v_at, v_only)
    using p_before, p_rows;
  get diagnostics v_removed = row_count;
  perform set_config('caas.removes', '', true);
  update removals set rows = rows + v_removed, last_at = db_now() where of_table = p_table;
  return v_removed;
end $_$;

CREATE FUNCTION caas.removed_before(p_table text) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    AS $$ select coalesce((select before from caas.removals where of_table = p_table), '-infinity') $$;

CREATE FUNCTION caas.report_state() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
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

CREATE FUNCTION caas.reserve_term(p_vin text, p_service text, p_customer uuid, p_service_order uuid, p_subscription uuid, p_duration_days integer, p_lapses_after double precision, p_by_fleet boolean) RETURNS TABLE(obstacle text, service_order uuid, subscription uuid, ends_at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
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

CREATE FUNCTION caas.seal_document() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  new.subject := coalesce(new.subject, new.subscription);
  new.digest := caas.digest_of_document(new);
  return new;
end $$;

CREATE FUNCTION caas.silent_processes() RETURNS SETOF integer
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
  update processes set gone_at = null where gone_at is not null and process_lives(id);
  delete from processes where gone_at < db_now() - interval '1 day';
  select id from processes where gone_at is null and not process_lives(id)
$$;

CREATE FUNCTION caas.subscription_terms(s caas.subscriptions) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    AS $$ select jsonb_build_object('customer', s.customer, 'vin', s.vin, 'service', s.service,
     'currency', s.currency, 'monthly_fee', s.monthly_fee, 'metered', s.metered) $$;

CREATE FUNCTION caas.sum_access_credentials() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.created_at, r.customer, r.expires_at, r.order_id, r.token_hash), 0)), 0), coalesce(sum(hash_record_extended(row(r.used_at), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.used_at), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.created_at, r.customer, r.expires_at, r.order_id, r.token_hash), 0)), 0), -coalesce(sum(hash_record_extended(row(r.used_at), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('access_credentials', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_accounts() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.created_at, r.id), 0)), 0), coalesce(sum(hash_record_extended(row(r.customer, r.dealership, r.disabled_at, r.login, r.password_hash, r.password_set_at, r.role), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.customer, r.dealership, r.disabled_at, r.login, r.password_hash, r.password_set_at, r.role), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.created_at, r.id), 0)), 0), -coalesce(sum(hash_record_extended(row(r.customer, r.dealership, r.disabled_at, r.login, r.password_hash, r.password_set_at, r.role), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('accounts', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_anew(p_table text) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
  execute format('lock table caas.%I in share row exclusive mode', p_table);
  delete from caas.table_checksums where of_table = p_table;
  execute format('insert into caas.table_checksums select %L, 0, count(*),'
    ' coalesce(sum(caas.fixed_checksum(r)), 0), coalesce(sum(caas.moving_checksum(r)), 0)'
    ' from caas.%I r', p_table, p_table);
end $$;

CREATE FUNCTION caas.sum_api_keys() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.account, r.created_at, r.customer, r.dealership, r.id, r.key_hash, r.scopes), 0)), 0), coalesce(sum(hash_record_extended(row(r.activated_account, r.activated_at, r.name, r.revoked_at), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.activated_account, r.activated_at, r.name, r.revoked_at), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.account, r.created_at, r.customer, r.dealership, r.id, r.key_hash, r.scopes), 0)), 0), -coalesce(sum(hash_record_extended(row(r.activated_account, r.activated_at, r.name, r.revoked_at), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('api_keys', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_audit_events() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.account, r.actor, r.address, r.at, r.id, r.subject, r.type), 0)), 0), coalesce(sum(0), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(0), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.account, r.actor, r.address, r.at, r.id, r.subject, r.type), 0)), 0), -coalesce(sum(0), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('audit_events', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_billing_details() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(0), 0), coalesce(sum(hash_record_extended(row(r.city, r.country, r.customer, r.name, r.postcode, r.street, r.tax_id, r.updated_at), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.city, r.country, r.customer, r.name, r.postcode, r.street, r.tax_id, r.updated_at), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(0), 0), -coalesce(sum(hash_record_extended(row(r.city, r.country, r.customer, r.name, r.postcode, r.street, r.tax_id, r.updated_at), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('billing_details', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_billing_runs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.first_number, r.month, r.series, r.started_at), 0)), 0), coalesce(sum(hash_record_extended(row(r.charged_number, r.charged_series, r.charges, r.finished_at, r.invoiced_at, r.invoices, r.restarted, r.seen, r.seen_through, r.subscriptions, r.zone), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.charged_number, r.charged_series, r.charges, r.finished_at, r.invoiced_at, r.invoices, r.restarted, r.seen, r.seen_through, r.subscriptions, r.zone), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.first_number, r.month, r.series, r.started_at), 0)), 0), -coalesce(sum(hash_record_extended(row(r.charged_number, r.charged_series, r.charges, r.finished_at, r.invoiced_at, r.invoices, r.restarted, r.seen, r.seen_through, r.subscriptions, r.zone), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('billing_runs', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_cases() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.facts, r.id, r.kind, r.opened_at, r.sentence, r.subject), 0)), 0), coalesce(sum(hash_record_extended(row(r.owner, r.resolution, r.resolved_at, r.status), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.owner, r.resolution, r.resolved_at, r.status), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.facts, r.id, r.kind, r.opened_at, r.sentence, r.subject), 0)), 0), -coalesce(sum(hash_record_extended(row(r.owner, r.resolution, r.resolved_at, r.status), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('cases', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_credit_note_decisions() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.gross, r.id, r.invoice, r.proposed_account, r.proposed_at, r.proposed_by, r.reason, r.term), 0)), 0), coalesce(sum(hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.gross, r.id, r.invoice, r.proposed_account, r.proposed_at, r.proposed_by, r.reason, r.term), 0)), 0), -coalesce(sum(hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('credit_note_decisions', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_customers() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.created_at, r.dealership, r.id), 0)), 0), coalesce(sum(hash_record_extended(row(r.email, r.erased_at, r.language, r.name), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.email, r.erased_at, r.language, r.name), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.created_at, r.dealership, r.id), 0)), 0), -coalesce(sum(hash_record_extended(row(r.email, r.erased_at, r.language, r.name), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('customers', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_dealership_markets() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(0), 0), coalesce(sum(hash_record_extended(row(r.dealership, r.market), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.dealership, r.market), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(0), 0), -coalesce(sum(hash_record_extended(row(r.dealership, r.market), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('dealership_markets', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_deposit_decisions() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.by_policy, r.decision, r.id, r.needs_second, r.note, r.payment_id, r.proposed_account, r.proposed_at, r.proposed_by), 0)), 0), coalesce(sum(hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.by_policy, r.decision, r.id, r.needs_second, r.note, r.payment_id, r.proposed_account, r.proposed_at, r.proposed_by), 0)), 0), -coalesce(sum(hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('deposit_decisions', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_disputes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.claimed_currency, r.currency, r.gateway, r.id, r.opened_at, r.origin, r.payment_id, r.reason), 0)), 0), coalesce(sum(hash_record_extended(row(r.amended, r.amount, r.back, r.claimed_amount, r.gateway_dispute_id, r.reported_at, r.state, r.steps, r.taken, r.updated_at), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.amended, r.amount, r.back, r.claimed_amount, r.gateway_dispute_id, r.reported_at, r.state, r.steps, r.taken, r.updated_at), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.claimed_currency, r.currency, r.gateway, r.id, r.opened_at, r.origin, r.payment_id, r.reason), 0)), 0), -coalesce(sum(hash_record_extended(row(r.amended, r.amount, r.back, r.claimed_amount, r.gateway_dispute_id, r.reported_at, r.state, r.steps, r.taken, r.updated_at), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('disputes', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_event_subscriptions() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.created_at, r.created_by, r.id, r.types, r.url), 0)), 0), coalesce(sum(hash_record_extended(row(r.encrypted_secret, r.ended_at, r.secret), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.encrypted_secret, r.ended_at, r.secret), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.created_at, r.created_by, r.id, r.types, r.url), 0)), 0), -coalesce(sum(hash_record_extended(row(r.encrypted_secret, r.ended_at, r.secret), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('event_subscriptions', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_gateway_calls() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.amount, r.asked_at, r.gateway, r.id, r.key, r.operation, r.outcome, r.payment_id, r.summary, r.took_ms, r.transaction_id), 0)), 0), coalesce(sum(0), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(0), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.amount, r.asked_at, r.gateway, r.id, r.key, r.operation, r.outcome, r.payment_id, r.summary, r.took_ms, r.transaction_id), 0)), 0), -coalesce(sum(0), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('gateway_calls', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_orders() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.created_at, r.currency, r.customer, r.dealership, r.deposit, r.id, r.model, r.price), 0)), 0), coalesce(sum(hash_record_extended(row(r.delivered_at, r.delivery_id, r.delivery_scheduled_for, r.event, r.factory_order_id, r.plate, r.registered_at, r.state, r.updated_at, r.version, r.vin), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.delivered_at, r.delivery_id, r.delivery_scheduled_for, r.event, r.factory_order_id, r.plate, r.registered_at, r.state, r.updated_at, r.version, r.vin), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.created_at, r.currency, r.customer, r.dealership, r.deposit, r.id, r.model, r.price), 0)), 0), -coalesce(sum(hash_record_extended(row(r.delivered_at, r.delivery_id, r.delivery_scheduled_for, r.event, r.factory_order_id, r.plate, r.registered_at, r.state, r.updated_at, r.version, r.vin), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('orders', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_outcome_decisions() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.id, r.note, r.payment_id, r.proposed_account, r.proposed_at, r.proposed_by), 0)), 0), coalesce(sum(hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.id, r.note, r.payment_id, r.proposed_account, r.proposed_at, r.proposed_by), 0)), 0), -coalesce(sum(hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('outcome_decisions', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_recovery_codes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.code_hash, r.created_at, r.factor), 0)), 0), coalesce(sum(hash_record_extended(row(r.used_at), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.used_at), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.code_hash, r.created_at, r.factor), 0)), 0), -coalesce(sum(hash_record_extended(row(r.used_at), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('recovery_codes', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_refund_decisions() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.amount, r.id, r.needs_second, r.note, r.payment_id, r.proposed_account, r.proposed_at, r.proposed_by, r.reason, r.term), 0)), 0), coalesce(sum(hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.amount, r.id, r.needs_second, r.note, r.payment_id, r.proposed_account, r.proposed_at, r.proposed_by, r.reason, r.term), 0)), 0), -coalesce(sum(hash_record_extended(row(r.decided_account, r.decided_at, r.decided_by, r.state), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('refund_decisions', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_refunds() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.amount, r.created_at, r.currency, r.gateway, r.id, r.payment_id, r.reason, r.requested_by), 0)), 0), coalesce(sum(hash_record_extended(row(r.failed_because, r.gateway_refund_id, r.issue, r.outcome, r.state, r.updated_at), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.failed_because, r.gateway_refund_id, r.issue, r.outcome, r.state, r.updated_at), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.amount, r.created_at, r.currency, r.gateway, r.id, r.payment_id, r.reason, r.requested_by), 0)), 0), -coalesce(sum(hash_record_extended(row(r.failed_because, r.gateway_refund_id, r.issue, r.outcome, r.state, r.updated_at), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('refunds', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_second_factors() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.account, r.id), 0)), 0), coalesce(sum(hash_record_extended(row(r.confirmed_at, r.created_at, r.ended_at, r.ended_by, r.last_step, r.sealed_secret), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.confirmed_at, r.created_at, r.ended_at, r.ended_by, r.last_step, r.sealed_secret), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.account, r.id), 0)), 0), -coalesce(sum(hash_record_extended(row(r.confirmed_at, r.created_at, r.ended_at, r.ended_by, r.last_step, r.sealed_secret), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('second_factors', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_services() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(0), 0), coalesce(sum(hash_record_extended(row(r.code, r.currency, r.kind, r.metered, r.monthly_fee, r.name, r.names, r.offered, r.prices, r.repeat_purchase, r.updated_at), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.code, r.currency, r.kind, r.metered, r.monthly_fee, r.name, r.names, r.offered, r.prices, r.repeat_purchase, r.updated_at), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(0), 0), -coalesce(sum(hash_record_extended(row(r.code, r.currency, r.kind, r.metered, r.monthly_fee, r.name, r.names, r.offered, r.prices, r.repeat_purchase, r.updated_at), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('services', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_staff_links() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.created_at, r.token_hash), 0)), 0), coalesce(sum(hash_record_extended(row(r.account, r.expires_at, r.used_at), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.account, r.expires_at, r.used_at), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.created_at, r.token_hash), 0)), 0), -coalesce(sum(hash_record_extended(row(r.account, r.expires_at, r.used_at), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('staff_links', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_subscriptions() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.created_at, r.currency, r.customer, r.id, r.metered, r.monthly_fee, r.service, r.vin), 0)), 0), coalesce(sum(hash_record_extended(row(r.activated_at, r.activation_evidence, r.cancelled_at, r.cancelled_because, r.deactivated_at, r.event, r.gateway, r.payment_method, r.request_key, r.state, r.transitioned_for, r.updated_at, r.version), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.activated_at, r.activation_evidence, r.cancelled_at, r.cancelled_because, r.deactivated_at, r.event, r.gateway, r.payment_method, r.request_key, r.state, r.transitioned_for, r.updated_at, r.version), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.created_at, r.currency, r.customer, r.id, r.metered, r.monthly_fee, r.service, r.vin), 0)), 0), -coalesce(sum(hash_record_extended(row(r.activated_at, r.activation_evidence, r.cancelled_at, r.cancelled_because, r.deactivated_at, r.event, r.gateway, r.payment_method, r.request_key, r.state, r.transitioned_for, r.updated_at, r.version), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('subscriptions', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_tax_rates() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.id), 0)), 0), coalesce(sum(hash_record_extended(row(r.basis_points, r.category, r.goods, r.market, r.name, r.planned, r.reason, r.recorded_at, r.valid, r.withdrawn_at, r.withdrawn_by), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.basis_points, r.category, r.goods, r.market, r.name, r.planned, r.reason, r.recorded_at, r.valid, r.withdrawn_at, r.withdrawn_by), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.id), 0)), 0), -coalesce(sum(hash_record_extended(row(r.basis_points, r.category, r.goods, r.market, r.name, r.planned, r.reason, r.recorded_at, r.valid, r.withdrawn_at, r.withdrawn_by), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('tax_rates', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_tax_settings() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(0), 0), coalesce(sum(hash_record_extended(row(r.market, r.only_row, r.since), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.market, r.only_row, r.since), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(0), 0), -coalesce(sum(hash_record_extended(row(r.market, r.only_row, r.since), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('tax_settings', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_usage_disputes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.because, r.id, r.opened_at, r.opened_by, r.source_id, r.subscription), 0)), 0), coalesce(sum(hash_record_extended(row(r.ended_at, r.ended_by, r.outcome), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.ended_at, r.ended_by, r.outcome), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.because, r.id, r.opened_at, r.opened_by, r.source_id, r.subscription), 0)), 0), -coalesce(sum(hash_record_extended(row(r.ended_at, r.ended_by, r.outcome), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('usage_disputes', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_usage_records() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.at, r.cancels, r.quantity, r.recorded_at, r.source_id, r.subscription, r.unit), 0)), 0), coalesce(sum(hash_record_extended(row(r.invoice), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.invoice), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.at, r.cancels, r.quantity, r.recorded_at, r.source_id, r.subscription, r.unit), 0)), 0), -coalesce(sum(hash_record_extended(row(r.invoice), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('usage_records', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_vehicle_assignments() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.customer, r.id, r.order_id, r.since, r.vin), 0)), 0), coalesce(sum(hash_record_extended(row(r.active, r.ended_because, r.until), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.active, r.ended_because, r.until), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.customer, r.id, r.order_id, r.since, r.vin), 0)), 0), -coalesce(sum(hash_record_extended(row(r.active, r.ended_because, r.until), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('vehicle_assignments', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_vehicle_models() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(0), 0), coalesce(sum(hash_record_extended(row(r.currency, r.model, r.price, r.updated_at), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.currency, r.model, r.price, r.updated_at), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(0), 0), -coalesce(sum(hash_record_extended(row(r.currency, r.model, r.price, r.updated_at), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('vehicle_models', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_vehicles() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.created_at, r.model, r.vin), 0)), 0), coalesce(sum(hash_record_extended(row(r.currency, r.event, r.factory_order_id, r.finished, r.in_stock_since, r.price, r.public_key, r.state, r.transitioned_for, r.updated_at, r.version), 0)), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(hash_record_extended(row(r.currency, r.event, r.factory_order_id, r.finished, r.in_stock_since, r.price, r.public_key, r.state, r.transitioned_for, r.updated_at, r.version), 0)), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.created_at, r.model, r.vin), 0)), 0), -coalesce(sum(hash_record_extended(row(r.currency, r.event, r.factory_order_id, r.finished, r.in_stock_since, r.price, r.public_key, r.state, r.transitioned_for, r.updated_at, r.version), 0)), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('vehicles', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_webhook_inbox() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.body, r.body_hash, r.event_id, r.gateway, r.id, r.received_at), 0)), 0), coalesce(sum(0), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(0), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.body, r.body_hash, r.event_id, r.gateway, r.id, r.received_at), 0)), 0), -coalesce(sum(0), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('webhook_inbox', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.sum_webhook_quarantine() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_rows bigint := 0; v_fixed numeric := 0; v_moving numeric := 0;
begin
  if tg_op <> 'DELETE' then
    select count(*), coalesce(sum(hash_record_extended(row(r.body, r.body_hash, r.contradicts, r.event_id, r.gateway, r.id, r.reason, r.received_at), 0)), 0), coalesce(sum(0), 0)
      into v_rows, v_fixed, v_moving from new_rows r;
  end if;
  if tg_op = 'UPDATE' then
    select 0, 0, v_moving - coalesce(sum(0), 0) into v_rows, v_fixed, v_moving from old_rows r;
  elsif tg_op = 'DELETE' then
    select -count(*), -coalesce(sum(hash_record_extended(row(r.body, r.body_hash, r.contradicts, r.event_id, r.gateway, r.id, r.reason, r.received_at), 0)), 0), -coalesce(sum(0), 0)
      into v_rows, v_fixed, v_moving from old_rows r;
  end if;
  if (v_rows, v_moving) <> (0, 0) then
    insert into table_checksums as k
    values ('webhook_quarantine', pg_backend_pid() % 1024, v_rows, v_fixed, v_moving)
    on conflict (of_table, slot) do update set rows = k.rows + excluded.rows,
      fixed = k.fixed + excluded.fixed, moving = k.moving + excluded.moving;
  end if;
  return null;
end $$;

CREATE FUNCTION caas.tax_captured_payment(p_payment uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare v_seq integer; v_at constant timestamptz := db_now();
begin
  insert into payment_taxes
  select p.id, t.market, t.rate, t.supplied_on, t.gross, t.tax, t.advance, v_at
    from payments p join tax_settings s on p.created_at >= s.since
    join payment_events e on e.payment_id = p.id and e.event = 'Initiate settlement'
    cross join lateral tax_of_payment(p.id, e.at) t
   where p.id = p_payment and p.captured_amount > 0
   order by e.seq limit 1
  on conflict do nothing;
  if not found then
    return exists (select from payment_taxes t where t.payment_id = p_payment);
  end if;
  select max(e.seq) into v_seq from ledger_entries e where e.payment_id = p_payment;
  perform book_output_tax(array[p_payment], array[v_seq], array[v_at]);
  update documents_due d set held = false
   where d.payment_id = p_payment and d.held and d.case_kind = 'payment_without_tax_rate';
  perform note_missing_documents(p_payment);
  return true;
end $$;

CREATE FUNCTION caas.tax_in(p_gross bigint, p_basis_points integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    AS $$
  select (2 * p_gross * p_basis_points + 10000 + p_basis_points) / (2 * (10000 + p_basis_points))
$$;

CREATE FUNCTION caas.tax_left(p_tax bigint, p_left bigint, p_of bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    AS $$
  select div(2 * p_tax::numeric * p_left + p_of, 2 * p_of::numeric)::bigint
$$;

CREATE FUNCTION caas.tax_of_payment(p_id uuid, p_at timestamp with time zone DEFAULT caas.db_now()) RETURNS TABLE(market text, rate bigint, supplied_on date, gross bigint, tax bigint, advance uuid)
    LANGUAGE sql STABLE
    AS $$
  select sale.market, r.id, day.of_supply, p.amount,
         case when i.id is not null then i.iva
              when deposit.payment_id is not null
                then tax_in(p.amount + deposit.gross, r.basis_points) - deposit.tax
              else tax_in(p.amount, r.basis_points) end,
         deposit.payment_id
    from payments p
    left join invoices i on i.id = p.subject and p.type = 'subscription'
    cross join lateral (
      select coalesce(i.market, market_of_sale(p.type, p.subject, p.customer)) as market) sale
    join markets m on m.code = sale.market
    cross join lateral (
      select coalesce(i.supplied_on, (coalesce(i.issued_at, p_at) at time zone m.zone)::date)
        as of_supply) day
    join tax_rates r on r.market = sale.market and r.valid @> day.of_supply
     and r.goods = case when p.type in ('reservation', 'final') then 'vehicle' else p.type end
    left join lateral (
      select t.payment_id, t.gross, t.tax from payments d join payment_taxes t on t.payment_id = d.id
       where d.subject = p.subject and d.type = 'reservation' and p.type = 'final'
         and t.rate = r.id and d.captured_amount > d.refunded_amount limit 1) deposit on true
   where p.id = p_id
$$;

CREATE FUNCTION caas.tax_what_is_earned() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
declare
  v_earned constant text[] := array['customer_deposits', 'vehicle_sales', 'service_revenue',
                                    'subscription_revenue', 'reservation_held'];
  v_payments uuid[]; v_seqs integer[]; v_at timestamptz[]; v_credited uuid[]; v_taxed bigint;
begin
  select array_agg(x.payment_id), array_agg(x.seq), array_agg(x.at),
         array_agg(x.payment_id) filter (where x.is_credited)
    into v_payments, v_seqs, v_at, v_credited
    from (select n.payment_id, max(n.seq) as seq, max(n.at) as at,
                 bool_or(n.credit = any (v_earned)) as is_credited from new_rows n
           where 'output_vat' not in (n.debit, n.credit)
             and (n.debit = any (v_earned) or n.credit = any (v_earned))
           group by n.payment_id) x;
  if v_payments is null then
    return null;
  end if;
  if v_credited is not null then
    insert into payment_taxes
    select p.id, t.market, t.rate, t.supplied_on, t.gross, t.tax, t.advance, db_now()
      from payments p join tax_settings s on p.created_at >= s.since
      cross join lateral tax_of_payment(p.id) t
     where p.id = any (v_credited)
    on conflict do nothing;
    get diagnostics v_taxed = row_count;
    if v_taxed < cardinality(v_credited) then
      perform note_untaxed(v_credited);
    end if;
  end if;
  perform book_output_tax(v_payments, v_seqs, v_at);
  return null;
end $$;

CREATE FUNCTION caas.tells_of_outgoing_money(p_body jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
  select p_body->>'type' ~ '(^|[.])(dispute|refund)[.]' and p_body->>'type' not like '%refund.failed'
$$;

CREATE FUNCTION caas.this_process() RETURNS integer
    LANGUAGE sql STABLE
    AS $$ select nullif(current_setting('caas.process', true), '')::integer $$;

CREATE FUNCTION caas.write_entitlement_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
begin
  insert into entitlement_changes
  values (new.id, new.state, new.starts_at, new.ends_at, new.ended_because, db_now());
  return null;
end $$;

CREATE FUNCTION caas.write_order_transition() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
begin
  if tg_op = 'INSERT' then
    if new.state <> 'awaiting reservation payment' or new.version <> 1 then
      raise exception 'order % does not begin awaiting its reservation payment', new.id
        using errcode = 'check_violation';
    end if;
    insert into order_events
    values (new.id, 1, new.event, null, new.state, new.created_at, order_terms(new));
    return null;
  end if;
  if new.version <> old.version + 1 or not exists (
    select from order_transitions a
     where a.from_state = old.state and a.event = new.event and a.to_state = new.state) then
    raise exception 'illegal move of order % from % to % by "%"',
      new.id, old.state, new.state, new.event using errcode = 'check_violation';
  end if;
  insert into order_events values
    (new.id, new.version, new.event, old.state, new.state, new.updated_at);
  return null;
end $$;

CREATE FUNCTION caas.write_subscription_transition() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
begin
  if tg_op = 'INSERT' then
    if new.state <> 'verifying payment method' or new.version <> 1 then
      raise exception 'subscription % does not begin with its payment method', new.id
        using errcode = 'check_violation';
    end if;
    insert into subscription_events
    values (new.id, 1, new.event, null, new.state, new.transitioned_for, new.created_at,
            subscription_terms(new));
    return null;
  end if;
  if new.version <> old.version + 1 or not exists (
    select from subscription_transitions a
     where a.from_state = old.state and a.event = new.event and a.to_state = new.state) then
    raise exception 'illegal move of subscription % from % to % by "%"',
      new.id, old.state, new.state, new.event using errcode = 'check_violation';
  end if;
  insert into subscription_events values
    (new.id, new.version, new.event, old.state, new.state, new.transitioned_for, new.updated_at);
  return null;
end $$;

CREATE FUNCTION caas.write_vehicle_transition() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'caas', 'pg_temp'
    AS $$
begin
  if tg_op = 'INSERT' then
    if new.state <> 'sin asignar' or new.version <> 1 then
      raise exception 'vehicle % does not begin sin asignar', new.vin
        using errcode = 'check_violation';
    end if;
    insert into vehicle_events values
      (new.vin, 1, new.event, null, new.state, new.transitioned_for, new.created_at);
    return null;
  end if;
  if new.version <> old.version + 1 or not exists (
    select from vehicle_transitions a
     where a.from_state = old.state and a.event = new.event and a.to_state = new.state) then
    raise exception 'illegal move of vehicle % from % to % by "%"',
      new.vin, old.state, new.state, new.event using errcode = 'check_violation';
  end if;
  insert into vehicle_events values
    (new.vin, new.version, new.event, old.state, new.state, new.transitioned_for, new.updated_at);
  return null;
end $$;

CREATE TABLE caas.clock (
    only_row boolean DEFAULT true NOT NULL,
    moved interval DEFAULT '00:00:00'::interval NOT NULL,
    CONSTRAINT clock_only_row_check CHECK (only_row)
);

CREATE TABLE caas.order_events (
    order_id uuid NOT NULL,
    version integer NOT NULL,
    event text NOT NULL,
    from_state text,
    to_state text NOT NULL,
    at timestamp with time zone NOT NULL,
    terms jsonb
);

CREATE TABLE caas.payment_events (
    payment_id uuid NOT NULL,
    seq integer NOT NULL,
    event text NOT NULL,
    from_state text,
    to_state text NOT NULL,
    source text NOT NULL,
    facts jsonb NOT NULL,
    at timestamp with time zone NOT NULL,
    hash bytea NOT NULL
);

CREATE TABLE caas.payments (
    id uuid NOT NULL,
    type text NOT NULL,
    subject uuid NOT NULL,
    customer uuid NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    gateway text NOT NULL,
    payment_method text,
    return_url text,
    state text NOT NULL,
    came_from text,
    outcome text DEFAULT 'known'::text NOT NULL,
    version integer NOT NULL,
    event_hash bytea NOT NULL,
    decline_code text,
    gateway_transaction_id text,
    hosted_page_url text,
    capture_before timestamp with time zone,
    authorized_amount bigint DEFAULT 0 NOT NULL,
    captured_amount bigint DEFAULT 0 NOT NULL,
    settled_amount bigint DEFAULT 0 NOT NULL,
    refunded_amount bigint DEFAULT 0 NOT NULL,
    disputed_amount bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    live boolean GENERATED ALWAYS AS ((state <> ALL (ARRAY['Failed'::text, 'Voided'::text, 'Refunded'::text]))) STORED NOT NULL,
    CONSTRAINT given_back_within_captured CHECK (((refunded_amount + disputed_amount) <= captured_amount)),
    CONSTRAINT payments_amount_check CHECK ((amount > 0)),
    CONSTRAINT payments_check CHECK (((authorized_amount >= 0) AND (authorized_amount <= amount))),
    CONSTRAINT payments_check1 CHECK (((captured_amount >= 0) AND (captured_amount <= amount))),
    CONSTRAINT payments_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT payments_disputed_amount_check CHECK ((disputed_amount >= 0)),
    CONSTRAINT payments_gateway_check CHECK (((length(gateway) >= 1) AND (length(gateway) <= 100))),
    CONSTRAINT payments_outcome_check CHECK ((outcome = ANY (ARRAY['known'::text, 'unknown'::text]))),
    CONSTRAINT payments_refunded_amount_check CHECK ((refunded_amount >= 0)),
    CONSTRAINT payments_settled_amount_check CHECK ((settled_amount >= 0)),
    CONSTRAINT payments_type_check CHECK ((type = ANY (ARRAY['reservation'::text, 'final'::text, 'service'::text, 'subscription'::text]))),
    CONSTRAINT settled_within_captured CHECK ((settled_amount <= captured_amount))
)
WITH (fillfactor='60');

CREATE TABLE caas.subscription_events (
    subscription uuid NOT NULL,
    version integer NOT NULL,
    event text NOT NULL,
    from_state text,
    to_state text NOT NULL,
    payment_id uuid,
    at timestamp with time zone NOT NULL,
    terms jsonb
);

CREATE TABLE caas.vehicle_events (
    vin text NOT NULL,
    version integer NOT NULL,
    event text NOT NULL,
    from_state text,
    to_state text NOT NULL,
    order_id uuid,
    at timestamp with time zone NOT NULL
);

CREATE VIEW caas.company_events AS
 SELECT e.at,
    'payment'::text AS source,
    (e.payment_id)::text AS subject,
    e.seq,
    ('payment.'::text || TRIM(BOTH '_'::text FROM regexp_replace(lower(e.event), '[^a-z0-9]+'::text, '_'::text, 'g'::text))) AS type,
    e.to_state AS state,
    e.from_state AS before,
    p.type AS of_type,
    p.subject AS about,
    p.customer,
    o.dealership
   FROM ((caas.payment_events e
     CROSS JOIN LATERAL ( SELECT payments.id,
            payments.type,
            payments.subject,
            payments.customer,
            payments.amount,
            payments.currency,
            payments.gateway,
            payments.payment_method,
            payments.return_url,
            payments.state,
            payments.came_from,
            payments.outcome,
            payments.version,
            payments.event_hash,
            payments.decline_code,
            payments.gateway_transaction_id,
            payments.hosted_page_url,
            payments.capture_before,
            payments.authorized_amount,
            payments.captured_amount,
            payments.settled_amount,
            payments.refunded_amount,
            payments.disputed_amount,
            payments.created_at,
            payments.updated_at,
            payments.live
           FROM caas.payments
          WHERE (payments.id = e.payment_id)
         LIMIT 1) p)
     LEFT JOIN LATERAL ( SELECT orders.dealership
           FROM caas.orders
          WHERE ((orders.id = p.subject) AND (p.type = ANY (ARRAY['reservation'::text, 'final'::text])))
         LIMIT 1) o ON (true))
UNION ALL
 SELECT e.at,
    'order'::text AS source,
    (e.order_id)::text AS subject,
    e.version AS seq,
    ('order.'::text || TRIM(BOTH '_'::text FROM regexp_replace(lower(e.event), '[^a-z0-9]+'::text, '_'::text, 'g'::text))) AS type,
    e.to_state AS state,
    e.from_state AS before,
    NULL::text AS of_type,
    e.order_id AS about,
    o.customer,
    o.dealership
   FROM (caas.order_events e
     CROSS JOIN LATERAL ( SELECT orders.id,
            orders.customer,
            orders.model,
            orders.vin,
            orders.dealership,
            orders.deposit,
            orders.price,
            orders.currency,
            orders.state,
            orders.event,
            orders.version,
            orders.factory_order_id,
            orders.plate,
            orders.registered_at,
            orders.delivery_id,
            orders.delivery_scheduled_for,
            orders.delivered_at,
            orders.created_at,
            orders.updated_at
           FROM caas.orders
          WHERE (orders.id = e.order_id)
         LIMIT 1) o)
UNION ALL
 SELECT e.at,
    'subscription'::text AS source,
    (e.subscription)::text AS subject,
    e.version AS seq,
    ('subscription.'::text || TRIM(BOTH '_'::text FROM regexp_replace(lower(e.event), '[^a-z0-9]+'::text, '_'::text, 'g'::text))) AS type,
    e.to_state AS state,
    e.from_state AS before,
    s.service AS of_type,
    e.subscription AS about,
    s.customer,
    NULL::text AS dealership
   FROM (caas.subscription_events e
     CROSS JOIN LATERAL ( SELECT subscriptions.id,
            subscriptions.customer,
            subscriptions.vin,
            subscriptions.service,
            subscriptions.currency,
            subscriptions.monthly_fee,
            subscriptions.metered,
            subscriptions.payment_method,
            subscriptions.gateway,
            subscriptions.state,
            subscriptions.event,
            subscriptions.version,
            subscriptions.transitioned_for,
            subscriptions.activation_evidence,
            subscriptions.evidence_kind,
            subscriptions.proves_delivery,
            subscriptions.activated_at,
            subscriptions.deactivated_at,
            subscriptions.cancelled_at,
            subscriptions.cancelled_because,
            subscriptions.created_at,
            subscriptions.updated_at,
            subscriptions.request_key
           FROM caas.subscriptions
          WHERE (subscriptions.id = e.subscription)
         LIMIT 1) s)
UNION ALL
 SELECT e.at,
    'vehicle'::text AS source,
    e.vin AS subject,
    e.version AS seq,
    ('vehicle.'::text || TRIM(BOTH '_'::text FROM regexp_replace(lower(e.event), '[^a-z0-9]+'::text, '_'::text, 'g'::text))) AS type,
    e.to_state AS state,
    e.from_state AS before,
    NULL::text AS of_type,
    e.order_id AS about,
    NULL::uuid AS customer,
    NULL::text AS dealership
   FROM caas.vehicle_events e
UNION ALL
 SELECT i.issued_at AS at,
    'document'::text AS source,
    (i.id)::text AS subject,
    1 AS seq,
    'document.issued'::text AS type,
    'issued'::text AS state,
    NULL::text AS before,
    i.kind AS of_type,
    i.subject AS about,
    i.customer,
    o.dealership
   FROM (caas.invoices i
     LEFT JOIN LATERAL ( SELECT orders.dealership
           FROM caas.orders
          WHERE (orders.id = i.subject)
         LIMIT 1) o ON (true));

CREATE TABLE caas.delivery_evidence (
    id uuid NOT NULL,
    subject uuid NOT NULL,
    kind text NOT NULL,
    command_id uuid,
    action text,
    epoch bigint,
    vin text,
    service text,
    status text NOT NULL,
    status_reason text,
    at text NOT NULL,
    signature bytea,
    verified boolean NOT NULL,
    refused_because text,
    recorded_at timestamp with time zone NOT NULL,
    proves_delivery boolean GENERATED ALWAYS AS ((verified AND (status = 'SUCCEEDED'::text) AND (action IS DISTINCT FROM 'deactivate'::text))) STORED NOT NULL,
    signs_action boolean DEFAULT true NOT NULL,
    CONSTRAINT delivery_evidence_action_check CHECK ((action = ANY (ARRAY['activate'::text, 'deactivate'::text]))),
    CONSTRAINT delivery_evidence_check CHECK (((kind <> 'vehicle_acknowledgement'::text) OR (NOT verified) OR ((command_id IS NOT NULL) AND (epoch IS NOT NULL) AND (action IS NOT NULL) AND (signature IS NOT NULL) AND (octet_length(signature) = 64)))),
    CONSTRAINT delivery_evidence_check1 CHECK ((verified = (refused_because IS NULL))),
    CONSTRAINT delivery_evidence_kind_check CHECK ((kind = ANY (ARRAY['vehicle_acknowledgement'::text, 'reservation_recorded'::text, 'order_confirmed'::text, 'usage_snapshot'::text])))
);

CREATE TABLE caas.discrepancies (
    id uuid NOT NULL,
    gateway text NOT NULL,
    day date NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    version integer NOT NULL,
    owner text,
    amount bigint NOT NULL,
    currency text NOT NULL,
    payment_id uuid,
    report_id uuid,
    line_no bigint,
    due_on date NOT NULL,
    missing_from date,
    resolution text,
    opened_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT discrepancies_amount_check CHECK ((amount >= 0)),
    CONSTRAINT discrepancies_status_check CHECK ((status = ANY (ARRAY['open'::text, 'waiting'::text, 'proposed'::text, 'resolved'::text])))
);

CREATE TABLE caas.discrepancy_entries (
    id bigint NOT NULL,
    discrepancy_id uuid NOT NULL,
    resolution_id uuid,
    payment_id uuid,
    debit text NOT NULL,
    credit text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT discrepancy_entries_amount_check CHECK ((amount > 0)),
    CONSTRAINT discrepancy_entries_check CHECK ((debit <> credit))
);

ALTER TABLE caas.discrepancy_entries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME caas.discrepancy_entries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE caas.discrepancy_events (
    discrepancy_id uuid NOT NULL,
    seq integer NOT NULL,
    event text NOT NULL,
    status text NOT NULL,
    by text NOT NULL,
    facts jsonb DEFAULT '{}'::jsonb NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT discrepancy_events_event_check CHECK ((event = ANY (ARRAY['opened'::text, 'assigned'::text, 'noted'::text, 'evidence attached'::text, 'became missing'::text, 'proposed'::text, 'rejected'::text, 'approved'::text, 'resolved'::text, 'resolved itself'::text, 'reopened'::text])))
);

CREATE TABLE caas.discrepancy_evidence (
    id uuid NOT NULL,
    discrepancy_id uuid NOT NULL,
    name text NOT NULL,
    media_type text NOT NULL,
    content bytea NOT NULL,
    digest bytea NOT NULL,
    attached_by text NOT NULL,
    attached_at timestamp with time zone NOT NULL,
    CONSTRAINT discrepancy_evidence_content_check CHECK (((octet_length(content) >= 1) AND (octet_length(content) <= 5242880))),
    CONSTRAINT discrepancy_evidence_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200)))
);

CREATE TABLE caas.discrepancy_resolutions (
    id uuid NOT NULL,
    discrepancy_id uuid NOT NULL,
    resolution text NOT NULL,
    note text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    needs_second_approver boolean NOT NULL,
    state text NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamp with time zone NOT NULL,
    decided_by text,
    decided_at timestamp with time zone,
    bulk_id uuid,
    proposed_account uuid,
    decided_account uuid,
    CONSTRAINT discrepancy_resolutions_check CHECK (((state = 'proposed'::text) = (decided_by IS NULL))),
    CONSTRAINT discrepancy_resolutions_check1 CHECK (((decided_by IS NULL) = (decided_at IS NULL))),
    CONSTRAINT discrepancy_resolutions_check2 CHECK (((decided_by IS NOT NULL) OR (decided_account IS NULL))),
    CONSTRAINT discrepancy_resolutions_note_check CHECK (((length(note) >= 1) AND (length(note) <= 1000))),
    CONSTRAINT discrepancy_resolutions_resolution_check CHECK ((resolution = ANY (ARRAY['accept_loss'::text, 'wait'::text, 'claim_from_gateway'::text, 'refund_the_customer'::text, 'write_off'::text, 'correct_by_entry'::text, 'reinstate_the_payment'::text]))),
    CONSTRAINT discrepancy_resolutions_state_check CHECK ((state = ANY (ARRAY['proposed'::text, 'approved'::text, 'rejected'::text])))
);

CREATE TABLE caas.document_buyers (
    invoice uuid NOT NULL,
    buyer jsonb NOT NULL,
    CONSTRAINT document_buyers_buyer_check CHECK ((jsonb_typeof(buyer) = 'object'::text))
);

CREATE TABLE caas.documents_due (
    id bigint NOT NULL,
    payment_id uuid NOT NULL,
    refund uuid,
    at timestamp with time zone NOT NULL,
    held boolean DEFAULT false NOT NULL,
    case_kind text,
    CONSTRAINT is_held_for_a_case CHECK (((NOT held) OR (case_kind IS NOT NULL)))
);

ALTER TABLE caas.documents_due ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME caas.documents_due_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE caas.entitlement_changes (
    term uuid NOT NULL,
    state text NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone,
    because text,
    at timestamp with time zone NOT NULL,
    id bigint NOT NULL,
    kept boolean,
    CONSTRAINT entitlement_changes_kept_check CHECK (kept)
);

ALTER TABLE caas.entitlement_changes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME caas.entitlement_changes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE caas.entitlement_terms (
    id uuid NOT NULL,
    entitlement uuid NOT NULL,
    customer uuid NOT NULL,
    service_order uuid,
    subscription uuid,
    payment_id uuid,
    duration_days integer,
    state text NOT NULL,
    starts_at timestamp with time zone,
    ends_at timestamp with time zone,
    ended_because text,
    reserved_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    by_fleet boolean,
    CONSTRAINT entitlement_terms_check CHECK (((service_order IS NULL) <> (subscription IS NULL))),
    CONSTRAINT entitlement_terms_check1 CHECK (((duration_days IS NULL) = (service_order IS NULL))),
    CONSTRAINT entitlement_terms_check2 CHECK (((payment_id IS NULL) OR (service_order IS NOT NULL))),
    CONSTRAINT entitlement_terms_check3 CHECK (((state <> ALL (ARRAY['activating'::text, 'granted'::text, 'ended'::text])) OR (starts_at IS NOT NULL))),
    CONSTRAINT entitlement_terms_check4 CHECK (((service_order IS NULL) OR (state <> ALL (ARRAY['activating'::text, 'granted'::text, 'ended'::text])) OR ((ends_at IS NOT NULL) AND (payment_id IS NOT NULL)))),
    CONSTRAINT entitlement_terms_check5 CHECK (((state <> 'ended'::text) OR ((ends_at IS NOT NULL) AND (ended_because IS NOT NULL)))),
    CONSTRAINT entitlement_terms_check6 CHECK ((ends_at >= starts_at)),
    CONSTRAINT entitlement_terms_duration_days_check CHECK (((duration_days >= 1) AND (duration_days <= 3660))),
    CONSTRAINT entitlement_terms_ended_because_check CHECK (((length(ended_because) >= 1) AND (length(ended_because) <= 200))),
    CONSTRAINT entitlement_terms_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'activating'::text, 'granted'::text, 'cancelled'::text, 'ended'::text])))
)
WITH (fillfactor='70');

CREATE TABLE caas.entitlements (
    id uuid NOT NULL,
    vin text NOT NULL,
    service text NOT NULL,
    last_command uuid,
    reported_epoch bigint,
    reported_on boolean,
    reported_until timestamp with time zone,
    reported_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT entitlements_check CHECK (((reported_epoch IS NULL) = (reported_on IS NULL))),
    CONSTRAINT entitlements_check1 CHECK (((reported_until IS NULL) OR reported_on))
)
WITH (fillfactor='70');

CREATE TABLE caas.fee_terms (
    gateway text NOT NULL,
    method text NOT NULL,
    kind text NOT NULL,
    valid_from date NOT NULL,
    rate_ppm bigint NOT NULL,
    fixed bigint NOT NULL,
    tolerance bigint NOT NULL,
    kept_by text NOT NULL,
    kept_at timestamp with time zone NOT NULL,
    provider text DEFAULT '*'::text NOT NULL,
    CONSTRAINT fee_terms_fixed_check CHECK (((fixed >= 0) AND (fixed <= 1000000))),
    CONSTRAINT fee_terms_kind_check CHECK ((kind = ANY (ARRAY['settlement'::text, 'refund'::text, 'refund_reversal'::text, 'chargeback'::text, 'chargeback_reversal'::text, 'fee'::text]))),
    CONSTRAINT fee_terms_method_check CHECK ((method ~ '^(\*|[a-z0-9][a-z0-9_-]{0,39})$'::text)),
    CONSTRAINT fee_terms_provider_check CHECK ((provider ~ '^(\*|[a-z0-9][a-z0-9_-]{0,39})$'::text)),
    CONSTRAINT fee_terms_rate_ppm_check CHECK (((rate_ppm >= 0) AND (rate_ppm <= 1000000))),
    CONSTRAINT fee_terms_tolerance_check CHECK (((tolerance >= 0) AND (tolerance <= 1000000)))
);

CREATE TABLE caas.gateway_accounts (
    gateway text NOT NULL,
    account text NOT NULL,
    since timestamp with time zone NOT NULL,
    CONSTRAINT gateway_accounts_account_check CHECK (((length(account) >= 1) AND (length(account) <= 200)))
);

CREATE TABLE caas.gateway_claim_entries (
    id bigint NOT NULL,
    discrepancy_id uuid NOT NULL,
    seq integer NOT NULL,
    debit text NOT NULL,
    credit text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT gateway_claim_entries_amount_check CHECK ((amount > 0)),
    CONSTRAINT gateway_claim_entries_check CHECK ((debit <> credit)),
    CONSTRAINT gateway_claim_entries_check1 CHECK ((('gateway_claims'::text = debit) OR ('gateway_claims'::text = credit)))
);

ALTER TABLE caas.gateway_claim_entries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME caas.gateway_claim_entries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE caas.gateway_claim_events (
    discrepancy_id uuid NOT NULL,
    seq integer NOT NULL,
    status text NOT NULL,
    by text NOT NULL,
    note text NOT NULL,
    receipt text,
    at timestamp with time zone NOT NULL,
    CONSTRAINT gateway_claim_events_note_check CHECK (((length(note) >= 1) AND (length(note) <= 1000)))
);

CREATE TABLE caas.gateway_claims (
    discrepancy_id uuid NOT NULL,
    gateway text NOT NULL,
    status text NOT NULL,
    version integer NOT NULL,
    receipt text,
    amount bigint NOT NULL,
    currency text NOT NULL,
    due_on date NOT NULL,
    filed_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    needs_second boolean DEFAULT false NOT NULL,
    refusal_by text,
    refusal_account uuid,
    refused_account uuid,
    CONSTRAINT gateway_claims_amount_check CHECK ((amount >= 0)),
    CONSTRAINT gateway_claims_check CHECK (((status <> ALL (ARRAY['sent'::text, 'accepted'::text, 'paid'::text])) OR (receipt IS NOT NULL))),
    CONSTRAINT gateway_claims_receipt_check CHECK (((length(receipt) >= 1) AND (length(receipt) <= 200))),
    CONSTRAINT gateway_claims_status_check CHECK ((status = ANY (ARRAY['filed'::text, 'sent'::text, 'accepted'::text, 'paid'::text, 'refused'::text, 'withdrawn'::text]))),
    CONSTRAINT gateway_claims_version_check CHECK ((version > 0)),
    CONSTRAINT is_proposed_by_somebody CHECK ((needs_second = (refusal_by IS NOT NULL))),
    CONSTRAINT proposer_has_proposed CHECK (((refusal_account IS NULL) OR (refusal_by IS NOT NULL))),
    CONSTRAINT second_ends_it CHECK (((refused_account IS NULL) OR (status = 'refused'::text)))
);

CREATE TABLE caas.gateway_customers (
    gateway text NOT NULL,
    customer uuid NOT NULL,
    gateway_customer text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT gateway_customers_gateway_customer_check CHECK (((length(gateway_customer) >= 1) AND (length(gateway_customer) <= 200)))
);

CREATE TABLE caas.history_heads (
    head bigint NOT NULL,
    body text NOT NULL,
    public_key text NOT NULL,
    signature text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    CONSTRAINT history_heads_head_check CHECK ((head > 0))
);

CREATE TABLE caas.history_leaves (
    of_table text NOT NULL,
    first_leaf bigint NOT NULL,
    head bigint NOT NULL,
    columns text[] NOT NULL,
    keys text[] NOT NULL,
    digests bytea NOT NULL,
    CONSTRAINT history_leaves_check CHECK ((octet_length(digests) = (32 * cardinality(keys)))),
    CONSTRAINT history_leaves_first_leaf_check CHECK ((first_leaf >= 0))
);

CREATE TABLE caas.history_trees (
    of_table text NOT NULL,
    size bigint NOT NULL,
    peaks bytea[] NOT NULL,
    looked_from timestamp with time zone NOT NULL,
    CONSTRAINT history_trees_size_check CHECK ((size >= 0))
);

CREATE TABLE caas.idempotency_keys (
    caller text NOT NULL,
    key_hash bytea NOT NULL,
    request_hash bytea NOT NULL,
    payment_id uuid,
    answer_status integer,
    answer_body bytea,
    created_at timestamp with time zone NOT NULL,
    held_by integer DEFAULT caas.this_process(),
    attempt uuid
);

CREATE TABLE caas.identified_lines (
    report_id uuid NOT NULL,
    line_no bigint NOT NULL,
    payment_id uuid NOT NULL,
    at timestamp with time zone NOT NULL
);

CREATE TABLE caas.invariant_checks (
    invariant text NOT NULL,
    broken integer DEFAULT 0 NOT NULL,
    examples text[] DEFAULT '{}'::text[] NOT NULL,
    unfinished_because text,
    since timestamp with time zone NOT NULL,
    checked_at timestamp with time zone,
    fully_checked_at timestamp with time zone,
    tried_at timestamp with time zone,
    checked_through timestamp with time zone,
    CONSTRAINT invariant_checks_broken_check CHECK ((broken >= 0))
);

CREATE TABLE caas.invoice_series (
    series text NOT NULL,
    next bigint DEFAULT 1 NOT NULL,
    CONSTRAINT invoice_series_next_check CHECK ((next > 0)),
    CONSTRAINT invoice_series_series_check CHECK ((series ~ '^([A-Z0-9]{1,6}-)?[ARSV]?[0-9]{4}$'::text))
);

CREATE TABLE caas.written_off_invoices (
    invoice uuid NOT NULL,
    payment_id uuid NOT NULL,
    because text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT written_off_invoices_because_check CHECK ((because = ANY (ARRAY['payment failed'::text, 'settlement failed'::text])))
);

CREATE VIEW caas.invoice_states AS
 SELECT i.id,
    i.series,
    i.number,
    i.kind,
    i.subscription,
    i.customer,
    i.month,
    i.service,
    i.vin,
    i.currency,
    i.lines,
    i.net,
    i.iva_basis_points,
    i.iva,
    i.gross,
    i.payment_id,
    i.corrects,
    i.correction,
    i.reason,
    i.issued_at,
    i.market,
    i.tax_rate,
    i.supplied_on,
    i.subject,
    i.refund,
    i.advance,
    i.simplified,
    i.language,
    i.seller,
    i.buyer_digest,
    i.digest,
    i.service_name,
    i.replaces,
    i.returned,
    b.buyer,
    r.category AS tax_category,
    r.reason AS exempt_because,
    COALESCE(i.service_name, (v.names ->> i.language), v.name) AS service_called,
    p.id AS last_payment,
    p.state AS payment_state,
    p.decline_code,
    COALESCE(c.credited, (0)::bigint) AS credited,
        CASE
            WHEN (i.kind = ANY (ARRAY['credit note'::text, 'debit note'::text])) THEN i.kind
            WHEN (i.gross = 0) THEN 'nothing to pay'::text
            WHEN (w.invoice IS NOT NULL) THEN 'written off'::text
            WHEN (p.captured_amount > 0) THEN 'paid'::text
            WHEN (p.state = 'Failed'::text) THEN 'declined'::text
            ELSE 'open'::text
        END AS state,
    x.id AS replaced_by
   FROM (((((((caas.invoices i
     LEFT JOIN caas.document_buyers b ON ((b.invoice = i.id)))
     LEFT JOIN caas.tax_rates r ON ((r.id = i.tax_rate)))
     LEFT JOIN caas.services v ON ((v.code = i.service)))
     LEFT JOIN LATERAL ( SELECT q.id,
            q.state,
            q.decline_code,
            q.captured_amount,
            q.created_at
           FROM ( SELECT s.id,
                    s.state,
                    s.decline_code,
                    s.captured_amount,
                    s.created_at
                   FROM caas.payments s
                  WHERE ((s.subject = i.id) AND (s.type = 'subscription'::text) AND (i.kind = 'invoice'::text))
                UNION ALL
                 SELECT s.id,
                    s.state,
                    s.decline_code,
                    s.captured_amount,
                    s.created_at
                   FROM caas.payments s
                  WHERE ((s.id = i.payment_id) AND (i.kind <> 'invoice'::text))) q
          ORDER BY (q.captured_amount > 0) DESC, q.created_at DESC
         LIMIT 1) p ON (true))
     LEFT JOIN caas.written_off_invoices w ON ((w.invoice = i.id)))
     LEFT JOIN LATERAL ( SELECT (- (sum(n.gross))::bigint) AS credited
           FROM caas.invoices n
          WHERE (n.corrects = i.id)) c ON (true))
     LEFT JOIN caas.invoices x ON ((x.replaces = i.id)));

CREATE TABLE caas.jobs (
    kind text NOT NULL,
    subject uuid NOT NULL,
    due_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    lease_until timestamp with time zone,
    fence bigint DEFAULT 0 NOT NULL,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    last_error text,
    paused_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    held_by integer DEFAULT caas.this_process(),
    claim uuid
)
WITH (fillfactor='60');

CREATE TABLE caas.ledger_accounts (
    name text NOT NULL,
    CONSTRAINT ledger_accounts_name_check CHECK (((length(name) >= 1) AND (length(name) <= 100)))
);

CREATE TABLE caas.ledger_entries (
    id bigint NOT NULL,
    payment_id uuid NOT NULL,
    seq integer NOT NULL,
    debit text NOT NULL,
    credit text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT ledger_entries_amount_check CHECK ((amount > 0)),
    CONSTRAINT ledger_entries_check CHECK ((debit <> credit))
);

ALTER TABLE caas.ledger_entries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME caas.ledger_entries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE caas.provider_accounts (
    class text NOT NULL,
    account text NOT NULL
);

CREATE TABLE caas.settlement_lines (
    report_id uuid NOT NULL,
    line_no bigint NOT NULL,
    batch_id text NOT NULL,
    line_id text,
    transaction_id text,
    reference text,
    type text NOT NULL,
    gross bigint NOT NULL,
    fee bigint NOT NULL,
    net bigint NOT NULL,
    currency text NOT NULL,
    booked_at timestamp with time zone NOT NULL,
    value_date date NOT NULL,
    payment_id uuid,
    class text NOT NULL,
    at_stake bigint NOT NULL,
    fee_agreed bigint,
    run_id uuid DEFAULT (current_setting('caas.run_id'::text))::uuid NOT NULL,
    at timestamp with time zone DEFAULT (current_setting('caas.run_at'::text))::timestamp with time zone NOT NULL,
    posts boolean GENERATED ALWAYS AS ((class = ANY (ARRAY['matched'::text, 'given_back'::text, 'partial_settlement'::text, 'fee_drift'::text]))) STORED NOT NULL,
    method text,
    commission bigint,
    markup bigint,
    scheme_fees bigint,
    interchange bigint,
    rate numeric,
    payout_fee bigint,
    payout_unit bigint,
    CONSTRAINT payout_fee_has_its_unit CHECK (((payout_fee IS NULL) = (payout_unit IS NULL))),
    CONSTRAINT settlement_lines_at_stake_check CHECK ((at_stake >= 0)),
    CONSTRAINT settlement_lines_check CHECK (((class = 'fee_drift'::text) OR (fee_agreed IS NULL))),
    CONSTRAINT settlement_lines_check1 CHECK (((gross - fee) = net)),
    CONSTRAINT settlement_lines_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT settlement_lines_line_no_check CHECK ((line_no > 0)),
    CONSTRAINT settlement_lines_payout_unit_check CHECK ((payout_unit > 0)),
    CONSTRAINT settlement_lines_rate_check CHECK ((rate > (0)::numeric)),
    CONSTRAINT settlement_lines_type_check CHECK ((type = ANY (ARRAY['settlement'::text, 'refund'::text, 'refund_reversal'::text, 'chargeback'::text, 'chargeback_reversal'::text, 'fee'::text, 'settlement_failure'::text, 'adjustment'::text, 'cost'::text, 'tax'::text, 'invoice'::text, 'reserve'::text, 'transfer'::text, 'carried'::text, 'conversion'::text])))
);

CREATE VIEW caas.ledger_lines AS
 SELECT ledger_entries.id,
    ledger_entries.payment_id,
    ledger_entries.seq,
    ledger_entries.debit AS account,
    ledger_entries.amount,
    ledger_entries.currency,
    ledger_entries.at
   FROM caas.ledger_entries
UNION ALL
 SELECT ledger_entries.id,
    ledger_entries.payment_id,
    ledger_entries.seq,
    ledger_entries.credit AS account,
    (- ledger_entries.amount) AS amount,
    ledger_entries.currency,
    ledger_entries.at
   FROM caas.ledger_entries
UNION ALL
 SELECT NULL::bigint AS id,
    l.payment_id,
    NULL::integer AS seq,
    leg.account,
    leg.amount,
    l.currency,
    l.at
   FROM (caas.settlement_lines l
     CROSS JOIN LATERAL ( VALUES ('bank'::text,l.net), ('gateway_fees'::text,l.fee), ('settled_funds'::text,(- l.gross))) leg(account, amount))
  WHERE (l.posts AND (leg.amount <> 0))
UNION ALL
 SELECT NULL::bigint AS id,
    NULL::uuid AS payment_id,
    NULL::integer AS seq,
    leg.account,
    leg.amount,
    l.currency,
    l.at
   FROM ((caas.settlement_lines l
     JOIN caas.provider_accounts of ON ((of.class = l.class)))
     CROSS JOIN LATERAL ( VALUES ('bank'::text,l.net), ('gateway_fees'::text,(l.fee * ((l.gross <> 0))::integer)), (of.account,((- l.net) - (l.fee * ((l.gross <> 0))::integer)))) leg(account, amount))
  WHERE (leg.amount <> 0)
UNION ALL
 SELECT discrepancy_entries.id,
    discrepancy_entries.payment_id,
    NULL::integer AS seq,
    discrepancy_entries.debit AS account,
    discrepancy_entries.amount,
    discrepancy_entries.currency,
    discrepancy_entries.at
   FROM caas.discrepancy_entries
UNION ALL
 SELECT discrepancy_entries.id,
    discrepancy_entries.payment_id,
    NULL::integer AS seq,
    discrepancy_entries.credit AS account,
    (- discrepancy_entries.amount) AS amount,
    discrepancy_entries.currency,
    discrepancy_entries.at
   FROM caas.discrepancy_entries
UNION ALL
 SELECT gateway_claim_entries.id,
    NULL::uuid AS payment_id,
    NULL::integer AS seq,
    gateway_claim_entries.debit AS account,
    gateway_claim_entries.amount,
    gateway_claim_entries.currency,
    gateway_claim_entries.at
   FROM caas.gateway_claim_entries
UNION ALL
 SELECT gateway_claim_entries.id,
    NULL::uuid AS payment_id,
    NULL::integer AS seq,
    gateway_claim_entries.credit AS account,
    (- gateway_claim_entries.amount) AS amount,
    gateway_claim_entries.currency,
    gateway_claim_entries.at
   FROM caas.gateway_claim_entries;

CREATE TABLE caas.migrations (
    name text NOT NULL,
    checksum text NOT NULL,
    ran_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE caas.notifications (
    id uuid NOT NULL,
    audience text NOT NULL,
    recipient text NOT NULL,
    template text NOT NULL,
    subject uuid NOT NULL,
    occasion text DEFAULT ''::text NOT NULL,
    facts jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    sent_at timestamp with time zone,
    not_sent_because text,
    read_at timestamp with time zone,
    CONSTRAINT notifications_audience_check CHECK ((audience = ANY (ARRAY['customer'::text, 'dealership'::text, 'operations'::text]))),
    CONSTRAINT notifications_recipient_check CHECK (((length(recipient) >= 1) AND (length(recipient) <= 200)))
)
WITH (fillfactor='80');

CREATE TABLE caas.order_transitions (
    from_state text NOT NULL,
    event text NOT NULL,
    to_state text NOT NULL
);

CREATE TABLE caas.payment_taxes (
    payment_id uuid NOT NULL,
    market text NOT NULL,
    rate bigint NOT NULL,
    supplied_on date NOT NULL,
    gross bigint NOT NULL,
    tax bigint NOT NULL,
    advance uuid,
    recorded_at timestamp with time zone NOT NULL,
    CONSTRAINT payment_taxes_check CHECK (((tax >= 0) AND (tax <= gross))),
    CONSTRAINT payment_taxes_gross_check CHECK ((gross > 0))
);

CREATE VIEW caas.output_tax AS
 SELECT t.market,
    r.goods,
    r.name,
    r.category,
    r.basis_points,
    to_char((t.supplied_on)::timestamp with time zone, 'YYYY-MM'::text) AS month,
    e.currency,
    (sum(
        CASE
            WHEN (e.credit = 'output_vat'::text) THEN e.amount
            ELSE (- e.amount)
        END))::bigint AS tax
   FROM ((caas.ledger_entries e
     JOIN caas.payment_taxes t ON ((t.payment_id = e.payment_id)))
     JOIN caas.tax_rates r ON ((r.id = t.rate)))
  WHERE (('output_vat'::text = e.debit) OR ('output_vat'::text = e.credit))
  GROUP BY t.market, r.goods, r.name, r.category, r.basis_points, (to_char((t.supplied_on)::timestamp with time zone, 'YYYY-MM'::text)), e.currency;

CREATE TABLE caas.payment_transitions (
    event text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL
);

CREATE TABLE caas.processes (
    id integer NOT NULL,
    name text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    gone_at timestamp with time zone,
    CONSTRAINT processes_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200)))
);

CREATE TABLE caas.quarantined_lines (
    report_id uuid NOT NULL,
    place bigint NOT NULL,
    reason text NOT NULL,
    text text NOT NULL,
    found_at timestamp with time zone NOT NULL,
    released_at timestamp with time zone,
    released_by text,
    note text,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    kind text DEFAULT 'unreadable'::text NOT NULL,
    line_no bigint,
    line_id text,
    has_own_id boolean DEFAULT false NOT NULL,
    batch_id text,
    transaction_id text,
    reference text,
    type text,
    CONSTRAINT quarantined_lines_check CHECK (((released_at IS NULL) = (released_by IS NULL))),
    CONSTRAINT quarantined_lines_kind_check CHECK ((kind = ANY (ARRAY['unreadable'::text, 'contradicts'::text, 'repeated'::text])))
);

CREATE TABLE caas.reconciliation_days (
    gateway text NOT NULL,
    day date NOT NULL,
    closed_by_run uuid,
    closed_at timestamp with time zone,
    sealed_at timestamp with time zone,
    sealed_by text,
    CONSTRAINT reconciliation_days_check CHECK (((sealed_at IS NULL) = (sealed_by IS NULL)))
);

CREATE TABLE caas.reconciliation_runs (
    id uuid NOT NULL,
    gateway text NOT NULL,
    day date NOT NULL,
    mode text NOT NULL,
    state text NOT NULL,
    rule_version text NOT NULL,
    engine text,
    as_of timestamp with time zone,
    lines bigint DEFAULT 0 NOT NULL,
    input_hash text,
    output_hash text,
    counts jsonb DEFAULT '{}'::jsonb NOT NULL,
    cleared jsonb DEFAULT '{}'::jsonb NOT NULL,
    because text,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    late_of date,
    CONSTRAINT reconciliation_runs_check CHECK ((late_of < day)),
    CONSTRAINT reconciliation_runs_mode_check CHECK ((mode = ANY (ARRAY['incremental'::text, 'close'::text]))),
    CONSTRAINT reconciliation_runs_state_check CHECK ((state = ANY (ARRAY['running'::text, 'done'::text, 'refused'::text, 'stopped'::text])))
);

CREATE TABLE caas.settlement_reports (
    id uuid NOT NULL,
    gateway text NOT NULL,
    day date NOT NULL,
    part text DEFAULT ''::text NOT NULL,
    report_ref text NOT NULL,
    origin text NOT NULL,
    format text NOT NULL,
    status text NOT NULL,
    line_count bigint,
    gross_total bigint,
    net_total bigint,
    lines_stored bigint DEFAULT 0 NOT NULL,
    gross_stored bigint DEFAULT 0 NOT NULL,
    net_stored bigint DEFAULT 0 NOT NULL,
    resume_cursor text,
    received_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    late_of date,
    resume_rows bigint DEFAULT 0 NOT NULL,
    CONSTRAINT settlement_reports_check CHECK ((late_of < day)),
    CONSTRAINT settlement_reports_line_count_check CHECK ((line_count >= 0)),
    CONSTRAINT settlement_reports_origin_check CHECK ((origin = ANY (ARRAY['gateway'::text, 'file'::text]))),
    CONSTRAINT settlement_reports_resume_rows_check CHECK ((resume_rows >= 0)),
    CONSTRAINT settlement_reports_status_check CHECK ((status = ANY (ARRAY['open'::text, 'closed'::text])))
);

CREATE VIEW caas.reconciliation_verdicts AS
 SELECT d.gateway,
    d.day,
    d.closed_by_run,
    d.closed_at,
    d.sealed_at,
    d.sealed_by,
        CASE
            WHEN (d.sealed_at IS NOT NULL) THEN 'closed'::text
            WHEN ((c.lacking <> ''::text) OR (c.wrong <> ''::text)) THEN 'incomplete'::text
            WHEN ((u.discrepancies + w.decisions) > 0) THEN 'open discrepancies'::text
            ELSE 'closed'::text
        END AS verdict,
        CASE
            WHEN (d.sealed_at IS NOT NULL) THEN NULL::text
            WHEN ((c.lacking <> ''::text) OR (c.wrong <> ''::text)) THEN concat_ws('; '::text, NULLIF(c.lacking, ''::text), NULLIF(c.wrong, ''::text))
            WHEN (u.discrepancies > 0) THEN ('not resolved: '::text || u.discrepancies)
            WHEN (w.decisions > 0) THEN ('not carried out: '::text || w.decisions)
            ELSE NULL::text
        END AS because,
    (c.wrong = ''::text) AS only_unfinished
   FROM (((((caas.reconciliation_days d
     CROSS JOIN LATERAL ( SELECT count(*) FILTER (WHERE (r_1.late_of IS NULL)) AS reports,
            count(*) FILTER (WHERE (r_1.status = 'open'::text)) AS open_reports,
            count(*) FILTER (WHERE (r_1.line_count > ((r_1.lines_stored + ( SELECT count(DISTINCT q_1.line_no) AS count
                   FROM caas.quarantined_lines q_1
                  WHERE ((q_1.report_id = r_1.id) AND (q_1.kind = 'unreadable'::text) AND (q_1.released_by IS DISTINCT FROM 'reconciliation'::text)))) + ( SELECT count(*) AS count
                   FROM caas.quarantined_lines q_2
                  WHERE ((q_2.report_id = r_1.id) AND (q_2.kind = 'repeated'::text) AND (q_2.released_by IS DISTINCT FROM 'reconciliation'::text)))))) AS short_reports
           FROM caas.settlement_reports r_1
          WHERE ((r_1.gateway = d.gateway) AND (r_1.day = d.day))) r)
     CROSS JOIN LATERAL ( SELECT count(*) FILTER (WHERE (q_1.kind = 'unreadable'::text)) AS unreadable,
            count(*) FILTER (WHERE (q_1.kind = 'contradicts'::text)) AS contradicting,
            count(*) FILTER (WHERE (q_1.kind = 'repeated'::text)) AS repeated
           FROM (caas.quarantined_lines q_1
             JOIN caas.settlement_reports s ON ((s.id = q_1.report_id)))
          WHERE ((s.gateway = d.gateway) AND (s.day = d.day) AND (q_1.released_at IS NULL))) q)
     CROSS JOIN LATERAL ( SELECT count(*) AS discrepancies
           FROM caas.discrepancies o
          WHERE ((o.gateway = d.gateway) AND (o.day = d.day) AND (o.status <> 'resolved'::text))) u)
     CROSS JOIN LATERAL ( SELECT count(*) AS decisions
           FROM (caas.jobs w_1
             JOIN caas.discrepancies o ON ((o.id = w_1.subject)))
          WHERE ((w_1.kind = 'carry_out_resolution'::text) AND (o.gateway = d.gateway) AND (o.day = d.day))) w)
     CROSS JOIN LATERAL ( SELECT concat_ws('; '::text,
                CASE
                    WHEN (r.reports = 0) THEN 'no settlement report has come'::text
                    ELSE NULL::text
                END,
                CASE
                    WHEN (r.open_reports > 0) THEN 'a report is still open'::text
                    ELSE NULL::text
                END,
                CASE
                    WHEN (d.closed_by_run IS NULL) THEN 'our records were not compared yet'::text
                    ELSE NULL::text
                END) AS lacking,
            concat_ws('; '::text,
                CASE
                    WHEN (r.short_reports > 0) THEN 'a report lacks lines'::text
                    ELSE NULL::text
                END,
                CASE
                    WHEN (q.unreadable > 0) THEN ('lines that could not be read: '::text || q.unreadable)
                    ELSE NULL::text
                END,
                CASE
                    WHEN (q.contradicting > 0) THEN ('lines that contradict what is stored: '::text || q.contradicting)
                    ELSE NULL::text
                END,
                CASE
                    WHEN (q.repeated > 0) THEN ('rows with an identifier that is there twice: '::text || q.repeated)
                    ELSE NULL::text
                END) AS wrong) c);

CREATE TABLE caas.refusal_codes (
    code text NOT NULL,
    class text NOT NULL,
    CONSTRAINT refusal_codes_class_check CHECK ((class = ANY (ARRAY['decline'::text, 'technical'::text, 'ours'::text])))
);

CREATE TABLE caas.refused_acknowledgements (
    vin text NOT NULL,
    hour timestamp with time zone NOT NULL,
    reason text NOT NULL,
    digest bytea NOT NULL,
    command_id uuid,
    subject uuid,
    times bigint NOT NULL,
    first_at timestamp with time zone NOT NULL,
    last_at timestamp with time zone NOT NULL,
    CONSTRAINT refused_acknowledgements_check CHECK (((command_id IS NULL) = (subject IS NULL))),
    CONSTRAINT refused_acknowledgements_check1 CHECK (((octet_length(digest) > 0) OR (command_id IS NULL))),
    CONSTRAINT refused_acknowledgements_digest_check CHECK ((octet_length(digest) = ANY (ARRAY[0, 32]))),
    CONSTRAINT refused_acknowledgements_reason_check CHECK ((reason = ANY (ARRAY['no such command was ever given'::text, 'it does not say what the command said'::text, 'the vehicle has no key here'::text, 'the signature is not the vehicle''s'::text, 'its topic is no vehicle''s response topic'::text, 'it is too large'::text, 'it is not of the agreed form'::text, 'topic and message name different commands'::text, 'it could not be handled'::text]))),
    CONSTRAINT refused_acknowledgements_times_check CHECK ((times > 0))
)
WITH (fillfactor='80');

CREATE TABLE caas.refused_sign_ins (
    counted_for bytea NOT NULL,
    times integer NOT NULL,
    since timestamp with time zone NOT NULL,
    CONSTRAINT refused_sign_ins_counted_for_check CHECK ((octet_length(counted_for) = 32)),
    CONSTRAINT refused_sign_ins_times_check CHECK ((times > 0))
);

CREATE TABLE caas.removals (
    of_table text NOT NULL,
    before timestamp with time zone NOT NULL,
    rows bigint DEFAULT 0 NOT NULL,
    last_at timestamp with time zone NOT NULL,
    CONSTRAINT removals_rows_check CHECK ((rows >= 0))
);

CREATE TABLE caas.report_mappings (
    name text NOT NULL,
    version integer NOT NULL,
    mapping jsonb NOT NULL,
    kept_by text NOT NULL,
    kept_at timestamp with time zone NOT NULL,
    retired boolean DEFAULT false NOT NULL,
    CONSTRAINT report_mappings_name_check CHECK ((name ~ '^[a-z0-9][a-z0-9_-]{0,39}$'::text)),
    CONSTRAINT report_mappings_version_check CHECK ((version > 0))
);

CREATE TABLE caas.resolution_claims (
    payment_id uuid NOT NULL,
    payment_type text NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    evidence_id uuid,
    evidence_kind text,
    proves_delivery boolean,
    claimed_at timestamp with time zone NOT NULL,
    CONSTRAINT resolution_claims_check CHECK (((kind = 'void'::text) OR ((evidence_id IS NOT NULL) AND (evidence_kind IS NOT NULL) AND (proves_delivery IS TRUE)))),
    CONSTRAINT resolution_claims_check1 CHECK (((kind = 'void'::text) OR (evidence_kind =
CASE payment_type
    WHEN 'service'::text THEN 'vehicle_acknowledgement'::text
    WHEN 'reservation'::text THEN 'reservation_recorded'::text
    WHEN 'final'::text THEN 'order_confirmed'::text
    WHEN 'subscription'::text THEN 'usage_snapshot'::text
    ELSE NULL::text
END))),
    CONSTRAINT resolution_claims_kind_check CHECK ((kind = ANY (ARRAY['capture'::text, 'void'::text])))
);

CREATE TABLE caas.sealed_reports (
    gateway text NOT NULL,
    day date NOT NULL,
    form text NOT NULL,
    content bytea NOT NULL,
    digest bytea NOT NULL,
    sealed_at timestamp with time zone NOT NULL,
    CONSTRAINT sealed_reports_check CHECK ((digest = sha256(content))),
    CONSTRAINT sealed_reports_form_check CHECK ((form = ANY (ARRAY['csv'::text, 'pdf'::text])))
);

CREATE TABLE caas.service_orders (
    id uuid NOT NULL,
    customer uuid NOT NULL,
    vin text NOT NULL,
    service text NOT NULL,
    duration_days integer NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    request_key bytea,
    CONSTRAINT service_orders_amount_check CHECK ((amount > 0)),
    CONSTRAINT service_orders_duration_days_check CHECK (((duration_days >= 1) AND (duration_days <= 3660)))
);

CREATE VIEW caas.service_order_states AS
 SELECT o.id,
    o.customer,
    o.vin,
    o.service,
    o.duration_days,
    o.amount,
    o.currency,
    o.created_at,
    p.id AS payment_id,
    p.state AS payment_state,
    c.kind AS claim,
        CASE
            WHEN (t.state = ANY (ARRAY['granted'::text, 'ended'::text])) THEN t.starts_at
            ELSE NULL::timestamp with time zone
        END AS active_from,
        CASE
            WHEN (t.state = ANY (ARRAY['granted'::text, 'ended'::text])) THEN t.ends_at
            ELSE NULL::timestamp with time zone
        END AS active_until,
        CASE
            WHEN ((t.state = 'ended'::text) AND (t.ended_because = 'desistimiento'::text)) THEN 'withdrawn'::text
            WHEN (t.state = 'ended'::text) THEN 'ended'::text
            WHEN ((t.state = 'granted'::text) AND (t.ends_at <= caas.db_now())) THEN 'expired'::text
            WHEN (t.state = 'granted'::text) THEN 'active'::text
            WHEN (p.id IS NULL) THEN 'awaiting payment'::text
            WHEN (e.id IS NOT NULL) THEN 'active'::text
            WHEN ((c.kind = 'void'::text) OR (p.state = 'Voided'::text)) THEN 'activation failed'::text
            WHEN (p.state = 'Failed'::text) THEN 'cancelled'::text
            WHEN (p.state = 'Authorized'::text) THEN 'activating'::text
            ELSE 'awaiting payment'::text
        END AS state
   FROM ((((caas.service_orders o
     LEFT JOIN caas.entitlement_terms t ON ((t.service_order = o.id)))
     LEFT JOIN LATERAL ( SELECT p_1.id,
            p_1.state
           FROM caas.payments p_1
          WHERE (p_1.subject = o.id)
          ORDER BY p_1.id DESC
         LIMIT 1) p ON (true))
     LEFT JOIN caas.resolution_claims c ON ((c.payment_id = p.id)))
     LEFT JOIN caas.delivery_evidence e ON ((e.id = c.evidence_id)));

CREATE TABLE caas.sessions (
    token_hash bytea NOT NULL,
    account uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    idle_until timestamp with time zone NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    also uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    second_factor boolean DEFAULT false NOT NULL,
    CONSTRAINT sessions_also_check CHECK ((cardinality(also) <= 4)),
    CONSTRAINT sessions_token_hash_check CHECK ((octet_length(token_hash) = 32))
)
WITH (fillfactor='80');

CREATE TABLE caas.sign_in_attempts (
    counted_for bytea NOT NULL,
    failures integer NOT NULL,
    failed_at timestamp with time zone NOT NULL,
    free_at timestamp with time zone NOT NULL,
    CONSTRAINT sign_in_attempts_counted_for_check CHECK ((octet_length(counted_for) = 32)),
    CONSTRAINT sign_in_attempts_failures_check CHECK ((failures > 0))
)
WITH (fillfactor='80');

CREATE TABLE caas.subscription_transitions (
    from_state text NOT NULL,
    event text NOT NULL,
    to_state text NOT NULL
);

CREATE TABLE caas.table_checksums (
    of_table text NOT NULL,
    slot integer NOT NULL,
    rows bigint NOT NULL,
    fixed numeric NOT NULL,
    moving numeric NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE caas.tax_rates ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME caas.tax_rates_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE caas.vehicle_transitions (
    from_state text NOT NULL,
    event text NOT NULL,
    to_state text NOT NULL
);

ALTER TABLE caas.reconciliation_runs
    ADD CONSTRAINT a_run_says_why_it_did_not_end CHECK (((state <> ALL (ARRAY['refused'::text, 'stopped'::text])) OR (because IS NOT NULL))) NOT VALID;

ALTER TABLE ONLY caas.access_credentials
    ADD CONSTRAINT access_credentials_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY caas.accounts
    ADD CONSTRAINT accounts_customer_key UNIQUE (customer);

ALTER TABLE ONLY caas.accounts
    ADD CONSTRAINT accounts_login_key UNIQUE (login);

ALTER TABLE ONLY caas.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.api_keys
    ADD CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash);

ALTER TABLE ONLY caas.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.audit_events
    ADD CONSTRAINT audit_events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.billing_details
    ADD CONSTRAINT billing_details_pkey PRIMARY KEY (customer);

ALTER TABLE ONLY caas.billing_runs
    ADD CONSTRAINT billing_runs_pkey PRIMARY KEY (month);

ALTER TABLE ONLY caas.cases
    ADD CONSTRAINT cases_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.clock
    ADD CONSTRAINT clock_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY caas.credit_note_decisions
    ADD CONSTRAINT credit_note_decisions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.dealership_markets
    ADD CONSTRAINT dealership_markets_pkey PRIMARY KEY (dealership);

ALTER TABLE ONLY caas.delivery_evidence
    ADD CONSTRAINT delivery_evidence_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.delivery_evidence
    ADD CONSTRAINT delivery_evidence_subject_id_kind_proves_delivery_key UNIQUE (subject, id, kind, proves_delivery);

ALTER TABLE ONLY caas.deposit_decisions
    ADD CONSTRAINT deposit_decisions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.discrepancies
    ADD CONSTRAINT discrepancies_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.discrepancy_entries
    ADD CONSTRAINT discrepancy_entries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.discrepancy_events
    ADD CONSTRAINT discrepancy_events_pkey PRIMARY KEY (discrepancy_id, seq);

ALTER TABLE ONLY caas.discrepancy_evidence
    ADD CONSTRAINT discrepancy_evidence_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.discrepancy_resolutions
    ADD CONSTRAINT discrepancy_resolutions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.disputes
    ADD CONSTRAINT disputes_gateway_gateway_dispute_id_key UNIQUE (gateway, gateway_dispute_id);

ALTER TABLE ONLY caas.disputes
    ADD CONSTRAINT disputes_pkey PRIMARY KEY (gateway, id);

ALTER TABLE ONLY caas.document_buyers
    ADD CONSTRAINT document_buyers_pkey PRIMARY KEY (invoice);

ALTER TABLE ONLY caas.documents_due
    ADD CONSTRAINT documents_due_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.entitlement_changes
    ADD CONSTRAINT entitlement_changes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.entitlement_terms
    ADD CONSTRAINT entitlement_terms_payment_id_key UNIQUE (payment_id);

ALTER TABLE ONLY caas.entitlement_terms
    ADD CONSTRAINT entitlement_terms_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.entitlement_terms
    ADD CONSTRAINT entitlement_terms_service_order_key UNIQUE (service_order);

ALTER TABLE ONLY caas.entitlement_terms
    ADD CONSTRAINT entitlement_terms_subscription_key UNIQUE (subscription);

ALTER TABLE ONLY caas.entitlements
    ADD CONSTRAINT entitlements_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.entitlements
    ADD CONSTRAINT entitlements_vin_service_key UNIQUE (vin, service);

ALTER TABLE ONLY caas.event_subscriptions
    ADD CONSTRAINT event_subscriptions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.fee_terms
    ADD CONSTRAINT fee_terms_pkey PRIMARY KEY (gateway, provider, method, kind, valid_from, kept_at);

ALTER TABLE ONLY caas.gateway_accounts
    ADD CONSTRAINT gateway_accounts_pkey PRIMARY KEY (gateway);

ALTER TABLE ONLY caas.gateway_calls
    ADD CONSTRAINT gateway_calls_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.gateway_claim_entries
    ADD CONSTRAINT gateway_claim_entries_discrepancy_id_seq_key UNIQUE (discrepancy_id, seq);

ALTER TABLE ONLY caas.gateway_claim_entries
    ADD CONSTRAINT gateway_claim_entries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.gateway_claim_events
    ADD CONSTRAINT gateway_claim_events_pkey PRIMARY KEY (discrepancy_id, seq);

ALTER TABLE ONLY caas.gateway_claims
    ADD CONSTRAINT gateway_claims_pkey PRIMARY KEY (discrepancy_id);

ALTER TABLE ONLY caas.gateway_customers
    ADD CONSTRAINT gateway_customers_gateway_gateway_customer_key UNIQUE (gateway, gateway_customer);

ALTER TABLE ONLY caas.gateway_customers
    ADD CONSTRAINT gateway_customers_pkey PRIMARY KEY (gateway, customer);

ALTER TABLE ONLY caas.history_heads
    ADD CONSTRAINT history_heads_pkey PRIMARY KEY (head);

ALTER TABLE ONLY caas.history_leaves
    ADD CONSTRAINT history_leaves_pkey PRIMARY KEY (of_table, first_leaf);

ALTER TABLE ONLY caas.history_trees
    ADD CONSTRAINT history_trees_pkey PRIMARY KEY (of_table);

ALTER TABLE ONLY caas.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (caller, key_hash);

ALTER TABLE ONLY caas.identified_lines
    ADD CONSTRAINT identified_lines_pkey PRIMARY KEY (report_id, line_no);

ALTER TABLE ONLY caas.invariant_checks
    ADD CONSTRAINT invariant_checks_pkey PRIMARY KEY (invariant);

ALTER TABLE ONLY caas.invoice_series
    ADD CONSTRAINT invoice_series_pkey PRIMARY KEY (series);

ALTER TABLE ONLY caas.invoices
    ADD CONSTRAINT invoices_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.invoices
    ADD CONSTRAINT invoices_refund_key UNIQUE (refund);

ALTER TABLE ONLY caas.invoices
    ADD CONSTRAINT invoices_replaces_key UNIQUE (replaces);

ALTER TABLE ONLY caas.invoices
    ADD CONSTRAINT invoices_returned_key UNIQUE (returned);

ALTER TABLE ONLY caas.invoices
    ADD CONSTRAINT invoices_series_number_key UNIQUE (series, number);

ALTER TABLE ONLY caas.invoices
    ADD CONSTRAINT invoices_subscription_month_correction_key UNIQUE (subscription, month, correction);

ALTER TABLE ONLY caas.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (kind, subject);

ALTER TABLE ONLY caas.ledger_accounts
    ADD CONSTRAINT ledger_accounts_pkey PRIMARY KEY (name);

ALTER TABLE ONLY caas.ledger_entries
    ADD CONSTRAINT ledger_entries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.markets
    ADD CONSTRAINT markets_pkey PRIMARY KEY (code);

ALTER TABLE ONLY caas.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (name);

ALTER TABLE ONLY caas.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.notifications
    ADD CONSTRAINT notifications_subject_template_recipient_occasion_key UNIQUE (subject, template, recipient, occasion);

ALTER TABLE ONLY caas.tax_rates
    ADD CONSTRAINT one_rate_a_day EXCLUDE USING gist (market WITH =, goods WITH =, valid WITH &&);

ALTER TABLE ONLY caas.order_events
    ADD CONSTRAINT order_events_pkey PRIMARY KEY (order_id, version);

ALTER TABLE ONLY caas.order_transitions
    ADD CONSTRAINT order_transitions_pkey PRIMARY KEY (from_state, event);

ALTER TABLE ONLY caas.orders
    ADD CONSTRAINT orders_delivery_id_key UNIQUE (delivery_id);

ALTER TABLE ONLY caas.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.ota_commands
    ADD CONSTRAINT ota_commands_epoch_key UNIQUE (epoch);

ALTER TABLE ONLY caas.ota_commands
    ADD CONSTRAINT ota_commands_pkey PRIMARY KEY (command_id);

ALTER TABLE ONLY caas.outcome_decisions
    ADD CONSTRAINT outcome_decisions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.payment_events
    ADD CONSTRAINT payment_events_payment_id_source_key UNIQUE (payment_id, source);

ALTER TABLE ONLY caas.payment_events
    ADD CONSTRAINT payment_events_pkey PRIMARY KEY (payment_id, seq);

ALTER TABLE ONLY caas.payment_taxes
    ADD CONSTRAINT payment_taxes_pkey PRIMARY KEY (payment_id);

ALTER TABLE ONLY caas.payment_transitions
    ADD CONSTRAINT payment_transitions_pkey PRIMARY KEY (event, from_state, to_state);

ALTER TABLE ONLY caas.payments
    ADD CONSTRAINT payments_gateway_gateway_transaction_id_key UNIQUE (gateway, gateway_transaction_id);

ALTER TABLE ONLY caas.payments
    ADD CONSTRAINT payments_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.processes
    ADD CONSTRAINT processes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.provider_accounts
    ADD CONSTRAINT provider_accounts_pkey PRIMARY KEY (class);

ALTER TABLE ONLY caas.quarantined_lines
    ADD CONSTRAINT quarantined_lines_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.reconciliation_days
    ADD CONSTRAINT reconciliation_days_pkey PRIMARY KEY (gateway, day);

ALTER TABLE ONLY caas.reconciliation_runs
    ADD CONSTRAINT reconciliation_runs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.recovery_codes
    ADD CONSTRAINT recovery_codes_pkey PRIMARY KEY (code_hash);

ALTER TABLE ONLY caas.refund_decisions
    ADD CONSTRAINT refund_decisions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.refunds
    ADD CONSTRAINT refunds_gateway_gateway_refund_id_key UNIQUE (gateway, gateway_refund_id);

ALTER TABLE ONLY caas.refunds
    ADD CONSTRAINT refunds_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.refusal_codes
    ADD CONSTRAINT refusal_codes_pkey PRIMARY KEY (code);

ALTER TABLE ONLY caas.refused_acknowledgements
    ADD CONSTRAINT refused_acknowledgements_pkey PRIMARY KEY (vin, hour, reason, digest);

ALTER TABLE ONLY caas.refused_sign_ins
    ADD CONSTRAINT refused_sign_ins_pkey PRIMARY KEY (counted_for);

ALTER TABLE ONLY caas.removals
    ADD CONSTRAINT removals_pkey PRIMARY KEY (of_table);

ALTER TABLE ONLY caas.report_mappings
    ADD CONSTRAINT report_mappings_pkey PRIMARY KEY (name, version);

ALTER TABLE ONLY caas.resolution_claims
    ADD CONSTRAINT resolution_claims_pkey PRIMARY KEY (payment_id);

ALTER TABLE ONLY caas.sealed_reports
    ADD CONSTRAINT sealed_reports_pkey PRIMARY KEY (gateway, day, form);

ALTER TABLE ONLY caas.second_factors
    ADD CONSTRAINT second_factors_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.service_orders
    ADD CONSTRAINT service_orders_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.services
    ADD CONSTRAINT services_pkey PRIMARY KEY (code);

ALTER TABLE ONLY caas.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY caas.settlement_lines
    ADD CONSTRAINT settlement_lines_pkey PRIMARY KEY (report_id, line_no);

ALTER TABLE ONLY caas.settlement_reports
    ADD CONSTRAINT settlement_reports_gateway_day_part_key UNIQUE (gateway, day, part);

ALTER TABLE ONLY caas.settlement_reports
    ADD CONSTRAINT settlement_reports_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.sign_in_attempts
    ADD CONSTRAINT sign_in_attempts_pkey PRIMARY KEY (counted_for);

ALTER TABLE ONLY caas.staff_links
    ADD CONSTRAINT staff_links_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY caas.subscription_events
    ADD CONSTRAINT subscription_events_pkey PRIMARY KEY (subscription, version);

ALTER TABLE ONLY caas.subscription_transitions
    ADD CONSTRAINT subscription_transitions_pkey PRIMARY KEY (from_state, event);

ALTER TABLE ONLY caas.subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.table_checksums
    ADD CONSTRAINT table_checksums_pkey PRIMARY KEY (of_table, slot);

ALTER TABLE ONLY caas.tax_rates
    ADD CONSTRAINT tax_rates_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.tax_settings
    ADD CONSTRAINT tax_settings_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY caas.entitlement_terms
    ADD CONSTRAINT terms_never_overlap EXCLUDE USING gist (entitlement WITH =, tstzrange(starts_at, COALESCE(ends_at, 'infinity'::timestamp with time zone)) WITH &&) WHERE ((state = ANY (ARRAY['activating'::text, 'granted'::text, 'ended'::text]))) DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY caas.usage_disputes
    ADD CONSTRAINT usage_disputes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.usage_records
    ADD CONSTRAINT usage_records_pkey PRIMARY KEY (subscription, source_id);

ALTER TABLE ONLY caas.vehicle_assignments
    ADD CONSTRAINT vehicle_assignments_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.vehicle_events
    ADD CONSTRAINT vehicle_events_pkey PRIMARY KEY (vin, version);

ALTER TABLE ONLY caas.vehicle_models
    ADD CONSTRAINT vehicle_models_pkey PRIMARY KEY (model);

ALTER TABLE ONLY caas.vehicle_transitions
    ADD CONSTRAINT vehicle_transitions_pkey PRIMARY KEY (from_state, event);

ALTER TABLE ONLY caas.vehicles
    ADD CONSTRAINT vehicles_pkey PRIMARY KEY (vin);

ALTER TABLE ONLY caas.webhook_inbox
    ADD CONSTRAINT webhook_inbox_gateway_event_id_key UNIQUE (gateway, event_id);

ALTER TABLE ONLY caas.webhook_inbox
    ADD CONSTRAINT webhook_inbox_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.webhook_quarantine
    ADD CONSTRAINT webhook_quarantine_gateway_event_id_body_hash_key UNIQUE (gateway, event_id, body_hash);

ALTER TABLE ONLY caas.webhook_quarantine
    ADD CONSTRAINT webhook_quarantine_pkey PRIMARY KEY (id);

ALTER TABLE ONLY caas.written_off_invoices
    ADD CONSTRAINT written_off_invoices_pkey PRIMARY KEY (invoice);

CREATE INDEX access_credentials_open ON caas.access_credentials USING btree (customer) WHERE (used_at IS NULL);

CREATE INDEX api_keys_of_account ON caas.api_keys USING btree (account) WHERE (revoked_at IS NULL);

CREATE INDEX api_keys_of_name ON caas.api_keys USING btree (name);

CREATE INDEX audit_events_in_time ON caas.audit_events USING brin (at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX audit_events_of_type ON caas.audit_events USING btree (type, id);

CREATE INDEX cases_by_age ON caas.cases USING btree (opened_at);

CREATE INDEX cases_of_kind ON caas.cases USING btree (kind, opened_at);

CREATE INDEX cases_of_subject ON caas.cases USING btree (subject);

CREATE INDEX customers_of_email ON caas.customers USING btree (lower(email));

CREATE INDEX delivery_evidence_in_time ON caas.delivery_evidence USING brin (recorded_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX discrepancies_by_due ON caas.discrepancies USING btree (due_on, id);

CREATE INDEX discrepancies_due_of_day ON caas.discrepancies USING btree (day, due_on, id);

CREATE INDEX discrepancies_in_another_currency ON caas.discrepancies USING btree (payment_id) WHERE (kind = 'currency'::text);

CREATE INDEX discrepancies_of_day ON caas.discrepancies USING btree (gateway, day);

CREATE INDEX discrepancies_of_kind ON caas.discrepancies USING btree (kind, due_on, id);

CREATE INDEX discrepancies_of_line ON caas.discrepancies USING btree (report_id, line_no) WHERE (report_id IS NOT NULL);

CREATE INDEX discrepancies_of_owner ON caas.discrepancies USING btree (owner, due_on, id) WHERE (owner IS NOT NULL);

CREATE INDEX discrepancies_of_payment ON caas.discrepancies USING btree (payment_id) WHERE (payment_id IS NOT NULL);

CREATE INDEX discrepancy_entries_in_time ON caas.discrepancy_entries USING btree (at);

CREATE INDEX discrepancy_entries_of ON caas.discrepancy_entries USING btree (discrepancy_id);

CREATE INDEX discrepancy_evidence_of ON caas.discrepancy_evidence USING btree (discrepancy_id);

CREATE INDEX discrepancy_resolutions_of ON caas.discrepancy_resolutions USING btree (discrepancy_id);

CREATE INDEX discrepancy_resolutions_of_bulk ON caas.discrepancy_resolutions USING btree (bulk_id) WHERE (bulk_id IS NOT NULL);

CREATE INDEX disputes_in_time ON caas.disputes USING btree (updated_at);

CREATE INDEX disputes_of_payment ON caas.disputes USING btree (payment_id);

CREATE INDEX disputes_reported ON caas.webhook_inbox USING btree (((body ->> 'type'::text))) WHERE ((body ->> 'type'::text) = ANY (ARRAY['dispute.opened'::text, 'dispute.won'::text, 'dispute.lost'::text, 'charge.dispute.created'::text, 'charge.dispute.closed'::text]));

CREATE INDEX documents_due_now ON caas.documents_due USING btree (id) WHERE (NOT held);

CREATE INDEX documents_due_of_payment ON caas.documents_due USING btree (payment_id);

CREATE INDEX documents_in_time ON caas.invoices USING btree (issued_at DESC, id DESC);

CREATE INDEX entitlement_changes_of_term ON caas.entitlement_changes USING btree (term);

CREATE UNIQUE INDEX evidence_counts_once ON caas.delivery_evidence USING btree (subject, kind, COALESCE(command_id, subject), status, COALESCE(signature, '\x'::bytea));

CREATE INDEX gateway_calls_in_time ON caas.gateway_calls USING brin (asked_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX gateway_calls_of_payment ON caas.gateway_calls USING btree (payment_id);

CREATE INDEX gateway_calls_of_transaction ON caas.gateway_calls USING btree (transaction_id);

CREATE INDEX gateway_claim_entries_in_time ON caas.gateway_claim_entries USING btree (at);

CREATE INDEX gateway_claims_by_due ON caas.gateway_claims USING btree (gateway, due_on, discrepancy_id);

CREATE INDEX gateway_claims_of_status ON caas.gateway_claims USING btree (gateway, status, due_on, discrepancy_id);

CREATE INDEX history_leaves_of_head ON caas.history_leaves USING btree (of_table, head);

CREATE INDEX idempotency_keys_in_time ON caas.idempotency_keys USING brin (created_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX identified_lines_in_time ON caas.identified_lines USING brin (at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX identified_lines_of_payment ON caas.identified_lines USING btree (payment_id);

CREATE INDEX invoices_in_time ON caas.invoices USING brin (issued_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX invoices_of_customer ON caas.invoices USING btree (customer, issued_at DESC, id DESC);

CREATE INDEX invoices_of_payment ON caas.invoices USING btree (payment_id) WHERE (payment_id IS NOT NULL);

CREATE INDEX invoices_of_subject ON caas.invoices USING btree (COALESCE(subject, subscription), issued_at DESC, id DESC);

CREATE INDEX invoices_of_vehicle ON caas.invoices USING btree (vin);

CREATE INDEX jobs_due ON caas.jobs USING btree (due_at) WHERE (paused_at IS NULL);

CREATE INDEX jobs_of_subject ON caas.jobs USING btree (subject);

CREATE INDEX ledger_entries_in_time ON caas.ledger_entries USING brin (at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX ledger_entries_of_payment ON caas.ledger_entries USING btree (payment_id);

CREATE INDEX losses_in_time ON caas.ledger_entries USING btree (at) WHERE ((debit ~~ 'risk\_loss:%'::text) OR (credit ~~ 'risk\_loss:%'::text));

CREATE INDEX notifications_of_recipient ON caas.notifications USING btree (audience, recipient, id);

CREATE UNIQUE INDEX one_active_assignment_per_order ON caas.vehicle_assignments USING btree (order_id) WHERE active;

CREATE UNIQUE INDEX one_active_assignment_per_vehicle ON caas.vehicle_assignments USING btree (vin) WHERE active;

CREATE UNIQUE INDEX one_correction_at_a_time ON caas.invoices USING btree (corrects, correction) WHERE (corrects IS NOT NULL);

CREATE UNIQUE INDEX one_correction_proposed ON caas.credit_note_decisions USING btree (invoice) WHERE (state = 'proposed'::text);

CREATE UNIQUE INDEX one_deposit_decision ON caas.deposit_decisions USING btree (payment_id) WHERE (state <> 'withdrawn'::text);

CREATE UNIQUE INDEX one_document_per_payment ON caas.invoices USING btree (payment_id) WHERE ((kind = ANY (ARRAY['advance invoice'::text, 'vehicle invoice'::text, 'service invoice'::text])) AND (replaces IS NULL));

CREATE UNIQUE INDEX one_live_payment_per_subject ON caas.payments USING btree (subject, type) WHERE live;

CREATE UNIQUE INDEX one_live_subscription_per_service ON caas.subscriptions USING btree (vin, service) WHERE (state = ANY (ARRAY['verifying payment method'::text, 'activating'::text, 'active'::text]));

CREATE UNIQUE INDEX one_open_case_per_kind ON caas.cases USING btree (kind, subject) WHERE (status = 'open'::text);

CREATE UNIQUE INDEX one_open_dispute_of_a_use ON caas.usage_disputes USING btree (subscription, source_id) WHERE (ended_at IS NULL);

CREATE UNIQUE INDEX one_outcome_decision_at_a_time ON caas.outcome_decisions USING btree (payment_id) WHERE (state = 'proposed'::text);

CREATE UNIQUE INDEX one_pending_term ON caas.entitlement_terms USING btree (entitlement) WHERE (state = ANY (ARRAY['pending'::text, 'activating'::text]));

CREATE UNIQUE INDEX one_proposal_at_a_time ON caas.discrepancy_resolutions USING btree (discrepancy_id) WHERE (state = 'proposed'::text);

CREATE UNIQUE INDEX one_refund_proposal_at_a_time ON caas.refund_decisions USING btree (payment_id) WHERE (state = 'proposed'::text);

CREATE UNIQUE INDEX one_second_factor ON caas.second_factors USING btree (account) WHERE (ended_at IS NULL);

CREATE INDEX open_cases ON caas.cases USING btree (opened_at) WHERE (status = 'open'::text);

CREATE INDEX open_discrepancies ON caas.discrepancies USING btree (payment_id) WHERE (status <> 'resolved'::text);

CREATE INDEX open_gateway_claims ON caas.gateway_claims USING btree (due_on) WHERE (status <> ALL (ARRAY['paid'::text, 'refused'::text, 'withdrawn'::text]));

CREATE INDEX order_events_in_time ON caas.order_events USING brin (at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX orders_of_customer ON caas.orders USING btree (customer, id);

CREATE INDEX orders_of_dealership ON caas.orders USING btree (dealership, id);

CREATE INDEX orders_of_dealership_and_state ON caas.orders USING btree (dealership, state, id);

CREATE INDEX orders_of_factory_order ON caas.orders USING btree (factory_order_id);

CREATE INDEX orders_of_state ON caas.orders USING btree (state, id);

CREATE INDEX orders_of_vehicle ON caas.orders USING btree (vin);

CREATE INDEX ota_commands_in_time ON caas.ota_commands USING brin (created_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX ota_commands_of_subject ON caas.ota_commands USING btree (subject);

CREATE INDEX outcome_decisions_of_payment ON caas.outcome_decisions USING btree (payment_id);

CREATE INDEX payment_events_in_time ON caas.payment_events USING brin (at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX payment_taxes_of_rate ON caas.payment_taxes USING btree (rate, supplied_on);

CREATE INDEX payments_of_customer ON caas.payments USING btree (customer, created_at);

CREATE INDEX payments_of_subject ON caas.payments USING btree (subject);

CREATE INDEX quarantined_lines_of_report ON caas.quarantined_lines USING btree (report_id, place);

CREATE INDEX reconciliation_runs_of_day ON caas.reconciliation_runs USING btree (gateway, day);

CREATE INDEX recovery_codes_of_factor ON caas.recovery_codes USING btree (factor) WHERE (used_at IS NULL);

CREATE INDEX refund_decisions_of_payment ON caas.refund_decisions USING btree (payment_id);

CREATE INDEX refunds_in_time ON caas.refunds USING brin (created_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX refunds_of_payment ON caas.refunds USING btree (payment_id);

CREATE INDEX refused_acknowledgements_of ON caas.refused_acknowledgements USING btree (subject) WHERE (subject IS NOT NULL);

CREATE INDEX refused_sign_ins_by_age ON caas.refused_sign_ins USING btree (since);

CREATE INDEX resolution_claims_in_time ON caas.resolution_claims USING brin (claimed_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX resolved_by_due ON caas.discrepancies USING btree (due_on, id) WHERE (status = 'resolved'::text);

CREATE INDEX resolved_cases ON caas.cases USING btree (opened_at) WHERE (status = 'resolved'::text);

CREATE INDEX service_orders_in_time ON caas.service_orders USING brin (created_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX service_orders_of_customer ON caas.service_orders USING btree (customer, created_at);

CREATE UNIQUE INDEX service_orders_of_request ON caas.service_orders USING btree (request_key) WHERE (request_key IS NOT NULL);

CREATE INDEX service_orders_of_vehicle ON caas.service_orders USING btree (vin);

CREATE INDEX sessions_by_end ON caas.sessions USING btree (ends_at);

CREATE INDEX sessions_of_account ON caas.sessions USING btree (account) WHERE (ended_at IS NULL);

CREATE INDEX settlement_lines_booked ON caas.settlement_lines USING brin (booked_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX settlement_lines_by_id ON caas.settlement_lines USING btree (line_id) WHERE (line_id IS NOT NULL);

CREATE INDEX settlement_lines_in_time ON caas.settlement_lines USING brin (at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX settlement_lines_of_payment ON caas.settlement_lines USING btree (payment_id) WHERE (payment_id IS NOT NULL);

CREATE INDEX sign_in_attempts_by_age ON caas.sign_in_attempts USING btree (failed_at);

CREATE INDEX staff_links_of_account ON caas.staff_links USING btree (account) WHERE (used_at IS NULL);

CREATE INDEX subscription_events_in_time ON caas.subscription_events USING brin (at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX subscriptions_of_customer ON caas.subscriptions USING btree (customer, id);

CREATE UNIQUE INDEX subscriptions_of_request ON caas.subscriptions USING btree (request_key) WHERE (request_key IS NOT NULL);

CREATE INDEX subscriptions_of_state ON caas.subscriptions USING btree (state, id);

CREATE INDEX subscriptions_of_vehicle ON caas.subscriptions USING btree (vin, service);

CREATE INDEX terms_of_entitlement ON caas.entitlement_terms USING btree (entitlement);

CREATE INDEX unknown_lines_by_reference ON caas.settlement_lines USING btree (reference) WHERE ((class = 'missing_in_book'::text) AND (reference IS NOT NULL));

CREATE INDEX unknown_lines_by_transaction ON caas.settlement_lines USING btree (transaction_id) WHERE ((class = 'missing_in_book'::text) AND (transaction_id IS NOT NULL));

CREATE INDEX unlisted_refunds ON caas.discrepancies USING btree (payment_id) WHERE ((kind = 'refund_mismatch'::text) AND (report_id IS NULL));

CREATE INDEX unread_notifications ON caas.notifications USING btree (audience, recipient, id) WHERE (read_at IS NULL);

CREATE INDEX unresolved_by_due ON caas.discrepancies USING btree (due_on, id) WHERE (status <> 'resolved'::text);

CREATE INDEX unresolved_of_day ON caas.discrepancies USING btree (gateway, day) WHERE (status <> 'resolved'::text);

CREATE UNIQUE INDEX usage_is_cancelled_once ON caas.usage_records USING btree (subscription, cancels) WHERE (cancels IS NOT NULL);

CREATE INDEX usage_not_invoiced ON caas.usage_records USING btree (subscription) WHERE (invoice IS NULL);

CREATE INDEX vehicle_assignments_of_customer ON caas.vehicle_assignments USING btree (customer) WHERE active;

CREATE INDEX vehicle_events_in_time ON caas.vehicle_events USING brin (at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX vehicles_in_stock ON caas.vehicles USING btree (model, finished DESC, in_stock_since) WHERE (state = 'sin asignar'::text);

CREATE INDEX vehicles_of_model ON caas.vehicles USING btree (model, vin);

CREATE INDEX vehicles_of_state ON caas.vehicles USING btree (state, vin);

CREATE INDEX vehicles_of_state_and_model ON caas.vehicles USING btree (state, model, vin);

CREATE INDEX webhook_inbox_in_time ON caas.webhook_inbox USING brin (received_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX webhook_inbox_of_reference ON caas.webhook_inbox USING btree (COALESCE(((body -> 'data'::text) ->> 'reference'::text), ((((body -> 'data'::text) -> 'object'::text) -> 'metadata'::text) ->> 'reference'::text)));

CREATE INDEX webhook_inbox_of_transaction ON caas.webhook_inbox USING btree (COALESCE(((body -> 'data'::text) ->> 'transaction_id'::text), (((body -> 'data'::text) -> 'object'::text) ->> 'payment_intent'::text), (((body -> 'data'::text) -> 'object'::text) ->> 'id'::text), ((body -> 'data'::text) ->> 'id'::text)));

CREATE CONSTRAINT TRIGGER agrees_with_its_assignment AFTER INSERT OR UPDATE ON caas.vehicles DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION caas.check_assignment();

ALTER TABLE caas.vehicles ENABLE ALWAYS TRIGGER agrees_with_its_assignment;

CREATE CONSTRAINT TRIGGER agrees_with_its_vehicle AFTER INSERT OR UPDATE ON caas.vehicle_assignments DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION caas.check_assignment();

ALTER TABLE caas.vehicle_assignments ENABLE ALWAYS TRIGGER agrees_with_its_vehicle;

CREATE TRIGGER another_person_resets BEFORE INSERT OR UPDATE ON caas.second_factors FOR EACH ROW WHEN ((new.ended_at IS NOT NULL)) EXECUTE FUNCTION caas.refuse_one_person('account', 'ended_by');

ALTER TABLE caas.second_factors ENABLE ALWAYS TRIGGER another_person_resets;

CREATE TRIGGER answers_a_command AFTER INSERT ON caas.delivery_evidence REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.check_new_evidence();

ALTER TABLE caas.delivery_evidence ENABLE ALWAYS TRIGGER answers_a_command;

CREATE TRIGGER answers_once BEFORE UPDATE ON caas.idempotency_keys FOR EACH ROW WHEN (((old.answer_status IS NOT NULL) OR ((old.caller IS DISTINCT FROM new.caller) OR (old.key_hash IS DISTINCT FROM new.key_hash) OR (old.request_hash IS DISTINCT FROM new.request_hash) OR (old.payment_id IS DISTINCT FROM new.payment_id)))) EXECUTE FUNCTION caas.refuse_other_answer();

ALTER TABLE caas.idempotency_keys ENABLE ALWAYS TRIGGER answers_once;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.audit_events FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.audit_events ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.delivery_evidence FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.delivery_evidence ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.discrepancy_entries FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.discrepancy_entries ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.discrepancy_events FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.discrepancy_events ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.discrepancy_evidence FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.discrepancy_evidence ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.entitlement_changes FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.entitlement_changes ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.fee_terms FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.fee_terms ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.gateway_calls FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.gateway_calls ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.gateway_claim_entries FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.gateway_claim_entries ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.gateway_claim_events FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.gateway_claim_events ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.gateway_customers FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.gateway_customers ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.history_heads FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.history_heads ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.history_leaves FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.history_leaves ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.identified_lines FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.identified_lines ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.invoices FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.invoices ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.ledger_entries FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.ledger_entries ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.order_events FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.order_events ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.ota_commands FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.ota_commands ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.payment_events FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.payment_events ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.payment_taxes FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.payment_taxes ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.report_mappings FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.report_mappings ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.resolution_claims FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.resolution_claims ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.sealed_reports FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.sealed_reports ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.service_orders FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.service_orders ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.settlement_lines FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.settlement_lines ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.subscription_events FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.subscription_events ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.vehicle_events FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.vehicle_events ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.webhook_inbox FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.webhook_inbox ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.webhook_quarantine FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.webhook_quarantine ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON caas.written_off_invoices FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.written_off_invoices ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER are_the_rules BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON caas.ledger_accounts FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_other_transitions();

ALTER TABLE caas.ledger_accounts ENABLE ALWAYS TRIGGER are_the_rules;

CREATE TRIGGER are_the_rules BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON caas.order_transitions FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_other_transitions();

ALTER TABLE caas.order_transitions ENABLE ALWAYS TRIGGER are_the_rules;

CREATE TRIGGER are_the_rules BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON caas.payment_transitions FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_other_transitions();

ALTER TABLE caas.payment_transitions ENABLE ALWAYS TRIGGER are_the_rules;

CREATE TRIGGER are_the_rules BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON caas.provider_accounts FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_other_transitions();

ALTER TABLE caas.provider_accounts ENABLE ALWAYS TRIGGER are_the_rules;

CREATE TRIGGER are_the_rules BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON caas.refusal_codes FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_other_transitions();

ALTER TABLE caas.refusal_codes ENABLE ALWAYS TRIGGER are_the_rules;

CREATE TRIGGER are_the_rules BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON caas.subscription_transitions FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_other_transitions();

ALTER TABLE caas.subscription_transitions ENABLE ALWAYS TRIGGER are_the_rules;

CREATE TRIGGER are_the_rules BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON caas.vehicle_transitions FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_other_transitions();

ALTER TABLE caas.vehicle_transitions ENABLE ALWAYS TRIGGER are_the_rules;

CREATE TRIGGER begins_as_drawn AFTER INSERT ON caas.payments REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.check_new_payments();

ALTER TABLE caas.payments ENABLE ALWAYS TRIGGER begins_as_drawn;

CREATE TRIGGER begins_in_stock AFTER INSERT ON caas.vehicles FOR EACH ROW EXECUTE FUNCTION caas.write_vehicle_transition();

ALTER TABLE caas.vehicles ENABLE ALWAYS TRIGGER begins_in_stock;

CREATE TRIGGER begins_unpaid AFTER INSERT ON caas.orders FOR EACH ROW EXECUTE FUNCTION caas.write_order_transition();

ALTER TABLE caas.orders ENABLE ALWAYS TRIGGER begins_unpaid;

CREATE TRIGGER begins_unverified AFTER INSERT ON caas.subscriptions FOR EACH ROW EXECUTE FUNCTION caas.write_subscription_transition();

ALTER TABLE caas.subscriptions ENABLE ALWAYS TRIGGER begins_unverified;

CREATE TRIGGER belongs_to_a_payment AFTER INSERT ON caas.ledger_entries REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.check_new_entries();

ALTER TABLE caas.ledger_entries ENABLE ALWAYS TRIGGER belongs_to_a_payment;

CREATE TRIGGER cancels_all_of_it BEFORE INSERT ON caas.usage_records FOR EACH ROW WHEN ((new.cancels IS NOT NULL)) EXECUTE FUNCTION caas.check_cancelled_use();

ALTER TABLE caas.usage_records ENABLE ALWAYS TRIGGER cancels_all_of_it;

CREATE TRIGGER cancels_for_ever BEFORE UPDATE ON caas.usage_records FOR EACH ROW WHEN ((old.cancels IS DISTINCT FROM new.cancels)) EXECUTE FUNCTION caas.refuse_other_usage();

ALTER TABLE caas.usage_records ENABLE ALWAYS TRIGGER cancels_for_ever;

CREATE TRIGGER changes_as_sold BEFORE UPDATE ON caas.entitlement_terms FOR EACH ROW WHEN (((old.id IS DISTINCT FROM new.id) OR (old.entitlement IS DISTINCT FROM new.entitlement) OR (old.customer IS DISTINCT FROM new.customer) OR (old.service_order IS DISTINCT FROM new.service_order) OR (old.subscription IS DISTINCT FROM new.subscription) OR (old.duration_days IS DISTINCT FROM new.duration_days) OR (((old.state <> 'pending'::text) OR (new.state <> 'activating'::text)) AND ((old.state <> 'pending'::text) OR (new.state <> 'cancelled'::text)) AND ((old.state <> 'activating'::text) OR (new.state <> 'granted'::text)) AND ((old.state <> 'activating'::text) OR (new.state <> 'cancelled'::text)) AND ((old.state <> 'activating'::text) OR (new.state <> 'activating'::text)) AND ((old.state <> 'granted'::text) OR (new.state <> 'granted'::text)) AND ((old.state <> 'granted'::text) OR (new.state <> 'ended'::text)) AND ((old.state <> 'cancelled'::text) OR (new.state <> 'pending'::text))) OR ((old.state = 'cancelled'::text) AND (old.service_order IS NULL)) OR ((old.state = 'granted'::text) AND (new.payment_id IS DISTINCT FROM old.payment_id)))) EXECUTE FUNCTION caas.refuse_other_term();

ALTER TABLE caas.entitlement_terms ENABLE ALWAYS TRIGGER changes_as_sold;

CREATE TRIGGER changes_only_by_transition BEFORE UPDATE ON caas.payments FOR EACH ROW WHEN (((new.gateway = old.gateway) AND ((new.version <> (old.version + 1)) OR (new.came_from IS DISTINCT FROM old.state) OR ((old.gateway_transaction_id IS NOT NULL) AND (new.gateway_transaction_id IS DISTINCT FROM old.gateway_transaction_id))) AND ((new.payment_method IS NOT NULL) OR (new.return_url IS NOT NULL) OR ((new.state IS DISTINCT FROM old.state) OR (new.came_from IS DISTINCT FROM old.came_from) OR (new.outcome IS DISTINCT FROM old.outcome) OR (new.version IS DISTINCT FROM old.version) OR (new.event_hash IS DISTINCT FROM old.event_hash) OR (new.decline_code IS DISTINCT FROM old.decline_code) OR (new.gateway_transaction_id IS DISTINCT FROM old.gateway_transaction_id) OR (new.hosted_page_url IS DISTINCT FROM old.hosted_page_url) OR (new.capture_before IS DISTINCT FROM old.capture_before) OR (new.authorized_amount IS DISTINCT FROM old.authorized_amount) OR (new.captured_amount IS DISTINCT FROM old.captured_amount) OR (new.settled_amount IS DISTINCT FROM old.settled_amount) OR (new.refunded_amount IS DISTINCT FROM old.refunded_amount) OR (new.disputed_amount IS DISTINCT FROM old.disputed_amount) OR (new.updated_at IS DISTINCT FROM old.updated_at))))) EXECUTE FUNCTION caas.refuse_rewrite();

ALTER TABLE caas.payments ENABLE ALWAYS TRIGGER changes_only_by_transition;

CREATE CONSTRAINT TRIGGER changes_with_its_event AFTER INSERT OR UPDATE ON caas.discrepancies DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION caas.check_discrepancy();

ALTER TABLE caas.discrepancies ENABLE ALWAYS TRIGGER changes_with_its_event;

CREATE CONSTRAINT TRIGGER changes_with_its_event AFTER INSERT OR UPDATE ON caas.gateway_claims DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION caas.check_gateway_claim();

ALTER TABLE caas.gateway_claims ENABLE ALWAYS TRIGGER changes_with_its_event;

CREATE TRIGGER checksum_of_deleted AFTER DELETE ON caas.billing_details REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_billing_details();

CREATE TRIGGER checksum_of_deleted AFTER DELETE ON caas.gateway_calls REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_gateway_calls();

CREATE TRIGGER checksum_of_deleted AFTER DELETE ON caas.webhook_inbox REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_webhook_inbox();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.access_credentials REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_access_credentials();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.accounts REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_accounts();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.api_keys REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_api_keys();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.audit_events REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_audit_events();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.billing_details REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_billing_details();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.billing_runs REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_billing_runs();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.cases REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_cases();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.credit_note_decisions REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_credit_note_decisions();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.customers REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_customers();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.dealership_markets REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_dealership_markets();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.deposit_decisions REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_deposit_decisions();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.disputes REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_disputes();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.event_subscriptions REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_event_subscriptions();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.gateway_calls REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_gateway_calls();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.orders REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_orders();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.outcome_decisions REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_outcome_decisions();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.recovery_codes REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_recovery_codes();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.refund_decisions REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_refund_decisions();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.refunds REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_refunds();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.second_factors REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_second_factors();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.services REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_services();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.staff_links REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_staff_links();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.subscriptions REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_subscriptions();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.tax_rates REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_tax_rates();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.tax_settings REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_tax_settings();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.usage_disputes REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_usage_disputes();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.usage_records REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_usage_records();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.vehicle_assignments REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_vehicle_assignments();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.vehicle_models REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_vehicle_models();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.vehicles REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_vehicles();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.webhook_inbox REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_webhook_inbox();

CREATE TRIGGER checksum_of_inserted AFTER INSERT ON caas.webhook_quarantine REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_webhook_quarantine();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.access_credentials REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_access_credentials();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.accounts REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_accounts();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.api_keys REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_api_keys();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.billing_details REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_billing_details();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.billing_runs REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_billing_runs();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.cases REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_cases();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.credit_note_decisions REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_credit_note_decisions();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.customers REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_customers();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.dealership_markets REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_dealership_markets();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.deposit_decisions REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_deposit_decisions();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.disputes REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_disputes();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.event_subscriptions REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_event_subscriptions();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.orders REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_orders();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.outcome_decisions REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_outcome_decisions();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.recovery_codes REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_recovery_codes();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.refund_decisions REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_refund_decisions();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.refunds REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_refunds();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.second_factors REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_second_factors();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.services REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_services();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.staff_links REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_staff_links();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.subscriptions REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_subscriptions();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.tax_rates REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_tax_rates();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.tax_settings REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_tax_settings();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.usage_disputes REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_usage_disputes();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.usage_records REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_usage_records();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.vehicle_assignments REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_vehicle_assignments();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.vehicle_models REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_vehicle_models();

CREATE TRIGGER checksum_of_updated AFTER UPDATE ON caas.vehicles REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.sum_vehicles();

CREATE TRIGGER ends_older BEFORE INSERT ON caas.access_credentials FOR EACH ROW EXECUTE FUNCTION caas.end_older_credentials();

ALTER TABLE caas.access_credentials ENABLE ALWAYS TRIGGER ends_older;

CREATE TRIGGER ends_older BEFORE INSERT ON caas.staff_links FOR EACH ROW EXECUTE FUNCTION caas.end_older_staff_links();

ALTER TABLE caas.staff_links ENABLE ALWAYS TRIGGER ends_older;

CREATE TRIGGER factor_stays BEFORE UPDATE ON caas.sessions FOR EACH ROW WHEN ((new.second_factor IS DISTINCT FROM old.second_factor)) EXECUTE FUNCTION caas.refuse_late_factor();

ALTER TABLE caas.sessions ENABLE ALWAYS TRIGGER factor_stays;

CREATE TRIGGER fails_late_with_its_event BEFORE UPDATE OF state ON caas.refunds FOR EACH ROW WHEN (((old.state = 'succeeded'::text) AND (new.state = 'failed'::text))) EXECUTE FUNCTION caas.check_returned();

ALTER TABLE caas.refunds ENABLE ALWAYS TRIGGER fails_late_with_its_event;

CREATE TRIGGER follows_the_last BEFORE INSERT OR UPDATE ON caas.tax_rates FOR EACH ROW EXECUTE FUNCTION caas.refuse_other_rate();

ALTER TABLE caas.tax_rates ENABLE ALWAYS TRIGGER follows_the_last;

CREATE TRIGGER has_its_term AFTER UPDATE ON caas.subscriptions FOR EACH ROW WHEN ((old.state <> new.state)) EXECUTE FUNCTION caas.follow_subscription();

ALTER TABLE caas.subscriptions ENABLE ALWAYS TRIGGER has_its_term;

CREATE CONSTRAINT TRIGGER has_no_gap AFTER INSERT OR UPDATE ON caas.invoice_series DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION caas.check_series();

ALTER TABLE caas.invoice_series ENABLE ALWAYS TRIGGER has_no_gap;

CREATE TRIGGER is_about_one_thing BEFORE UPDATE ON caas.cases FOR EACH ROW WHEN (((old.status = 'resolved'::text) OR ((old.id IS DISTINCT FROM new.id) OR (old.kind IS DISTINCT FROM new.kind) OR (old.subject IS DISTINCT FROM new.subject) OR (old.sentence IS DISTINCT FROM new.sentence) OR (old.facts IS DISTINCT FROM new.facts) OR (old.opened_at IS DISTINCT FROM new.opened_at)))) EXECUTE FUNCTION caas.refuse_other_case();

ALTER TABLE caas.cases ENABLE ALWAYS TRIGGER is_about_one_thing;

CREATE TRIGGER is_about_one_thing BEFORE UPDATE ON caas.discrepancies FOR EACH ROW WHEN (((new.id IS DISTINCT FROM old.id) OR (new.gateway IS DISTINCT FROM old.gateway) OR (new.day IS DISTINCT FROM old.day) OR (new.amount IS DISTINCT FROM old.amount) OR (new.currency IS DISTINCT FROM old.currency) OR (new.payment_id IS DISTINCT FROM old.payment_id) OR (new.report_id IS DISTINCT FROM old.report_id) OR (new.line_no IS DISTINCT FROM old.line_no) OR (new.opened_at IS DISTINCT FROM old.opened_at) OR (new.version <> (old.version + 1)) OR ((new.kind <> old.kind) AND (NOT ((old.kind = 'delayed_settlement'::text) AND (new.kind = 'missing_at_gateway'::text)))))) EXECUTE FUNCTION caas.refuse_other_discrepancy();

ALTER TABLE caas.discrepancies ENABLE ALWAYS TRIGGER is_about_one_thing;

CREATE TRIGGER is_at_one_gateway BEFORE UPDATE OF gateway ON caas.payments FOR EACH ROW EXECUTE FUNCTION caas.check_gateway_change();

ALTER TABLE caas.payments ENABLE ALWAYS TRIGGER is_at_one_gateway;

CREATE TRIGGER is_billed_once BEFORE UPDATE ON caas.usage_records FOR EACH ROW WHEN (((old.invoice IS NOT NULL) OR ((old.subscription IS DISTINCT FROM new.subscription) OR (old.source_id IS DISTINCT FROM new.source_id) OR (old.unit IS DISTINCT FROM new.unit) OR (old.quantity IS DISTINCT FROM new.quantity) OR (old.at IS DISTINCT FROM new.at) OR (old.recorded_at IS DISTINCT FROM new.recorded_at)))) EXECUTE FUNCTION caas.refuse_other_usage();

ALTER TABLE caas.usage_records ENABLE ALWAYS TRIGGER is_billed_once;

CREATE CONSTRAINT TRIGGER is_cancelled_by_a_decline AFTER UPDATE OF state ON caas.subscriptions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((new.event = 'Mark Subscription Cancelled'::text) AND (old.state <> new.state))) EXECUTE FUNCTION caas.check_cancelled_by();

ALTER TABLE caas.subscriptions ENABLE ALWAYS TRIGGER is_cancelled_by_a_decline;

CREATE TRIGGER is_credited AFTER INSERT ON caas.refunds FOR EACH ROW WHEN ((new.state = 'succeeded'::text)) EXECUTE FUNCTION caas.note_credit_note_due();

ALTER TABLE caas.refunds ENABLE ALWAYS TRIGGER is_credited;

CREATE TRIGGER is_credited_in_the_end AFTER UPDATE OF state ON caas.refunds FOR EACH ROW WHEN (((new.state = 'succeeded'::text) AND (old.state <> 'succeeded'::text))) EXECUTE FUNCTION caas.note_credit_note_due();

ALTER TABLE caas.refunds ENABLE ALWAYS TRIGGER is_credited_in_the_end;

CREATE TRIGGER is_debited_when_it_returns AFTER UPDATE OF state ON caas.refunds FOR EACH ROW WHEN (((old.state = 'succeeded'::text) AND (new.state = 'failed'::text))) EXECUTE FUNCTION caas.note_debit_note_due();

ALTER TABLE caas.refunds ENABLE ALWAYS TRIGGER is_debited_when_it_returns;

CREATE TRIGGER is_decided_once BEFORE UPDATE ON caas.credit_note_decisions FOR EACH ROW WHEN (((old.state <> 'proposed'::text) OR ((new.id IS DISTINCT FROM old.id) OR (new.invoice IS DISTINCT FROM old.invoice) OR (new.gross IS DISTINCT FROM old.gross) OR (new.reason IS DISTINCT FROM old.reason) OR (new.term IS DISTINCT FROM old.term) OR (new.proposed_by IS DISTINCT FROM old.proposed_by) OR (new.proposed_account IS DISTINCT FROM old.proposed_account) OR (new.proposed_at IS DISTINCT FROM old.proposed_at)))) EXECUTE FUNCTION caas.refuse_other_decision();

ALTER TABLE caas.credit_note_decisions ENABLE ALWAYS TRIGGER is_decided_once;

CREATE TRIGGER is_decided_once BEFORE UPDATE ON caas.deposit_decisions FOR EACH ROW WHEN (((old.state <> 'proposed'::text) OR ((new.id IS DISTINCT FROM old.id) OR (new.payment_id IS DISTINCT FROM old.payment_id) OR (new.decision IS DISTINCT FROM old.decision) OR (new.note IS DISTINCT FROM old.note) OR (new.needs_second IS DISTINCT FROM old.needs_second) OR (new.proposed_by IS DISTINCT FROM old.proposed_by) OR (new.proposed_at IS DISTINCT FROM old.proposed_at) OR (new.by_policy IS DISTINCT FROM old.by_policy)))) EXECUTE FUNCTION caas.refuse_other_decision();

ALTER TABLE caas.deposit_decisions ENABLE ALWAYS TRIGGER is_decided_once;

CREATE TRIGGER is_decided_once BEFORE UPDATE ON caas.discrepancy_resolutions FOR EACH ROW WHEN (((old.state <> 'proposed'::text) OR ((new.id IS DISTINCT FROM old.id) OR (new.discrepancy_id IS DISTINCT FROM old.discrepancy_id) OR (new.resolution IS DISTINCT FROM old.resolution) OR (new.note IS DISTINCT FROM old.note) OR (new.amount IS DISTINCT FROM old.amount) OR (new.currency IS DISTINCT FROM old.currency) OR (new.needs_second_approver IS DISTINCT FROM old.needs_second_approver) OR (new.proposed_by IS DISTINCT FROM old.proposed_by) OR (new.proposed_at IS DISTINCT FROM old.proposed_at)))) EXECUTE FUNCTION caas.refuse_other_resolution();

ALTER TABLE caas.discrepancy_resolutions ENABLE ALWAYS TRIGGER is_decided_once;

CREATE TRIGGER is_decided_once BEFORE UPDATE ON caas.outcome_decisions FOR EACH ROW WHEN (((old.state <> 'proposed'::text) OR ((new.id IS DISTINCT FROM old.id) OR (new.payment_id IS DISTINCT FROM old.payment_id) OR (new.note IS DISTINCT FROM old.note) OR (new.proposed_by IS DISTINCT FROM old.proposed_by) OR (new.proposed_at IS DISTINCT FROM old.proposed_at)))) EXECUTE FUNCTION caas.refuse_other_decision();

ALTER TABLE caas.outcome_decisions ENABLE ALWAYS TRIGGER is_decided_once;

CREATE TRIGGER is_decided_once BEFORE UPDATE ON caas.refund_decisions FOR EACH ROW WHEN (((old.state <> 'proposed'::text) OR ((new.id IS DISTINCT FROM old.id) OR (new.payment_id IS DISTINCT FROM old.payment_id) OR (new.amount IS DISTINCT FROM old.amount) OR (new.reason IS DISTINCT FROM old.reason) OR (new.term IS DISTINCT FROM old.term) OR (new.note IS DISTINCT FROM old.note) OR (new.needs_second IS DISTINCT FROM old.needs_second) OR (new.proposed_by IS DISTINCT FROM old.proposed_by) OR (new.proposed_account IS DISTINCT FROM old.proposed_account) OR (new.proposed_at IS DISTINCT FROM old.proposed_at)))) EXECUTE FUNCTION caas.refuse_other_decision();

ALTER TABLE caas.refund_decisions ENABLE ALWAYS TRIGGER is_decided_once;

CREATE TRIGGER is_documented AFTER INSERT ON caas.payment_taxes REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.note_documents_due();

ALTER TABLE caas.payment_taxes ENABLE ALWAYS TRIGGER is_documented;

CREATE TRIGGER is_encrypted BEFORE INSERT ON caas.event_subscriptions FOR EACH ROW WHEN ((new.secret IS NOT NULL)) EXECUTE FUNCTION caas.refuse_plain_secret();

ALTER TABLE caas.event_subscriptions ENABLE ALWAYS TRIGGER is_encrypted;

CREATE TRIGGER is_finished_once BEFORE UPDATE ON caas.billing_runs FOR EACH ROW WHEN (((NOT ((old.finished_at IS NOT NULL) AND (new.finished_at IS NULL) AND (new.invoiced_at IS NULL) AND (new.seen = 0) AND (new.restarted = (old.restarted + 1)) AND (NOT ((new.month IS DISTINCT FROM old.month) OR (new.series IS DISTINCT FROM old.series) OR (new.first_number IS DISTINCT FROM old.first_number) OR (new.started_at IS DISTINCT FROM old.started_at) OR (new.invoices IS DISTINCT FROM old.invoices) OR (new.charges IS DISTINCT FROM old.charges) OR (new.charged_series IS DISTINCT FROM old.charged_series) OR (new.charged_number IS DISTINCT FROM old.charged_number))))) AND ((old.finished_at IS NOT NULL) OR (new.restarted <> old.restarted) OR ((old.month IS DISTINCT FROM new.month) OR (old.series IS DISTINCT FROM new.series) OR (old.first_number IS DISTINCT FROM new.first_number) OR (old.started_at IS DISTINCT FROM new.started_at)) OR ((old.invoiced_at IS NOT NULL) AND (new.invoiced_at IS DISTINCT FROM old.invoiced_at)) OR (new.seen < old.seen) OR (new.invoices < old.invoices) OR (new.charges < old.charges)))) EXECUTE FUNCTION caas.refuse_other_run();

ALTER TABLE caas.billing_runs ENABLE ALWAYS TRIGGER is_finished_once;

CREATE TRIGGER is_finished_once BEFORE UPDATE ON caas.reconciliation_runs FOR EACH ROW WHEN (((old.finished_at IS NOT NULL) OR ((old.id IS DISTINCT FROM new.id) OR (old.gateway IS DISTINCT FROM new.gateway) OR (old.day IS DISTINCT FROM new.day) OR (old.mode IS DISTINCT FROM new.mode) OR (old.rule_version IS DISTINCT FROM new.rule_version) OR (old.started_at IS DISTINCT FROM new.started_at)))) EXECUTE FUNCTION caas.refuse_other_run();

ALTER TABLE caas.reconciliation_runs ENABLE ALWAYS TRIGGER is_finished_once;

CREATE TRIGGER is_for_one_thing BEFORE UPDATE ON caas.disputes FOR EACH ROW WHEN (((new.id IS DISTINCT FROM old.id) OR (new.payment_id IS DISTINCT FROM old.payment_id) OR (new.gateway IS DISTINCT FROM old.gateway) OR (new.claimed_currency IS DISTINCT FROM old.claimed_currency) OR (new.currency IS DISTINCT FROM old.currency) OR (new.reason IS DISTINCT FROM old.reason) OR (new.origin IS DISTINCT FROM old.origin) OR (new.opened_at IS DISTINCT FROM old.opened_at) OR ((new.claimed_amount <> old.claimed_amount) AND ((old.state <> ALL (ARRAY['won'::text, 'reversed'::text])) OR (new.amended <> (old.amended + 1)))) OR ((old.gateway_dispute_id IS NOT NULL) AND (new.gateway_dispute_id IS DISTINCT FROM old.gateway_dispute_id)))) EXECUTE FUNCTION caas.refuse_other_refund();

ALTER TABLE caas.disputes ENABLE ALWAYS TRIGGER is_for_one_thing;

CREATE TRIGGER is_for_one_thing BEFORE UPDATE ON caas.orders FOR EACH ROW WHEN (((old.id IS DISTINCT FROM new.id) OR (old.customer IS DISTINCT FROM new.customer) OR (old.model IS DISTINCT FROM new.model) OR (old.dealership IS DISTINCT FROM new.dealership) OR (old.deposit IS DISTINCT FROM new.deposit) OR (old.price IS DISTINCT FROM new.price) OR (old.currency IS DISTINCT FROM new.currency) OR (old.created_at IS DISTINCT FROM new.created_at) OR ((old.vin IS NOT NULL) AND (new.vin IS DISTINCT FROM old.vin)) OR ((old.delivery_id IS NOT NULL) AND (new.delivery_id IS DISTINCT FROM old.delivery_id)) OR ((old.plate IS NOT NULL) AND (new.plate IS DISTINCT FROM old.plate)) OR ((old.factory_order_id IS NOT NULL) AND (new.factory_order_id IS DISTINCT FROM old.factory_order_id)) OR ((old.registered_at IS NOT NULL) AND (new.registered_at IS DISTINCT FROM old.registered_at)) OR ((old.delivered_at IS NOT NULL) AND (new.delivered_at IS DISTINCT FROM old.delivered_at)))) EXECUTE FUNCTION caas.refuse_other_order();

ALTER TABLE caas.orders ENABLE ALWAYS TRIGGER is_for_one_thing;

CREATE TRIGGER is_for_one_thing BEFORE UPDATE OF id, type, subject, customer, amount, currency, created_at ON caas.payments FOR EACH ROW EXECUTE FUNCTION caas.refuse_rewrite();

ALTER TABLE caas.payments ENABLE ALWAYS TRIGGER is_for_one_thing;

CREATE TRIGGER is_for_one_thing BEFORE UPDATE ON caas.refunds FOR EACH ROW WHEN (((new.id IS DISTINCT FROM old.id) OR (new.payment_id IS DISTINCT FROM old.payment_id) OR (new.gateway IS DISTINCT FROM old.gateway) OR (new.amount IS DISTINCT FROM old.amount) OR (new.currency IS DISTINCT FROM old.currency) OR (new.reason IS DISTINCT FROM old.reason) OR (new.requested_by IS DISTINCT FROM old.requested_by) OR (new.created_at IS DISTINCT FROM old.created_at) OR ((old.gateway_refund_id IS NOT NULL) AND (new.gateway_refund_id IS DISTINCT FROM old.gateway_refund_id)) OR ((old.state = 'failed'::text) AND (new.state <> 'failed'::text)) OR ((old.state = 'succeeded'::text) AND (new.state <> ALL (ARRAY['succeeded'::text, 'failed'::text]))))) EXECUTE FUNCTION caas.refuse_other_refund();

ALTER TABLE caas.refunds ENABLE ALWAYS TRIGGER is_for_one_thing;

CREATE TRIGGER is_kept BEFORE DELETE ON caas.idempotency_keys FOR EACH ROW EXECUTE FUNCTION caas.refuse_other_answer();

ALTER TABLE caas.idempotency_keys ENABLE ALWAYS TRIGGER is_kept;

CREATE CONSTRAINT TRIGGER is_lost_by_a_decline AFTER UPDATE OF state ON caas.orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((new.state = 'reservation lost'::text) AND (old.state <> new.state))) EXECUTE FUNCTION caas.check_lost();

ALTER TABLE caas.orders ENABLE ALWAYS TRIGGER is_lost_by_a_decline;

CREATE TRIGGER is_nobodys_who_was_erased AFTER INSERT ON caas.orders REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.check_not_erased();

ALTER TABLE caas.orders ENABLE ALWAYS TRIGGER is_nobodys_who_was_erased;

CREATE TRIGGER is_nobodys_who_was_erased AFTER INSERT ON caas.subscriptions REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.check_not_erased();

ALTER TABLE caas.subscriptions ENABLE ALWAYS TRIGGER is_nobodys_who_was_erased;

CREATE TRIGGER is_of_its_payment AFTER INSERT ON caas.resolution_claims REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.check_new_claims();

ALTER TABLE caas.resolution_claims ENABLE ALWAYS TRIGGER is_of_its_payment;

CREATE TRIGGER is_of_one_day BEFORE UPDATE ON caas.settlement_reports FOR EACH ROW WHEN (((old.id IS DISTINCT FROM new.id) OR (old.gateway IS DISTINCT FROM new.gateway) OR (old.day IS DISTINCT FROM new.day) OR (old.part IS DISTINCT FROM new.part) OR (old.origin IS DISTINCT FROM new.origin) OR (old.format IS DISTINCT FROM new.format) OR (old.received_at IS DISTINCT FROM new.received_at))) EXECUTE FUNCTION caas.refuse_other_report();

ALTER TABLE caas.settlement_reports ENABLE ALWAYS TRIGGER is_of_one_day;

CREATE TRIGGER is_one_thing BEFORE UPDATE ON caas.vehicles FOR EACH ROW WHEN (((old.vin IS DISTINCT FROM new.vin) OR (old.model IS DISTINCT FROM new.model) OR (old.created_at IS DISTINCT FROM new.created_at) OR ((old.public_key IS NOT NULL) AND (new.public_key IS DISTINCT FROM old.public_key)) OR (old.finished AND (NOT new.finished)))) EXECUTE FUNCTION caas.refuse_other_vehicle();

ALTER TABLE caas.vehicles ENABLE ALWAYS TRIGGER is_one_thing;

CREATE CONSTRAINT TRIGGER is_paid_for AFTER UPDATE OF state ON caas.orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((new.state = ANY (ARRAY['reserved'::text, 'fully paid'::text])) AND (old.state <> new.state))) EXECUTE FUNCTION caas.check_paid();

ALTER TABLE caas.orders ENABLE ALWAYS TRIGGER is_paid_for;

CREATE TRIGGER is_released_once BEFORE UPDATE ON caas.quarantined_lines FOR EACH ROW WHEN (((old.released_at IS NOT NULL) OR ((old.report_id IS DISTINCT FROM new.report_id) OR (old.place IS DISTINCT FROM new.place) OR (old.reason IS DISTINCT FROM new.reason) OR (old.text IS DISTINCT FROM new.text) OR (old.found_at IS DISTINCT FROM new.found_at) OR (old.kind IS DISTINCT FROM new.kind) OR (((((((old.line_no IS DISTINCT FROM new.line_no) OR (old.line_id IS DISTINCT FROM new.line_id)) OR (old.has_own_id IS DISTINCT FROM new.has_own_id)) OR (old.batch_id IS DISTINCT FROM new.batch_id)) OR (old.transaction_id IS DISTINCT FROM new.transaction_id)) OR (old.reference IS DISTINCT FROM new.reference)) OR (old.type IS DISTINCT FROM new.type))))) EXECUTE FUNCTION caas.refuse_other_report();

ALTER TABLE caas.quarantined_lines ENABLE ALWAYS TRIGGER is_released_once;

CREATE TRIGGER is_sealed BEFORE INSERT ON caas.invoices FOR EACH ROW EXECUTE FUNCTION caas.seal_document();

ALTER TABLE caas.invoices ENABLE ALWAYS TRIGGER is_sealed;

CREATE TRIGGER is_sent_once BEFORE UPDATE ON caas.notifications FOR EACH ROW WHEN (((old.id IS DISTINCT FROM new.id) OR (old.audience IS DISTINCT FROM new.audience) OR (old.recipient IS DISTINCT FROM new.recipient) OR (old.template IS DISTINCT FROM new.template) OR (old.subject IS DISTINCT FROM new.subject) OR (old.occasion IS DISTINCT FROM new.occasion) OR (old.created_at IS DISTINCT FROM new.created_at) OR ((new.facts <> old.facts) AND (new.facts <> (old.facts || '{"access_url": ""}'::jsonb))) OR ((old.sent_at IS NOT NULL) AND (new.sent_at IS DISTINCT FROM old.sent_at)) OR ((old.read_at IS NOT NULL) AND (new.read_at IS DISTINCT FROM old.read_at)))) EXECUTE FUNCTION caas.refuse_other_notification();

ALTER TABLE caas.notifications ENABLE ALWAYS TRIGGER is_sent_once;

CREATE TRIGGER is_somebodys AFTER INSERT ON caas.service_orders REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.check_whose();

ALTER TABLE caas.service_orders ENABLE ALWAYS TRIGGER is_somebodys;

CREATE TRIGGER is_somebodys AFTER INSERT ON caas.subscriptions REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.check_whose();

ALTER TABLE caas.subscriptions ENABLE ALWAYS TRIGGER is_somebodys;

CREATE TRIGGER is_used_once BEFORE UPDATE ON caas.access_credentials FOR EACH ROW WHEN (((old.used_at IS NOT NULL) OR ((old.token_hash IS DISTINCT FROM new.token_hash) OR (old.customer IS DISTINCT FROM new.customer) OR (old.order_id IS DISTINCT FROM new.order_id) OR (old.expires_at IS DISTINCT FROM new.expires_at) OR (old.created_at IS DISTINCT FROM new.created_at)))) EXECUTE FUNCTION caas.refuse_other_link();

ALTER TABLE caas.access_credentials ENABLE ALWAYS TRIGGER is_used_once;

CREATE TRIGGER is_used_once BEFORE UPDATE ON caas.recovery_codes FOR EACH ROW WHEN (((old.used_at IS NOT NULL) OR ((new.code_hash IS DISTINCT FROM old.code_hash) OR (new.factor IS DISTINCT FROM old.factor) OR (new.created_at IS DISTINCT FROM old.created_at)))) EXECUTE FUNCTION caas.refuse_other_factor();

ALTER TABLE caas.recovery_codes ENABLE ALWAYS TRIGGER is_used_once;

CREATE TRIGGER is_written_down AFTER UPDATE ON caas.entitlement_terms FOR EACH ROW WHEN (((old.state = 'granted'::text) AND ((old.state IS DISTINCT FROM new.state) OR (old.starts_at IS DISTINCT FROM new.starts_at) OR (old.ends_at IS DISTINCT FROM new.ends_at)))) EXECUTE FUNCTION caas.write_entitlement_change();

ALTER TABLE caas.entitlement_terms ENABLE ALWAYS TRIGGER is_written_down;

CREATE TRIGGER keeps_its_creator BEFORE UPDATE ON caas.customers FOR EACH ROW WHEN ((old.dealership IS DISTINCT FROM new.dealership)) EXECUTE FUNCTION caas.refuse_other_creator();

ALTER TABLE caas.customers ENABLE ALWAYS TRIGGER keeps_its_creator;

CREATE TRIGGER keeps_its_terms BEFORE UPDATE ON caas.subscriptions FOR EACH ROW WHEN (((old.id IS DISTINCT FROM new.id) OR (old.customer IS DISTINCT FROM new.customer) OR (old.vin IS DISTINCT FROM new.vin) OR (old.service IS DISTINCT FROM new.service) OR (old.currency IS DISTINCT FROM new.currency) OR (old.monthly_fee IS DISTINCT FROM new.monthly_fee) OR (old.metered IS DISTINCT FROM new.metered) OR (old.created_at IS DISTINCT FROM new.created_at) OR (old.request_key IS DISTINCT FROM new.request_key) OR ((old.activated_at IS NOT NULL) AND ((new.activated_at IS DISTINCT FROM old.activated_at) OR (new.activation_evidence IS DISTINCT FROM old.activation_evidence))) OR ((old.deactivated_at IS NOT NULL) AND (new.deactivated_at IS DISTINCT FROM old.deactivated_at)) OR ((old.cancelled_at IS NOT NULL) AND (new.cancelled_at IS DISTINCT FROM old.cancelled_at)) OR ((old.payment_method IS NOT NULL) AND (new.payment_method IS NULL)) OR ((old.payment_method IS DISTINCT FROM new.payment_method) AND ((new.event <> ALL (ARRAY['Payment method changed'::text, 'Payment method verified'::text])) OR (new.version = old.version)) AND ((new.payment_method <> 'erased'::text) OR (new.state = ANY (ARRAY['verifying payment method'::text, 'activating'::text, 'active'::text])))) OR ((old.gateway <> new.gateway) AND ((new.event <> ALL (ARRAY['Payment method changed'::text, 'Payment method verified'::text])) OR (new.version = old.version))))) EXECUTE FUNCTION caas.refuse_other_subscription();

ALTER TABLE caas.subscriptions ENABLE ALWAYS TRIGGER keeps_its_terms;

CREATE TRIGGER never_changed BEFORE UPDATE OR TRUNCATE ON caas.document_buyers FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.document_buyers ENABLE ALWAYS TRIGGER never_changed;

CREATE TRIGGER never_emptied BEFORE TRUNCATE ON caas.idempotency_keys FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.idempotency_keys ENABLE ALWAYS TRIGGER never_emptied;

CREATE TRIGGER never_emptied BEFORE TRUNCATE ON caas.jobs FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.jobs ENABLE ALWAYS TRIGGER never_emptied;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.access_credentials FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.access_credentials ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.accounts FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.accounts ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.api_keys FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.api_keys ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.billing_runs FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.billing_runs ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.cases FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.cases ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.credit_note_decisions FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.credit_note_decisions ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.customers FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.customers ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.deposit_decisions FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.deposit_decisions ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.discrepancies FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.discrepancies ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.discrepancy_resolutions FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.discrepancy_resolutions ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.disputes FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.disputes ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.entitlement_terms FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.entitlement_terms ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.entitlements FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.entitlements ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.event_subscriptions FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.event_subscriptions ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.gateway_accounts FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.gateway_accounts ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.gateway_claims FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.gateway_claims ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.invoice_series FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.invoice_series ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.markets FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.markets ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.notifications FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.notifications ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.orders FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.orders ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.outcome_decisions FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.outcome_decisions ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.payments FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.payments ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.quarantined_lines FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.quarantined_lines ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.reconciliation_days FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.reconciliation_days ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.reconciliation_runs FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.reconciliation_runs ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.recovery_codes FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.recovery_codes ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.refund_decisions FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.refund_decisions ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.refunds FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.refunds ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.second_factors FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.second_factors ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.settlement_reports FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.settlement_reports ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.subscriptions FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.subscriptions ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.tax_rates FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.tax_rates ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.usage_disputes FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.usage_disputes ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.usage_records FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.usage_records ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.vehicle_assignments FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.vehicle_assignments ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON caas.vehicles FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_change();

ALTER TABLE caas.vehicles ENABLE ALWAYS TRIGGER never_removed;

CREATE TRIGGER nobody_erased_is_billed BEFORE INSERT ON caas.invoices FOR EACH ROW WHEN (((new.kind = 'invoice'::text) AND (new.subscription IS NOT NULL) AND caas.is_erased(new.customer))) EXECUTE FUNCTION caas.refuse_bill_of_erased();

ALTER TABLE caas.invoices ENABLE ALWAYS TRIGGER nobody_erased_is_billed;

CREATE TRIGGER not_of_a_sealed_day BEFORE INSERT OR UPDATE ON caas.discrepancies FOR EACH ROW EXECUTE FUNCTION caas.refuse_change_of_sealed_day();

ALTER TABLE caas.discrepancies ENABLE ALWAYS TRIGGER not_of_a_sealed_day;

CREATE TRIGGER not_of_a_sealed_day AFTER INSERT ON caas.discrepancy_entries REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_children_of_sealed_day();

ALTER TABLE caas.discrepancy_entries ENABLE ALWAYS TRIGGER not_of_a_sealed_day;

CREATE TRIGGER not_of_a_sealed_day AFTER INSERT ON caas.discrepancy_events REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_children_of_sealed_day();

ALTER TABLE caas.discrepancy_events ENABLE ALWAYS TRIGGER not_of_a_sealed_day;

CREATE TRIGGER not_of_a_sealed_day AFTER INSERT ON caas.discrepancy_evidence REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_children_of_sealed_day();

ALTER TABLE caas.discrepancy_evidence ENABLE ALWAYS TRIGGER not_of_a_sealed_day;

CREATE TRIGGER not_of_a_sealed_day AFTER INSERT ON caas.discrepancy_resolutions REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_children_of_sealed_day();

ALTER TABLE caas.discrepancy_resolutions ENABLE ALWAYS TRIGGER not_of_a_sealed_day;

CREATE TRIGGER not_of_a_sealed_day AFTER INSERT ON caas.quarantined_lines REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_lines_of_sealed_day();

ALTER TABLE caas.quarantined_lines ENABLE ALWAYS TRIGGER not_of_a_sealed_day;

CREATE TRIGGER not_of_a_sealed_day AFTER INSERT ON caas.settlement_lines REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_lines_of_sealed_day();

ALTER TABLE caas.settlement_lines ENABLE ALWAYS TRIGGER not_of_a_sealed_day;

CREATE TRIGGER not_of_a_sealed_day BEFORE INSERT OR UPDATE ON caas.settlement_reports FOR EACH ROW EXECUTE FUNCTION caas.refuse_change_of_sealed_day();

ALTER TABLE caas.settlement_reports ENABLE ALWAYS TRIGGER not_of_a_sealed_day;

CREATE TRIGGER not_of_a_sealed_day_either AFTER UPDATE ON caas.discrepancy_resolutions REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_children_of_sealed_day();

ALTER TABLE caas.discrepancy_resolutions ENABLE ALWAYS TRIGGER not_of_a_sealed_day_either;

CREATE TRIGGER not_of_a_sealed_day_either AFTER UPDATE ON caas.quarantined_lines REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.refuse_lines_of_sealed_day();

ALTER TABLE caas.quarantined_lines ENABLE ALWAYS TRIGGER not_of_a_sealed_day_either;

CREATE TRIGGER only_ends BEFORE UPDATE ON caas.event_subscriptions FOR EACH ROW WHEN (((new.id IS DISTINCT FROM old.id) OR (new.url IS DISTINCT FROM old.url) OR (new.types IS DISTINCT FROM old.types) OR (new.created_by IS DISTINCT FROM old.created_by) OR (new.created_at IS DISTINCT FROM old.created_at) OR (old.ended_at IS NOT NULL) OR (new.secret IS NOT NULL))) EXECUTE FUNCTION caas.refuse_other_subscriber();

ALTER TABLE caas.event_subscriptions ENABLE ALWAYS TRIGGER only_ends;

CREATE TRIGGER only_ends BEFORE UPDATE ON caas.usage_disputes FOR EACH ROW WHEN (((old.ended_at IS NOT NULL) OR ((old.id IS DISTINCT FROM new.id) OR (old.subscription IS DISTINCT FROM new.subscription) OR (old.source_id IS DISTINCT FROM new.source_id) OR (old.because IS DISTINCT FROM new.because) OR (old.opened_by IS DISTINCT FROM new.opened_by) OR (old.opened_at IS DISTINCT FROM new.opened_at)))) EXECUTE FUNCTION caas.refuse_other_usage_dispute();

ALTER TABLE caas.usage_disputes ENABLE ALWAYS TRIGGER only_ends;

CREATE TRIGGER only_ends BEFORE UPDATE ON caas.vehicle_assignments FOR EACH ROW WHEN (((NOT old.active) OR new.active OR ((old.id IS DISTINCT FROM new.id) OR (old.vin IS DISTINCT FROM new.vin) OR (old.order_id IS DISTINCT FROM new.order_id) OR (old.customer IS DISTINCT FROM new.customer) OR (old.since IS DISTINCT FROM new.since)))) EXECUTE FUNCTION caas.refuse_other_assignment();

ALTER TABLE caas.vehicle_assignments ENABLE ALWAYS TRIGGER only_ends;

CREATE TRIGGER owner_stays BEFORE UPDATE ON caas.api_keys FOR EACH ROW WHEN (((new.account IS DISTINCT FROM old.account) OR ((old.account IS NOT NULL) AND ((new.scopes IS DISTINCT FROM old.scopes) OR (new.customer IS DISTINCT FROM old.customer) OR (new.dealership IS DISTINCT FROM old.dealership))) OR ((old.activated_at IS NOT NULL) AND ((new.activated_at IS DISTINCT FROM old.activated_at) OR (new.activated_account IS DISTINCT FROM old.activated_account))))) EXECUTE FUNCTION caas.refuse_other_owner();

ALTER TABLE caas.api_keys ENABLE ALWAYS TRIGGER owner_stays;

CREATE TRIGGER proposer_stays BEFORE UPDATE ON caas.deposit_decisions FOR EACH ROW WHEN ((new.proposed_account IS DISTINCT FROM old.proposed_account)) EXECUTE FUNCTION caas.refuse_other_decision();

ALTER TABLE caas.deposit_decisions ENABLE ALWAYS TRIGGER proposer_stays;

CREATE TRIGGER proposer_stays BEFORE UPDATE ON caas.discrepancy_resolutions FOR EACH ROW WHEN ((new.proposed_account IS DISTINCT FROM old.proposed_account)) EXECUTE FUNCTION caas.refuse_other_resolution();

ALTER TABLE caas.discrepancy_resolutions ENABLE ALWAYS TRIGGER proposer_stays;

CREATE TRIGGER proposer_stays BEFORE UPDATE ON caas.outcome_decisions FOR EACH ROW WHEN ((new.proposed_account IS DISTINCT FROM old.proposed_account)) EXECUTE FUNCTION caas.refuse_other_decision();

ALTER TABLE caas.outcome_decisions ENABLE ALWAYS TRIGGER proposer_stays;

CREATE TRIGGER releases_documents AFTER INSERT OR UPDATE ON caas.billing_details FOR EACH ROW EXECUTE FUNCTION caas.release_documents();

ALTER TABLE caas.billing_details ENABLE ALWAYS TRIGGER releases_documents;

CREATE CONSTRAINT TRIGGER replaces_what_is_credited AFTER INSERT ON caas.invoices DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.replaces IS NOT NULL)) EXECUTE FUNCTION caas.check_replacement();

ALTER TABLE caas.invoices ENABLE ALWAYS TRIGGER replaces_what_is_credited;

CREATE TRIGGER reports_a_state AFTER INSERT ON caas.delivery_evidence REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.report_state();

ALTER TABLE caas.delivery_evidence ENABLE ALWAYS TRIGGER reports_a_state;

CREATE TRIGGER scopes_stay BEFORE UPDATE ON caas.api_keys FOR EACH ROW WHEN (((new.scopes IS DISTINCT FROM old.scopes) OR (new.customer IS DISTINCT FROM old.customer) OR (new.dealership IS DISTINCT FROM old.dealership))) EXECUTE FUNCTION caas.refuse_other_scopes();

ALTER TABLE caas.api_keys ENABLE ALWAYS TRIGGER scopes_stay;

CREATE TRIGGER sealed_only_when_closed BEFORE INSERT OR UPDATE ON caas.reconciliation_days FOR EACH ROW WHEN ((new.sealed_at IS NOT NULL)) EXECUTE FUNCTION caas.check_seal();

ALTER TABLE caas.reconciliation_days ENABLE ALWAYS TRIGGER sealed_only_when_closed;

CREATE TRIGGER sent_when_nothing_contradicts BEFORE UPDATE OF state ON caas.refunds FOR EACH ROW WHEN (((old.state = 'waiting'::text) AND (new.state = ANY (ARRAY['sent'::text, 'succeeded'::text])))) EXECUTE FUNCTION caas.refuse_refund_meanwhile();

ALTER TABLE caas.refunds ENABLE ALWAYS TRIGGER sent_when_nothing_contradicts;

CREATE TRIGGER sent_when_nothing_contradicts_either BEFORE INSERT ON caas.refunds FOR EACH ROW WHEN ((new.state = ANY (ARRAY['sent'::text, 'succeeded'::text]))) EXECUTE FUNCTION caas.refuse_refund_meanwhile();

ALTER TABLE caas.refunds ENABLE ALWAYS TRIGGER sent_when_nothing_contradicts_either;

CREATE TRIGGER stands_on_accounts AFTER INSERT ON caas.discrepancy_entries REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.check_accounts_of_entries();

ALTER TABLE caas.discrepancy_entries ENABLE ALWAYS TRIGGER stands_on_accounts;

CREATE TRIGGER stands_on_accounts AFTER INSERT ON caas.gateway_claim_entries REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.check_accounts_of_entries();

ALTER TABLE caas.gateway_claim_entries ENABLE ALWAYS TRIGGER stands_on_accounts;

CREATE TRIGGER stands_on_accounts AFTER INSERT ON caas.ledger_entries REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.check_accounts_of_entries();

ALTER TABLE caas.ledger_entries ENABLE ALWAYS TRIGGER stands_on_accounts;

CREATE TRIGGER stays BEFORE UPDATE ON caas.second_factors FOR EACH ROW WHEN (((new.id IS DISTINCT FROM old.id) OR (new.account IS DISTINCT FROM old.account) OR (old.ended_at IS NOT NULL) OR ((old.confirmed_at IS NOT NULL) AND ((new.sealed_secret IS DISTINCT FROM old.sealed_secret) OR (new.created_at IS DISTINCT FROM old.created_at) OR (new.confirmed_at IS DISTINCT FROM old.confirmed_at) OR (new.last_step IS NULL) OR (new.last_step < old.last_step))))) EXECUTE FUNCTION caas.refuse_other_factor();

ALTER TABLE caas.second_factors ENABLE ALWAYS TRIGGER stays;

CREATE TRIGGER stays_ended BEFORE UPDATE ON caas.sessions FOR EACH ROW WHEN (((old.ended_at IS NOT NULL) AND (new.ended_at IS DISTINCT FROM old.ended_at))) EXECUTE FUNCTION caas.refuse_revival();

ALTER TABLE caas.sessions ENABLE ALWAYS TRIGGER stays_ended;

CREATE TRIGGER stays_erased BEFORE UPDATE ON caas.customers FOR EACH ROW WHEN (((old.id IS DISTINCT FROM new.id) OR (old.created_at IS DISTINCT FROM new.created_at) OR ((old.erased_at IS NOT NULL) AND (new.erased_at IS DISTINCT FROM old.erased_at)))) EXECUTE FUNCTION caas.refuse_other_customer();

ALTER TABLE caas.customers ENABLE ALWAYS TRIGGER stays_erased;

CREATE TRIGGER stays_revoked BEFORE UPDATE ON caas.api_keys FOR EACH ROW WHEN (((old.id IS DISTINCT FROM new.id) OR (old.key_hash IS DISTINCT FROM new.key_hash) OR (old.created_at IS DISTINCT FROM new.created_at) OR ((old.revoked_at IS NOT NULL) AND (new.revoked_at IS DISTINCT FROM old.revoked_at)))) EXECUTE FUNCTION caas.refuse_other_key();

ALTER TABLE caas.api_keys ENABLE ALWAYS TRIGGER stays_revoked;

CREATE TRIGGER stays_sealed BEFORE UPDATE ON caas.reconciliation_days FOR EACH ROW WHEN ((old.sealed_at IS NOT NULL)) EXECUTE FUNCTION caas.refuse_broken_seal();

ALTER TABLE caas.reconciliation_days ENABLE ALWAYS TRIGGER stays_sealed;

CREATE TRIGGER taxes_what_is_earned AFTER INSERT ON caas.ledger_entries REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.tax_what_is_earned();

ALTER TABLE caas.ledger_entries ENABLE ALWAYS TRIGGER taxes_what_is_earned;

CREATE TRIGGER transitions_as_drawn AFTER UPDATE ON caas.orders FOR EACH ROW WHEN (((old.state <> new.state) OR (old.event <> new.event) OR (old.version <> new.version))) EXECUTE FUNCTION caas.write_order_transition();

ALTER TABLE caas.orders ENABLE ALWAYS TRIGGER transitions_as_drawn;

CREATE TRIGGER transitions_as_drawn AFTER UPDATE ON caas.payments REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION caas.check_payment_transitions();

ALTER TABLE caas.payments ENABLE ALWAYS TRIGGER transitions_as_drawn;

CREATE TRIGGER transitions_as_drawn AFTER UPDATE ON caas.subscriptions FOR EACH ROW WHEN (((old.state <> new.state) OR (old.event <> new.event) OR (old.version <> new.version))) EXECUTE FUNCTION caas.write_subscription_transition();

ALTER TABLE caas.subscriptions ENABLE ALWAYS TRIGGER transitions_as_drawn;

CREATE TRIGGER transitions_as_drawn AFTER UPDATE ON caas.vehicles FOR EACH ROW WHEN (((old.state <> new.state) OR (old.event <> new.event) OR (old.version <> new.version))) EXECUTE FUNCTION caas.write_vehicle_transition();

ALTER TABLE caas.vehicles ENABLE ALWAYS TRIGGER transitions_as_drawn;

CREATE TRIGGER two_people_decide BEFORE INSERT OR UPDATE ON caas.api_keys FOR EACH ROW WHEN (((new.account IS NOT NULL) AND (new.activated_at IS NOT NULL) AND (new.revoked_at IS NULL) AND (new.scopes && ARRAY['operations'::text, 'any'::text]))) EXECUTE FUNCTION caas.refuse_one_person('account', 'activated_account');

ALTER TABLE caas.api_keys ENABLE ALWAYS TRIGGER two_people_decide;

CREATE TRIGGER two_people_decide BEFORE INSERT OR UPDATE ON caas.credit_note_decisions FOR EACH ROW WHEN ((new.state = 'agreed'::text)) EXECUTE FUNCTION caas.refuse_one_person('proposed_account', 'decided_account');

ALTER TABLE caas.credit_note_decisions ENABLE ALWAYS TRIGGER two_people_decide;

CREATE TRIGGER two_people_decide BEFORE INSERT OR UPDATE ON caas.deposit_decisions FOR EACH ROW WHEN (((new.state = 'agreed'::text) AND new.needs_second)) EXECUTE FUNCTION caas.refuse_one_person('proposed_account', 'decided_account');

ALTER TABLE caas.deposit_decisions ENABLE ALWAYS TRIGGER two_people_decide;

CREATE TRIGGER two_people_decide BEFORE INSERT OR UPDATE ON caas.discrepancy_resolutions FOR EACH ROW WHEN (((new.state = 'approved'::text) AND new.needs_second_approver)) EXECUTE FUNCTION caas.refuse_one_person('proposed_account', 'decided_account');

ALTER TABLE caas.discrepancy_resolutions ENABLE ALWAYS TRIGGER two_people_decide;

CREATE TRIGGER two_people_decide BEFORE UPDATE ON caas.gateway_claims FOR EACH ROW WHEN (((new.status = 'refused'::text) AND (old.status <> 'refused'::text) AND new.needs_second)) EXECUTE FUNCTION caas.refuse_one_person('refusal_account', 'refused_account');

ALTER TABLE caas.gateway_claims ENABLE ALWAYS TRIGGER two_people_decide;

CREATE TRIGGER two_people_decide BEFORE INSERT OR UPDATE ON caas.outcome_decisions FOR EACH ROW WHEN ((new.state = 'agreed'::text)) EXECUTE FUNCTION caas.refuse_one_person('proposed_account', 'decided_account');

ALTER TABLE caas.outcome_decisions ENABLE ALWAYS TRIGGER two_people_decide;

CREATE TRIGGER two_people_decide BEFORE INSERT OR UPDATE ON caas.refund_decisions FOR EACH ROW WHEN (((new.state = 'agreed'::text) AND new.needs_second)) EXECUTE FUNCTION caas.refuse_one_person('proposed_account', 'decided_account');

ALTER TABLE caas.refund_decisions ENABLE ALWAYS TRIGGER two_people_decide;

CREATE TRIGGER within_what_was_received AFTER INSERT OR UPDATE OF amount, state ON caas.disputes FOR EACH ROW WHEN ((new.state = ANY (ARRAY['opened'::text, 'lost'::text]))) EXECUTE FUNCTION caas.check_given_back();

ALTER TABLE caas.disputes ENABLE ALWAYS TRIGGER within_what_was_received;

CREATE TRIGGER within_what_was_received AFTER INSERT OR UPDATE OF amount, state ON caas.refunds FOR EACH ROW WHEN ((new.state <> 'failed'::text)) EXECUTE FUNCTION caas.check_given_back();

ALTER TABLE caas.refunds ENABLE ALWAYS TRIGGER within_what_was_received;

ALTER TABLE ONLY caas.access_credentials
    ADD CONSTRAINT access_credentials_customer_fkey FOREIGN KEY (customer) REFERENCES caas.customers(id);

ALTER TABLE ONLY caas.access_credentials
    ADD CONSTRAINT access_credentials_order_id_fkey FOREIGN KEY (order_id) REFERENCES caas.orders(id);

ALTER TABLE ONLY caas.accounts
    ADD CONSTRAINT accounts_customer_fkey FOREIGN KEY (customer) REFERENCES caas.customers(id);

ALTER TABLE ONLY caas.api_keys
    ADD CONSTRAINT api_keys_account_fkey FOREIGN KEY (account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.api_keys
    ADD CONSTRAINT api_keys_activated_account_fkey FOREIGN KEY (activated_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.audit_events
    ADD CONSTRAINT audit_events_account_fkey FOREIGN KEY (account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.billing_details
    ADD CONSTRAINT billing_details_customer_fkey FOREIGN KEY (customer) REFERENCES caas.customers(id);

ALTER TABLE ONLY caas.usage_records
    ADD CONSTRAINT cancels_what_is_there FOREIGN KEY (subscription, cancels) REFERENCES caas.usage_records(subscription, source_id);

ALTER TABLE ONLY caas.credit_note_decisions
    ADD CONSTRAINT credit_note_decisions_decided_account_fkey FOREIGN KEY (decided_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.credit_note_decisions
    ADD CONSTRAINT credit_note_decisions_invoice_fkey FOREIGN KEY (invoice) REFERENCES caas.invoices(id);

ALTER TABLE ONLY caas.credit_note_decisions
    ADD CONSTRAINT credit_note_decisions_proposed_account_fkey FOREIGN KEY (proposed_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.dealership_markets
    ADD CONSTRAINT dealership_markets_market_fkey FOREIGN KEY (market) REFERENCES caas.markets(code);

ALTER TABLE ONLY caas.deposit_decisions
    ADD CONSTRAINT deposit_decisions_decided_account_fkey FOREIGN KEY (decided_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.deposit_decisions
    ADD CONSTRAINT deposit_decisions_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES caas.payments(id);

ALTER TABLE ONLY caas.deposit_decisions
    ADD CONSTRAINT deposit_decisions_proposed_account_fkey FOREIGN KEY (proposed_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.discrepancies
    ADD CONSTRAINT discrepancies_report_id_line_no_fkey FOREIGN KEY (report_id, line_no) REFERENCES caas.settlement_lines(report_id, line_no);

ALTER TABLE ONLY caas.discrepancy_entries
    ADD CONSTRAINT discrepancy_entries_discrepancy_id_fkey FOREIGN KEY (discrepancy_id) REFERENCES caas.discrepancies(id);

ALTER TABLE ONLY caas.discrepancy_entries
    ADD CONSTRAINT discrepancy_entries_resolution_id_fkey FOREIGN KEY (resolution_id) REFERENCES caas.discrepancy_resolutions(id);

ALTER TABLE ONLY caas.discrepancy_events
    ADD CONSTRAINT discrepancy_events_discrepancy_id_fkey FOREIGN KEY (discrepancy_id) REFERENCES caas.discrepancies(id) DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY caas.discrepancy_evidence
    ADD CONSTRAINT discrepancy_evidence_discrepancy_id_fkey FOREIGN KEY (discrepancy_id) REFERENCES caas.discrepancies(id);

ALTER TABLE ONLY caas.discrepancy_resolutions
    ADD CONSTRAINT discrepancy_resolutions_decided_account_fkey FOREIGN KEY (decided_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.discrepancy_resolutions
    ADD CONSTRAINT discrepancy_resolutions_discrepancy_id_fkey FOREIGN KEY (discrepancy_id) REFERENCES caas.discrepancies(id);

ALTER TABLE ONLY caas.discrepancy_resolutions
    ADD CONSTRAINT discrepancy_resolutions_proposed_account_fkey FOREIGN KEY (proposed_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.disputes
    ADD CONSTRAINT disputes_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES caas.payments(id);

ALTER TABLE ONLY caas.document_buyers
    ADD CONSTRAINT document_buyers_invoice_fkey FOREIGN KEY (invoice) REFERENCES caas.invoices(id);

ALTER TABLE ONLY caas.documents_due
    ADD CONSTRAINT documents_due_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES caas.payments(id);

ALTER TABLE ONLY caas.documents_due
    ADD CONSTRAINT documents_due_refund_fkey FOREIGN KEY (refund) REFERENCES caas.refunds(id);

ALTER TABLE ONLY caas.entitlement_terms
    ADD CONSTRAINT entitlement_terms_entitlement_fkey FOREIGN KEY (entitlement) REFERENCES caas.entitlements(id);

ALTER TABLE ONLY caas.gateway_claim_entries
    ADD CONSTRAINT gateway_claim_entries_discrepancy_id_fkey FOREIGN KEY (discrepancy_id) REFERENCES caas.gateway_claims(discrepancy_id);

ALTER TABLE ONLY caas.gateway_claim_events
    ADD CONSTRAINT gateway_claim_events_discrepancy_id_fkey FOREIGN KEY (discrepancy_id) REFERENCES caas.gateway_claims(discrepancy_id) DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY caas.gateway_claims
    ADD CONSTRAINT gateway_claims_discrepancy_id_fkey FOREIGN KEY (discrepancy_id) REFERENCES caas.discrepancies(id);

ALTER TABLE ONLY caas.gateway_claims
    ADD CONSTRAINT gateway_claims_refusal_account_fkey FOREIGN KEY (refusal_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.gateway_claims
    ADD CONSTRAINT gateway_claims_refused_account_fkey FOREIGN KEY (refused_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.gateway_customers
    ADD CONSTRAINT gateway_customers_customer_fkey FOREIGN KEY (customer) REFERENCES caas.customers(id);

ALTER TABLE ONLY caas.identified_lines
    ADD CONSTRAINT identified_lines_report_id_line_no_fkey FOREIGN KEY (report_id, line_no) REFERENCES caas.settlement_lines(report_id, line_no);

ALTER TABLE ONLY caas.invoices
    ADD CONSTRAINT invoices_advance_fkey FOREIGN KEY (advance) REFERENCES caas.invoices(id);

ALTER TABLE ONLY caas.invoices
    ADD CONSTRAINT invoices_replaces_fkey FOREIGN KEY (replaces) REFERENCES caas.invoices(id);

ALTER TABLE ONLY caas.invoices
    ADD CONSTRAINT invoices_returned_fkey FOREIGN KEY (returned) REFERENCES caas.refunds(id);

ALTER TABLE ONLY caas.orders
    ADD CONSTRAINT orders_customer_fkey FOREIGN KEY (customer) REFERENCES caas.customers(id);

ALTER TABLE ONLY caas.orders
    ADD CONSTRAINT orders_model_fkey FOREIGN KEY (model) REFERENCES caas.vehicle_models(model);

ALTER TABLE ONLY caas.orders
    ADD CONSTRAINT orders_vin_fkey FOREIGN KEY (vin) REFERENCES caas.vehicles(vin);

ALTER TABLE ONLY caas.outcome_decisions
    ADD CONSTRAINT outcome_decisions_decided_account_fkey FOREIGN KEY (decided_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.outcome_decisions
    ADD CONSTRAINT outcome_decisions_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES caas.payments(id);

ALTER TABLE ONLY caas.outcome_decisions
    ADD CONSTRAINT outcome_decisions_proposed_account_fkey FOREIGN KEY (proposed_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.payment_taxes
    ADD CONSTRAINT payment_taxes_market_fkey FOREIGN KEY (market) REFERENCES caas.markets(code);

ALTER TABLE ONLY caas.payment_taxes
    ADD CONSTRAINT payment_taxes_rate_fkey FOREIGN KEY (rate) REFERENCES caas.tax_rates(id);

ALTER TABLE ONLY caas.provider_accounts
    ADD CONSTRAINT provider_accounts_account_fkey FOREIGN KEY (account) REFERENCES caas.ledger_accounts(name);

ALTER TABLE ONLY caas.quarantined_lines
    ADD CONSTRAINT quarantined_lines_report_id_fkey FOREIGN KEY (report_id) REFERENCES caas.settlement_reports(id);

ALTER TABLE ONLY caas.recovery_codes
    ADD CONSTRAINT recovery_codes_factor_fkey FOREIGN KEY (factor) REFERENCES caas.second_factors(id);

ALTER TABLE ONLY caas.refund_decisions
    ADD CONSTRAINT refund_decisions_decided_account_fkey FOREIGN KEY (decided_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.refund_decisions
    ADD CONSTRAINT refund_decisions_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES caas.payments(id);

ALTER TABLE ONLY caas.refund_decisions
    ADD CONSTRAINT refund_decisions_proposed_account_fkey FOREIGN KEY (proposed_account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.refunds
    ADD CONSTRAINT refunds_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES caas.payments(id);

ALTER TABLE ONLY caas.resolution_claims
    ADD CONSTRAINT resolution_claims_payment_id_evidence_id_evidence_kind_pro_fkey FOREIGN KEY (payment_id, evidence_id, evidence_kind, proves_delivery) REFERENCES caas.delivery_evidence(subject, id, kind, proves_delivery);

ALTER TABLE ONLY caas.sealed_reports
    ADD CONSTRAINT sealed_reports_gateway_day_fkey FOREIGN KEY (gateway, day) REFERENCES caas.reconciliation_days(gateway, day);

ALTER TABLE ONLY caas.second_factors
    ADD CONSTRAINT second_factors_account_fkey FOREIGN KEY (account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.second_factors
    ADD CONSTRAINT second_factors_ended_by_fkey FOREIGN KEY (ended_by) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.service_orders
    ADD CONSTRAINT service_orders_service_fkey FOREIGN KEY (service) REFERENCES caas.services(code);

ALTER TABLE ONLY caas.sessions
    ADD CONSTRAINT sessions_account_fkey FOREIGN KEY (account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.staff_links
    ADD CONSTRAINT staff_links_account_fkey FOREIGN KEY (account) REFERENCES caas.accounts(id);

ALTER TABLE ONLY caas.subscriptions
    ADD CONSTRAINT subscriptions_id_activation_evidence_evidence_kind_proves__fkey FOREIGN KEY (id, activation_evidence, evidence_kind, proves_delivery) REFERENCES caas.delivery_evidence(subject, id, kind, proves_delivery);

ALTER TABLE ONLY caas.subscriptions
    ADD CONSTRAINT subscriptions_service_fkey FOREIGN KEY (service) REFERENCES caas.services(code);

ALTER TABLE ONLY caas.tax_rates
    ADD CONSTRAINT tax_rates_market_fkey FOREIGN KEY (market) REFERENCES caas.markets(code);

ALTER TABLE ONLY caas.usage_disputes
    ADD CONSTRAINT usage_disputes_subscription_source_id_fkey FOREIGN KEY (subscription, source_id) REFERENCES caas.usage_records(subscription, source_id);

ALTER TABLE ONLY caas.usage_records
    ADD CONSTRAINT usage_records_subscription_fkey FOREIGN KEY (subscription) REFERENCES caas.subscriptions(id);

ALTER TABLE ONLY caas.vehicle_assignments
    ADD CONSTRAINT vehicle_assignments_customer_fkey FOREIGN KEY (customer) REFERENCES caas.customers(id);

ALTER TABLE ONLY caas.vehicle_assignments
    ADD CONSTRAINT vehicle_assignments_order_id_fkey FOREIGN KEY (order_id) REFERENCES caas.orders(id);

ALTER TABLE ONLY caas.vehicle_assignments
    ADD CONSTRAINT vehicle_assignments_vin_fkey FOREIGN KEY (vin) REFERENCES caas.vehicles(vin);

ALTER TABLE ONLY caas.vehicles
    ADD CONSTRAINT vehicles_model_fkey FOREIGN KEY (model) REFERENCES caas.vehicle_models(model);

ALTER TABLE ONLY caas.written_off_invoices
    ADD CONSTRAINT written_off_invoices_invoice_fkey FOREIGN KEY (invoice) REFERENCES caas.invoices(id);

GRANT USAGE ON SCHEMA caas TO caas_app;

GRANT ALL ON FUNCTION caas.accept_payments(p_payments jsonb) TO caas_app;

GRANT ALL ON FUNCTION caas.add_service_order(p_id uuid, p_customer uuid, p_vin text, p_service text, p_duration_days integer, p_amount bigint, p_currency text, p_lapses_after double precision, p_request_key bytea, p_by_fleet boolean) TO caas_app;

GRANT ALL ON FUNCTION caas.address_without_tax_table(p_customer uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.apply_transitions(p_transitions jsonb) TO caas_app;

GRANT ALL ON FUNCTION caas.book_output_tax(p_payments uuid[], p_seqs integer[], p_at timestamp with time zone[]) TO caas_app;

GRANT ALL ON FUNCTION caas.buyer_of(p_customer uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.cancel_pending_terms(p_customer uuid, p_vin text, p_because text) TO caas_app;

GRANT ALL ON FUNCTION caas.change_gateway(p_payment uuid, p_gateway text) TO caas_app;

GRANT ALL ON FUNCTION caas.check_accounts_of_entries() TO caas_app;

GRANT ALL ON FUNCTION caas.check_assignment() TO caas_app;

GRANT ALL ON FUNCTION caas.check_cancelled_by() TO caas_app;

GRANT ALL ON FUNCTION caas.check_cancelled_use() TO caas_app;

GRANT ALL ON FUNCTION caas.check_discrepancy() TO caas_app;

GRANT ALL ON FUNCTION caas.check_gateway_change() TO caas_app;

GRANT ALL ON FUNCTION caas.check_gateway_claim() TO caas_app;

GRANT ALL ON FUNCTION caas.check_given_back() TO caas_app;

GRANT ALL ON FUNCTION caas.check_lost() TO caas_app;

GRANT ALL ON FUNCTION caas.check_new_claims() TO caas_app;

GRANT ALL ON FUNCTION caas.check_new_entries() TO caas_app;

GRANT ALL ON FUNCTION caas.check_new_evidence() TO caas_app;

GRANT ALL ON FUNCTION caas.check_new_payments() TO caas_app;

GRANT ALL ON FUNCTION caas.check_not_erased() TO caas_app;

GRANT ALL ON FUNCTION caas.check_paid() TO caas_app;

GRANT ALL ON FUNCTION caas.check_payment_transitions() TO caas_app;

GRANT ALL ON FUNCTION caas.check_replacement() TO caas_app;

GRANT ALL ON FUNCTION caas.check_returned() TO caas_app;

GRANT ALL ON FUNCTION caas.check_seal() TO caas_app;

GRANT ALL ON FUNCTION caas.check_series() TO caas_app;

GRANT ALL ON FUNCTION caas.check_whose() TO caas_app;

GRANT ALL ON FUNCTION caas.claimed_by(p_discrepancy uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.clear_customer(p_customer uuid) TO caas_app;

GRANT USAGE ON SEQUENCE caas.ota_epochs TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.ota_commands TO caas_app;

GRANT ALL ON FUNCTION caas.command_desired_state(p_entitlement uuid, p_command_id uuid, p_activate_within double precision, p_deadline_in double precision, p_resend_in double precision) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.invoices TO caas_app;

GRANT ALL ON FUNCTION caas.credited_by(p_refund uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.db_now() TO caas_app;

GRANT ALL ON FUNCTION caas.dealership_knows(p_dealership text, p_customer uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.desired_state(p_entitlement uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.digest_of_document(p_document caas.invoices) TO caas_app;

GRANT ALL ON FUNCTION caas.disputed_amounts(p_payment uuid, p_currency text) TO caas_app;

GRANT ALL ON FUNCTION caas.end_older_credentials() TO caas_app;

GRANT ALL ON FUNCTION caas.end_older_staff_links() TO caas_app;

GRANT ALL ON FUNCTION caas.end_synchronization(p_entitlement uuid, p_command_id uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.end_term(p_term uuid, p_because text) TO caas_app;

GRANT ALL ON FUNCTION caas.event_digest(before bytea, payment_id uuid, seq integer, event text, to_state text, source text, facts jsonb, at timestamp with time zone) TO caas_app;

GRANT ALL ON FUNCTION caas.events_are_whole_until() TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.access_credentials TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.access_credentials) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.accounts TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.accounts) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.api_keys TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.api_keys) TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.audit_events TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.audit_events) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.billing_details TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.billing_details) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.billing_runs TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.billing_runs) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.cases TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.cases) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.credit_note_decisions TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.credit_note_decisions) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.customers TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.customers) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.dealership_markets TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.dealership_markets) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.deposit_decisions TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.deposit_decisions) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.disputes TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.disputes) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.event_subscriptions TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.event_subscriptions) TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.gateway_calls TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.gateway_calls) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.orders TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.orders) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.outcome_decisions TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.outcome_decisions) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.recovery_codes TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.recovery_codes) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.refund_decisions TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.refund_decisions) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.refunds TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.refunds) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.second_factors TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.second_factors) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.services TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.services) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.staff_links TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.staff_links) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.subscriptions TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.subscriptions) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.tax_rates TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.tax_rates) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.tax_settings TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.tax_settings) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.usage_disputes TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.usage_disputes) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.usage_records TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.usage_records) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.vehicle_assignments TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.vehicle_assignments) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.vehicle_models TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.vehicle_models) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.vehicles TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.vehicles) TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.webhook_inbox TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.webhook_inbox) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.webhook_quarantine TO caas_app;

GRANT ALL ON FUNCTION caas.fixed_checksum(r caas.webhook_quarantine) TO caas_app;

GRANT ALL ON FUNCTION caas.follow_subscription() TO caas_app;

GRANT ALL ON FUNCTION caas.forget_buyers() TO caas_app;

GRANT ALL ON FUNCTION caas.free_jobs_of(p_processes integer[], p_kinds text[], p_awaited text[]) TO caas_app;

GRANT ALL ON FUNCTION caas.gateways_of_payments() TO caas_app;

GRANT ALL ON FUNCTION caas.has_vehicle(p_customer uuid, p_vin text) TO caas_app;

GRANT ALL ON FUNCTION caas.is_decline(p_code text) TO caas_app;

GRANT ALL ON FUNCTION caas.is_erased(p_customer uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.is_kept_by_law(p_document caas.invoices) TO caas_app;

GRANT ALL ON FUNCTION caas.keep_checksum(p_table text, p_fixed text[], p_removable boolean) TO caas_app;

GRANT ALL ON FUNCTION caas.keep_term(p_term uuid, p_because text) TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.markets TO caas_app;

GRANT ALL ON FUNCTION caas.lacking_details(p_details caas.billing_details, p_market caas.markets) TO caas_app;

GRANT ALL ON FUNCTION caas.lock_entitlement(p_vin text, p_service text) TO caas_app;

GRANT ALL ON FUNCTION caas.lock_ownership(p_customer uuid, p_vin text) TO caas_app;

GRANT ALL ON FUNCTION caas.lock_payment(p_payment uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.market_of_address(p_country text, p_postcode text) TO caas_app;

GRANT ALL ON FUNCTION caas.market_of_sale(p_type text, p_subject uuid, p_customer uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.may_cancel(p_payment uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.may_still_be_sold(p_service_order uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.money_out(p_payment uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.access_credentials) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.accounts) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.api_keys) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.audit_events) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.billing_details) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.billing_runs) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.cases) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.credit_note_decisions) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.customers) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.dealership_markets) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.deposit_decisions) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.disputes) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.event_subscriptions) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.gateway_calls) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.orders) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.outcome_decisions) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.recovery_codes) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.refund_decisions) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.refunds) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.second_factors) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.services) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.staff_links) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.subscriptions) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.tax_rates) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.tax_settings) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.usage_disputes) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.usage_records) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.vehicle_assignments) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.vehicle_models) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.vehicles) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.webhook_inbox) TO caas_app;

GRANT ALL ON FUNCTION caas.moving_checksum(r caas.webhook_quarantine) TO caas_app;

GRANT ALL ON FUNCTION caas.named_object(p_body jsonb) TO caas_app;

GRANT ALL ON FUNCTION caas.names_of_dead(p_processes integer[]) TO caas_app;

GRANT ALL ON FUNCTION caas.names_payment(p_body jsonb, p_payment uuid, p_transaction text) TO caas_app;

GRANT ALL ON FUNCTION caas.note_credit_note_due() TO caas_app;

GRANT ALL ON FUNCTION caas.note_debit_note_due() TO caas_app;

GRANT ALL ON FUNCTION caas.note_documents_due() TO caas_app;

GRANT ALL ON FUNCTION caas.note_missing_documents(p_payment uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.note_untaxed(p_payments uuid[]) TO caas_app;

GRANT ALL ON FUNCTION caas.obstacle_to_refund(p_payment uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.order_terms(o caas.orders) TO caas_app;

GRANT ALL ON FUNCTION caas.process_lives(p_id integer) TO caas_app;

GRANT ALL ON FUNCTION caas.refund_lines_of(p_payment uuid, p_currency text) TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_bill_of_erased() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_broken_seal() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_change() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_change_of_sealed_day() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_children_of_sealed_day() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_if_sealed(p_gateway text, p_day date) TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_late_factor() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_lines_of_sealed_day() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_one_person() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_answer() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_assignment() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_case() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_creator() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_customer() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_decision() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_discrepancy() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_factor() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_key() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_link() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_notification() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_order() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_owner() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_rate() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_refund() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_report() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_resolution() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_run() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_scopes() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_subscriber() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_subscription() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_term() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_transitions() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_usage() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_usage_dispute() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_other_vehicle() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_plain_secret() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_refund_meanwhile() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_revival() TO caas_app;

GRANT ALL ON FUNCTION caas.refuse_rewrite() TO caas_app;

GRANT ALL ON FUNCTION caas.release_documents() TO caas_app;

GRANT ALL ON FUNCTION caas.remove_old_rows(p_table text, p_before timestamp with time zone, p_rows integer) TO caas_app;

GRANT ALL ON FUNCTION caas.removed_before(p_table text) TO caas_app;

GRANT ALL ON FUNCTION caas.report_state() TO caas_app;

GRANT ALL ON FUNCTION caas.reserve_term(p_vin text, p_service text, p_customer uuid, p_service_order uuid, p_subscription uuid, p_duration_days integer, p_lapses_after double precision, p_by_fleet boolean) TO caas_app;

GRANT ALL ON FUNCTION caas.seal_document() TO caas_app;

GRANT ALL ON FUNCTION caas.silent_processes() TO caas_app;

GRANT ALL ON FUNCTION caas.subscription_terms(s caas.subscriptions) TO caas_app;

GRANT ALL ON FUNCTION caas.sum_access_credentials() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_accounts() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_anew(p_table text) TO caas_app;

GRANT ALL ON FUNCTION caas.sum_api_keys() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_audit_events() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_billing_details() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_billing_runs() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_cases() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_credit_note_decisions() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_customers() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_dealership_markets() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_deposit_decisions() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_disputes() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_event_subscriptions() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_gateway_calls() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_orders() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_outcome_decisions() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_recovery_codes() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_refund_decisions() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_refunds() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_second_factors() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_services() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_staff_links() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_subscriptions() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_tax_rates() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_tax_settings() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_usage_disputes() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_usage_records() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_vehicle_assignments() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_vehicle_models() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_vehicles() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_webhook_inbox() TO caas_app;

GRANT ALL ON FUNCTION caas.sum_webhook_quarantine() TO caas_app;

GRANT ALL ON FUNCTION caas.tax_captured_payment(p_payment uuid) TO caas_app;

GRANT ALL ON FUNCTION caas.tax_in(p_gross bigint, p_basis_points integer) TO caas_app;

GRANT ALL ON FUNCTION caas.tax_left(p_tax bigint, p_left bigint, p_of bigint) TO caas_app;

GRANT ALL ON FUNCTION caas.tax_of_payment(p_id uuid, p_at timestamp with time zone) TO caas_app;

GRANT ALL ON FUNCTION caas.tax_what_is_earned() TO caas_app;

GRANT ALL ON FUNCTION caas.tells_of_outgoing_money(p_body jsonb) TO caas_app;

GRANT ALL ON FUNCTION caas.this_process() TO caas_app;

GRANT ALL ON FUNCTION caas.write_entitlement_change() TO caas_app;

GRANT ALL ON FUNCTION caas.write_order_transition() TO caas_app;

GRANT ALL ON FUNCTION caas.write_subscription_transition() TO caas_app;

GRANT ALL ON FUNCTION caas.write_vehicle_transition() TO caas_app;

GRANT SELECT ON TABLE caas.clock TO caas_app;

GRANT SELECT ON TABLE caas.order_events TO caas_app;

GRANT SELECT ON TABLE caas.payment_events TO caas_app;

GRANT SELECT ON TABLE caas.payments TO caas_app;

GRANT SELECT ON TABLE caas.subscription_events TO caas_app;

GRANT SELECT ON TABLE caas.vehicle_events TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.company_events TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.delivery_evidence TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.discrepancies TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.discrepancy_entries TO caas_app;

GRANT USAGE ON SEQUENCE caas.discrepancy_entries_id_seq TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.discrepancy_events TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.discrepancy_evidence TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.discrepancy_resolutions TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.document_buyers TO caas_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE caas.documents_due TO caas_app;

GRANT USAGE ON SEQUENCE caas.documents_due_id_seq TO caas_app;

GRANT SELECT ON TABLE caas.entitlement_changes TO caas_app;

GRANT USAGE ON SEQUENCE caas.entitlement_changes_id_seq TO caas_app;

GRANT SELECT ON TABLE caas.entitlement_terms TO caas_app;

GRANT SELECT ON TABLE caas.entitlements TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.fee_terms TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.gateway_accounts TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.gateway_claim_entries TO caas_app;

GRANT USAGE ON SEQUENCE caas.gateway_claim_entries_id_seq TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.gateway_claim_events TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.gateway_claims TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.gateway_customers TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.history_heads TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.history_leaves TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.history_trees TO caas_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE caas.idempotency_keys TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.identified_lines TO caas_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE caas.invariant_checks TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.invoice_series TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.written_off_invoices TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.invoice_states TO caas_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE caas.jobs TO caas_app;

GRANT SELECT ON TABLE caas.ledger_accounts TO caas_app;

GRANT SELECT ON TABLE caas.ledger_entries TO caas_app;

GRANT USAGE ON SEQUENCE caas.ledger_entries_id_seq TO caas_app;

GRANT SELECT ON TABLE caas.provider_accounts TO caas_app;

GRANT SELECT,INSERT ON TABLE caas.settlement_lines TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.ledger_lines TO caas_app;

GRANT SELECT ON TABLE caas.migrations TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.notifications TO caas_app;

GRANT SELECT ON TABLE caas.order_transitions TO caas_app;

GRANT SELECT ON TABLE caas.payment_taxes TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.output_tax TO caas_app;

GRANT SELECT ON TABLE caas.payment_transitions TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.processes TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.quarantined_lines TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.reconciliation_days TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.reconciliation_runs TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.settlement_reports TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.reconciliation_verdicts TO caas_app;

GRANT SELECT ON TABLE caas.refusal_codes TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.refused_acknowledgements TO caas_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE caas.refused_sign_ins TO caas_app;

GRANT SELECT ON TABLE caas.removals TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.report_mappings TO caas_app;

GRANT SELECT ON TABLE caas.resolution_claims TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.sealed_reports TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.service_orders TO caas_app;

GRANT SELECT,INSERT,UPDATE ON TABLE caas.service_order_states TO caas_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE caas.sessions TO caas_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE caas.sign_in_attempts TO caas_app;

GRANT SELECT ON TABLE caas.subscription_transitions TO caas_app;

GRANT SELECT ON TABLE caas.table_checksums TO caas_app;

GRANT USAGE ON SEQUENCE caas.tax_rates_id_seq TO caas_app;

GRANT SELECT ON TABLE caas.vehicle_transitions TO caas_app;
