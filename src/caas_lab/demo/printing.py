"""Prints scenarios for readers new to the system, within a hundred columns.

Rules a change must keep: plain text and few colours, no ornament; a difference from the expectation
is stated in words; nothing is printed that is not in the result.
"""

import sys
from collections.abc import Sequence
from textwrap import wrap
from typing import Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from caas_lab.demo.scenario import Arrow, Expectation, Scenario, ScenarioResult

WIDTH: Final = 100
INDENT: Final = 4
CLOCK_WIDTH: Final = 5
BETWEEN_WIDTH: Final = 38
GAP: Final = 2
WHAT_WIDTH: Final = WIDTH - INDENT - CLOCK_WIDTH - BETWEEN_WIDTH - 2 * GAP
TITLE_WIDTH: Final = 60
ENDS_WIDTH: Final = WIDTH - INDENT - TITLE_WIDTH - 2 * GAP
WIPE: Final = "\r\x1b[K"
HOUR: Final = 3600
MINUTE: Final = 60
DAY: Final = 86_400


class Printer:
    """Prints to a terminal, or to a file without blanks at the ends of lines."""

    def __init__(self, out: Console | None = None) -> None:
        """Print to this console, or to standard output."""
        self._out = out or Console(highlight=False)
        if not self._out.is_terminal or self._out.width > WIDTH:
            self._out.width = WIDTH

    def print(self, *parts: RenderableType) -> None:
        """Print some parts, one below the other."""
        with self._out.capture() as printed:
            for part in parts:
                self._out.print(part)
        if sys.stderr.isatty():
            sys.stderr.write(WIPE)
            sys.stderr.flush()
        lines = printed.get().splitlines()
        self._out.file.write("".join(f"{line.rstrip()}\n" for line in lines))
        self._out.file.flush()

    def show_progress(self, scenario: Scenario) -> None:
        """Show at a terminal what runs now; the next print replaces it."""
        if sys.stderr.isatty():
            sys.stderr.write(f"{WIPE}running {scenario.name} ...")
            sys.stderr.flush()

    def section(self, title: str) -> None:
        """Print the title of a new part."""
        self.print(Text(f"\n{title}", style="bold"))


def print_result(printer: Printer, number: int, result: ScenarioResult) -> None:
    """Print one result: title, timeline, expectations."""
    scenario = result.scenario
    printer.print(
        Text(f"\n{number:>{INDENT - 1}} {scenario.title}", style="bold"),
        Padding(Text(scenario.rule, style="cyan"), (0, 0, 0, INDENT)),
        Padding(Text(scenario.text), (0, 0, 1, INDENT)),
        Padding(_timeline(result), (0, 0, 1, INDENT)),
        Padding(_verdict(result), (0, 0, 0, INDENT)),
    )


def print_scenarios(printer: Printer, scenarios: Sequence[Scenario]) -> None:
    """Print the names of scenarios."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    for scenario in scenarios:
        table.add_row(Text(scenario.name, style="bold"), scenario.title)
        table.add_row("", Text(scenario.rule, style="cyan"))
    printer.print(table)


def print_contents(printer: Printer, scenarios: Sequence[Scenario]) -> None:
    """Print which scenarios will run, and their expected ends."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    for width, justify in ((INDENT - 1, "right"), (TITLE_WIDTH, "left"), (ENDS_WIDTH, "left")):
        table.add_column(width=width, justify=justify)  # type: ignore[arg-type]
    for number, scenario in enumerate(scenarios, start=1):
        table.add_row(str(number), scenario.title, Text(scenario.expected_end, style="dim"))
    printer.section("Contents, and the expected end of each scenario")
    printer.print(table)


def mark(*, holds: bool) -> Text:
    """Return the mark of something that holds, or does not."""
    return Text("ok", style="green") if holds else Text("NO", style="bold red")


def clock(seconds: float) -> str:
    """Format a time as minutes and seconds, hours, or days."""
    whole = int(seconds)
    if whole >= DAY:
        return f"{whole // DAY} d"
    if whole >= HOUR:
        return f"{whole // HOUR}h{whole % HOUR // MINUTE:02d}m"
    return f"{whole // MINUTE}:{whole % MINUTE:02d}"


def _timeline(result: ScenarioResult) -> Table:
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.add_column(width=CLOCK_WIDTH, justify="right")
    table.add_column(width=BETWEEN_WIDTH)
    table.add_column(width=WHAT_WIDTH)
    for arrow in result.arrows:
        table.add_row(
            Text(clock(result.seconds_into(arrow.at)), style="dim"),
            Text(f"{arrow.who} -> {arrow.whom}", style="dim"),
            _what(arrow),
        )
    return table


def _what(arrow: Arrow) -> Text:
    lines = [Text("\n".join(wrap(arrow.what, WHAT_WIDTH, subsequent_indent="  ")))]
    for change in arrow.changes:
        wrapped = wrap(change, WHAT_WIDTH, initial_indent="  ", subsequent_indent="    ")
        lines.append(Text("\n".join(wrapped), style="green"))
    return Text("\n").join(lines)


def _verdict(result: ScenarioResult) -> Table:
    table = Table.grid(padding=(0, GAP, 0, 0))
    if result.broke_off:
        table.add_row(mark(holds=False), Text(f"broke off: {result.broke_off}", style="red"))
    for it in result.expectations:
        table.add_row(mark(holds=it.holds), _expectation(it))
    return table


def _expectation(it: Expectation) -> Text:
    if it.holds:
        return Text(f"{it.what}: {it.seen}")
    return Text(f"{it.what}: expected {it.expected}, saw {it.seen}", style="red")
