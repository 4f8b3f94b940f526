-- Who may call the API, and what webhooks contradicted one another.
--
-- Rules a change must keep: a key is stored as its SHA-256 and nothing else of it; a key that was
-- revoked stays revoked; what is quarantined is never changed.

create table api_keys (
  id uuid primary key,
  key_hash bytea not null unique check (octet_length(key_hash) = 32),
  name text not null check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
  scopes text[] not null check (cardinality(scopes) > 0),
  customer uuid,
  dealership text,
  created_at timestamptz not null,
  revoked_at timestamptz
);
create index api_keys_of_name on api_keys (name);

create function refuse_other_key() returns trigger language plpgsql as $$
begin
  raise exception 'key "%" is the key it is, and stays revoked once it was', old.name
    using errcode = 'check_violation';
end $$;
create trigger stays_revoked before update on api_keys for each row
  when ((old.id, old.key_hash, old.created_at)
        is distinct from (new.id, new.key_hash, new.created_at)
     or old.revoked_at is not null and new.revoked_at is distinct from old.revoked_at)
  execute function refuse_other_key();
create trigger never_removed before delete or truncate on api_keys
  for each statement execute function refuse_change();

-- Webhooks with a good signature that are not applied: another body under a known event id
-- (`contradicts` is the inbox row of the first), or a body nobody can read.
create table webhook_quarantine (
  id uuid primary key,
  gateway text not null,
  event_id text not null,
  contradicts uuid,
  reason text not null,
  body_hash bytea not null,
  body text not null,
  received_at timestamptz not null,
  unique (gateway, event_id, body_hash)
);
create trigger append_only before update or delete or truncate on webhook_quarantine
  for each statement execute function refuse_change();
