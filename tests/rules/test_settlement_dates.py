"""When a settlement is expected, and when it is late."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.rules.settlement_dates import (
    TERMS,
    PaymentMethod,
    Punctuality,
    add_business_days,
    expected_settlement_date,
    is_business_day,
    punctuality,
    target_closing_days,
)

CARD = PaymentMethod.CARD
BANK_DEBIT = PaymentMethod.BANK_DEBIT

days_of_the_century = st.dates(date(2000, 1, 1), date(2099, 12, 31))
methods = st.sampled_from(PaymentMethod)
holidays_2026 = target_closing_days(2026)


@pytest.mark.parametrize(
    ("captured_on", "method", "expected"),
    [
        (date(2026, 11, 23), CARD, date(2026, 11, 25)),
        (date(2026, 11, 26), CARD, date(2026, 11, 30)),
        (date(2026, 11, 28), CARD, date(2026, 12, 1)),
        (date(2026, 11, 23), BANK_DEBIT, date(2026, 11, 30)),
        (date(2026, 4, 2), CARD, date(2026, 4, 8)),
        (date(2026, 12, 24), CARD, date(2026, 12, 29)),
    ],
)
def test_money_is_expected_so_many_business_days_after_the_capture(
    captured_on: date, method: PaymentMethod, expected: date
) -> None:
    assert expected_settlement_date(captured_on, method, holidays_2026) == expected


@pytest.mark.parametrize(
    ("today", "verdict"),
    [
        (date(2026, 11, 24), Punctuality.ON_TIME),
        (date(2026, 11, 25), Punctuality.ON_TIME),
        (date(2026, 11, 26), Punctuality.DELAYED),
        (date(2026, 11, 30), Punctuality.DELAYED),
        (date(2026, 12, 1), Punctuality.MISSING),
    ],
)
def test_a_settlement_is_delayed_after_its_day_and_missing_some_days_later(
    today: date, verdict: Punctuality
) -> None:
    assert punctuality(date(2026, 11, 25), today, CARD) is verdict


@given(start=days_of_the_century, days=st.integers(0, 30))
def test_the_day_reached_is_a_business_day_with_the_right_number_before_it(
    start: date, days: int
) -> None:
    holidays = target_closing_days(start.year) | target_closing_days(start.year + 1)

    reached = add_business_days(start, days, holidays)

    between = [start + timedelta(days=n + 1) for n in range((reached - start).days)]
    assert sum(is_business_day(day, holidays) for day in between) == days
    assert days == 0 or is_business_day(reached, holidays)


@given(captured_on=days_of_the_century, method=methods, wait=st.integers(0, 40))
def test_a_settlement_never_becomes_more_punctual_by_waiting(
    captured_on: date, method: PaymentMethod, wait: int
) -> None:
    order = list(Punctuality)
    expected_on = expected_settlement_date(captured_on, method)
    today = captured_on + timedelta(days=wait)

    now = punctuality(expected_on, today, method)
    tomorrow = punctuality(expected_on, today + timedelta(days=1), method)
    assert order.index(now) <= order.index(tomorrow)


def test_every_method_has_its_terms() -> None:
    assert set(TERMS) == set(PaymentMethod)
    assert all(terms.expected_after > 0 < terms.missing_after for terms in TERMS.values())


def test_a_calendar_of_nothing_but_holidays_is_an_error() -> None:
    closed = frozenset(date(2026, 1, 1) + timedelta(days=n) for n in range(365))

    with pytest.raises(ValueError, match="no business day"):
        add_business_days(date(2026, 3, 1), 1, closed)


@pytest.mark.parametrize(
    ("year", "easter_sunday"),
    [
        (1961, date(1961, 4, 2)), (2000, date(2000, 4, 23)), (2008, date(2008, 3, 23)),
        (2019, date(2019, 4, 21)), (2024, date(2024, 3, 31)), (2025, date(2025, 4, 20)),
        (2026, date(2026, 4, 5)), (2027, date(2027, 3, 28)), (2038, date(2038, 4, 25)),
        (2049, date(2049, 4, 18)), (2076, date(2076, 4, 19)),
    ],
)  # fmt: skip
def test_target_closes_on_good_friday_and_easter_monday(year: int, easter_sunday: date) -> None:
    closed = target_closing_days(year)

    assert easter_sunday - timedelta(days=2) in closed
    assert easter_sunday + timedelta(days=1) in closed


def test_the_closing_days_of_2026_are_the_central_banks() -> None:
    assert sorted(holidays_2026) == [
        date(2026, 1, 1), date(2026, 4, 3), date(2026, 4, 6), date(2026, 5, 1),
        date(2026, 12, 25), date(2026, 12, 26),
    ]  # fmt: skip
