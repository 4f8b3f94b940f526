-- A refused claim above the limit is a loss that two people decide about: one proposes that it is
-- refused, another account agrees. The day of its discrepancy may be sealed by then: nothing of it
-- changes.

alter table gateway_claims
  add column needs_second boolean not null default false,
  add column refusal_by text,
  add column refusal_account uuid references accounts,
  add column refused_account uuid references accounts,
  add constraint is_proposed_by_somebody check (needs_second = (refusal_by is not null)),
  add constraint proposer_has_proposed check (refusal_account is null or refusal_by is not null),
  add constraint second_ends_it check (refused_account is null or status = 'refused');
create trigger two_people_decide before update on gateway_claims for each row
  when (new.status = 'refused' and old.status <> 'refused' and new.needs_second)
  execute function refuse_one_person('refusal_account', 'refused_account');
