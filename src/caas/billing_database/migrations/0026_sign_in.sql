-- Signing in: second factors, tries that slow down, links that end one another. And API keys that
-- keep their scopes.
--
-- Rules a change must keep: no secret stands here that could be used as it is; a code counts once;
-- a second factor that works is taken away by another person only; of a person one access link
-- works at a time; what a key may do never changes.

-- API keys -------------------------------------------------------------------------------------

create function refuse_other_scopes() returns trigger language plpgsql as $$
begin
  raise exception 'key "%" keeps its scopes and whom it is narrowed to', old.name
    using errcode = 'check_violation';
end $$;
create trigger scopes_stay before update on api_keys for each row
  when ((new.scopes, new.customer, new.dealership)
        is distinct from (old.scopes, old.customer, old.dealership))
  execute function refuse_other_scopes();

-- Access links ---------------------------------------------------------------------------------

-- A new link ends every older one of the same person, so that one works at a time. The person's row
-- is locked first: two links made at one moment would not see each other.
create function end_older_credentials() returns trigger language plpgsql as $$
begin
  perform from customers where id = new.customer for no key update;
  update access_credentials set used_at = db_now()
   where customer = new.customer and used_at is null;
  return new;
end $$;
create trigger ends_older before insert on access_credentials for each row
  execute function end_older_credentials();
create index access_credentials_open on access_credentials (customer) where used_at is null;

create function end_older_staff_links() returns trigger language plpgsql as $$
begin
  perform from accounts where id = new.account for no key update;
  update staff_links set used_at = db_now() where account = new.account and used_at is null;
  return new;
end $$;
create trigger ends_older before insert on staff_links for each row
  execute function end_older_staff_links();

-- Older links that still work beside a newer one.
update access_credentials l set used_at = db_now()
 where l.used_at is null and exists (select from access_credentials n
   where n.customer = l.customer and n.used_at is null
     and (n.created_at, n.token_hash) > (l.created_at, l.token_hash));

-- Second factors -------------------------------------------------------------------------------

-- A time-based one-time password (RFC 6238). The secret is encrypted with a key of the settings;
-- `last_step` is the time step of the last code that was accepted.
create table second_factors (
  id uuid primary key,
  account uuid not null references accounts,
  sealed_secret bytea not null check (octet_length(sealed_secret) between 29 and 256),
  created_at timestamptz not null,
  confirmed_at timestamptz,
  last_step bigint,
  ended_at timestamptz,
  ended_by uuid references accounts,
  check ((confirmed_at is null) = (last_step is null)),
  check ((ended_at is null) = (ended_by is null))
);
create unique index one_second_factor on second_factors (account) where ended_at is null;

create function refuse_other_factor() returns trigger language plpgsql as $$
begin
  raise exception 'a second factor keeps its secret, counts each code once, and ends for good'
    using errcode = 'check_violation';
end $$;
create trigger stays before update on second_factors for each row
  when ((new.id, new.account) is distinct from (old.id, old.account)
     or old.ended_at is not null
     or old.confirmed_at is not null and (
        (new.sealed_secret, new.created_at, new.confirmed_at)
          is distinct from (old.sealed_secret, old.created_at, old.confirmed_at)
        or new.last_step is null or new.last_step < old.last_step))
  execute function refuse_other_factor();
create trigger another_person_resets before insert or update on second_factors for each row
  when (new.ended_at is not null) execute function refuse_one_person('account', 'ended_by');
create trigger never_removed before delete or truncate on second_factors
  for each statement execute function refuse_change();

-- Codes for when the telephone is lost: only digests, each once.
create table recovery_codes (
  code_hash bytea primary key check (octet_length(code_hash) = 32),
  factor uuid not null references second_factors,
  created_at timestamptz not null,
  used_at timestamptz
);
create index recovery_codes_of_factor on recovery_codes (factor) where used_at is null;
create trigger is_used_once before update on recovery_codes for each row
  when (old.used_at is not null or (new.code_hash, new.factor, new.created_at)
        is distinct from (old.code_hash, old.factor, old.created_at))
  execute function refuse_other_factor();
create trigger never_removed before delete or truncate on recovery_codes
  for each statement execute function refuse_change();

-- Whether the second factor was given when the session began.
alter table sessions add column second_factor boolean not null default false;
create function refuse_late_factor() returns trigger language plpgsql as $$
begin
  raise exception 'a session began with a second factor, or it never has one'
    using errcode = 'check_violation';
end $$;
create trigger factor_stays before update on sessions for each row
  when (new.second_factor is distinct from old.second_factor)
  execute function refuse_late_factor();

-- Tries ----------------------------------------------------------------------------------------

-- Wrong tries by what they are counted for: a login, an address on the network, a known device.
-- Until `free_at` nothing is tried for it.
create table slowed_tries (
  counted_for bytea primary key check (octet_length(counted_for) = 32),
  failures integer not null check (failures > 0),
  failed_at timestamptz not null,
  free_at timestamptz not null
) with (fillfactor = 80);
create index slowed_tries_by_age on slowed_tries (failed_at);

-- Audit ----------------------------------------------------------------------------------------

alter table audit_events drop constraint audit_events_type_check,
  add constraint audit_events_type_check check (type in (
    'key made', 'key activated', 'key revoked', 'staff added', 'staff disabled', 'link made',
    'link used', 'sign-in ok', 'sign-in refused', 'sign-in slowed', 'password changed',
    'second factor enrolled', 'second factor used', 'second factor refused',
    'second factor reset', 'recovery code used'));
