"""A process lives a story until it dies, and another one ends it.

Rules: whatever the first did not live to do, its heir does from jobs alone; the caller who
got no answer asks again with the same key, as callers must; time passes by the database's clock.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from caas.platform import Platform
from tests.robustness.living_world import LivingWorld, Process
from tests.robustness.mortal_process import DeadError, Place

ROUNDS_MAX = 400
MOMENTS_MAX = 40
QUIET_SECONDS = 0.004
IN_FLIGHT_SECONDS = 61.0


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to live through, and what the world looks like when all is done.

    `cases` are those that the story leaves for a person even when nobody dies.
    """

    name: str
    prepare: Callable[[LivingWorld, Process], Awaitable[Any]]
    live: Callable[[Platform, Any], Awaitable[object]]
    ends: Callable[[LivingWorld, Any], Awaitable[list[str]]]
    cases: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reported:
    """How often the process resumed each await, whether it died, and what is wrong."""

    awaits: "Counter[Place]"
    died: bool
    wrong: list[str]


async def reported(
    story: Story, world: LivingWorld, *, dies_at: tuple[Place, int] | None = None
) -> Reported:
    """Let one process live the story until it dies, and another end it; say what came of it."""
    process = await world.process()
    subject = await story.prepare(world, process)
    process.note_awaits(dies_at=dies_at)
    try:
        await process.call(lambda: _lived(story, process.platform, subject))
        await until_quiet(world, process)
    except DeadError:
        pass
    awaits, died = process.awaits, process.dead
    await process.kill()
    heir = await world.process()
    await until_quiet(world, heir)
    await world.pass_time(IN_FLIGHT_SECONDS)
    await heir.call(lambda: story.live(heir.platform, subject))
    await until_quiet(world, heir)
    wrong = await story.ends(world, subject)
    await heir.stop()
    return Reported(awaits, died, wrong)


async def _lived(story: Story, platform: Platform, subject: object) -> None:
    await story.live(platform, subject)
    for _ in range(MOMENTS_MAX):
        if not await platform.jobs.run_due():
            await asyncio.sleep(QUIET_SECONDS)


async def until_quiet(world: LivingWorld, process: Process) -> None:
    """Let a process work, time pass and the bank answer, until nothing is left to do."""
    for _ in range(ROUNDS_MAX):
        if await process.call(process.platform.jobs.run_due):
            continue
        await process.idle(QUIET_SECONDS)
        wait = await world.until_next_due()
        if wait is None:
            return
        if wait > 1.0:
            await world.gateway("POST", "settle")
        if wait > 0:
            await world.pass_time(wait)
    raise AssertionError("it never grew quiet")
