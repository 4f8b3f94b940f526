"""The demonstration: start a testbed, run the scenarios, check the platform, print the results.

A slow scenario starts first and is printed in its place; the others run while it waits.

Rules a change must keep: the demonstration succeeds only if every scenario passes, every integrity
check holds and the ledgers agree; a scenario that raises has failed, and the others still run; the
faults of one scenario do not reach the next; nothing waits while the platform's clock is moved.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec
from rich.text import Text

from caas.errors import NotFoundError
from caas_lab.demo import (
    final_checks,
    fixtures,
    narration,
    own_platform,
    printing,
    running_platform,
    summary,
)
from caas_lab.demo.printing import Printer
from caas_lab.demo.scenario import Need, Scenario, ScenarioResult
from caas_lab.demo.scenario_run import ScenarioRun
from caas_lab.demo.scenarios import SCENARIOS, SHORT
from caas_lab.demo.summary import DemoResult, IntegrityCheck
from caas_lab.demo.testbed import Testbed

RETRY_WAITS: Final = (2, 4, 8)
Started = tuple[ScenarioRun, "asyncio.Task[None]"]


class NoSuchScenarioError(NotFoundError):
    """No scenario has this name."""

    code = "no_such_scenario"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Which scenarios to run, on which platform; `quiet` prints nothing."""

    short: bool = False
    only: Sequence[str] = ()
    against: str | None = None
    quiet: bool = False


async def run_demo(options: Options, environment: Mapping[str, str]) -> DemoResult:
    """Run the selected scenarios, print them unless quiet, and return what was found.

    Raises:
        NoSuchScenarioError: no scenario has one of the names.
        StartupError: the testbed cannot be started.
    """
    scenarios = select_scenarios(options)
    printer = Printer()
    async with _testbed(options, environment) as testbed:
        runnable = [it for it in scenarios if it.needs <= testbed.provides]
        if not options.quiet:
            _print_opening(printer, options, testbed, len(runnable), len(scenarios))
            printing.print_contents(printer, runnable)
        await fixtures.offer_heated_seats(testbed)
        outcome = DemoResult(scale=testbed.scale)
        async for result in _results(testbed, runnable, on_start=printer.show_progress):
            outcome.results.append(result)
            if not options.quiet:
                printing.print_result(printer, len(outcome.results), result)
        outcome.comparisons.extend(await final_checks.compare_ledgers(testbed))
        outcome.checks.extend(await _integrity_checks(testbed))
        outcome.errors.extend(final_checks.unexpected_errors(testbed.log))
    if not options.quiet:
        summary.print_summary(printer, outcome)
    return outcome


def select_scenarios(options: Options) -> list[Scenario]:
    """Return the scenarios to run, all when none is named.

    Raises:
        NoSuchScenarioError: no scenario has one of the names.
    """
    every = [scenario.name for scenario in SCENARIOS]
    unknown = sorted(set(options.only) - set(every))
    if unknown:
        raise NoSuchScenarioError(
            f"There is no scenario '{unknown[0]}'. './caas demo --list' names them."
        )
    names = options.only or (SHORT if options.short else every)
    return [scenario for scenario in SCENARIOS if scenario.name in names]


def _testbed(
    options: Options, environment: Mapping[str, str]
) -> AbstractAsyncContextManager[Testbed]:
    if options.against is None:
        return own_platform.started(environment)
    return running_platform.connected(options.against, environment)


async def _results(
    testbed: Testbed, scenarios: Sequence[Scenario], *, on_start: Callable[[Scenario], None]
) -> AsyncIterator[ScenarioResult]:
    """Run the scenarios; yield each result in the order of the scenarios."""
    started: dict[str, Started] = {}
    try:
        for scenario in scenarios:
            if scenario.is_slow:
                started[scenario.name] = await _start(testbed, scenario)
        for scenario in scenarios:
            on_start(scenario)
            if Need.CLOCK in scenario.needs:
                await asyncio.gather(*(task for _, task in started.values()))
            if scenario.name not in started:
                started[scenario.name] = await _start(testbed, scenario)
            run, task = started[scenario.name]
            await task
            yield run.result
    finally:
        for _, task in started.values():
            task.cancel()


async def _start(testbed: Testbed, scenario: Scenario) -> Started:
    """Run a scenario until it ends, or only waits from there on; then clear its faults."""
    run = ScenarioRun(testbed, ScenarioResult(scenario, testbed.now(), testbed.scale))
    task = asyncio.create_task(_run(run))
    waiting = asyncio.create_task(run.waiting.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    if Need.CONTROL_PLANES in scenario.needs:
        await testbed.gateway.clear_faults()
        await testbed.partners.clear_faults()
    return run, task


async def _run(run: ScenarioRun) -> None:
    for step in (run.result.scenario.steps, narration.narrate):
        try:
            await step(run)
        except Exception as error:  # noqa: BLE001  # whatever it raises, the scenario has failed
            run.result.broke_off = run.result.broke_off or f"{type(error).__name__}: {error}"


def _print_opening(
    printer: Printer, options: Options, testbed: Testbed, runnable: int, selected: int
) -> None:
    scenarios = "1 scenario" if runnable == 1 else f"{runnable} scenarios"
    where = (
        "a complete platform: API on a socket, worker and PostgreSQL, with the payment gateway, "
        "the order partners and the vehicles simulated in processes of their own"
        if options.against is None
        else f"the platform at {options.against}"
    )
    printer.print(
        Text("CaaS: the payment side of Car as a Service", style="bold"),
        Text(
            f"\nRuns {scenarios} against {where}. Each timeline comes from the platform's audit "
            "trail: who sent what to whom, and what it changed. The checks below it compare what "
            "the specification expects with what each party itself reports."
        ),
        Text(f"\n{_speed(testbed)}"),
        Text("\nA ledger line reads: amount, account debited / account credited."),
    )
    if runnable < selected:
        printer.print(Text(f"\n{selected - runnable} of {selected} scenarios cannot run here."))


def _speed(testbed: Testbed) -> str:
    """Describe how fast time passes, and what that makes of the gateway's retry waits."""
    if Need.FAST_TIME not in testbed.provides:
        return "Time runs at normal speed; scenarios with long waits are left out."
    waits = ", ".join(f"{wait * 1000 / testbed.scale:g} ms" for wait in RETRY_WAITS)
    return (
        f"Time runs {testbed.scale:g} times as fast: the gateway's retry waits of 2, 4 and 8 s "
        f"last {waits}. The clock on the left shows the scenario's time."
    )


async def _integrity_checks(testbed: Testbed) -> list[IntegrityCheck]:
    found = await testbed.integrity_checks()
    return [IntegrityCheck(sentence, broken) for _, sentence, broken in found]
