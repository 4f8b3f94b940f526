"""What the tests of the API share: an installation whose doors stand open on a real socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
import pytest
import uvicorn

from caas import server
from caas.api.application import build_api
from caas.api.authentication import parse_api_keys
from caas.api.settings import ApiSettings, GatewayWebhooks
from caas.billing_database import connection, self_check
from caas.billing_database.connection import Database
from caas.billing_database.vehicles import NewVehicle, Vehicles
from caas.external_systems.http import Secret
from caas.external_systems.webhook_signatures import WebhookVerifier
from caas.rules.money import Money
from caas.rules.rate_limits import UNLIMITED
from caas.web.http_protocol import server_config
from tests.databases import fresh_database
from tests.installation import Installation, standing

SOMEBODYS_PAYMENT: dict[str, object] = {
    "subject": "01a20737-8baa-7443-b3c7-3e6890dce6ea",
    "customer": "01a20737-8baa-7443-b3c7-3e6890dce6eb",
    "amount": 1299,
    "currency": "EUR",
    "payment_method": "pm_ok",
}
ASLEEP = "WVWZZZ1JZXWASLEEP"
ADMIN_KEY = "k" * 43
GATEWAY_SECRET = Secret("whsec_" + "Z2F0ZXdheS1zZWNyZXQtb2YtdGhlLXRlc3Rz")
OLD_GATEWAY_SECRET = Secret("whsec_" + "b2xkLWdhdGV3YXktc2VjcmV0LW9mLXRlc3Rz")
OTHER_GATEWAY_SECRET = Secret("whsec_" + "b3RoZXItZ2F0ZXdheS1zZWNyZXQtb2YtdGVzdHM=")
PARTNER_SECRET = Secret("whsec_" + "cGFydG5lci1zZWNyZXQtb2YtdGhlLXRlc3Rz")
JSON = "application/json"


def now() -> datetime:
    """The clock of the tests."""
    return datetime.now(UTC)


def key(name: str) -> str:
    """The key of a caller of this name."""
    return (name + "-" + "x" * 43)[:43]


KEYS = ",".join(
    f"{name}:{scope}:{key(name)}"
    for name, scope in {
        "orders": "order-management",
        "services": "service-catalog",
        "fleet": "service-catalog+fleet",
        "billing": "billing",
        "ota": "ota-engine",
        "webhooks": "webhook-handler",
        "operators": "operations",
    }.items()
) + f",admin:any:{ADMIN_KEY}"  # fmt: skip


@dataclass(slots=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


@dataclass(slots=True)
class Doors:
    """The API of an installation on a socket, and a client of it."""

    installation: Installation
    url: str
    port: int
    settings: ApiSettings
    session: aiohttp.ClientSession
    woken: list[None] = field(default_factory=list)

    async def car_that_never_wakes(self) -> None:
        """Put a car into the books that answers no command."""
        async with self.installation.database.transaction() as connection:
            car = NewVehicle(
                vin=ASLEEP, model="Uno", price=Money(3_000_000, "EUR"), public_key=b"k" * 32
            )
            await Vehicles(self.installation.database).put(car, within=connection)

    async def as_if_never_answered(self) -> None:
        """Make every call look as if its process had died before answering, a while ago."""
        async with self.installation.database.transaction() as connection:
            await connection.execute("set local role none")
            await connection.execute(
                "alter table idempotency_keys disable trigger answers_once;"
                "update idempotency_keys set answer_status = null, answer_body = null,"
                " created_at = created_at - interval '2 minutes';"
                "alter table idempotency_keys enable always trigger answers_once"
            )

    async def call(
        self, method: str, path: str, *, caller: str | None = "admin", **more: Any
    ) -> Reply:
        """Make a call as this caller and read the answer."""
        headers = dict(more.pop("headers", {}))
        if caller is not None:
            secret = ADMIN_KEY if caller == "admin" else key(caller)
            headers.setdefault("authorization", f"Bearer {secret}")
        async with self.session.request(method, self.url + path, headers=headers, **more) as answer:
            return Reply(
                answer.status,
                {name.lower(): value for name, value in answer.headers.items()},
                await answer.read(),
            )

    async def get(self, path: str, **more: Any) -> Reply:
        """GET."""
        return await self.call("GET", path, **more)

    async def post(self, path: str, body: object, **more: Any) -> Reply:
        """POST with a fresh Idempotency-Key, unless one is given."""
        headers = {"idempotency-key": str(uuid4()), **more.pop("headers", {})}
        return await self.call("POST", path, json=body, headers=headers, **more)


@contextlib.asynccontextmanager
async def listening(app: Any, **more: Any) -> AsyncIterator[int]:
    """Serve an application on a free port until the block is left."""
    site = uvicorn.Server(server_config(app, **more))
    listener = server.listening("127.0.0.1", 0)
    serving = asyncio.get_running_loop().create_task(site.serve(sockets=[listener]))
    while not site.started:
        await asyncio.sleep(0.005)
    try:
        yield listener.getsockname()[1]
    finally:
        site.should_exit = True
        await serving
        listener.close()


def settings_of_tests(**more: Any) -> ApiSettings:
    """Settings with every key and secret the tests use."""
    return ApiSettings(
        now=now,
        api_keys=parse_api_keys(KEYS),
        gateways={
            "contract": GatewayWebhooks(WebhookVerifier((GATEWAY_SECRET, OLD_GATEWAY_SECRET))),
            "other": GatewayWebhooks(WebhookVerifier((OTHER_GATEWAY_SECRET,))),
        },
        factory_webhook_secrets=(PARTNER_SECRET,),
        transport_webhook_secrets=(PARTNER_SECRET,),
        **{"key_limit": UNLIMITED, "address_limit": UNLIMITED, **more},
    )


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with a car and a service on offer, its partners' webhooks applied."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


@contextlib.asynccontextmanager
async def standing_open(installation: Installation) -> AsyncIterator[Doors]:
    """Open the doors of an installation on a socket."""
    woken: list[None] = []
    settings = settings_of_tests(on_webhook=lambda: woken.append(None))
    async with (
        listening(build_api(installation.platform, settings)) as port,
        aiohttp.ClientSession() as session,
    ):
        yield Doors(installation, f"http://127.0.0.1:{port}", port, settings, session, woken)


@pytest.fixture
async def doors(installation: Installation) -> AsyncIterator[Doors]:
    """The API of the installation on a socket."""
    async with standing_open(installation) as opened:
        yield opened


@contextlib.asynccontextmanager
async def doors_of_a_database(server_dsn: str) -> AsyncIterator[Doors]:
    """Open an installation over a database of its own, for longer than one test."""
    async with fresh_database(server_dsn) as dsn:
        database = await connection.connect(dsn)
        async with standing(database) as installation, standing_open(installation) as opened:
            yield opened
        await database.close()


@pytest.fixture(scope="session")
async def quiet_doors(server_dsn: str) -> AsyncIterator[Doors]:
    """One installation for all tests whose requests change nothing; still empty at the end."""
    async with doors_of_a_database(server_dsn) as opened:
        yield opened
        rows = await opened.installation.database.fetch(
            "select id from payments union all select id from webhook_inbox"
        )
    assert not rows, "a request that was refused changed something"


@pytest.fixture(scope="session")
async def fuzzed_doors(server_dsn: str) -> AsyncIterator[Doors]:
    """One installation for everything that is thrown at the API; its laws hold at the end."""
    async with doors_of_a_database(server_dsn) as opened:
        await opened.installation.car()
        await opened.installation.offer_heated_seats()
        yield opened
        await opened.installation.rest()
        findings = await self_check.self_check(opened.installation.database)
    assert not [found.invariant.name for found in findings if found.broken]
