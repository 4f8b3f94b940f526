"""Runs a simulation: the waves, the end of a month, and the verdict.

Rule a change must keep: any finding makes the outcome unclean.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from zoneinfo import ZoneInfo

import msgspec

from caas.rules.mes_vencido import Month
from caas.settings import data_dir
from caas_lab.demo import own_platform
from caas_lab.demo.testbed import Testbed
from caas_lab.simulation import verdict
from caas_lab.simulation.plan import Fault, Plan, Wave
from caas_lab.simulation.workload import Workload

MADRID = ZoneInfo("Europe/Madrid")
AFTER_MIDNIGHT_SECONDS = 60


class Outcome(msgspec.Struct):
    """What was run and what was found; `payments` by type and state."""

    plan: Plan
    payments: Counter[str] = msgspec.field(default_factory=Counter)
    findings: list[str] = msgspec.field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Return whether nothing was found."""
        return not self.findings


async def simulate(
    plan: Plan, environment: Mapping[str, str], *, report: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Run a plan on a platform of its own; `report` gets a line at each stage.

    Raises:
        StartupError: the platform cannot start.
    """
    folder = data_dir(environment) / "simulation"
    async with own_platform.started({**environment, "CAAS_DATA_DIR": str(folder)}) as testbed:
        return await run_plan(plan, testbed, report=report)


async def run_plan(plan: Plan, testbed: Testbed, *, report: Callable[[str], None]) -> Outcome:
    """Run a plan on this testbed."""
    workload, outcome = Workload(testbed), Outcome(plan)
    await workload.add_services()
    for number, wave in enumerate(plan.waves, 1):
        report(f"wave {number} of {len(plan.waves)}")
        await _wave(workload, wave)
    await verdict.restore(testbed, workload.cars)
    report("all faults are cleared")
    outcome.findings += await verdict.wait_for_rest(testbed)
    outcome.findings += await verdict.cars_agree(testbed, workload.cars)
    outcome.findings += await verdict.left_to_former_owners(testbed, workload.resold)
    report("the month ends")
    await _month_ends(workload)
    outcome.findings += workload.findings
    outcome.findings += await verdict.wait_for_rest(testbed)
    outcome.findings += await verdict.database_findings(testbed)
    assert testbed.records is not None, "a simulation runs on its own platform"
    outcome.payments.update(f"{it.type} {it.state}" for it in await testbed.records.payments())
    return outcome


async def _wave(workload: Workload, wave: Wave) -> None:
    for fault in wave.faults:
        await _script(workload.testbed, fault)
    ends = await asyncio.gather(
        *(workload.run(story) for story in wave.stories), return_exceptions=True
    )
    for story, end in zip(wave.stories, ends, strict=True):
        if end is not None:
            workload.findings.append(f"{story}: broke off: {type(end).__name__}: {end}")
    await workload.testbed.gateway.clear_faults()
    await workload.testbed.partners.clear_faults()


async def _script(testbed: Testbed, fault: Fault) -> None:
    plane = testbed.partners if fault.where == "partners" else testbed.gateway
    match = {"operation": fault.operation, "times": fault.times}
    await plane.inject_fault(match, **{fault.action: fault.value})


async def _month_ends(workload: Workload) -> None:
    """Move the clock past the end of the month, and bill it twice at once."""
    testbed = workload.testbed
    month = Month.containing(testbed.now(), MADRID)
    end = month.interval(MADRID).end
    to_wait = int((end - testbed.now()).total_seconds()) + AFTER_MIDNIGHT_SECONDS
    await testbed.advance_clock(to_wait)
    await workload.bill(str(month))
