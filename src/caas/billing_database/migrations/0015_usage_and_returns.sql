-- Use that is taken back, and use that somebody disputes.
--
-- Rules a change must keep: use is never changed, it is taken back by a record of its own, whole and
-- once, and only before an invoice bills it; disputed use waits until somebody decides about it.

alter table usage_records add column cancels text;
alter table usage_records drop constraint usage_records_quantity_check;
alter table usage_records add constraint usage_records_quantity_check
  check (abs(quantity) between 1 and 1000000000000 and (quantity > 0) = (cancels is null));
alter table usage_records add constraint cancels_what_is_there
  foreign key (subscription, cancels) references usage_records (subscription, source_id);
create unique index usage_is_cancelled_once on usage_records (subscription, cancels)
  where cancels is not null;

-- At most one open dispute of one use; `outcome` says whether it is billed after all.
create table usage_disputes (
  id uuid primary key,
  subscription uuid not null,
  source_id text not null,
  because text not null check (length(because) between 1 and 200),
  opened_by text not null,
  opened_at timestamptz not null,
  outcome text check (outcome in ('billed', 'cancelled')),
  ended_by text,
  ended_at timestamptz,
  check ((outcome is null) = (ended_at is null) and (ended_by is null) = (ended_at is null)),
  foreign key (subscription, source_id) references usage_records
);
create unique index one_open_dispute_of_a_use on usage_disputes (subscription, source_id)
  where ended_at is null;

-- Guards. They hold for every session, whoever it belongs to.

create function check_cancelled_use() returns trigger language plpgsql as $$
begin
  if not exists (
    select from caas.usage_records u
     where u.subscription = new.subscription and u.source_id = new.cancels
       and (u.quantity, u.unit, u.at) = (-new.quantity, new.unit, new.at)
       and u.cancels is null and u.invoice is null) then
    raise exception 'usage % of subscription % takes back nothing that is recorded and not billed',
      new.source_id, new.subscription using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger cancels_all_of_it before insert on usage_records for each row
  when (new.cancels is not null) execute function check_cancelled_use();
create trigger cancels_for_ever before update on usage_records for each row
  when (old.cancels is distinct from new.cancels) execute function refuse_other_usage();

create function refuse_other_usage_dispute() returns trigger language plpgsql as $$
begin
  raise exception 'dispute %: it ends once and changes in no other way', old.id
    using errcode = 'check_violation';
end $$;
create trigger only_ends before update on usage_disputes for each row
  when (old.ended_at is not null
        or (old.id, old.subscription, old.source_id, old.because, old.opened_by, old.opened_at)
           is distinct from (new.id, new.subscription, new.source_id, new.because, new.opened_by,
            new.opened_at))
  execute function refuse_other_usage_dispute();
create trigger never_removed before delete or truncate on usage_disputes
  for each statement execute function refuse_change();
