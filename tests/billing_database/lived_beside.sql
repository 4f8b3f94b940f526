-- Beside the sales of the lived world: who may sign in, keys, terms, and somebody who was erased.
insert into accounts (id, role, login, password_hash, created_at, password_set_at)
values ('00000000-0000-4000-8000-00000000000a', 'operations', 'ana@caas.example', '$argon2id$',
        now(), now()),
       ('00000000-0000-4000-8000-00000000000b', 'operations', 'eva@caas.example', '$argon2id$',
        now(), now());
insert into api_keys (id, key_hash, name, scopes, dealership, account, created_at, activated_at,
    activated_account)
values (gen_random_uuid(), sha256('one'), 'one', '{operations}', null,
        '00000000-0000-4000-8000-00000000000a', now(), now(),
        '00000000-0000-4000-8000-00000000000b');
insert into api_keys (id, key_hash, name, scopes, customer, dealership, created_at, revoked_at)
select gen_random_uuid(), sha256('two'), 'two', '{services}', min(id::text)::uuid, 'Autos Sol',
       now(), now() from customers;
insert into second_factors (id, account, sealed_secret, created_at, confirmed_at, last_step,
    ended_at, ended_by)
values ('00000000-0000-4000-8000-00000000000f', '00000000-0000-4000-8000-00000000000b',
        decode(repeat('61', 40), 'hex'), now(), now(), 7, now(),
        '00000000-0000-4000-8000-00000000000a');
insert into recovery_codes (code_hash, factor, created_at, used_at)
values (sha256('c'), '00000000-0000-4000-8000-00000000000f', now(), now());
insert into staff_links (token_hash, account, expires_at, used_at, created_at)
values (sha256('l'), '00000000-0000-4000-8000-00000000000a', now(), now(), now());
update access_credentials set used_at = now() where token_hash =
  (select token_hash from access_credentials where used_at is null order by token_hash limit 1);
insert into billing_details (customer, name, street, postcode, city, country, tax_id, updated_at)
select min(id::text)::uuid, 'Ana', 'Sol 1', '28001', 'Madrid', 'ES', '12345678Z', now()
  from customers where id not in (select customer from billing_details);
insert into dealership_markets (dealership, market)
select 'Autos Sol', market from tax_settings;
insert into fee_terms (gateway, method, kind, valid_from, rate_ppm, fixed, tolerance, kept_by,
    kept_at)
values ('seed', 'card', 'settlement', '2020-01-01', 10, 1, 1, 'olga', now());
insert into webhook_quarantine (id, gateway, event_id, contradicts, reason, body_hash, body,
    received_at)
values (gen_random_uuid(), 'gateway', 'evt_odd', gen_random_uuid(), 'nobody can read it',
        sha256('odd'), 'odd', now());
update disputes set reported_at = now() where id = 'dp_lost';
insert into usage_disputes (id, subscription, source_id, because, opened_by, opened_at, outcome,
    ended_by, ended_at)
select gen_random_uuid(), subscription, source_id, 'too much', 'olga', now(), 'billed', 'olga', now()
  from usage_records where source_id = 'later';
insert into customers (id, name, email, language, created_at)
values ('00000000-0000-4000-8000-00000000000e', 'Eva', 'eva@example.com', 'es', now());
select clear_customer('00000000-0000-4000-8000-00000000000e');
update accounts set disabled_at = now() where login = 'eva@caas.example';

-- Subscribers to events that have ended: who takes them has work under way.
insert into event_subscriptions (id, url, types, encrypted_secret, created_by, created_at)
values ('01a20737-8baa-7443-b3c7-3e6890dce6f1', 'https://a.example/events', '{payment}',
        decode(repeat('c1', 64), 'hex'), 'ops', db_now()),
       ('01a20737-8baa-7443-b3c7-3e6890dce6f2', 'https://b.example/events', '{}',
        decode(repeat('c2', 64), 'hex'), 'ops', db_now());
update event_subscriptions set ended_at = db_now(), encrypted_secret = null;
