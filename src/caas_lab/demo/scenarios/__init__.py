"""Every scenario of the demonstration, in the order of the specification.

Rule a change must keep: every flow and failure that the specification draws has a scenario.
"""

from typing import Final

from caas_lab.demo.scenario import Scenario
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

SCENARIOS: Final[tuple[Scenario, ...]] = (
    *reservations.SCENARIOS,
    *hosted_pages.SCENARIOS,
    *final_payments.SCENARIOS,
    *services.SCENARIOS,
    *gateway_errors.SCENARIOS,
    *settlements.SCENARIOS,
    *refunds.SCENARIOS,
    *doors.SCENARIOS,
    *subscriptions.SCENARIOS,
)

SHORT: Final = (
    "reservation-paid", "reservation-declined", "final-paid", "final-declined",
    "service-paid", "service-declined", "month-paid", "month-declined",
)  # fmt: skip
"""The scenarios of `--short`: each payment type, paid and failed."""
