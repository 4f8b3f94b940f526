"""SVG charts: horizontal bars, and columns over time.

A chart is a picture of figures that stand beside it as text, so it says nothing of its own to a
screen reader.

Rules a change must keep: amounts of different currencies are never drawn against each other;
a bar begins at zero, and what is not nothing is visible.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 100.0
WIDTH_MIN: Final = 1.5


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its name, its value as text, how wide it is in percent, and its colour."""

    name: str
    text: str
    width: float
    tone: str = ""
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Datum:
    """A value to be drawn."""

    name: str
    value: int
    text: str
    tone: str = ""
    path: str | None = None


def bars(data: Iterable[Datum]) -> list[Bar]:
    """Return bars, each as wide as its share of the largest."""
    known = list(data)
    largest = max((abs(datum.value) for datum in known), default=0)
    return [
        Bar(datum.name, datum.text, _width(datum.value, largest), datum.tone, datum.path)
        for datum in known
    ]


def columns(values: Sequence[int]) -> list[float]:
    """Return heights in percent of the highest, for columns that stand side by side."""
    largest = max((abs(value) for value in values), default=0)
    return [_width(value, largest) for value in values]


def _width(value: int, largest: int) -> float:
    if not value or not largest:
        return 0.0
    return round(max(abs(value) / largest * WIDTH, WIDTH_MIN), 1)
