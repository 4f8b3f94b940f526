"""The check `reachable`: every public function of the platform is used by an entry point.

An entry point is a command, an API operation, a page, a webhook, a job or a schedule. All are
reachable from the command line, whose modules import the tables of operations, pages and handlers.
A name used only by tests, or assigned but never called, is unreachable.

The graph consists of names: using a name reaches every definition with that name. The check
therefore misses some dead code but reports no live code. Re-exporting a method (`self.sell =
sale.sell`) does not use it; using the new name does.

Rule a change must keep: exceptions are listed in `ALLOWED` with a reason.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ROOT / "src" / "caas"
TEMPLATES: Final = ("*.html", "*.toml", "*.typ")
ENTRY_POINT: Final = "caas.cli"
USERS: Final = (ROOT / "docs", ROOT / "src" / "caas_lab")
"""Code that imports the platform from outside; each module is an entry point."""

SPECIFIES: Final = "reference implementation for tests of the faster SQL"
ALLOWED: Final[dict[str, str]] = {
    "caas.billing_database.embedded_postgresql.psql_command": "interactive Python use",
    "caas.jobs.JobQueue.run_due": "run by workers; tests call it directly",
    "caas.rules.payment_states.fold": SPECIFIES,
    "caas.rules.postings.paid_out": SPECIFIES,
    "caas.rules.settlement_dates.punctuality": SPECIFIES,
    "caas.rules.settlement_dates.FeeTerms.of_settlement": SPECIFIES,
}
"""Full name of a function, and why nothing calls it."""

DESCRIBING: Final = frozenset(
    {"property", "staticmethod", "classmethod", "dataclass", "cache", "contextmanager",
     "asynccontextmanager", "overload", "cached_property", "lru_cache", "wraps"}
)  # fmt: skip
"""Decorators that do not register a function; any other makes it part of its module."""

KNOWN_BASES: Final = frozenset(
    {"Protocol", "Generic", "StrEnum", "IntEnum", "Enum", "Exception", "NamedTuple", "Struct",
     "object", "TypedDict", "ValueError", "RuntimeError"}
)  # fmt: skip
"""Bases that call no methods of a subclass; any other base may."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
_WORD: Final = re.compile(r"[A-Za-z_]\w*")


@dataclass(slots=True)
class Definition:
    """A definition, and the names used in it."""

    full_name: str
    name: str
    reports: set[str] = field(default_factory=set)
    brings: list["Definition"] = field(default_factory=list)
    is_public_function: bool = False


def main() -> int:
    """Print unreachable functions; return the exit status."""
    found = unreachable(SOURCES)
    for name in found:
        if name not in ALLOWED:
            sys.stdout.write(f"{name}: unreachable; call it or delete it\n")
    for name in sorted(set(ALLOWED) - set(found)):
        sys.stdout.write(f"{name}: reachable now; remove it from ALLOWED\n")
    return 1 if set(found) ^ set(ALLOWED) else 0


def unreachable(sources: Path, users: Iterable[Path] = USERS) -> list[str]:
    """Return the full names of unreachable public functions."""
    modules = {_module_name(path, sources): path for path in sorted(sources.rglob("*.py"))}
    definitions = [one for name, path in modules.items() for one in _module(name, path)]
    by_name: dict[str, list[Definition]] = defaultdict(list)
    for one in definitions:
        by_name[one.name].append(one)
    entry_points = [*by_name[ENTRY_POINT], _written(sources), *_using(users)]
    reached = _reached(entry_points, by_name)
    return sorted(
        one.full_name for one in definitions if one.is_public_function and id(one) not in reached
    )


def _reached(entry_points: Iterable[Definition], by_name: dict[str, list[Definition]]) -> set[int]:
    waiting, reached = list(entry_points), set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in reached:
            continue
        reached.add(id(one))
        waiting += one.brings
        for name in one.reports:
            waiting += by_name.get(name, ())
    return reached


def _written(sources: Path) -> Definition:
    """Return the names used in templates."""
    stated = Definition("templates", "templates")
    for pattern in TEMPLATES:
        for path in sources.rglob(pattern):
            stated.reports |= set(_WORD.findall(path.read_text("utf-8")))
    return stated


def _using(users: Iterable[Path]) -> Iterator[Definition]:
    """Yield each file of these folders as one entry point."""
    for path in sorted(path for folder in users for path in folder.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        yield Definition(path.stem, path.stem, _summary(tree))


def _module_name(path: Path, sources: Path) -> str:
    parts = path.relative_to(sources.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _module(name: str, path: Path) -> Iterator[Definition]:
    """Yield a module and its definitions, by full name."""
    tree = ast.parse(path.read_text("utf-8"))
    module = Definition(name, name)
    yield from _defined_in(tree.body, name, module, is_open=False)
    yield module


def _defined_in(
    body: list[ast.stmt], prefix: str, owner: Definition, *, is_open: bool
) -> Iterator[Definition]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield from _class(statement, prefix)
        elif isinstance(statement, Function):
            yield from _function(statement, prefix, owner, is_open=is_open)
        else:
            owner.reports |= _summary(statement)


def _class(node: ast.ClassDef, prefix: str) -> Iterator[Definition]:
    full_name = f"{prefix}.{node.name}"
    one = Definition(full_name, node.name)
    for part in (*node.bases, *node.keywords, *node.decorator_list):
        one.reports |= _summary(part)
    bases = {_last_name(base) for base in node.bases}
    yield one
    yield from _defined_in(node.body, full_name, one, is_open=bool(bases - KNOWN_BASES))


def _function(
    node: Function, prefix: str, owner: Definition, *, is_open: bool
) -> Iterator[Definition]:
    full_name = f"{prefix}.{node.name}"
    one = Definition(full_name, node.name)
    is_special = node.name.startswith("__")
    one.is_public_function = not node.name.startswith("_")
    handed_out = {_last_name(it) for it in node.decorator_list} - DESCRIBING
    if is_special or handed_out or is_open:
        owner.brings.append(one)
    for default in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults):
        owner.reports |= _summary(default) if default is not None else set()
    aliases = [it for it in ast.walk(node) if isinstance(it, ast.Assign) and _handed_on(it)]
    for alias in aliases:
        target, value = alias.targets[0], alias.value
        assert isinstance(target, ast.Attribute), "only attributes are re-exported"
        yield Definition(f"{full_name}.{target.attr}", target.attr, _summary(value))
    one.reports = _summary(node, without=aliases)
    yield one


def _handed_on(node: ast.Assign) -> bool:
    """Return whether a method is re-exported: `self.sell = sale.sell`."""
    target = node.targets[0]
    return isinstance(target, ast.Attribute) and isinstance(node.value, ast.Attribute)


def _summary(node: ast.AST, *, without: Iterable[ast.AST] = ()) -> set[str]:
    """Return the names used in a piece of source, and the modules it imports."""
    left_out = set(without)
    names: set[str] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one in left_out:
            continue
        names |= _names_of(one)
        waiting += ast.iter_child_nodes(one)
    return names


def _names_of(node: ast.AST) -> set[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()):
            return {name}
        case ast.Import(names=imported):
            return {alias.name for alias in imported}
        case ast.ImportFrom(module=str(module), names=imported):
            return {module, *(f"{module}.{alias.name}" for alias in imported)}
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
            return {name}
        case _:
            return set()


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Call(func=called):
            return _last_name(called)
        case ast.Subscript(value=generic):
            return _last_name(generic)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


if __name__ == "__main__":
    raise SystemExit(main())
