"""Diagram 10's discrepancies: the seed's four, decision 34's, and what may be done about each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.rules.discrepancies import (
    DUE_DAYS_OF_A_LARGE_AMOUNT,
    KINDS,
    SECOND_APPROVER_ABOVE,
    DiscrepancyKind,
    Resolution,
    due_days,
    needs_second_approver,
)
from caas.rules.money import EXPONENTS, Money

K = DiscrepancyKind
R = Resolution

SEED_SCENARIOS = [
    "Delayed Settlement",
    "Chargebacks",
    "Partial Settlements",
    "Failed Settlements",
]
DECISION_34 = {
    "missing at gateway", "missing in book", "amount", "currency", "duplicate line",
    "settled though voided", "state conflict", "refund mismatch", "fee drift",
    "captured not delivered", "delivered not captured",
}  # fmt: skip
DECISION_226 = {"chargeback reversal"}
DECISION_288 = {"loss not listed"}

kinds = st.sampled_from(DiscrepancyKind)
moneys = st.builds(Money, st.integers(-(10**9), 10**9), st.sampled_from(sorted(EXPONENTS)))


def test_the_first_four_kinds_are_the_seeds_scenarios() -> None:
    spoken = [kind.value.replace("_", " ") for kind in list(KINDS)[:4]]

    assert spoken == [scenario.lower().removesuffix("s") for scenario in SEED_SCENARIOS]


def test_the_other_kinds_are_those_of_the_decisions() -> None:
    others = {kind.value.replace("_", " ") for kind in list(KINDS)[4:]}

    assert others == DECISION_34 | DECISION_226 | DECISION_288


def test_every_kind_has_a_way_out_and_its_days() -> None:
    assert set(KINDS) == set(DiscrepancyKind)
    assert all(row.allowed for row in KINDS.values())
    assert all(row.due_days >= DUE_DAYS_OF_A_LARGE_AMOUNT for row in KINDS.values())


def test_every_resolution_fits_some_kind() -> None:
    assert frozenset().union(*(row.allowed for row in KINDS.values())) == set(Resolution)


@pytest.mark.parametrize("kind", [K.CAPTURED_NOT_DELIVERED, K.SETTLED_THOUGH_VOIDED])
def test_money_taken_for_nothing_is_nobody_s_loss_and_no_claim(kind: DiscrepancyKind) -> None:
    assert KINDS[kind].allowed == {R.REFUND_THE_CUSTOMER, R.CORRECT_BY_ENTRY}
    assert due_days(kind, Money(1, "EUR")) == 1


def test_what_was_delivered_and_not_captured_is_a_loss_and_never_a_new_charge() -> None:
    assert KINDS[K.DELIVERED_NOT_CAPTURED].allowed == {R.ACCEPT_LOSS, R.WRITE_OFF}


def test_the_loss_of_a_chargeback_may_be_accepted() -> None:
    assert R.ACCEPT_LOSS in KINDS[K.CHARGEBACK].allowed
    assert R.REFUND_THE_CUSTOMER not in KINDS[K.CHARGEBACK].allowed


def test_what_resolves_itself_may_be_waited_for() -> None:
    assert all(R.WAIT in row.allowed for row in KINDS.values() if row.by_itself)


@pytest.mark.parametrize(
    ("amount", "second"),
    [
        (Money(500_00, "EUR"), False),
        (Money(500_01, "EUR"), True),
        (Money(-500_01, "EUR"), True),
        (Money(80_000, "JPY"), False),
        (Money(1, "KWD"), True),
        (Money(0, "KWD"), False),
    ],
)
def test_above_the_limit_of_the_currency_a_second_person_must_agree(
    amount: Money, *, second: bool
) -> None:
    assert needs_second_approver(R.WRITE_OFF, amount) is second


@given(moneys)
def test_waiting_needs_nobodys_agreement(amount: Money) -> None:
    assert not needs_second_approver(R.WAIT, amount)


@given(kind=kinds, amount=moneys)
def test_more_at_stake_is_never_due_later(kind: DiscrepancyKind, amount: Money) -> None:
    assert due_days(kind, amount) <= due_days(kind, Money(0, amount.currency))


def test_limits_are_in_currencies_that_exist() -> None:
    assert set(SECOND_APPROVER_ABOVE) <= set(EXPONENTS)
