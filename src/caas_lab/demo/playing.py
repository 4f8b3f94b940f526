"""Plays the scenes, one after the other, and keeps the story of each.

What takes long begins first and is told in its place: while it waits, the others are played.

Rules a change must keep: a scene that breaks off is a failed scene, and the others are played all
the same; faults that a scene scripted do not reach the next one; nothing waits for an hour while
the calendar leaps.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from caas_lab.demo import narration
from caas_lab.demo.play import Play
from caas_lab.demo.stage import Stage
from caas_lab.demo.story import Need, Scene, Story

Running = tuple[Play, "asyncio.Task[None]"]


async def played(
    stage: Stage, scenes: Sequence[Scene], *, begins: Callable[[Scene], None]
) -> AsyncIterator[Story]:
    """Play the scenes; yield each story in the order of the scenes."""
    running: dict[str, Running] = {}
    try:
        for scene in scenes:
            if scene.takes_long:
                running[scene.name] = await _begun(stage, scene)
        for scene in scenes:
            begins(scene)
            if Need.CALENDAR in scene.needs:
                await asyncio.gather(*(task for _, task in running.values()))
            if scene.name not in running:
                running[scene.name] = await _begun(stage, scene)
            play, task = running[scene.name]
            await task
            yield play.story
    finally:
        for _, task in running.values():
            task.cancel()


async def _begun(stage: Stage, scene: Scene) -> Running:
    """Play a scene until it has ended, or only waits; take its faults back."""
    play = Play(stage, Story(scene, stage.now(), stage.scale))
    task = asyncio.create_task(_played(play))
    waiting = asyncio.create_task(play.waiting.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    if Need.STRINGS in scene.needs:
        await stage.gateway.goes_well()
        await stage.partners.goes_well()
    return play, task


async def _played(play: Play) -> None:
    try:
        await play.story.scene.plays(play)
    except Exception as error:  # noqa: BLE001  # a broken scene is a failed scene
        play.story.broke_off = f"{type(error).__name__}: {error}"
    try:
        await narration.narrate(play)
    except Exception as error:  # noqa: BLE001  # a story that cannot be told is a failed scene
        play.story.broke_off = play.story.broke_off or f"{type(error).__name__}: {error}"
