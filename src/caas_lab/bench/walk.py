"""A walk over everything that can be read: each GET of the API and each page, with every filter.

The API's calls come from its operations, the pages from their links and search forms.

Rule a change must keep: routes and filters are found, never listed here; a value of a filter is
either one that its type or form offers, or taken from the database (`SAMPLES`).
"""

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from enum import EnumMeta
from html.parser import HTMLParser
from typing import Any, Final, Literal, get_args, get_origin
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import aiohttp
import msgspec

from caas import app
from caas.api.application import OPERATIONS
from caas.api.operation import Operation
from caas.billing_database.connection import Database
from caas.console.application import ROUTES
from caas.console.page_routes import HOMES
from caas.web.router import Router, template_of
from caas_lab.bench.walked_site import Site, Visitor

EACH: Final = 2
OF_ONE_KIND_MAX: Final = 2
"""Pages of one route with the same filters that are requested; their links are alike."""
SEARCHED: Final = ("payment", "customer", "order", "vin", "transaction", "number")
"""What is typed into a search for anything."""
SAMPLES: Final[Mapping[str, str]] = {
    "payment": "id from payments",
    "customer": "id from customers",
    "order": "id from orders",
    "service_order": "id from service_orders",
    "subscription": "id from subscriptions",
    "invoice": "id from invoices",
    "run": "id from reconciliation_runs",
    "discrepancy": "id from discrepancies",
    "evidence": "id from discrepancy_evidence",
    "subject": "subject from payments",
    "vin": "vin from orders",
    "transaction": "gateway_transaction_id from payments",
    "number": "series || '-' || lpad(number::text, 6, '0') from invoices",
    "day": "day from reconciliation_days",
    "month": "month from billing_runs",
    "service_code": "code from services",
    "dealership": "dealership from orders",
    "model": "model from vehicle_models",
    "owner": "owner from discrepancies",
}
FOLLOWING: Final = frozenset({"after", "before", "below", "seen"})
"""What leads to another page of the same list, or to what is new on a page."""
READ_ALL: Final = frozenset({"selfCheck"})
"""What is asked to read everything."""
TOGETHER_MAX: Final = 6
UNUSED_ID: Final = "00000000-0000-7000-8000-000000000000"
"""What stands in an address for which the database has no id."""
NAMED_OTHERWISE: Final = {
    "/v1/service-orders/": {"order_id": "service_order"},
    "/v1/event-subscriptions/": {"subscription_id": "event_subscription"},
}


class WalkStep(msgspec.Struct, frozen=True):
    """One request: whose, to which route, with which filters, and how it was answered."""

    visitor: str
    route: str
    filters: tuple[str, ...]
    path: str
    status: int
    seconds: float


class Walk(msgspec.Struct):
    """The requests to a site."""

    site: Site
    session: aiohttp.ClientSession
    samples: dict[str, list[str]] = msgspec.field(default_factory=dict)
    steps: list[WalkStep] = msgspec.field(default_factory=list)

    async def everywhere(self) -> list[WalkStep]:
        """Make every request, one after the other."""
        self.samples = await _samples(self.site.database)
        for visitor in self.site.visitors:
            if visitor.key is not None:
                await self._calls(visitor)
            else:
                await self._pages(visitor)
        return self.steps

    async def _calls(self, visitor: Visitor) -> None:
        for operation in OPERATIONS:
            if operation.method == "GET" and operation.id not in READ_ALL:
                for path in self._addresses(operation):
                    for query in self._queries(operation):
                        await self._call(visitor, operation, path, query)

    async def _call(
        self, visitor: Visitor, operation: Operation, path: str, query: Mapping[str, str]
    ) -> None:
        """Call it, and its next page."""
        template = template_of(operation.path)
        body = await self._get(visitor, template, f"{path}?{urlencode(query)}".rstrip("?"))
        if body.startswith(b"{") and "cursor" not in query:
            cursor = json.loads(body).get("next_cursor")
            if cursor:
                more = urlencode({**query, _cursor_of(operation): cursor})
                await self._get(visitor, template, f"{path}?{more}")

    def _addresses(self, operation: Operation) -> Iterator[str]:
        """Yield the paths of the operation with ids of the database in it."""
        names = [one.split(":")[0] for one in operation.path.split("{")[1:]]
        otherwise = next(
            (known for at, known in NAMED_OTHERWISE.items() if operation.path.startswith(at)), {}
        )
        known = [
            self.samples.get(otherwise.get(name, name.removesuffix("_id")), [UNUSED_ID])
            for name in names
        ]
        for values in itertools.islice(zip(*known, strict=False), EACH) if names else ((),):
            yield template_of(operation.path).format(**dict(zip(names, values, strict=True)))

    def _queries(self, operation: Operation) -> Iterator[dict[str, str]]:
        """Yield every combination of filters, and each value of a filter alone."""
        if operation.query is None:
            yield {}
            return
        offered = {
            one.encode_name: values
            for one in msgspec.structs.fields(operation.query.parameters)
            if one.name not in ("limit", "cursor") and (values := self._offered(one.name, one.type))
        }
        required = {
            one.encode_name
            for one in msgspec.structs.fields(operation.query.parameters)
            if one.required
        }
        for names in _subsets(offered):
            if required <= set(names):
                yield {name: offered[name][0] for name in names}
        for name, values in offered.items():
            for value in values[1:]:
                yield {one: offered[one][0] for one in required} | {name: value}

    def _offered(self, name: str, kind: object) -> list[str]:
        """Return values of a query parameter."""
        kinds = [one for one in get_args(kind) if one is not type(None)]
        if get_origin(kind) is Literal:
            values = [str(one) for one in kinds]
        elif isinstance(kind, EnumMeta):
            values = [str(one) for one in kind.__members__.values()]  # type: ignore[var-annotated]
        elif kind is bool:
            values = ["true"]
        elif kind in (date, datetime):
            values = [_day(name) if kind is date else f"{_day(name)}T00:00:00Z"]
        elif kinds and name not in self.samples:
            values = self._offered(name, kinds[0])
        else:
            values = self.samples.get(name, [])
        return values

    async def _pages(self, visitor: Visitor) -> None:
        """Follow links and fill in search forms, from the visitor's home page on."""
        assert visitor.role is not None, "pages are visited by a role"
        routes = Router([one for one in ROUTES if one.method == "GET"])
        seen: Counter[tuple[str, tuple[str, ...]]] = Counter()
        found, known, ids = [HOMES[visitor.role]], set[str](), dict[str, Any]()
        while found:
            path = found.pop(0)
            match = routes.match("GET", urlsplit(path).path)
            if match is None or path in known:
                continue
            known.add(path)
            ids = match.params | ids
            kind = (match.template, _filters(path))
            seen[kind] += 1
            if seen[kind] <= OF_ONE_KIND_MAX or _is_search(path):
                body = await self._get(visitor, match.template, path)
                found += _Page.read(body, path).addresses(self.samples)
        for template in self._not_linked(visitor, {template for template, _ in seen}):
            names = [one.split("}")[0] for one in template.split("{")[1:]]
            path = template.format(**{name: ids.get(name, UNUSED_ID) for name in names})
            await self._get(visitor, template, path)

    def _not_linked(self, visitor: Visitor, linked: set[str]) -> list[str]:
        """Return the pages of a role to which no page leads now."""
        of_role = (
            template_of(one.path)
            for one in ROUTES
            if one.method == "GET" and visitor.role in one.roles
        )
        return [template for template in of_role if template not in linked]

    async def _get(self, visitor: Visitor, route: str, path: str) -> bytes:
        began = time.perf_counter()
        async with self.session.get(
            self.site.url + path, headers=visitor.headers, allow_redirects=False
        ) as answer:
            body = await answer.read()
        took = time.perf_counter() - began
        self.steps.append(WalkStep(visitor.name, route, _filters(path), path, answer.status, took))
        return body


class _Page(HTMLParser):
    """The links of a page, and its search forms with what they offer."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._links: list[str] = []
        self._forms: list[tuple[str, dict[str, list[str]]]] = []
        self._offered: dict[str, list[str]] | None = None
        self._select = ""

    @classmethod
    def read(cls, body: bytes, path: str) -> "_Page":
        """Read what a page was answered with; a file has no links."""
        page = cls(path)
        page.feed(body.decode(errors="replace"))
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links and fields."""
        given = {name: value or "" for name, value in attrs}
        self._links += [given[one] for one in ("href", "hx-get") if given.get(one)]
        if tag == "form":
            is_search = given.get("method", "get").lower() == "get"
            self._offered = {} if is_search else None
            if self._offered is not None:
                self._forms.append((given.get("action", ""), self._offered))
        elif self._offered is not None and given.get("name"):
            self._select = given["name"]
            self._offered[self._select] = [given.get("type", TEXT)] if tag == "input" else []
        elif self._offered is not None and tag == "option":
            self._offered[self._select].append(given.get("value", SHOWN))

    def handle_data(self, data: str) -> None:
        """Note the text of an option that has no other value."""
        if self._offered and self._offered.get(self._select, [""])[-1:] == [SHOWN]:
            self._offered[self._select][-1] = data.strip()

    def addresses(self, samples: Mapping[str, list[str]]) -> list[str]:
        """Return every address that the page leads to."""
        found = [urljoin(self._path, link).partition("#")[0] for link in self._links]
        for action, offered in self._forms:
            values = {name: _typed(name, given, samples) for name, given in offered.items()}
            at = urljoin(self._path, action).partition("?")[0]
            found += [
                f"{at}?{urlencode({name: values[name][0] for name in names})}"
                for names in _subsets(values)
            ]
            for name, given in values.items():
                found += [f"{at}?{urlencode({name: one})}" for one in given[1:]]
        return [path for path in found if path.startswith("/")]


SHOWN: Final = "\0"
TEXT: Final = "text"


def _typed(name: str, offered: Iterable[str], samples: Mapping[str, list[str]]) -> list[str]:
    """Return what is entered into a field of a search form."""
    given = list(offered)
    if given == ["date"]:
        return [_day(name)]
    if given in (["search"], [TEXT]):
        return samples.get(name) or [one for kind in SEARCHED for one in samples[kind][:1]]
    return [one for one in given if one]


def _day(name: str) -> str:
    """Return a day for the beginning or the end of a period, a month long."""
    ends = name in ("until", "to", "created_to")
    return str(app.now().date() - timedelta(days=10 if ends else 40))


def _subsets(offered: Mapping[str, list[str]]) -> Iterator[tuple[str, ...]]:
    """Yield every combination of filters; of very many, those of up to two and all together."""
    names = [name for name, values in offered.items() if values]
    sizes = range(len(names) + 1) if len(names) <= TOGETHER_MAX else (0, 1, 2, len(names))
    for many in sizes:
        yield from itertools.combinations(names, many)


def _filters(path: str) -> tuple[str, ...]:
    return tuple(sorted(name for name, _ in parse_qsl(urlsplit(path).query)))


def _is_search(path: str) -> bool:
    return bool(_filters(path)) and not FOLLOWING.intersection(_filters(path))


def _cursor_of(operation: Operation) -> str:
    assert operation.query is not None, "only a list has a next page"
    names = {one.name for one in msgspec.structs.fields(operation.query.parameters)}
    return "cursor" if "cursor" in names else "after"


async def _samples(database: Database) -> dict[str, list[str]]:
    """Return a few values of each kind."""
    samples: dict[str, list[str]] = {}
    for name, what in SAMPLES.items():
        value, _, table = what.rpartition(" from ")
        query = f"select distinct v from (select ({value})::text as v from {table} limit 1000) s"  # noqa: S608 - of this file
        rows: list[Any] = await database.fetch(f"{query} where v is not null limit {EACH}")
        samples[name] = [row["v"] for row in rows]
    return samples
