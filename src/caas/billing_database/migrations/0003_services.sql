-- The Service Catalog: what can be bought for a vehicle, and who bought what.

create table services (
  code text primary key check (code ~ '^[a-z0-9][a-z0-9-]{0,63}$'),
  name text not null check (length(name) between 1 and 200),
  names jsonb not null default '{}' check (jsonb_typeof(names) = 'object'),
  kind text not null check (kind in ('one_time', 'subscription')),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  prices jsonb not null default '[]',
  monthly_fee bigint check (monthly_fee >= 0),
  metered jsonb not null default '[]',
  offered boolean not null default true,
  updated_at timestamptz not null,
  check ((kind = 'subscription') = (monthly_fee is not null))
);

-- A one-time service wanted by a customer; what became of it is told by its payment.
create table service_orders (
  id uuid primary key,
  customer uuid not null,
  vin text not null,
  service text not null references services,
  duration_days integer not null check (duration_days between 1 and 3660),
  amount bigint not null check (amount > 0),
  currency text not null,
  created_at timestamptz not null
);
create index service_orders_of_customer on service_orders (customer, created_at);
create trigger append_only before update or delete or truncate on service_orders
  for each statement execute function refuse_change();

-- Customers and vehicles are never removed: to look once is enough, and takes no lock on them.
create function check_whose() returns trigger language plpgsql as $$
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
create trigger is_somebodys after insert on service_orders
  referencing new table as new_rows for each statement execute function check_whose();

-- The state of a service order, read off its last payment, its claim and its evidence.
create view service_order_states as
  select o.*, p.id as payment_id, p.state as payment_state, c.kind as claim,
         e.recorded_at as active_from,
         case when e.id is not null then (
           select valid_until from ota_commands k where k.command_id = e.command_id) end
           as active_until,
         case when p.id is null then 'awaiting payment'
              when e.id is not null then 'active'
              when c.kind = 'void' or p.state = 'Voided' then 'activation failed'
              when p.state = 'Failed' then 'cancelled'
              when p.state = 'Authorized' then 'activating'
              else 'awaiting payment' end as state
    from service_orders o
    left join lateral (select id, state from payments p
      where p.subject = o.id order by p.id desc limit 1) p on true
    left join resolution_claims c on c.payment_id = p.id
    left join delivery_evidence e on e.id = c.evidence_id;
