"""What explains a payment's position: what is lacking is lost, what is there takes losses back."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from caas.rules import postings
from caas.rules.settlement_positions import SettlementPosition, explained

AMOUNTS = st.integers(-5_000, 5_000)
LOSSES = st.dictionaries(st.sampled_from(postings.SETTLEMENT_LOSSES), AMOUNTS)
PARTIAL, FAILED = "risk_loss:partial_settlement", "risk_loss:failed_settlement"


def position(
    settled_funds: int = 0,
    receivable: int = 0,
    waits: int = 0,
    due: int = 0,
    losses: Mapping[str, int] | None = None,
) -> SettlementPosition:
    return SettlementPosition(
        settled_funds=settled_funds,
        receivable=receivable,
        waits=waits,
        due=due,
        losses=losses or {},
    )


def test_what_waits_is_explained() -> None:
    assert explained(position(1299, 500, 1299, 500, {PARTIAL: 7}), FAILED) == {}


def test_what_is_lacking_is_lost() -> None:
    assert explained(position(1299, 520), FAILED) == {
        "settled_funds": -1299, "gateway_receivable": -520, FAILED: 1819,
    }  # fmt: skip


def test_what_is_there_takes_losses_back_and_the_rest_is_unexplained() -> None:
    assert explained(position(-700, losses={PARTIAL: 500, FAILED: 0}), FAILED) == {
        "settled_funds": 700, PARTIAL: -500, "unexplained_funds": -200,
    }  # fmt: skip


def test_a_loss_below_zero_is_covered_by_the_others() -> None:
    assert explained(position(losses={PARTIAL: -500, FAILED: 400}), FAILED) == {
        PARTIAL: 500, FAILED: -400, "unexplained_funds": -100,
    }  # fmt: skip


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, LOSSES)
def test_what_explains_adds_up_and_leaves_what_waits(
    settled_funds: int, receivable: int, waits: int, due: int, losses: dict[str, int]
) -> None:
    moved = explained(position(settled_funds, receivable, waits, due, losses), FAILED)

    assert sum(moved.values()) == 0
    assert settled_funds + moved.get("settled_funds", 0) == waits
    assert receivable + moved.get("gateway_receivable", 0) == due
    accounts = {*losses, FAILED}
    after = {it: losses.get(it, 0) + moved.get(it, 0) for it in accounts}
    assert min(after.values()) >= 0
    assert moved.get("unexplained_funds", 0) <= 0
    again = position(waits, due, waits, due, after)
    assert explained(again, FAILED) == {}
