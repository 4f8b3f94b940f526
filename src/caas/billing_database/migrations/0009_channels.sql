-- Who uses the channels: accounts of people, their sessions, and sign-ins that were refused.
--
-- Rules a change must keep: of a password, a session and an address on the network only a digest
-- stands here; a customer's name and e-mail address stand in `customers` alone; a session that has
-- ended stays ended.

-- Customers sign in with the e-mail address they are known by, staff with a login of their own.
create table accounts (
  id uuid primary key,
  role text not null check (role in ('customer', 'sales', 'operations')),
  customer uuid unique references customers,
  dealership text check (length(dealership) between 1 and 120),
  login text unique check (length(login) between 3 and 120 and login = lower(login)),
  password_hash text not null check (password_hash like '$argon2id$%'),
  created_at timestamptz not null,
  password_set_at timestamptz not null,
  disabled_at timestamptz,
  check ((role = 'customer') = (customer is not null)),
  check ((role = 'sales') = (dealership is not null)),
  check ((role = 'customer') = (login is null))
);
create index customers_of_email on customers (lower(email));
create trigger never_removed before delete or truncate on accounts
  for each statement execute function refuse_change();

-- The link with which somebody of staff chooses a password: only the digest of its token, once, for
-- a while.
create table staff_links (
  token_hash bytea primary key check (octet_length(token_hash) = 32),
  account uuid not null references accounts,
  expires_at timestamptz not null,
  used_at timestamptz,
  created_at timestamptz not null
);
create index staff_links_of_account on staff_links (account) where used_at is null;

-- A signed-in browser. It ends by itself when it was idle too long, and at `ends_at` at the latest.
create table sessions (
  token_hash bytea primary key check (octet_length(token_hash) = 32),
  account uuid not null references accounts,
  created_at timestamptz not null,
  seen_at timestamptz not null,
  idle_until timestamptz not null,
  ends_at timestamptz not null,
  ended_at timestamptz
) with (fillfactor = 80);
create index sessions_of_account on sessions (account) where ended_at is null;
create index sessions_by_end on sessions (ends_at);

create function refuse_revival() returns trigger language plpgsql as $$
begin
  raise exception 'a session that has ended stays ended' using errcode = 'check_violation';
end $$;
create trigger stays_ended before update on sessions for each row
  when (old.ended_at is not null and new.ended_at is distinct from old.ended_at)
  execute function refuse_revival();

-- Refused sign-ins by what they are counted for: a login, an address on the network, or both.
create table refused_sign_ins (
  counted_for bytea primary key check (octet_length(counted_for) = 32),
  times integer not null check (times > 0),
  since timestamptz not null
);
create index refused_sign_ins_by_age on refused_sign_ins (since);
