"""SVG graphics: bar and column charts, and Diagram 9 with the path of a payment.

Charts repeat figures that the page shows as text, so screen readers skip them. The states and
arrows of the diagram come from `rules.payment_states`; this file only places them. An arrow that
Diagram 9 does not have is drawn broken.

Rules a change must keep: amounts of different currencies never share a scale; a bar begins at zero,
and a value other than zero is visible; every state has a place, and every arrow of both tables is
drawn; the diagram shows nothing that the timeline below it does not state as text.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from caas.billing_database.payments import TimelineEvent
from caas.rules.payment_states import BEYOND_DIAGRAM_9, DIAGRAM_9, PaymentState

WIDTH: Final = 100.0
WIDTH_MIN: Final = 1.5


class Bar(msgspec.Struct, frozen=True):
    """A bar: name, value as text, width in percent and colour."""

    name: str
    text: str
    width: float
    tone: str = ""
    path: str | None = None


class Datum(msgspec.Struct, frozen=True):
    """A value to draw."""

    name: str
    value: int
    text: str
    tone: str = ""
    path: str | None = None


def bars(data: Iterable[Datum]) -> list[Bar]:
    """Return bars, each as wide as its share of the largest value."""
    known = list(data)
    largest = max((abs(datum.value) for datum in known), default=0)
    return [
        Bar(datum.name, datum.text, _width(datum.value, largest), datum.tone, datum.path)
        for datum in known
    ]


def columns(values: Sequence[int]) -> list[float]:
    """Return column heights in percent of the highest."""
    largest = max((abs(value) for value in values), default=0)
    return [_width(value, largest) for value in values]


def _width(value: int, largest: int) -> float:
    if not value or not largest:
        return 0.0
    return round(max(abs(value) / largest * WIDTH, WIDTH_MIN), 1)


_S = PaymentState
PLACES: Final = {
    _S.INITIATED: (0, 0), _S.PENDING: (1, 0), _S.AUTHORIZED: (2, 0), _S.CAPTURING: (3, 0),
    _S.SETTLED: (4, 0), _S.FAILED: (1, 1), _S.VOIDED: (2, 1), _S.SETTLEMENT_FAILED: (3, 1),
    _S.REFUNDING: (4, 1), _S.REFUNDED: (4, 2),
}  # fmt: skip
COLUMN, ROW, BOX_WIDTH, BOX_HEIGHT, MARGIN = 198, 96, 164, 44, 8
DIAGRAM_WIDTH: Final = 4 * COLUMN + BOX_WIDTH + 2 * MARGIN
HEIGHT: Final = 2 * ROW + BOX_HEIGHT + 2 * MARGIN
APART: Final = 14
"""The distance between two arrows that connect the same two states."""


class Box(msgspec.Struct, frozen=True):
    """A state's position; `mark` is `here`, `passed` or empty."""

    state: PaymentState
    x: int
    y: int
    mark: str


class DrawnArrow(msgspec.Struct, frozen=True):
    """An arrow's position."""

    x1: float
    y1: float
    x2: float
    y2: float
    beyond: bool
    passed: bool


class StateDiagram(msgspec.Struct, frozen=True):
    """Diagram 9 as positioned boxes and arrows."""

    boxes: list[Box]
    lines: list[DrawnArrow]
    width: int = DIAGRAM_WIDTH
    height: int = HEIGHT
    box_width: int = BOX_WIDTH
    box_height: int = BOX_HEIGHT


def drawn(state: PaymentState, events: Sequence[TimelineEvent]) -> StateDiagram:
    """Draw the diagram with the payment's state and the path that led to it."""
    transitions = {(event.from_state, event.to_state) for event in events}
    passed = {event.to_state for event in events}
    boxes = [
        Box(one, *_corner(one), "here" if one is state else "passed" if one in passed else "")
        for one in PLACES
    ]
    arrows = [
        (source, target, beyond)
        for table, beyond in ((DIAGRAM_9, False), (BEYOND_DIAGRAM_9, True))
        for source, row in table.items()
        for target in dict.fromkeys(row.values())
    ]
    known: set[tuple[PaymentState, PaymentState]] = set()
    lines = []
    for source, target, beyond in arrows:
        if (source, target) not in known:
            known.add((source, target))
            lines.append(
                _line(source, target, beyond=beyond, passed=(source, target) in transitions)
            )
    return StateDiagram(boxes, lines)


def _corner(state: PaymentState) -> tuple[int, int]:
    column, row = PLACES[state]
    return MARGIN + column * COLUMN, MARGIN + row * ROW


def _line(source: PaymentState, target: PaymentState, *, beyond: bool, passed: bool) -> DrawnArrow:
    """Connect the edges of two boxes; a return arrow is drawn a little aside."""
    (x1, y1), (x2, y2) = _corner(source), _corner(target)
    aside = APART if _has_way_back(source, target) and PLACES[source] > PLACES[target] else 0
    middle, half = BOX_WIDTH / 2, BOX_HEIGHT / 2
    if y1 == y2:
        begin, end = (x1 + BOX_WIDTH, x2) if x2 > x1 else (x1, x2 + BOX_WIDTH)
        return DrawnArrow(begin, y1 + half + aside, end, y2 + half + aside, beyond, passed)
    begin, end = (y1 + BOX_HEIGHT, y2) if y2 > y1 else (y1, y2 + BOX_HEIGHT)
    return DrawnArrow(x1 + middle + aside, begin, x2 + middle + aside, end, beyond, passed)


def _has_way_back(source: PaymentState, target: PaymentState) -> bool:
    rows = (DIAGRAM_9.get(target, {}), BEYOND_DIAGRAM_9.get(target, {}))
    return any(source in row.values() for row in rows)
