"""Finds the route of an address: one table and one syntax for the API and for the pages.

Addresses are compiled by Starlette; addresses without a place are found by a look-up, and others
among those with as many segments, so that no other middleware stands between a call and its route.

Rule a change must keep: an address has one spelling; nothing is added, cut off or redirected.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from starlette.convertors import Convertor, StringConvertor, register_url_convertor
from starlette.routing import compile_path


class WordConvertor(StringConvertor):
    """A short word: a code, a day, a token."""

    regex = "[A-Za-z0-9_-]{1,64}"


register_url_convertor("word", WordConvertor())

OPTIONS: Final = "OPTIONS"


class Routable(Protocol):
    """What a route has to say of itself."""

    @property
    def method(self) -> str:
        """The method it takes."""
        ...

    @property
    def path(self) -> str:
        """Its address, with places as Starlette writes them."""
        ...


Route = TypeVar("Route", bound=Routable)


@dataclass(frozen=True, slots=True)
class Match(Generic[Route]):
    """What stands at an address; no `route` means that it does not take the method."""

    route: Route | None
    template: str
    params: dict[str, Any]
    routes: dict[str, Route]

    @property
    def allow(self) -> bytes:
        """The methods the address takes, as the Allow header lists them."""
        return ", ".join(sorted({*self.routes, OPTIONS})).encode()


@dataclass(frozen=True, slots=True)
class _Pattern(Generic[Route]):
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
    """The routes of an application, by method and address."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Compile the addresses of these routes."""
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
        """Return what stands at an address, preferring what takes the method; None: nothing."""
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
    """Return an address with the names of its places, without their kinds."""
    return compile_path(path)[1]
