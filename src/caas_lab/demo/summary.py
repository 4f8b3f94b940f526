"""The summary of a demonstration: integrity checks, three ledgers side by side, all scenarios.

Rules a change must keep: the exit status follows from what is printed here and from nothing else.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from caas_lab.demo.final_checks import Comparison
from caas_lab.demo.printing import INDENT, Printer, mark
from caas_lab.demo.scenario import Arrow, ScenarioResult


class IntegrityCheck(msgspec.Struct, frozen=True):
    """An integrity check of the whole database, and how many rows violate it."""

    sentence: str
    broken: int


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """The results of all scenarios, and of the checks at the end."""

    scale: float
    results: list[ScenarioResult] = msgspec.field(default_factory=list)
    checks: list[IntegrityCheck] = msgspec.field(default_factory=list)
    comparisons: list[Comparison] = msgspec.field(default_factory=list)
    errors: list[str] = msgspec.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every scenario passed, every check holds and the ledgers agree."""
        return (
            bool(self.results)
            and all(result.ok for result in self.results)
            and not any(check.broken for check in self.checks)
            and all(it.agrees for it in self.comparisons)
            and not self.errors
        )


def print_summary(printer: Printer, outcome: DemoResult) -> None:
    """Print the checks, the ledgers and one line for each scenario."""
    printer.section("Integrity checks of the Billing Database")
    printer.print(Padding(_integrity_checks(outcome.checks), (0, 0, 0, INDENT)))
    if outcome.comparisons:
        printer.section("Three ledgers side by side")
        printer.print(Padding(_comparisons(outcome.comparisons), (0, 0, 0, INDENT)))
    differences = [line for it in outcome.comparisons for line in it.differences]
    printer.print(*(Padding(Text(line, style="red"), (0, 0, 0, INDENT)) for line in differences))
    if outcome.errors:
        printer.section("Unexpected errors in the platform's log")
        printer.print(*(Padding(Text(it, style="red"), (0, 0, 0, INDENT)) for it in outcome.errors))
    printer.section("All scenarios (money in EUR)")
    printer.print(_scenarios(outcome.results))
    good = sum(result.ok for result in outcome.results)
    verdict = f"{good} of {len(outcome.results)} scenarios passed; "
    broken = sum(check.broken > 0 for check in outcome.checks)
    verdict += f"{broken} integrity checks fail; " if broken else "every integrity check holds; "
    verdict += _of_comparisons(outcome.comparisons)
    verdict += " The platform logged unexpected errors." if outcome.errors else ""
    printer.print(Text(f"\n{verdict}", style="bold" if outcome.ok else "bold red"))


def _of_comparisons(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return "the ledgers were not compared."
    return "the ledgers agree." if all(it.agrees for it in comparisons) else "the ledgers differ."


def as_data(outcome: DemoResult) -> dict[str, Any]:
    """Return everything that is printed, as plain data."""
    return {
        "ok": outcome.ok,
        "time_scale": outcome.scale,
        "scenarios": [_result_data(result) for result in outcome.results],
        "errors": outcome.errors,
        "integrity_checks": [
            {"sentence": it.sentence, "broken": it.broken} for it in outcome.checks
        ],
        "ledgers": [
            {
                "what": it.what, "outside": it.theirs, "ours": it.ours, "ledger": it.ledger,
                "agrees": it.agrees, "differences": list(it.differences),
            }
            for it in outcome.comparisons
        ],
    }  # fmt: skip


def _result_data(result: ScenarioResult) -> dict[str, Any]:
    return {
        "name": result.scenario.name,
        "title": result.scenario.title,
        "rule": result.scenario.rule,
        "description": result.scenario.text,
        "expected_end": result.scenario.expected_end,
        "seen": result.seen,
        "money": result.money,
        "ok": result.ok,
        "timeline": [_arrow_data(result, arrow) for arrow in result.arrows],
        "expectations": [
            {"what": it.what, "expected": it.expected, "seen": it.seen, "holds": it.holds}
            for it in result.expectations
        ],
    }


def _arrow_data(result: ScenarioResult, arrow: Arrow) -> dict[str, Any]:
    return {
        "seconds": round(result.seconds_into(arrow.at), 1),
        "from": arrow.who,
        "to": arrow.whom,
        "arrow": arrow.what,
        "changes": list(arrow.changes),
    }


def _integrity_checks(checks: Sequence[IntegrityCheck]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for check in checks:
        line = (
            check.sentence
            if not check.broken
            else f"{check.sentence} {check.broken} rows violate it."
        )
        table.add_row(mark(holds=not check.broken), Text(line))
    return table


def _comparisons(comparisons: Sequence[Comparison]) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row("", "", *(Text(it, style="dim") for it in (
        "gateway or vehicles", "our payments", "our ledger")))  # fmt: skip
    for it in comparisons:
        table.add_row(mark(holds=it.agrees), it.what, it.theirs, it.ours, it.ledger)
    return table


def _scenarios(results: Sequence[ScenarioResult]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for width, justify in ((3, "right"), (22, "left"), (29, "left"), (12, "left"), (21, "left")):
        table.add_column(width=width, justify=justify, overflow="fold")  # type: ignore[arg-type]
    heads = ("", "scenario", "expected end", "seen", "money", "")
    table.add_row(*(Text(head, style="dim") for head in heads))
    for number, result in enumerate(results, start=1):
        table.add_row(
            str(number), result.scenario.name, result.scenario.expected_end, result.seen,
            result.money.replace(", ", "\n"), mark(holds=result.ok),
        )  # fmt: skip
    return table
