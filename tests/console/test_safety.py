"""What the channels refuse, asked without a browser: other sites, other people, card numbers."""

import html
import io
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from yarl import URL

from caas.billing_database import erasure_rows
from caas.billing_database.connection import DatabaseUnavailableError
from caas.console.application import build_console
from caas.console.settings import ConsoleSettings
from caas.payment_processing import PaymentProcessing
from tests.console.journeys import ANA, SALES
from tests.console.town import PASSWORD, STOCK, ZONE, Town
from tests.ways_in import SIGN_IN_KEYS

FREE, TAKEN = STOCK[0][0], STOCK[2][0]
CARD, IBAN = "4111 1111 1111 1111", "ES9121000418450200051332"


@dataclass(slots=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Any
    text: str

    def field(self, name: str) -> str:
        """Return the value of a hidden field."""
        found = re.search(rf'name="{name}" value="([^"]+)"', self.text)
        assert found, f"the page has no {name}"
        return found[1]

    @property
    def hidden(self) -> dict[str, str]:
        """Return every hidden field of the form that asks, as a browser would send it."""
        form = self.text[self.text.index('<form class="card form"') :].partition("</form>")[0]
        found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
        return {name: html.unescape(value) for name, value in found}

    @property
    def reported(self) -> str:
        """Return what the page says of the form before it: its address, or where one is sent."""
        where = self.headers.get("content-location") or self.headers.get("location", "")
        return str(where).partition("?")[2]


@dataclass(slots=True)
class Client:
    """Somebody who sends what they like, with cookies of their own."""

    town: Town
    session: aiohttp.ClientSession

    async def get(self, path: str, **more: Any) -> Reply:
        return await self._asked("GET", path, **more)

    async def post(self, path: str, fields: dict[str, str], **more: Any) -> Reply:
        return await self._asked("POST", path, data=fields, **more)

    async def sent(self, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        """Send bytes as they are."""
        return await self._asked("POST", path, data=io.BytesIO(body), headers=headers)

    async def sign_in(self, login: str, password: str = PASSWORD) -> Reply:
        page = await self.get("/sign-in")
        return await self.post(
            "/sign-in",
            {"login": login, "password": password, "form_token": page.field("form_token")},
        )

    async def opens_account(self, email: str) -> None:
        path = (await self.town.access_link(email)).removeprefix(self.town.url)
        page = await self.get(path)
        await self.post(path, {"password": PASSWORD, "form_token": page.field("form_token")})

    async def _asked(self, method: str, path: str, **more: Any) -> Reply:
        async with self.session.request(
            method, self.town.url + path, allow_redirects=False, **more
        ) as answer:
            return Reply(
                answer.status, answer.headers, (await answer.read()).decode(errors="replace")
            )


def client_of(town: Town) -> Client:
    """Return a client with an empty cookie jar."""
    return Client(town, aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)))


@pytest.fixture
async def sales(town: Town) -> AsyncIterator[Client]:
    """Somebody of dealership sales, signed in."""
    client = client_of(town)
    await client.sign_in(SALES)
    yield client
    await client.session.close()


@pytest.fixture
async def stranger(town: Town) -> AsyncIterator[Client]:
    """Somebody who is not signed in."""
    client = client_of(town)
    yield client
    await client.session.close()


async def test_every_page_forbids_foreign_scripts_frames_and_caches(sales: Client) -> None:
    for path in ("/", "/sign-in", "/intranet", "/intranet/stock", "/nowhere", "/offline"):
        reply = await sales.get(path)
        policy = reply.headers["content-security-policy"]

        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "same-origin"
        assert reply.headers["cache-control"] == "no-store"
        assert "style=" not in reply.text
        assert not re.search(r"<script(?![^>]+src=)|\son\w+=", reply.text)


async def test_cookies_are_out_of_reach_of_scripts_and_of_other_sites(stranger: Client) -> None:
    reply = await stranger.sign_in(SALES)

    cookie = reply.headers["set-cookie"]
    assert reply.status == 303
    assert cookie.startswith("caas-session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


async def test_over_https_cookies_travel_by_nothing_else(town: Town) -> None:
    settings = ConsoleSettings(
        public_url="https://caas.example", zone=ZONE, sign_in_keys=SIGN_IN_KEYS
    )
    entrance = build_console(town.platform, settings)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/sign-in", "query_string": b"",
             "headers": [], "client": ("192.0.2.1", 1)}  # fmt: skip
    await entrance(scope, receive, send)
    headers = dict(sent[0]["headers"])

    assert headers[b"set-cookie"].startswith(b"__Host-caas-visitor=")
    assert b"; Secure" in headers[b"set-cookie"]
    assert b"max-age=63072000" in headers[b"strict-transport-security"]


async def test_what_is_stored_of_a_session_is_no_use_to_whoever_reads_it(
    town: Town, sales: Client
) -> None:
    cookies = sales.session.cookie_jar.filter_cookies(URL(town.url))
    rows = await town.database.fetch("select token_hash from sessions")

    assert cookies["caas-session"].value.encode() not in [row["token_hash"] for row in rows]
    assert len(rows[0]["token_hash"]) == 32


async def test_a_form_without_our_token_is_refused(town: Town, sales: Client) -> None:
    page = await sales.get(f"/intranet/stock/{FREE}/reserve")
    fields = {"name": "Ana", "email": ANA, "language": "es", "deposit": "500"}
    fields["key"] = page.field("key")

    for token in ("", "x" * 43):
        reply = await sales.post(f"/intranet/stock/{FREE}/reserve", {**fields, "form_token": token})
        assert reply.status == 403

    assert await town.database.fetch("select id from customers") == []


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_form_from_another_site_is_refused_even_with_the_token(
    sales: Client, headers: dict[str, str]
) -> None:
    page = await sales.get("/account")

    reply = await sales.post("/sign-out", {"form_token": page.field("form_token")}, headers=headers)

    assert reply.status == 403
    assert (await sales.get("/intranet")).status == 200


@pytest.mark.parametrize("number", [CARD, IBAN, CARD.replace(" ", "-")])
async def test_no_field_takes_a_card_number_and_none_is_shown_again(
    town: Town, sales: Client, number: str
) -> None:
    page = await sales.get(f"/intranet/stock/{FREE}/reserve")
    fields = {"name": "Ana", "email": ANA, "language": "es", "deposit": "500", "key": ""}
    fields |= {name: page.field(name) for name in ("key", "form_token")}

    for name in ("name", "email", "deposit", "anything"):
        reply = await sales.post(
            f"/intranet/stock/{FREE}/reserve", {**fields, name: f"Ana {number}"}
        )
        assert reply.status == 422
        assert number not in reply.text
    in_query = await sales.get("/intranet/stock", params={"model": number})

    assert in_query.status == 422
    assert await town.database.fetch("select id from customers") == []


async def test_a_form_that_is_too_large_is_not_read_to_its_end(stranger: Client) -> None:
    reply = await stranger.post("/sign-in", {"login": "a" * 70_000})

    assert reply.status == 413


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a=b&" * 100, b"no equals", b"login=%00"])
async def test_a_form_that_is_no_form_is_refused(stranger: Client, body: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}

    reply = await stranger._asked("POST", "/sign-in", data=body, headers=headers)

    assert reply.status == 400


async def test_only_forms_are_taken(stranger: Client) -> None:
    reply = await stranger._asked("POST", "/sign-in", json={"login": SALES})

    assert reply.status == 400


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example", "https://evil.example", "/\\evil.example", "/a//evil.example",
        "/%2F%2Fevil.example", "/a\r\nset-cookie: a=b", "javascript:alert(1)",
    ],
)  # fmt: skip
async def test_signing_in_leads_to_our_own_pages_only(stranger: Client, path: str) -> None:
    page = await stranger.get("/sign-in")
    token = page.field("form_token")

    reply = await stranger.post(
        "/sign-in", {"login": SALES, "password": PASSWORD, "form_token": token, "next": path}
    )

    assert reply.headers["location"] == "/intranet"


async def test_what_people_type_is_shown_as_text(sales: Client) -> None:
    page = await sales.get(f"/intranet/stock/{FREE}/reserve")
    fields = {"name": "<script>alert(1)</script>", "email": '"><img src=x>', "deposit": "'\""}
    fields |= {name: page.field(name) for name in ("key", "form_token")}

    reply = await sales.post(f"/intranet/stock/{FREE}/reserve", fields)

    assert reply.status == 422
    assert "<script>alert" not in reply.text
    assert "<img src=x>" not in reply.text


async def test_nobody_buys_for_somebody_elses_car_nor_sees_another_dealerships_orders(
    town: Town,
) -> None:
    order = await town.delivered(FREE, email=ANA)
    await town.delivered(TAKEN, email="eva@example.com", name="Eva Gil")
    eva, norte = client_of(town), client_of(town)
    await eva.opens_account("eva@example.com")
    await norte.sign_in("ventas@motor-norte.example")
    token = (await eva.get("/account")).field("form_token")

    bought = await eva.post(
        "/services/heated-seats",
        {"form_token": token, "vin": FREE, "days": "30", "key": "0" * 36},
    )

    assert bought.status == 422
    assert str(order) not in (await norte.get("/intranet/orders")).text
    await eva.session.close()
    await norte.session.close()


async def test_an_erased_customer_is_signed_out_and_stays_out(town: Town) -> None:
    order = await town.reserved(FREE, email=ANA)
    ana = client_of(town)
    await ana.opens_account(ANA)
    customer = (await town.platform.order_management.orders.get(order)).customer

    async with town.database.transaction() as connection:
        await erasure_rows.clear(customer, within=connection)

    assert (await ana.get(f"/car/{order}")).status == 303
    assert (await ana.sign_in(ANA)).status == 422
    await ana.session.close()


async def test_machines_and_people_are_told_apart_by_the_address(stranger: Client) -> None:
    of_api = await stranger.get("/v1/payments")
    of_channels = await stranger.get("/v1payments")

    assert of_api.headers["content-type"] == "application/problem+json"
    assert of_channels.headers["content-type"].startswith("text/html")
    assert (await stranger.get("/health")).status == 200


async def test_an_address_is_not_a_method(sales: Client) -> None:
    page = await sales.get("/account")

    reply = await sales.post("/intranet/stock", {"form_token": page.field("form_token")})

    assert reply.status == 405


async def test_a_purchase_that_was_interrupted_and_is_sent_again_is_one_order(
    town: Town, stranger: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order was written down; its payment could not be asked for."""

    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError(reason="it is away")

    await town.delivered(FREE, email=ANA)
    await stranger.opens_account(ANA)
    page = await stranger.get(f"/services/heated-seats?vin={FREE}")
    fields = page.hidden | {"days": "30"}
    with monkeypatch.context() as during:
        during.setattr(PaymentProcessing, "initiate_service_payment", away)
        interrupted = await stranger.post("/services/heated-seats", fields)

    again = await stranger.post("/services/heated-seats", fields)

    orders = await town.platform.service_catalog.service_orders(vin=FREE)
    assert (interrupted.status, again.status) == (503, 303), again.text
    assert len(orders) == 1
