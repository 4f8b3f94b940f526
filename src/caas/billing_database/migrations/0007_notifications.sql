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
