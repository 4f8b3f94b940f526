"""Invariants of sales: services are sold for the buyer's own vehicle or by a fleet operator.

The vehicle's holder at the time of reservation decides, so that time is compared with related
records: the order or subscription, the payment, and the clock.
"""

from typing import Final

SALES: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "services_are_sold_to_owners",
        "A term was sold to the vehicle's holder at that time, or by a fleet operator.",
        """select t.id from entitlement_terms t join entitlements e on e.id = t.entitlement
            where within(t.id) and not t.by_fleet
              and not exists (select from vehicle_assignments a
                               where a.vin = e.vin and a.customer = t.customer
                                 and a.since <= t.reserved_at
                                 and coalesce(a.until, 'infinity') >= t.reserved_at)""",
    ),
    (
        "terms_are_reserved_when_they_are_sold",
        "A term was reserved after its order was placed and before payment or the next transition.",
        """with since (at) as (select min(ran_at) from migrations),
           sold as (
             select t.id, t.reserved_at, least(t.updated_at, p.created_at, db_now()) as by_then,
                    coalesce(o.created_at, s.created_at) as sold_at,
                    t.subscription is not null as at_once
               from entitlement_terms t
               left join service_orders o on o.id = t.service_order
               left join subscriptions s on s.id = t.subscription
               left join payments p on p.id = t.payment_id
              where within(t.id))
           select id from sold, since
            where sold_at > since.at
              and (reserved_at < sold_at - interval '1 minute'
                or reserved_at > by_then + interval '1 minute'
                or at_once and reserved_at > sold_at + interval '1 minute')""",
    ),
    (
        "pending_terms_have_their_buyer",
        "An unpaid order belongs to a known customer who still has the vehicle.",
        """select t.id from entitlement_terms t join entitlements e on e.id = t.entitlement
             join customers c on c.id = t.customer
            where within(t.id) and t.state = 'pending' and t.service_order is not null
              and t.reserved_at > (select min(ran_at) from migrations)
              and (c.erased_at is not null
                   or not t.by_fleet and not has_vehicle(t.customer, e.vin))""",
    ),
    (
        "assignments_end_with_their_vehicle",
        "A vehicle was assigned to an order once, until the event that ended the assignment.",
        """select a.id from vehicle_assignments a
            where within(a.vin) and not a.active and not exists (
              select from vehicle_events e
               where e.vin = a.vin and e.order_id = a.order_id and e.event = a.ended_because
                 and abs(extract(epoch from e.at - a.until)) <= 60)
           union all
           select min(id::text)::uuid from vehicle_assignments where within(vin)
            group by vin, order_id
           having count(*) > 1""",
    ),
    (
        "requested_withdrawals_wait_for_a_payment",
        "A withdrawal that was requested waits only while a final payment is open (decision 244).",
        """select o.id from orders o
            where within(o.id) and o.event = 'Withdrawal requested' and not exists (
             select from payments p where p.subject = o.id and p.type = 'final'
                and p.state in ('Initiated', 'Pending'))
           union all
           select e.order_id from order_events e join orders o on o.id = e.order_id
            where within(e.order_id) and e.event = 'Withdrawal requested'
              and o.event <> 'Withdrawal requested' and o.state <> 'withdrawn'""",
    ),
    (
        "months_are_charged_to_verified_methods",
        "A subscription is charged to its most recently verified payment method, at its gateway.",
        """with verified as (
             select distinct on (e.subscription) e.subscription, coalesce((
                      select f.facts->>'payment_method' from payment_events f
                       where f.payment_id = p.id and f.event = 'Funds reserved'),
                    p.payment_method) as method, p.gateway
               from subscription_events e join payments p on p.id = e.payment_id
              where within(e.subscription)
                and e.event in ('Payment method verified', 'Payment method changed')
              order by e.subscription, e.version desc)
           select s.id from subscriptions s join verified v on v.subscription = s.id
            where within(s.id) and (s.gateway <> v.gateway
              or s.payment_method is distinct from v.method and not is_erased(s.customer))""",
    ),
)
