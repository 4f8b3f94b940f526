"""Routes paths to handlers, with one table and one syntax for the API and the pages.

Starlette compiles the path templates. Paths without parameters are found by lookup, others among
the templates with as many segments; no other middleware is involved.

Rule a change must keep: a path has one spelling; nothing is normalised or redirected.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from starlette.convertors import Convertor, StringConvertor, register_url_convertor
from starlette.routing import compile_path


class WordConvertor(StringConvertor):
    """A short path parameter: a code, a day, a token."""

    regex = "[A-Za-z0-9_-]{1,64}"


register_url_convertor("word", WordConvertor())

OPTIONS: Final = "OPTIONS"


class Routable(Protocol):
    """What a route must provide."""

    @property
    def method(self) -> str:
        """The HTTP method."""
        ...

    @property
    def path(self) -> str:
        """The path template in Starlette's syntax."""
        ...


Route = TypeVar("Route", bound=Routable)


class Match(msgspec.Struct, Generic[Route], frozen=True):
    """The routes at a path; `route` is None if the method is not supported."""

    route: Route | None
    template: str
    params: dict[str, Any]
    routes: dict[str, Route]

    @property
    def allow(self) -> bytes:
        """The supported methods, as in the Allow header."""
        return ", ".join(sorted({*self.routes, OPTIONS})).encode()


class _Pattern(msgspec.Struct, Generic[Route], frozen=True):
    regex: re.Pattern[str]
    convertors: dict[str, Convertor[Any]]
    template: str
    routes: dict[str, Route]

    def params(self, path: str) -> dict[str, Any] | None:
        found = self.regex.fullmatch(path)
        if found is None:
            return None
        return {name: self.convertors[name].convert(at) for name, at in found.groupdict().items()}


class Router(Generic[Route]):
    """An application's routes by method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Compile the path templates."""
        self._exact: dict[str, dict[str, Route]] = {}
        patterns: dict[str, _Pattern[Route]] = {}
        for route in routes:
            regex, template, convertors = compile_path(route.path)
            if convertors:
                pattern = patterns.setdefault(route.path, _Pattern(regex, convertors, template, {}))
                pattern.routes[route.method] = route
            else:
                self._exact.setdefault(route.path, {})[route.method] = route
        self._patterns: dict[int, list[_Pattern[Route]]] = {}
        for path, pattern in patterns.items():
            self._patterns.setdefault(path.count("/"), []).append(pattern)

    def match(self, method: str, path: str) -> Match[Route] | None:
        """Return the match for the path, preferring one that supports the method, or None."""
        other: Match[Route] | None = None
        routes = self._exact.get(path)
        if routes is not None:
            other = Match(routes.get(method), path, {}, routes)
            if other.route is not None:
                return other
        for pattern in self._patterns.get(path.count("/"), ()):
            params = pattern.params(path)
            if params is not None:
                found = Match(pattern.routes.get(method), pattern.template, params, pattern.routes)
                if found.route is not None:
                    return found
                other = other or found
        return other


def template_of(path: str) -> str:
    """Return the path template with parameter names only, without converters."""
    return compile_path(path)[1]
