"""A run on several workers begins with what takes long, on each of them."""

import pytest

from tests.bootstrap.test_caas_script import ROOT
from tests.long_first import LONGEST_FIRST, SHORT, TOGETHER, long_first, rank, shared_by


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


def test_tests_that_share_what_is_set_up_once_are_in_the_part_of_one_worker() -> None:
    items = [*range(1200)]

    ordered = long_first(
        items,
        workers=4,
        rank_of=rank_of,
        shared_by_of=lambda item: "shared" if item in range(200, 400) else item,
    )

    parts = [ordered[300 * part : 300 * (part + 1)] for part in range(4)]
    assert sum(any(item in part for item in (200, 240, 280, 320, 360)) for part in parts) == 1
    assert sorted(ordered) == items


def test_what_is_shared_is_there_and_begins_early() -> None:
    assert [place for place in TOGETHER if not (ROOT / place).exists()] == []
    assert all(rank(f"{place}::test_one") < SHORT for place in TOGETHER)
    one, other = (
        shared_by(f"tests/filled/test_{name}.py::test_one") for name in ("fill", "reading")
    )
    assert one == other != shared_by("tests/rules/test_money.py::test_one")


def test_what_is_listed_as_long_is_there() -> None:
    assert [place for place in LONGEST_FIRST if not (ROOT / place).exists()] == []
    killed = rank("tests/robustness/test_killed_processes.py::test_one")
    assert killed < rank("tests/robustness/test_slow_gateway.py::test_one") < SHORT
    assert rank("tests/rules/test_money.py::test_one") == SHORT
