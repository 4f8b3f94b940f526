"""A run on several workers begins with what takes long, on each of them."""

import pytest

from tests.bootstrap.test_caas_script import ROOT
from tests.long_first import LONG, is_long, long_first


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_each_workers_part_begins_with_its_share_of_what_takes_long(workers: int) -> None:
    items = [*range(1200)]

    ordered = long_first(items, workers=workers, takes_long=lambda item: item % 40 == 0)

    share = len(items) // workers
    parts = [ordered[share * part : share * (part + 1)] for part in range(workers)]
    for part in parts:
        begins = [item % 40 == 0 for item in part[: 30 // workers]]
        assert all(begins), "long ones come first"
        assert not any(item % 40 == 0 for item in part[30 // workers + 1 :])
    assert sorted(ordered) == items
    assert sorted(long_first(items, workers=workers, takes_long=bool)) == items


def test_what_is_listed_as_long_is_there() -> None:
    assert [place for place in LONG if not (ROOT / place).exists()] == []
    assert is_long("tests/robustness/test_slow_gateway.py::test_one")
    assert not is_long("tests/rules/test_money.py::test_one")
