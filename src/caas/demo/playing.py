"""Plays the scenes, one after the other, and keeps the story of each.

A scene that only waits lets the next one begin; the stories stay in their order.

Rules a change must keep: a scene that breaks off is a failed scene, and the others are played all
the same; faults that a scene scripted do not reach the next one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from caas import app
from caas.demo import telling
from caas.demo.play import Play
from caas.demo.stage import Stage
from caas.demo.story import Need, Scene, Story


async def played(
    stage: Stage, scenes: Sequence[Scene], *, begins: Callable[[Scene], None]
) -> AsyncIterator[Story]:
    """Play the scenes; yield each story when it and all before it have ended."""
    running: list[tuple[Play, asyncio.Task[None]]] = []
    try:
        for scene in scenes:
            begins(scene)
            play = Play(stage, Story(scene, app.now(), stage.scale))
            task = asyncio.create_task(_played(play))
            running.append((play, task))
            await _ended_or_waiting(play, task)
            if Need.STRINGS in scene.needs:
                await stage.gateway.goes_well()
                await stage.partners.goes_well()
            while running and running[0][1].done():
                yield running.pop(0)[0].story
        for play, task in running:
            await task
            yield play.story
    finally:
        for _, task in running:
            task.cancel()


async def _ended_or_waiting(play: Play, task: "asyncio.Task[None]") -> None:
    waiting = asyncio.create_task(play.waiting.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting


async def _played(play: Play) -> None:
    try:
        await play.story.scene.plays(play)
    except Exception as error:  # noqa: BLE001  # a broken scene is a failed scene
        play.story.broke_off = f"{type(error).__name__}: {error}"
    try:
        await telling.tell(play)
    except Exception as error:  # noqa: BLE001  # a story that cannot be told is a failed scene
        play.story.broke_off = play.story.broke_off or f"{type(error).__name__}: {error}"
