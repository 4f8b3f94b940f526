"""Statements of lists, composed from the filters that are given.

One statement with `$1 is null or ...` for every filter has one plan for all of them, and PostgreSQL
keeps that plan after a few executions: it reads the whole table, whatever was asked. And where it
expects a state or a kind to be frequent, it reads the table in the order of its key until it has
found a page, whichever state was asked; of a rare one there is no page (`Walk`).

Rule a change must keep: text of a caller never becomes part of a statement, only its arguments.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

GIVEN: Final = "{given}"
ORDER: Final = "{order}"


class Walk(msgspec.Struct, frozen=True):
    """The index that a list is read along: columns with one value each, then the list's key.

    A list in the order of all its columns can be read along no other index. Columns without a value
    are left out; `place` is the key at which the page before ended.
    """

    columns: Mapping[str, object]
    key: str = "id"
    place: object = None
    descending: bool = True


def composed(
    statement: str,
    *arguments: object,
    given: Mapping[str, object],
    along: Walk | None = None,
    at: str = GIVEN,
) -> tuple[str, list[object]]:
    """Return the statement with the conditions whose value is neither None nor False.

    The conditions stand at `{given}`, joined by `and`, and the order of `along` at `{order}`. In a
    condition `$` is its value, which follows the statement's own arguments; one without `$` only
    applies.
    """
    values, conditions = list(arguments), []
    for condition, value in given.items():
        if value is None or value is False:
            continue
        if "$" in condition:
            values.append(value)
        conditions.append(condition.replace("$", f"${len(values)}"))
    if along is not None:
        columns = [name for name, value in along.columns.items() if value is not None]
        conditions += _range(along, columns, values)
        direction = " desc" if along.descending else ""
        order = ", ".join(f"{column}{direction}" for column in (*columns, along.key))
        statement = statement.replace(ORDER, order)
    return statement.replace(at, " and ".join(conditions) or "true"), values


def _range(along: Walk, columns: list[str], values: list[object]) -> list[str]:
    """Return the conditions of a walk, and append their values."""
    names, places = list(columns), []
    for column in columns:
        values.append(along.columns[column])
        places.append(f"${len(values)}")
    begins, ends = (">=", "<") if along.descending else ("<=", ">")
    conditions = [f"({', '.join(names)}) {begins} ({', '.join(places)})"] if names else []
    if along.place is not None:
        values.append(along.place)
        names, places = [*names, along.key], [*places, f"${len(values)}"]
    if names:
        until = ends if along.place is not None else f"{ends}="
        conditions.append(f"({', '.join(names)}) {until} ({', '.join(places)})")
    return conditions
