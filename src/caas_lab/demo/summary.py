"""The end of a demonstration: the laws, the three books side by side, and every scene in a line.

Rules a change must keep: the exit status follows from what is printed here and from nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from caas_lab.demo.ledgers import Compared
from caas_lab.demo.printing import INDENT, Paper, mark
from caas_lab.demo.story import Arrow, Story


@dataclass(frozen=True, slots=True)
class Law:
    """A law of the whole database, and how many rows break it."""

    sentence: str
    broken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Everything that was played, and what was found at the end."""

    scale: float
    stories: list[Story] = field(default_factory=list)
    laws: list[Law] = field(default_factory=list)
    books: list[Compared] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every scene ended as the seed says, the laws hold and the books agree."""
        return (
            bool(self.stories)
            and all(story.ok for story in self.stories)
            and not any(law.broken for law in self.laws)
            and all(it.agrees for it in self.books)
            and not self.errors
        )


def print_summary(paper: Paper, performance: Performance) -> None:
    """Print the laws, the books and the scenes."""
    paper.section("The laws of the Billing Database")
    paper.put(Padding(_laws(performance.laws), (0, 0, 0, INDENT)))
    if performance.books:
        paper.section("Three books side by side")
        paper.put(Padding(_books(performance.books), (0, 0, 0, INDENT)))
    differences = [said for it in performance.books for said in it.differences]
    paper.put(*(Padding(Text(said, style="red"), (0, 0, 0, INDENT)) for said in differences))
    if performance.errors:
        paper.section("Errors of the platform that nobody scripted")
        paper.put(*(Padding(Text(it, style="red"), (0, 0, 0, INDENT)) for it in performance.errors))
    paper.section("Every scene (money in EUR)")
    paper.put(_scenes(performance.stories))
    good = sum(story.ok for story in performance.stories)
    verdict = f"{good} of {len(performance.stories)} scenes ended as the seed says; "
    broken = sum(law.broken > 0 for law in performance.laws)
    verdict += f"{broken} laws are broken; " if broken else "every law holds; "
    verdict += _of_books(performance.books)
    verdict += " Errors that nobody scripted occurred." if performance.errors else ""
    paper.put(Text(f"\n{verdict}", style="bold" if performance.ok else "bold red"))


def _of_books(books: Sequence[Compared]) -> str:
    if not books:
        return "the books were not compared."
    return "the books agree." if all(it.agrees for it in books) else "the books differ."


def as_data(performance: Performance) -> dict[str, Any]:
    """Return everything that is printed, as plain data."""
    return {
        "ok": performance.ok,
        "time_scale": performance.scale,
        "scenes": [_story_data(story) for story in performance.stories],
        "errors": performance.errors,
        "laws": [{"sentence": law.sentence, "broken": law.broken} for law in performance.laws],
        "books": [
            {
                "what": it.what, "outside": it.theirs, "ours": it.ours, "ledger": it.ledger,
                "agrees": it.agrees, "differences": list(it.differences),
            }
            for it in performance.books
        ],
    }  # fmt: skip


def _story_data(story: Story) -> dict[str, Any]:
    return {
        "name": story.scene.name,
        "title": story.scene.title,
        "rule": story.scene.rule,
        "tells": story.scene.tells,
        "expected_end": story.scene.ends,
        "seen": story.seen,
        "money": story.money,
        "ok": story.ok,
        "timeline": [_arrow_data(story, arrow) for arrow in story.arrows],
        "expectations": [
            {"what": it.what, "expected": it.expected, "seen": it.seen, "holds": it.holds}
            for it in story.expectations
        ],
    }


def _arrow_data(story: Story, arrow: Arrow) -> dict[str, Any]:
    return {
        "seconds": round(story.seconds_into(arrow.at), 1),
        "from": arrow.who,
        "to": arrow.whom,
        "arrow": arrow.what,
        "changes": list(arrow.changes),
    }


def _laws(laws: Sequence[Law]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for law in laws:
        said = law.sentence if not law.broken else f"{law.sentence} Broken by {law.broken} rows."
        table.add_row(mark(holds=not law.broken), Text(said))
    return table


def _books(books: Sequence[Compared]) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row("", "", *(Text(it, style="dim") for it in (
        "gateway's or cars' own", "our payments", "our ledger")))  # fmt: skip
    for it in books:
        table.add_row(mark(holds=it.agrees), it.what, it.theirs, it.ours, it.ledger)
    return table


def _scenes(stories: Sequence[Story]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for width, justify in ((3, "right"), (22, "left"), (29, "left"), (12, "left"), (21, "left")):
        table.add_column(width=width, justify=justify, overflow="fold")  # type: ignore[arg-type]
    heads = ("", "scene", "expected end", "seen", "money", "")
    table.add_row(*(Text(head, style="dim") for head in heads))
    for number, story in enumerate(stories, start=1):
        table.add_row(
            str(number), story.scene.name, story.scene.ends, story.seen,
            story.money.replace(", ", "\n"), mark(holds=story.ok),
        )  # fmt: skip
    return table
