"""Main navigation of each role: path, icon and name (`nav.<name>`).

Rule a change must keep: at most five entries, because a phone shows them side by side.
"""

from typing import Final

from caas.billing_database.accounts import Role

Place = tuple[str, str, str]

PLACES: Final[dict[Role, tuple[Place, ...]]] = {
    Role.CUSTOMER: (
        ("/car", "car", "car"),
        ("/services", "services", "services"),
        ("/payments", "payments", "payments"),
        ("/messages", "messages", "messages"),
    ),
    Role.SALES: (
        ("/intranet", "home", "home"),
        ("/intranet/stock", "stock", "stock"),
        ("/intranet/orders", "orders", "orders"),
        ("/messages", "messages", "messages"),
    ),
    Role.OPERATIONS: (
        ("/operations", "home", "home"),
        ("/operations/payments", "payments", "payments"),
        ("/operations/cases", "cases", "cases"),
        ("/operations/reconciliation", "balance", "reconciliation"),
        ("/operations/system", "shield", "system"),
    ),
}


def places_of(role: Role | None) -> tuple[Place, ...]:
    """Return the navigation entries of a role; none without a session."""
    return () if role is None else PLACES[role]
