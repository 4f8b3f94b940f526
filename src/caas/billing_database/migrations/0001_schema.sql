-- The Billing Database: every table, view, function and guard, and the rows it begins with.
--
-- One section per subject: tables with their constraints and indexes, functions, views, triggers.
-- Rules a change must keep: money is bigint minor units with its currency; append-only tables are
-- guarded by triggers; a payment changes only through accept_payments and apply_transitions; a
-- later change is a new migration.

set local check_function_bodies = false;

create extension if not exists btree_gist with schema caas;

-- == Clock, processes and functions that every subject uses =======================================

-- How far the simulated clock is ahead of the real one; one row, zero in production.
create table clock (
    only_row boolean default true not null,
    moved interval default '00:00:00'::interval not null,
    constraint clock_pkey primary key (only_row),
    constraint clock_only_row_check check (only_row)
);

-- Processes of the platform; each holds an advisory lock while it runs.
create table processes (
    id integer not null,
    name text not null,
    started_at timestamptz not null,
    gone_at timestamptz,
    constraint processes_pkey primary key (id),
    constraint processes_name_check check (length(name) between 1 and 200)
);

create function db_now() returns timestamptz
    language sql stable
    as $$ select clock_timestamp() + (select moved from caas.clock) $$;

create function this_process() returns integer
    language sql stable
    as $$ select nullif(current_setting('caas.process', true), '')::integer $$;

create function process_lives(p_id integer) returns boolean
    language sql stable strict
    as $$
  select exists (select from pg_locks l
                  where l.locktype = 'advisory' and l.classid = 1667326323 and l.objid = p_id::oid
                    and l.objsubid = 2 and l.granted
                    and l.database = (select d.oid from pg_database d
                                       where d.datname = current_database()))
$$;

create function silent_processes() returns setof integer
    language sql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
  update processes set gone_at = null where gone_at is not null and process_lives(id);
  delete from processes where gone_at < db_now() - interval '1 day';
  select id from processes where gone_at is null and not process_lives(id)
$$;

create function names_of_dead(p_processes integer[]) returns setof text
    language sql stable security definer
    set search_path to 'caas', 'pg_temp'
    as $$
  select p.name from processes p
   where p.id = any (p_processes)
     and not exists (select from processes q
                      where q.name = p.name and q.id <> p.id and process_lives(q.id))
$$;

-- Only `remove_old_rows` removes rows of an append-only table, as the owner of the schema.
create function refuse_change() returns trigger
    language plpgsql
    as $$
begin
  if tg_op = 'DELETE' and current_setting('caas.removes', true) = tg_table_name
     and current_user = (select relowner::regrole::text from pg_class where oid = tg_relid) then
    return null;
  end if;
  raise exception '% is append-only: a row of it is never changed or removed', tg_table_name
    using errcode = 'restrict_violation';
end $$;

create function refuse_one_person() returns trigger
    language plpgsql
    as $$
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

create function refuse_other_transitions() returns trigger
    language plpgsql
    as $$
begin
  if current_setting('caas.migration', true) is distinct from 'runs' then
    raise exception '% is written by a migration alone', tg_table_name
      using errcode = 'restrict_violation';
  end if;
  return null;
end $$;

create function refuse_other_run() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'what was finished stays as it was finished' using errcode = 'check_violation';
end $$;

create function refuse_other_decision() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'a decision is taken once, and stays as it was proposed'
    using errcode = 'check_violation';
end $$;

-- == Customers and accounts =======================================================================

-- Name, e-mail address and language of customers.
create table customers (
    id uuid not null,
    name text,
    email text,
    language text not null,
    created_at timestamptz not null,
    erased_at timestamptz,
    dealership text,
    constraint customers_pkey primary key (id),
    constraint customers_check check (
        case
            when erased_at is null then name is not null and email is not null
            else name is null and email is null
        end),
    constraint customers_dealership_check check (length(dealership) between 1 and 120),
    constraint customers_email_check
        check (length(email) >= 3 and length(email) <= 254 and email ~ '^[^@\s]+@[^@\s]+$'),
    constraint customers_language_check check (language ~ '^[a-z]{2}(-[A-Z]{2})?$'),
    constraint customers_name_check check (length(name) between 1 and 200)
);

create index customers_of_email on customers (lower(email));

-- Name, address and tax id that a customer's invoices show.
create table billing_details (
    customer uuid not null,
    name text not null,
    street text not null,
    postcode text not null,
    city text not null,
    country text not null,
    tax_id text,
    updated_at timestamptz not null,
    constraint billing_details_pkey primary key (customer),
    constraint billing_details_customer_fkey foreign key (customer) references customers (id),
    constraint billing_details_city_check check (length(city) between 1 and 100),
    constraint billing_details_country_check check (country ~ '^[A-Z]{2}$'),
    constraint billing_details_name_check check (length(name) between 1 and 200),
    constraint billing_details_postcode_check check (length(postcode) between 1 and 20),
    constraint billing_details_street_check check (length(street) between 1 and 200),
    constraint billing_details_tax_id_check check (length(tax_id) between 3 and 40)
);

-- Sign-in accounts of customers and staff, with role and password hash.
create table accounts (
    id uuid not null,
    role text not null,
    customer uuid,
    dealership text,
    login text,
    password_hash text not null,
    created_at timestamptz not null,
    password_set_at timestamptz not null,
    disabled_at timestamptz,
    constraint accounts_pkey primary key (id),
    constraint accounts_customer_key unique (customer),
    constraint accounts_login_key unique (login),
    constraint accounts_customer_fkey foreign key (customer) references customers (id),
    constraint accounts_check check ((role = 'customer') = (customer is not null)),
    constraint accounts_check1 check ((role = 'sales') = (dealership is not null)),
    constraint accounts_check2 check ((role = 'customer') = (login is null)),
    constraint accounts_dealership_check check (length(dealership) between 1 and 120),
    constraint accounts_login_check
        check (length(login) >= 3 and length(login) <= 120 and login = lower(login)),
    constraint accounts_password_hash_check check (password_hash like '$argon2id$%'),
    constraint accounts_role_check check (role in ('customer', 'sales', 'operations'))
);

-- Signed-in sessions, by digest of their token, with the times at which they end.
create table sessions (
    token_hash bytea not null,
    account uuid not null,
    created_at timestamptz not null,
    seen_at timestamptz not null,
    idle_until timestamptz not null,
    ends_at timestamptz not null,
    ended_at timestamptz,
    also uuid[] default '{}'::uuid[] not null,
    second_factor boolean default false not null,
    constraint sessions_pkey primary key (token_hash),
    constraint sessions_account_fkey foreign key (account) references accounts (id),
    constraint sessions_also_check check (cardinality(also) <= 4),
    constraint sessions_token_hash_check check (octet_length(token_hash) = 32)
) with (fillfactor = 80);

create index sessions_by_end on sessions (ends_at);
create index sessions_of_account on sessions (account) where ended_at is null;

-- Failed sign-ins in a row of each login or address, and when it may try again.
create table sign_in_attempts (
    counted_for bytea not null,
    failures integer not null,
    failed_at timestamptz not null,
    free_at timestamptz not null,
    constraint sign_in_attempts_pkey primary key (counted_for),
    constraint sign_in_attempts_counted_for_check check (octet_length(counted_for) = 32),
    constraint sign_in_attempts_failures_check check (failures > 0)
) with (fillfactor = 80);

create index sign_in_attempts_by_age on sign_in_attempts (failed_at);

-- Recent requests for access links, counted so that they can be limited.
create table refused_sign_ins (
    counted_for bytea not null,
    times integer not null,
    since timestamptz not null,
    constraint refused_sign_ins_pkey primary key (counted_for),
    constraint refused_sign_ins_counted_for_check check (octet_length(counted_for) = 32),
    constraint refused_sign_ins_times_check check (times > 0)
);

create index refused_sign_ins_by_age on refused_sign_ins (since);

-- Second factor of each account, with its encrypted secret.
create table second_factors (
    id uuid not null,
    account uuid not null,
    sealed_secret bytea not null,
    created_at timestamptz not null,
    confirmed_at timestamptz,
    last_step bigint,
    ended_at timestamptz,
    ended_by uuid,
    constraint second_factors_pkey primary key (id),
    constraint second_factors_account_fkey foreign key (account) references accounts (id),
    constraint second_factors_ended_by_fkey foreign key (ended_by) references accounts (id),
    constraint second_factors_check check ((confirmed_at is null) = (last_step is null)),
    constraint second_factors_check1 check ((ended_at is null) = (ended_by is null)),
    constraint second_factors_sealed_secret_check
        check (octet_length(sealed_secret) between 29 and 256)
);

create unique index one_second_factor on second_factors (account) where ended_at is null;

-- Digests of the single-use codes that replace a second factor.
create table recovery_codes (
    code_hash bytea not null,
    factor uuid not null,
    created_at timestamptz not null,
    used_at timestamptz,
    constraint recovery_codes_pkey primary key (code_hash),
    constraint recovery_codes_factor_fkey foreign key (factor) references second_factors (id),
    constraint recovery_codes_code_hash_check check (octet_length(code_hash) = 32)
);

create index recovery_codes_of_factor on recovery_codes (factor) where used_at is null;

-- Digests of the single-use links with which staff set a password.
create table staff_links (
    token_hash bytea not null,
    account uuid not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    created_at timestamptz not null,
    constraint staff_links_pkey primary key (token_hash),
    constraint staff_links_account_fkey foreign key (account) references accounts (id),
    constraint staff_links_token_hash_check check (octet_length(token_hash) = 32)
);

create index staff_links_of_account on staff_links (account) where used_at is null;

-- Digests of the single-use links that give the customer of an order access.
create table access_credentials (
    token_hash bytea not null,
    customer uuid not null,
    order_id uuid not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    created_at timestamptz not null,
    constraint access_credentials_pkey primary key (token_hash),
    constraint access_credentials_customer_fkey foreign key (customer) references customers (id),
    constraint access_credentials_token_hash_check check (octet_length(token_hash) = 32)
);

create index access_credentials_open on access_credentials (customer) where used_at is null;

-- Digest of each API key, its scopes and restrictions.
create table api_keys (
    id uuid not null,
    key_hash bytea not null,
    name text not null,
    scopes text[] not null,
    customer uuid,
    dealership text,
    created_at timestamptz not null,
    revoked_at timestamptz,
    account uuid,
    activated_at timestamptz,
    activated_account uuid,
    constraint api_keys_pkey primary key (id),
    constraint api_keys_key_hash_key unique (key_hash),
    constraint api_keys_account_fkey foreign key (account) references accounts (id),
    constraint api_keys_activated_account_fkey
        foreign key (activated_account) references accounts (id),
    constraint api_keys_key_hash_check check (octet_length(key_hash) = 32),
    constraint api_keys_name_check check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    constraint api_keys_scopes_check check (cardinality(scopes) > 0)
);

create index api_keys_of_account on api_keys (account) where revoked_at is null;
create index api_keys_of_name on api_keys (name);

create function is_erased(p_customer uuid) returns boolean
    language sql stable
    as $$ select exists (select from caas.customers where id = p_customer and erased_at is not null) $$;

create function check_not_erased() returns trigger
    language plpgsql
    as $$
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

create function refuse_other_creator() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'customer %: the dealership that created it never changes', old.id
    using errcode = 'check_violation';
end $$;

create function refuse_other_customer() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'customer %: an erasure cannot be undone', old.id
    using errcode = 'check_violation';
end $$;

create function refuse_other_factor() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'a second factor keeps its secret, counts each code once, and ends for good'
    using errcode = 'check_violation';
end $$;

create function refuse_late_factor() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'a session began with a second factor, or it never has one'
    using errcode = 'check_violation';
end $$;

create function refuse_revival() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'a session that has ended stays ended' using errcode = 'check_violation';
end $$;

create function end_older_staff_links() returns trigger
    language plpgsql
    as $$
begin
  perform from accounts where id = new.account for no key update;
  update staff_links set used_at = db_now() where account = new.account and used_at is null;
  return new;
end $$;

create function end_older_credentials() returns trigger
    language plpgsql
    as $$
begin
  perform from customers where id = new.customer for no key update;
  update access_credentials set used_at = db_now()
   where customer = new.customer and used_at is null;
  return new;
end $$;

create function refuse_other_link() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'a link gives access once, to one customer, and for as long as was said'
    using errcode = 'check_violation';
end $$;

create function refuse_other_key() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'key "%" is the key it is, and stays revoked once it was', old.name
    using errcode = 'check_violation';
end $$;

create function refuse_other_owner() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'key "%" belongs to whom it belongs, and is activated once', old.name
    using errcode = 'check_violation';
end $$;

create function refuse_other_scopes() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'key "%" keeps its scopes and whom it is narrowed to', old.name
    using errcode = 'check_violation';
end $$;

create function clear_customer(p_customer uuid) returns void
    language sql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create trigger keeps_its_creator before update on customers
    for each row when (old.dealership is distinct from new.dealership)
    execute function refuse_other_creator();
create trigger never_removed before delete or truncate on customers
    for each statement execute function refuse_change();
create trigger stays_erased before update on customers
    for each row
    when (old.id is distinct from new.id or old.created_at is distinct from new.created_at
        or (old.erased_at is not null and new.erased_at is distinct from old.erased_at))
    execute function refuse_other_customer();

create trigger never_removed before delete or truncate on accounts
    for each statement execute function refuse_change();

create trigger factor_stays before update on sessions
    for each row when (new.second_factor is distinct from old.second_factor)
    execute function refuse_late_factor();
create trigger stays_ended before update on sessions
    for each row when (old.ended_at is not null and new.ended_at is distinct from old.ended_at)
    execute function refuse_revival();

create trigger another_person_resets before insert or update on second_factors
    for each row when (new.ended_at is not null)
    execute function refuse_one_person('account', 'ended_by');
create trigger never_removed before delete or truncate on second_factors
    for each statement execute function refuse_change();
create trigger stays before update on second_factors
    for each row
    when (new.id is distinct from old.id or new.account is distinct from old.account
        or old.ended_at is not null
        or (old.confirmed_at is not null
            and (new.sealed_secret is distinct from old.sealed_secret
                 or new.created_at is distinct from old.created_at
                 or new.confirmed_at is distinct from old.confirmed_at or new.last_step is null
                 or new.last_step < old.last_step)))
    execute function refuse_other_factor();

create trigger is_used_once before update on recovery_codes
    for each row
    when (old.used_at is not null
        or (new.code_hash is distinct from old.code_hash or new.factor is distinct from old.factor
            or new.created_at is distinct from old.created_at))
    execute function refuse_other_factor();
create trigger never_removed before delete or truncate on recovery_codes
    for each statement execute function refuse_change();

create trigger ends_older before insert on staff_links
    for each row execute function end_older_staff_links();

create trigger ends_older before insert on access_credentials
    for each row execute function end_older_credentials();
create trigger is_used_once before update on access_credentials
    for each row
    when (old.used_at is not null
        or (old.token_hash is distinct from new.token_hash
            or old.customer is distinct from new.customer
            or old.order_id is distinct from new.order_id
            or old.expires_at is distinct from new.expires_at
            or old.created_at is distinct from new.created_at))
    execute function refuse_other_link();
create trigger never_removed before delete or truncate on access_credentials
    for each statement execute function refuse_change();

create trigger never_removed before delete or truncate on api_keys
    for each statement execute function refuse_change();
create trigger owner_stays before update on api_keys
    for each row
    when (new.account is distinct from old.account
        or (old.account is not null
            and (new.scopes is distinct from old.scopes
                 or new.customer is distinct from old.customer
                 or new.dealership is distinct from old.dealership))
        or (old.activated_at is not null
            and (new.activated_at is distinct from old.activated_at
                 or new.activated_account is distinct from old.activated_account)))
    execute function refuse_other_owner();
create trigger scopes_stay before update on api_keys
    for each row
    when (new.scopes is distinct from old.scopes or new.customer is distinct from old.customer
        or new.dealership is distinct from old.dealership)
    execute function refuse_other_scopes();
create trigger stays_revoked before update on api_keys
    for each row
    when (old.id is distinct from new.id or old.key_hash is distinct from new.key_hash
        or old.created_at is distinct from new.created_at
        or (old.revoked_at is not null and new.revoked_at is distinct from old.revoked_at))
    execute function refuse_other_key();
create trigger two_people_decide before insert or update on api_keys
    for each row
    when (new.account is not null and new.activated_at is not null and new.revoked_at is null
        and (new.scopes && array['operations', 'any']))
    execute function refuse_one_person('account', 'activated_account');

-- == Vehicles and orders ==========================================================================

-- Vehicle models and their list prices.
create table vehicle_models (
    model text not null,
    price bigint not null,
    currency text not null,
    updated_at timestamptz not null,
    constraint vehicle_models_pkey primary key (model),
    constraint vehicle_models_currency_check check (currency ~ '^[A-Z]{3}$'),
    constraint vehicle_models_model_check check (length(model) between 1 and 120),
    constraint vehicle_models_price_check check (price > 0)
);

-- Vehicles: model, price, public key and state.
create table vehicles (
    vin text not null,
    model text not null,
    price bigint not null,
    currency text not null,
    public_key bytea,
    finished boolean default false not null,
    factory_order_id text,
    state text default 'sin asignar' not null,
    event text default 'Add to Stock Inventory' not null,
    version integer default 1 not null,
    transitioned_for uuid,
    in_stock_since timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint vehicles_pkey primary key (vin),
    constraint vehicles_model_fkey foreign key (model) references vehicle_models (model),
    constraint vehicles_check check (state = 'sin asignar' or in_stock_since is null),
    constraint vehicles_currency_check check (currency ~ '^[A-Z]{3}$'),
    constraint vehicles_factory_order_id_check check (length(factory_order_id) between 1 and 200),
    constraint vehicles_price_check check (price > 0),
    constraint vehicles_public_key_check check (octet_length(public_key) = 32),
    constraint vehicles_vin_check check (vin ~ '^[A-Z0-9][A-Z0-9-]{2,31}$' and vin ~ '[A-Z]')
);

create index vehicles_in_stock on vehicles (model, finished desc, in_stock_since)
    where state = 'sin asignar';
create index vehicles_of_model on vehicles (model, vin);
create index vehicles_of_state on vehicles (state, vin);
create index vehicles_of_state_and_model on vehicles (state, model, vin);

-- Transitions of each vehicle, written by a trigger.
create table vehicle_events (
    vin text not null,
    version integer not null,
    event text not null,
    from_state text,
    to_state text not null,
    order_id uuid,
    at timestamptz not null,
    constraint vehicle_events_pkey primary key (vin, version)
);

create index vehicle_events_in_time on vehicle_events using brin (at)
    with (pages_per_range = 32, autosummarize = on);

-- Legal transitions of a vehicle.
create table vehicle_transitions (
    from_state text not null,
    event text not null,
    to_state text not null,
    constraint vehicle_transitions_pkey primary key (from_state, event)
);

-- Orders: customer, vehicle, dealership and state.
create table orders (
    id uuid not null,
    customer uuid not null,
    model text not null,
    vin text,
    dealership text not null,
    deposit bigint not null,
    price bigint not null,
    currency text not null,
    state text default 'awaiting reservation payment' not null,
    event text default 'Order created' not null,
    version integer default 1 not null,
    factory_order_id text,
    plate text,
    registered_at timestamptz,
    delivery_id text,
    delivery_scheduled_for timestamptz,
    delivered_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint orders_pkey primary key (id),
    constraint orders_delivery_id_key unique (delivery_id),
    constraint orders_customer_fkey foreign key (customer) references customers (id),
    constraint orders_model_fkey foreign key (model) references vehicle_models (model),
    constraint orders_vin_fkey foreign key (vin) references vehicles (vin),
    constraint orders_check check (price > deposit),
    constraint orders_currency_check check (currency ~ '^[A-Z]{3}$'),
    constraint orders_dealership_check check (length(dealership) between 1 and 120),
    constraint orders_delivery_id_check check (length(delivery_id) between 1 and 200),
    constraint orders_deposit_check check (deposit > 0),
    constraint orders_factory_order_id_check check (length(factory_order_id) between 1 and 200),
    constraint orders_plate_check check (length(plate) between 1 and 40)
);

alter table access_credentials
    add constraint access_credentials_order_id_fkey foreign key (order_id) references orders (id);

create index orders_of_customer on orders (customer, id);
create index orders_of_dealership on orders (dealership, id);
create index orders_of_dealership_and_state on orders (dealership, state, id);
create index orders_of_factory_order on orders (factory_order_id);
create index orders_of_state on orders (state, id);
create index orders_of_vehicle on orders (vin);

-- Transitions of each order, written by a trigger.
create table order_events (
    order_id uuid not null,
    version integer not null,
    event text not null,
    from_state text,
    to_state text not null,
    at timestamptz not null,
    terms jsonb,
    constraint order_events_pkey primary key (order_id, version)
);

create index order_events_in_time on order_events using brin (at)
    with (pages_per_range = 32, autosummarize = on);

-- Legal transitions of an order.
create table order_transitions (
    from_state text not null,
    event text not null,
    to_state text not null,
    constraint order_transitions_pkey primary key (from_state, event)
);

-- Which customer holds a vehicle, by which order and how long.
create table vehicle_assignments (
    id uuid not null,
    vin text not null,
    order_id uuid not null,
    customer uuid not null,
    active boolean default true not null,
    since timestamptz not null,
    until timestamptz,
    ended_because text,
    constraint vehicle_assignments_pkey primary key (id),
    constraint vehicle_assignments_customer_fkey foreign key (customer) references customers (id),
    constraint vehicle_assignments_order_id_fkey foreign key (order_id) references orders (id),
    constraint vehicle_assignments_vin_fkey foreign key (vin) references vehicles (vin),
    constraint vehicle_assignments_check check (active = (until is null)),
    constraint vehicle_assignments_check1 check (active = (ended_because is null))
);

create unique index one_active_assignment_per_order on vehicle_assignments (order_id) where active;
create unique index one_active_assignment_per_vehicle on vehicle_assignments (vin) where active;
create index vehicle_assignments_of_customer on vehicle_assignments (customer) where active;

create function refuse_other_vehicle() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'vehicle %: neither what it is nor the key it signs with ever changes', old.vin
    using errcode = 'check_violation';
end $$;

create function write_vehicle_transition() returns trigger
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function order_terms(o orders) returns jsonb
    language sql immutable
    as $$ select jsonb_build_object('customer', o.customer, 'model', o.model, 'dealership', o.dealership,
     'deposit', o.deposit, 'price', o.price, 'currency', o.currency) $$;

create function refuse_other_order() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'order %: its purpose, and every recorded fact about it, never change', old.id
    using errcode = 'check_violation';
end $$;

create function check_paid() returns trigger
    language plpgsql
    as $$
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

create function check_lost() returns trigger
    language plpgsql
    as $$
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

create function write_order_transition() returns trigger
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function check_assignment() returns trigger
    language plpgsql
    as $$
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

create function refuse_other_assignment() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'assignment % of vehicle %: an assignment ends once and changes in no other way',
    old.id, old.vin using errcode = 'check_violation';
end $$;

create function has_vehicle(p_customer uuid, p_vin text) returns boolean
    language sql stable
    as $$
  select exists (select from caas.vehicle_assignments a join caas.orders o on o.id = a.order_id
                  where a.vin = p_vin and a.customer = p_customer and a.active
                    and o.state = 'delivered')
$$;

create function lock_ownership(p_customer uuid, p_vin text) returns boolean
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
begin
  perform from vehicle_assignments a join orders o on o.id = a.order_id
    where a.vin = p_vin and a.customer = p_customer and a.active and o.state = 'delivered'
    for share of a, o;
  return found;
end $$;

create function dealership_knows(p_dealership text, p_customer uuid) returns boolean
    language sql stable
    as $$
  select exists (select from caas.customers c where c.id = p_customer and c.dealership = p_dealership)
      or exists (select from caas.orders o
                   join caas.order_events e on e.order_id = o.id and e.to_state = 'reserved'
                  where o.customer = p_customer and o.dealership = p_dealership)
$$;

create constraint trigger agrees_with_its_assignment after insert or update on vehicles
    deferrable initially deferred for each row execute function check_assignment();
create trigger begins_in_stock after insert on vehicles
    for each row execute function write_vehicle_transition();
create trigger is_one_thing before update on vehicles
    for each row
    when (old.vin is distinct from new.vin or old.model is distinct from new.model
        or old.created_at is distinct from new.created_at
        or (old.public_key is not null and new.public_key is distinct from old.public_key)
        or (old.finished and (not new.finished)))
    execute function refuse_other_vehicle();
create trigger transitions_as_drawn after update on vehicles
    for each row
    when (old.state <> new.state or old.event <> new.event or old.version <> new.version)
    execute function write_vehicle_transition();
create trigger never_removed before delete or truncate on vehicles
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on vehicle_events
    for each statement execute function refuse_change();

create trigger are_the_rules before insert or delete or update or truncate on vehicle_transitions
    for each statement execute function refuse_other_transitions();

create trigger begins_unpaid after insert on orders
    for each row execute function write_order_transition();
create trigger is_for_one_thing before update on orders
    for each row
    when (old.id is distinct from new.id or old.customer is distinct from new.customer
        or old.model is distinct from new.model or old.dealership is distinct from new.dealership
        or old.deposit is distinct from new.deposit or old.price is distinct from new.price
        or old.currency is distinct from new.currency
        or old.created_at is distinct from new.created_at
        or (old.vin is not null and new.vin is distinct from old.vin)
        or (old.delivery_id is not null and new.delivery_id is distinct from old.delivery_id)
        or (old.plate is not null and new.plate is distinct from old.plate)
        or (old.factory_order_id is not null
            and new.factory_order_id is distinct from old.factory_order_id)
        or (old.registered_at is not null and new.registered_at is distinct from old.registered_at)
        or (old.delivered_at is not null and new.delivered_at is distinct from old.delivered_at))
    execute function refuse_other_order();
create trigger is_nobodys_who_was_erased after insert on orders
    referencing new table as new_rows for each statement execute function check_not_erased();
create constraint trigger is_paid_for after update of state on orders
    deferrable initially deferred for each row
    when (new.state in ('reserved', 'fully paid') and old.state <> new.state)
    execute function check_paid();
create constraint trigger is_lost_by_a_decline after update of state on orders
    deferrable initially deferred for each row
    when (new.state = 'reservation lost' and old.state <> new.state)
    execute function check_lost();
create trigger transitions_as_drawn after update on orders
    for each row
    when (old.state <> new.state or old.event <> new.event or old.version <> new.version)
    execute function write_order_transition();
create trigger never_removed before delete or truncate on orders
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on order_events
    for each statement execute function refuse_change();

create trigger are_the_rules before insert or delete or update or truncate on order_transitions
    for each statement execute function refuse_other_transitions();

create constraint trigger agrees_with_its_vehicle after insert or update on vehicle_assignments
    deferrable initially deferred for each row execute function check_assignment();
create trigger never_removed before delete or truncate on vehicle_assignments
    for each statement execute function refuse_change();
create trigger only_ends before update on vehicle_assignments
    for each row
    when ((not old.active) or new.active
        or (old.id is distinct from new.id or old.vin is distinct from new.vin
            or old.order_id is distinct from new.order_id
            or old.customer is distinct from new.customer or old.since is distinct from new.since))
    execute function refuse_other_assignment();

-- == Vehicle commands =============================================================================

create sequence ota_epochs;

-- Commands to vehicles, with epoch and deadline.
create table ota_commands (
    command_id uuid not null,
    subject uuid not null,
    vin text not null,
    service text not null,
    action text not null,
    purpose text not null,
    epoch bigint default nextval('caas.ota_epochs'::regclass) not null,
    valid_until timestamptz,
    deadline timestamptz not null,
    created_at timestamptz not null,
    attempt integer default 1 not null,
    constraint ota_commands_pkey primary key (command_id),
    constraint ota_commands_epoch_key unique (epoch),
    constraint ota_commands_action_check check (action in ('activate', 'deactivate')),
    constraint ota_commands_attempt_check check (attempt > 0),
    constraint ota_commands_purpose_check check (purpose in ('service payment', 'subscription'))
);

create index ota_commands_in_time on ota_commands using brin (created_at)
    with (pages_per_range = 32, autosummarize = on);
create index ota_commands_of_subject on ota_commands (subject);

-- Acknowledgements of vehicles, and other evidence that something was delivered.
create table delivery_evidence (
    id uuid not null,
    subject uuid not null,
    kind text not null,
    command_id uuid,
    action text,
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
    proves_delivery boolean generated always as (verified and status = 'SUCCEEDED'
        and action is distinct from 'deactivate') stored not null,
    signs_action boolean default true not null,
    constraint delivery_evidence_pkey primary key (id),
    constraint delivery_evidence_subject_id_kind_proves_delivery_key
        unique (subject, id, kind, proves_delivery),
    constraint delivery_evidence_action_check check (action in ('activate', 'deactivate')),
    constraint delivery_evidence_check
        check (kind <> 'vehicle_acknowledgement' or not verified
            or (command_id is not null and epoch is not null and action is not null
                and signature is not null and octet_length(signature) = 64)),
    constraint delivery_evidence_check1 check (verified = (refused_because is null)),
    constraint delivery_evidence_kind_check
        check (kind in ('vehicle_acknowledgement', 'reservation_recorded', 'order_confirmed',
            'usage_snapshot'))
);

create index delivery_evidence_in_time on delivery_evidence using brin (recorded_at)
    with (pages_per_range = 32, autosummarize = on);
create unique index evidence_counts_once on delivery_evidence
    (subject, kind, coalesce(command_id, subject), status, coalesce(signature, '\x'::bytea));

-- Acknowledgements that proved nothing, counted per vehicle, hour and reason.
create table refused_acknowledgements (
    vin text not null,
    hour timestamptz not null,
    reason text not null,
    digest bytea not null,
    command_id uuid,
    subject uuid,
    times bigint not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    constraint refused_acknowledgements_pkey primary key (vin, hour, reason, digest),
    constraint refused_acknowledgements_check check ((command_id is null) = (subject is null)),
    constraint refused_acknowledgements_check1
        check (octet_length(digest) > 0 or command_id is null),
    constraint refused_acknowledgements_digest_check check (octet_length(digest) in (0, 32)),
    constraint refused_acknowledgements_reason_check
        check (reason in ('no such command was ever given',
            'it does not say what the command said', 'the vehicle has no key here',
            'the signature is not the vehicle''s', 'its topic is no vehicle''s response topic',
            'it is too large', 'it is not of the agreed form',
            'topic and message name different commands', 'it could not be handled')),
    constraint refused_acknowledgements_times_check check (times > 0)
) with (fillfactor = 80);

create index refused_acknowledgements_of on refused_acknowledgements (subject)
    where subject is not null;

create function check_new_evidence() returns trigger
    language plpgsql
    set enable_hashjoin to 'off'
    set enable_mergejoin to 'off'
    set enable_seqscan to 'off'
    as $$
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

create trigger append_only before delete or update or truncate on ota_commands
    for each statement execute function refuse_change();

create trigger answers_a_command after insert on delivery_evidence
    referencing new table as new_rows for each statement execute function check_new_evidence();
create trigger append_only before delete or update or truncate on delivery_evidence
    for each statement execute function refuse_change();

-- == Services, entitlements and subscriptions =====================================================

-- Catalog: one-time services with prices, subscriptions with a fee.
create table services (
    code text not null,
    name text not null,
    names jsonb default '{}'::jsonb not null,
    kind text not null,
    currency text not null,
    prices jsonb default '[]'::jsonb not null,
    monthly_fee bigint,
    metered jsonb default '[]'::jsonb not null,
    offered boolean default true not null,
    updated_at timestamptz not null,
    repeat_purchase text default 'extend' not null,
    constraint services_pkey primary key (code),
    constraint services_check check ((kind = 'subscription') = (monthly_fee is not null)),
    constraint services_code_check check (code ~ '^[a-z0-9][a-z0-9-]{0,63}$'),
    constraint services_currency_check check (currency ~ '^[A-Z]{3}$'),
    constraint services_kind_check check (kind in ('one_time', 'subscription')),
    constraint services_monthly_fee_check check (monthly_fee >= 0),
    constraint services_name_check check (length(name) between 1 and 200),
    constraint services_names_check check (jsonb_typeof(names) = 'object'),
    constraint services_repeat_purchase_check check (repeat_purchase in ('extend', 'refuse'))
);

-- Purchases of one-time services, with duration and amount.
create table service_orders (
    id uuid not null,
    customer uuid not null,
    vin text not null,
    service text not null,
    duration_days integer not null,
    amount bigint not null,
    currency text not null,
    created_at timestamptz not null,
    request_key bytea,
    constraint service_orders_pkey primary key (id),
    constraint service_orders_service_fkey foreign key (service) references services (code),
    constraint service_orders_amount_check check (amount > 0),
    constraint service_orders_duration_days_check check (duration_days between 1 and 3660)
);

create index service_orders_in_time on service_orders using brin (created_at)
    with (pages_per_range = 32, autosummarize = on);
create index service_orders_of_customer on service_orders (customer, created_at);
create unique index service_orders_of_request on service_orders (request_key)
    where request_key is not null;
create index service_orders_of_vehicle on service_orders (vin);

-- One row per vehicle and service: the last command and the state the vehicle reported.
create table entitlements (
    id uuid not null,
    vin text not null,
    service text not null,
    last_command uuid,
    reported_epoch bigint,
    reported_on boolean,
    reported_until timestamptz,
    reported_at timestamptz,
    created_at timestamptz not null,
    constraint entitlements_pkey primary key (id),
    constraint entitlements_vin_service_key unique (vin, service),
    constraint entitlements_check check ((reported_epoch is null) = (reported_on is null)),
    constraint entitlements_check1 check (reported_until is null or reported_on)
) with (fillfactor = 70);

-- Periods in which a customer may use a service; terms of one entitlement never overlap.
create table entitlement_terms (
    id uuid not null,
    entitlement uuid not null,
    customer uuid not null,
    service_order uuid,
    subscription uuid,
    payment_id uuid,
    duration_days integer,
    state text not null,
    starts_at timestamptz,
    ends_at timestamptz,
    ended_because text,
    reserved_at timestamptz not null,
    updated_at timestamptz not null,
    by_fleet boolean,
    constraint entitlement_terms_pkey primary key (id),
    constraint entitlement_terms_payment_id_key unique (payment_id),
    constraint entitlement_terms_service_order_key unique (service_order),
    constraint entitlement_terms_subscription_key unique (subscription),
    constraint terms_never_overlap
        exclude using gist (entitlement with =, tstzrange(starts_at, coalesce(ends_at,
            'infinity'::timestamptz)) with &&) where (state in ('activating', 'granted', 'ended'))
            deferrable initially deferred,
    constraint entitlement_terms_entitlement_fkey
        foreign key (entitlement) references entitlements (id),
    constraint entitlement_terms_check check ((service_order is null) <> (subscription is null)),
    constraint entitlement_terms_check1 check ((duration_days is null) = (service_order is null)),
    constraint entitlement_terms_check2 check (payment_id is null or service_order is not null),
    constraint entitlement_terms_check3
        check (state not in ('activating', 'granted', 'ended') or starts_at is not null),
    constraint entitlement_terms_check4
        check (service_order is null or state not in ('activating', 'granted', 'ended')
            or (ends_at is not null and payment_id is not null)),
    constraint entitlement_terms_check5
        check (state <> 'ended' or (ends_at is not null and ended_because is not null)),
    constraint entitlement_terms_check6 check (ends_at >= starts_at),
    constraint entitlement_terms_duration_days_check check (duration_days between 1 and 3660),
    constraint entitlement_terms_ended_because_check
        check (length(ended_because) between 1 and 200),
    constraint entitlement_terms_state_check
        check (state in ('pending', 'activating', 'granted', 'cancelled', 'ended'))
) with (fillfactor = 70);

create unique index one_pending_term on entitlement_terms (entitlement)
    where state in ('pending', 'activating');
create index terms_of_entitlement on entitlement_terms (entitlement);

-- Every state of each term, written by a trigger.
create table entitlement_changes (
    term uuid not null,
    state text not null,
    starts_at timestamptz not null,
    ends_at timestamptz,
    because text,
    at timestamptz not null,
    id bigint generated always as identity not null,
    kept boolean,
    constraint entitlement_changes_pkey primary key (id),
    constraint entitlement_changes_kept_check check (kept)
);

create index entitlement_changes_of_term on entitlement_changes (term);

-- Subscriptions: customer, vehicle, service, fee and state.
create table subscriptions (
    id uuid not null,
    customer uuid not null,
    vin text not null,
    service text not null,
    currency text not null,
    monthly_fee bigint not null,
    metered jsonb default '[]'::jsonb not null,
    payment_method text,
    gateway text not null,
    state text default 'verifying payment method' not null,
    event text default 'Subscribe to Monthly Service' not null,
    version integer default 1 not null,
    transitioned_for uuid,
    activation_evidence uuid,
    evidence_kind text generated always as (
        case
            when activation_evidence is not null then 'vehicle_acknowledgement'
            else null::text
        end) stored,
    proves_delivery boolean generated always as (
        case
            when activation_evidence is not null then true
            else null::boolean
        end) stored,
    activated_at timestamptz,
    deactivated_at timestamptz,
    cancelled_at timestamptz,
    cancelled_because text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    request_key bytea,
    constraint subscriptions_pkey primary key (id),
    constraint subscriptions_id_activation_evidence_evidence_kind_proves__fkey
        foreign key (id, activation_evidence, evidence_kind, proves_delivery)
            references delivery_evidence (subject, id, kind, proves_delivery),
    constraint subscriptions_service_fkey foreign key (service) references services (code),
    constraint subscriptions_cancelled_because_check
        check (cancelled_because in ('customer', 'withdrawal', 'payment failed')),
    constraint subscriptions_check check ((activated_at is null) = (activation_evidence is null)),
    constraint subscriptions_check1 check (state <> 'active' or activated_at is not null),
    constraint subscriptions_check2 check ((state = 'cancelled') = (cancelled_at is not null)),
    constraint subscriptions_check3 check ((cancelled_at is null) = (cancelled_because is null)),
    constraint subscriptions_currency_check check (currency ~ '^[A-Z]{3}$'),
    constraint subscriptions_monthly_fee_check
        check (monthly_fee between 0 and '10000000000000'::bigint),
    constraint subscriptions_payment_method_check check (length(payment_method) between 1 and 200),
    constraint subscriptions_payment_method_needed
        check (payment_method is not null
            or state in ('verifying payment method', 'payment method refused', 'cancelled'))
) with (fillfactor = 80);

create unique index one_live_subscription_per_service on subscriptions (vin, service)
    where state in ('verifying payment method', 'activating', 'active');
create index subscriptions_of_customer on subscriptions (customer, id);
create unique index subscriptions_of_request on subscriptions (request_key)
    where request_key is not null;
create index subscriptions_of_state on subscriptions (state, id);
create index subscriptions_of_vehicle on subscriptions (vin, service);

-- Transitions of each subscription, written by a trigger.
create table subscription_events (
    subscription uuid not null,
    version integer not null,
    event text not null,
    from_state text,
    to_state text not null,
    payment_id uuid,
    at timestamptz not null,
    terms jsonb,
    constraint subscription_events_pkey primary key (subscription, version)
);

create index subscription_events_in_time on subscription_events using brin (at)
    with (pages_per_range = 32, autosummarize = on);

-- Legal transitions of a subscription.
create table subscription_transitions (
    from_state text not null,
    event text not null,
    to_state text not null,
    constraint subscription_transitions_pkey primary key (from_state, event)
);

-- Metered use of subscriptions, each record billed once.
create table usage_records (
    subscription uuid not null,
    source_id text not null,
    unit text not null,
    quantity bigint not null,
    at timestamptz not null,
    recorded_at timestamptz not null,
    invoice uuid,
    cancels text,
    constraint usage_records_pkey primary key (subscription, source_id),
    constraint cancels_what_is_there
        foreign key (subscription, cancels) references usage_records (subscription, source_id),
    constraint usage_records_subscription_fkey
        foreign key (subscription) references subscriptions (id),
    constraint usage_records_quantity_check
        check (abs(quantity) >= 1 and abs(quantity) <= '1000000000000'::bigint
            and (quantity > 0) = (cancels is null)),
    constraint usage_records_source_id_check check (length(source_id) between 1 and 200)
) with (fillfactor = 80);

create unique index usage_is_cancelled_once on usage_records (subscription, cancels)
    where cancels is not null;
create index usage_not_invoiced on usage_records (subscription) where invoice is null;

-- Usage records that a customer contests, and how each dispute ended.
create table usage_disputes (
    id uuid not null,
    subscription uuid not null,
    source_id text not null,
    because text not null,
    opened_by text not null,
    opened_at timestamptz not null,
    outcome text,
    ended_by text,
    ended_at timestamptz,
    constraint usage_disputes_pkey primary key (id),
    constraint usage_disputes_subscription_source_id_fkey
        foreign key (subscription, source_id) references usage_records (subscription, source_id),
    constraint usage_disputes_because_check check (length(because) between 1 and 200),
    constraint usage_disputes_check
        check ((outcome is null) = (ended_at is null) and (ended_by is null) = (ended_at is null)),
    constraint usage_disputes_outcome_check check (outcome in ('billed', 'cancelled'))
);

create unique index one_open_dispute_of_a_use on usage_disputes (subscription, source_id)
    where ended_at is null;

create function check_whose() returns trigger
    language plpgsql
    as $$
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

create function add_service_order(
    p_id uuid, p_customer uuid, p_vin text, p_service text, p_duration_days integer,
    p_amount bigint, p_currency text, p_lapses_after double precision, p_request_key bytea,
    p_by_fleet boolean
) returns table (
        id uuid, amount bigint, created_at timestamptz, obstacle text, service_order uuid,
        subscription uuid, ends_at timestamptz
    )
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function lock_entitlement(p_vin text, p_service text) returns uuid
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function reserve_term(
    p_vin text, p_service text, p_customer uuid, p_service_order uuid, p_subscription uuid,
    p_duration_days integer, p_lapses_after double precision, p_by_fleet boolean
) returns table (
        obstacle text, service_order uuid, subscription uuid, ends_at timestamptz
    )
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function keep_term(p_term uuid, p_because text) returns void
    language sql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
  insert into entitlement_changes (term, state, starts_at, ends_at, because, at, kept)
  select id, state, starts_at, ends_at, p_because, db_now(), true
    from entitlement_terms where id = p_term and state = 'granted'
$$;

create function end_term(p_term uuid, p_because text) returns uuid
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function cancel_pending_terms(p_customer uuid, p_vin text, p_because text) returns bigint
    language sql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function refuse_other_term() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'entitlement term % cannot go from % to %, and what it is for never changes',
    old.id, old.state, new.state using errcode = 'check_violation';
end $$;

create function write_entitlement_change() returns trigger
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
begin
  insert into entitlement_changes
  values (new.id, new.state, new.starts_at, new.ends_at, new.ended_because, db_now());
  return null;
end $$;

create function may_still_be_sold(p_service_order uuid) returns boolean
    language sql stable
    set search_path to 'caas', 'pg_temp'
    as $$
  select coalesce(t.by_fleet, true) or has_vehicle(t.customer, e.vin)
    from entitlement_terms t join entitlements e on e.id = t.entitlement
   where t.service_order = p_service_order
$$;

create function desired_state(p_entitlement uuid)
    returns table (
        on_ boolean, until timestamptz, subject uuid, purpose text, is_activating boolean
    )
    language sql stable
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function command_desired_state(
    p_entitlement uuid, p_command_id uuid, p_activate_within double precision,
    p_deadline_in double precision, p_resend_in double precision
) returns setof ota_commands
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function end_synchronization(p_entitlement uuid, p_command_id uuid) returns void
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
begin
  perform from entitlements where id = p_entitlement and last_command = p_command_id for update;
  if found then
    delete from jobs where kind = 'synchronize' and subject = p_entitlement;
  end if;
end $$;

create function report_state() returns trigger
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    set enable_hashjoin to 'off'
    set enable_mergejoin to 'off'
    set enable_seqscan to 'off'
    as $$
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

create function subscription_terms(s subscriptions) returns jsonb
    language sql immutable
    as $$ select jsonb_build_object('customer', s.customer, 'vin', s.vin, 'service', s.service,
     'currency', s.currency, 'monthly_fee', s.monthly_fee, 'metered', s.metered) $$;

create function follow_subscription() returns trigger
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function refuse_other_subscription() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'subscription %: its terms and what proved its delivery never change', old.id
    using errcode = 'check_violation';
end $$;

create function write_subscription_transition() returns trigger
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function check_cancelled_by() returns trigger
    language plpgsql
    as $$
begin
  if not caas.may_cancel(new.transitioned_for) then
    raise exception 'subscription % cannot be cancelled for payment %', new.id, new.transitioned_for
      using errcode = 'check_violation',
            hint = 'Only a decline, a confirmation that never came, or the bank cancels.';
  end if;
  return null;
end $$;

create function check_cancelled_use() returns trigger
    language plpgsql
    as $$
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

create function refuse_other_usage() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'usage % of subscription % is billed once and changes in no other way',
    old.source_id, old.subscription using errcode = 'check_violation';
end $$;

create function refuse_other_usage_dispute() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'dispute %: it ends once and changes in no other way', old.id
    using errcode = 'check_violation';
end $$;

create trigger reports_a_state after insert on delivery_evidence
    referencing new table as new_rows for each statement execute function report_state();

create trigger append_only before delete or update or truncate on service_orders
    for each statement execute function refuse_change();
create trigger is_somebodys after insert on service_orders
    referencing new table as new_rows for each statement execute function check_whose();

create trigger never_removed before delete or truncate on entitlements
    for each statement execute function refuse_change();

create trigger changes_as_sold before update on entitlement_terms
    for each row
    when (old.id is distinct from new.id or old.entitlement is distinct from new.entitlement
        or old.customer is distinct from new.customer
        or old.service_order is distinct from new.service_order
        or old.subscription is distinct from new.subscription
        or old.duration_days is distinct from new.duration_days
        or ((old.state <> 'pending' or new.state <> 'activating')
            and (old.state <> 'pending' or new.state <> 'cancelled')
            and (old.state <> 'activating' or new.state <> 'granted')
            and (old.state <> 'activating' or new.state <> 'cancelled')
            and (old.state <> 'activating' or new.state <> 'activating')
            and (old.state <> 'granted' or new.state <> 'granted')
            and (old.state <> 'granted' or new.state <> 'ended')
            and (old.state <> 'cancelled' or new.state <> 'pending'))
        or (old.state = 'cancelled' and old.service_order is null)
        or (old.state = 'granted' and new.payment_id is distinct from old.payment_id))
    execute function refuse_other_term();
create trigger is_written_down after update on entitlement_terms
    for each row
    when (old.state = 'granted'
        and (old.state is distinct from new.state or old.starts_at is distinct from new.starts_at
             or old.ends_at is distinct from new.ends_at))
    execute function write_entitlement_change();
create trigger never_removed before delete or truncate on entitlement_terms
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on entitlement_changes
    for each statement execute function refuse_change();

create trigger begins_unverified after insert on subscriptions
    for each row execute function write_subscription_transition();
create trigger has_its_term after update on subscriptions
    for each row when (old.state <> new.state)
    execute function follow_subscription();
create trigger is_nobodys_who_was_erased after insert on subscriptions
    referencing new table as new_rows for each statement execute function check_not_erased();
create trigger is_somebodys after insert on subscriptions
    referencing new table as new_rows for each statement execute function check_whose();
create trigger keeps_its_terms before update on subscriptions
    for each row
    when (old.id is distinct from new.id or old.customer is distinct from new.customer
        or old.vin is distinct from new.vin or old.service is distinct from new.service
        or old.currency is distinct from new.currency
        or old.monthly_fee is distinct from new.monthly_fee
        or old.metered is distinct from new.metered
        or old.created_at is distinct from new.created_at
        or old.request_key is distinct from new.request_key
        or (old.activated_at is not null
            and (new.activated_at is distinct from old.activated_at
                 or new.activation_evidence is distinct from old.activation_evidence))
        or (old.deactivated_at is not null
            and new.deactivated_at is distinct from old.deactivated_at)
        or (old.cancelled_at is not null and new.cancelled_at is distinct from old.cancelled_at)
        or (old.payment_method is not null and new.payment_method is null)
        or (old.payment_method is distinct from new.payment_method
            and (new.event not in ('Payment method changed', 'Payment method verified')
                 or new.version = old.version)
            and (new.payment_method <> 'erased'
                 or new.state in ('verifying payment method', 'activating', 'active')))
        or (old.gateway <> new.gateway
            and (new.event not in ('Payment method changed', 'Payment method verified')
                 or new.version = old.version)))
    execute function refuse_other_subscription();
create constraint trigger is_cancelled_by_a_decline after update of state on subscriptions
    deferrable initially deferred for each row
    when (new.event = 'Mark Subscription Cancelled' and old.state <> new.state)
    execute function check_cancelled_by();
create trigger transitions_as_drawn after update on subscriptions
    for each row
    when (old.state <> new.state or old.event <> new.event or old.version <> new.version)
    execute function write_subscription_transition();
create trigger never_removed before delete or truncate on subscriptions
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on subscription_events
    for each statement execute function refuse_change();

create trigger are_the_rules
    before insert or delete or update or truncate on subscription_transitions
    for each statement execute function refuse_other_transitions();

create trigger cancels_all_of_it before insert on usage_records
    for each row when (new.cancels is not null)
    execute function check_cancelled_use();
create trigger cancels_for_ever before update on usage_records
    for each row when (old.cancels is distinct from new.cancels)
    execute function refuse_other_usage();
create trigger is_billed_once before update on usage_records
    for each row
    when (old.invoice is not null
        or (old.subscription is distinct from new.subscription
            or old.source_id is distinct from new.source_id or old.unit is distinct from new.unit
            or old.quantity is distinct from new.quantity or old.at is distinct from new.at
            or old.recorded_at is distinct from new.recorded_at))
    execute function refuse_other_usage();
create trigger never_removed before delete or truncate on usage_records
    for each statement execute function refuse_change();

create trigger never_removed before delete or truncate on usage_disputes
    for each statement execute function refuse_change();
create trigger only_ends before update on usage_disputes
    for each row
    when (old.ended_at is not null
        or (old.id is distinct from new.id or old.subscription is distinct from new.subscription
            or old.source_id is distinct from new.source_id
            or old.because is distinct from new.because
            or old.opened_by is distinct from new.opened_by
            or old.opened_at is distinct from new.opened_at))
    execute function refuse_other_usage_dispute();

-- == Payments, events and ledger ==================================================================

-- Current state of each payment; equals the fold of its events.
create table payments (
    id uuid not null,
    type text not null,
    subject uuid not null,
    customer uuid not null,
    amount bigint not null,
    currency text not null,
    gateway text not null,
    payment_method text,
    return_url text,
    state text not null,
    came_from text,
    outcome text default 'known' not null,
    version integer not null,
    event_hash bytea not null,
    decline_code text,
    gateway_transaction_id text,
    hosted_page_url text,
    capture_before timestamptz,
    authorized_amount bigint default 0 not null,
    captured_amount bigint default 0 not null,
    settled_amount bigint default 0 not null,
    refunded_amount bigint default 0 not null,
    disputed_amount bigint default 0 not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    live boolean generated always as (state not in ('Failed', 'Voided',
        'Refunded')) stored not null,
    constraint payments_pkey primary key (id),
    constraint payments_gateway_gateway_transaction_id_key unique (gateway, gateway_transaction_id),
    constraint given_back_within_captured
        check ((refunded_amount + disputed_amount) <= captured_amount),
    constraint payments_amount_check check (amount > 0),
    constraint payments_check check (authorized_amount >= 0 and authorized_amount <= amount),
    constraint payments_check1 check (captured_amount >= 0 and captured_amount <= amount),
    constraint payments_currency_check check (currency ~ '^[A-Z]{3}$'),
    constraint payments_disputed_amount_check check (disputed_amount >= 0),
    constraint payments_gateway_check check (length(gateway) between 1 and 100),
    constraint payments_outcome_check check (outcome in ('known', 'unknown')),
    constraint payments_refunded_amount_check check (refunded_amount >= 0),
    constraint payments_settled_amount_check check (settled_amount >= 0),
    constraint payments_type_check
        check (type in ('reservation', 'final', 'service', 'subscription')),
    constraint settled_within_captured check (settled_amount <= captured_amount)
) with (fillfactor = 60);

create unique index one_live_payment_per_subject on payments (subject, type) where live;
create index payments_of_customer on payments (customer, created_at);
create index payments_of_subject on payments (subject);

-- Events of each payment, hash-chained.
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
    constraint payment_events_pkey primary key (payment_id, seq),
    constraint payment_events_payment_id_source_key unique (payment_id, source)
);

create index payment_events_in_time on payment_events using brin (at)
    with (pages_per_range = 32, autosummarize = on);

-- Legal transitions of a payment.
create table payment_transitions (
    event text not null,
    from_state text not null,
    to_state text not null,
    constraint payment_transitions_pkey primary key (event, from_state, to_state)
);

-- Why gateways refuse payments: each code, and whose matter it is.
create table refusal_codes (
    code text not null,
    class text not null,
    constraint refusal_codes_pkey primary key (code),
    constraint refusal_codes_class_check check (class in ('decline', 'technical', 'ours'))
);

-- The one capture or void of each authorization, with the evidence for a capture.
create table resolution_claims (
    payment_id uuid not null,
    payment_type text not null,
    kind text not null,
    reason text not null,
    evidence_id uuid,
    evidence_kind text,
    proves_delivery boolean,
    claimed_at timestamptz not null,
    constraint resolution_claims_pkey primary key (payment_id),
    constraint resolution_claims_payment_id_evidence_id_evidence_kind_pro_fkey
        foreign key (payment_id, evidence_id, evidence_kind, proves_delivery)
            references delivery_evidence (subject, id, kind, proves_delivery),
    constraint resolution_claims_check
        check (kind = 'void'
            or (evidence_id is not null and evidence_kind is not null and proves_delivery is true)),
    constraint resolution_claims_check1 check (kind = 'void' or (evidence_kind =
        case payment_type
            when 'service' then 'vehicle_acknowledgement'
            when 'reservation' then 'reservation_recorded'
            when 'final' then 'order_confirmed'
            when 'subscription' then 'usage_snapshot'
            else null::text
        end)),
    constraint resolution_claims_kind_check check (kind in ('capture', 'void'))
);

create index resolution_claims_in_time on resolution_claims using brin (claimed_at)
    with (pages_per_range = 32, autosummarize = on);

-- Chart of accounts.
create table ledger_accounts (
    name text not null,
    constraint ledger_accounts_pkey primary key (name),
    constraint ledger_accounts_name_check check (length(name) between 1 and 100)
);

-- Account that each class of provider line posts to.
create table provider_accounts (
    class text not null,
    account text not null,
    constraint provider_accounts_pkey primary key (class),
    constraint provider_accounts_account_fkey
        foreign key (account) references ledger_accounts (name)
);

-- Ledger entries: one amount from one account to another.
create table ledger_entries (
    id bigint generated always as identity not null,
    payment_id uuid not null,
    seq integer not null,
    debit text not null,
    credit text not null,
    amount bigint not null,
    currency text not null,
    at timestamptz not null,
    constraint ledger_entries_pkey primary key (id),
    constraint ledger_entries_amount_check check (amount > 0),
    constraint ledger_entries_check check (debit <> credit)
);

create index ledger_entries_in_time on ledger_entries using brin (at)
    with (pages_per_range = 32, autosummarize = on);
create index ledger_entries_of_payment on ledger_entries (payment_id);
create index losses_in_time on ledger_entries (at)
    where debit like 'risk\_loss:%' or credit like 'risk\_loss:%';

-- Whether the deposit of a payment is refunded or kept, and who decided.
create table deposit_decisions (
    id uuid not null,
    payment_id uuid not null,
    decision text not null,
    note text not null,
    needs_second boolean not null,
    state text not null,
    proposed_by text not null,
    proposed_at timestamptz not null,
    decided_by text,
    decided_at timestamptz,
    proposed_account uuid,
    decided_account uuid,
    by_policy boolean default false not null,
    constraint deposit_decisions_pkey primary key (id),
    constraint deposit_decisions_decided_account_fkey
        foreign key (decided_account) references accounts (id),
    constraint deposit_decisions_payment_id_fkey foreign key (payment_id) references payments (id),
    constraint deposit_decisions_proposed_account_fkey
        foreign key (proposed_account) references accounts (id),
    constraint deposit_decisions_check check ((state = 'proposed') = (decided_by is null)),
    constraint deposit_decisions_check1 check ((decided_by is null) = (decided_at is null)),
    constraint deposit_decisions_check2 check (decided_by is not null or decided_account is null),
    constraint deposit_decisions_decision_check check (decision in ('refund', 'keep')),
    constraint deposit_decisions_note_check check (length(note) between 1 and 1000),
    constraint deposit_decisions_state_check check (state in ('proposed', 'agreed', 'withdrawn')),
    constraint policies_decide_alone
        check (not by_policy
            or (state = 'agreed' and not needs_second and proposed_account is null
                and decided_account is null))
);

create unique index one_deposit_decision on deposit_decisions (payment_id)
    where state <> 'withdrawn';

-- Decisions of two people on a payment whose outcome stayed unknown.
create table outcome_decisions (
    id uuid not null,
    payment_id uuid not null,
    note text not null,
    state text not null,
    proposed_by text not null,
    proposed_at timestamptz not null,
    decided_by text,
    decided_at timestamptz,
    proposed_account uuid,
    decided_account uuid,
    constraint outcome_decisions_pkey primary key (id),
    constraint outcome_decisions_decided_account_fkey
        foreign key (decided_account) references accounts (id),
    constraint outcome_decisions_payment_id_fkey foreign key (payment_id) references payments (id),
    constraint outcome_decisions_proposed_account_fkey
        foreign key (proposed_account) references accounts (id),
    constraint outcome_decisions_check check ((state = 'proposed') = (decided_by is null)),
    constraint outcome_decisions_check1 check ((decided_by is null) = (decided_at is null)),
    constraint outcome_decisions_check2 check (decided_by is not null or decided_account is null),
    constraint outcome_decisions_note_check check (length(note) between 1 and 1000),
    constraint outcome_decisions_state_check check (state in ('proposed', 'agreed', 'withdrawn'))
);

create unique index one_outcome_decision_at_a_time on outcome_decisions (payment_id)
    where state = 'proposed';
create index outcome_decisions_of_payment on outcome_decisions (payment_id);

create function event_digest(
    before bytea, payment_id uuid, seq integer, event text, to_state text, source text,
    facts jsonb, at timestamptz
) returns bytea
    language sql stable parallel safe
    as $$ select sha256(before || convert_to(
     payment_id::text || '|' || seq::text || '|' || event || '|' || to_state || '|' || source
     || '|' || facts::text || '|' || extract(epoch from at)::text, 'UTF8')) $$;

create function accept_payments(p_payments jsonb)
    returns table (
        i bigint, verdict text, payment_id uuid, request_hash bytea, answer_status integer,
        answer_body bytea, key_created_at timestamptz, at timestamptz
    )
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    set plan_cache_mode to 'force_generic_plan'
    set enable_hashjoin to 'off'
    set enable_mergejoin to 'off'
    set enable_seqscan to 'off'
    as $$
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

-- What one transition does, as apply_transitions works on it; id is null if its guard fails.
create type transition_step as (
    i bigint, id uuid, payment_id uuid, type text, subject uuid, currency text, at timestamptz,
    seq integer, hash bytea, event text, from_state text, to_state text, source text, facts jsonb,
    outcome text, gateway_transaction_id text, hosted_page_url text, decline_code text,
    capture_before timestamptz, authorized bigint, captured bigint, settled bigint, refunded bigint,
    disputed bigint, claim jsonb, evidence jsonb, command jsonb, entries jsonb, done text[],
    next jsonb
);

-- Several statements instead of one with a part for each table: a part that has no row costs an
-- executor and its triggers all the same, and a transition that arrives alone needs few of them.
create function change_gateway(p_payment uuid, p_gateway text) returns void
    language sql security definer
    set search_path to 'caas', 'pg_temp'
    as $$ update payments set gateway = p_gateway where id = p_payment $$;

create function apply_transitions(p_transitions jsonb)
    returns table (
        i bigint, moved boolean, state text, version integer, claim text, command_id uuid,
        subject uuid, vin text, service text, action text, purpose text, epoch bigint,
        valid_until timestamptz, deadline timestamptz, created_at timestamptz, attempt integer,
        overdue boolean
    )
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    set plan_cache_mode to 'force_generic_plan'
    set enable_hashjoin to 'off'
    set enable_mergejoin to 'off'
    set enable_seqscan to 'off'
    as $$
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
end $$;

create function lock_payment(p_payment uuid) returns bigint
    language sql security definer
    set search_path to 'caas', 'pg_temp'
    as $$ select captured_amount from payments where id = p_payment for update $$;

create function refuse_rewrite() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'payment % changes only by a move with its event; what it is for never changes',
    old.id using errcode = 'check_violation';
end $$;

-- A payment changes its gateway only before the first one has received anything of it.
create function check_gateway_change() returns trigger
    language plpgsql
    as $$
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

create function check_new_payments() returns trigger
    language plpgsql
    set enable_hashjoin to 'off'
    set enable_mergejoin to 'off'
    set enable_seqscan to 'off'
    as $$
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

create function is_decline(p_code text) returns boolean
    language sql stable
    as $$
  select exists (select from caas.refusal_codes c where c.code = p_code and c.class = 'decline')
$$;

create function may_cancel(p_payment uuid) returns boolean
    language sql stable
    as $$
  select exists (
    select from caas.payments p
     where p.id = p_payment and p.type = 'subscription'
       and (p.state = 'Failed' and (p.decline_code = 'abandoned' or caas.is_decline(p.decline_code))
            or exists (select from caas.payment_events e
                        where e.payment_id = p.id and e.to_state = 'SettlementFailed')))
$$;

create function check_payment_transitions() returns trigger
    language plpgsql
    set enable_hashjoin to 'off'
    set enable_mergejoin to 'off'
    set enable_seqscan to 'off'
    as $$
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

create function check_new_claims() returns trigger
    language plpgsql
    set enable_hashjoin to 'off'
    set enable_mergejoin to 'off'
    set enable_seqscan to 'off'
    as $$
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

create function check_new_entries() returns trigger
    language plpgsql
    set enable_hashjoin to 'off'
    set enable_mergejoin to 'off'
    set enable_seqscan to 'off'
    as $$
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

create function check_accounts_of_entries() returns trigger
    language plpgsql
    set enable_hashjoin to 'off'
    set enable_mergejoin to 'off'
    set enable_seqscan to 'off'
    as $$
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

-- State of each service order, from its payment, claim and evidence.
create view service_order_states as
select o.id,
    o.customer,
    o.vin,
    o.service,
    o.duration_days,
    o.amount,
    o.currency,
    o.created_at,
    p.id as payment_id,
    p.state as payment_state,
    c.kind as claim,
    case
        when t.state in ('granted', 'ended') then t.starts_at
        else null::timestamptz
    end as active_from,
    case
        when t.state in ('granted', 'ended') then t.ends_at
        else null::timestamptz
    end as active_until,
    case
        when t.state = 'ended' and t.ended_because = 'desistimiento' then 'withdrawn'
        when t.state = 'ended' then 'ended'
        when t.state = 'granted' and t.ends_at <= db_now() then 'expired'
        when t.state = 'granted' then 'active'
        when p.id is null then 'awaiting payment'
        when e.id is not null then 'active'
        when c.kind = 'void' or p.state = 'Voided' then 'activation failed'
        when p.state = 'Failed' then 'cancelled'
        when p.state = 'Authorized' then 'activating'
        else 'awaiting payment'
    end as state
   from service_orders o
     left join entitlement_terms t on t.service_order = o.id
     left join lateral (select p_1.id,
            p_1.state
           from payments p_1
          where (p_1.subject = o.id)
          order by p_1.id desc
         limit 1) p on true
     left join resolution_claims c on c.payment_id = p.id
     left join delivery_evidence e on e.id = c.evidence_id;

create trigger begins_as_drawn after insert on payments
    referencing new table as new_rows for each statement execute function check_new_payments();
create trigger changes_only_by_transition before update on payments
    for each row
    when (new.gateway = old.gateway
        and (new.version <> (old.version + 1) or new.came_from is distinct from old.state
           or (old.gateway_transaction_id is not null
               and new.gateway_transaction_id is distinct from old.gateway_transaction_id))
        and (new.payment_method is not null or new.return_url is not null
             or (new.state is distinct from old.state
                 or new.came_from is distinct from old.came_from
                 or new.outcome is distinct from old.outcome
                 or new.version is distinct from old.version
                 or new.event_hash is distinct from old.event_hash
                 or new.decline_code is distinct from old.decline_code
                 or new.gateway_transaction_id is distinct from old.gateway_transaction_id
                 or new.hosted_page_url is distinct from old.hosted_page_url
                 or new.capture_before is distinct from old.capture_before
                 or new.authorized_amount is distinct from old.authorized_amount
                 or new.captured_amount is distinct from old.captured_amount
                 or new.settled_amount is distinct from old.settled_amount
                 or new.refunded_amount is distinct from old.refunded_amount
                 or new.disputed_amount is distinct from old.disputed_amount
                 or new.updated_at is distinct from old.updated_at)))
    execute function refuse_rewrite();
create trigger is_for_one_thing
    before update of id, type, subject, customer, amount, currency, created_at on payments
    for each row execute function refuse_rewrite();
create trigger is_at_one_gateway before update of gateway on payments
    for each row execute function check_gateway_change();
create trigger transitions_as_drawn after update on payments
    referencing new table as new_rows for each statement
    execute function check_payment_transitions();
create trigger never_removed before delete or truncate on payments
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on payment_events
    for each statement execute function refuse_change();

create trigger are_the_rules before insert or delete or update or truncate on payment_transitions
    for each statement execute function refuse_other_transitions();

create trigger are_the_rules before insert or delete or update or truncate on refusal_codes
    for each statement execute function refuse_other_transitions();

create trigger append_only before delete or update or truncate on resolution_claims
    for each statement execute function refuse_change();
create trigger is_of_its_payment after insert on resolution_claims
    referencing new table as new_rows for each statement execute function check_new_claims();

create trigger are_the_rules before insert or delete or update or truncate on ledger_accounts
    for each statement execute function refuse_other_transitions();

create trigger are_the_rules before insert or delete or update or truncate on provider_accounts
    for each statement execute function refuse_other_transitions();

create trigger append_only before delete or update or truncate on ledger_entries
    for each statement execute function refuse_change();
create trigger belongs_to_a_payment after insert on ledger_entries
    referencing new table as new_rows for each statement execute function check_new_entries();
create trigger stands_on_accounts after insert on ledger_entries
    referencing new table as new_rows for each statement
    execute function check_accounts_of_entries();

create trigger is_decided_once before update on deposit_decisions
    for each row
    when (old.state <> 'proposed'
        or (new.id is distinct from old.id or new.payment_id is distinct from old.payment_id
            or new.decision is distinct from old.decision or new.note is distinct from old.note
            or new.needs_second is distinct from old.needs_second
            or new.proposed_by is distinct from old.proposed_by
            or new.proposed_at is distinct from old.proposed_at
            or new.by_policy is distinct from old.by_policy))
    execute function refuse_other_decision();
create trigger never_removed before delete or truncate on deposit_decisions
    for each statement execute function refuse_change();
create trigger proposer_stays before update on deposit_decisions
    for each row when (new.proposed_account is distinct from old.proposed_account)
    execute function refuse_other_decision();
create trigger two_people_decide before insert or update on deposit_decisions
    for each row when (new.state = 'agreed' and new.needs_second)
    execute function refuse_one_person('proposed_account', 'decided_account');

create trigger is_decided_once before update on outcome_decisions
    for each row
    when (old.state <> 'proposed'
        or (new.id is distinct from old.id or new.payment_id is distinct from old.payment_id
            or new.note is distinct from old.note
            or new.proposed_by is distinct from old.proposed_by
            or new.proposed_at is distinct from old.proposed_at))
    execute function refuse_other_decision();
create trigger never_removed before delete or truncate on outcome_decisions
    for each statement execute function refuse_change();
create trigger proposer_stays before update on outcome_decisions
    for each row when (new.proposed_account is distinct from old.proposed_account)
    execute function refuse_other_decision();
create trigger two_people_decide before insert or update on outcome_decisions
    for each row when (new.state = 'agreed')
    execute function refuse_one_person('proposed_account', 'decided_account');

-- == Gateway calls, refunds and disputes ==========================================================

-- The account and mode of each gateway whose payments are stored here.
create table gateway_accounts (
    gateway text not null,
    account text not null,
    since timestamptz not null,
    constraint gateway_accounts_pkey primary key (gateway),
    constraint gateway_accounts_account_check check (length(account) between 1 and 200)
);

-- The id under which the gateway knows each customer. Payments are looked up under it.
create table gateway_customers (
    gateway text not null,
    customer uuid not null,
    gateway_customer text not null,
    at timestamptz not null,
    constraint gateway_customers_pkey primary key (gateway, customer),
    constraint gateway_customers_gateway_gateway_customer_key unique (gateway, gateway_customer),
    constraint gateway_customers_customer_fkey foreign key (customer) references customers (id),
    constraint gateway_customers_gateway_customer_check
        check (length(gateway_customer) between 1 and 200)
);

-- Calls to the payment gateway, with outcome and duration.
create table gateway_calls (
    id uuid not null,
    gateway text not null,
    operation text not null,
    payment_id uuid,
    transaction_id text,
    key text,
    amount bigint,
    outcome text not null,
    summary text not null,
    took_ms integer not null,
    asked_at timestamptz not null,
    constraint gateway_calls_pkey primary key (id),
    constraint gateway_calls_outcome_check
        check (outcome in ('answered', 'refused', 'turned away', 'not sent', 'unknown')),
    constraint gateway_calls_took_ms_check check (took_ms >= 0)
);

create index gateway_calls_in_time on gateway_calls using brin (asked_at)
    with (pages_per_range = 32, autosummarize = on);
create index gateway_calls_of_payment on gateway_calls (payment_id);
create index gateway_calls_of_transaction on gateway_calls (transaction_id);

-- Refunds of payments.
create table refunds (
    id uuid not null,
    payment_id uuid not null,
    gateway text not null,
    amount bigint not null,
    currency text not null,
    reason text not null,
    requested_by text not null,
    state text not null,
    outcome text default 'known' not null,
    issue integer default 1 not null,
    gateway_refund_id text,
    failed_because text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint refunds_pkey primary key (id),
    constraint refunds_gateway_gateway_refund_id_key unique (gateway, gateway_refund_id),
    constraint refunds_payment_id_fkey foreign key (payment_id) references payments (id),
    constraint refunds_amount_check check (amount > 0),
    constraint refunds_outcome_check check (outcome in ('known', 'unknown')),
    constraint refunds_reason_check check (length(reason) between 1 and 200),
    constraint refunds_state_check check (state in ('waiting', 'sent', 'succeeded', 'failed'))
);

create index refunds_in_time on refunds using brin (created_at)
    with (pages_per_range = 32, autosummarize = on);
create index refunds_of_payment on refunds (payment_id);

-- Refunds that staff proposed, and who decided on them.
create table refund_decisions (
    id uuid not null,
    payment_id uuid not null,
    amount bigint not null,
    reason text not null,
    term text,
    note text not null,
    needs_second boolean not null,
    state text not null,
    proposed_by text not null,
    proposed_account uuid,
    proposed_at timestamptz not null,
    decided_by text,
    decided_account uuid,
    decided_at timestamptz,
    constraint refund_decisions_pkey primary key (id),
    constraint refund_decisions_decided_account_fkey
        foreign key (decided_account) references accounts (id),
    constraint refund_decisions_payment_id_fkey foreign key (payment_id) references payments (id),
    constraint refund_decisions_proposed_account_fkey
        foreign key (proposed_account) references accounts (id),
    constraint refund_decisions_amount_check check (amount > 0),
    constraint refund_decisions_check check ((state = 'proposed') = (decided_by is null)),
    constraint refund_decisions_check1 check ((decided_by is null) = (decided_at is null)),
    constraint refund_decisions_check2 check (decided_by is not null or decided_account is null),
    constraint refund_decisions_note_check check (length(note) between 1 and 1000),
    constraint refund_decisions_reason_check check (length(reason) between 1 and 200),
    constraint refund_decisions_state_check check (state in ('proposed', 'agreed', 'withdrawn')),
    constraint refund_decisions_term_check check (term in ('end', 'keep'))
);

create unique index one_refund_proposal_at_a_time on refund_decisions (payment_id)
    where state = 'proposed';
create index refund_decisions_of_payment on refund_decisions (payment_id);

-- Chargebacks and their state.
create table disputes (
    gateway text not null,
    id text not null,
    payment_id uuid not null,
    amount bigint not null,
    currency text not null,
    state text not null,
    reason text not null,
    opened_at timestamptz not null,
    updated_at timestamptz not null,
    claimed_amount bigint not null,
    claimed_currency text not null,
    origin text default 'gateway' not null,
    gateway_dispute_id text,
    reported_at timestamptz,
    steps integer default 0 not null,
    taken integer default 0 not null,
    back integer default 0 not null,
    excess bigint generated always as (
        case
            when claimed_currency = currency then claimed_amount - amount
            else 0::bigint
        end) stored not null,
    amended integer default 0 not null,
    constraint disputes_pkey primary key (gateway, id),
    constraint disputes_gateway_gateway_dispute_id_key unique (gateway, gateway_dispute_id),
    constraint disputes_payment_id_fkey foreign key (payment_id) references payments (id),
    constraint counts_no_more_than_claimed
        check (claimed_currency <> currency or amount <= claimed_amount),
    constraint disputes_amount_check check (amount >= 0),
    constraint disputes_check check (back >= 0 and back <= taken),
    constraint disputes_check1 check (amended >= 0 and amended <= taken),
    constraint disputes_claimed_amount_check check (claimed_amount > 0),
    constraint disputes_origin_check
        check (origin in ('gateway', 'chargeback line', 'refund line')),
    constraint disputes_state_check check (state in ('opened', 'won', 'lost', 'reversed')),
    constraint disputes_taken_check check (taken >= 0)
);

create index disputes_in_time on disputes (updated_at);
create index disputes_of_payment on disputes (payment_id);

create function gateways_of_payments() returns setof text
    language sql stable
    as $$
  with recursive named as (
    (select gateway from caas.payments order by gateway limit 1)
    union all
    select (select p.gateway from caas.payments p where p.gateway > n.gateway
             order by p.gateway limit 1)
      from named n where n.gateway is not null
  )
  select gateway from named where gateway is not null
$$;

create function money_out(p_payment uuid) returns bigint
    language sql stable
    as $$ select (coalesce((select sum(amount) from caas.refunds
                      where payment_id = p_payment and state in ('sent', 'succeeded')), 0)
         + coalesce((select sum(amount) from caas.disputes
                      where payment_id = p_payment and state in ('opened', 'lost')), 0))::bigint $$;

create function check_given_back() returns trigger
    language plpgsql
    as $$
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

create function refuse_other_refund() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'what a refund or dispute is for never changes' using errcode = 'check_violation';
end $$;

-- A refund that succeeded fails only with the event that brings its money back.
create function check_returned() returns trigger
    language plpgsql
    as $$
begin
  if not exists (select from caas.payment_events e
                  where e.payment_id = new.payment_id and e.event = 'Refund returned'
                    and e.source = 'refund-returned:' || new.id) then
    raise exception 'refund % succeeded, and no event brings its money back', new.id
      using errcode = 'check_violation';
  end if;
  return new;
end $$;

create function obstacle_to_refund(p_payment uuid) returns text
    language sql stable
    as $$
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

create function refuse_refund_meanwhile() returns trigger
    language plpgsql
    as $$
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

create function refund_lines_of(p_payment uuid, p_currency text)
    returns table (
        report_id uuid, line_no bigint, class text, gross bigint, booked_at timestamptz
    )
    language sql stable
    as $$
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

create function disputed_amounts(p_payment uuid, p_currency text)
    returns table (
        dispute text, named boolean, of_refund boolean, taken bigint, back bigint
    )
    language sql stable
    as $$
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

create trigger never_removed before delete or truncate on gateway_accounts
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on gateway_customers
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on gateway_calls
    for each statement execute function refuse_change();

create trigger is_for_one_thing before update on refunds
    for each row
    when (new.id is distinct from old.id or new.payment_id is distinct from old.payment_id
        or new.gateway is distinct from old.gateway
        or new.amount is distinct from old.amount or new.currency is distinct from old.currency
        or new.reason is distinct from old.reason
        or new.requested_by is distinct from old.requested_by
        or new.created_at is distinct from old.created_at
        or (old.gateway_refund_id is not null
            and new.gateway_refund_id is distinct from old.gateway_refund_id)
        or (old.state = 'failed' and new.state <> 'failed')
        or (old.state = 'succeeded' and new.state not in ('succeeded', 'failed')))
    execute function refuse_other_refund();
create trigger fails_late_with_its_event before update of state on refunds
    for each row when (old.state = 'succeeded' and new.state = 'failed')
    execute function check_returned();
create trigger never_removed before delete or truncate on refunds
    for each statement execute function refuse_change();
create trigger sent_when_nothing_contradicts before update of state on refunds
    for each row when (old.state = 'waiting' and new.state in ('sent', 'succeeded'))
    execute function refuse_refund_meanwhile();
create trigger sent_when_nothing_contradicts_either before insert on refunds
    for each row when (new.state in ('sent', 'succeeded'))
    execute function refuse_refund_meanwhile();
create trigger within_what_was_received after insert or update of amount, state on refunds
    for each row when (new.state <> 'failed')
    execute function check_given_back();

create trigger is_decided_once before update on refund_decisions
    for each row
    when (old.state <> 'proposed'
        or (new.id is distinct from old.id or new.payment_id is distinct from old.payment_id
            or new.amount is distinct from old.amount or new.reason is distinct from old.reason
            or new.term is distinct from old.term or new.note is distinct from old.note
            or new.needs_second is distinct from old.needs_second
            or new.proposed_by is distinct from old.proposed_by
            or new.proposed_account is distinct from old.proposed_account
            or new.proposed_at is distinct from old.proposed_at))
    execute function refuse_other_decision();
create trigger never_removed before delete or truncate on refund_decisions
    for each statement execute function refuse_change();
create trigger two_people_decide before insert or update on refund_decisions
    for each row when (new.state = 'agreed' and new.needs_second)
    execute function refuse_one_person('proposed_account', 'decided_account');

create trigger is_for_one_thing before update on disputes
    for each row
    when (new.id is distinct from old.id or new.payment_id is distinct from old.payment_id
        or new.gateway is distinct from old.gateway
        or new.claimed_currency is distinct from old.claimed_currency
        or new.currency is distinct from old.currency or new.reason is distinct from old.reason
        or new.origin is distinct from old.origin or new.opened_at is distinct from old.opened_at
        or (new.claimed_amount <> old.claimed_amount
            and (old.state not in ('won', 'reversed') or new.amended <> (old.amended + 1)))
        or (old.gateway_dispute_id is not null
            and new.gateway_dispute_id is distinct from old.gateway_dispute_id))
    execute function refuse_other_refund();
create trigger never_removed before delete or truncate on disputes
    for each statement execute function refuse_change();
create trigger within_what_was_received after insert or update of amount, state on disputes
    for each row when (new.state in ('opened', 'lost'))
    execute function check_given_back();

-- == Idempotency and jobs =========================================================================

-- Digest of each idempotency key, its request and its stored answer.
create table idempotency_keys (
    caller text not null,
    key_hash bytea not null,
    request_hash bytea not null,
    payment_id uuid,
    answer_status integer,
    answer_body bytea,
    created_at timestamptz not null,
    held_by integer default this_process(),
    attempt uuid,
    constraint idempotency_keys_pkey primary key (caller, key_hash)
);

create index idempotency_keys_in_time on idempotency_keys using brin (created_at)
    with (pages_per_range = 32, autosummarize = on);

-- Open work, with due time, attempts and lease.
create table jobs (
    kind text not null,
    subject uuid not null,
    due_at timestamptz not null,
    attempts integer default 0 not null,
    lease_until timestamptz,
    fence bigint default 0 not null,
    payload jsonb default '{}'::jsonb not null,
    last_error text,
    paused_at timestamptz,
    created_at timestamptz not null,
    held_by integer default this_process(),
    claim uuid,
    constraint jobs_pkey primary key (kind, subject)
) with (fillfactor = 60);

create index jobs_due on jobs (due_at) where paused_at is null;
create index jobs_of_subject on jobs (subject);

-- Cases that a person must resolve.
create table cases (
    id uuid not null,
    kind text not null,
    subject uuid not null,
    sentence text not null,
    facts jsonb default '{}'::jsonb not null,
    owner text,
    status text default 'open' not null,
    resolution text,
    opened_at timestamptz not null,
    resolved_at timestamptz,
    constraint cases_pkey primary key (id),
    constraint cases_check check ((status = 'resolved') = (resolved_at is not null)),
    constraint cases_status_check check (status in ('open', 'resolved'))
);

create index cases_by_age on cases (opened_at);
create index cases_of_kind on cases (kind, opened_at);
create index cases_of_subject on cases (subject);
create unique index one_open_case_per_kind on cases (kind, subject) where status = 'open';
create index open_cases on cases (opened_at) where status = 'open';
create index resolved_cases on cases (opened_at) where status = 'resolved';

create function refuse_other_answer() returns trigger
    language plpgsql
    as $$
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

create function free_jobs_of(p_processes integer[], p_kinds text[], p_awaited text[]) returns bigint
    language sql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function refuse_other_case() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'case %: what it is about never changes, and it is resolved once', old.id
    using errcode = 'check_violation';
end $$;

create trigger answers_once before update on idempotency_keys
    for each row
    when (old.answer_status is not null
        or (old.caller is distinct from new.caller or old.key_hash is distinct from new.key_hash
            or old.request_hash is distinct from new.request_hash
            or old.payment_id is distinct from new.payment_id))
    execute function refuse_other_answer();
create trigger is_kept before delete on idempotency_keys
    for each row execute function refuse_other_answer();
create trigger never_emptied before truncate on idempotency_keys
    for each statement execute function refuse_change();

create trigger never_emptied before truncate on jobs
    for each statement execute function refuse_change();

create trigger is_about_one_thing before update on cases
    for each row
    when (old.status = 'resolved'
        or (old.id is distinct from new.id or old.kind is distinct from new.kind
            or old.subject is distinct from new.subject
            or old.sentence is distinct from new.sentence or old.facts is distinct from new.facts
            or old.opened_at is distinct from new.opened_at))
    execute function refuse_other_case();
create trigger never_removed before delete or truncate on cases
    for each statement execute function refuse_change();

-- == Webhooks =====================================================================================

-- Every webhook with a valid signature, once, as received.
create table webhook_inbox (
    id uuid not null,
    gateway text not null,
    event_id text not null,
    body_hash bytea not null,
    body jsonb not null,
    received_at timestamptz not null,
    constraint webhook_inbox_pkey primary key (id),
    constraint webhook_inbox_gateway_event_id_key unique (gateway, event_id)
);

create index disputes_reported on webhook_inbox ((body ->> 'type'))
    where (body ->> 'type') in ('dispute.opened', 'dispute.won', 'dispute.lost',
        'charge.dispute.created', 'charge.dispute.closed');
create index webhook_inbox_in_time on webhook_inbox using brin (received_at)
    with (pages_per_range = 32, autosummarize = on);
create index webhook_inbox_of_reference on webhook_inbox
    (coalesce(((body -> 'data') ->> 'reference'),
         ((((body -> 'data') -> 'object') -> 'metadata') ->> 'reference')));
create index webhook_inbox_of_transaction on webhook_inbox
    (coalesce(((body -> 'data') ->> 'transaction_id'),
         (((body -> 'data') -> 'object') ->> 'payment_intent'),
         (((body -> 'data') -> 'object') ->> 'id'), ((body -> 'data') ->> 'id')));

-- Signed webhooks that contradict a stored one or cannot be read; never applied.
create table webhook_quarantine (
    id uuid not null,
    gateway text not null,
    event_id text not null,
    contradicts uuid,
    reason text not null,
    body_hash bytea not null,
    body text not null,
    received_at timestamptz not null,
    constraint webhook_quarantine_pkey primary key (id),
    constraint webhook_quarantine_gateway_event_id_body_hash_key
        unique (gateway, event_id, body_hash)
);

create function named_object(p_body jsonb) returns text
    language sql immutable
    as $$
  select coalesce(p_body->'data'->'object'->>'id', p_body->'data'->>'id')
$$;

create function names_payment(p_body jsonb, p_payment uuid, p_transaction text) returns boolean
    language sql immutable
    as $$
  select position(p_payment::text in p_body::text) > 0
      or coalesce(position(p_transaction in p_body::text) > 0, false)
$$;

create function tells_of_outgoing_money(p_body jsonb) returns boolean
    language sql immutable
    as $$
  select p_body->>'type' ~ '(^|[.])(dispute|refund)[.]' and p_body->>'type' not like '%refund.failed'
$$;

create trigger append_only before delete or update or truncate on webhook_inbox
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on webhook_quarantine
    for each statement execute function refuse_change();

-- == Documents and tax ============================================================================

-- Markets: currency, time zone and rules for their documents.
create table markets (
    code text not null,
    name text not null,
    country text not null,
    postcodes text[] default '{}'::text[] not null,
    zone text not null,
    currency text not null,
    simplified_up_to bigint not null,
    buyer_tax_id boolean default false not null,
    documents_kept_years integer default 10 not null,
    constraint markets_pkey primary key (code),
    constraint markets_code_check check (code ~ '^[A-Z]{2}(-[A-Z0-9]{1,3})?$'),
    constraint markets_country_check check (country ~ '^[A-Z]{2}$'),
    constraint markets_currency_check check (currency ~ '^[A-Z]{3}$'),
    constraint markets_documents_kept_years_check check (documents_kept_years between 1 and 30),
    constraint markets_name_check check (length(name) between 1 and 80),
    constraint markets_postcodes_check check (cardinality(postcodes) <= 20),
    constraint markets_simplified_up_to_check check (simplified_up_to >= 0),
    constraint markets_zone_check check (length(zone) between 1 and 64)
);

-- Market that a dealership sells in.
create table dealership_markets (
    dealership text not null,
    market text not null,
    constraint dealership_markets_pkey primary key (dealership),
    constraint dealership_markets_market_fkey foreign key (market) references markets (code),
    constraint dealership_markets_dealership_check check (length(dealership) between 1 and 120)
);

-- Tax rates per market and kind of goods, without gap or overlap.
create table tax_rates (
    id bigint generated always as identity not null,
    market text not null,
    goods text not null,
    valid daterange not null,
    category text not null,
    basis_points integer not null,
    name text not null,
    reason text default '' not null,
    recorded_at timestamptz not null,
    planned daterange,
    withdrawn_at timestamptz,
    withdrawn_by text,
    constraint tax_rates_pkey primary key (id),
    constraint one_rate_a_day exclude using gist (market with =, goods with =, valid with &&),
    constraint tax_rates_market_fkey foreign key (market) references markets (code),
    constraint tax_rates_basis_points_check
        check (basis_points = 0 or basis_points between 50 and 10000),
    constraint tax_rates_category_check check (category in ('S', 'Z', 'E', 'O', 'L', 'M')),
    constraint tax_rates_check check ((category in ('S', 'L', 'M')) = (basis_points > 0)),
    constraint tax_rates_check1 check ((category in ('E', 'O')) = (reason <> '')),
    constraint tax_rates_goods_check check (goods in ('vehicle', 'service', 'subscription')),
    constraint tax_rates_name_check check (length(name) between 1 and 40),
    constraint tax_rates_reason_check check (length(reason) <= 200),
    constraint tax_rates_valid_check check (not lower_inf(valid)),
    constraint a_withdrawn_rate_is_never_valid
        check (isempty(valid) = (withdrawn_at is not null)
            and (withdrawn_at is null) = (withdrawn_by is null)
            and (withdrawn_at is null) = (planned is null))
);

-- Default market; one row.
create table tax_settings (
    only_row boolean default true not null,
    market text not null,
    since timestamptz not null,
    constraint tax_settings_pkey primary key (only_row),
    constraint tax_settings_only_row_check check (only_row)
);

-- Tax of each captured payment, with its rate and date of supply.
create table payment_taxes (
    payment_id uuid not null,
    market text not null,
    rate bigint not null,
    supplied_on date not null,
    gross bigint not null,
    tax bigint not null,
    advance uuid,
    recorded_at timestamptz not null,
    constraint payment_taxes_pkey primary key (payment_id),
    constraint payment_taxes_market_fkey foreign key (market) references markets (code),
    constraint payment_taxes_rate_fkey foreign key (rate) references tax_rates (id),
    constraint payment_taxes_check check (tax >= 0 and tax <= gross),
    constraint payment_taxes_gross_check check (gross > 0)
);

create index payment_taxes_of_rate on payment_taxes (rate, supplied_on);

-- Invoices and credit notes, as issued.
create table invoices (
    id uuid not null,
    series text not null,
    number bigint not null,
    kind text not null,
    subscription uuid,
    customer uuid not null,
    month text,
    service text,
    vin text,
    currency text not null,
    lines jsonb not null,
    net bigint not null,
    iva_basis_points integer not null,
    iva bigint not null,
    gross bigint not null,
    payment_id uuid,
    corrects uuid,
    correction integer default 0 not null,
    reason text,
    issued_at timestamptz not null,
    market text,
    tax_rate bigint,
    supplied_on date,
    subject uuid,
    refund uuid,
    advance uuid,
    simplified boolean not null,
    language text,
    seller jsonb,
    buyer_digest bytea,
    digest bytea,
    service_name text,
    replaces uuid,
    returned uuid,
    constraint invoices_pkey primary key (id),
    constraint invoices_refund_key unique (refund),
    constraint invoices_replaces_key unique (replaces),
    constraint invoices_returned_key unique (returned),
    constraint invoices_series_number_key unique (series, number),
    constraint invoices_subscription_month_correction_key unique (subscription, month, correction),
    constraint invoices_advance_fkey foreign key (advance) references invoices (id),
    constraint invoices_replaces_fkey foreign key (replaces) references invoices (id),
    constraint invoices_returned_fkey foreign key (returned) references refunds (id),
    constraint adds_or_takes_back check (
        case
            when kind = 'debit note' then net >= 0 and iva >= 0 and gross > 0
                and corrects is not null and reason is not null and refund is null
                and payment_id is null
            when kind <> 'credit note' then net >= 0 and iva >= 0 and corrects is null
                and reason is null and refund is null and (payment_id is null) = (gross = 0)
            else net <= 0 and iva <= 0 and gross < 0 and corrects is not null
                and reason is not null and payment_id is null
        end),
    constraint corrects_one check ((kind in ('credit note', 'debit note')) = (correction > 0)),
    constraint comes_of_a_returned_refund check ((kind = 'debit note') = (returned is not null)),
    constraint deducts_an_advance check (advance is null or kind = 'vehicle invoice'),
    constraint invoices_check check (gross = (net + iva)),
    constraint invoices_correction_check check (correction >= 0),
    constraint invoices_currency_check check (length(currency) = 3),
    constraint invoices_iva_basis_points_check check (iva_basis_points between 0 and 10000),
    constraint invoices_month_check check (month like '____-__'),
    constraint invoices_number_check check (number > 0),
    constraint invoices_reason_check check (length(reason) between 1 and 200),
    constraint is_about_something check (
        case
            when kind = 'invoice' then subscription is not null and month is not null
            when kind not in ('credit note', 'debit note')
                then subscription is null and subject is not null
            else true
        end),
    constraint is_in_a_series_of_its_kind check (series ~
        case kind
            when 'invoice' then '^([A-Z0-9]{1,6}-)?[0-9]{4}$'
            when 'advance invoice' then '^([A-Z0-9]{1,6}-)?A[0-9]{4}$'
            when 'vehicle invoice' then '^([A-Z0-9]{1,6}-)?V[0-9]{4}$'
            when 'service invoice' then '^([A-Z0-9]{1,6}-)?S[0-9]{4}$'
            else '^([A-Z0-9]{1,6}-)?R[0-9]{4}$'
        end),
    constraint is_of_a_kind
        check (kind in ('invoice', 'advance invoice', 'vehicle invoice', 'service invoice',
            'credit note', 'debit note')),
    constraint replaces_with_a_document check (replaces is null
        or kind in ('advance invoice', 'vehicle invoice', 'service invoice'))
);

create index documents_in_time on invoices (issued_at desc, id desc);
create index invoices_in_time on invoices using brin (issued_at)
    with (pages_per_range = 32, autosummarize = on);
create index invoices_of_customer on invoices (customer, issued_at desc, id desc);
create index invoices_of_payment on invoices (payment_id) where payment_id is not null;
create index invoices_of_subject on invoices
    (coalesce(subject, subscription), issued_at desc, id desc);
create index invoices_of_vehicle on invoices (vin);
create unique index one_correction_at_a_time on invoices (corrects, correction)
    where corrects is not null;
create unique index one_document_per_payment on invoices (payment_id)
    where kind in ('advance invoice', 'vehicle invoice', 'service invoice') and replaces is null;

-- Next number of each document series.
create table invoice_series (
    series text not null,
    next bigint default 1 not null,
    constraint invoice_series_pkey primary key (series),
    constraint invoice_series_next_check check (next > 0),
    constraint invoice_series_series_check check (series ~ '^([A-Z0-9]{1,6}-)?[ARSV]?[0-9]{4}$')
);

-- Buyer of each document, kept apart so that it can be erased.
create table document_buyers (
    invoice uuid not null,
    buyer jsonb not null,
    constraint document_buyers_pkey primary key (invoice),
    constraint document_buyers_invoice_fkey foreign key (invoice) references invoices (id),
    constraint document_buyers_buyer_check check (jsonb_typeof(buyer) = 'object')
);

-- Documents that must still be issued for a payment or refund.
create table documents_due (
    id bigint generated always as identity not null,
    payment_id uuid not null,
    refund uuid,
    at timestamptz not null,
    held boolean default false not null,
    case_kind text,
    constraint documents_due_pkey primary key (id),
    constraint documents_due_payment_id_fkey foreign key (payment_id) references payments (id),
    constraint documents_due_refund_fkey foreign key (refund) references refunds (id),
    constraint is_held_for_a_case check (not held or case_kind is not null)
);

create index documents_due_now on documents_due (id) where not held;
create index documents_due_of_payment on documents_due (payment_id);

-- Credit notes that staff proposed, and who decided on them.
create table credit_note_decisions (
    id uuid not null,
    invoice uuid not null,
    gross bigint not null,
    reason text not null,
    state text not null,
    proposed_by text not null,
    proposed_account uuid,
    proposed_at timestamptz not null,
    decided_by text,
    decided_account uuid,
    decided_at timestamptz,
    term text,
    constraint credit_note_decisions_pkey primary key (id),
    constraint credit_note_decisions_decided_account_fkey
        foreign key (decided_account) references accounts (id),
    constraint credit_note_decisions_invoice_fkey foreign key (invoice) references invoices (id),
    constraint credit_note_decisions_proposed_account_fkey
        foreign key (proposed_account) references accounts (id),
    constraint credit_note_decisions_check check ((state = 'proposed') = (decided_by is null)),
    constraint credit_note_decisions_check1 check ((decided_by is null) = (decided_at is null)),
    constraint credit_note_decisions_check2
        check (decided_by is not null or decided_account is null),
    constraint credit_note_decisions_gross_check check (gross > 0),
    constraint credit_note_decisions_reason_check check (length(reason) between 1 and 200),
    constraint credit_note_decisions_state_check
        check (state in ('proposed', 'agreed', 'withdrawn')),
    constraint credit_note_decisions_term_check check (term in ('end', 'keep', 'reissue'))
);

create unique index one_correction_proposed on credit_note_decisions (invoice)
    where state = 'proposed';

-- Invoices written off because their payment or its settlement failed.
create table written_off_invoices (
    invoice uuid not null,
    payment_id uuid not null,
    because text not null,
    at timestamptz not null,
    constraint written_off_invoices_pkey primary key (invoice),
    constraint written_off_invoices_invoice_fkey foreign key (invoice) references invoices (id),
    constraint written_off_invoices_because_check
        check (because in ('payment failed', 'settlement failed'))
);

-- Monthly billing of subscriptions, and how far each run is.
create table billing_runs (
    month text not null,
    series text not null,
    first_number bigint not null,
    subscriptions bigint not null,
    seen_through uuid,
    seen bigint default 0 not null,
    invoices bigint default 0 not null,
    invoiced_at timestamptz,
    charged_series text not null,
    charged_number bigint not null,
    charges bigint default 0 not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    zone text,
    restarted integer default 0 not null,
    constraint billing_runs_pkey primary key (month),
    constraint billing_runs_check check (finished_at is null or invoiced_at is not null),
    constraint billing_runs_month_check check (month ~ '^[0-9]{4}-(0[1-9]|1[0-2])$')
);

create function tax_in(p_gross bigint, p_basis_points integer) returns bigint
    language sql immutable
    as $$
  select (2 * p_gross * p_basis_points + 10000 + p_basis_points) / (2 * (10000 + p_basis_points))
$$;

create function tax_left(p_tax bigint, p_left bigint, p_of bigint) returns bigint
    language sql immutable
    as $$
  select div(2 * p_tax::numeric * p_left + p_of, 2 * p_of::numeric)::bigint
$$;

create function tax_of_payment(p_id uuid, p_at timestamptz default db_now())
    returns table (
        market text, rate bigint, supplied_on date, gross bigint, tax bigint, advance uuid
    )
    language sql stable
    as $$
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

create function market_of_address(p_country text, p_postcode text) returns text
    language plpgsql stable
    as $$
begin
  return (select m.code from markets m
           where m.country = p_country and (m.postcodes = '{}' or exists (
             select from unnest(m.postcodes) as beginning where starts_with(p_postcode, beginning)))
           order by m.postcodes = '{}',
                 not exists (select from tax_rates r where r.market = m.code), m.code limit 1);
end $$;

create function market_of_sale(p_type text, p_subject uuid, p_customer uuid) returns text
    language plpgsql stable
    as $$
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

create function address_without_tax_table(p_customer uuid) returns text
    language plpgsql stable
    as $$
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

create function tax_captured_payment(p_payment uuid) returns boolean
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function tax_what_is_earned() returns trigger
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function book_output_tax(p_payments uuid[], p_seqs integer[], p_at timestamptz[])
    returns void
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function note_untaxed(p_payments uuid[]) returns void
    language sql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
  insert into documents_due (payment_id, at)
  select p.id, db_now() from payments p join tax_settings s on p.created_at >= s.since
   where p.id = any (p_payments)
     and not exists (select from payment_taxes t where t.payment_id = p.id)
     and not exists (select from documents_due d where d.payment_id = p.id)
   order by p.id
$$;

create function refuse_other_rate() returns trigger
    language plpgsql
    as $$
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

create function buyer_of(p_customer uuid) returns jsonb
    language sql stable
    as $$
  select case when b.customer is not null then jsonb_strip_nulls(jsonb_build_object(
                'name', b.name, 'street', b.street, 'postcode', b.postcode, 'city', b.city,
                'country', b.country, 'tax_id', b.tax_id))
              when c.name is not null then jsonb_build_object('name', c.name) end
    from customers c left join billing_details b on b.customer = c.id where c.id = p_customer
$$;

create function lacking_details(p_details billing_details, p_market markets) returns text[]
    language sql immutable
    as $$
  select case when (p_details).customer is null
              then '{street,postcode,city,country}'::text[] else '{}'::text[] end
      || case when (p_market).buyer_tax_id and (p_details).tax_id is null
              then '{tax_id}'::text[] else '{}'::text[] end
$$;

create function release_documents() returns trigger
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
begin
  update documents_due d set held = false from payments p
   where p.customer = new.customer and d.payment_id = p.id and d.held
     and d.case_kind = 'buyer_details_missing';
  return null;
end $$;

create function refuse_bill_of_erased() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'customer % was erased and is not billed', new.customer
    using errcode = 'check_violation';
end $$;

create function check_series() returns trigger
    language plpgsql
    as $$
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

create function digest_of_document(p_document invoices) returns bytea
    language sql stable
    as $$
  select sha256(convert_to((jsonb_strip_nulls(to_jsonb(p_document)) - 'digest' - 'issued_at'
    || jsonb_build_object('issued_at', extract(epoch from p_document.issued_at)))::text, 'UTF8'))
$$;

create function seal_document() returns trigger
    language plpgsql
    as $$
begin
  new.subject := coalesce(new.subject, new.subscription);
  new.digest := caas.digest_of_document(new);
  return new;
end $$;

create function is_kept_by_law(p_document invoices) returns boolean
    language sql stable
    as $$
  select (db_now() at time zone m.zone)::date < make_date(extract(year from
      p_document.issued_at at time zone m.zone)::integer + 1 + m.documents_kept_years, 1, 1)
    from markets m
   where m.code = coalesce(p_document.market, (select s.market from tax_settings s))
$$;

create function forget_buyers() returns bigint
    language sql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
  with gone as (
    delete from document_buyers b using invoices i, customers c
     where i.id = b.invoice and c.id = i.customer and c.erased_at is not null
       and not is_kept_by_law(i) returning 1)
  select count(*) from gone
$$;

create function note_documents_due() returns trigger
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
begin
  insert into documents_due (payment_id, at)
  select n.payment_id, n.recorded_at from new_rows n join payments p on p.id = n.payment_id
   where p.type <> 'subscription' order by n.payment_id;
  return null;
end $$;

create function note_credit_note_due() returns trigger
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
begin
  insert into documents_due (payment_id, refund, at)
  select new.payment_id, new.id, db_now()
   where (exists (select from payment_taxes t where t.payment_id = new.payment_id)
          or exists (select from invoices i where i.payment_id = new.payment_id))
     and not exists (select from invoices i where i.refund = new.id);
  return null;
end $$;

-- A credit note that is due and not issued yet is not issued any more.
create function note_debit_note_due() returns trigger
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
begin
  delete from documents_due d where d.refund = new.id;
  insert into documents_due (payment_id, refund, at)
  select new.payment_id, new.id, db_now() where exists (select from credited_by(new.id));
  return null;
end $$;

-- The credit note of a refund: its own, or the one whose amount the refund paid out.
create function credited_by(p_refund uuid) returns setof invoices
    language sql stable
    as $$
  select n.* from refunds f
    join invoices n on n.kind = 'credit note' and (n.refund = f.id
      or n.refund in (select o.id from refunds o
                       where o.payment_id = f.payment_id and o.reason = f.reason)
         and f.reason = 'credit note ' || n.series || '-' || lpad(n.number::text, 6, '0'))
   where f.id = p_refund
$$;

create function note_missing_documents(p_payment uuid default null::uuid) returns bigint
    language sql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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

create function check_replacement() returns trigger
    language plpgsql
    as $$
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

-- Each document with its buyer, tax category and state of payment.
create view invoice_states as
select i.*,
    b.buyer,
    r.category as tax_category,
    r.reason as exempt_because,
    coalesce(i.service_name, v.names ->> i.language, v.name) as service_called,
    p.id as last_payment,
    p.state as payment_state,
    p.decline_code,
    coalesce(c.credited, 0::bigint) as credited,
    case
        when i.kind in ('credit note', 'debit note') then i.kind
        when i.gross = 0 then 'nothing to pay'
        when w.invoice is not null then 'written off'
        when p.captured_amount > 0 then 'paid'
        when p.state = 'Failed' then 'declined'
        else 'open'
    end as state,
    x.id as replaced_by
  from invoices i
  left join document_buyers b on b.invoice = i.id
  left join tax_rates r on r.id = i.tax_rate
  left join services v on v.code = i.service
  left join lateral (
    select q.* from (
      select s.id, s.state, s.decline_code, s.captured_amount, s.created_at from payments s
       where s.subject = i.id and s.type = 'subscription' and i.kind = 'invoice'
      union all
      select s.id, s.state, s.decline_code, s.captured_amount, s.created_at from payments s
       where s.id = i.payment_id and i.kind <> 'invoice') q
     order by (q.captured_amount > 0) desc, q.created_at desc limit 1) p on true
  left join written_off_invoices w on w.invoice = i.id
  left join lateral (
    select -(sum(n.gross))::bigint as credited from invoices n where n.corrects = i.id) c on true
  left join invoices x on x.replaces = i.id;

-- Output tax per market, rate, month and currency, from the ledger.
create view output_tax as
select t.market,
    r.goods,
    r.name,
    r.category,
    r.basis_points,
    to_char((t.supplied_on)::timestamptz, 'YYYY-MM') as month,
    e.currency,
    (sum(
    case
        when e.credit = 'output_vat' then e.amount
        else - e.amount
    end))::bigint as tax
   from ledger_entries e
     join payment_taxes t on t.payment_id = e.payment_id
     join tax_rates r on r.id = t.rate
  where ('output_vat' = e.debit or 'output_vat' = e.credit)
  group by t.market, r.goods, r.name, r.category, r.basis_points,
      (to_char((t.supplied_on)::timestamptz, 'YYYY-MM')), e.currency;

create trigger releases_documents after insert or update on billing_details
    for each row execute function release_documents();

create trigger taxes_what_is_earned after insert on ledger_entries
    referencing new table as new_rows for each statement execute function tax_what_is_earned();

create trigger is_credited after insert on refunds
    for each row when (new.state = 'succeeded')
    execute function note_credit_note_due();
create trigger is_credited_in_the_end after update of state on refunds
    for each row when (new.state = 'succeeded' and old.state <> 'succeeded')
    execute function note_credit_note_due();
create trigger is_debited_when_it_returns after update of state on refunds
    for each row when (old.state = 'succeeded' and new.state = 'failed')
    execute function note_debit_note_due();

create trigger never_removed before delete or truncate on markets
    for each statement execute function refuse_change();

create trigger follows_the_last before insert or update on tax_rates
    for each row execute function refuse_other_rate();
create trigger never_removed before delete or truncate on tax_rates
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on payment_taxes
    for each statement execute function refuse_change();
create trigger is_documented after insert on payment_taxes
    referencing new table as new_rows for each statement execute function note_documents_due();

create trigger append_only before delete or update or truncate on invoices
    for each statement execute function refuse_change();
create trigger is_sealed before insert on invoices for each row execute function seal_document();
create constraint trigger replaces_what_is_credited after insert on invoices
    deferrable initially deferred for each row when (new.replaces is not null)
    execute function check_replacement();
create trigger nobody_erased_is_billed before insert on invoices
    for each row
    when (new.kind = 'invoice' and new.subscription is not null and is_erased(new.customer))
    execute function refuse_bill_of_erased();

create constraint trigger has_no_gap after insert or update on invoice_series
    deferrable initially deferred for each row execute function check_series();
create trigger never_removed before delete or truncate on invoice_series
    for each statement execute function refuse_change();

create trigger never_changed before update or truncate on document_buyers
    for each statement execute function refuse_change();

create trigger is_decided_once before update on credit_note_decisions
    for each row
    when (old.state <> 'proposed'
        or (new.id is distinct from old.id or new.invoice is distinct from old.invoice
            or new.gross is distinct from old.gross or new.reason is distinct from old.reason
            or new.term is distinct from old.term
            or new.proposed_by is distinct from old.proposed_by
            or new.proposed_account is distinct from old.proposed_account
            or new.proposed_at is distinct from old.proposed_at))
    execute function refuse_other_decision();
create trigger never_removed before delete or truncate on credit_note_decisions
    for each statement execute function refuse_change();
create trigger two_people_decide before insert or update on credit_note_decisions
    for each row when (new.state = 'agreed')
    execute function refuse_one_person('proposed_account', 'decided_account');

create trigger append_only before delete or update or truncate on written_off_invoices
    for each statement execute function refuse_change();

create trigger is_finished_once before update on billing_runs
    for each row
    when ((not ((old.finished_at is not null) and new.finished_at is null
                and new.invoiced_at is null and new.seen = 0
                and new.restarted = (old.restarted + 1)
                and (not ((new.month is distinct from old.month
                           or new.series is distinct from old.series
                           or new.first_number is distinct from old.first_number
                           or new.started_at is distinct from old.started_at
                           or new.invoices is distinct from old.invoices
                           or new.charges is distinct from old.charges
                           or new.charged_series is distinct from old.charged_series)
                          or new.charged_number is distinct from old.charged_number))))
        and (old.finished_at is not null or new.restarted <> old.restarted
             or (old.month is distinct from new.month or old.series is distinct from new.series
                 or old.first_number is distinct from new.first_number
                 or old.started_at is distinct from new.started_at)
             or (old.invoiced_at is not null and new.invoiced_at is distinct from old.invoiced_at)
             or new.seen < old.seen or new.invoices < old.invoices or new.charges < old.charges))
    execute function refuse_other_run();
create trigger never_removed before delete or truncate on billing_runs
    for each statement execute function refuse_change();

-- == Reconciliation ===============================================================================

-- How the columns of a settlement report are read, by name and version.
create table report_mappings (
    name text not null,
    version integer not null,
    mapping jsonb not null,
    kept_by text not null,
    kept_at timestamptz not null,
    retired boolean default false not null,
    constraint report_mappings_pkey primary key (name, version),
    constraint report_mappings_name_check check (name ~ '^[a-z0-9][a-z0-9_-]{0,39}$'),
    constraint report_mappings_version_check check (version > 0)
);

-- Fees agreed with the gateway, by method and first day.
create table fee_terms (
    gateway text not null,
    method text not null,
    kind text not null,
    valid_from date not null,
    rate_ppm bigint not null,
    fixed bigint not null,
    tolerance bigint not null,
    kept_by text not null,
    kept_at timestamptz not null,
    provider text default '*' not null,
    constraint fee_terms_pkey primary key (gateway, provider, method, kind, valid_from, kept_at),
    constraint fee_terms_fixed_check check (fixed between 0 and 1000000),
    constraint fee_terms_kind_check
        check (kind in ('settlement', 'refund', 'refund_reversal', 'chargeback',
            'chargeback_reversal', 'fee')),
    constraint fee_terms_method_check check (method ~ '^(\*|[a-z0-9][a-z0-9_-]{0,39})$'),
    constraint fee_terms_provider_check check (provider ~ '^(\*|[a-z0-9][a-z0-9_-]{0,39})$'),
    constraint fee_terms_rate_ppm_check check (rate_ppm between 0 and 1000000),
    constraint fee_terms_tolerance_check check (tolerance between 0 and 1000000)
);

-- Settlement reports of a gateway and day, and how far each is stored.
create table settlement_reports (
    id uuid not null,
    gateway text not null,
    day date not null,
    part text default '' not null,
    report_ref text not null,
    origin text not null,
    format text not null,
    status text not null,
    line_count bigint,
    gross_total bigint,
    net_total bigint,
    lines_stored bigint default 0 not null,
    gross_stored bigint default 0 not null,
    net_stored bigint default 0 not null,
    resume_cursor text,
    received_at timestamptz not null,
    updated_at timestamptz not null,
    late_of date,
    resume_rows bigint default 0 not null,
    constraint settlement_reports_pkey primary key (id),
    constraint settlement_reports_gateway_day_part_key unique (gateway, day, part),
    constraint settlement_reports_check check (late_of < day),
    constraint settlement_reports_line_count_check check (line_count >= 0),
    constraint settlement_reports_origin_check check (origin in ('gateway', 'file')),
    constraint settlement_reports_resume_rows_check check (resume_rows >= 0),
    constraint settlement_reports_status_check check (status in ('open', 'closed'))
);

-- Lines of settlement reports, classified.
create table settlement_lines (
    report_id uuid not null,
    line_no bigint not null,
    batch_id text not null,
    line_id text,
    transaction_id text,
    reference text,
    type text not null,
    gross bigint not null,
    fee bigint not null,
    net bigint not null,
    currency text not null,
    booked_at timestamptz not null,
    value_date date not null,
    payment_id uuid,
    class text not null,
    at_stake bigint not null,
    fee_agreed bigint,
    run_id uuid default (current_setting('caas.run_id'))::uuid not null,
    at timestamptz default (current_setting('caas.run_at'))::timestamptz not null,
    posts boolean generated always as (class in ('matched', 'given_back', 'partial_settlement',
        'fee_drift')) stored not null,
    method text,
    commission bigint,
    markup bigint,
    scheme_fees bigint,
    interchange bigint,
    rate numeric,
    payout_fee bigint,
    payout_unit bigint,
    constraint settlement_lines_pkey primary key (report_id, line_no),
    constraint payout_fee_has_its_unit check ((payout_fee is null) = (payout_unit is null)),
    constraint settlement_lines_at_stake_check check (at_stake >= 0),
    constraint settlement_lines_check check (class = 'fee_drift' or fee_agreed is null),
    constraint settlement_lines_check1 check ((gross - fee) = net),
    constraint settlement_lines_currency_check check (currency ~ '^[A-Z]{3}$'),
    constraint settlement_lines_line_no_check check (line_no > 0),
    constraint settlement_lines_payout_unit_check check (payout_unit > 0),
    constraint settlement_lines_rate_check check (rate > (0)::numeric),
    constraint settlement_lines_type_check
        check (type in ('settlement', 'refund', 'refund_reversal', 'chargeback',
            'chargeback_reversal', 'fee', 'settlement_failure', 'adjustment', 'cost', 'tax',
            'invoice', 'reserve', 'transfer', 'carried', 'conversion'))
);

create index settlement_lines_booked on settlement_lines using brin (booked_at)
    with (pages_per_range = 32, autosummarize = on);
create index settlement_lines_by_id on settlement_lines (line_id) where line_id is not null;
create index settlement_lines_in_time on settlement_lines using brin (at)
    with (pages_per_range = 32, autosummarize = on);
create index settlement_lines_of_payment on settlement_lines (payment_id)
    where payment_id is not null;
create index unknown_lines_by_reference on settlement_lines (reference)
    where class = 'missing_in_book' and reference is not null;
create index unknown_lines_by_transaction on settlement_lines (transaction_id)
    where class = 'missing_in_book' and transaction_id is not null;

-- Settlement lines that were assigned to a payment afterwards.
create table identified_lines (
    report_id uuid not null,
    line_no bigint not null,
    payment_id uuid not null,
    at timestamptz not null,
    constraint identified_lines_pkey primary key (report_id, line_no),
    constraint identified_lines_report_id_line_no_fkey
        foreign key (report_id, line_no) references settlement_lines (report_id, line_no)
);

create index identified_lines_in_time on identified_lines using brin (at)
    with (pages_per_range = 32, autosummarize = on);
create index identified_lines_of_payment on identified_lines (payment_id);

-- Lines of a report that could not be read or stored, until released.
create table quarantined_lines (
    report_id uuid not null,
    place bigint not null,
    reason text not null,
    text text not null,
    found_at timestamptz not null,
    released_at timestamptz,
    released_by text,
    note text,
    id uuid default gen_random_uuid() not null,
    kind text default 'unreadable' not null,
    line_no bigint,
    line_id text,
    has_own_id boolean default false not null,
    batch_id text,
    transaction_id text,
    reference text,
    type text,
    constraint quarantined_lines_pkey primary key (id),
    constraint quarantined_lines_report_id_fkey
        foreign key (report_id) references settlement_reports (id),
    constraint quarantined_lines_check check ((released_at is null) = (released_by is null)),
    constraint quarantined_lines_kind_check check (kind in ('unreadable', 'contradicts', 'repeated'))
);

create index quarantined_lines_of_report on quarantined_lines (report_id, place);

-- Runs of reconciliation, with their input, output and counts, and what ended because of them.
create table reconciliation_runs (
    id uuid not null,
    gateway text not null,
    day date not null,
    mode text not null,
    state text not null,
    rule_version text not null,
    engine text,
    as_of timestamptz,
    lines bigint default 0 not null,
    input_hash text,
    output_hash text,
    counts jsonb default '{}'::jsonb not null,
    cleared jsonb default '{}'::jsonb not null,
    because text,
    started_at timestamptz not null,
    finished_at timestamptz,
    late_of date,
    constraint reconciliation_runs_pkey primary key (id),
    constraint reconciliation_runs_check check (late_of < day),
    constraint reconciliation_runs_mode_check check (mode in ('incremental', 'close')),
    constraint reconciliation_runs_state_check
        check (state in ('running', 'done', 'refused', 'stopped'))
);

alter table reconciliation_runs
    add constraint a_run_says_why_it_did_not_end check (state not in ('refused', 'stopped')
        or because is not null) not valid;

create index reconciliation_runs_of_day on reconciliation_runs (gateway, day);

-- Days of a gateway, and when each was closed and sealed.
create table reconciliation_days (
    gateway text not null,
    day date not null,
    closed_by_run uuid,
    closed_at timestamptz,
    sealed_at timestamptz,
    sealed_by text,
    constraint reconciliation_days_pkey primary key (gateway, day),
    constraint reconciliation_days_check check ((sealed_at is null) = (sealed_by is null))
);

-- Reports of a sealed day, with their digest.
create table sealed_reports (
    gateway text not null,
    day date not null,
    form text not null,
    content bytea not null,
    digest bytea not null,
    sealed_at timestamptz not null,
    constraint sealed_reports_pkey primary key (gateway, day, form),
    constraint sealed_reports_gateway_day_fkey
        foreign key (gateway, day) references reconciliation_days (gateway, day),
    constraint sealed_reports_check check (digest = sha256(content)),
    constraint sealed_reports_form_check check (form in ('csv', 'pdf'))
);

-- Differences between settlement reports and the ledger, and their status.
create table discrepancies (
    id uuid not null,
    gateway text not null,
    day date not null,
    kind text not null,
    status text not null,
    version integer not null,
    owner text,
    amount bigint not null,
    currency text not null,
    payment_id uuid,
    report_id uuid,
    line_no bigint,
    due_on date not null,
    missing_from date,
    resolution text,
    opened_at timestamptz not null,
    updated_at timestamptz not null,
    constraint discrepancies_pkey primary key (id),
    constraint discrepancies_report_id_line_no_fkey
        foreign key (report_id, line_no) references settlement_lines (report_id, line_no),
    constraint discrepancies_amount_check check (amount >= 0),
    constraint discrepancies_status_check
        check (status in ('open', 'waiting', 'proposed', 'resolved'))
);

create index discrepancies_by_due on discrepancies (due_on, id);
create index discrepancies_in_another_currency on discrepancies (payment_id)
    where kind = 'currency';
create index discrepancies_due_of_day on discrepancies (day, due_on, id);
create index discrepancies_of_day on discrepancies (gateway, day);
create index discrepancies_of_kind on discrepancies (kind, due_on, id);
create index discrepancies_of_line on discrepancies (report_id, line_no)
    where report_id is not null;
create index discrepancies_of_owner on discrepancies (owner, due_on, id)
    where owner is not null;
create index discrepancies_of_payment on discrepancies (payment_id) where payment_id is not null;
create index open_discrepancies on discrepancies (payment_id) where status <> 'resolved';
create index resolved_by_due on discrepancies (due_on, id) where status = 'resolved';
create index unlisted_refunds on discrepancies (payment_id)
    where kind = 'refund_mismatch' and report_id is null;
create index unresolved_by_due on discrepancies (due_on, id) where status <> 'resolved';
create index unresolved_of_day on discrepancies (gateway, day) where status <> 'resolved';

-- Every change of a discrepancy.
create table discrepancy_events (
    discrepancy_id uuid not null,
    seq integer not null,
    event text not null,
    status text not null,
    by text not null,
    facts jsonb default '{}'::jsonb not null,
    at timestamptz not null,
    constraint discrepancy_events_pkey primary key (discrepancy_id, seq),
    constraint discrepancy_events_discrepancy_id_fkey
        foreign key (discrepancy_id) references discrepancies (id) deferrable initially deferred,
    constraint discrepancy_events_event_check
        check (event in ('opened', 'assigned', 'noted', 'evidence attached', 'became missing',
            'proposed', 'rejected', 'approved', 'resolved', 'resolved itself', 'reopened'))
);

-- Files attached to a discrepancy.
create table discrepancy_evidence (
    id uuid not null,
    discrepancy_id uuid not null,
    name text not null,
    media_type text not null,
    content bytea not null,
    digest bytea not null,
    attached_by text not null,
    attached_at timestamptz not null,
    constraint discrepancy_evidence_pkey primary key (id),
    constraint discrepancy_evidence_discrepancy_id_fkey
        foreign key (discrepancy_id) references discrepancies (id),
    constraint discrepancy_evidence_content_check
        check (octet_length(content) between 1 and 5242880),
    constraint discrepancy_evidence_name_check check (length(name) between 1 and 200)
);

create index discrepancy_evidence_of on discrepancy_evidence (discrepancy_id);

-- Proposed and decided resolutions of discrepancies.
create table discrepancy_resolutions (
    id uuid not null,
    discrepancy_id uuid not null,
    resolution text not null,
    note text not null,
    amount bigint not null,
    currency text not null,
    needs_second_approver boolean not null,
    state text not null,
    proposed_by text not null,
    proposed_at timestamptz not null,
    decided_by text,
    decided_at timestamptz,
    bulk_id uuid,
    proposed_account uuid,
    decided_account uuid,
    constraint discrepancy_resolutions_pkey primary key (id),
    constraint discrepancy_resolutions_decided_account_fkey
        foreign key (decided_account) references accounts (id),
    constraint discrepancy_resolutions_discrepancy_id_fkey
        foreign key (discrepancy_id) references discrepancies (id),
    constraint discrepancy_resolutions_proposed_account_fkey
        foreign key (proposed_account) references accounts (id),
    constraint discrepancy_resolutions_check check ((state = 'proposed') = (decided_by is null)),
    constraint discrepancy_resolutions_check1 check ((decided_by is null) = (decided_at is null)),
    constraint discrepancy_resolutions_check2
        check (decided_by is not null or decided_account is null),
    constraint discrepancy_resolutions_note_check check (length(note) between 1 and 1000),
    constraint discrepancy_resolutions_resolution_check
        check (resolution in ('accept_loss', 'wait', 'claim_from_gateway', 'refund_the_customer',
            'write_off', 'correct_by_entry', 'reinstate_the_payment')),
    constraint discrepancy_resolutions_state_check
        check (state in ('proposed', 'approved', 'rejected'))
);

create index discrepancy_resolutions_of on discrepancy_resolutions (discrepancy_id);
create index discrepancy_resolutions_of_bulk on discrepancy_resolutions (bulk_id)
    where bulk_id is not null;
create unique index one_proposal_at_a_time on discrepancy_resolutions (discrepancy_id)
    where state = 'proposed';

-- Ledger entries of discrepancies and their resolutions.
create table discrepancy_entries (
    id bigint generated always as identity not null,
    discrepancy_id uuid not null,
    resolution_id uuid,
    payment_id uuid,
    debit text not null,
    credit text not null,
    amount bigint not null,
    currency text not null,
    at timestamptz not null,
    constraint discrepancy_entries_pkey primary key (id),
    constraint discrepancy_entries_discrepancy_id_fkey
        foreign key (discrepancy_id) references discrepancies (id),
    constraint discrepancy_entries_resolution_id_fkey
        foreign key (resolution_id) references discrepancy_resolutions (id),
    constraint discrepancy_entries_amount_check check (amount > 0),
    constraint discrepancy_entries_check check (debit <> credit)
);

create index discrepancy_entries_in_time on discrepancy_entries (at);
create index discrepancy_entries_of on discrepancy_entries (discrepancy_id);

-- Claims against the gateway for what it owes.
create table gateway_claims (
    discrepancy_id uuid not null,
    gateway text not null,
    status text not null,
    version integer not null,
    receipt text,
    amount bigint not null,
    currency text not null,
    due_on date not null,
    filed_at timestamptz not null,
    updated_at timestamptz not null,
    needs_second boolean default false not null,
    refusal_by text,
    refusal_account uuid,
    refused_account uuid,
    constraint gateway_claims_pkey primary key (discrepancy_id),
    constraint gateway_claims_discrepancy_id_fkey
        foreign key (discrepancy_id) references discrepancies (id),
    constraint gateway_claims_refusal_account_fkey
        foreign key (refusal_account) references accounts (id),
    constraint gateway_claims_refused_account_fkey
        foreign key (refused_account) references accounts (id),
    constraint gateway_claims_amount_check check (amount >= 0),
    constraint gateway_claims_check
        check (status not in ('sent', 'accepted', 'paid') or receipt is not null),
    constraint gateway_claims_receipt_check check (length(receipt) between 1 and 200),
    constraint gateway_claims_status_check
        check (status in ('filed', 'sent', 'accepted', 'paid', 'refused', 'withdrawn')),
    constraint gateway_claims_version_check check (version > 0),
    constraint is_proposed_by_somebody check (needs_second = (refusal_by is not null)),
    constraint proposer_has_proposed check (refusal_account is null or refusal_by is not null),
    constraint second_ends_it check (refused_account is null or status = 'refused')
);

create index gateway_claims_by_due on gateway_claims (gateway, due_on, discrepancy_id);
create index gateway_claims_of_status on gateway_claims
    (gateway, status, due_on, discrepancy_id);
create index open_gateway_claims on gateway_claims (due_on)
    where status not in ('paid', 'refused', 'withdrawn');

-- Every change of a claim against the gateway.
create table gateway_claim_events (
    discrepancy_id uuid not null,
    seq integer not null,
    status text not null,
    by text not null,
    note text not null,
    receipt text,
    at timestamptz not null,
    constraint gateway_claim_events_pkey primary key (discrepancy_id, seq),
    constraint gateway_claim_events_discrepancy_id_fkey
        foreign key (discrepancy_id) references gateway_claims (discrepancy_id)
            deferrable initially deferred,
    constraint gateway_claim_events_note_check check (length(note) between 1 and 1000)
);

-- Ledger entries of claims against the gateway.
create table gateway_claim_entries (
    id bigint generated always as identity not null,
    discrepancy_id uuid not null,
    seq integer not null,
    debit text not null,
    credit text not null,
    amount bigint not null,
    currency text not null,
    at timestamptz not null,
    constraint gateway_claim_entries_pkey primary key (id),
    constraint gateway_claim_entries_discrepancy_id_seq_key unique (discrepancy_id, seq),
    constraint gateway_claim_entries_discrepancy_id_fkey
        foreign key (discrepancy_id) references gateway_claims (discrepancy_id),
    constraint gateway_claim_entries_amount_check check (amount > 0),
    constraint gateway_claim_entries_check check (debit <> credit),
    constraint gateway_claim_entries_check1
        check ('gateway_claims' = debit or 'gateway_claims' = credit)
);

create index gateway_claim_entries_in_time on gateway_claim_entries (at);

create function refuse_if_sealed(p_gateway text, p_day date) returns void
    language plpgsql
    as $$
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

create function refuse_change_of_sealed_day() returns trigger
    language plpgsql
    as $$
begin
  perform caas.refuse_if_sealed(new.gateway, new.day);
  return new;
end $$;

create function refuse_children_of_sealed_day() returns trigger
    language plpgsql
    as $$
begin
  perform caas.refuse_if_sealed(d.gateway, d.day)
     from (select distinct discrepancy_id from new_rows) n
     join caas.discrepancies d on d.id = n.discrepancy_id;
  return null;
end $$;

create function refuse_lines_of_sealed_day() returns trigger
    language plpgsql
    as $$
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

create function refuse_broken_seal() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'the day % of % is sealed: nothing of it changes any more', old.day, old.gateway
    using errcode = 'restrict_violation';
end $$;

create function check_seal() returns trigger
    language plpgsql
    as $$
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

create function refuse_other_report() returns trigger
    language plpgsql
    as $$
begin
  raise exception '% of a report: what the gateway sent never changes', tg_table_name
    using errcode = 'check_violation';
end $$;

create function check_discrepancy() returns trigger
    language plpgsql
    as $$
begin
  if not exists (select from caas.discrepancy_events e
                  where e.discrepancy_id = new.id and e.seq = new.version
                    and e.status = new.status) then
    raise exception 'discrepancy % changes only with its event', new.id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;

create function refuse_other_discrepancy() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'discrepancy % changes only with its event; what it is about never changes',
    old.id using errcode = 'check_violation';
end $$;

create function refuse_other_resolution() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'a resolution is decided once, and stays as it was proposed'
    using errcode = 'check_violation';
end $$;

create function check_gateway_claim() returns trigger
    language plpgsql
    as $$
begin
  if not exists (select from caas.gateway_claim_events e
                  where e.discrepancy_id = new.discrepancy_id and e.seq = new.version
                    and e.status = new.status) then
    raise exception 'the claim of discrepancy % changes only with its event', new.discrepancy_id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;

create function claimed_by(p_discrepancy uuid) returns bigint
    language sql stable
    as $$
  select coalesce(sum(case when e.debit = 'gateway_claims' then e.amount else -e.amount end), 0)::bigint
    from discrepancy_entries e
   where e.discrepancy_id = p_discrepancy and 'gateway_claims' in (e.debit, e.credit)
$$;

-- Each ledger entry as its debit and credit lines.
create view ledger_lines as
select ledger_entries.id,
    ledger_entries.payment_id,
    ledger_entries.seq,
    ledger_entries.debit as account,
    ledger_entries.amount,
    ledger_entries.currency,
    ledger_entries.at
   from ledger_entries
union all
select ledger_entries.id,
    ledger_entries.payment_id,
    ledger_entries.seq,
    ledger_entries.credit as account,
    (- ledger_entries.amount) as amount,
    ledger_entries.currency,
    ledger_entries.at
   from ledger_entries
union all
select null::bigint as id,
    l.payment_id,
    null::integer as seq,
    leg.account,
    leg.amount,
    l.currency,
    l.at
   from settlement_lines l
     cross join lateral (values ('bank',l.net), ('gateway_fees',l.fee),
         ('settled_funds',(- l.gross))) leg(account, amount)
  where (l.posts and leg.amount <> 0)
union all
select null::bigint as id,
    null::uuid as payment_id,
    null::integer as seq,
    leg.account,
    leg.amount,
    l.currency,
    l.at
   from settlement_lines l
     join provider_accounts of on of.class = l.class
     cross join lateral (values ('bank',l.net),
         ('gateway_fees',(l.fee * (l.gross <> 0)::integer)),
         (of.account,((- l.net) - (l.fee * (l.gross <> 0)::integer)))) leg(account, amount)
  where (leg.amount <> 0)
union all
select discrepancy_entries.id,
    discrepancy_entries.payment_id,
    null::integer as seq,
    discrepancy_entries.debit as account,
    discrepancy_entries.amount,
    discrepancy_entries.currency,
    discrepancy_entries.at
   from discrepancy_entries
union all
select discrepancy_entries.id,
    discrepancy_entries.payment_id,
    null::integer as seq,
    discrepancy_entries.credit as account,
    (- discrepancy_entries.amount) as amount,
    discrepancy_entries.currency,
    discrepancy_entries.at
   from discrepancy_entries
union all
select gateway_claim_entries.id,
    null::uuid as payment_id,
    null::integer as seq,
    gateway_claim_entries.debit as account,
    gateway_claim_entries.amount,
    gateway_claim_entries.currency,
    gateway_claim_entries.at
   from gateway_claim_entries
union all
select gateway_claim_entries.id,
    null::uuid as payment_id,
    null::integer as seq,
    gateway_claim_entries.credit as account,
    (- gateway_claim_entries.amount) as amount,
    gateway_claim_entries.currency,
    gateway_claim_entries.at
   from gateway_claim_entries;

-- Verdict on each reconciled day: its reports, open discrepancies and open work.
create view reconciliation_verdicts as
select d.gateway,
    d.day,
    d.closed_by_run,
    d.closed_at,
    d.sealed_at,
    d.sealed_by,
    case
        when d.sealed_at is not null then 'closed'
        when c.lacking <> '' or c.wrong <> '' then 'incomplete'
        when (u.discrepancies + w.decisions) > 0 then 'open discrepancies'
        else 'closed'
    end as verdict,
    case
        when d.sealed_at is not null then null::text
        when c.lacking <> '' or c.wrong <> '' then concat_ws('; ', nullif(c.lacking, ''),
            nullif(c.wrong, ''))
        when u.discrepancies > 0 then 'not resolved: ' || u.discrepancies
        when w.decisions > 0 then 'not carried out: ' || w.decisions
        else null::text
    end as because,
    (c.wrong = '') as only_unfinished
   from reconciliation_days d
     cross join lateral (select count(*) filter (where r_1.late_of is null) as reports,
            count(*) filter (where r_1.status = 'open') as open_reports,
            count(*) filter (where r_1.line_count > (r_1.lines_stored + (select count(distinct q_1.line_no) as count
                   from quarantined_lines q_1
                  where (q_1.report_id = r_1.id and q_1.kind = 'unreadable'
                      and q_1.released_by is distinct from 'reconciliation'))
                + (select count(*) as count
                   from quarantined_lines q_2
                  where (q_2.report_id = r_1.id and q_2.kind = 'repeated'
                      and q_2.released_by is distinct from 'reconciliation')))) as short_reports
           from settlement_reports r_1
          where (r_1.gateway = d.gateway and r_1.day = d.day)) r
     cross join lateral (select count(*) filter (where q_1.kind = 'unreadable') as unreadable,
            count(*) filter (where q_1.kind = 'contradicts') as contradicting,
            count(*) filter (where q_1.kind = 'repeated') as repeated
           from quarantined_lines q_1
             join settlement_reports s on s.id = q_1.report_id
          where (s.gateway = d.gateway and s.day = d.day and q_1.released_at is null)) q
     cross join lateral (select count(*) as discrepancies
           from discrepancies o
          where (o.gateway = d.gateway and o.day = d.day and o.status <> 'resolved')) u
     cross join lateral (select count(*) as decisions
           from jobs w_1
             join discrepancies o on o.id = w_1.subject
          where (w_1.kind = 'carry_out_resolution' and o.gateway = d.gateway and o.day = d.day)) w
     cross join lateral (select concat_ws('; ',
                case
                    when r.reports = 0 then 'no settlement report has come'
                    else null::text
                end,
                case
                    when r.open_reports > 0 then 'a report is still open'
                    else null::text
                end,
                case
                    when d.closed_by_run is null then 'our records were not compared yet'
                    else null::text
                end) as lacking,
            concat_ws('; ',
                case
                    when r.short_reports > 0 then 'a report lacks lines'
                    else null::text
                end,
                case
                    when q.unreadable > 0 then 'lines that could not be read: ' || q.unreadable
                    else null::text
                end,
                case
                    when q.contradicting > 0
                        then 'lines that contradict what is stored: ' || q.contradicting
                    else null::text
                end,
                case
                    when q.repeated > 0
                        then 'rows with an identifier that is there twice: ' || q.repeated
                    else null::text
                end) as wrong) c;

create trigger append_only before delete or update or truncate on report_mappings
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on fee_terms
    for each statement execute function refuse_change();

create trigger is_of_one_day before update on settlement_reports
    for each row
    when (old.id is distinct from new.id or old.gateway is distinct from new.gateway
        or old.day is distinct from new.day or old.part is distinct from new.part
        or old.origin is distinct from new.origin or old.format is distinct from new.format
        or old.received_at is distinct from new.received_at)
    execute function refuse_other_report();
create trigger never_removed before delete or truncate on settlement_reports
    for each statement execute function refuse_change();
create trigger not_of_a_sealed_day before insert or update on settlement_reports
    for each row execute function refuse_change_of_sealed_day();

create trigger append_only before delete or update or truncate on settlement_lines
    for each statement execute function refuse_change();
create trigger not_of_a_sealed_day after insert on settlement_lines
    referencing new table as new_rows for each statement
    execute function refuse_lines_of_sealed_day();

create trigger append_only before delete or update or truncate on identified_lines
    for each statement execute function refuse_change();

create trigger is_released_once before update on quarantined_lines
    for each row
    when (old.released_at is not null
        or (old.report_id is distinct from new.report_id or old.place is distinct from new.place
            or old.reason is distinct from new.reason or old.text is distinct from new.text
            or old.found_at is distinct from new.found_at or old.kind is distinct from new.kind
            or (old.line_no, old.line_id, old.has_own_id, old.batch_id, old.transaction_id,
                old.reference, old.type)
               is distinct from (new.line_no, new.line_id, new.has_own_id, new.batch_id,
                new.transaction_id, new.reference, new.type)))
    execute function refuse_other_report();
create trigger never_removed before delete or truncate on quarantined_lines
    for each statement execute function refuse_change();
create trigger not_of_a_sealed_day after insert on quarantined_lines
    referencing new table as new_rows for each statement
    execute function refuse_lines_of_sealed_day();
create trigger not_of_a_sealed_day_either after update on quarantined_lines
    referencing new table as new_rows for each statement
    execute function refuse_lines_of_sealed_day();

create trigger is_finished_once before update on reconciliation_runs
    for each row
    when (old.finished_at is not null
        or (old.id is distinct from new.id or old.gateway is distinct from new.gateway
            or old.day is distinct from new.day or old.mode is distinct from new.mode
            or old.rule_version is distinct from new.rule_version
            or old.started_at is distinct from new.started_at))
    execute function refuse_other_run();
create trigger never_removed before delete or truncate on reconciliation_runs
    for each statement execute function refuse_change();

create trigger never_removed before delete or truncate on reconciliation_days
    for each statement execute function refuse_change();
create trigger sealed_only_when_closed before insert or update on reconciliation_days
    for each row when (new.sealed_at is not null)
    execute function check_seal();
create trigger stays_sealed before update on reconciliation_days
    for each row when (old.sealed_at is not null)
    execute function refuse_broken_seal();

create trigger append_only before delete or update or truncate on sealed_reports
    for each statement execute function refuse_change();

create constraint trigger changes_with_its_event after insert or update on discrepancies
    deferrable initially deferred for each row execute function check_discrepancy();
create trigger is_about_one_thing before update on discrepancies
    for each row
    when (new.id is distinct from old.id or new.gateway is distinct from old.gateway
        or new.day is distinct from old.day or new.amount is distinct from old.amount
        or new.currency is distinct from old.currency
        or new.payment_id is distinct from old.payment_id
        or new.report_id is distinct from old.report_id or new.line_no is distinct from old.line_no
        or new.opened_at is distinct from old.opened_at or new.version <> (old.version + 1)
        or (new.kind <> old.kind
            and (not ((old.kind = 'delayed_settlement') and new.kind = 'missing_at_gateway'))))
    execute function refuse_other_discrepancy();
create trigger never_removed before delete or truncate on discrepancies
    for each statement execute function refuse_change();
create trigger not_of_a_sealed_day before insert or update on discrepancies
    for each row execute function refuse_change_of_sealed_day();

create trigger append_only before delete or update or truncate on discrepancy_events
    for each statement execute function refuse_change();
create trigger not_of_a_sealed_day after insert on discrepancy_events
    referencing new table as new_rows for each statement
    execute function refuse_children_of_sealed_day();

create trigger append_only before delete or update or truncate on discrepancy_evidence
    for each statement execute function refuse_change();
create trigger not_of_a_sealed_day after insert on discrepancy_evidence
    referencing new table as new_rows for each statement
    execute function refuse_children_of_sealed_day();

create trigger is_decided_once before update on discrepancy_resolutions
    for each row
    when (old.state <> 'proposed'
        or (new.id is distinct from old.id
            or new.discrepancy_id is distinct from old.discrepancy_id
            or new.resolution is distinct from old.resolution or new.note is distinct from old.note
            or new.amount is distinct from old.amount or new.currency is distinct from old.currency
            or new.needs_second_approver is distinct from old.needs_second_approver
            or new.proposed_by is distinct from old.proposed_by
            or new.proposed_at is distinct from old.proposed_at))
    execute function refuse_other_resolution();
create trigger never_removed before delete or truncate on discrepancy_resolutions
    for each statement execute function refuse_change();
create trigger not_of_a_sealed_day after insert on discrepancy_resolutions
    referencing new table as new_rows for each statement
    execute function refuse_children_of_sealed_day();
create trigger not_of_a_sealed_day_either after update on discrepancy_resolutions
    referencing new table as new_rows for each statement
    execute function refuse_children_of_sealed_day();
create trigger proposer_stays before update on discrepancy_resolutions
    for each row when (new.proposed_account is distinct from old.proposed_account)
    execute function refuse_other_resolution();
create trigger two_people_decide before insert or update on discrepancy_resolutions
    for each row when (new.state = 'approved' and new.needs_second_approver)
    execute function refuse_one_person('proposed_account', 'decided_account');

create trigger append_only before delete or update or truncate on discrepancy_entries
    for each statement execute function refuse_change();
create trigger not_of_a_sealed_day after insert on discrepancy_entries
    referencing new table as new_rows for each statement
    execute function refuse_children_of_sealed_day();
create trigger stands_on_accounts after insert on discrepancy_entries
    referencing new table as new_rows for each statement
    execute function check_accounts_of_entries();

create constraint trigger changes_with_its_event after insert or update on gateway_claims
    deferrable initially deferred for each row execute function check_gateway_claim();
create trigger never_removed before delete or truncate on gateway_claims
    for each statement execute function refuse_change();
create trigger two_people_decide before update on gateway_claims
    for each row when (new.status = 'refused' and old.status <> 'refused' and new.needs_second)
    execute function refuse_one_person('refusal_account', 'refused_account');

create trigger append_only before delete or update or truncate on gateway_claim_events
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on gateway_claim_entries
    for each statement execute function refuse_change();
create trigger stands_on_accounts after insert on gateway_claim_entries
    referencing new table as new_rows for each statement
    execute function check_accounts_of_entries();

-- == History, heads and audit =====================================================================

-- Sign-ins and changes of accounts, keys and event subscriptions, for the audit.
create table audit_events (
    id uuid not null,
    type text not null,
    actor text not null,
    account uuid,
    subject uuid,
    address cidr,
    at timestamptz not null,
    constraint audit_events_pkey primary key (id),
    constraint audit_events_account_fkey foreign key (account) references accounts (id),
    constraint audit_events_actor_check
        check (actor in ('account', 'platform', 'settings', 'command line', 'nobody')),
    constraint audit_events_address_check check (masklen((address)::inet) <=
        case family((address)::inet)
            when 4 then 24
            else 48
        end),
    constraint audit_events_check check ((actor = 'account') = (account is not null)),
    constraint audit_events_type_check
        check (type in ('key made', 'key activated', 'key revoked', 'staff added',
            'staff disabled', 'link made', 'link used', 'sign-in ok', 'sign-in refused',
            'sign-in slowed', 'password changed', 'second factor enrolled', 'second factor used',
            'second factor refused', 'second factor reset', 'recovery code used',
            'event subscription made', 'event subscription ended', 'evidence sent'))
);

create index audit_events_in_time on audit_events using brin (at)
    with (pages_per_range = 32, autosummarize = on);
create index audit_events_of_type on audit_events (type, id);

-- Merkle tree of each append-only table: its size and peaks.
create table history_trees (
    of_table text not null,
    size bigint not null,
    peaks bytea[] not null,
    looked_from timestamptz not null,
    constraint history_trees_pkey primary key (of_table),
    constraint history_trees_size_check check (size >= 0)
);

-- Digests of the rows that each history head covers.
create table history_leaves (
    of_table text not null,
    first_leaf bigint not null,
    head bigint not null,
    columns text[] not null,
    keys text[] not null,
    digests bytea not null,
    constraint history_leaves_pkey primary key (of_table, first_leaf),
    constraint history_leaves_check check (octet_length(digests) = (32 * cardinality(keys))),
    constraint history_leaves_first_leaf_check check (first_leaf >= 0)
);

create index history_leaves_of_head on history_leaves (of_table, head);

-- Signed heads of all history trees.
create table history_heads (
    head bigint not null,
    body text not null,
    public_key text not null,
    signature text not null,
    made_at timestamptz not null,
    constraint history_heads_pkey primary key (head),
    constraint history_heads_head_check check (head > 0)
);

-- Result of the last check of each invariant, and the mark from which the next one reads.
create table invariant_checks (
    invariant text not null,
    broken integer default 0 not null,
    examples text[] default '{}' not null,
    unfinished_because text,
    since timestamptz not null,
    checked_at timestamptz,
    fully_checked_at timestamptz,
    tried_at timestamptz,
    checked_through timestamptz,
    constraint invariant_checks_pkey primary key (invariant),
    constraint invariant_checks_broken_check check (broken >= 0)
);

create trigger append_only before delete or update or truncate on audit_events
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on history_leaves
    for each statement execute function refuse_change();

create trigger append_only before delete or update or truncate on history_heads
    for each statement execute function refuse_change();

-- How far retention has removed the rows of each table, and how many.
create table removals (
    of_table text not null,
    before timestamptz not null,
    rows bigint default 0 not null,
    last_at timestamptz not null,
    constraint removals_pkey primary key (of_table),
    constraint removals_rows_check check (rows >= 0)
);

-- The time before which rows of a table may be gone.
create function removed_before(p_table text) returns timestamptz
    language sql stable
    as $$ select coalesce((select before from caas.removals where of_table = p_table), '-infinity') $$;

create function remove_old_rows(p_table text, p_before timestamptz, p_rows integer) returns bigint
    language plpgsql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
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
end $$;

-- == Notifications ================================================================================

-- Messages as template and facts, without name or address.
create table notifications (
    id uuid not null,
    audience text not null,
    recipient text not null,
    template text not null,
    subject uuid not null,
    occasion text default '' not null,
    facts jsonb not null,
    created_at timestamptz not null,
    sent_at timestamptz,
    not_sent_because text,
    read_at timestamptz,
    constraint notifications_pkey primary key (id),
    constraint notifications_subject_template_recipient_occasion_key
        unique (subject, template, recipient, occasion),
    constraint notifications_audience_check
        check (audience in ('customer', 'dealership', 'operations')),
    constraint notifications_recipient_check check (length(recipient) between 1 and 200)
) with (fillfactor = 80);

create index notifications_of_recipient on notifications (audience, recipient, id);
create index unread_notifications on notifications (audience, recipient, id)
    where read_at is null;

create function refuse_other_notification() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'notification %: its recipient and content never change', old.id
    using errcode = 'check_violation';
end $$;

create trigger is_sent_once before update on notifications
    for each row
    when (old.id is distinct from new.id or old.audience is distinct from new.audience
        or old.recipient is distinct from new.recipient
        or old.template is distinct from new.template or old.subject is distinct from new.subject
        or old.occasion is distinct from new.occasion
        or old.created_at is distinct from new.created_at
        or (new.facts <> old.facts and new.facts <> (old.facts || '{"access_url": ""}'::jsonb))
        or (old.sent_at is not null and new.sent_at is distinct from old.sent_at)
        or (old.read_at is not null and new.read_at is distinct from old.read_at))
    execute function refuse_other_notification();
create trigger never_removed before delete or truncate on notifications
    for each statement execute function refuse_change();

-- == Events for subscribers =======================================================================

-- Addresses that company events are sent to, with their encrypted secret.
create table event_subscriptions (
    id uuid not null,
    url text not null,
    types text[] default '{}'::text[] not null,
    secret text,
    created_by text not null,
    created_at timestamptz not null,
    ended_at timestamptz,
    encrypted_secret bytea,
    constraint event_subscriptions_pkey primary key (id),
    constraint event_subscriptions_check check (ended_at >= created_at),
    constraint event_subscriptions_created_by_check check (length(created_by) between 1 and 200),
    constraint event_subscriptions_encrypted_secret_check
        check (length(encrypted_secret) between 32 and 256),
    constraint event_subscriptions_secret_check check (secret ~ '^whsec_[A-Za-z0-9+/]{32,86}=*$'),
    constraint event_subscriptions_types_check check (cardinality(types) <= 50),
    constraint event_subscriptions_url_check check (url ~ '^https?://' and length(url) <= 500),
    constraint one_secret_while_it_runs
        check (num_nonnulls(secret, encrypted_secret) = (ended_at is null)::integer)
);

create function events_are_whole_until() returns timestamptz
    language sql security definer
    set search_path to 'caas', 'pg_temp'
    as $$
  select least(clock_timestamp(), min(case when a.state is null
                                           then clock_timestamp() - interval '60 seconds'
                                           else a.xact_start end))
         + (select moved from clock)
    from pg_stat_activity a
   where a.datname = current_database() and a.pid <> pg_backend_pid()
     and coalesce(a.backend_type, 'client backend') = 'client backend'
$$;

create function refuse_other_subscriber() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'where events are sent to never changes; end it and make another'
    using errcode = 'check_violation';
end $$;

create function refuse_plain_secret() returns trigger
    language plpgsql
    as $$
begin
  raise exception 'a secret is written encrypted' using errcode = 'check_violation';
end $$;

-- Events of payments, orders, subscriptions, vehicles and documents, as subscribers receive them.
-- What an event is about is looked up for each event (`limit 1`), however many a plan expects.
create view company_events as
select e.at,
    'payment' as source,
    (e.payment_id)::text as subject,
    e.seq,
    ('payment.' || trim(both '_' from regexp_replace(lower(e.event), '[^a-z0-9]+', '_',
        'g'))) as type,
    e.to_state as state,
    e.from_state as before,
    p.type as of_type,
    p.subject as about,
    p.customer,
    o.dealership
   from payment_events e
     cross join lateral (select * from payments where id = e.payment_id limit 1) p
     left join lateral (select dealership from orders
         where id = p.subject and p.type in ('reservation', 'final') limit 1) o on true
union all
select e.at,
    'order' as source,
    (e.order_id)::text as subject,
    e.version as seq,
    ('order.' || trim(both '_' from regexp_replace(lower(e.event), '[^a-z0-9]+', '_',
        'g'))) as type,
    e.to_state as state,
    e.from_state as before,
    null::text as of_type,
    e.order_id as about,
    o.customer,
    o.dealership
   from order_events e
     cross join lateral (select * from orders where id = e.order_id limit 1) o
union all
select e.at,
    'subscription' as source,
    (e.subscription)::text as subject,
    e.version as seq,
    ('subscription.' || trim(both '_' from regexp_replace(lower(e.event), '[^a-z0-9]+', '_',
        'g'))) as type,
    e.to_state as state,
    e.from_state as before,
    s.service as of_type,
    e.subscription as about,
    s.customer,
    null::text as dealership
   from subscription_events e
     cross join lateral (select * from subscriptions where id = e.subscription limit 1) s
union all
select e.at,
    'vehicle' as source,
    e.vin as subject,
    e.version as seq,
    ('vehicle.' || trim(both '_' from regexp_replace(lower(e.event), '[^a-z0-9]+', '_',
        'g'))) as type,
    e.to_state as state,
    e.from_state as before,
    null::text as of_type,
    e.order_id as about,
    null::uuid as customer,
    null::text as dealership
   from vehicle_events e
union all
select i.issued_at as at,
    'document' as source,
    (i.id)::text as subject,
    1 as seq,
    'document.issued' as type,
    'issued' as state,
    null::text as before,
    i.kind as of_type,
    i.subject as about,
    i.customer,
    o.dealership
   from invoices i
     left join lateral (select dealership from orders where id = i.subject limit 1) o on true;

create trigger is_encrypted before insert on event_subscriptions
    for each row when (new.secret is not null)
    execute function refuse_plain_secret();
create trigger never_removed before delete or truncate on event_subscriptions
    for each statement execute function refuse_change();
create trigger only_ends before update on event_subscriptions
    for each row
    when (new.id is distinct from old.id or new.url is distinct from old.url
        or new.types is distinct from old.types or new.created_by is distinct from old.created_by
        or new.created_at is distinct from old.created_at or old.ended_at is not null
        or new.secret is not null)
    execute function refuse_other_subscriber();

-- == Initial rows =================================================================================

insert into clock default values;

insert into ledger_accounts values
    ('gateway_fees'),
    ('provider_costs'),
    ('provider_tax'),
    ('provider_invoices'),
    ('provider_reserves'),
    ('provider_balance'),
    ('own_transfers'),
    ('currency_conversion'),
    ('authorized_holds'),
    ('authorized_holds_contra'),
    ('bank'),
    ('customer_deposits'),
    ('disputed_funds'),
    ('gateway_claims'),
    ('gateway_receivable'),
    ('output_vat'),
    ('refunds_payable'),
    ('reservation_held'),
    ('unallocated_income'),
    ('risk_loss:already_failed'),
    ('risk_loss:already_voided'),
    ('risk_loss:amount'),
    ('risk_loss:authorization_expired'),
    ('risk_loss:captured_not_delivered'),
    ('risk_loss:chargeback'),
    ('risk_loss:credited'),
    ('risk_loss:currency'),
    ('risk_loss:delayed_settlement'),
    ('risk_loss:delivered_not_captured'),
    ('risk_loss:dispute_excess'),
    ('risk_loss:duplicate_line'),
    ('risk_loss:failed_settlement'),
    ('risk_loss:fee_drift'),
    ('risk_loss:missing_at_gateway'),
    ('risk_loss:missing_in_book'),
    ('risk_loss:other'),
    ('risk_loss:partial_settlement'),
    ('risk_loss:refund_mismatch'),
    ('risk_loss:reversed_after_refund'),
    ('risk_loss:settled_though_voided'),
    ('risk_loss:settlement_failed'),
    ('risk_loss:settlement_reversed'),
    ('risk_loss:state_conflict'),
    ('risk_loss:subscription_declined'),
    ('risk_loss:write_off'),
    ('service_revenue'),
    ('settled_funds'),
    ('subscription_revenue'),
    ('unexplained_funds'),
    ('vehicle_sales');

insert into order_transitions values
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
    ('ready', 'Withdrawal requested', 'ready'),
    ('ready', 'Desistimiento', 'withdrawn'),
    ('fully paid', 'Desistimiento', 'withdrawn'),
    ('registered', 'Desistimiento', 'withdrawn'),
    ('delivery scheduled', 'Delivery completed', 'delivered'),
    ('delivery scheduled', 'Desistimiento', 'withdrawn'),
    ('delivered', 'Desistimiento', 'withdrawn'),
    ('reservation failed', 'Mark Vehicle Reserved', 'reserved'),
    ('reservation failed', 'Payment Failed', 'reservation failed'),
    ('reservation failed', 'Vehicle taken', 'reservation failed');

insert into provider_accounts values
    ('provider_fee', 'gateway_fees'),
    ('provider_cost', 'provider_costs'),
    ('provider_tax', 'provider_tax'),
    ('provider_invoice', 'provider_invoices'),
    ('reserve', 'provider_reserves'),
    ('own_transfer', 'own_transfers'),
    ('carried_balance', 'provider_balance'),
    ('conversion', 'currency_conversion');

insert into refusal_codes values
    ('01', 'decline'),
    ('0101', 'decline'),
    ('0102', 'decline'),
    ('0106', 'decline'),
    ('0116', 'decline'),
    ('0118', 'decline'),
    ('0125', 'decline'),
    ('0129', 'decline'),
    ('0180', 'decline'),
    ('0184', 'decline'),
    ('0190', 'decline'),
    ('0191', 'decline'),
    ('0202', 'decline'),
    ('04', 'decline'),
    ('05', 'decline'),
    ('07', 'decline'),
    ('14', 'decline'),
    ('15', 'decline'),
    ('1a', 'decline'),
    ('3d_not_authenticated', 'decline'),
    ('3ds_failed', 'decline'),
    ('41', 'decline'),
    ('43', 'decline'),
    ('51', 'decline'),
    ('54', 'decline'),
    ('55', 'decline'),
    ('57', 'decline'),
    ('59', 'decline'),
    ('61', 'decline'),
    ('62', 'decline'),
    ('63', 'decline'),
    ('65', 'decline'),
    ('75', 'decline'),
    ('ac01', 'decline'),
    ('ac04', 'decline'),
    ('ac06', 'decline'),
    ('account_blocked', 'decline'),
    ('account_closed', 'decline'),
    ('acquirer_fraud', 'decline'),
    ('ag01', 'decline'),
    ('am04', 'decline'),
    ('authentication_failed', 'decline'),
    ('authentication_required', 'decline'),
    ('blocked_card', 'decline'),
    ('call_issuer', 'decline'),
    ('card_blocked', 'decline'),
    ('card_declined', 'decline'),
    ('card_expired', 'decline'),
    ('card_not_supported', 'decline'),
    ('card_velocity_exceeded', 'decline'),
    ('currency_not_supported', 'decline'),
    ('cvc_declined', 'decline'),
    ('cvv_mismatch', 'decline'),
    ('debit_not_authorized', 'decline'),
    ('declined', 'decline'),
    ('do_not_honor', 'decline'),
    ('do_not_honour', 'decline'),
    ('exceeds_withdrawal_limit', 'decline'),
    ('expired_card', 'decline'),
    ('fraud', 'decline'),
    ('fraudulent', 'decline'),
    ('generic_decline', 'decline'),
    ('incorrect_account_number', 'decline'),
    ('incorrect_address', 'decline'),
    ('incorrect_cvc', 'decline'),
    ('incorrect_expiry', 'decline'),
    ('incorrect_number', 'decline'),
    ('incorrect_pin', 'decline'),
    ('incorrect_zip', 'decline'),
    ('insufficient_balance', 'decline'),
    ('insufficient_funds', 'decline'),
    ('invalid_account', 'decline'),
    ('invalid_account_number', 'decline'),
    ('invalid_card', 'decline'),
    ('invalid_card_data', 'decline'),
    ('invalid_card_number', 'decline'),
    ('invalid_cvc', 'decline'),
    ('invalid_cvv', 'decline'),
    ('invalid_expiry_date', 'decline'),
    ('invalid_expiry_month', 'decline'),
    ('invalid_expiry_year', 'decline'),
    ('invalid_number', 'decline'),
    ('invalid_pin', 'decline'),
    ('lost_card', 'decline'),
    ('md01', 'decline'),
    ('md07', 'decline'),
    ('merchant_blacklist', 'decline'),
    ('ms02', 'decline'),
    ('ms03', 'decline'),
    ('no_action_taken', 'decline'),
    ('no_mandate', 'decline'),
    ('not_enough_balance', 'decline'),
    ('not_permitted', 'decline'),
    ('not_sufficient_funds', 'decline'),
    ('pickup_card', 'decline'),
    ('pin_tries_exceeded', 'decline'),
    ('pin_try_exceeded', 'decline'),
    ('r0', 'decline'),
    ('r1', 'decline'),
    ('refer_to_issuer', 'decline'),
    ('refusal_by_debtor', 'decline'),
    ('refused', 'decline'),
    ('restricted_card', 'decline'),
    ('revocation_of_all_authorizations', 'decline'),
    ('revocation_of_authorization', 'decline'),
    ('security_violation', 'decline'),
    ('service_not_allowed', 'decline'),
    ('sl01', 'decline'),
    ('stolen_card', 'decline'),
    ('stop_payment_order', 'decline'),
    ('suspected_fraud', 'decline'),
    ('transaction_not_allowed', 'decline'),
    ('transaction_not_permitted', 'decline'),
    ('transaction_not_permitted_to_cardholder', 'decline'),
    ('withdrawal_amount_exceeded', 'decline'),
    ('withdrawal_count_exceeded', 'decline'),
    ('06', 'technical'),
    ('0909', 'technical'),
    ('0912', 'technical'),
    ('19', 'technical'),
    ('22', 'technical'),
    ('68', 'technical'),
    ('91', 'technical'),
    ('92', 'technical'),
    ('96', 'technical'),
    ('9912', 'technical'),
    ('acquirer_error', 'technical'),
    ('approve_with_id', 'technical'),
    ('attempt_expired', 'technical'),
    ('authentication_error', 'technical'),
    ('issuer_not_available', 'technical'),
    ('issuer_unavailable', 'technical'),
    ('payment_cancelled', 'technical'),
    ('pin_required', 'technical'),
    ('processing_error', 'technical'),
    ('reenter_transaction', 'technical'),
    ('system_error', 'technical'),
    ('technical_error', 'technical'),
    ('try_again_later', 'technical'),
    ('03', 'ours'),
    ('0904', 'ours'),
    ('12', 'ours'),
    ('13', 'ours'),
    ('30', 'ours'),
    ('58', 'ours'),
    ('amount_too_large', 'ours'),
    ('amount_too_small', 'ours'),
    ('ff01', 'ours'),
    ('format_error', 'ours'),
    ('invalid_amount', 'ours'),
    ('invalid_merchant', 'ours'),
    ('invalid_transaction', 'ours'),
    ('not_submitted', 'ours'),
    ('test_card', 'ours'),
    ('too_many_retries', 'ours'),
    ('unknown_refusal', 'ours'),
    ('unsupported_currency', 'ours');

insert into subscription_transitions values
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
    ('active', 'Payment method changed', 'active'),
    ('verifying payment method', 'Customer withdraws', 'cancelled'),
    ('activating', 'Customer withdraws', 'cancelled'),
    ('active', 'Customer withdraws', 'cancelled');

insert into tax_settings values
    (true, 'ES', db_now());

insert into vehicle_transitions values
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

-- == Row checksums, by which a change that bypassed the guards is found ===========================

-- Sums of the rows of each table, kept by triggers.
create table table_checksums (
    of_table text not null,
    slot integer not null,
    rows bigint not null,
    fixed numeric not null,
    moving numeric not null,
    constraint table_checksums_pkey primary key (of_table, slot)
) with (fillfactor = 50);

create function sum_anew(p_table text) returns void
    language plpgsql
    as $$
begin
  execute format('lock table caas.%I in share row exclusive mode', p_table);
  delete from caas.table_checksums where of_table = p_table;
  execute format('insert into caas.table_checksums select %L, 0, count(*),'
    ' coalesce(sum(caas.fixed_checksum(r)), 0), coalesce(sum(caas.moving_checksum(r)), 0)'
    ' from caas.%I r', p_table, p_table);
end $$;

create function keep_checksum(p_table text, p_fixed text[], p_removable boolean default false)
    returns void
    language plpgsql
    as $$
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
end $$;

select keep_checksum('access_credentials', '{created_at,customer,expires_at,order_id,token_hash}');
select keep_checksum('accounts', '{created_at,id}');
select keep_checksum('api_keys', '{account,created_at,customer,dealership,id,key_hash,scopes}');
select keep_checksum('audit_events', '{account,actor,address,at,id,subject,type}');
select keep_checksum('billing_details', '{}', true);
select keep_checksum('billing_runs', '{first_number,month,series,started_at}');
select keep_checksum('cases', '{facts,id,kind,opened_at,sentence,subject}');
select keep_checksum('credit_note_decisions',
    '{gross,id,invoice,proposed_account,proposed_at,proposed_by,reason,term}');
select keep_checksum('customers', '{created_at,dealership,id}');
select keep_checksum('dealership_markets', '{}');
select keep_checksum('deposit_decisions',
    '{by_policy,decision,id,needs_second,note,payment_id,proposed_account,proposed_at,proposed_by}');
select keep_checksum('disputes',
    '{claimed_currency,currency,gateway,id,opened_at,origin,payment_id,reason}');
select keep_checksum('event_subscriptions', '{created_at,created_by,id,types,url}');
select keep_checksum('gateway_calls',
    '{amount,asked_at,gateway,id,key,operation,outcome,payment_id,summary,took_ms,transaction_id}', true);
select keep_checksum('orders', '{created_at,currency,customer,dealership,deposit,id,model,price}');
select keep_checksum('outcome_decisions',
    '{id,note,payment_id,proposed_account,proposed_at,proposed_by}');
select keep_checksum('recovery_codes', '{code_hash,created_at,factor}');
select keep_checksum('refund_decisions',
    '{amount,id,needs_second,note,payment_id,proposed_account,proposed_at,proposed_by,reason,term}');
select keep_checksum('refunds',
    '{amount,created_at,currency,gateway,id,payment_id,reason,requested_by}');
select keep_checksum('second_factors', '{account,id}');
select keep_checksum('services', '{}');
select keep_checksum('staff_links', '{created_at,token_hash}');
select keep_checksum('subscriptions',
    '{created_at,currency,customer,id,metered,monthly_fee,service,vin}');
select keep_checksum('tax_rates', '{id}');
select keep_checksum('tax_settings', '{}');
select keep_checksum('usage_disputes', '{because,id,opened_at,opened_by,source_id,subscription}');
select keep_checksum('usage_records',
    '{at,cancels,quantity,recorded_at,source_id,subscription,unit}');
select keep_checksum('vehicle_assignments', '{customer,id,order_id,since,vin}');
select keep_checksum('vehicle_models', '{}');
select keep_checksum('vehicles', '{created_at,model,vin}');
select keep_checksum('webhook_inbox', '{body,body_hash,event_id,gateway,id,received_at}', true);
select keep_checksum('webhook_quarantine',
    '{body,body_hash,contradicts,event_id,gateway,id,reason,received_at}');
