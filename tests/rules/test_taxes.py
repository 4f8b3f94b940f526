"""The tax in a price: what is paid is gross, and no refund leaves a unit of tax behind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.rules.market import BASIS_POINTS, tax_in, tax_left


@pytest.mark.parametrize(
    ("gross", "basis_points", "tax"),
    [
        (121_00, 2100, 21_00),  # Spain, in cents
        (1299, 2100, 225),
        (107_00, 700, 7_00),  # Canary Islands
        (123_00, 2300, 23_00),  # Portugal
        (11_900, 1900, 1_900),  # Chile, in whole pesos
        (9_990, 1900, 1_595),
        (12_345, 0, 0),  # Kuwait, in thousandths
        (0, 2100, 0),
        (1, 10_000, 1),  # half up
    ],
)
def test_the_tax_in_a_price_is_rounded_half_up(gross: int, basis_points: int, tax: int) -> None:
    assert tax_in(gross, basis_points) == tax


@given(gross=st.integers(0, 10**13), basis_points=st.integers(0, BASIS_POINTS))
def test_the_tax_is_never_more_than_half_a_minor_unit_off(gross: int, basis_points: int) -> None:
    tax = tax_in(gross, basis_points)

    exactly = gross * basis_points
    assert abs(2 * tax * (BASIS_POINTS + basis_points) - 2 * exactly) <= BASIS_POINTS + basis_points
    assert 0 <= tax <= gross


@given(
    gross=st.integers(1, 10**9),
    basis_points=st.integers(0, BASIS_POINTS),
    shares=st.lists(st.integers(0, 10**9), max_size=6),
)
def test_refunds_of_all_parts_give_all_of_the_tax_back(
    gross: int, basis_points: int, shares: list[int]
) -> None:
    tax = tax_in(gross, basis_points)
    left, given_back = gross, 0
    for share in [*shares, gross]:
        after = left - min(share, left)
        given_back += tax_left(tax, left=left, of=gross) - tax_left(tax, left=after, of=gross)
        left = after

    assert (left, given_back) == (0, tax)
