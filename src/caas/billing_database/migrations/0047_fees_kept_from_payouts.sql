-- What a provider kept from a payout in another currency than the payment's: in the currency of the
-- payment by the row's own rate, and what one unit of the payout's currency is in it, rounded up. A
-- fee is held against what was agreed to that unit, and no finer.

alter table settlement_lines
  add column payout_fee bigint,
  add column payout_unit bigint check (payout_unit > 0),
  add constraint payout_fee_has_its_unit check ((payout_fee is null) = (payout_unit is null));
