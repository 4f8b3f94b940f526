"""Paths of the pages of reconciled days.

The pages of a gateway that no new payments go to have its name in their paths.
"""

from typing import Final

from caas.billing_database.reconciliation_days import ReconciliationDay
from caas.console.context import Console

PATH: Final = "/operations/reconciliation"


def path_of(console: Console, day: ReconciliationDay) -> str:
    """Return the path of a day's page."""
    if day.gateway == console.platform.reconciliation.of().gateway:
        return f"{PATH}/{day.day}"
    return f"{PATH}/of/{day.gateway}/{day.day}"
