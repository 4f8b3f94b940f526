-- What a dead process may have been told, and lost: the questions are asked again.
--
-- The answer to some work is a message that any process may receive, as a vehicle's
-- acknowledgement. A process that dies between the message and its record takes the answer with it,
-- whoever asked. `p_awaited` are the kinds of such work.
--
-- Rules a change must keep: a death makes each question due at most once, and a crash loop makes it
-- due at most every ten seconds; the questions are spread out, fifty a second, so that nobody who
-- is asked is hammered; none is asked later than it would have been.

drop function free_work_of(integer[], text[]);
create function free_work_of(p_processes integer[], p_kinds text[], p_awaited text[]) returns bigint
language sql security definer set search_path = caas, pg_temp as $$
  with gone as (
    update processes p set gone_at = db_now()
     where p.id = any (p_processes) and p.gone_at is null and not process_lives(p.id)
    returning p.id
  ), freed as (
    update open_work o
       set due_at = least(o.due_at, db_now()
                    + make_interval(secs => least(greatest(o.attempts - 1, 0), 4))),
           lease_until = null, held_by = null, fence = o.fence + 1
      from gone
     where o.held_by = gone.id and o.parked_at is null
       and (o.lease_until is not null or o.kind = any (p_kinds))
    returning o.kind, o.subject
  ), questions as (
    select o.kind, o.subject, row_number() over (order by o.created_at desc) as place
      from open_work o
     where o.kind = any (p_awaited) and o.parked_at is null and o.lease_until is null
       and o.due_at > db_now() and exists (select from gone)
       and (o.kind, o.subject) not in (select f.kind, f.subject from freed f)
       and not exists (select from processes p
                        where p.gone_at > db_now() - interval '10 seconds'
                          and p.id <> all (p_processes))
     order by o.created_at desc limit 1000
  ), asked as (
    update open_work o
       set due_at = least(o.due_at, db_now() + make_interval(secs => q.place / 50.0))
      from questions q
     where o.kind = q.kind and o.subject = q.subject and o.lease_until is null
    returning 1
  )
  select (select count(*) from freed) + (select count(*) from asked)
$$;

-- The names of dead processes that no living one bears.
create function names_of_dead(p_processes integer[]) returns setof text
language sql stable security definer set search_path = caas, pg_temp as $$
  select p.name from processes p
   where p.id = any (p_processes)
     and not exists (select from processes q
                      where q.name = p.name and q.id <> p.id and process_lives(q.id))
$$;
