"""The API and the console on a filled database, and those who read it.

Rule a change must keep: what is served is built of the same parts as by `caas serve`.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
from prometheus_client import CollectorRegistry

from caas import app
from caas.api.application import build_api, is_of_api
from caas.api.authentication import Call, ConfiguredKey
from caas.api.settings import ApiSettings
from caas.billing_database.accounts import Accounts, Role, StaffMember
from caas.billing_database.connection import Database
from caas.billing_database.sessions import Sessions
from caas.console.application import build_console
from caas.console.request import SESSION
from caas.console.settings import ConsoleSettings
from caas.console.sign_in_keys import SignInKeys
from caas.external_systems.encryption_at_rest import KEY_BYTES
from caas.platform import Platform
from caas.platform_metrics import PlatformMetrics
from caas.rules.rate_limits import UNLIMITED
from caas.rules.scopes import Scope
from caas.server import Server, listening
from caas.web.application import WebApplication, side_by_side
from caas.web.http_protocol import server_config
from caas_lab.bench import fixtures
from caas_lab.bench.stub_gateway import StubGateway

HOST: Final = "127.0.0.1"
SESSION_SECONDS: Final = 3600.0
UNUSABLE: Final = "$argon2id$"
"""A password hash that no password has."""
CUSTOMERS: Final = """
(select customer from vehicle_assignments where active limit 2)
union (select customer from subscriptions where state = 'active' limit 2)
union (select customer from service_orders limit 2)
"""
DEALERSHIP: Final = "select dealership from orders limit 1"


class Visitor(msgspec.Struct, frozen=True):
    """A reader: an API key, or the session of a browser."""

    name: str
    key: str | None = None
    session: str | None = None
    role: Role | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What proves it."""
        if self.key is not None:
            return {"authorization": f"Bearer {self.key}"}
        return {"cookie": f"{SESSION}={self.session}"}


class Site(msgspec.Struct, frozen=True):
    """An address, the database behind it, and its visitors."""

    url: str
    database: Database
    visitors: Sequence[Visitor]


@asynccontextmanager
async def served(dsn: str) -> AsyncIterator[Site]:
    """Serve API and console on this database in this process."""
    name = await _gateway(dsn)
    async with fixtures.started(dsn, StubGateway(name), quick=True) as fixture:
        database = fixture.database
        customers = [UUID(str(row[0])) for row in await database.fetch(CUSTOMERS)]
        (dealership,) = await database.fetch(DEALERSHIP)
        keys = (
            _key("operator"),
            _key("of-customer", customer=customers[0]),
            _key("of-dealership", dealership=str(dealership[0])),
        )
        listener = listening(HOST, 0)
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        signs = PlatformMetrics(fixture.platform)
        site = side_by_side(
            _api(fixture.platform, keys, signs),
            build_console(fixture.platform, _console_settings(url)),
            is_for_machines=is_of_api,
        )
        ready = asyncio.Event()
        server = Server(server_config(site), ready.set)
        with listener:
            running = asyncio.create_task(server.serve(sockets=[listener]))
            await ready.wait()
            yield Site(url, database, await _visitors(database, keys, customers))
            server.should_exit = True
            await running
            await signs.close()


async def _gateway(dsn: str) -> str:
    """Return the name of the gateway that the payments are at."""
    owner = await asyncpg.connect(dsn)
    name: str = await owner.fetchval("select gateway from caas.payments limit 1")
    await owner.close()
    return name


def _key(
    name: str, *, customer: UUID | None = None, dealership: str | None = None
) -> ConfiguredKey:
    scopes = frozenset({Scope.OPERATIONS, Scope.ORDER_MANAGEMENT, Scope.SERVICE_CATALOG})
    return ConfiguredKey(name, secrets.token_urlsafe(32), scopes, customer, dealership)


def _api(
    platform: Platform, keys: Sequence[ConfiguredKey], signs: PlatformMetrics
) -> WebApplication[Call]:
    registry = CollectorRegistry()
    registry.register(signs)
    return build_api(
        platform,
        ApiSettings(
            now=app.now,
            api_keys=keys,
            registry=registry,
            degraded=signs.degraded,
            before_metrics=signs.refresh,
            key_limit=UNLIMITED,
            address_limit=UNLIMITED,
        ),
    )


def _console_settings(url: str) -> ConsoleSettings:
    return ConsoleSettings(
        public_url=url,
        zone=ZoneInfo("Europe/Madrid"),
        sign_in_keys=SignInKeys([secrets.token_bytes(KEY_BYTES)]),
        second_factor_required=False,
        language="en",
        address_limit=UNLIMITED,
    )


async def _visitors(
    database: Database, keys: Sequence[ConfiguredKey], customers: Sequence[UUID]
) -> list[Visitor]:
    """Open a session for operations, the dealership and each customer."""
    accounts, visitors = Accounts(database), [Visitor(one.name, key=one.key) for one in keys]
    staff = ((Role.OPERATIONS, None), (Role.SALES, keys[-1].dealership))
    for role, dealership in staff:
        login = f"{role}-{secrets.token_hex(4)}@caas.example"
        account = await accounts.add_staff(StaffMember(login, role, dealership), UNUSABLE)
        assert account is not None, "the login is new"
        visitors.append(await _signed_in(database, account, role, str(role)))
    for number, customer in enumerate(customers, start=1):
        account = await accounts.put_customer(customer, UNUSABLE)
        name = f"{Role.CUSTOMER} {number}"
        visitors.append(await _signed_in(database, account, Role.CUSTOMER, name))
    return visitors


async def _signed_in(database: Database, account: UUID, role: Role, name: str) -> Visitor:
    token = secrets.token_urlsafe(32)
    await Sessions(database).begin(
        token, account, idle_seconds=SESSION_SECONDS, seconds_max=SESSION_SECONDS
    )
    return Visitor(name, session=token, role=role)
