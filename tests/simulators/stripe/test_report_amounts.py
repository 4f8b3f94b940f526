"""Amounts in the simulated Stripe's report: a peso of Chile has no decimals.

A sale of 5000 CLP stood as 50 in the report, so that each was settled in part.
"""

import pytest

from caas_simulators.stripe.reports import major


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [(5000, "clp", "5000"), (-700, "jpy", "-700"), (1299, "eur", "12.99"), (-5, "huf", "-0.05")],
)
def test_amounts_have_the_decimals_of_their_currency(
    amount: int, currency: str, written: str
) -> None:
    assert major(amount, currency) == written
