"""Passwords are judged beside what everybody knows of their owner."""

import pytest

from caas.channels.passwords import WeakPasswordError, refuse_weak

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
