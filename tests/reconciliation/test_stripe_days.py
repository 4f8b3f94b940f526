"""A day of Stripe's, from its Reports API to the verdict: one file, lines known by their ids."""

from datetime import UTC, datetime, time, timedelta

import pytest

from caas.billing_database.payments import Payment
from caas.reconciliation.fetching import ReportUnavailableError
from caas.reconciliation.runs import Runs
from caas.rules.payment_states import PaymentState
from tests.external_systems.stripe_reports import (
    StripeReportsStandIn,
    movement,
)
from tests.reconciliation.office import Office


def charge(number: int, payment: Payment, office: Office) -> dict[str, str]:
    """A charge of a payment, booked at noon of the running day."""
    return movement(
        number, f"{office.today} 12:00:00",
        **{"payment_intent_id": payment.gateway_transaction_id or "",
           "payment_metadata[reference]": str(payment.id)},
    )  # fmt: skip


async def test_a_stripe_day_is_matched_from_its_itemized_report(
    office: Office, stripe: StripeReportsStandIn, runs: Runs
) -> None:
    first, second = await office.capturing("stripe"), await office.capturing("stripe")
    at = f"{office.today} 12:00:00"
    stripe.movements = [
        charge(1, first, office),
        movement(2, at, gross="-0.31", fee="0", net="-0.31", reporting_category="network_cost",
                 customer_facing_amount="", customer_facing_currency=""),
        movement(3, at, gross="-12.25", fee="0", net="-12.25", reporting_category="payout"),
    ]  # fmt: skip

    done = await runs.reconcile(office.today)
    stripe.movements = [charge(4, second, office), *stripe.movements]
    stripe.keys.clear()
    grown = await runs.reconcile(office.today)

    assert done.run.counts == {"matched": 1, "provider_cost": 1}
    assert (grown.run.counts, grown.day.verdict) == ({"matched": 1}, "closed")
    assert (await office.payment(second)).state is PaymentState.SETTLED
    assert await office.balance("provider_costs") == 31


async def test_a_stripe_day_without_data_changes_nothing_and_says_when(
    office: Office, stripe: StripeReportsStandIn, runs: Runs
) -> None:
    midnight = datetime.combine(office.today, time(), UTC)
    stripe.available_to = midnight

    with pytest.raises(ReportUnavailableError, match="prepares them twice a day"):
        await runs.reconcile(office.today)
    stripe.available_to = midnight + timedelta(hours=12)
    done = await runs.reconcile(office.today)

    assert (done.run.lines, done.day.verdict) == (0, "in progress")
