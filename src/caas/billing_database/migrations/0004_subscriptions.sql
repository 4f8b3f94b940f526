-- Subscriptions, what is used of them, and the invoices of their months (Diagram 6, mes vencido).
--
-- Read in this order: subscription_arrows (the ways of a subscription as data), subscriptions,
-- usage_records, invoice_series (the counters), invoices (what a month costs, for ever),
-- written_off_invoices (what is never charged again), billing_runs (how far a month end is).
--
-- Rules a change must keep: a subscription is active only by a vehicle's verified acknowledgement;
-- an invoice never changes, there is one for a subscription and a month, and numbers have no gap;
-- use of a service stands on one invoice at most.

create table subscription_arrows (
  from_state text not null,
  event text not null,
  to_state text not null,
  primary key (from_state, event)
);
insert into subscription_arrows (from_state, event, to_state) values
  ('activating', 'Service Active', 'active'),
  ('active', 'Continue Subscription', 'active'),
  ('active', 'Mark Subscription Cancelled', 'cancelled'),
  ('cancelled', 'Mark Subscription Cancelled', 'cancelled'),
  ('verifying payment method', 'Payment method verified', 'activating'),
  ('verifying payment method', 'Payment method refused', 'payment method refused'),
  ('verifying payment method', 'Customer ends subscription', 'cancelled'),
  ('activating', 'Activation failed', 'not activated'),
  ('activating', 'Customer ends subscription', 'cancelled'),
  ('activating', 'Payment method changed', 'activating'),
  ('active', 'Customer ends subscription', 'cancelled'),
  ('active', 'Payment method changed', 'active');

-- A subscription, with the terms it was made at; `moved_for` is the payment of its last event.
create table subscriptions (
  id uuid primary key,
  customer uuid not null,
  vin text not null,
  service text not null references services,
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  monthly_fee bigint not null check (monthly_fee between 0 and 10000000000000),
  metered jsonb not null default '[]',
  payment_method text not null check (length(payment_method) between 1 and 200),
  state text not null default 'verifying payment method',
  event text not null default 'Subscribe to Monthly Service',
  version integer not null default 1,
  moved_for uuid,
  activation_evidence uuid,
  evidence_kind text generated always as
    (case when activation_evidence is not null then 'vehicle_acknowledgement' end) stored,
  proves_delivery boolean generated always as
    (case when activation_evidence is not null then true end) stored,
  activated_at timestamptz,
  deactivated_at timestamptz,
  cancelled_at timestamptz,
  cancelled_because text check (cancelled_because in ('customer', 'payment failed')),
  created_at timestamptz not null,
  updated_at timestamptz not null,
  check ((activated_at is null) = (activation_evidence is null)),
  check (state <> 'active' or activated_at is not null),
  check ((state = 'cancelled') = (cancelled_at is not null)),
  check ((cancelled_at is null) = (cancelled_because is null)),
  foreign key (id, activation_evidence, evidence_kind, proves_delivery)
    references delivery_evidence (subject, id, kind, proves_delivery)
) with (fillfactor = 80);
create unique index one_live_subscription_per_service on subscriptions (vin, service)
  where state in ('verifying payment method', 'activating', 'active');
create index subscriptions_of_customer on subscriptions (customer, id);

create table subscription_events (
  subscription uuid not null,
  version integer not null,
  event text not null,
  from_state text,
  to_state text not null,
  payment_id uuid,
  at timestamptz not null,
  primary key (subscription, version)
);

-- Metered use; the same source counts once. `invoice` is set once, by the invoice that bills it.
create table usage_records (
  subscription uuid not null references subscriptions,
  source_id text not null check (length(source_id) between 1 and 200),
  unit text not null,
  quantity bigint not null check (quantity between 1 and 1000000000000),
  at timestamptz not null,
  recorded_at timestamptz not null,
  invoice uuid,
  primary key (subscription, source_id)
) with (fillfactor = 80);
create index usage_not_invoiced on usage_records (subscription) where invoice is null;

-- The next number of each series; whoever issues locks the row, so that numbers have no gap.
create table invoice_series (
  series text primary key check (series ~ '^R?[0-9]{4}$'),
  next bigint not null default 1 check (next > 0)
);

-- What a month costs, and what was corrected since; amounts of a credit note are negative.
-- `lines` is the immutable snapshot of what was delivered and used; `correction` counts the credit
-- notes of an invoice, which is number 0 itself. Month end writes very many rows at once, from
-- tables nothing is ever removed from: what a foreign key would say, a law says (self_check).
create table invoices (
  id uuid primary key,
  series text not null,
  number bigint not null check (number > 0),
  kind text not null check (kind in ('invoice', 'credit note')),
  subscription uuid not null,
  customer uuid not null,
  month text not null check (month like '____-__'),
  service text not null,
  vin text not null,
  currency text not null check (length(currency) = 3),
  lines jsonb not null,
  net bigint not null,
  iva_basis_points integer not null check (iva_basis_points between 0 and 10000),
  iva bigint not null,
  gross bigint not null,
  payment_id uuid,
  corrects uuid,
  correction integer not null default 0 check (correction >= 0),
  reason text check (length(reason) between 1 and 200),
  issued_at timestamptz not null,
  unique (series, number),
  unique (subscription, month, correction),
  check (gross = net + iva),
  check ((kind = 'invoice') = (correction = 0)),
  check (case kind when 'invoice' then net >= 0 and iva >= 0 and corrects is null and reason is null
                     and left(series, 1) <> 'R' and (payment_id is null) = (gross = 0)
                   else net <= 0 and iva <= 0 and gross < 0 and corrects is not null
                     and reason is not null and left(series, 1) = 'R' and payment_id is null end)
);

-- An invoice whose payment failed for good: a loss of CaaS, never charged again (decision 26).
create table written_off_invoices (
  invoice uuid primary key references invoices,
  payment_id uuid not null,
  because text not null check (because in ('payment failed', 'settlement failed')),
  at timestamptz not null
);

-- How far the run of a month is; it begins at `first_number` of `series`, and goes on where it was.
create table billing_runs (
  month text primary key check (month ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
  series text not null,
  first_number bigint not null,
  subscriptions bigint not null,
  seen_through uuid,
  seen bigint not null default 0,
  invoices bigint not null default 0,
  invoiced_at timestamptz,
  charged_series text not null,
  charged_number bigint not null,
  charges bigint not null default 0,
  started_at timestamptz not null,
  finished_at timestamptz,
  check (finished_at is null or invoiced_at is not null)
);

-- Guards. They hold for every session, whoever it belongs to.

create function write_subscription_move() returns trigger language plpgsql security definer
set search_path = caas, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    if new.state <> 'verifying payment method' or new.version <> 1 then
      raise exception 'subscription % does not begin with its payment method', new.id
        using errcode = 'check_violation';
    end if;
    insert into subscription_events values
      (new.id, 1, new.event, null, new.state, new.moved_for, new.created_at);
    return null;
  end if;
  if new.version <> old.version + 1 or not exists (
    select from subscription_arrows a
     where a.from_state = old.state and a.event = new.event and a.to_state = new.state) then
    raise exception 'illegal move of subscription % from % to % by "%"',
      new.id, old.state, new.state, new.event using errcode = 'check_violation';
  end if;
  insert into subscription_events values
    (new.id, new.version, new.event, old.state, new.state, new.moved_for, new.updated_at);
  return null;
end $$;
create trigger begins_unverified after insert on subscriptions
  for each row execute function write_subscription_move();
create trigger moves_as_drawn after update on subscriptions for each row
  when (old.state <> new.state or old.event <> new.event or old.version <> new.version)
  execute function write_subscription_move();

create function refuse_other_subscription() returns trigger language plpgsql as $$
begin
  raise exception 'subscription %: its terms and what proved its delivery never change', old.id
    using errcode = 'check_violation';
end $$;
create trigger keeps_its_terms before update on subscriptions for each row
  when ((old.id, old.customer, old.vin, old.service, old.currency, old.monthly_fee, old.metered,
         old.created_at)
        is distinct from (new.id, new.customer, new.vin, new.service, new.currency,
         new.monthly_fee, new.metered, new.created_at)
     or old.activated_at is not null and (new.activated_at, new.activation_evidence)
        is distinct from (old.activated_at, old.activation_evidence)
     or old.deactivated_at is not null and new.deactivated_at is distinct from old.deactivated_at
     or old.cancelled_at is not null and new.cancelled_at is distinct from old.cancelled_at
     or old.payment_method <> new.payment_method
        and (new.event <> 'Payment method changed' or new.version = old.version))
  execute function refuse_other_subscription();

create function refuse_other_usage() returns trigger language plpgsql as $$
begin
  raise exception 'usage % of subscription % is billed once and changes in no other way',
    old.source_id, old.subscription using errcode = 'check_violation';
end $$;
create trigger is_billed_once before update on usage_records for each row
  when (old.invoice is not null or (old.subscription, old.source_id, old.unit, old.quantity,
         old.at, old.recorded_at) is distinct from (new.subscription, new.source_id, new.unit,
         new.quantity, new.at, new.recorded_at))
  execute function refuse_other_usage();

create trigger is_somebodys after insert on subscriptions
  referencing new table as new_rows for each statement execute function check_whose();

-- At the end of every transaction: the next number of a series follows its last one.
create function check_series() returns trigger language plpgsql as $$
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
create constraint trigger has_no_gap after insert or update on invoice_series
  deferrable initially deferred for each row execute function check_series();

create function refuse_other_run() returns trigger language plpgsql as $$
begin
  raise exception 'what was finished stays as it was finished' using errcode = 'check_violation';
end $$;
create trigger is_finished_once before update on billing_runs for each row
  when (old.finished_at is not null
        or (old.month, old.series, old.first_number, old.started_at)
           is distinct from (new.month, new.series, new.first_number, new.started_at)
        or old.invoiced_at is not null and new.invoiced_at is distinct from old.invoiced_at
        or new.seen < old.seen or new.invoices < old.invoices or new.charges < old.charges)
  execute function refuse_other_run();

create trigger never_removed before delete or truncate on billing_runs
  for each statement execute function refuse_change();
create trigger are_the_rules before insert or update or delete or truncate on subscription_arrows
  for each statement execute function refuse_other_arrows();
create trigger never_removed before delete or truncate on subscriptions
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on usage_records
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on subscription_events
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on invoices
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on written_off_invoices
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on invoice_series
  for each statement execute function refuse_change();

-- Where an invoice stands, read off its last payment; `credited` is what its credit notes take back.
create view invoice_states as
  select i.*, p.id as last_payment, p.state as payment_state, p.decline_code,
         coalesce(c.credited, 0) as credited,
         case when i.kind = 'credit note' then 'credit note'
              when i.gross = 0 then 'nothing to pay'
              when w.invoice is not null then 'written off'
              when p.captured_amount > 0 then 'paid'
              when p.state = 'Failed' then 'declined'
              else 'open' end as state
    from invoices i
    left join lateral (
      select id, state, decline_code, captured_amount from payments p
       where p.subject = i.id and p.type = 'subscription'
       order by p.captured_amount > 0 desc, p.created_at desc limit 1) p on true
    left join written_off_invoices w on w.invoice = i.id
    left join lateral (
      select -sum(n.gross)::bigint as credited from invoices n
       where n.subscription = i.subscription and n.month = i.month and n.corrects = i.id) c on true;
