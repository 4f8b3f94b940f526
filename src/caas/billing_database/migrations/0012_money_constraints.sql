-- Money that contradicts: what goes out of a payment is bounded by what came in, whoever writes.
--
-- Rules a change must keep: amounts of a payment stay within what was captured; an entry stands on
-- accounts of the chart; a dispute keeps what was claimed beside what counts of it; no refund is
-- sent while `obstacle_to_refund` names something.

alter table payments
  add constraint settled_within_captured check (settled_amount <= captured_amount),
  add constraint given_back_within_captured
    check (refunded_amount + disputed_amount <= captured_amount);

-- The chart of accounts, written by a migration from rules/postings.py. One look at it for all the
-- entries of a statement, where a foreign key looks twice an entry.
create table ledger_accounts (
  name text primary key check (length(name) between 1 and 100)
);
create trigger are_the_rules before insert or update or delete or truncate on ledger_accounts
  for each statement execute function refuse_other_arrows();

create function check_accounts_of_entries() returns trigger language plpgsql
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare v_account text;
begin
  select used.name into v_account
    from (select debit as name from new_rows union select credit from new_rows) used
   where not exists (select from caas.ledger_accounts a where a.name = used.name) limit 1;
  if found then
    raise exception 'there is no account % in the chart of accounts', v_account
      using errcode = 'foreign_key_violation';
  end if;
  return null;
end $$;
create trigger stands_on_accounts after insert on ledger_entries
  referencing new table as new_rows for each statement execute function check_accounts_of_entries();
create trigger stands_on_accounts after insert on discrepancy_entries
  referencing new table as new_rows for each statement execute function check_accounts_of_entries();

-- A dispute: `claimed_amount` is what the bank took, `amount` what counts of it, because it fits
-- what was received and is still there. What is claimed in another currency counts as all of that.
-- A bank may take the same money several times and give it back: `taken` and `back` say how often.
alter table disputes
  drop constraint disputes_amount_check,
  add constraint disputes_amount_check check (amount >= 0),
  add column claimed_amount bigint check (claimed_amount > 0),
  add column claimed_currency text,
  add column origin text not null default 'gateway'
    check (origin in ('gateway', 'chargeback line', 'refund line')),
  add column gateway_dispute_id text unique,
  add column told_at timestamptz,
  add column steps integer not null default 0,
  add column taken integer not null default 0 check (taken >= 0),
  add column back integer not null default 0 check (back between 0 and taken);
drop trigger is_for_one_thing on disputes;
update disputes set claimed_amount = amount, claimed_currency = currency, taken = 1,
       back = case when state in ('won', 'reversed') then 1 else 0 end,
       origin = case when id like 'line:%' then 'chargeback line' else 'gateway' end,
       gateway_dispute_id = case when id like 'line:%' then null else id end;
alter table disputes
  alter column claimed_amount set not null,
  alter column claimed_currency set not null,
  add column excess bigint not null generated always as
    (case when claimed_currency = currency then claimed_amount - amount else 0 end) stored,
  add constraint counts_no_more_than_claimed
    check (claimed_currency <> currency or amount <= claimed_amount);
create trigger is_for_one_thing before update on disputes for each row
  when ((new.id, new.payment_id, new.claimed_amount, new.claimed_currency, new.currency,
         new.reason, new.origin, new.opened_at)
        is distinct from (old.id, old.payment_id, old.claimed_amount, old.claimed_currency,
         old.currency, old.reason, old.origin, old.opened_at)
        or old.gateway_dispute_id is not null
           and new.gateway_dispute_id is distinct from old.gateway_dispute_id)
  execute function refuse_other_refund();

-- What of a payment has gone out, is on its way, or is held by a bank.
create function money_out(p_payment uuid) returns bigint language sql stable as
$$ select (coalesce((select sum(amount) from caas.refunds
                      where payment_id = p_payment and state in ('sent', 'succeeded')), 0)
         + coalesce((select sum(amount) from caas.disputes
                      where payment_id = p_payment and state in ('opened', 'lost')), 0))::bigint $$;

-- A refund that waits is promised and no money yet: it gives way to a dispute, and is promised only
-- of what is left.
create or replace function check_given_back() returns trigger language plpgsql as $$
declare v_captured bigint; v_given bigint;
begin
  v_captured := caas.lock_payment(new.payment_id);
  if not exists (select from caas.payments p
                  where p.id = new.payment_id and p.currency = new.currency) then
    raise exception 'payment % was not received in %', new.payment_id, new.currency
      using errcode = 'foreign_key_violation';
  end if;
  v_given := caas.money_out(new.payment_id);
  if tg_table_name = 'refunds' and tg_op = 'INSERT' then
    select v_given + coalesce(sum(amount), 0) into v_given
      from caas.refunds where payment_id = new.payment_id and state = 'waiting';
  end if;
  if v_given > v_captured then
    raise exception 'more would be given back of payment % than was received', new.payment_id
      using errcode = 'check_violation';
  end if;
  return null;
end $$;

-- What must end before more money may go out of a payment; null when nothing stands in the way.
-- A chargeback in another currency stands in the way for good: nobody can say what of it counts.
create index discrepancies_in_another_currency on discrepancies (payment_id)
  where kind = 'currency';
create function obstacle_to_refund(p_payment uuid) returns text language sql stable as $$
  select told.what from (
    select 'a dispute is open' as what from caas.disputes
     where payment_id = p_payment and state = 'opened'
    union all
    select 'the case "' || kind || '" is open' from caas.cases
     where subject = p_payment and status = 'open'
       and kind in ('dispute_contradiction', 'refund_contradiction', 'reversed_after_refund')
    union all
    select 'the discrepancy "' || d.kind || '" of ' || d.day || ' is not resolved'
      from caas.discrepancies d
      left join caas.settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
     where d.payment_id = p_payment and d.status <> 'resolved'
       and (d.kind in ('chargeback', 'refund_mismatch', 'failed_settlement')
            or d.kind <> 'fee_drift' and l.type in
               ('refund', 'chargeback', 'chargeback_reversal', 'settlement_failure', 'adjustment'))
    union all
    select 'a decision about a settlement line is not carried out'
      from caas.open_work w join caas.discrepancies d on d.id = w.subject
     where w.kind = 'carry_out_resolution' and d.payment_id = p_payment
    union all
    select 'a chargeback was settled in another currency'
      from caas.discrepancies d
      join caas.settlement_lines l on l.report_id = d.report_id and l.line_no = d.line_no
     where d.payment_id = p_payment and d.kind = 'currency' and l.type = 'chargeback'
       and l.gross < 0
  ) told limit 1
$$;

create function refuse_refund_meanwhile() returns trigger language plpgsql as $$
declare v_obstacle text;
begin
  perform caas.lock_payment(new.payment_id);
  v_obstacle := caas.obstacle_to_refund(new.payment_id);
  if v_obstacle is not null then
    raise exception 'no refund of payment % is sent: %', new.payment_id, v_obstacle
      using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger sent_when_nothing_contradicts before update of state on refunds for each row
  when (old.state = 'waiting' and new.state in ('sent', 'succeeded'))
  execute function refuse_refund_meanwhile();
create trigger sent_when_nothing_contradicts_either before insert on refunds for each row
  when (new.state in ('sent', 'succeeded')) execute function refuse_refund_meanwhile();
