"""The losses of a payment by disputes are zero or more, whatever claims took over."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from caas.rules.dispute_losses import CAUSES, EXCESS, balanced, entries_of

LOSSES = st.fixed_dictionaries(dict.fromkeys((*CAUSES, EXCESS), st.integers(-5000, 5000)))


@given(LOSSES)
def test_what_is_balanced_is_zero_or_more_and_balanced_for_ever(losses: dict[str, int]) -> None:
    moved = balanced(losses)

    after = Counter(losses)
    after.update(moved)
    assert sum(moved.values()) == 0
    assert all(after[account] >= 0 for account in losses)
    assert balanced({account: after[account] for account in losses}) == {}


@given(LOSSES)
def test_the_entries_move_exactly_that(losses: dict[str, int]) -> None:
    moved = balanced(losses)

    booked: Counter[str] = Counter()
    for entry in entries_of(moved):
        assert entry.amount > 0
        booked.update({entry.debit: entry.amount})
        booked.subtract({entry.credit: entry.amount})
    assert {account: amount for account, amount in booked.items() if amount} == moved
