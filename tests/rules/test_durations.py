"""Durations are counted in buckets, and their quantiles estimated from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.rules.durations import Durations

BOUNDS = (0.01, 0.1, 1.0)


@pytest.mark.parametrize(
    ("recorded", "share", "seconds"),
    [
        ([0.05], 0.5, 0.055),
        ([0.005] * 9 + [0.5], 0.5, 0.01 * 5 / 9),
        ([0.005] * 9 + [0.5], 0.95, 0.1 + 0.9 * 0.5),
        ([0.005, 5.0], 0.95, None),
    ],
)
def test_a_quantile_is_interpolated_within_its_bucket(
    recorded: list[float], share: float, seconds: float | None
) -> None:
    durations = Durations(BOUNDS)
    for one in recorded:
        durations.add(one, "call")

    found = durations.quantile(share, ("call",))

    assert found == (None if seconds is None else pytest.approx(seconds))
    assert durations.total(("call",)) == len(recorded)


@given(st.lists(st.floats(0, 2, exclude_min=True), min_size=1), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_that_has_it(recorded: list[float], share: float) -> None:
    durations = Durations(BOUNDS)
    for one in recorded:
        durations.add(one, "call")

    found = durations.quantile(share, ("call",))
    at_most = [
        bound for bound in BOUNDS if sum(it <= bound for it in recorded) >= share * len(recorded)
    ]

    if found is None:
        assert at_most == []
    else:
        assert found <= at_most[0]
