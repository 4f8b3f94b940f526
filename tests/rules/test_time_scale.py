"""How fast time passes: waits are divided by the scale, nothing else is."""

import pytest

from caas.rules.time_scale import TimeScale


def test_in_operation_a_wait_is_as_long_as_it_says() -> None:
    assert TimeScale().seconds(8) == 8


def test_at_a_faster_pace_every_wait_is_shorter() -> None:
    assert [TimeScale(1000).seconds(wait) for wait in (2, 4, 8)] == [0.002, 0.004, 0.008]


@pytest.mark.parametrize("scale", [0, -1, float("nan")])
def test_a_clock_that_stands_still_or_runs_backwards_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        TimeScale(scale)
