"""Every movement of money has its entries, and what one posts its opposite takes back."""

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.rules import postings
from caas.rules.payment_types import PaymentType

amounts = st.integers(0, 10**13)
types = st.sampled_from(PaymentType)


def _balances(entries: Iterable[postings.Entry]) -> dict[str, int]:
    balances: Counter[str] = Counter()
    for debit, credit, amount in entries:
        balances[debit] += amount
        balances[credit] -= amount
    return {account: balance for account, balance in balances.items() if balance}


def test_every_payment_type_earns_on_an_account_of_its_own() -> None:
    assert len({postings.earned(one) for one in PaymentType}) == len(PaymentType)


@given(amount=amounts, payment_type=types)
def test_what_one_movement_posts_its_opposite_takes_back(
    amount: int, payment_type: PaymentType
) -> None:
    undone = [
        postings.authorized(amount) + postings.released(amount),
        postings.refund_requested(payment_type, amount)
        + postings.refund_failed(payment_type, amount),
        postings.dispute_opened(amount) + postings.dispute_won(amount),
        postings.deposit_held(amount) + postings.deposit_released(amount),
    ]

    assert [_balances(entries) for entries in undone] == [{}, {}, {}, {}]


@given(held=amounts, amount=amounts, payment_type=types)
def test_a_capture_ends_the_hold_and_makes_the_gateway_owe_us(
    held: int, amount: int, payment_type: PaymentType
) -> None:
    entries = postings.authorized(held) + postings.captured(payment_type, amount, held=held)

    earned = postings.earned(payment_type)
    expected = {postings.GATEWAY_RECEIVABLE: amount, earned: -amount} if amount else {}
    assert _balances(entries) == expected


def test_a_settled_and_paid_out_payment_leaves_money_at_the_bank_and_its_fee() -> None:
    entries = (
        postings.captured(PaymentType.SERVICE, 100_00, held=0)
        + postings.settled(100_00)
        + postings.paid_out(net=98_50, fee=1_50)
    )

    assert _balances(entries) == {
        "bank": 98_50,
        "gateway_fees": 1_50,
        "service_revenue": -100_00,
    }


@pytest.mark.parametrize(
    ("entries", "account"),
    [
        (postings.lost_before_settlement("already_voided", 5), "risk_loss:already_voided"),
        (
            postings.reversed_after_settlement("settlement_reversed", 5),
            "risk_loss:settlement_reversed",
        ),
        (postings.lost_before_settlement("a word of the gateway", 5), "risk_loss:other"),
        (postings.dispute_lost(5), "risk_loss:chargeback"),
    ],
)
def test_a_loss_is_booked_by_its_cause(entries: tuple[postings.Entry, ...], account: str) -> None:
    assert _balances(entries)[account] == 5


def test_a_refund_that_succeeded_is_owed_to_nobody() -> None:
    entries = postings.refund_requested(PaymentType.SERVICE, 7) + postings.refund_succeeded(7)

    assert _balances(entries) == {"service_revenue": 7, "settled_funds": -7}


def test_a_lost_reservations_deposit_is_parked() -> None:
    assert _balances(postings.deposit_held(9)) == {"customer_deposits": 9, "reservation_held": -9}


def test_a_movement_of_nothing_has_no_entry() -> None:
    assert postings.authorized(0) == ()


def test_money_never_moves_backwards() -> None:
    with pytest.raises(AssertionError):
        postings.authorized(-1)


@given(amount=st.integers(1, 10**13), payment_type=types)
def test_what_is_written_off_is_earned_and_lost_beside_it(
    amount: int, payment_type: PaymentType
) -> None:
    entries = postings.written_off(payment_type, "subscription_declined", amount)

    earned = postings.earned(payment_type)
    lost = "risk_loss:subscription_declined"
    assert _balances(entries) == {lost: amount, earned: -amount}
