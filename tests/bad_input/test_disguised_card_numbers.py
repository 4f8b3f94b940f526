"""What the invariant would find in the books, the API refuses at its edge: one definition."""

import pytest

from caas.rules.card_numbers import contains_card_number
from caas.web.card_refusal import CardNumberRefusedError, refuse_in_value
from tests.bad_input.conftest import World, refused

SEPARATORS = (
    "&nbsp;", "&ensp;", "&thinsp;", "&#xA0;", "&zwnj;", "&shy;", "<br>", "</b>", "<b>", "\u2026",
    "@", "\u3164", "\u2800", "%2D", "%C2%A0", "&comma;", " , - ", " x ", "&nbsp",
)  # fmt: skip


async def test_no_disguise_brings_a_card_number_into_a_name(world: World) -> None:
    for separator in SEPARATORS:
        name = "N " + separator.join(("4111", "1111", "1111", "1111"))
        answer = await world.doors.post("/v1/customers", {"name": name, "email": "ana@example.org"})
        refused(answer, 422, "card_number_refused")


@pytest.mark.parametrize("kept", ['["4111", "1111", "1111", "1111"]', "[4111, 1111, 1111, 1111]"])
def test_a_list_is_read_as_the_books_keep_it(kept: str) -> None:
    assert contains_card_number(kept)
    parts = [part.strip(' "') for part in kept.strip("[]").split(",")]
    value = parts if '"' in kept else [int(part) for part in parts]

    with pytest.raises(CardNumberRefusedError):
        refuse_in_value(value)
