"""`python -m caas_lab COMMAND`: the platform's commands, and those of the lab beside them.

Rules a change must keep: the lab adds commands and changes none; a simulation that finds something
prints the command that runs it again.
"""

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from caas import process_environment
from caas.cli import main, program
from caas.commands import FINDINGS, INTERRUPTED, AsJson, end_in_order, print_json, run_command

if TYPE_CHECKING:
    from caas_lab.simulation import Outcome, Plan

__all__ = ["main", "program"]

COUNT_MAX: Final = 10_000
SEEDS: Final = 1_000_000
SEED_MAX: Final = 2**62
STORIES_MAX: Final = 100_000
ROUNDS_MAX: Final = 100_000


@program.command()
def demo(
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Play this scene; repeat for more.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="URL", help="Play on a platform that is running.")
    ] = None,
    *,
    short: Annotated[
        bool, typer.Option("--short", help="Only each payment type, paid and failed.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="Say which scenes there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play every flow and every failure; exit status 1 unless all end as they should."""
    if short and only:
        raise typer.BadParameter("choose the scenes, or the short form", param_hint="--only")
    from caas_lab import demo as stage

    async def play() -> None:
        end_in_order()
        performance = await stage.perform(wish, process_environment.environment())
        if as_json:
            print_json(stage.as_data(performance))
        if not performance.ok:
            raise typer.Exit(FINDINGS)

    wish = stage.Wish(only=only or (), short=short, against=against, quietly=as_json)
    try:
        scenes = stage.chosen(wish)
    except stage.NoSuchSceneError as error:
        raise typer.BadParameter(error.sentence, param_hint="--only") from error
    if listed:
        stage.print_scenes(stage.Paper(), scenes)
    else:
        run_command(play(), when_stopped=INTERRUPTED)


@program.command()
def bench(
    only: Annotated[
        list[str] | None, typer.Option(metavar="GOAL", help="P1, P2, ...; repeat for more.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=COUNT_MAX, help="Rounds, ours and the yardstick in turns.")
    ] = 5,
    seconds: Annotated[
        int, typer.Option(min=1, max=COUNT_MAX, help="Length of each measurement.")
    ] = 6,
    *,
    quick: Annotated[bool, typer.Option(help="Small sizes: to see that it runs.")] = False,
) -> None:
    """Measure the goals of docs/performance.md against the yardstick, on this machine."""
    from caas_lab import bench as measuring

    unknown = sorted(set(only or ()) - measuring.GOALS.keys())
    if unknown:
        there_are = f"there is no goal {unknown[0]}; there are: {', '.join(measuring.GOALS)}"
        raise typer.BadParameter(there_are, param_hint="--only")
    run_command(measuring.measure(only=only or (), rounds=rounds, seconds=seconds, quick=quick))


@program.command()
def simulate(
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=SEED_MAX, help="What everything is drawn from; left out, one is drawn."
        ),
    ] = None,
    stories: Annotated[
        int, typer.Option(min=1, max=STORIES_MAX, help="How many stories are lived.")
    ] = 25,
    rounds: Annotated[
        int, typer.Option(min=1, max=ROUNDS_MAX, help="So many seeds, one after the other.")
    ] = 1,
    *,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what the seed draws.")] = False,
) -> None:
    """Live what a seed draws, faults and all; exit status 1 when laws or books do not hold."""
    from caas_lab import simulation

    first = secrets.randbelow(SEEDS) if seed is None else seed
    plans = [simulation.drawn(number, stories) for number in range(first, first + rounds)]
    if plan:
        for drawn in plans:
            typer.echo("\n".join((f"seed {drawn.seed}", *drawn.lines())))
        return
    run_command(_lived(plans), when_stopped=INTERRUPTED)


async def _lived(plans: "Sequence[Plan]") -> None:
    end_in_order()
    outcomes = [await _told(plan) for plan in plans]
    if not all(outcome.clean for outcome in outcomes):
        raise typer.Exit(FINDINGS)


async def _told(plan: "Plan") -> "Outcome":
    from caas_lab import simulation

    typer.echo(f"seed {plan.seed}")
    outcome = await simulation.simulate(
        plan, process_environment.environment(), says=lambda what: typer.echo(f"  {what}", err=True)
    )
    lines = [f"{count:>6}  {what}" for what, count in sorted(outcome.payments.items())]
    lines += [f"    NO  {finding}" for finding in outcome.findings]
    lines.append("    ok  every payment at rest, every law holds, the books agree")
    if not outcome.clean:
        stories = sum(len(wave.stories) for wave in plan.waves)
        lines[-1] = f"  again with: ./caas simulate --seed {plan.seed} --stories {stories}"
    typer.echo("\n".join(lines))
    return outcome


if __name__ == "__main__":
    main()
