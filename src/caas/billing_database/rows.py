"""Rows and their structs: the fields of a struct are its columns in SQL, and reading makes it.

Rule a change must keep: a column that is read stands in the struct of its row, and in no list.
"""

from collections.abc import Mapping
from enum import Enum
from functools import cache
from inspect import isclass
from typing import Any, Final, TypeVar, get_type_hints

from caas.billing_database.connection import Connection, Database, Row
from caas.rules.money import Money

Kind = TypeVar("Kind")
PAGE_ROWS_MAX: Final = 200
"""Rows that one read of a list returns at most."""
CURRENCY: Final = "currency"
"""The column beside every amount that its struct holds as money."""


def columns(kind: type, of: str = "", **computed: str) -> str:
    """Return the columns of a struct as SQL lists them, each `of` a table or as it is computed."""
    hints = get_type_hints(kind)
    also = [CURRENCY] if Money in hints.values() and CURRENCY not in hints else []
    prefix = f"{of}." if of else ""
    return ", ".join(
        f"{computed[name]} as {name}" if name in computed else prefix + name
        for name in (*hints, *also)
    )


def row_as(kind: type[Kind], row: Mapping[str, Any] | Row) -> Kind:
    """Return a row as its struct, with its enums and its money; what else it has is left out."""
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
    """Return the first row that a query reads, as its struct."""
    row = await by.fetchrow(query, *arguments)
    return None if row is None else row_as(kind, row)


async def read_all(
    kind: type[Kind], by: Connection | Database, query: str, *arguments: object
) -> list[Kind]:
    """Return every row that a query reads, as its struct."""
    return [row_as(kind, row) for row in await by.fetch(query, *arguments)]


@cache
def _fields_of(kind: type) -> tuple[frozenset[str], dict[str, type[Any]]]:
    hints = get_type_hints(kind)
    made = {
        name: hint for name, hint in hints.items()
        if isclass(hint) and issubclass(hint, (Enum, Money))
    }  # fmt: skip
    return frozenset(hints), made
