"""What follows a declined month: the seed's answer by default, a patient market's by policy."""

import pytest

from caas.rules.payment_failures import (
    DAYS_MAX,
    RETRIES_MAX,
    Cancel,
    ChargeAgain,
    DunningPolicy,
    after_decline,
    after_silence,
)


def test_by_default_the_first_declined_month_cancels_at_once() -> None:
    assert after_decline(DunningPolicy(), 1) == Cancel(in_days=0)


def test_a_patient_market_charges_again_and_then_gives_grace() -> None:
    policy = DunningPolicy(retry_after_days=(3, 5), grace_days=7)

    answers = [after_decline(policy, declines) for declines in (1, 2, 3, 4)]

    assert answers == [ChargeAgain(3), ChargeAgain(5), Cancel(7), Cancel(7)]


@pytest.mark.parametrize(
    ("retries", "grace"),
    [((1,) * (RETRIES_MAX + 1), 0), ((DAYS_MAX + 1,), 0), ((-1,), 0), ((), -1), ((), DAYS_MAX + 1)],
)
def test_a_policy_without_an_end_is_refused(retries: tuple[int, ...], grace: int) -> None:
    with pytest.raises(ValueError, match="at most"):
        DunningPolicy(retry_after_days=retries, grace_days=grace)


def test_the_longest_policy_allowed_is_allowed() -> None:
    policy = DunningPolicy(retry_after_days=(DAYS_MAX,) * RETRIES_MAX, grace_days=DAYS_MAX)

    assert after_decline(policy, RETRIES_MAX) == ChargeAgain(DAYS_MAX)


def test_nothing_follows_from_a_charge_that_was_not_declined() -> None:
    with pytest.raises(AssertionError):
        after_decline(DunningPolicy(), 0)


def test_who_lets_every_request_to_confirm_pass_is_cancelled_in_the_end() -> None:
    policy = DunningPolicy(grace_days=3, ask_again_after_days=(1, 2))

    answers = [after_silence(policy, times) for times in (1, 2, 3)]

    assert answers == [ChargeAgain(1), ChargeAgain(2), Cancel(3)]


def test_asking_again_has_an_end() -> None:
    with pytest.raises(ValueError, match="at most"):
        DunningPolicy(ask_again_after_days=(1,) * (RETRIES_MAX + 1))
