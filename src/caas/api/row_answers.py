"""Rows as answers: an answer's struct made from a row, a page made from rows.

Rule a change must keep: an answer has the fields of its struct and no other of the row's.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import msgspec

Struct = TypeVar("Struct", bound=msgspec.Struct)
Row = TypeVar("Row")


def answer_from(kind: type[Struct], row: object, **beside: object) -> Struct:
    """Return this kind of answer about a row; what is not given beside it is the row's own.

    A field that is public under another name than the row's is renamed in the struct.
    """
    if not beside:
        return msgspec.convert(row, kind, from_attributes=True)
    values = {
        public: beside[name] if name in beside else getattr(row, name)
        for name, public in _names_of(kind)
    }
    return msgspec.convert(values, kind, from_attributes=True)


@cache
def _names_of(kind: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    return tuple(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))


def page_of(
    rows: Sequence[Row], limit: int, cursor: Callable[[Any], object] = lambda row: row.id
) -> tuple[Sequence[Row], str | None]:
    """Return so many rows, and the cursor that asks for those after them, None at the end."""
    shown = rows[:limit]
    return shown, str(cursor(shown[-1])) if len(rows) > limit else None
