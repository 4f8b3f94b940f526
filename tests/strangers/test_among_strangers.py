"""A gateway, a fleet and partners written by somebody else, connected by settings alone.

What the interface leaves open they do differently: ids and times of another shape, nulls or
nothing, webhooks before the answer and under message ids of their own, no lookup beyond what was
agreed. Before, the platform did not even start with them: it wanted a 404 in words of its own.
"""

import asyncio
from pathlib import Path

from tests.strangers.stories import STORIES, the_day_is_reconciled
from tests.strangers.world import World


async def test_among_strangers_every_story_ends_as_the_seed_says(
    world: World, tmp_path: Path
) -> None:
    ends = await asyncio.gather(*(story(world) for story in STORIES), return_exceptions=True)

    failed = {
        story.__name__: repr(end)
        for story, end in zip(STORIES, ends, strict=True)
        if isinstance(end, BaseException)
    }
    assert failed == {}, world.gateway.refused
    assert world.gateway.refused == []
    await the_day_is_reconciled(world, tmp_path / "report.csv")
