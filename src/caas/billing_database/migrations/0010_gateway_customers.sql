-- Accounts and customers of a gateway (decision 183). Payments are looked up under them, so neither
-- changes once payments exist.
set lock_timeout = '5s';

-- The account and mode of the gateway whose payments are stored here.
create table gateway_accounts (
    gateway text primary key,
    account text not null check (length(account) between 1 and 200),
    since timestamptz not null
);

-- The id under which the gateway knows each customer.
create table gateway_customers (
    gateway text not null,
    customer uuid not null references customers (id),
    gateway_customer text not null check (length(gateway_customer) between 1 and 200),
    at timestamptz not null,
    primary key (gateway, customer),
    unique (gateway, gateway_customer)
);

create trigger never_removed before delete or truncate on gateway_accounts
    for each statement execute function refuse_change();
create trigger append_only before delete or update or truncate on gateway_customers
    for each statement execute function refuse_change();

-- A method is known by another token once the gateway has saved it.
drop trigger keeps_its_terms on subscriptions;
create trigger keeps_its_terms before update on subscriptions for each row when ((((((((((old.id is distinct from new.id) or (old.customer is distinct from new.customer)) or (old.vin is distinct from new.vin)) or (old.service is distinct from new.service)) or (old.currency is distinct from new.currency)) or (old.monthly_fee is distinct from new.monthly_fee)) or (old.metered is distinct from new.metered)) or (old.created_at is distinct from new.created_at)) or ((old.activated_at is not null) and ((new.activated_at is distinct from old.activated_at) or (new.activation_evidence is distinct from old.activation_evidence))) or ((old.deactivated_at is not null) and (new.deactivated_at is distinct from old.deactivated_at)) or ((old.cancelled_at is not null) and (new.cancelled_at is distinct from old.cancelled_at)) or ((old.payment_method <> new.payment_method) and ((new.event <> all (array['Payment method changed'::text, 'Payment method verified'::text])) or (new.version = old.version)) and ((new.payment_method <> 'erased'::text) or (new.state = any (array['verifying payment method'::text, 'activating'::text, 'active'::text])))))) execute function refuse_other_subscription();
