-- Refunds and disputes: children of a payment, several and partial (decisions 5, 37).
--
-- Rules a change must keep: refunds that have not failed and disputes that are open or lost never
-- exceed what was captured, whoever writes; a refund or dispute never changes what it is for.

create table refunds (
  id uuid primary key,
  payment_id uuid not null references payments,
  amount bigint not null check (amount > 0),
  currency text not null,
  reason text not null check (length(reason) between 1 and 200),
  requested_by text not null,
  state text not null check (state in ('waiting', 'sent', 'succeeded', 'failed')),
  outcome text not null default 'known' check (outcome in ('known', 'unknown')),
  issue integer not null default 1,
  gateway_refund_id text unique,
  failed_because text,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index refunds_of_payment on refunds (payment_id);

create table disputes (
  id text primary key,
  payment_id uuid not null references payments,
  amount bigint not null check (amount > 0),
  currency text not null,
  state text not null check (state in ('opened', 'won', 'lost', 'reversed')),
  reason text not null,
  opened_at timestamptz not null,
  updated_at timestamptz not null
);
create index disputes_of_payment on disputes (payment_id);

-- Locks a payment's row until the transaction ends, and returns what was captured of it.
create function lock_payment(p_payment uuid) returns bigint language sql security definer
set search_path = caas, pg_temp as
$$ select captured_amount from payments where id = p_payment for update $$;

-- One lock for both kinds: the payment's own row.
create function check_given_back() returns trigger language plpgsql as $$
declare v_captured bigint; v_given bigint;
begin
  v_captured := caas.lock_payment(new.payment_id);
  select coalesce((select sum(amount) from caas.refunds
                    where payment_id = new.payment_id and state <> 'failed'), 0)
       + coalesce((select sum(amount) from caas.disputes
                    where payment_id = new.payment_id and state in ('opened', 'lost')), 0)
    into v_given;
  if not exists (select from caas.payments p
                  where p.id = new.payment_id and p.currency = new.currency) then
    raise exception 'payment % was not received in %', new.payment_id, new.currency
      using errcode = 'foreign_key_violation';
  end if;
  if v_given > v_captured then
    raise exception 'more would be given back of payment % than was received', new.payment_id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;
create trigger within_what_was_received after insert or update of amount, state on refunds
  for each row when (new.state <> 'failed') execute function check_given_back();

create function refuse_other_refund() returns trigger language plpgsql as $$
begin
  raise exception 'what a refund or dispute is for never changes' using errcode = 'check_violation';
end $$;
create trigger within_what_was_received after insert or update of amount, state on disputes
  for each row when (new.state in ('opened', 'lost')) execute function check_given_back();

create trigger is_for_one_thing before update on refunds for each row
  when ((new.id, new.payment_id, new.amount, new.currency, new.reason, new.requested_by,
         new.created_at)
        is distinct from (old.id, old.payment_id, old.amount, old.currency, old.reason,
         old.requested_by, old.created_at)
        or old.gateway_refund_id is not null
           and new.gateway_refund_id is distinct from old.gateway_refund_id
        or old.state in ('succeeded', 'failed') and new.state <> old.state)
  execute function refuse_other_refund();
create trigger is_for_one_thing before update on disputes for each row
  when ((new.id, new.payment_id, new.amount, new.currency, new.reason, new.opened_at)
        is distinct from (old.id, old.payment_id, old.amount, old.currency, old.reason,
         old.opened_at))
  execute function refuse_other_refund();
create trigger never_removed before delete or truncate on refunds
  for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on disputes
  for each statement execute function refuse_change();
