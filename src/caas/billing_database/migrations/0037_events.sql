-- What happened, in one order, for the rest of the company: read from each append-only table, and
-- never copied; and where it is delivered to.
--
-- Rules a change must keep: an event shows ids and states, never a name or an address; whoever reads
-- up to `events_are_whole_until` misses none that commits later.

create view company_events as
  select e.at, 'payment' as source, e.payment_id::text as subject, e.seq,
         'payment.' || trim('_' from regexp_replace(lower(e.event), '[^a-z0-9]+', '_', 'g')) as type,
         e.to_state as state, e.from_state as before, p.type as of_type, p.subject as about,
         p.customer, o.dealership
    from payment_events e join payments p on p.id = e.payment_id
    left join orders o on o.id = p.subject and p.type in ('reservation', 'final')
   union all
  select e.at, 'order', e.order_id::text, e.version,
         'order.' || trim('_' from regexp_replace(lower(e.event), '[^a-z0-9]+', '_', 'g')),
         e.to_state, e.from_state, null, e.order_id, o.customer, o.dealership
    from order_events e join orders o on o.id = e.order_id
   union all
  select e.at, 'subscription', e.subscription::text, e.version,
         'subscription.' || trim('_' from regexp_replace(lower(e.event), '[^a-z0-9]+', '_', 'g')),
         e.to_state, e.from_state, s.service, e.subscription, s.customer, null
    from subscription_events e join subscriptions s on s.id = e.subscription
   union all
  select e.at, 'vehicle', e.vin, e.version,
         'vehicle.' || trim('_' from regexp_replace(lower(e.event), '[^a-z0-9]+', '_', 'g')),
         e.to_state, e.from_state, null, e.order_id, null, null
    from vehicle_events e
   union all
  select i.issued_at, 'document', i.id::text, 1, 'document.issued', 'issued', null, i.kind, i.subject,
         i.customer, o.dealership
    from invoices i left join orders o on o.id = i.subject;

-- Until when every event is there: no transaction that is open began before. Sessions that the owner
-- of the schema may not see count as old as a session's transaction may become.
create function events_are_whole_until() returns timestamptz
language sql volatile security definer set search_path = caas, pg_temp as $$
  select least(clock_timestamp(), min(case when a.state is null
                                           then clock_timestamp() - interval '60 seconds'
                                           else a.xact_start end))
         + (select moved from clock)
    from pg_stat_activity a
   where a.datname = current_database() and a.pid <> pg_backend_pid()
     and coalesce(a.backend_type, 'client backend') = 'client backend'
$$;

-- Where events are sent to; the secret signs what is sent, and is shown once.
create table event_subscriptions (
  id uuid primary key,
  url text not null check (url ~ '^https?://' and length(url) <= 500),
  types text[] not null default '{}' check (cardinality(types) <= 50),
  secret text not null check (secret ~ '^whsec_[A-Za-z0-9+/]{32,86}=*$'),
  created_by text not null check (length(created_by) between 1 and 200),
  created_at timestamptz not null,
  ended_at timestamptz check (ended_at >= created_at)
);
create function refuse_other_subscriber() returns trigger language plpgsql as $$
begin
  raise exception 'where events are sent to never changes; end it and make another'
    using errcode = 'check_violation';
end $$;
create trigger only_ends before update on event_subscriptions for each row
  when ((new.id, new.url, new.types, new.secret, new.created_by, new.created_at)
        is distinct from (old.id, old.url, old.types, old.secret, old.created_by, old.created_at)
        or old.ended_at is not null)
  execute function refuse_other_subscriber();
create trigger never_removed before delete or truncate on event_subscriptions
  for each statement execute function refuse_change();
