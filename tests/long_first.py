"""The order of a run on several workers: what takes long begins first, and each has its share.

A worker is given an even part of the list, and those that are done take from the ends of others.
What takes long and comes late leaves one worker busy while the rest have nothing to do.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

LONG = (
    "tests/bench/", "tests/demo/", "tests/first_minutes/test_fresh_clone.py",
    "tests/first_minutes/test_from_reservation_to_invoice.py",
    "tests/first_minutes/test_what_dies.py", "tests/protections/", "tests/robustness/",
    "tests/simulation/", "tests/start_up/test_up.py", "tests/strangers/",
)  # fmt: skip

Item = TypeVar("Item")


def is_long(test: str) -> bool:
    """Say whether a test, named as pytest names it, is of a kind that takes long."""
    return test.startswith(LONG)


def long_first(
    items: Sequence[Item], *, workers: int, takes_long: Callable[[Item], bool]
) -> list[Item]:
    """Return the items so that each of the workers' even parts begins with its long ones."""
    long = [item for item in items if takes_long(item)]
    short = iter([item for item in items if not takes_long(item)])
    ordered: list[Item] = []
    for part in range(workers):
        size = (len(items) - len(ordered)) // (workers - part)
        mine = long[part::workers]
        ordered += [*mine, *islice(short, max(0, size - len(mine)))]
    return [*ordered, *short]
