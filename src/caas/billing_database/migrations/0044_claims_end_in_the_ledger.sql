-- What became of a claim on the provider is posted: paid, its money is on its way to a line of a
-- report; refused, it is lost. A claim outlives the day of its discrepancy, which may be sealed by
-- then, so that its entries have a table of their own.
--
-- Rule a change must keep: gateway_claims holds what open claims are about, and nothing else.

create table gateway_claim_entries (
  id bigint generated always as identity primary key,
  discrepancy_id uuid not null references gateway_claims,
  seq integer not null,
  debit text not null,
  credit text not null,
  amount bigint not null check (amount > 0),
  currency text not null,
  at timestamptz not null,
  check (debit <> credit),
  check ('gateway_claims' in (debit, credit)),
  unique (discrepancy_id, seq)
);
create trigger append_only before update or delete or truncate on gateway_claim_entries
  for each statement execute function refuse_change();
create trigger stands_on_accounts after insert on gateway_claim_entries
  referencing new table as new_rows for each statement execute function check_accounts_of_entries();

create or replace view ledger_lines as
  select id, payment_id, seq, debit as account, amount, currency, at from ledger_entries
  union all
  select id, payment_id, seq, credit, -amount, currency, at from ledger_entries
  union all
  select null::bigint, l.payment_id, null::integer, leg.account, leg.amount, l.currency, l.at
    from settlement_lines l cross join lateral (values
      ('bank', l.net), ('gateway_fees', l.fee), ('settled_funds', -l.gross)) leg(account, amount)
   where l.posts and leg.amount <> 0
  union all
  select null::bigint, null::uuid, null::integer, leg.account, leg.amount, l.currency, l.at
    from settlement_lines l join provider_accounts of on of.class = l.class
   cross join lateral (values ('bank', l.net), ('gateway_fees', l.fee * (l.gross <> 0)::integer),
      (of.account, - l.net - l.fee * (l.gross <> 0)::integer)) leg(account, amount)
   where leg.amount <> 0
  union all
  select id, payment_id, null::integer, debit, amount, currency, at from discrepancy_entries
  union all
  select id, payment_id, null::integer, credit, -amount, currency, at from discrepancy_entries
  union all
  select id, null::uuid, null::integer, debit, amount, currency, at from gateway_claim_entries
  union all
  select id, null::uuid, null::integer, credit, -amount, currency, at from gateway_claim_entries;

-- What a claim stands for in the ledger: what its discrepancy's decisions put on the account.
create function claimed_by(p_discrepancy uuid) returns bigint language sql stable as $$
  select coalesce(sum(case when e.debit = 'gateway_claims' then e.amount else -e.amount end), 0)::bigint
    from discrepancy_entries e
   where e.discrepancy_id = p_discrepancy and 'gateway_claims' in (e.debit, e.credit)
$$;

-- Claims that ended before are posted now.
insert into gateway_claim_entries (discrepancy_id, seq, debit, credit, amount, currency, at)
select c.discrepancy_id, c.version, case when b.owed > 0 then b.account else 'gateway_claims' end,
       case when b.owed > 0 then 'gateway_claims' else b.account end, abs(b.owed), c.currency,
       db_now()
  from gateway_claims c join discrepancies d on d.id = c.discrepancy_id
 cross join lateral (select claimed_by(d.id) as owed, case c.status
   when 'paid' then 'unexplained_funds' else 'risk_loss:' || d.kind end as account) b
 where c.status in ('paid', 'refused') and b.owed <> 0;
