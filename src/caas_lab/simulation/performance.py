"""A whole simulation: draw the plan, live it wave by wave, end a month, judge.

Rule a change must keep: it is clean only if nothing at all was found.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from caas.rules.mes_vencido import Month
from caas.settings import data_dir
from caas_lab.demo import our_platform
from caas_lab.demo.stage import Stage
from caas_lab.simulation import judging
from caas_lab.simulation.living import Life
from caas_lab.simulation.plan import Fault, Plan, Wave

MADRID = ZoneInfo("Europe/Madrid")
AFTER_MIDNIGHT_SECONDS = 60


@dataclass(slots=True)
class Outcome:
    """What was lived and what was found; `payments` by type and state."""

    plan: Plan
    payments: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


async def simulate(
    plan: Plan, environment: Mapping[str, str], *, says: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Live a plan on a platform of its own and judge it; `says` hears how far it is.

    Raises:
        StartupError: the platform cannot be set up; the sentence says why.
    """
    folder = data_dir(environment) / "simulation"
    async with our_platform.standing({**environment, "CAAS_DATA_DIR": str(folder)}) as stage:
        return await lived(plan, stage, says=says)


async def lived(plan: Plan, stage: Stage, *, says: Callable[[str], None]) -> Outcome:
    """Live a plan on this stage and judge it."""
    life, outcome = Life(stage), Outcome(plan)
    await life.offer()
    for number, wave in enumerate(plan.waves, 1):
        says(f"wave {number} of {len(plan.waves)}")
        await _wave(life, wave)
    await judging.heal(stage, life.cars)
    says("the world is well again")
    outcome.findings += await judging.rest(stage)
    outcome.findings += await judging.cars_agree(stage, life.cars)
    outcome.findings += await judging.left_to_former_owners(stage, life.resold)
    says("the month ends")
    await _month_ends(life)
    outcome.findings += life.findings
    outcome.findings += await judging.rest(stage)
    outcome.findings += await judging.verdict(stage)
    assert stage.records is not None, "a simulation plays on its own platform"
    outcome.payments.update(f"{it.type} {it.state}" for it in await stage.records.payments())
    return outcome


async def _wave(life: Life, wave: Wave) -> None:
    for fault in wave.faults:
        await _script(life.stage, fault)
    ends = await asyncio.gather(
        *(life.live(story) for story in wave.stories), return_exceptions=True
    )
    for story, end in zip(wave.stories, ends, strict=True):
        if end is not None:
            life.findings.append(f"{story}: broke off: {type(end).__name__}: {end}")
    await life.stage.gateway.goes_well()
    await life.stage.partners.goes_well()


async def _script(stage: Stage, fault: Fault) -> None:
    plane = stage.partners if fault.where == "partners" else stage.gateway
    match = {"operation": fault.operation, "times": fault.times}
    await plane.goes_wrong(match, **{fault.action: fault.value})


async def _month_ends(life: Life) -> None:
    """Let the calendar leap behind the month's end, and bill it twice at once."""
    stage = life.stage
    month = Month.containing(stage.now(), MADRID)
    end = month.interval(MADRID).end
    to_wait = int((end - stage.now()).total_seconds()) + AFTER_MIDNIGHT_SECONDS
    await stage.advance_clock(to_wait)
    await life.bill(str(month))
