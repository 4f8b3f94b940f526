"""Passwords are judged beside what everybody knows of their owner."""

import pytest

from caas.console.passwords import WeakPasswordError, refuse_weak

KNOWN = ("bea@example.com", "Beatriz Ruiz")


@pytest.mark.parametrize(
    "password",
    [
        "bea@example.com1", "Bea@Example.com!!", "example.com2026", "1example.com1",
        "xx-beatriz-xx-41", "beaexamplecom1", "b3a@example.com1",
    ],
)  # fmt: skip
def test_a_password_made_of_the_login_is_refused(password: str) -> None:
    """`bea` is too short a word to be forbidden, and the domain was not looked at."""
    with pytest.raises(WeakPasswordError):
        refuse_weak(password, KNOWN)


def test_a_domain_in_a_password_of_several_words_is_let_be() -> None:
    refuse_weak("seven llamas at example tables", KNOWN)
    refuse_weak("correct horse battery staple", KNOWN)


@pytest.mark.parametrize(
    "password",
    [
        "Autumn2026!", "Madrid2026!", "Summer2026!", "Welcome2026!", "Barcelona1", "Invierno2026!",
        "Noviembre2026", "Sevilla-2026!", "Zaragoza2026!!", "2027-Otoño!", "September_27",
        "Caas2026!!", "Málaga2031!", "CarAsAService1!", "madrid1999$",
    ],
)  # fmt: skip
def test_a_word_of_the_calendar_a_city_or_the_product_with_a_year_is_refused(password: str) -> None:
    """Whoever guesses tries this season and this city first, and no English list knows them."""
    with pytest.raises(WeakPasswordError):
        refuse_weak(password, KNOWN)


def test_such_words_among_others_are_let_be() -> None:
    refuse_weak("in autumn madrid smells of chestnuts", KNOWN)
    refuse_weak("kR7-madrid-vQ2x-2026", KNOWN)
