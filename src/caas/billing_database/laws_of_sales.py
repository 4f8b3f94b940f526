"""The invariants of sales: a service is sold for the buyer's own vehicle, or by a fleet operator.

Who had the vehicle when a term was reserved decides, so that moment is compared with what was
written beside it: the order or the subscription, the payment, and the clock.

Rules a change must keep: those of `laws`.
"""

from typing import Final

SALES: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "services_are_sold_to_owners",
        "A term that no fleet operator sold was reserved by whoever had the vehicle then.",
        """select t.id from entitlement_terms t join entitlements e on e.id = t.entitlement
            where not t.by_fleet
              and not exists (select from vehicle_assignments a
                               where a.vin = e.vin and a.customer = t.customer
                                 and a.since <= t.reserved_at
                                 and coalesce(a.until, 'infinity') >= t.reserved_at)""",
    ),
    (
        "terms_are_reserved_when_they_are_sold",
        "A term was reserved after its order was placed and before it was paid for or moved on.",
        """with since (at) as (select ran_at from migrations where name like '0025%'),
           sold as (
             select t.id, t.reserved_at, least(t.updated_at, p.created_at, db_now()) as by_then,
                    coalesce(o.created_at, s.created_at) as sold_at,
                    t.subscription is not null as at_once
               from entitlement_terms t
               left join service_orders o on o.id = t.service_order
               left join subscriptions s on s.id = t.subscription
               left join payments p on p.id = t.payment_id)
           select id from sold, since
            where sold_at > since.at
              and (reserved_at < sold_at - interval '1 minute'
                or reserved_at > by_then + interval '1 minute'
                or at_once and reserved_at > sold_at + interval '1 minute')""",
    ),
)
