"""The gateway is asked soon at first, then hourly, then daily; never without a pause."""

import pytest

from caas.rules.settlement_dates import DAILY_SECONDS, PollTerms, PollTermsError, read_poll_terms


def test_a_lost_webhook_costs_a_minute_and_nobody_is_asked_without_end() -> None:
    terms = PollTerms()
    asked_at, questions = 0.0, 0
    while asked_at < 30 * DAILY_SECONDS:
        asked_at += terms.wait_before(questions)
        questions += 1

    assert [terms.wait_before(number) for number in range(5)] == [60, 300, 900, 3600, 3600]
    assert terms.wait_before(10_000) == DAILY_SECONDS
    assert questions < 10 * 24 + 30


def test_terms_are_read_from_settings() -> None:
    assert read_poll_terms("", "") == PollTerms()
    assert read_poll_terms("30,600", "60") == PollTerms((30.0, 600.0), 60)


@pytest.mark.parametrize(
    ("waits", "a_minute"),
    [("0", ""), ("5", ""), ("60,soon", ""), (",", ""), ("60,nan", ""), ("", "0"), ("", "many"),
     ("60," * 20 + "60", "")],
)  # fmt: skip
def test_what_would_leave_the_gateway_no_rest_is_refused(waits: str, a_minute: str) -> None:
    with pytest.raises(PollTermsError):
        read_poll_terms(waits, a_minute)
