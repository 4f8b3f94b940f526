"""The invariants of access: one link of a person works, and only others reset a second factor.

Rules a change must keep: those of `laws`.
"""

from typing import Final

ACCESS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "one_access_link_works",
        "Of a person at most one access link works.",
        """select customer::text from access_credentials
            where used_at is null and expires_at > db_now() group by customer having count(*) > 1
           union all
           select account::text from staff_links
            where used_at is null and expires_at > db_now() group by account having count(*) > 1""",
    ),
    (
        "nobody_resets_their_own_second_factor",
        "A second factor was reset by another person of operations, and codes belong to one.",
        """select f.id::text from second_factors f left join accounts a on a.id = f.ended_by
            where f.ended_at is not null
              and (f.ended_by = f.account or a.role is distinct from 'operations')
           union all
           select c.factor::text from recovery_codes c join second_factors f on f.id = c.factor
            where f.confirmed_at is null""",
    ),
)
