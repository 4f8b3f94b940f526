"""Amounts as people type them: in the language of the page, or refused."""

import pytest

from caas.console.formats import AmountNotReadError, net_typed, plain_amount, read_amount
from caas.reconciliation import NetWithoutCurrencyError
from caas.rules.money import Money


@pytest.mark.parametrize(
    ("language", "text", "cents"),
    [
        ("es", "1.000,50", 100_050), ("es", "1.000", 100_000), ("es", "1000", 100_000),
        ("es", "500 €", 50_000), ("es", "0,99", 99), ("es", "12.345.678,90", 1_234_567_890),
        ("en", "1,000.50", 100_050), ("en", "1,000", 100_000), ("en", "€500", 50_000),
        ("en", "1000.00", 100_000), ("en", "10.5", 1050), ("es", "10,5", 1050),
        ("en", "1,000.5", 100_050),
    ],
)  # fmt: skip
def test_an_amount_is_read_in_the_language_of_the_page(
    language: str, text: str, cents: int
) -> None:
    money = read_amount(text, "EUR", language)

    assert money == Money(cents, "EUR")
    assert read_amount(plain_amount(money, language), "EUR", language) == money


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "1.000"), ("en", "1.000,50"), ("en", "1,5"), ("es", "1,000"), ("es", "1,000.50"),
        ("es", "1.5"), ("es", "10.00"), ("en", "10,00"), ("en", "1,00,000"), ("en", "0,100"),
        ("en", "10."), ("es", "10,"), ("en", ".5"),
        *(
            (language, text)
            for language in ("es", "en")
            for text in ("", "-1", "+1", "1e3", "NaN", "١٢", "1 000", "0x10", "9" * 20, "1,")
        ),
    ],
)  # fmt: skip
def test_what_is_no_amount_in_this_language_is_refused(language: str, text: str) -> None:
    """`1.000` in English was one euro."""
    assert read_amount(text, "EUR", language) is None


@pytest.mark.parametrize(
    ("language", "text", "reported"),
    [
        ("es", "-1.234,50 EUR", "-1234.50 EUR"), ("en", "1,234.5 USD", "1234.50 USD"),
        ("en", "24.88€", "24.88 EUR"),
        ("en", "1,000 jpy", "1000 JPY"),
    ],
)  # fmt: skip
def test_the_net_of_a_file_is_read_in_the_language_of_the_page(
    language: str, text: str, reported: str
) -> None:
    assert net_typed(text, language) == reported
    for wrong in ("1.000 EUR" if language == "en" else "1,000 EUR", "1 XXX", "--1 EUR"):
        with pytest.raises(AmountNotReadError):
            net_typed(wrong, language)
    for bare in ("", "12", "1,5"):
        with pytest.raises(NetWithoutCurrencyError):
            net_typed(bare, language)


def test_a_currency_without_cents_has_none() -> None:
    assert read_amount("1,000", "JPY", "en") == Money(1000, "JPY")
    assert read_amount("1000.00", "JPY", "en") is None
