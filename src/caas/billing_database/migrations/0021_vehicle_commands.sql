-- What vehicles say: under which text evidence was signed, and a count of what proved nothing.
--
-- Vehicles sign the action of a command since this migration (decision 105). Evidence recorded
-- before was signed without it and is verified so.
--
-- An acknowledgement that proves nothing is counted and never kept as it came (decision 106): its
-- words are a stranger's. Of those kept before, the count is kept and the words are deleted.
--
-- Rules a change must keep: a vehicle that is not known here is '' in refused_acknowledgements; the
-- rows of one vehicle and hour are limited, and what is beyond shares the row of the empty digest.

alter table delivery_evidence add column signs_action boolean not null default false;
alter table delivery_evidence alter column signs_action set default true;

create table refused_acknowledgements (
  vin text not null,
  hour timestamptz not null,
  reason text not null check (reason in (
    'no such command was ever given',
    'it does not say what the command said',
    'the vehicle has no key here',
    'the signature is not the vehicle''s'
  )),
  digest bytea not null check (octet_length(digest) in (0, 32)),
  command_id uuid,
  subject uuid,
  times bigint not null check (times > 0),
  first_at timestamptz not null,
  last_at timestamptz not null,
  primary key (vin, hour, reason, digest),
  check ((command_id is null) = (subject is null)),
  check (octet_length(digest) > 0 or command_id is null)
) with (fillfactor = 80);

create index refused_acknowledgements_of on refused_acknowledgements (subject)
  where subject is not null;

insert into refused_acknowledgements
select coalesce(v.vin, ''), date_trunc('hour', e.recorded_at), e.refused_because,
       sha256(e.signature), max(k.command_id::text)::uuid, max(k.subject::text)::uuid, count(*),
       min(e.recorded_at), max(e.recorded_at)
  from delivery_evidence e
  left join vehicles v on v.vin = e.vin
  left join ota_commands k on k.command_id = e.command_id
 where not e.verified and e.signature is not null
   and e.refused_because in (
     'no such command was ever given', 'it does not say what the command said',
     'the vehicle has no key here', 'the signature is not the vehicle''s')
 group by 1, 2, 3, 4;

alter table delivery_evidence disable trigger append_only;
delete from delivery_evidence where not verified;
alter table delivery_evidence enable always trigger append_only;
