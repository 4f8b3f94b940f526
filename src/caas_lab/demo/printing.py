"""Prints stories for somebody who never saw the system, within a hundred columns.

Rules a change must keep: plain text and few colours, no ornament; what differs from what was
expected is said in words; nothing is printed that is not in the story.
"""

import sys
from collections.abc import Sequence
from textwrap import wrap
from typing import Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from caas_lab.demo.story import Arrow, Expectation, Scene, Story

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


class Paper:
    """Where it is printed: a terminal, or a file, which gets no blanks at the ends of lines."""

    def __init__(self, out: Console | None = None) -> None:
        """Print on standard output unless told otherwise."""
        self._out = out or Console(highlight=False)
        if not self._out.is_terminal or self._out.width > WIDTH:
            self._out.width = WIDTH

    def put(self, *parts: RenderableType) -> None:
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

    def whisper_of(self, scene: Scene) -> None:
        """Tell somebody at a terminal what is being played; the next print wipes it out."""
        if sys.stderr.isatty():
            sys.stderr.write(f"{WIPE}playing {scene.name} ...")
            sys.stderr.flush()

    def section(self, title: str) -> None:
        """Print the title of a new part."""
        self.put(Text(f"\n{title}", style="bold"))


def print_story(paper: Paper, number: int, story: Story) -> None:
    """Print one story: title, timeline, verdict."""
    scene = story.scene
    paper.put(
        Text(f"\n{number:>{INDENT - 1}} {scene.title}", style="bold"),
        Padding(Text(scene.rule, style="cyan"), (0, 0, 0, INDENT)),
        Padding(Text(scene.tells), (0, 0, 1, INDENT)),
        Padding(_timeline(story), (0, 0, 1, INDENT)),
        Padding(_verdict(story), (0, 0, 0, INDENT)),
    )


def print_scenes(paper: Paper, scenes: Sequence[Scene]) -> None:
    """Print which scenes there are."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    for scene in scenes:
        table.add_row(Text(scene.name, style="bold"), scene.title)
        table.add_row("", Text(scene.rule, style="cyan"))
    paper.put(table)


def print_contents(paper: Paper, scenes: Sequence[Scene]) -> None:
    """Print what is going to be played, and how each scene should end."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    for width, justify in ((INDENT - 1, "right"), (TITLE_WIDTH, "left"), (ENDS_WIDTH, "left")):
        table.add_column(width=width, justify=justify)  # type: ignore[arg-type]
    for number, scene in enumerate(scenes, start=1):
        table.add_row(str(number), scene.title, Text(scene.ends, style="dim"))
    paper.section("Contents, and how each scene should end")
    paper.put(table)


def mark(*, holds: bool) -> Text:
    """Return the mark of something that holds, or does not."""
    return Text("ok", style="green") if holds else Text("NO", style="bold red")


def clock(seconds: float) -> str:
    """Write a moment of the story: minutes and seconds, hours, days."""
    whole = int(seconds)
    if whole >= DAY:
        return f"{whole // DAY} d"
    if whole >= HOUR:
        return f"{whole // HOUR}h{whole % HOUR // MINUTE:02d}m"
    return f"{whole // MINUTE}:{whole % MINUTE:02d}"


def _timeline(story: Story) -> Table:
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.add_column(width=CLOCK_WIDTH, justify="right")
    table.add_column(width=BETWEEN_WIDTH)
    table.add_column(width=WHAT_WIDTH)
    for arrow in story.arrows:
        table.add_row(
            Text(clock(story.seconds_into(arrow.at)), style="dim"),
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


def _verdict(story: Story) -> Table:
    table = Table.grid(padding=(0, GAP, 0, 0))
    if story.broke_off:
        table.add_row(mark(holds=False), Text(f"broke off: {story.broke_off}", style="red"))
    for it in story.expectations:
        table.add_row(mark(holds=it.holds), _expectation(it))
    return table


def _expectation(it: Expectation) -> Text:
    if it.holds:
        return Text(f"{it.what}: {it.seen}")
    return Text(f"{it.what}: expected {it.expected}, saw {it.seen}", style="red")
