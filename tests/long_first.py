"""The order of a run on several workers: what takes long begins first, and each has its share.

A worker is given an even part of the list, and those that are done take from the ends of others.
What takes long and comes late leaves one worker busy while the rest have nothing to do. Tests that
share a platform, a database or a server of their module go to one worker, which sets it up once.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import islice
from typing import TypeVar

LONGEST_FIRST = (
    "tests/robustness/test_killed_processes.py",
    "tests/first_minutes/test_from_reservation_to_invoice.py",
    "tests/documents/", "tests/strangers/", "tests/simulation/", "tests/demo/",
    "tests/first_minutes/test_fresh_clone.py", "tests/first_minutes/test_what_dies.py",
    "tests/start_up/test_up.py", "tests/bench/", "tests/robustness/", "tests/protections/",
    "tests/reconciliation/test_command_line.py", "tests/start_up/",
    "tests/console/test_intranet.py", "tests/filled/",
)  # fmt: skip
SHORT = len(LONGEST_FIRST)
TOGETHER = (
    "tests/bench/test_goals.py", "tests/demo/test_demo.py", "tests/documents/test_examples.py",
    "tests/filled/", "tests/first_minutes/test_fresh_clone.py", "tests/start_up/test_up.py",
    "tests/strangers/test_with_adyen.py", "tests/strangers/test_with_stripe.py",
)  # fmt: skip

Item = TypeVar("Item")


def rank(test: str) -> int:
    """Return how early a test, named as pytest names it, begins; `SHORT` for most."""
    places = (number for number, place in enumerate(LONGEST_FIRST) if test.startswith(place))
    return next(places, SHORT)


def shared_by(test: str) -> str:
    """Return what names the tests that belong on one worker: the test itself for most."""
    return next((place for place in TOGETHER if test.startswith(place)), test)


def long_first(
    items: Sequence[Item],
    *,
    workers: int,
    rank_of: Callable[[Item], int],
    shared_by_of: Callable[[Item], Hashable] = id,
) -> list[Item]:
    """Return the items so that each of the workers' even parts begins with its long ones."""
    ranked = sorted(items, key=rank_of)
    long = [item for item in ranked if rank_of(item) < SHORT]
    short = iter(ranked[len(long) :])
    groups: dict[Hashable, list[Item]] = {}
    for item in long:
        groups.setdefault(shared_by_of(item), []).append(item)
    dealt = list(groups.values())
    ordered: list[Item] = []
    for part in range(workers):
        size = (len(items) - len(ordered)) // (workers - part)
        mine = [item for group in dealt[part::workers] for item in group]
        ordered += [*mine, *islice(short, max(0, size - len(mine)))]
    return [*ordered, *short]
