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
