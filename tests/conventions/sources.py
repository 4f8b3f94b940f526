"""The sources as the tests of this folder read them: each file with its syntax tree."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file of the project."""

    path: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    def functions(self) -> Iterator[Function]:
        """Yield every function, methods and inner ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def imported(self) -> Iterator[str]:
        """Yield the full name of every module that is imported."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module or ""

    def strings(self) -> Iterator[str]:
        """Yield every text that is not a docstring."""
        documented = {
            id(node.body[0].value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Module | ast.ClassDef | Function)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(self.tree):
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, str) and id(node) not in documented:
                yield value


def sources(*folders: str) -> tuple[Source, ...]:
    """Return every Python file of the folders, in the order of their names."""
    found = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return tuple(source(path) for path in found)


@cache
def source(path: Path) -> Source:
    """Read and parse one file."""
    text = path.read_text()
    return Source(str(path.relative_to(ROOT)), text, ast.parse(text))


def length(function: Function) -> int:
    """Return how many lines a function has, from its `def` to its last."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1
