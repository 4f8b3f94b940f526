-- What customers, dealerships and operations are told. A row is the message in its reader's inbox
-- and the intent to send it; its words are made from the facts when it is read or sent, so that
-- no name and no address stands here.
--
-- Rule a change must keep: the same occasion is told once to the same recipient.

create table notifications (
  id uuid primary key,
  audience text not null check (audience in ('customer', 'dealership', 'operations')),
  recipient text not null check (length(recipient) between 1 and 200),
  template text not null,
  subject uuid not null,
  occasion text not null default '',
  facts jsonb not null,
  created_at timestamptz not null,
  sent_at timestamptz,
  not_sent_because text,
  read_at timestamptz,
  unique (template, subject, recipient, occasion)
) with (fillfactor = 80);
create index notifications_of_recipient on notifications (audience, recipient, id);

-- What was told stays told; only a link that gave access is taken out once it was sent.
create function refuse_other_notification() returns trigger language plpgsql as $$
begin
  raise exception 'notification %: what was told to whom never changes', old.id
    using errcode = 'check_violation';
end $$;
create trigger is_told_once before update on notifications for each row
  when ((old.id, old.audience, old.recipient, old.template, old.subject, old.occasion,
         old.created_at)
        is distinct from (new.id, new.audience, new.recipient, new.template, new.subject,
         new.occasion, new.created_at)
     or new.facts <> old.facts and new.facts <> old.facts || '{"access_url": ""}'
     or old.sent_at is not null and new.sent_at is distinct from old.sent_at
     or old.read_at is not null and new.read_at is distinct from old.read_at)
  execute function refuse_other_notification();
create trigger never_removed before delete or truncate on notifications
  for each statement execute function refuse_change();
