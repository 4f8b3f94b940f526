"""Converts database rows to response structs and pages."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import msgspec

Struct = TypeVar("Struct", bound=msgspec.Struct)
Row = TypeVar("Row")


def answer_from(kind: type[Struct], row: object, **beside: object) -> Struct:
    """Return a response struct from a row and further values.

    A field whose public name differs from the column is renamed in the struct.
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
    """Return the rows of a page and the cursor of the next one, None at the end."""
    shown = rows[:limit]
    return shown, str(cursor(shown[-1])) if len(rows) > limit else None
