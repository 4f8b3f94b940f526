"""Prints the cases and results of a conformance run, for people and as JSON."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import typer

from caas.cli.commands import FINDINGS, print_json
from caas_lab.conformance.cases import Case, CaseResult, ConformanceReport, Verdict

Subject = TypeVar("Subject")
NOT_SHOWN = (Verdict.FAILED, Verdict.NOT_TRIED)
"""Verdicts with which conformance is not shown."""


def selected(cases: Sequence[Case[Subject]], only: Sequence[str]) -> list[Case[Subject]]:
    """Return the cases with these names, or all.

    Raises:
        BadParameter: there is no such case.
    """
    unknown = sorted(set(only) - {case.name for case in cases})
    if unknown:
        raise typer.BadParameter(
            f"there is no case {unknown[0]}; --list lists them", param_hint="--only"
        )
    return [case for case in cases if not only or case.name in only]


def print_cases(cases: Sequence[Case[Any]]) -> None:
    """Print the cases with what they require."""
    for case in cases:
        typer.echo(f"{case.name}\n    {case.requirement}")


def reporter(*, quiet: bool) -> Callable[[CaseResult], None]:
    """Return what prints each result as it comes, or nothing."""
    return (lambda _result: None) if quiet else _print_result


def conclude(report: ConformanceReport, *, as_json: bool) -> None:
    """Print what a run found.

    Raises:
        Exit: with the status of findings, unless every case passed or is excused.
    """
    counts = Counter(case.verdict for case in report.cases)
    conforms = not any(counts[verdict] for verdict in NOT_SHOWN)
    if as_json:
        print_json({
            "about": report.about, "conforms": conforms, "capabilities": report.capabilities,
            "counts": {verdict: counts[verdict] for verdict in Verdict}, "cases": report.cases,
        })  # fmt: skip
    else:
        reported = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)
        typer.echo(f"\n{report.about} {_what_it_does(counts)}: {reported}.")
    if not conforms:
        raise typer.Exit(FINDINGS)


def _what_it_does(counts: Counter[Verdict]) -> str:
    """Return the verdict in words; what was not tried is not known."""
    if counts[Verdict.FAILED]:
        return "does not conform"
    return "was not tried as a whole" if counts[Verdict.NOT_TRIED] else "conforms"


def _print_result(result: CaseResult) -> None:
    typer.echo(f"{result.verdict:>9}  {result.name.replace('_', ' ')}")
    if result.verdict is Verdict.FAILED:
        typer.echo(f"           {result.requirement}")
    if result.reason:
        typer.echo(f"           {result.reason}")
