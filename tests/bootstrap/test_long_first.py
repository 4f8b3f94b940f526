"""A run on several workers begins with what takes long, on each of them."""

import pytest

from tests.bootstrap.test_caas_script import ROOT
from tests.long_first import LONGEST_FIRST, SHORT, long_first, rank


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_each_workers_part_begins_with_its_share_of_what_takes_long(workers: int) -> None:
    items = [*range(1200)]

    ordered = long_first(items, workers=workers, rank_of=rank_of)

    share = len(items) // workers
    parts = [ordered[share * part : share * (part + 1)] for part in range(workers)]
    for part in parts:
        begins = [item % 40 == 0 for item in part[: 30 // workers]]
        assert all(begins), "long ones come first"
        assert not any(item % 40 == 0 for item in part[30 // workers + 1 :])
    assert sorted(ordered) == items
    assert [part[0] for part in parts] == [800, 0, 40, 80][:workers], "the longest come first"
    assert sorted(long_first(items, workers=workers, rank_of=lambda _: 0)) == items


def rank_of(item: int) -> int:
    """Rank thirty items as long, and one of them as the longest."""
    return 0 if item == 800 else SHORT - 1 if item % 40 == 0 else SHORT


def test_what_is_listed_as_long_is_there() -> None:
    assert [place for place in LONGEST_FIRST if not (ROOT / place).exists()] == []
    killed = rank("tests/robustness/test_killed_processes.py::test_one")
    assert killed < rank("tests/robustness/test_slow_gateway.py::test_one") < SHORT
    assert rank("tests/rules/test_money.py::test_one") == SHORT
