"""A process dies at an await, at every await, and nobody is charged for what was not delivered.

The awaits are found, not listed: a story is lived once to its end while every place is noted at
which a coroutine waits, and then once more for each of them, dying there. The tests take a few of
the places; `make crash` takes all.
"""

import os

import pytest

from tests.robustness.deaths import Story, reported
from tests.robustness.living_world import living_world
from tests.robustness.mortal_process import Place
from tests.robustness.stories import STORIES
from tests.robustness.three_ledgers import differences

ALL = os.environ.get("CAAS_CRASH") == "all"
OCCURRENCES = 3 if ALL else 1
DEATHS_IN_A_TEST = 10**9 if ALL else 4


@pytest.mark.parametrize("name", STORIES)
async def test_whoever_dies_wherever_the_three_ledgers_agree(server_dsn: str, name: str) -> None:
    story = STORIES[name]
    places = await awaits_of(story, server_dsn)
    wrong: list[str] = []
    deaths = 0

    for place, occurrence in chosen(places):
        async with living_world(server_dsn) as world:
            end = await reported(story, world, dies_at=(place, occurrence))
            found = end.wrong + await differences(world, cases=story.cases)
        deaths += end.died
        wrong += [f"dead at {shown(place)} #{occurrence}: {one}" for one in found]

    assert "\n".join(wrong) == ""
    assert deaths > 0


async def awaits_of(story: Story, server_dsn: str) -> list[tuple[Place, int]]:
    """Live the story to its end and return every await with how often it was resumed."""
    async with living_world(server_dsn) as world:
        end = await reported(story, world)
        found = end.wrong + await differences(world, cases=story.cases)
    assert (found, end.died) == ([], False), "the story itself ends well"
    return list(end.awaits.items())


def chosen(places: list[tuple[Place, int]]) -> list[tuple[Place, int]]:
    """Take every await, or an even few of them, each at its first occurrences."""
    deaths = [
        (place, occurrence)
        for place, times in places
        for occurrence in range(1, min(times, OCCURRENCES) + 1)
    ]
    return deaths[:: max(1, -(-len(deaths) // DEATHS_IN_A_TEST))]


def shown(place: Place) -> str:
    """Write a place down for a person."""
    return " > ".join(f"{file}:{line}" for file, line in place[-4:])
