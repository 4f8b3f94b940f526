"""Every page of the channels, asked by everybody: whose it is decides, and nothing else.

The pages are read off the routes, so that a new page is asked about without being listed here.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from caas.billing_database.accounts import Role
from caas.console.application import ROUTES
from caas.console.page_routes import PageRoute
from tests.console.belongings import NOWHERE, ana_owns, path_of
from tests.console.journeys import ANA, SALES
from tests.console.test_safety import Client, client_of
from tests.console.town import STOCK, Town

EVA = "eva@example.com"
OWNED = ("{order_id:uuid}", "{payment_id:uuid}", "{subscription_id:uuid}", "{invoice_id:uuid}")
GUARDED = [route for route in ROUTES if route.roles]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Everybody who may ask, and what is Ana's, by the places of the routes."""

    people: dict[str, Client]
    tokens: dict[str, str]
    things: dict[str, str]

    async def asked(self, who: str, route: PageRoute) -> int:
        """Return how somebody is answered at a route."""
        client, path = self.people[who], path_of(route, self.things)
        if route.method == "GET":
            return (await client.get(path)).status
        fields = {"form_token": self.tokens[who], "key": str(NOWHERE), "understood": "yes"}
        return (await client.post(path, fields)).status


@pytest.fixture
async def neighbours(town: Town) -> AsyncIterator[Neighbours]:
    """Two customers, two dealerships, operations, and somebody nobody knows."""
    async with AsyncExitStack() as stack:
        people = {
            name: client_of(town) for name in ("stranger", "ana", "eva", "sol", "norte", "ops")
        }
        for client in people.values():
            stack.push_async_callback(client.session.close)

        async def enter() -> None:
            await people["ana"].opens_account(ANA)
            await people["eva"].opens_account(EVA)

        await town.delivered(STOCK[2][0], email=EVA, name="Eva Gil")
        things = await ana_owns(town, enter)
        await people["sol"].sign_in(SALES)
        await people["norte"].sign_in("ventas@motor-norte.example")
        await people["ops"].sign_in("operaciones@caas.example")
        tokens = {
            name: (await client.get("/sign-in" if name == "stranger" else "/account")).field(
                "form_token"
            )
            for name, client in people.items()
        }
        yield Neighbours(people, tokens, things)


ROLE_OF = {
    "ana": Role.CUSTOMER, "eva": Role.CUSTOMER, "sol": Role.SALES, "norte": Role.SALES,
    "ops": Role.OPERATIONS,
}  # fmt: skip
OTHERS = ("eva", "norte")
"""The same roles as the owners, and strangers to what is Ana's."""


async def test_nobody_sees_or_does_what_is_not_theirs(neighbours: Neighbours) -> None:
    wrong: list[str] = []
    asked = 0
    for route in GUARDED:
        is_owned = any(place in route.path for place in OWNED)
        for who, role in ROLE_OF.items():
            if role in route.roles and not (is_owned and who in OTHERS):
                continue
            status = await neighbours.asked(who, route)
            expected = 404 if role in route.roles else 403
            asked += 1
            if status != expected:
                wrong.append(f"{who} {route.method} {route.path}: {status}, not {expected}")
        if await neighbours.asked("stranger", route) != 303:
            wrong.append(f"stranger {route.method} {route.path}")

    assert wrong == []
    assert asked > 2 * len(GUARDED)


async def test_owners_see_what_is_theirs(neighbours: Neighbours) -> None:
    """Without this, the test above would accept an installation that shows nobody anything."""
    owners = {Role.CUSTOMER: "ana", Role.SALES: "sol"}
    seen: dict[str, int] = {}
    for route in GUARDED:
        for role in route.roles & owners.keys():
            if route.method == "GET" and any(place in route.path for place in OWNED):
                seen[f"{owners[role]} {route.path}"] = await neighbours.asked(owners[role], route)

    refused = {page: status for page, status in seen.items() if status in {403, 404}}
    assert refused == {}
    assert len(seen) > len(OWNED)
