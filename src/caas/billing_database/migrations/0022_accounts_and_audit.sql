-- Accounts behind decisions and keys, and the audit log.
--
-- Dual control compares accounts, not names: a session and every key of one account are one person.
-- A row without an account was written by a key of the settings or by the command line; those may
-- propose, and never approve.
--
-- Rules a change must keep: whoever approves is an open account of operations, and another one than
-- proposed; who proposed never changes; an audit event is never changed and holds ids only.

-- Decisions ------------------------------------------------------------------------------------

create function refuse_one_person() returns trigger language plpgsql as $$
declare
  v_proposer uuid := to_jsonb(new) ->> tg_argv[0];
  v_approver uuid := to_jsonb(new) ->> tg_argv[1];
begin
  if v_approver is null or v_approver = v_proposer then
    raise exception 'two people decide in %: an account approves, and not the one that proposed',
      tg_table_name using errcode = 'check_violation';
  end if;
  if not exists (select from accounts a where a.id = v_approver and a.role = 'operations'
                    and a.disabled_at is null) then
    raise exception 'two people decide in %: whoever approves has an open account of operations',
      tg_table_name using errcode = 'check_violation';
  end if;
  return new;
end $$;

alter table outcome_decisions drop constraint two_people_decide,
  add column proposed_account uuid references accounts,
  add column decided_account uuid references accounts check (decided_by is not null or
    decided_account is null);
create trigger two_people_decide before insert or update on outcome_decisions for each row
  when (new.state = 'agreed') execute function refuse_one_person('proposed_account',
    'decided_account');
create trigger proposer_stays before update on outcome_decisions for each row
  when (new.proposed_account is distinct from old.proposed_account)
  execute function refuse_other_decision();

alter table deposit_decisions drop constraint two_people_decide_much,
  add column proposed_account uuid references accounts,
  add column decided_account uuid references accounts check (decided_by is not null or
    decided_account is null);
create trigger two_people_decide before insert or update on deposit_decisions for each row
  when (new.state = 'agreed' and new.needs_second) execute function
    refuse_one_person('proposed_account', 'decided_account');
create trigger proposer_stays before update on deposit_decisions for each row
  when (new.proposed_account is distinct from old.proposed_account)
  execute function refuse_other_decision();

alter table discrepancy_resolutions drop constraint second_approver_is_another_person,
  add column proposed_account uuid references accounts,
  add column decided_account uuid references accounts check (decided_by is not null or
    decided_account is null);
create trigger two_people_decide before insert or update on discrepancy_resolutions for each row
  when (new.state = 'approved' and new.needs_second_approver) execute function
    refuse_one_person('proposed_account', 'decided_account');
create trigger proposer_stays before update on discrepancy_resolutions for each row
  when (new.proposed_account is distinct from old.proposed_account)
  execute function refuse_other_resolution();

-- Keys -----------------------------------------------------------------------------------------

-- A key belongs to the account that made it; keys of the settings belong to none. A key whose scope
-- lets it act as operations works only once a second person has activated it.
alter table api_keys
  add column account uuid references accounts,
  add column activated_at timestamptz,
  add column activated_account uuid references accounts;
update api_keys set activated_at = created_at;
create index api_keys_of_account on api_keys (account) where revoked_at is null;
create trigger two_people_decide before insert or update on api_keys for each row
  when (new.account is not null and new.activated_at is not null and new.revoked_at is null
        and new.scopes && array['operations', 'any'])
  execute function refuse_one_person('account', 'activated_account');

create function refuse_other_owner() returns trigger language plpgsql as $$
begin
  raise exception 'key "%" belongs to whom it belongs, and is activated once', old.name
    using errcode = 'check_violation';
end $$;
create trigger owner_stays before update on api_keys for each row
  when (new.account is distinct from old.account
     or old.account is not null and (new.scopes, new.customer, new.dealership)
        is distinct from (old.scopes, old.customer, old.dealership)
     or old.activated_at is not null and (new.activated_at, new.activated_account)
        is distinct from (old.activated_at, old.activated_account))
  execute function refuse_other_owner();

-- Audit ----------------------------------------------------------------------------------------

-- Who did what about access. `address` is the network of an address (24 bits of IPv4, 48 of IPv6),
-- so that no person stands here but by the id of an account.
create table audit_events (
  id uuid primary key,
  type text not null check (type in (
    'key made', 'key activated', 'key revoked', 'staff added', 'staff disabled', 'link made',
    'link used', 'sign-in ok', 'sign-in refused', 'password changed')),
  actor text not null check (actor in
    ('account', 'platform', 'settings', 'command line', 'nobody')),
  account uuid references accounts,
  subject uuid,
  address cidr check (masklen(address) <= case family(address) when 4 then 24 else 48 end),
  at timestamptz not null,
  check ((actor = 'account') = (account is not null))
);
create index audit_events_of_type on audit_events (type, id);
create trigger append_only before update or delete or truncate on audit_events
  for each statement execute function refuse_change();
