"""Every scene of the demonstration, in the order of the seed.

Rule a change must keep: a flow or a failure that the seed draws has a scene here.
"""

from typing import Final

from caas_lab.demo.scenarios import (
    doors,
    final_payments,
    gateway_errors,
    hosted_pages,
    refunds,
    reservations,
    services,
    settlements,
    subscriptions,
)
from caas_lab.demo.story import Scene

SCENES: Final[tuple[Scene, ...]] = (
    *reservations.SCENES,
    *hosted_pages.SCENES,
    *final_payments.SCENES,
    *services.SCENES,
    *gateway_errors.SCENES,
    *settlements.SCENES,
    *refunds.SCENES,
    *doors.SCENES,
    *subscriptions.SCENES,
)

SHORT: Final = (
    "reservation-paid", "reservation-declined", "final-paid", "final-declined",
    "service-paid", "service-declined", "month-paid", "month-declined",
)  # fmt: skip
"""The scenes of `--short`: each payment type of the seed, paid and failed."""
