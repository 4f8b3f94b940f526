"""Identifiers that we make: unique, and in the order in which they were made."""

import itertools

from caas.billing_database.identifiers import new_id

MANY = 2_000


def test_ids_made_one_after_the_other_are_in_order_within_a_millisecond_too() -> None:
    """An inbox showed two messages of the same millisecond the older one first."""
    made = [new_id() for _ in range(MANY)]

    ordered = sum(one < other for one, other in itertools.pairwise(made))

    assert len(set(made)) == MANY
    assert {one.version for one in made} == {7}
    assert ordered > MANY * 0.95
