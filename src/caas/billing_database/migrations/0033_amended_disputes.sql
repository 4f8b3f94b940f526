-- A dispute whose amount the bank changes: what was taken comes back, and the new amount is taken.
--
-- Rules a change must keep: the claim changes only while nothing of the dispute is held; `amended`
-- counts how often what was taken was only corrected, so that no line of a report is expected of it.

alter table disputes add column amended integer not null default 0
  check (amended between 0 and taken);
drop trigger is_for_one_thing on disputes;
create trigger is_for_one_thing before update on disputes for each row
  when ((new.id, new.payment_id, new.claimed_currency, new.currency, new.reason, new.origin,
         new.opened_at)
        is distinct from (old.id, old.payment_id, old.claimed_currency, old.currency, old.reason,
         old.origin, old.opened_at)
        or new.claimed_amount <> old.claimed_amount
           and (old.state not in ('won', 'reversed') or new.amended <> old.amended + 1)
        or old.gateway_dispute_id is not null
           and new.gateway_dispute_id is distinct from old.gateway_dispute_id)
  execute function refuse_other_refund();
alter table disputes enable always trigger is_for_one_thing;
