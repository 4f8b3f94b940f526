-- The secret that signs events is encrypted with a key that is not in the database, and is gone when
-- its subscription ends. Those of running subscriptions are encrypted by the next delivery.
drop trigger only_ends on event_subscriptions;
alter table event_subscriptions alter column secret drop not null,
  add column encrypted_secret bytea check (length(encrypted_secret) between 32 and 256);
update event_subscriptions set secret = null where ended_at is not null;
alter table event_subscriptions add constraint one_secret_while_it_runs
  check (num_nonnulls(secret, encrypted_secret) = (ended_at is null)::integer);
create trigger only_ends before update on event_subscriptions for each row
  when ((new.id, new.url, new.types, new.created_by, new.created_at)
        is distinct from (old.id, old.url, old.types, old.created_by, old.created_at)
        or old.ended_at is not null
        or new.secret is not null)
  execute function refuse_other_subscriber();
create function refuse_plain_secret() returns trigger language plpgsql as $$
begin
  raise exception 'a secret is written encrypted' using errcode = 'check_violation';
end $$;
create trigger is_encrypted before insert on event_subscriptions for each row
  when (new.secret is not null) execute function refuse_plain_secret();

select keep_checksum('event_subscriptions', array['id', 'url', 'types', 'created_by', 'created_at']);
