-- What the policy says about the deposit of a lost reservation is a decision like a person's: a row
-- that is read when a bank gives back what it had taken of the deposit.
alter table deposit_decisions
  add column by_policy boolean not null default false,
  add constraint policies_decide_alone check (not by_policy or state = 'agreed'
    and not needs_second and proposed_account is null and decided_account is null);
drop trigger is_decided_once on deposit_decisions;
create trigger is_decided_once before update on deposit_decisions for each row
  when (old.state <> 'proposed'
        or (new.id, new.payment_id, new.decision, new.note, new.needs_second, new.proposed_by,
            new.proposed_at, new.by_policy)
           is distinct from (old.id, old.payment_id, old.decision, old.note, old.needs_second,
                             old.proposed_by, old.proposed_at, old.by_policy))
  execute function refuse_other_decision();

-- Of reservations that were lost before: a deposit that was asked to go back, goes back.
insert into deposit_decisions (id, payment_id, decision, note, needs_second, state, proposed_by,
                               proposed_at, decided_by, decided_at, by_policy)
select gen_random_uuid(), p.id,
       case when exists (select from refunds r
                          where r.payment_id = p.id and r.reason = 'reservation_lost')
              or exists (select from open_work w where w.subject = o.id and w.kind = 'give_back')
            then 'refund' else 'keep' end,
       'Read off what was asked to be given back when the reservation was lost.', false, 'agreed',
       'policy', db_now(), 'policy', db_now(), true
  from orders o join payments p on p.subject = o.id and p.type = 'reservation'
 where o.state = 'reservation lost' and p.state in ('Capturing', 'Settled', 'Refunding')
   and not exists (select from payment_events e
                    where e.payment_id = p.id and e.event = 'Deposit held');

select keep_checksum('deposit_decisions',
                     array['id', 'payment_id', 'decision', 'note', 'needs_second', 'proposed_by',
                           'proposed_at', 'proposed_account', 'by_policy']);
