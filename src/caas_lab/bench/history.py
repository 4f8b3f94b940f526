"""The results of earlier benchmarks: one JSON line for each goal of each run, and a chart of them.

Rules a change must keep: lines are only appended; a line has the machine and its settings, because
figures of two machines are not compared; a chart shows ratios, never absolute figures.
"""

import math
import statistics
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import msgspec

from caas_lab.bench.goals import Goal, Measurement

LATEST_MAX: Final = 12
ROW_HEIGHT: Final = 30
LEFT: Final = 110
WIDTH: Final = 760
LEAST_RATIO: Final = 0.01
STYLE: Final = (
    "text{font:12px sans-serif;fill:#57606a}.aim{stroke:#8c959f;stroke-dasharray:3 3}"
    ".met{fill:#1a7f37;stroke:#1a7f37}.missed{fill:#bc4c00;stroke:#bc4c00}"
)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The rounds of one goal in one run; `cpu` is in microseconds for each piece, by process."""

    at: datetime
    goal: str
    aim: float
    at_most: bool
    conditions: str
    theirs: list[float]
    ours: list[float]
    cpu: list[dict[str, float]]

    @property
    def ratios(self) -> list[float]:
        """Return our figure divided by the yardstick's, of each round."""
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def median(self) -> float:
        """Return the median ratio."""
        return statistics.median(self.ratios)

    @property
    def worst(self) -> float:
        """Return the ratio of the worst round."""
        return (max if self.at_most else min)(self.ratios)

    @property
    def is_met(self) -> bool:
        """Whether the median reaches the aim."""
        return self.median <= self.aim if self.at_most else self.median >= self.aim


_DECODER: Final = msgspec.json.Decoder(Result)


def result(
    name: str, goal: Goal, measurements: Sequence[Measurement], *, conditions: str, at: datetime
) -> Result:
    """Return what was measured, as it is stored."""
    return Result(
        at=at, goal=name, aim=goal.aim, at_most=goal.at_most,
        conditions=conditions, theirs=[it.theirs for it in measurements],
        ours=[it.ours for it in measurements], cpu=[dict(it.cpu) for it in measurements],
    )  # fmt: skip


def append(path: Path, measured: Result) -> None:
    """Append a result to a file, which is created if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(msgspec.json.encode(measured) + b"\n")


def read(path: Path) -> list[Result]:
    """Return the results in a file, oldest first; none if there is no file.

    Raises:
        ValueError: a line is not a result.
    """
    if not path.exists():
        return []
    return [_DECODER.decode(line) for line in path.read_bytes().splitlines() if line.strip()]


def chart(results: Sequence[Result]) -> str:
    """Return an SVG with a row for each goal: the latest medians, each with its worst round.

    The scale is logarithmic, and the goal's aim is the middle of its row. Reached is to the right.
    """
    goals = list(dict.fromkeys(it.goal for it in results))
    height = ROW_HEIGHT * (len(goals) + 1)
    rows = [
        _row(number, [it for it in results if it.goal == name][-LATEST_MAX:])
        for number, name in enumerate(goals)
    ]
    middle = (LEFT + WIDTH) // 2
    axis = (
        f'<text x="{middle}" y="{height - 8}" text-anchor="middle">'
        "aim; each tenfold is a quarter of the width; reached is to the right</text>"
    )
    view = f"0 0 {WIDTH + 10} {height}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" role="img">',
        "<title>Latest benchmark results against their aims</title>",
        f"<style>{STYLE}</style>",
        f'<line class="aim" x1="{middle}" y1="0" x2="{middle}" y2="{height - ROW_HEIGHT}"/>',
        *rows,
        axis,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _row(number: int, results: Sequence[Result]) -> str:
    top = ROW_HEIGHT * number
    last = results[-1]
    label = f"{last.goal} {last.median:.2f}"
    dots = "".join(
        _dot(it, top + ROW_HEIGHT * (place + 1) / (len(results) + 1))
        for place, it in enumerate(results)
    )
    return f'<text x="4" y="{top + ROW_HEIGHT / 2 + 4:g}">{escape(label)}</text>{dots}'


def _dot(measured: Result, y: float) -> str:
    kind = "met" if measured.is_met else "missed"
    median, worst = (_x(measured, ratio) for ratio in (measured.median, measured.worst))
    return (
        f'<line class="{kind}" x1="{median:.1f}" y1="{y:.1f}" x2="{worst:.1f}" y2="{y:.1f}"/>'
        f'<circle class="{kind}" cx="{median:.1f}" cy="{y:.1f}" r="2.5"/>'
    )


def _x(measured: Result, ratio: float) -> float:
    """Return where a ratio is: a tenfold of the aim is a quarter of the width away from it."""
    tenfolds = math.log10(max(ratio, LEAST_RATIO) / measured.aim)
    reached = -tenfolds if measured.at_most else tenfolds
    return (LEFT + WIDTH) / 2 + max(-2.0, min(2.0, reached)) * (WIDTH - LEFT) / 4
