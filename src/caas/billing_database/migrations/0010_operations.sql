-- What operations look at and decide: calls to the gateway, checks of the laws, decisions about
-- outcomes nobody knows and about held deposits; and the indexes behind the console's searches.
--
-- Rules a change must keep: a call is written down once and never changed; what two people decided
-- names two people, whoever writes.

-- One row a call, written when it was answered or given up. A call whose process died has none; its
-- intent stands in the payment's events and in its open work.
create table gateway_calls (
  id uuid primary key,
  operation text not null,
  payment_id uuid,
  transaction_id text,
  key text,
  amount bigint,
  outcome text not null check (outcome in ('answered', 'refused', 'not sent', 'unknown')),
  said text not null,
  took_ms integer not null check (took_ms >= 0),
  asked_at timestamptz not null
);
create index gateway_calls_of_payment on gateway_calls (payment_id);
create index gateway_calls_of_transaction on gateway_calls (transaction_id);
create trigger append_only before update or delete or truncate on gateway_calls
  for each statement execute function refuse_change();

-- What the last check of each law found.
create table law_checks (
  law text primary key,
  broken integer not null check (broken >= 0),
  examples text[] not null,
  checked_at timestamptz not null
);

-- A decision about an unknown outcome that no lookup can end: one person proposes it with what the
-- gateway said, another one agrees (decision 3).
create table outcome_decisions (
  id uuid primary key,
  payment_id uuid not null references payments,
  note text not null check (length(note) between 1 and 1000),
  state text not null check (state in ('proposed', 'agreed', 'withdrawn')),
  proposed_by text not null,
  proposed_at timestamptz not null,
  decided_by text,
  decided_at timestamptz,
  check ((state = 'proposed') = (decided_by is null)),
  check ((decided_by is null) = (decided_at is null)),
  constraint two_people_decide check (state <> 'agreed' or decided_by <> proposed_by)
);
create unique index one_outcome_decision_at_a_time on outcome_decisions (payment_id)
  where state = 'proposed';
create index outcome_decisions_of_payment on outcome_decisions (payment_id);
create trigger never_removed before delete or truncate on outcome_decisions
  for each statement execute function refuse_change();

create function refuse_other_decision() returns trigger language plpgsql as $$
begin
  raise exception 'a decision is taken once, and stays as it was proposed'
    using errcode = 'check_violation';
end $$;
create trigger is_decided_once before update on outcome_decisions for each row
  when (old.state <> 'proposed'
        or (new.id, new.payment_id, new.note, new.proposed_by, new.proposed_at)
           is distinct from (old.id, old.payment_id, old.note, old.proposed_by, old.proposed_at))
  execute function refuse_other_decision();

-- What becomes of a held deposit (decision 21): one person decides, above a limit two do.
create table deposit_decisions (
  id uuid primary key,
  payment_id uuid not null references payments,
  decision text not null check (decision in ('refund', 'keep')),
  note text not null check (length(note) between 1 and 1000),
  needs_second boolean not null,
  state text not null check (state in ('proposed', 'agreed', 'withdrawn')),
  proposed_by text not null,
  proposed_at timestamptz not null,
  decided_by text,
  decided_at timestamptz,
  check ((state = 'proposed') = (decided_by is null)),
  check ((decided_by is null) = (decided_at is null)),
  constraint two_people_decide_much
    check (state <> 'agreed' or not needs_second or decided_by <> proposed_by)
);
create unique index one_deposit_decision on deposit_decisions (payment_id)
  where state <> 'withdrawn';
create trigger never_removed before delete or truncate on deposit_decisions
  for each statement execute function refuse_change();
create trigger is_decided_once before update on deposit_decisions for each row
  when (old.state <> 'proposed'
        or (new.id, new.payment_id, new.decision, new.note, new.needs_second, new.proposed_by,
            new.proposed_at)
           is distinct from (old.id, old.payment_id, old.decision, old.note, old.needs_second,
                             old.proposed_by, old.proposed_at))
  execute function refuse_other_decision();

-- Which gateway the payments of these books are at. Another one knows nothing of them: it would not
-- find what was charged, and could not give it back.
create table gateway_of_the_books (
  only_row boolean primary key default true check (only_row),
  name text not null,
  since timestamptz not null
);
create trigger never_removed before delete or truncate on gateway_of_the_books
  for each statement execute function refuse_change();

create function refuse_other_gateway() returns trigger language plpgsql as $$
begin
  if exists (select from caas.payments) then
    raise exception 'the payments of these books are at the gateway "%"', old.name
      using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger stays_with_its_payments before update on gateway_of_the_books
  for each row execute function refuse_other_gateway();

-- Of which payment a webhook speaks, in the words of each gateway's adapter.
create index webhook_inbox_of_reference on webhook_inbox
  (coalesce(body->'data'->>'reference', body->'data'->'object'->'metadata'->>'reference'));
create index webhook_inbox_of_transaction on webhook_inbox
  (coalesce(body->'data'->>'transaction_id', body->'data'->'object'->>'payment_intent',
            body->'data'->'object'->>'id', body->'data'->>'id'));

create index cases_of_subject on cases (subject);
create index cases_by_age on cases (opened_at);
create index notifications_of_subject on notifications (subject);
create index discrepancies_of_payment on discrepancies (payment_id) where payment_id is not null;
create index service_orders_of_vehicle on service_orders (vin);
create index invoices_of_vehicle on invoices (vin);
