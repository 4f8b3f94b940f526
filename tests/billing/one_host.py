"""One more machine that bills: a process of its own, to be killed. `python -m`, DSN, month.

It says a line after every batch, so that whoever watches knows how far it is.
"""

import asyncio
import sys
from typing import Any

import caas.billing
from caas.billing import Billing
from caas.billing_database import connection
from caas.billing_database.billing_runs import BillingRun
from caas.billing_database.tables import BillingDatabase, opened
from caas.payment_processing.subscription_payment import SubscriptionPayment
from caas.rules.mes_vencido import Month
from caas.rules.time_scale import TimeScale
from tests.subscription_installation import LETTERHEAD

NOT_NEEDED: Any = None
"""A participant that no month end calls."""


def billing_of(tables: BillingDatabase) -> Billing:
    """Build the Billing of one machine; it issues and accepts, and reaches nobody."""
    payment = SubscriptionPayment(
        tables=tables,
        charges=NOT_NEEDED,
        subscriptions=NOT_NEEDED,
        subscription_failure=NOT_NEEDED,
        notifications=NOT_NEEDED,
        time_scale=TimeScale(),
    )
    return Billing(
        tables=tables,
        subscription_payment=payment,
        notifications=NOT_NEEDED,
        letterhead=LETTERHEAD,
    )


def say(run: BillingRun) -> None:
    """Say how far the run is."""
    sys.stdout.write(f"{run.seen} {run.charges}\n")
    sys.stdout.flush()


async def bill(dsn: str, month: str) -> None:
    """Bill a month in small pieces."""
    caas.billing.INVOICED_AT_ONCE = 30  # type: ignore[misc]
    caas.billing.CHARGED_AT_ONCE = 30  # type: ignore[misc]
    database = await connection.connect(dsn)
    billing = billing_of(opened(database))
    await billing.run_month(Month.parse(month), progress=say)
    await database.close()


if __name__ == "__main__":
    asyncio.run(bill(sys.argv[1], sys.argv[2]))
