"""A whole demonstration: set the stage, play the scenes, check laws and books, sum up.

Rules a change must keep: it succeeds only if every scene ended as the seed says, every law holds
and the books agree; whatever happens, the stage is taken down.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from rich.text import Text

from caas.errors import NotFoundError
from caas_lab.demo import (
    cast,
    ledgers,
    our_platform,
    playing,
    printing,
    summary,
    their_platform,
)
from caas_lab.demo.calls import done
from caas_lab.demo.own_log import unexpected_errors
from caas_lab.demo.printing import Paper
from caas_lab.demo.scenarios import SCENES, SHORT
from caas_lab.demo.stage import Stage
from caas_lab.demo.story import Need, Scene
from caas_lab.demo.summary import Law, Performance

RETRY_WAITS: Final = (2, 4, 8)


class NoSuchSceneError(NotFoundError):
    """There is no scene of this name."""

    code = "no_such_scene"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be played: some scenes, the short form or all; on our platform or another."""

    short: bool = False
    only: Sequence[str] = ()
    against: str | None = None
    quietly: bool = False


async def perform(wish: Wish, environment: Mapping[str, str]) -> Performance:
    """Play what is wished for, printing it unless quietly; return what was found.

    Raises:
        NoSuchSceneError: there is none of a name.
        StartupError: the stage cannot be set.
    """
    scenes = chosen(wish)
    paper = Paper()
    async with _stage(wish, environment) as our_stage:
        playable = [scene for scene in scenes if scene.needs <= our_stage.offers]
        if not wish.quietly:
            _print_opening(paper, wish, our_stage, len(playable), len(scenes) - len(playable))
            printing.print_contents(paper, playable)
        await cast.heated_seats_on_offer(our_stage)
        performance = Performance(scale=our_stage.scale)
        async for story in playing.played(our_stage, playable, begins=paper.whisper_of):
            performance.stories.append(story)
            if not wish.quietly:
                printing.print_story(paper, len(performance.stories), story)
        performance.books.extend(await ledgers.compared(our_stage))
        performance.laws.extend(await _laws(our_stage))
        performance.errors.extend(unexpected_errors(our_stage.log))
    if not wish.quietly:
        summary.print_summary(paper, performance)
    return performance


def chosen(wish: Wish) -> list[Scene]:
    """Return the scenes that are wished for, all when none is named.

    Raises:
        NoSuchSceneError: there is none of a name.
    """
    unknown = sorted(set(wish.only) - {scene.name for scene in SCENES})
    if unknown:
        raise NoSuchSceneError(
            f"There is no scene '{unknown[0]}'. './caas demo --list' names them."
        )
    names = wish.only or (SHORT if wish.short else [scene.name for scene in SCENES])
    return [scene for scene in SCENES if scene.name in names]


def _stage(wish: Wish, environment: Mapping[str, str]) -> AbstractAsyncContextManager[Stage]:
    if wish.against is None:
        return our_platform.standing(environment)
    return their_platform.running(wish.against, environment)


def _print_opening(paper: Paper, wish: Wish, our_stage: Stage, played: int, left_out: int) -> None:
    scenes = "1 scene" if played == 1 else f"{played} scenes"
    where = (
        "a platform that is really running: API on a socket, worker, PostgreSQL, and gateway, "
        "order partners and cars in processes of their own"
        if wish.against is None
        else f"the platform at {wish.against}"
    )
    paper.put(
        Text("CaaS: the payment side of Car as a Service, at work", style="bold"),
        Text(
            f"\n{scenes}, played against {where}. Each scene shows who said what to whom, what it "
            "changed, and then what the seed expects, asked of each party for itself."
        ),
        Text(f"\n{_pace(our_stage)}"),
        Text("\nA ledger line reads: amount, account debited / account credited."),
    )
    if left_out:
        paper.put(Text(f"\nOf all scenes {left_out} cannot be played here."))


def _pace(our_stage: Stage) -> str:
    """Say how fast time passes, and what that makes of the seed's waits."""
    if Need.FAST_TIME not in our_stage.offers:
        return "Time runs as always, so that only scenes without long waits are played."
    waits = ", ".join(f"{wait * 1000 / our_stage.scale:g} ms" for wait in RETRY_WAITS)
    return (
        f"Time runs {our_stage.scale:g} times as fast: the gateway's retry waits of 2, 4 and 8 s "
        f"last {waits}, and the clock on the left shows the story's time."
    )


async def _laws(our_stage: Stage) -> list[Law]:
    told = done(await our_stage.platform.get("/v1/self-check", scope="operations"), "self-check")
    return [Law(law["sentence"], law["broken"]) for law in told["invariants"]]
