"""Money, against the published list of ISO 4217 and by properties."""

import operator
from collections.abc import Callable
from importlib import resources
from xml.etree import ElementTree as ET

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from caas.rules.money import (
    AMOUNT_MAX,
    EXPONENTS,
    TOTAL_MAX,
    CurrencyMismatchError,
    InvalidAmountError,
    Money,
    UnknownCurrencyError,
    exponent,
    format_plain,
    parse_decimal,
    payment_amount,
    total,
)

amounts = st.integers(-TOTAL_MAX, TOTAL_MAX)
small_amounts = st.integers(-(10**15), 10**15)
currencies = st.sampled_from(sorted(EXPONENTS))


def _published_exponents() -> dict[str, int]:
    """Read the list one of ISO 4217: no funds, nothing without a minor unit."""
    table = resources.files("iso4217").joinpath("table.xml").read_text(encoding="utf-8")
    published = {}
    for entry in ET.fromstring(table).iter("CcyNtry"):  # noqa: S314 - a file of the package
        code, decimals, name = (entry.find(t) for t in ("Ccy", "CcyMnrUnts", "CcyNm"))
        if code is None or decimals is None or name is None or name.get("IsFund") == "true":
            continue
        if (decimals.text or "").isdigit():
            published[str(code.text)] = int(str(decimals.text))
    return published


def test_the_table_is_the_published_iso_4217_list() -> None:
    assert dict(EXPONENTS) == _published_exponents()


@pytest.mark.parametrize(
    ("currency", "decimals"),
    [("EUR", 2), ("USD", 2), ("JPY", 0), ("CLP", 0), ("KWD", 3), ("TND", 3), ("UYW", 4)],
)
def test_a_currency_has_its_own_number_of_decimals(currency: str, decimals: int) -> None:
    assert exponent(currency) == decimals


@pytest.mark.parametrize(
    "currency",
    ["XAU", "XDR", "XXX", "XTS", "CLF", "USN", "CHE", "UYI", "HRK", "DEM", "eur", "", "€"],
)
def test_what_nobody_can_pay_in_is_refused(currency: str) -> None:
    with pytest.raises(UnknownCurrencyError) as refusal:
        Money(1, currency)

    assert refusal.value.facts == {"currency": currency}


@pytest.mark.parametrize("amount", [True, 1.0, "1", None, TOTAL_MAX + 1, -TOTAL_MAX - 1])
def test_an_amount_is_an_integer_that_a_bigint_holds(amount: object) -> None:
    with pytest.raises(InvalidAmountError):
        Money(amount, "EUR")  # type: ignore[arg-type]


def test_the_limit_of_a_payment_leaves_room_for_very_many_in_one_sum() -> None:
    assert AMOUNT_MAX * 900_000 < TOTAL_MAX == 2**63 - 1


def test_a_payment_is_more_than_nothing_and_at_most_the_limit() -> None:
    assert payment_amount(1, "EUR") == Money(1, "EUR")
    assert payment_amount(AMOUNT_MAX, "EUR").amount == AMOUNT_MAX
    for amount in (0, -1, AMOUNT_MAX + 1):
        with pytest.raises(InvalidAmountError):
            payment_amount(amount, "EUR")


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("12.34", "EUR", 1234),
        ("12.3", "EUR", 1230),
        ("12", "EUR", 1200),
        ("0.01", "EUR", 1),
        ("-0.05", "EUR", -5),
        ("00012.34", "EUR", 1234),
        ("1234", "JPY", 1234),
        ("1.234", "KWD", 1234),
        ("1.2345", "UYW", 12345),
    ],
)
def test_decimal_text_is_read_as_minor_units(text: str, currency: str, amount: int) -> None:
    assert parse_decimal(text, currency) == Money(amount, currency)


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("12.345", "EUR"), ("12.340", "EUR"), ("1.0", "JPY"), ("1,234.00", "EUR"), ("12,34", "EUR"),
        ("1e3", "EUR"), ("+1", "EUR"), (" 1", "EUR"), ("1\n", "EUR"), (".5", "EUR"), ("5.", "EUR"),
        ("", "EUR"), ("-", "EUR"), ("١٢", "EUR"), ("NaN", "EUR"), ("9" * 20, "EUR"),
        ("9" * 19, "EUR"), ("1_000", "EUR"), ("0x1", "EUR"),
    ],
)  # fmt: skip
def test_text_that_is_not_plainly_an_amount_is_refused(text: str, currency: str) -> None:
    with pytest.raises(InvalidAmountError):
        parse_decimal(text, currency)


@given(amount=amounts, currency=currencies)
def test_what_is_written_is_read_back_the_same(amount: int, currency: str) -> None:
    money = Money(amount, currency)

    assume(len(format_plain(money).split(".")[0].lstrip("-")) <= 19)
    assert parse_decimal(format_plain(money), currency) == money


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(1234, "EUR"), "12.34 EUR"),
        (Money(-5, "EUR"), "-0.05 EUR"),
        (Money(0, "KWD"), "0.000 KWD"),
        (Money(-1234, "JPY"), "-1234 JPY"),
    ],
)
def test_money_is_written_with_its_currency(money: Money, text: str) -> None:
    assert str(money) == text


@given(one=small_amounts, other=small_amounts, currency=currencies)
def test_money_of_one_currency_adds_and_compares_like_its_amounts(
    one: int, other: int, currency: str
) -> None:
    left, right = Money(one, currency), Money(other, currency)

    assert (left + right).amount == one + other
    assert (left - right).amount == one - other
    assert -left == Money(-one, currency)
    assert left + -left == Money(0, currency)
    for compare in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq):
        assert compare(left, right) is compare(one, other)


@pytest.mark.parametrize(
    "operation",
    [operator.add, operator.sub, operator.lt, operator.le, operator.gt, operator.ge],
)
def test_two_currencies_never_meet(operation: Callable[[Money, Money], object]) -> None:
    with pytest.raises(CurrencyMismatchError) as refusal:
        operation(Money(1, "EUR"), Money(1, "USD"))

    assert refusal.value.facts == {"currency": "EUR", "other": "USD"}


def test_the_same_amount_in_another_currency_is_not_the_same_money() -> None:
    assert Money(1, "EUR") != Money(1, "USD")


def test_a_sum_that_no_bigint_holds_is_refused() -> None:
    with pytest.raises(InvalidAmountError):
        Money(TOTAL_MAX, "EUR") + Money(1, "EUR")


def test_the_total_of_nothing_is_zero_of_the_currency() -> None:
    assert total([], "EUR") == Money(0, "EUR")
    assert total([Money(1, "EUR"), Money(2, "EUR")], "EUR") == Money(3, "EUR")
