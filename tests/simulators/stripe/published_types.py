"""The types that Stripe publishes with its own client, read from its source and held against JSON.

The client is generated from Stripe's OpenAPI description: a field that it declares without
`Optional` is always there, a `Literal` has no other value.
"""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

SCALARS: dict[str, tuple[type, ...]] = {
    "int": (int,), "str": (str,), "bool": (bool,), "float": (int, float),
}  # fmt: skip
GENERICS: dict[str, tuple[type, ...]] = {"Dict": (dict,), "ExpandableField": (str, dict)}
Classes = dict[str, ast.ClassDef]


def differences(module: ModuleType, name: str, value: dict[str, Any]) -> list[str]:
    """Return where an object is not what a class of the client says."""
    found = next(
        it for it in _tree(module).body if isinstance(it, ast.ClassDef) and it.name == name
    )
    return list(_of_class(found, value, name))


def parameters(module: ModuleType, name: str) -> dict[str, Any]:
    """Return the names of a TypedDict of parameters, each with those of the group it stands for."""
    classes = {it.name: it for it in ast.walk(_tree(module)) if isinstance(it, ast.ClassDef)}
    return _names(classes[name], classes)


def words(module: ModuleType, name: str, field: str) -> set[str]:
    """Return every value that a field of a class of the client can have."""
    classes = (it for it in ast.walk(_tree(module)) if isinstance(it, ast.ClassDef))
    (annotation,) = (
        annotation
        for found in classes
        if found.name == name
        for declared, annotation in _fields(found)
        if declared == field
    )
    constants = (it for it in ast.walk(annotation) if isinstance(it, ast.Constant))
    return {it.value for it in constants if isinstance(it.value, str)}


@cache
def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def _names(found: ast.ClassDef, classes: Classes) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for field, annotation in _fields(found):
        groups = [
            classes[text.rpartition(".")[2]]
            for node in ast.walk(annotation)
            for text in [_text(node)]
            if text.rpartition(".")[2] in classes
        ]
        names[field] = _names(groups[0], classes) if groups else None
    return names


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return node.id if isinstance(node, ast.Name) else ""


def _fields(found: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node.annotation


def _of_class(found: ast.ClassDef, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no object"
        return
    nested = {it.name: it for it in found.body if isinstance(it, ast.ClassDef)}
    fields = {name: it for name, it in _fields(found) if name != "OBJECT_NAME"}
    yield from (f"{path}.{name}: not published" for name in value.keys() - fields.keys())
    for name, annotation in fields.items():
        if name in value:
            yield from _of(annotation, value[name], f"{path}.{name}", nested)
        elif not _is_optional(annotation):
            yield f"{path}.{name}: missing"


def _is_optional(annotation: ast.expr) -> bool:
    return isinstance(annotation, ast.Subscript) and _text(annotation.value) in (
        "Optional", "NotRequired",
    )  # fmt: skip


def _of(annotation: ast.expr, value: Any, path: str, nested: Classes) -> Iterator[str]:
    if isinstance(annotation, ast.Subscript):
        yield from _of_generic(annotation, value, path, nested)
        return
    name = _text(annotation)
    if name in nested:
        yield from _of_class(nested[name], value, path)
    elif name in SCALARS:
        expected = SCALARS[name]
        if not isinstance(value, expected) or (name == "int" and isinstance(value, bool)):
            yield f"{path}: {value!r} is no {name}"


def _of_generic(annotation: ast.Subscript, value: Any, path: str, nested: Classes) -> Iterator[str]:
    inner, generic = annotation.slice, _text(annotation.value)
    if generic == "Optional":
        if value is not None:
            yield from _of(inner, value, path, nested)
    elif generic == "List":
        for at, one in enumerate(value):
            yield from _of(inner, one, f"{path}[{at}]", nested)
    elif generic == "Literal":
        allowed = [ast.literal_eval(it) for it in getattr(inner, "elts", [inner])]
        if value not in allowed:
            yield f"{path}: {value!r} is none of {allowed}"
    elif generic in GENERICS and not isinstance(value, GENERICS[generic]):
        yield f"{path}: {value!r} is no {generic}"
