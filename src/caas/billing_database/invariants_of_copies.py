"""Invariants of copied facts: a value stored in two places is equal in both.

Facts are copied from an order to its payment, from a term to its entitlement, and from a command to
its acknowledgement. Each copy is compared with its source.

Rule a change must keep: a fact copied into another table is compared here.
"""

from typing import Final

COPIES: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "payments_stay_at_their_gateway",
        "Calls, refunds, disputes, report lines and discrepancies of a payment are of its gateway.",
        """select p.id from payments p join gateway_calls c on c.payment_id = p.id
            where within(p.id) and c.gateway <> p.gateway
              and (c.outcome not in ('not sent', 'turned away') or not exists (
                    select from payment_events e
                     where e.payment_id = p.id and e.event = 'Gateway changed'
                       and e.facts->>'from' = c.gateway))
           union all
           select e.payment_id from payment_events e join payments p on p.id = e.payment_id
            where within(e.payment_id) and e.event = 'Gateway changed'
              and e.facts->>'to' <> p.gateway
           union all
           select p.id from payments p join refunds r on r.payment_id = p.id
            where within(p.id) and r.gateway <> p.gateway
           union all
           select p.id from payments p join disputes d on d.payment_id = p.id
            where within(p.id) and d.gateway <> p.gateway
           union all
           select p.id from payments p join settlement_lines l on l.payment_id = p.id
             join settlement_reports r on r.id = l.report_id
            where within(p.id) and r.gateway <> p.gateway
           union all
           select p.id from payments p join discrepancies d on d.payment_id = p.id
            where within(p.id) and d.gateway <> p.gateway""",
    ),
    (
        "unsent_payments_had_not_arrived",
        "A payment that failed as never sent had not arrived, or was looked up and not found.",
        """select e.payment_id from payment_events e
             join gateway_calls c on c.payment_id = e.payment_id and c.operation = 'initiate'
              and c.outcome in ('answered', 'unknown') and c.asked_at < e.at
            where within(e.payment_id) and e.event = 'Never sent'
              and not exists (
                select from gateway_calls f
                 where f.payment_id = e.payment_id and f.operation = 'find by reference'
                   and f.outcome = 'answered' and f.asked_at >= c.asked_at)""",
    ),
    (
        "payments_are_as_accepted",
        "A payment equals what its first event records.",
        """select p.id from payments p join payment_events e on e.payment_id = p.id and e.seq = 1
            where within(p.id) and (
                  e.facts ? 'terms' and e.facts->'terms' <> jsonb_build_object('type', p.type,
                    'subject', p.subject, 'customer', p.customer, 'amount', p.amount,
                    'currency', p.currency, 'gateway', coalesce(
                      (select c.facts->>'from' from payment_events c
                        where c.payment_id = p.id and c.event = 'Gateway changed'), p.gateway))
               or e.at <> p.created_at)
           union all
           select p.id from payments p
             join payment_events e on e.payment_id = p.id and e.seq = p.version
             left join payment_events b on b.payment_id = p.id and b.seq = p.version - 1
            where within(p.id) and (p.came_from is distinct from e.from_state
                   and (p.came_from is not null or p.version > 2)
               or e.at <> p.updated_at)
           union all
           select p.id from payments p left join refunds r on r.payment_id = p.id
              and r.state = 'sent'
            where within(p.id) and (p.state = 'Refunding') <> (r.id is not null)
           union all
           select e.payment_id from payment_events e join payments p on p.id = e.payment_id
            where within(e.payment_id) and e.facts ? 'gateway_transaction_id'
              and e.facts->>'gateway_transaction_id' is distinct from p.gateway_transaction_id
           union all
           select p.id from payments p
             left join (select distinct on (payment_id) payment_id, facts->>'decline_code' as code
                          from payment_events where within(payment_id) and facts ? 'decline_code'
                         order by payment_id, seq desc) d on d.payment_id = p.id
             left join (select payment_id from payment_events
                         where within(payment_id) and facts ? 'gateway_transaction_id'
                         group by payment_id) t
               on t.payment_id = p.id
             left join (select payment_id, max(seq) as seq from payment_events
                         where within(payment_id) and event = 'Outcome unknown'
                         group by payment_id) u
               on u.payment_id = p.id
            where within(p.id) and p.created_at > (select min(ran_at) from migrations)
              and (p.decline_code is distinct from d.code
                or p.gateway_transaction_id is not null and t.payment_id is null
                or p.outcome = 'unknown' and u.seq is null
                or p.outcome = 'known' and u.seq = p.version)""",
    ),
    (
        "refunds_are_as_promised",
        "A refund's amount equals that of its job and of its payment's event.",
        """select w.subject from jobs w left join refunds r on r.id = w.subject
            where w.kind = 'refund'
              and (r.id is null or w.payload ? 'amount'
                   and (w.payload->>'payment', w.payload->>'amount', w.payload->>'reason')
                       is distinct from (r.payment_id::text, r.amount::text, r.reason))
           union all
           select r.id from refunds r left join payment_events e on e.payment_id = r.payment_id
              and e.source = 'refund:' || r.id
            where within(r.id) and (r.state in ('sent', 'succeeded')
              and (e.facts->>'amount', e.facts->>'reason') is distinct from
                  (r.amount::text, r.reason)
               or (r.state = 'failed') <> (r.failed_because is not null)
               or r.outcome = 'unknown' and r.state <> 'sent')
           union all
           select r.id from refunds r left join payment_events d on d.payment_id = r.payment_id
              and d.source = 'refund-done:' || r.id
             left join payment_events b on b.payment_id = r.payment_id
              and b.source = 'refund-returned:' || r.id
            where within(r.id) and (d.seq is not null and b.seq is null)
                  <> (r.state = 'succeeded')
           union all
           select e.payment_id from payment_events e
            where within(e.payment_id) and not exists (
              select from refunds r where r.id::text = e.facts->>'refund'
                 and r.payment_id = e.payment_id and r.state <> 'waiting')
              and e.event in ('Refund requested', 'Reverse transaction')""",
    ),
    (
        "disputes_are_folds_of_events",
        "A dispute's state, count and amounts result from its payment's events.",
        """with reported as (
             select e.payment_id, e.facts->>'dispute' as id, count(*) as steps,
                    count(*) filter (where e.event = 'Dispute opened') as taken,
                    count(*) filter (where e.event in ('Dispute won', 'Dispute reversed')) as back,
                    (array_agg(e.facts order by e.seq desc))[1] as last,
                    (array_agg(case e.event when 'Dispute opened' then 'opened'
                       when 'Dispute won' then 'won' when 'Dispute lost' then 'lost'
                       else 'reversed' end order by e.seq desc)
                       filter (where e.event <> 'Dispute counted'))[1] as state
               from payment_events e
              where within(e.payment_id) and e.event like 'Dispute %' and e.facts ? 'excess'
              group by 1, 2)
           select coalesce(d.payment_id, t.payment_id)
             from (select * from disputes where within(payment_id)) d
             full join reported t on t.payment_id = d.payment_id and t.id = d.id
            where d.opened_at > (select min(ran_at) from migrations)
               and ((t.steps, t.taken, t.back, t.state, t.last->>'amount', t.last->>'excess',
                     t.last->>'reason') is distinct from
                    (d.steps, d.taken, d.back, d.state, d.amount::text, d.excess::text, d.reason)
                 or t.last ? 'claimed' and t.last->'claimed' <>
                    jsonb_build_array(d.claimed_amount, d.claimed_currency)
                 or (d.origin = 'gateway') <> (d.id not like 'line:%')
                 or d.origin = 'gateway' and d.gateway_dispute_id is distinct from d.id)
               or d.id is null
           union all
           select d.payment_id from disputes d cross join lateral (
             select count(*) as times from (
               select e.facts->'claimed' as claimed,
                      lag(e.facts->'claimed') over (order by e.seq) as before
                 from payment_events e
                where e.payment_id = d.payment_id and e.event = 'Dispute opened'
                  and e.facts->>'dispute' = d.id) o
              where o.claimed <> o.before) changed
            where within(d.payment_id) and d.amended <> changed.times""",
    ),
    (
        "orders_reference_known_records",
        "Every order refers to an existing customer and to an existing vehicle, model or service.",
        """with named (customer, vin, model, service) as (
             select customer, vin, model, null from orders where within(id)
             union all select customer, vin, null, service from service_orders where within(id)
             union all select customer, vin, null, service from subscriptions where within(id)
             union all select null, vin, model, null from vehicles where within(vin)
             union all select null, vin, null, service from entitlements where within(id)
             union all select customer, null, null, null from accounts where within(customer))
           select coalesce(n.customer::text, n.vin) from (select distinct * from named) n
            where n.customer is not null
                  and not exists (select from customers c where c.id = n.customer)
               or n.vin is not null and not exists (select from vehicles v where v.vin = n.vin)
               or n.model is not null
                  and not exists (select from vehicle_models m where m.model = n.model)
               or n.service is not null
                  and not exists (select from services s where s.code = n.service)""",
    ),
    (
        "notifications_reach_their_subject",
        "Customers are notified only about their own payments; each operations alert has a case.",
        """with concerned (subject, customer, dealership) as (
             select p.id, p.customer, o.dealership from payments p
               left join orders o on o.id = p.subject where within(p.id)
             union all select id, customer, dealership from orders where within(id)
             union all select id, customer, null from service_orders where within(id)
             union all select id, customer, null from subscriptions where within(id)
             union all select id, customer, null from invoices where within(id)
             union all select r.id, p.customer, null from refunds r
                         join payments p on p.id = r.payment_id where within(r.id))
           select n.id from notifications n left join concerned w on w.subject = n.subject
            where within(n.subject) and (
                  n.audience = 'customer' and (w.customer::text <> n.recipient
                  or not exists (select from customers c where c.id = case
                      when n.recipient ~ '^[0-9a-f-]{36}$' then n.recipient::uuid end))
               or n.audience = 'dealership' and w.subject is not null
                  and w.dealership is distinct from n.recipient
               or (n.audience = 'operations') <> (n.recipient = 'operations')
               or n.audience = 'operations' and n.template = 'alert'
                  and n.occasion like n.facts->>'kind' || ':%'
                  and not exists (select from cases c where c.subject = n.subject
                                     and c.kind = n.facts->>'kind'))""",
    ),
    (
        "payments_are_for_what_was_ordered",
        "A payment has the customer, amount and currency of its order, invoice or subscription.",
        """select p.id from payments p
             left join orders o on o.id = p.subject
             left join service_orders s on s.id = p.subject
             left join invoices i on i.id = p.subject
             left join subscriptions b on b.id = p.subject
            where within(p.id) and coalesce(o.id, s.id, i.id, b.id) is not null
              and (p.type, p.customer, p.currency, p.amount) is distinct from
                  (case when o.id is null or p.type not in ('reservation', 'final') then
                     case when s.id is not null then 'service' else 'subscription' end
                     else p.type end,
                   coalesce(o.customer, s.customer, i.customer, b.customer),
                   coalesce(o.currency, s.currency, i.currency, b.currency),
                   case when b.id is not null then p.amount
                        when p.type = 'reservation' then o.deposit
                        when p.type = 'final' then o.price - o.deposit
                        else coalesce(s.amount, i.gross) end)
           union all
           select i.id from invoices i join payments p on p.id = i.payment_id
            where within(i.id) and i.kind = 'invoice' and p.subject <> i.id
           union all
           select r.id from refunds r left join payments p on p.id = r.payment_id
            where within(r.id) and p.currency is distinct from r.currency
           union all
           select p.id from disputes d left join payments p on p.id = d.payment_id
            where within(d.payment_id) and p.currency is distinct from d.currency""",
    ),
    (
        "orders_and_subscriptions_are_as_made",
        "Orders and subscriptions have the terms recorded in their first event.",
        """select o.id from orders o
             left join order_events e on e.order_id = o.id and e.version = 1
            where within(o.id)
              and (e.terms is distinct from order_terms(o) or e.at is distinct from o.created_at)
           union all
           select order_id from order_events
            where within(order_id) and version > 1 and terms is not null
           union all
           select subscription from subscription_events
            where within(subscription) and version > 1 and terms is not null
           union all
           select s.id from subscriptions s
             left join subscription_events e on e.subscription = s.id and e.version = 1
            where within(s.id) and (e.terms is distinct from subscription_terms(s)
               or e.at is distinct from s.created_at)""",
    ),
    (
        "states_are_folds_of_events",
        "The states of orders, vehicles and subscriptions result from their events.",
        """with stood (of, id, version, event, state, transitioned_for) as (
             select 'order', id::text, version, event, state, null::uuid
               from orders where within(id)
             union all
             select 'vehicle', vin, version, event, state, transitioned_for from vehicles
              where within(vin)
             union all
             select 'subscription', id::text, version, event, state, transitioned_for
               from subscriptions where within(id)),
           moved (of, id, version, event, from_state, to_state, transitioned_for) as (
             select 'order', order_id::text, version, event, from_state, to_state, null::uuid
               from order_events where within(order_id)
             union all
             select 'vehicle', vin, version, event, from_state, to_state, order_id
               from vehicle_events where within(vin)
             union all
             select 'subscription', subscription::text, version, event, from_state, to_state,
                    payment_id from subscription_events where within(subscription)),
           arrows (of, from_state, event, to_state) as (
             select 'order', from_state, event, to_state from order_transitions
             union all select 'vehicle', from_state, event, to_state from vehicle_transitions
             union all
             select 'subscription', from_state, event, to_state from subscription_transitions)
           select s.id from stood s
             left join moved m on m.of = s.of and m.id = s.id and m.version = s.version
            where (m.event, m.to_state, m.transitioned_for) is distinct from
                  (s.event, s.state, s.transitioned_for)
           union all
           select m.id from moved m
             left join stood s on s.of = m.of and s.id = m.id and s.version >= m.version
             left join moved b on b.of = m.of and b.id = m.id and b.version = m.version - 1
             left join arrows a on a.of = m.of and a.from_state = m.from_state
              and a.event = m.event and a.to_state = m.to_state
            where s.id is null or m.from_state is distinct from b.to_state
               or m.version > 1 and a.event is null
               or m.version = 1 and m.event <> case m.of when 'order' then 'Order created'
                  when 'vehicle' then 'Add to Stock Inventory'
                  else 'Subscribe to Monthly Service' end
           union all
           select s.id::text from subscriptions s
            where within(s.id) and (
                  (s.cancelled_because is not distinct from 'payment failed') <> exists (
                    select from subscription_events e where e.subscription = s.id
                       and e.event = 'Mark Subscription Cancelled')
               or s.cancelled_because is distinct from 'payment failed'
                  and (s.cancelled_because is not distinct from 'withdrawal') <> exists (
                    select from subscription_events e where e.subscription = s.id
                       and e.event = 'Customer withdraws'))
           union all
           select e.vin from vehicle_events e
            where within(e.vin) and e.order_id is not null and not exists (
                    select from orders o where o.id = e.order_id and o.vin = e.vin)
           union all
           select e.subscription::text from subscription_events e
             left join payments p on p.id = e.payment_id
             left join invoices i on i.id = p.subject
            where within(e.subscription) and e.payment_id is not null
              and (p.id is null or p.type = 'subscription'
                   and coalesce(i.subscription, p.subject) <> e.subscription)""",
    ),
    (
        "assignments_have_an_order",
        "Every vehicle assignment belongs to an order of that customer for that vehicle.",
        """select a.id from vehicle_assignments a left join orders o on o.id = a.order_id
            where within(a.order_id) and (a.vin, a.customer) is distinct from (o.vin, o.customer)
           union all
           select o.id from orders o join vehicles v on v.vin = o.vin
            where within(o.id) and (v.model <> o.model or v.currency <> o.currency)
           union all
           select o.id from orders o join order_events e on e.order_id = o.id
              and e.to_state in ('reserved', 'ready')
            where within(o.id) and o.vin is not null
              and not exists (select from vehicle_assignments a
                               where a.order_id = o.id and a.vin = o.vin)
           union all
           select o.id from orders o
             join order_events e on e.order_id = o.id and e.to_state = 'delivered'
            where within(o.id) and o.delivered_at not between e.at - interval '1 minute'
                                                          and e.at + interval '1 minute'
           union all
           select null from vehicles v where within(v.vin) and not v.finished
              and v.state not in ('sin asignar', 'reserved', 'in production')
           union all
           select l.order_id from access_credentials l left join orders o on o.id = l.order_id
            where (within(l.customer) or within(l.order_id))
              and o.customer is distinct from l.customer""",
    ),
)
