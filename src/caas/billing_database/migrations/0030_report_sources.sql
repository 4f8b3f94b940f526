-- Reconciliation, third part: what providers keep, hold back and convert stands on accounts of the
-- chart of accounts.
--
-- Rule a change must keep: a class of line posts to the one account that rules/postings.py says.

insert into ledger_accounts values ('gateway_fees'), ('provider_costs'), ('provider_tax'),
  ('provider_invoices'), ('provider_reserves'), ('provider_balance'), ('own_transfers'),
  ('currency_conversion')
on conflict do nothing;

-- Which account takes the other side of a line that is no payment's money (postings.OF_PROVIDER).
create table provider_accounts (
  class text primary key,
  account text not null references ledger_accounts
);
create trigger are_the_rules before insert or update or delete or truncate on provider_accounts
  for each statement execute function refuse_other_arrows();
insert into provider_accounts values
  ('provider_fee', 'gateway_fees'), ('provider_cost', 'provider_costs'),
  ('provider_tax', 'provider_tax'), ('provider_invoice', 'provider_invoices'),
  ('reserve', 'provider_reserves'), ('own_transfer', 'own_transfers'),
  ('carried_balance', 'provider_balance'), ('conversion', 'currency_conversion');

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
  select id, payment_id, null::integer, credit, -amount, currency, at from discrepancy_entries;
