"""Access links: one of a person works at a time, and asking for one tells nobody anything."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest

from caas.billing_database import connection
from caas.billing_database.audit_events import Outsider
from caas.billing_database.connection import Database
from caas.billing_database.erasure_rows import SEND_ACCESS_LINKS as KIND
from caas.console.application import build_console
from caas.console.request import PageRequest
from caas.console.settings import ConsoleSettings
from caas.payment_processing import PaymentRequest
from caas.rules.money import Money
from caas.web.application import WebApplication
from tests.console.journeys import ANA, SALES
from tests.console.test_safety import Client, Reply, client_of
from tests.console.town import STOCK, ZONE, Town
from tests.installation import Installation, standing
from tests.ways_in import SIGN_IN_KEYS


@pytest.fixture
async def ana(town: Town) -> AsyncIterator[Client]:
    """Somebody without a session."""
    client = client_of(town)
    yield client
    await client.session.close()


async def asks_for_a_link(client: Client, email: str) -> Reply:
    """Fill in "I have forgotten my password"."""
    page = await client.get("/forgotten")
    fields = {"form_token": page.field("form_token"), "email": email}
    return await client.post("/forgotten", fields)


async def test_a_link_that_is_asked_for_ends_every_older_one(town: Town, ana: Client) -> None:
    await town.reserved(STOCK[0][0], email=ANA)
    first = await town.access_link(ANA)
    await asks_for_a_link(ana, ANA)
    second = await town.access_link(ANA, other_than=first)

    older, newer = [(await ana.get(link.removeprefix(town.url))).status for link in (first, second)]

    assert (older, newer) == (410, 200)


async def test_links_made_at_one_moment_leave_one_that_works(town: Town, ana: Client) -> None:
    order_id = await town.reserved(STOCK[0][0], email=ANA)
    first = await town.access_link(ANA)
    customer = (await town.platform.order_management.orders.get(order_id)).customer
    send = town.platform.access_links.send

    await asyncio.gather(
        *(send(customer, order_id, by=Outsider.NOBODY, address="192.0.2.7") for _ in range(3))
    )
    left = await town.database.fetch(
        "select token_hash from access_credentials where used_at is null and customer = $1",
        customer,
    )
    ended = await ana.get(first.removeprefix(town.url))

    assert len(left) == 1
    assert ended.status == 410


async def test_a_link_of_staff_ends_the_ones_before_it_whoever_makes_it(town: Town) -> None:
    account = (await town.database.fetch("select id from accounts where login = $1", SALES))[0]
    for number in range(2):
        await town.database.fetch(
            "insert into staff_links (token_hash, account, expires_at, created_at)"
            " values ($1, $2, db_now() + interval '1 day', db_now())",
            bytes([number]) * 32, account["id"],
        )  # fmt: skip

    left = await town.database.fetch("select token_hash from staff_links where used_at is null")

    assert [row["token_hash"] for row in left] == [b"\1" * 32]


async def test_asking_for_a_link_does_the_same_for_known_and_unknown_addresses(
    database_dsn: str,
) -> None:
    """The answer came later where an address was known, because the letter was written first."""
    alone = await connection.connect(database_dsn, connections_max=1)
    try:
        async with standing(alone) as installation:
            customers = installation.platform.order_management
            known = await customers.ordering.create_customer(
                name="Ana Ruiz", email=ANA, language="es"
            )
            await _reserved(installation, known.id)
            seen: list[str] = []
            async with alone.connection() as session:
                session.add_query_logger(lambda reported: seen.append(reported.query))
            await _asked(
                installation, "first@example.com", seen
            )  # types are looked up the first time
            asked = [
                await _asked(installation, email, seen) for email in (ANA, "nobody@example.com")
            ]
            waiting = await alone.fetch("select payload from jobs where kind = $1", KIND)
            await installation.rest()
            letters = [
                one.recipient for one in installation.letterbox.letters if "/access/" in one.text
            ]
            left = await alone.fetch("select payload from jobs where kind = $1", KIND)
    finally:
        await alone.close()

    assert asked[0] == asked[1]
    assert any("jobs" in query for query in asked[0][1])
    assert not any("customers" in query for query in asked[0][1])
    assert (len(waiting), len(left)) == (3, 0)
    assert letters == [ANA]


async def test_erasing_forgets_the_address_of_a_request_that_waits(database: Database) -> None:
    async with standing(database) as installation:
        ana = await installation.platform.order_management.ordering.create_customer(
            name="Ana Ruiz", email=ANA, language="es"
        )
        await installation.platform.access_links.ask(ANA.upper(), asked_from="192.0.2.7")
        await installation.platform.erasure.erase(ana.id)
        waiting = await database.fetch("select payload from jobs where kind = $1", KIND)

    assert waiting == []


async def _reserved(installation: Installation, customer: UUID) -> None:
    """Let a customer pay a reservation, and read the first link."""
    vin = await installation.car()
    order = await installation.platform.order_management.ordering.create_order(
        customer=customer, vin=vin, model=None, dealership="Autos Sol",
        deposit=Money(40_000, "EUR"),
    )  # fmt: skip
    await installation.platform.payment_processing.initiate_reservation_payment(
        PaymentRequest(
            subject=order.id, customer=customer, amount=40_000, currency="EUR",
            payment_method="pm_ok",
        )
    )  # fmt: skip
    await installation.rest()
    installation.letterbox.letters.clear()


async def _asked(installation: Installation, email: str, seen: list[str]) -> tuple[str, list[str]]:
    """Send the form of a forgotten password; return what was shown, and what was asked of SQL."""
    console = build_console(
        installation.platform,
        ConsoleSettings(public_url="http://caas.example", zone=ZONE, sign_in_keys=SIGN_IN_KEYS),
    )
    page, cookie = await _shown(console, "GET", b"", b"")
    token = re.findall(r'name="form_token" value="([^"]+)"', page)[0]
    seen.clear()
    body = urlencode({"form_token": token, "email": email}).encode()
    shown, _ = await _shown(console, "POST", cookie, body)
    await asyncio.sleep(0)
    return shown.replace(token, ""), list(seen)


async def _shown(
    console: WebApplication[PageRequest], method: str, cookie: bytes, body: bytes
) -> tuple[str, bytes]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"cookie", cookie), (b"content-type", b"application/x-www-form-urlencoded"),
               (b"content-length", b"%d" % len(body)), (b"host", b"caas.example")]  # fmt: skip
    scope = {"type": "http", "method": method, "path": "/forgotten", "query_string": b"",
             "headers": headers, "client": ("192.0.2.1", 1)}  # fmt: skip
    await console(scope, receive, send)
    given = dict(sent[0]["headers"]).get(b"set-cookie", b"").partition(b";")[0]
    assert sent[0]["status"] == 200
    return sent[1]["body"].decode(), given
