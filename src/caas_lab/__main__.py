"""`python -m caas_lab COMMAND`: the platform's commands, and those of the lab.

Rules a change must keep: the lab adds commands and changes none; a failed simulation prints the
command that reproduces it.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from caas import process_environment
from caas.cli import main, program
from caas.cli.commands import (
    FINDINGS,
    INTERRUPTED,
    AsJson,
    print_json,
    run_command,
    stop_on_sigterm,
)
from caas_lab.conformance.command import conform

if TYPE_CHECKING:
    from caas_lab.simulation.plan import Plan
    from caas_lab.simulation.runner import Outcome

__all__ = ["main", "program"]

COUNT_MAX: Final = 10_000
SEEDS: Final = 1_000_000
SEED_MAX: Final = 2**62
STORIES_MAX: Final = 100_000
FILL_MAX: Final = 100_000_000
ROUNDS_MAX: Final = 100_000


program.add_typer(conform, name="conform")


@program.command()
def demo(
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Run this scenario; repeat for more.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="URL", help="Run on a running platform.")
    ] = None,
    *,
    short: Annotated[
        bool, typer.Option("--short", help="Run each payment type only, paid and failed.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the scenarios and exit.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run every flow and every failure; exit with status 1 unless all of them pass."""
    if short and only:
        raise typer.BadParameter("choose scenarios, or the short form", param_hint="--only")
    from caas_lab.demo import printing, runner, summary

    async def run() -> None:
        stop_on_sigterm()
        outcome = await runner.run_demo(options, process_environment.environment())
        if as_json:
            print_json(summary.as_data(outcome))
        if not outcome.ok:
            raise typer.Exit(FINDINGS)

    options = runner.Options(only=only or (), short=short, against=against, quiet=as_json)
    try:
        scenarios = runner.select_scenarios(options)
    except runner.NoSuchScenarioError as error:
        raise typer.BadParameter(error.sentence, param_hint="--only") from error
    if listed:
        printing.print_scenarios(printing.Printer(), scenarios)
    else:
        run_command(run(), when_stopped=INTERRUPTED)


HistoryFile = Annotated[
    Path, typer.Option("--history", dir_okay=False, help="File to which results are appended.")
]
DrawnFile = Annotated[
    Path | None,
    typer.Option(dir_okay=False, metavar="FILE", help="Draw the history as SVG instead."),
]


@program.command()
def bench(  # noqa: PLR0913 - the options of the command, by name
    only: Annotated[
        list[str] | None, typer.Option(metavar="GOAL", help="P1, P2, ...; repeat for more.")
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(
            min=1, max=COUNT_MAX, help="Rounds; each measures the platform and the yardstick."
        ),
    ] = 5,
    seconds: Annotated[
        int, typer.Option(min=1, max=COUNT_MAX, help="Length of each measurement.")
    ] = 6,
    fill: Annotated[
        int | None,
        typer.Option(
            min=1, max=FILL_MAX, metavar="N", help="Make a database of N finished payments instead."
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(file_okay=False, help="Data folder of --fill.")] = Path(
        ".caas/filled"
    ),
    *,
    kept_in: HistoryFile = Path(".caas/benchmarks.jsonl"),
    draw: DrawnFile = None,
    quick: Annotated[bool, typer.Option(help="Measure with small sizes.")] = False,
) -> None:
    """Measure the goals of docs/performance.md against the yardstick, on this machine."""
    if draw is not None:
        _draw_history(kept_in, draw)
        return
    if fill is not None:
        from caas_lab.bench.fill import fill_folder

        run_command(fill_folder(folder.absolute(), fill), when_stopped=INTERRUPTED)
        return
    from caas_lab.bench import runner

    unknown = sorted(set(only or ()) - runner.GOALS.keys())
    if unknown:
        known = f"there is no goal {unknown[0]}; there are: {', '.join(runner.GOALS)}"
        raise typer.BadParameter(known, param_hint="--only")
    run_command(
        runner.measure(
            only=only or (), rounds=rounds, seconds=seconds, quick=quick,
            kept_in=None if quick else kept_in,
        )
    )  # fmt: skip


def _draw_history(kept_in: Path, drawn: Path) -> None:
    from caas_lab.bench import history

    try:
        results = history.read(kept_in)
    except ValueError as error:
        raise typer.BadParameter(
            f"{kept_in} has a line that is no result: {error}.", param_hint="--history"
        ) from error
    if not results:
        raise typer.BadParameter(
            f"{kept_in} has no results. Run './caas bench' first.", param_hint="--history"
        )
    drawn.write_text(history.chart(results), "utf-8")


@program.command()
def walk(
    folder: Annotated[
        Path, typer.Option(file_okay=False, exists=True, help="Data folder with payments.")
    ] = Path(".caas/filled"),
    rounds: Annotated[int, typer.Option(min=1, max=COUNT_MAX, help="Number of walks.")] = 3,
) -> None:
    """Request everything that can be read, with every filter, and print how long it takes."""
    from caas_lab.bench.walk_report import walk_folder

    run_command(walk_folder(folder.absolute(), rounds=rounds), when_stopped=INTERRUPTED)


@program.command()
def simulate(
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=SEED_MAX, help="Seed of the simulation; random by default."),
    ] = None,
    stories: Annotated[int, typer.Option(min=1, max=STORIES_MAX, help="Number of stories.")] = 25,
    rounds: Annotated[
        int, typer.Option(min=1, max=ROUNDS_MAX, help="Number of seeds, one after the other.")
    ] = 1,
    *,
    plan: Annotated[bool, typer.Option("--plan", help="Print the plan and exit.")] = False,
) -> None:
    """Run a randomized simulation with a fixed seed and injected faults.

    The exit status is 1 unless all payments come to rest and all checks hold.
    """
    from caas_lab.simulation.plan import draw_plan

    first = secrets.randbelow(SEEDS) if seed is None else seed
    plans = [draw_plan(number, stories) for number in range(first, first + rounds)]
    if plan:
        for one in plans:
            typer.echo("\n".join((f"seed {one.seed}", *one.lines())))
        return
    run_command(_run_all(plans), when_stopped=INTERRUPTED)


async def _run_all(plans: "Sequence[Plan]") -> None:
    stop_on_sigterm()
    outcomes = [await _run_one(plan) for plan in plans]
    if not all(outcome.clean for outcome in outcomes):
        raise typer.Exit(FINDINGS)


async def _run_one(plan: "Plan") -> "Outcome":
    from caas_lab.simulation import runner

    typer.echo(f"seed {plan.seed}")
    outcome = await runner.simulate(
        plan,
        process_environment.environment(),
        report=lambda what: typer.echo(f"  {what}", err=True),
    )
    lines = [f"{count:>6}  {what}" for what, count in sorted(outcome.payments.items())]
    lines += [f"    NO  {finding}" for finding in outcome.findings]
    lines.append("    ok  every payment is at rest, every integrity check holds, the ledgers agree")
    if not outcome.clean:
        stories = sum(len(wave.stories) for wave in plan.waves)
        lines[-1] = f"  reproduce with: ./caas simulate --seed {plan.seed} --stories {stories}"
    typer.echo("\n".join(lines))
    return outcome


if __name__ == "__main__":
    main()
