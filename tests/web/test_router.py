"""Which route an address has: one spelling each, what takes the method first."""

from dataclasses import dataclass
from uuid import UUID

import pytest

from caas.web.router import Router

ID = "01a20737-8baa-7443-b3c7-3e6890dce6ea"


@dataclass(frozen=True, slots=True)
class Route:
    """A route that answers nothing."""

    method: str
    path: str


ROUTER = Router(
    [
        Route("GET", "/things"),
        Route("POST", "/things"),
        Route("POST", "/things/search"),
        Route("GET", "/things/{name:word}"),
        Route("GET", "/orders/{order_id:uuid}"),
        Route("DELETE", "/orders/{order_id:uuid}"),
        Route("GET", "/days/{day:word}.csv"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "template", "params"),
    [
        ("GET", "/things", "/things", {}),
        ("POST", "/things/search", "/things/search", {}),
        ("GET", "/things/search", "/things/{name}", {"name": "search"}),
        ("GET", f"/orders/{ID}", "/orders/{order_id}", {"order_id": UUID(ID)}),
        ("GET", "/days/2026-11-29.csv", "/days/{day}.csv", {"day": "2026-11-29"}),
    ],
)
def test_an_address_leads_to_the_route_that_takes_the_method(
    method: str, path: str, template: str, params: dict[str, object]
) -> None:
    match = ROUTER.match(method, path)

    assert match is not None
    assert match.route is not None
    assert (match.template, match.params) == (template, params)


@pytest.mark.parametrize(
    "path",
    [
        "/things/", "//things", "/Things", "/orders/1", "/orders/", "/things/a/b", "/things/a b",
        f"/orders/{ID}\n", "/things/a\n", "/days/2026.csv.csv", "/things/" + "x" * 65,
    ],
)  # fmt: skip
def test_an_address_has_one_spelling(path: str) -> None:
    assert ROUTER.match("GET", path) is None


def test_another_method_is_told_which_are_taken() -> None:
    match = ROUTER.match("PATCH", f"/orders/{ID}")

    assert match is not None
    assert match.route is None
    assert match.allow == b"DELETE, GET, OPTIONS"
