"""What a document may name: modules and functions, tests, files, tables, laws, commands.

A name in backticks that begins like one of these must be one of these, so that a document cannot
go on speaking of what was renamed.
"""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from caas.billing_database import migrations
from caas.billing_database.invariants import EVERY_INVARIANT
from tests.conventions.sources import ROOT

QUOTED = re.compile(r"`([^`\n]+)`")
CODE = re.compile(r"caas(_simulators)?(\.\w+)+")
TEST = re.compile(r"(tests/[\w/]+\.py)(?:::(\w+))?")
FILE = re.compile(r"(src|docs|tests|bootstrap|benchmarks)(/[\w.-]+)+/?")
LISTED = re.compile(r"^- (?P<of>Database|Invariants?): (?P<names>.*(?:\n  .*)*)", re.MULTILINE)


def broken_references(text: str) -> Iterator[str]:
    """Yield each quoted name of the text that is not there."""
    for quoted in QUOTED.findall(text):
        if CODE.fullmatch(quoted):
            if not (is_code(quoted) or is_table(quoted) or quoted in entry_point_groups()):
                yield quoted
        elif found := TEST.fullmatch(quoted):
            if not is_test(found[1], found[2]):
                yield quoted
        elif FILE.fullmatch(quoted) and not (ROOT / quoted).exists():
            yield quoted
    yield from broken_lists(text)


def broken_lists(text: str) -> Iterator[str]:
    """Yield each name of a `Database:` or `Invariant:` line that the database does not have."""
    for listed in LISTED.finditer(text):
        known = invariants() if listed["of"].startswith("Invariant") else database_names()
        for name in QUOTED.findall(listed["names"]):
            if name not in known:
                yield f"{listed['of']}: {name}"


@cache
def is_code(name: str) -> bool:
    """Say whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return has(found, parts[length:])
    return False


def is_table(name: str) -> bool:
    """Say whether a name is something of the schema `caas`."""
    schema, _, rest = name.partition(".")
    return schema == "caas" and rest.partition(".")[0] in database_names()


@cache
def entry_point_groups() -> frozenset[str]:
    """Return the groups of entry points that the project declares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return frozenset(project["entry-points"])


def has(thing: object, attributes: list[str]) -> bool:
    """Say whether one attribute after the other is there."""
    for attribute in attributes:
        if not hasattr(thing, attribute):
            return attribute in getattr(thing, "__annotations__", {})
        thing = getattr(thing, attribute)
    return True


@cache
def is_test(path: str, name: str | None) -> bool:
    """Say whether a test file is there, with this function in it when one is named."""
    file = ROOT / path
    return file.is_file() and (name is None or name in functions_of(file))


@cache
def functions_of(file: Path) -> frozenset[str]:
    """Return the names of the functions of a file."""
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@cache
def database_names() -> frozenset[str]:
    """Return every word of the migrations: tables, columns, constraints, triggers, functions."""
    return frozenset(re.findall(r"\w+", "\n".join(migrations.files().values())))


@cache
def invariants() -> frozenset[str]:
    """Return the names of the invariants of the whole database."""
    return frozenset(invariant.name for invariant in EVERY_INVARIANT)
