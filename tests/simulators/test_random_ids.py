"""Ids of the simulated world, beside what a platform must refuse."""

import random

import pytest

from caas.rules.card_numbers import contains_card_number
from caas_simulators.random_ids import random_id

CARD = "4242424242424242"


class Chance(random.Random):
    """A chance that draws the digits of a card number."""

    def getrandbits(self, bits: int) -> int:
        return int(CARD[: bits // 4].rjust(bits // 4, "0"), 16)


@pytest.mark.parametrize("letters", [16, 20])
def test_no_id_of_the_simulated_world_passes_for_a_card_number(letters: int) -> None:
    given = random_id("ord", chance=Chance(), letters=letters)

    assert contains_card_number(f"ord_{CARD}")
    assert not contains_card_number(given)
    assert len(given) == len("ord_") + letters
