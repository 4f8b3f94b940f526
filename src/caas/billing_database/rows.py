"""Maps rows to structs: a struct's fields are the columns to select."""

from collections.abc import Mapping
from enum import Enum
from functools import cache
from inspect import isclass
from typing import Any, Final, TypeVar, get_type_hints

from caas.billing_database.connection import Connection, Database, Row
from caas.rules.money import Money

Kind = TypeVar("Kind")
PAGE_ROWS_MAX: Final = 200
"""The maximum number of rows a list query returns."""
CURRENCY: Final = "currency"
"""The currency column that belongs to every amount held as Money."""


def columns(kind: type, of: str = "", **computed: str) -> str:
    """Return a struct's columns as a SQL list, each `of` a table or computed."""
    hints = get_type_hints(kind)
    also = [CURRENCY] if Money in hints.values() and CURRENCY not in hints else []
    prefix = f"{of}." if of else ""
    return ", ".join(
        f"{computed[name]} as {name}" if name in computed else prefix + name
        for name in (*hints, *also)
    )


def row_as(kind: type[Kind], row: Mapping[str, Any] | Row) -> Kind:
    """Convert a row to its struct, with enums and money; other columns are ignored."""
    known: Any = kind
    names, made = _fields_of(known)
    values = {name: value for name, value in row.items() if name in names}
    for name, field in made.items():
        is_money = field is Money
        values[name] = Money(row[name], row[CURRENCY]) if is_money else field(row[name])
    return kind(**values)


async def read_one(
    kind: type[Kind], by: Connection | Database, query: str, *arguments: object
) -> Kind | None:
    """Return the first row of a query as a struct."""
    row = await by.fetchrow(query, *arguments)
    return None if row is None else row_as(kind, row)


async def read_all(
    kind: type[Kind], by: Connection | Database, query: str, *arguments: object
) -> list[Kind]:
    """Return all rows of a query as structs."""
    return [row_as(kind, row) for row in await by.fetch(query, *arguments)]


@cache
def _fields_of(kind: type) -> tuple[frozenset[str], dict[str, type[Any]]]:
    hints = get_type_hints(kind)
    made = {
        name: hint for name, hint in hints.items()
        if isclass(hint) and issubclass(hint, (Enum, Money))
    }  # fmt: skip
    return frozenset(hints), made
