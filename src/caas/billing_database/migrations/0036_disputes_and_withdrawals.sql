-- What a bank took and gave back by each dispute of a payment, in all, as its events tell it; and
-- subscriptions that their customers withdrew from, which are not billed.
--
-- Rules a change must keep: an amended dispute counts once, for what it was amended by; what a named
-- dispute took over from lines of a report ("instead") counts with the named one alone.

create function moved_by_disputes(p_payment uuid, p_currency text)
returns table (dispute text, named boolean, of_refund boolean, taken bigint, back bigint)
language sql stable as $$
  with words as (
    select d.id, d.gateway_dispute_id is not null as named, d.origin = 'refund line' as of_refund,
           e.event = 'Dispute opened' as opens,
           coalesce((e.facts->'claimed'->>0)::bigint, d.claimed_amount) as claimed,
           coalesce((e.facts->'instead'->>1)::bigint, 0) as instead,
           lag(coalesce((e.facts->'claimed'->>0)::bigint, d.claimed_amount))
             over (partition by d.id, e.event = 'Dispute opened' order by e.seq) as before
      from caas.disputes d
      join caas.payment_events e on e.payment_id = d.payment_id and e.facts->>'dispute' = d.id
       and e.event in ('Dispute opened', 'Dispute won', 'Dispute reversed')
     where d.payment_id = p_payment and d.claimed_currency = p_currency
  ), amended as (
    select w.*, case when opens and claimed <> before then least(claimed, before) else 0 end as again
      from words w
  )
  select id, named, of_refund,
         (coalesce(sum(claimed) filter (where opens), 0) - sum(again) - sum(instead))::bigint,
         (coalesce(sum(claimed) filter (where not opens), 0) - sum(again) - sum(instead))::bigint
    from amended group by id, named, of_refund
$$;

alter table subscriptions drop constraint subscriptions_cancelled_because_check,
  add constraint subscriptions_cancelled_because_check
    check (cancelled_because in ('customer', 'withdrawal', 'payment failed'));
insert into subscription_arrows (from_state, event, to_state) values
  ('verifying payment method', 'Customer withdraws', 'cancelled'),
  ('activating', 'Customer withdraws', 'cancelled'),
  ('active', 'Customer withdraws', 'cancelled');
