"""The check `reachable`: every public function of the platform is reached from a door.

A door is where something from outside begins: a command of the command line, an operation of the
API, a page, a webhook, a kind of work or a schedule. All of them hang from the command line: it
opens the platform, and the tables of operations, pages and handlers stand in the modules it
imports. A name that only tests use, or that is handed on and never called, hangs from nothing.

The graph is made of names: whoever says a name reaches everything that is called so. That errs on
the side of what is there: what is listed is reached by nobody, though not everything that nobody
reaches is listed. Handing a method on (`self.sell = sale.sell`) is no use of it; using the new name
is.

Rule a change must keep: what is allowed to hang from nothing stands in `ALLOWED`, with its reason.
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
DOOR: Final = "caas.cli"
USERS: Final = (ROOT / "docs", ROOT / "src" / "caas_lab")
"""What imports the platform from outside: every module there is a door too."""

SPECIFIES: Final = "a rule that tests hold the faster SQL against"
ALLOWED: Final[dict[str, str]] = {
    "caas.billing_database.embedded_postgresql.psql_command": "people at a Python prompt",
    "caas.billing_database.vehicles.Vehicles.put_model": "behind the one below",
    "caas.order_management.OrderManagement.put_model": "people at a Python prompt; no call yet",
    "caas.jobs.JobQueue.run_due": "what a worker does once; tests do it by hand",
    "caas.rules.payment_states.fold": SPECIFIES,
    "caas.rules.postings.paid_out": SPECIFIES,
    "caas.rules.settlement_dates.punctuality": SPECIFIES,
    "caas.rules.settlement_fees.FeeTerms.of_settlement": SPECIFIES,
}
"""Full name of a function, and why nothing here calls it."""

DESCRIBING: Final = frozenset(
    {"property", "staticmethod", "classmethod", "dataclass", "cache", "contextmanager",
     "asynccontextmanager", "overload", "cached_property", "lru_cache", "wraps"}
)  # fmt: skip
"""Decorators that hand nothing to anybody; any other makes a function part of its module."""

KNOWN_BASES: Final = frozenset(
    {"Protocol", "Generic", "StrEnum", "IntEnum", "Enum", "Exception", "NamedTuple", "Struct",
     "object", "TypedDict", "ValueError", "RuntimeError"}
)  # fmt: skip
"""Bases that call nothing of a class; whoever inherits from another one may be called back."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
_WORD: Final = re.compile(r"[A-Za-z_]\w*")


@dataclass(slots=True)
class Definition:
    """One thing that can be reached, and the names that are said in it."""

    full_name: str
    name: str
    reports: set[str] = field(default_factory=set)
    brings: list["Definition"] = field(default_factory=list)
    is_public_function: bool = False


def main() -> int:
    """Print what hangs from nothing; return how the process should end."""
    found = unreachable(SOURCES)
    for name in found:
        if name not in ALLOWED:
            sys.stdout.write(f"{name}: no door reaches it; call it, or delete it\n")
    for name in sorted(set(ALLOWED) - set(found)):
        sys.stdout.write(f"{name}: it is reached now; take it off ALLOWED\n")
    return 1 if set(found) ^ set(ALLOWED) else 0


def unreachable(sources: Path, users: Iterable[Path] = USERS) -> list[str]:
    """Return the full names of public functions that no door reaches."""
    modules = {_module_name(path, sources): path for path in sorted(sources.rglob("*.py"))}
    definitions = [one for name, path in modules.items() for one in _module(name, path)]
    by_name: dict[str, list[Definition]] = defaultdict(list)
    for one in definitions:
        by_name[one.name].append(one)
    doors = [*by_name[DOOR], _written(sources), *_using(users)]
    reached = _reached(doors, by_name)
    return sorted(
        one.full_name for one in definitions if one.is_public_function and id(one) not in reached
    )


def _reached(doors: Iterable[Definition], by_name: dict[str, list[Definition]]) -> set[int]:
    waiting, reached = list(doors), set[int]()
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
    """Return what the templates say: pages and letters read attributes by their names."""
    stated = Definition("templates", "templates")
    for pattern in TEMPLATES:
        for path in sources.rglob(pattern):
            stated.reports |= set(_WORD.findall(path.read_text("utf-8")))
    return stated


def _using(users: Iterable[Path]) -> Iterator[Definition]:
    """Yield each file of these folders as one door."""
    for path in sorted(path for folder in users for path in folder.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        yield Definition(path.stem, path.stem, _summary(tree))


def _module_name(path: Path, sources: Path) -> str:
    parts = path.relative_to(sources.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _module(name: str, path: Path) -> Iterator[Definition]:
    """Yield a module and all that is defined in it; a module is known by its full name."""
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
        assert isinstance(target, ast.Attribute), "only attributes are handed on"
        yield Definition(f"{full_name}.{target.attr}", target.attr, _summary(value))
    one.reports = _summary(node, without=aliases)
    yield one


def _handed_on(node: ast.Assign) -> bool:
    """Whether a method is given another owner: `self.sell = sale.sell`."""
    target = node.targets[0]
    return isinstance(target, ast.Attribute) and isinstance(node.value, ast.Attribute)


def _summary(node: ast.AST, *, without: Iterable[ast.AST] = ()) -> set[str]:
    """Return every name that is used in a piece of source, and the modules it imports."""
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
