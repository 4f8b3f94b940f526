"""`caas simulate`: what a seed draws, lived and judged, and what its end says.

Rule a change must keep: a seed that found something is told with the command that lives it again.
"""

import secrets
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from caas import process_environment, simulation
from caas.commands import FINDINGS, INTERRUPTED, end_in_order, run_command

SEEDS: Final = 1_000_000
SEED_MAX: Final = 2**62
STORIES_MAX: Final = 100_000
ROUNDS_MAX: Final = 100_000


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
    first = secrets.randbelow(SEEDS) if seed is None else seed
    plans = [simulation.drawn(number, stories) for number in range(first, first + rounds)]
    if plan:
        for drawn in plans:
            typer.echo("\n".join((f"seed {drawn.seed}", *drawn.lines())))
        return
    run_command(_lived(plans), when_stopped=INTERRUPTED)


async def _lived(plans: Sequence[simulation.Plan]) -> None:
    end_in_order()
    outcomes = [await _told(plan) for plan in plans]
    if not all(outcome.clean for outcome in outcomes):
        raise typer.Exit(FINDINGS)


async def _told(plan: simulation.Plan) -> simulation.Outcome:
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
