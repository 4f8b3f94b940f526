-- What becomes of a service whose money a credit note gives back, and that a term was kept although
-- nothing is paid for it any more (record 133).

alter table credit_note_decisions add column term text check (term in ('end', 'keep'));
drop trigger is_decided_once on credit_note_decisions;
create trigger is_decided_once before update on credit_note_decisions for each row
  when (old.state <> 'proposed'
        or (new.id, new.invoice, new.gross, new.reason, new.term, new.proposed_by,
            new.proposed_account, new.proposed_at)
           is distinct from (old.id, old.invoice, old.gross, old.reason, old.term, old.proposed_by,
                             old.proposed_account, old.proposed_at))
  execute function refuse_other_decision();
alter table credit_note_decisions enable always trigger is_decided_once;

alter table entitlement_changes add column kept boolean check (kept);

-- Records the decision that a granted term stays, with nothing left paid for it.
create function keep_term(p_term uuid, p_because text) returns void
language sql security definer set search_path = caas, pg_temp as $$
  insert into entitlement_changes (term, state, starts_at, ends_at, because, at, kept)
  select id, state, starts_at, ends_at, p_because, db_now(), true
    from entitlement_terms where id = p_term and state = 'granted'
$$;

-- Until now a refund in full that left its term had been decided so, but for those of credit notes.
insert into entitlement_changes (term, state, starts_at, ends_at, because, at, kept)
select t.id, t.state, t.starts_at, t.ends_at, 'kept when it was refunded', db_now(), true
  from entitlement_terms t join payments p on p.id = t.payment_id
 where t.state = 'granted' and p.captured_amount > 0
   and p.captured_amount <= (select sum(r.amount) from refunds r
                              where r.payment_id = p.id and r.state <> 'failed')
   and not exists (select from refunds r
                    where r.payment_id = p.id and r.reason like 'credit note %');
