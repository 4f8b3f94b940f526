-- Customers, vehicles and orders: who buys which vehicle, and where both are on their way.
--
-- Read in this order: customers (the only personal data, so that erasing it leaves the books
-- whole), vehicle_arrows and order_arrows (the ways of Diagrams 2 and 3 as data), vehicles,
-- orders, vehicle_assignments (who has which vehicle), the guards.
--
-- Rules a change must keep: a vehicle and an order move only along an arrow, and the move is
-- written down by the same trigger that allows it; a vehicle has at most one active assignment,
-- and exactly one unless it is sin asignar; nothing here is ever removed.

create table customers (
  id uuid primary key,
  name text check (length(name) between 1 and 200),
  email text check (length(email) between 3 and 254 and email ~ '^[^@\s]+@[^@\s]+$'),
  language text not null check (language ~ '^[a-z]{2}(-[A-Z]{2})?$'),
  created_at timestamptz not null,
  erased_at timestamptz,
  check (case when erased_at is null then name is not null and email is not null
              else name is null and email is null end)
);

create table vehicle_arrows (
  from_state text not null,
  event text not null,
  to_state text not null,
  primary key (from_state, event)
);
insert into vehicle_arrows (from_state, event, to_state) values
  ('sin asignar', 'Mark Vehicle Reserved', 'reserved'),
  ('reserved', 'Order Confirmation', 'in production'),
  ('reserved', 'Vehicle Ready', 'ready'),
  ('reserved', 'Mark Vehicle Sin Asignar', 'sin asignar'),
  ('in production', 'Vehicle Ready', 'ready'),
  ('in production', 'Mark Vehicle Sin Asignar', 'sin asignar'),
  ('ready', 'Mark Fully Paid', 'fully paid'),
  ('ready', 'Mark Vehicle Sin Asignar', 'sin asignar'),
  ('fully paid', 'Registration Complete', 'registered'),
  ('registered', 'Schedule Delivery', 'delivery scheduled'),
  ('sin asignar', 'Vehicle Ready', 'sin asignar'),
  ('reserved', 'Factory refuses order', 'sin asignar'),
  ('reserved', 'Desistimiento', 'sin asignar'),
  ('in production', 'Desistimiento', 'sin asignar'),
  ('ready', 'Desistimiento', 'sin asignar'),
  ('fully paid', 'Desistimiento', 'sin asignar'),
  ('registered', 'Desistimiento', 'sin asignar'),
  ('delivery scheduled', 'Delivery completed', 'delivered'),
  ('delivery scheduled', 'Desistimiento', 'sin asignar'),
  ('delivered', 'Vehicle returned', 'sin asignar');

create table order_arrows (
  from_state text not null,
  event text not null,
  to_state text not null,
  primary key (from_state, event)
);
insert into order_arrows (from_state, event, to_state) values
  ('awaiting reservation payment', 'Mark Vehicle Reserved', 'reserved'),
  ('awaiting reservation payment', 'Payment Failed', 'reservation failed'),
  ('reserved', 'Order Confirmation', 'factory order placed'),
  ('factory order placed', 'Vehicle Ready', 'ready'),
  ('ready', 'Mark Fully Paid', 'fully paid'),
  ('ready', 'Mark Payment Failed', 'reservation lost'),
  ('fully paid', 'Registration Complete', 'registered'),
  ('registered', 'Schedule Delivery', 'delivery scheduled'),
  ('awaiting reservation payment', 'Vehicle taken', 'reservation failed'),
  ('awaiting reservation payment', 'Desistimiento', 'withdrawn'),
  ('reserved', 'Vehicle Ready', 'ready'),
  ('reserved', 'Factory refuses order', 'factory refused'),
  ('reserved', 'Desistimiento', 'withdrawn'),
  ('factory order placed', 'Desistimiento', 'withdrawn'),
  ('ready', 'Desistimiento', 'withdrawn'),
  ('fully paid', 'Desistimiento', 'withdrawn'),
  ('registered', 'Desistimiento', 'withdrawn'),
  ('delivery scheduled', 'Delivery completed', 'delivered'),
  ('delivery scheduled', 'Desistimiento', 'withdrawn'),
  ('delivered', 'Desistimiento', 'withdrawn'),
  ('reservation failed', 'Mark Vehicle Reserved', 'reserved'),
  ('reservation failed', 'Payment Failed', 'reservation failed'),
  ('reservation failed', 'Vehicle taken', 'reservation failed');

-- What a model costs today; an order keeps the price it was made at.
create table vehicle_models (
  model text primary key check (length(model) between 1 and 120),
  price bigint not null check (price > 0),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  updated_at timestamptz not null
);

-- A vehicle; `finished` once the factory said it is ready, whoever it was built for.
create table vehicles (
  vin text primary key check (vin ~ '^[A-Z0-9][A-Z0-9-]{2,31}$' and vin ~ '[A-Z]'),
  model text not null references vehicle_models,
  price bigint not null check (price > 0),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  public_key bytea check (octet_length(public_key) = 32),
  finished boolean not null default false,
  factory_order_id text check (length(factory_order_id) between 1 and 200),
  state text not null default 'sin asignar',
  event text not null default 'Add to Stock Inventory',
  version integer not null default 1,
  moved_for uuid,
  in_stock_since timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  check (state = 'sin asignar' or in_stock_since is null)
);
create index vehicles_in_stock on vehicles (model, finished desc, in_stock_since)
  where state = 'sin asignar';
create index vehicles_of_state on vehicles (state, vin);

create table vehicle_events (
  vin text not null,
  version integer not null,
  event text not null,
  from_state text,
  to_state text not null,
  order_id uuid,
  at timestamptz not null,
  primary key (vin, version)
);

create table orders (
  id uuid primary key,
  customer uuid not null references customers,
  model text not null references vehicle_models,
  vin text references vehicles,
  dealership text not null check (length(dealership) between 1 and 120),
  deposit bigint not null check (deposit > 0),
  price bigint not null check (price > deposit),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  state text not null default 'awaiting reservation payment',
  event text not null default 'Order created',
  version integer not null default 1,
  factory_order_id text check (length(factory_order_id) between 1 and 200),
  plate text check (length(plate) between 1 and 40),
  registered_at timestamptz,
  delivery_id text unique check (length(delivery_id) between 1 and 200),
  delivery_scheduled_for timestamptz,
  delivered_at timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index orders_of_customer on orders (customer, id);
create index orders_of_dealership on orders (dealership, id);
create index orders_of_factory_order on orders (factory_order_id);
create index orders_of_vehicle on orders (vin);
create index orders_of_state on orders (state, id);

create table order_events (
  order_id uuid not null,
  version integer not null,
  event text not null,
  from_state text,
  to_state text not null,
  at timestamptz not null,
  primary key (order_id, version)
);

-- Who has which vehicle. One active row per vehicle, whatever any session tries (decision 20);
-- what ended stays as history.
create table vehicle_assignments (
  id uuid primary key,
  vin text not null references vehicles,
  order_id uuid not null references orders,
  customer uuid not null references customers,
  active boolean not null default true,
  since timestamptz not null,
  until timestamptz,
  ended_because text,
  check (active = (until is null)),
  check (active = (ended_because is null))
);
create unique index one_active_assignment_per_vehicle on vehicle_assignments (vin) where active;
create unique index one_active_assignment_per_order on vehicle_assignments (order_id) where active;
create index vehicle_assignments_of_customer on vehicle_assignments (customer) where active;

-- The link with which a customer gets access: only the digest of its token, once, for a while.
create table access_credentials (
  token_hash bytea primary key check (octet_length(token_hash) = 32),
  customer uuid not null references customers,
  order_id uuid not null references orders,
  expires_at timestamptz not null,
  used_at timestamptz,
  created_at timestamptz not null
);

-- Guards. They hold for every session, whoever it belongs to.

create function write_vehicle_move() returns trigger language plpgsql security definer
set search_path = caas, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    if new.state <> 'sin asignar' or new.version <> 1 then
      raise exception 'vehicle % does not begin sin asignar', new.vin
        using errcode = 'check_violation';
    end if;
    insert into vehicle_events values
      (new.vin, 1, new.event, null, new.state, new.moved_for, new.created_at);
    return null;
  end if;
  if new.version <> old.version + 1 or not exists (
    select from vehicle_arrows a
     where a.from_state = old.state and a.event = new.event and a.to_state = new.state) then
    raise exception 'illegal move of vehicle % from % to % by "%"',
      new.vin, old.state, new.state, new.event using errcode = 'check_violation';
  end if;
  insert into vehicle_events values
    (new.vin, new.version, new.event, old.state, new.state, new.moved_for, new.updated_at);
  return null;
end $$;
create trigger begins_in_stock after insert on vehicles
  for each row execute function write_vehicle_move();
create trigger moves_as_drawn after update on vehicles for each row
  when (old.state <> new.state or old.event <> new.event or old.version <> new.version)
  execute function write_vehicle_move();

create function write_order_move() returns trigger language plpgsql security definer
set search_path = caas, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    if new.state <> 'awaiting reservation payment' or new.version <> 1 then
      raise exception 'order % does not begin awaiting its reservation payment', new.id
        using errcode = 'check_violation';
    end if;
    insert into order_events values (new.id, 1, new.event, null, new.state, new.created_at);
    return null;
  end if;
  if new.version <> old.version + 1 or not exists (
    select from order_arrows a
     where a.from_state = old.state and a.event = new.event and a.to_state = new.state) then
    raise exception 'illegal move of order % from % to % by "%"',
      new.id, old.state, new.state, new.event using errcode = 'check_violation';
  end if;
  insert into order_events values
    (new.id, new.version, new.event, old.state, new.state, new.updated_at);
  return null;
end $$;
create trigger begins_unpaid after insert on orders
  for each row execute function write_order_move();
create trigger moves_as_drawn after update on orders for each row
  when (old.state <> new.state or old.event <> new.event or old.version <> new.version)
  execute function write_order_move();

create function refuse_other_order() returns trigger language plpgsql as $$
begin
  raise exception 'order %: what it is for, and what was told about it once, never changes', old.id
    using errcode = 'check_violation';
end $$;
create trigger is_for_one_thing before update on orders for each row
  when ((old.id, old.customer, old.model, old.dealership, old.deposit, old.price, old.currency,
         old.created_at)
        is distinct from (new.id, new.customer, new.model, new.dealership, new.deposit, new.price,
         new.currency, new.created_at)
     or old.vin is not null and new.vin is distinct from old.vin
     or old.delivery_id is not null and new.delivery_id is distinct from old.delivery_id
     or old.plate is not null and new.plate is distinct from old.plate
     or old.factory_order_id is not null
        and new.factory_order_id is distinct from old.factory_order_id
     or old.registered_at is not null and new.registered_at is distinct from old.registered_at
     or old.delivered_at is not null and new.delivered_at is distinct from old.delivered_at)
  execute function refuse_other_order();

-- A vehicle signs with one key for ever: what it confirmed can be checked at any time.
create function refuse_other_vehicle() returns trigger language plpgsql as $$
begin
  raise exception 'vehicle %: neither what it is nor the key it signs with ever changes', old.vin
    using errcode = 'check_violation';
end $$;
create trigger is_one_thing before update on vehicles for each row
  when ((old.vin, old.model, old.created_at) is distinct from (new.vin, new.model, new.created_at)
     or old.public_key is not null and new.public_key is distinct from old.public_key
     or old.finished and not new.finished)
  execute function refuse_other_vehicle();

create function refuse_other_customer() returns trigger language plpgsql as $$
begin
  raise exception 'customer %: whoever was erased stays erased', old.id
    using errcode = 'check_violation';
end $$;
create trigger stays_erased before update on customers for each row
  when ((old.id, old.created_at) is distinct from (new.id, new.created_at)
     or old.erased_at is not null and new.erased_at is distinct from old.erased_at)
  execute function refuse_other_customer();

create function refuse_other_link() returns trigger language plpgsql as $$
begin
  raise exception 'a link gives access once, to one customer, and for as long as was said'
    using errcode = 'check_violation';
end $$;
create trigger is_used_once before update on access_credentials for each row
  when (old.used_at is not null
        or (old.token_hash, old.customer, old.order_id, old.expires_at, old.created_at)
           is distinct from
           (new.token_hash, new.customer, new.order_id, new.expires_at, new.created_at))
  execute function refuse_other_link();

create function refuse_other_assignment() returns trigger language plpgsql as $$
begin
  raise exception 'assignment % of vehicle %: an assignment ends once and changes in no other way',
    old.id, old.vin using errcode = 'check_violation';
end $$;
create trigger only_ends before update on vehicle_assignments for each row
  when (not old.active or new.active
     or (old.id, old.vin, old.order_id, old.customer, old.since)
        is distinct from (new.id, new.vin, new.order_id, new.customer, new.since))
  execute function refuse_other_assignment();

-- At the end of every transaction: sin asignar means in stock and nobody's, anything else that
-- exactly one order has it.
create function check_assignment() returns trigger language plpgsql as $$
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
create constraint trigger agrees_with_its_assignment after insert or update on vehicles
  deferrable initially deferred for each row execute function check_assignment();
create constraint trigger agrees_with_its_vehicle after insert or update on vehicle_assignments
  deferrable initially deferred for each row execute function check_assignment();

-- Reserved and fully paid are bought: the capture of this order's own payment is claimed.
create function check_paid() returns trigger language plpgsql as $$
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
create constraint trigger is_paid_for after update of state on orders
  deferrable initially deferred for each row
  when (new.state in ('reserved', 'fully paid') and old.state <> new.state)
  execute function check_paid();

create trigger append_only before update or delete or truncate on vehicle_events
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on order_events
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on customers
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on vehicles
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on orders
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on vehicle_assignments
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on access_credentials
  for each statement execute function refuse_change();
create trigger are_the_rules before insert or update or delete or truncate on vehicle_arrows
  for each statement execute function refuse_other_arrows();
create trigger are_the_rules before insert or update or delete or truncate on order_arrows
  for each statement execute function refuse_other_arrows();
