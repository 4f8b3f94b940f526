"""Who comes into the operations console, asked without a browser: operations, and nobody else."""

import re
from collections.abc import AsyncIterator

import pytest

from caas.billing_database.identifiers import new_id
from caas.console.operations import OPERATIONS_ROUTES
from tests.console.journeys import ANA, OPERATIONS, SALES
from tests.console.test_safety import Client, client_of
from tests.console.town import STOCK, Town

PLACES = {"kind": "probe", "vin": STOCK[0][0], "day": "2026-11-26", "place": "1", "dispute": "du_1",
          "gateway": "contract"}  # fmt: skip
PLACE = re.compile(r"\{(?P<name>\w+)(:(?P<form>\w+))?\}")


@pytest.fixture
async def client(town: Town) -> AsyncIterator[Client]:
    """Somebody with a cookie jar, not signed in."""
    made = client_of(town)
    yield made
    await made.session.close()


def addresses() -> list[tuple[str, str]]:
    """Return every address of the console, its places filled in."""
    return [(route.method, PLACE.sub(in_place, route.path)) for route in OPERATIONS_ROUTES]


def in_place(place: re.Match[str]) -> str:
    """Return what stands in a place of an address: an id of nothing where it asks for one."""
    return str(new_id()) if place["form"] == "uuid" else PLACES[place["name"]]


async def test_nobody_comes_in_without_signing_in(client: Client) -> None:
    for method, path in addresses():
        reply = await (client.get(path) if method == "GET" else client.post(path, {}))
        assert reply.status == 303, path
        assert reply.headers["location"].startswith("/sign-in")


@pytest.mark.parametrize("who", ["sales", "customer"])
async def test_sales_and_customers_are_told_that_it_is_not_theirs(
    town: Town, client: Client, who: str
) -> None:
    if who == "sales":
        await client.sign_in(SALES)
    else:
        await town.reserved(STOCK[0][0], email=ANA)
        await client.opens_account(ANA)
    token = (await client.get("/account")).field("form_token")

    for method, path in addresses():
        fields = {"form_token": token, "key": str(new_id())}
        reply = await (client.get(path) if method == "GET" else client.post(path, fields))
        assert reply.status == 403, path


async def test_what_is_not_there_is_not_there(client: Client) -> None:
    await client.sign_in(OPERATIONS)

    for path in (
        f"/operations/payments/{new_id()}", f"/operations/cases/{new_id()}",
        f"/operations/discrepancies/{new_id()}", "/operations/reconciliation/1999-01-01",
        "/operations/reconciliation/no-day",
    ):  # fmt: skip
        assert (await client.get(path)).status == 404, path


async def test_operations_see_what_the_platform_adds_to_the_gateway_s_time(
    town: Town, client: Client
) -> None:
    await client.sign_in(OPERATIONS)
    before = await client.get("/operations/response-times")
    await town.reserved(STOCK[0][0], email=ANA)
    after = await client.get("/operations/response-times")

    assert (before.status, after.status) == (200, 200)
    assert " ms" not in before.text
    rows = re.findall(r"<tr><td>([^<]+)</td>(?s:.*?)([0-9.,]+) ms", after.text)
    assert ["initiate" in dict(rows), len(rows) >= 3] == [True, True], after.text


async def test_a_session_that_has_ended_does_nothing(town: Town, client: Client) -> None:
    await client.sign_in(OPERATIONS)
    page = await client.get("/operations/system")
    fields = {"form_token": page.field("form_token"), "key": page.field("key")}
    await town.pass_time(31 * 60)

    reply = await client.post("/operations/system/check", fields)

    assert reply.status == 303
    assert "/sign-in" in reply.headers["location"]
    assert await town.database.fetch("select from jobs where kind = 'check_invariants'") == []


async def test_a_file_is_taken_where_a_page_takes_one_and_nowhere_else(client: Client) -> None:
    await client.sign_in(OPERATIONS)
    token = (await client.get("/account")).field("form_token")
    boundary = '--x\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n'
    body = f"{boundary}{token}\r\n--x--\r\n".encode()
    headers = {"content-type": "multipart/form-data; boundary=x"}

    refused = await client.sent("/operations/keys", body, headers)
    documents = f"/operations/discrepancies/{new_id()}/documents"
    lacking = await client.sent(documents, body, headers)
    too_large = await client.sent(documents, body + b"x" * (6 * 1024 * 1024), headers)

    assert refused.status == 400
    assert lacking.headers["location"].endswith("?refused=malformed_form")
    assert too_large.status == 413
