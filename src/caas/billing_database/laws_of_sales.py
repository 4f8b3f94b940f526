"""The invariants of sales: a service is sold for the buyer's own vehicle, or by a fleet operator.

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
)
