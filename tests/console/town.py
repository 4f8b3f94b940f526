"""A town to live in for one test: the platform on a socket, its worker at work, everybody outside.

Everything a browser needs is there: the API and the channels on one port, the simulated gateway
and partners with their webhooks, cars, a stock to sell from, and people with passwords.
"""

import asyncio
import base64
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import aiohttp
import msgspec
from msgspec.structs import replace

from caas import app
from caas.billing_database.accounts import Accounts, Role, StaffMember
from caas.billing_database.audit_events import AuditType, Outsider, audit
from caas.billing_database.cases import Case
from caas.billing_database.connection import Database
from caas.billing_database.orders import Order
from caas.console.passwords import Passwords
from caas.external_systems.admin_registration import AdminRegistration
from caas.external_systems.factory import Factory
from caas.external_systems.gateway_adapters import GatewayContext
from caas.external_systems.http import HttpClient
from caas.external_systems.in_process_vehicle_link import InProcessVehicleLink
from caas.external_systems.local_outbox import LocalOutbox, OutboxLetters
from caas.external_systems.notification_channel import OutgoingMessage
from caas.external_systems.transport_system import TransportSystem
from caas.order_management import OrderPartners
from caas.payment_processing import PaymentRequest
from caas.platform import Platform, build_platform
from caas.platform_inputs import Partners, PlatformTerms
from caas.rules.mes_vencido import Month
from caas.rules.money import Money
from caas.rules.order_states import OrderState
from caas.rules.time_scale import TimeScale
from caas.server import Simulated, listening, serve
from caas.settings import IN_PROCESS_VEHICLES, Settings, read_settings
from caas_simulators import order_partners, payment_gateway
from caas_simulators.gateway_world import GatewaySettings
from caas_simulators.partner_world import PartnerSettings
from caas_simulators.simulated_time import Clock
from caas_simulators.vehicle_fleet import Fleet
from caas_simulators.webhook_sender import Target
from tests.buyers import gives_details
from tests.cars import COMMAND_KEY, COMMAND_KEYS, KNOWN_TO_VEHICLES
from tests.external_systems.stripe_asked import KnownCustomers, NothingReported
from tests.ways_in import SETTINGS as WAYS_IN
from tests.ways_in import SIGN_IN_KEYS

SCALE = 20.0
PATIENCE_SECONDS = 120.0
ZONE = ZoneInfo("Europe/Madrid")
SECRET = "whsec_" + "Z2F0ZXdheS1zZWNyZXQtb2YtdGhlLXRlc3Rz"
SOL, NORTE = "Autos Sol", "Motor Norte"
PASSWORD = "a long phrase for tests"
STAFF = (
    ("ventas@autos-sol.example", Role.SALES, SOL),
    ("ventas@motor-norte.example", Role.SALES, NORTE),
    ("operaciones@caas.example", Role.OPERATIONS, None),
    ("operaciones.2@caas.example", Role.OPERATIONS, None),
)
_hashed: list[str] = []
STOCK = (
    ("WVWZZZ1JZXW000001", "Brisa", 2_450_000, True),
    ("WVWZZZ1JZXW000002", "Brisa", 2_450_000, False),
    ("WVWZZZ1JZXW000003", "Duna", 3_690_000, True),
    ("WVWZZZ1JZXW000004", "Duna", 3_690_000, False),
    ("WVWZZZ1JZXW000005", "Cierzo GT", 5_290_000, True),
)
ACCESS_LINK = re.compile(r"https?://\S+/access/[\w-]+")
Found = TypeVar("Found")


@dataclass(slots=True)
class Letterbox:
    """A channel that keeps what it is given, and writes it to an outbox as `up` does."""

    folder: Path
    letters: list[OutgoingMessage] = field(default_factory=list)

    async def send(self, message: OutgoingMessage) -> None:
        await LocalOutbox(self.folder).send(message)
        self.letters.append(message)

    async def forget(self, message_ids: frozenset[str]) -> None:
        """Keep it no longer."""
        self.letters = [one for one in self.letters if one.id not in message_ids]

    async def close(self) -> None:
        """Nothing is held open."""


class Town(msgspec.Struct, frozen=True, kw_only=True):
    """The platform on its socket, and the strings of the world around it."""

    url: str
    platform: Platform
    database: Database
    fleet: Fleet
    letterbox: Letterbox
    gateway_url: str
    partners_url: str
    http: aiohttp.ClientSession

    async def gateway_does(self, what: str, **body: object) -> Any:
        return await self._control(f"{self.gateway_url}/_control/{what}", body)

    async def partners_do(self, what: str, **body: object) -> Any:
        return await self._control(f"{self.partners_url}/_control/{what}", body)

    async def letter_to(self, email: str, *, containing: str = "") -> str:
        """Wait for a letter to this address, and return its text."""

        async def arrived() -> str | None:
            for letter in reversed(self.letterbox.letters):
                if letter.recipient == email and containing in letter.text:
                    return letter.text
            return None

        return await eventually(arrived)

    async def access_link(self, email: str, *, other_than: str = "") -> str:
        """Wait for a link of the access credentials that was sent to somebody, and return it."""

        async def arrived() -> str | None:
            for letter in reversed(self.letterbox.letters):
                link = ACCESS_LINK.search(letter.text)
                if link and letter.recipient == email and link[0] != other_than:
                    return link[0]
            return None

        return await eventually(arrived)

    async def reserved(
        self,
        vin: str,
        *,
        email: str,
        name: str = "Ana Ruiz",
        deposit: int = 50_000,
        dealership: str = SOL,
        known: bool = True,
    ) -> UUID:
        """Let a customer reserve a vehicle at the dealership; return the order.

        Who is not `known` has not said where they are.
        """
        management = self.platform.order_management
        customer = await management.ordering.create_customer(
            name=name, email=email, language="es", dealership=dealership
        )
        if known:
            await gives_details(self.database, customer.id)
        order = await management.ordering.create_order(
            customer=customer.id, vin=vin, model=None, dealership=dealership,
            deposit=Money(deposit, "EUR"),
        )  # fmt: skip
        await self.platform.payment_processing.initiate_reservation_payment(
            _paid_well(order, order.deposit)
        )
        return order.id

    async def delivered(self, vin: str, *, email: str, name: str = "Ana Ruiz") -> UUID:
        """Let a customer buy a finished vehicle and get it; return the order."""
        order_id = await self.reserved(vin, email=email, name=name)
        await self.pays_the_rest(order_id)
        await self.delivery_is_completed(order_id)
        await self.order_is(order_id, OrderState.DELIVERED)
        return order_id

    async def pays_the_rest(self, order_id: UUID) -> None:
        """Let the rest be paid once the vehicle is ready, and wait until the delivery has a day."""
        await self.order_is(order_id, OrderState.READY)
        order = await self.platform.order_management.orders.get(order_id)
        await self.platform.payment_processing.initiate_final_payment(_paid_well(order, order.rest))
        await self.order_is(order_id, OrderState.DELIVERY_SCHEDULED)

    async def lost(self, vin: str, *, email: str, deposit: int = 50_000) -> Case:
        """Let a customer's final payment be declined; return the case of the held deposit."""
        order_id = await self.reserved(vin, email=email, deposit=deposit)
        await self.order_is(order_id, OrderState.READY)
        order = await self.platform.order_management.orders.get(order_id)
        await self.platform.payment_processing.initiate_final_payment(
            replace(_paid_well(order, order.rest), payment_method="pm_declined")
        )
        (case,) = await self.platform.tables.cases.listed(kind="deposit_held")
        return case

    async def order_is(self, order_id: UUID, state: OrderState) -> None:
        """Wait until an order is in a state."""

        async def there() -> bool | None:
            order = await self.platform.order_management.orders.get(order_id)
            return True if order.state is state else None

        await eventually(there)

    async def vehicle_is_ready(self, order_id: UUID) -> None:
        """Let the factory finish an order's vehicle."""
        order = await self.platform.order_management.orders.get(order_id)
        await self.partners_do(f"ready/{order.factory_order_id}")

    async def delivery_is_completed(self, order_id: UUID) -> None:
        """Let the transport bring an order's vehicle."""
        order = await self.platform.order_management.orders.get(order_id)
        await self.partners_do(f"completed/{order.delivery_id}")

    async def as_owner(self, statement: str) -> None:
        """Run a statement as the one who owns the schema, not as the application."""
        async with self.database.connection() as connection:
            await connection.execute("set role none")
            try:
                await connection.execute(statement)
            finally:
                await connection.execute("set role caas_app")

    async def month_is_over(self) -> Month:
        """Let the running month end while everybody stays signed in; return that month."""
        month = Month.containing(app.now(), ZONE)
        over = month.next().first_instant(ZONE) - app.now() + timedelta(hours=1)
        await self.pass_time(over.total_seconds())
        await self.as_owner(
            "update caas.sessions set idle_until = caas.db_now() + interval '1 day',"
            " ends_at = caas.db_now() + interval '1 day'"
        )
        return month

    async def pass_time(self, seconds: float) -> None:
        """Move the database's clock, as only tests do."""
        await self.as_owner(f"update caas.clock set moved = moved + interval '{seconds} seconds'")

    async def _control(self, url: str, body: object) -> Any:
        async with self.http.post(url, json=body) as answer:
            assert answer.ok, await answer.text()
            return await answer.json()


def _paid_well(order: Order, due: Money) -> PaymentRequest:
    return PaymentRequest(
        subject=order.id, customer=order.customer, amount=due.amount, currency=due.currency,
        payment_method="pm_ok",
    )  # fmt: skip


async def eventually(look: Callable[[], Awaitable[Found | None]]) -> Found:
    """Look again and again until there is something."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = await look()
            if found is not None:
                return found
            await asyncio.sleep(0.02)


@asynccontextmanager
async def founded(database: Database) -> AsyncIterator[Town]:
    """Build a town over an empty database and take it down afterwards."""
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listening("127.0.0.1", 0))  # nobody else takes the port
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        gateway, _ = await stack.enter_async_context(
            payment_gateway.running(
                GatewaySettings(seed=1, webhooks=_target(url, "gateway"), merchant="CaaS")
            )
        )
        partners, _ = await stack.enter_async_context(
            order_partners.running(
                PartnerSettings(
                    seed=1,
                    factory_webhooks=_target(url, "factory"),
                    transport_webhooks=_target(url, "transport"),
                )
            )
        )
        settings = _settings(database, url, gateway.url, partners.url)
        fleet = Fleet(
            1, command_keys=KNOWN_TO_VEHICLES, clock=Clock(SCALE), latency_seconds=0.1 * SCALE
        )
        letterbox = Letterbox(Path(stack.enter_context(TemporaryDirectory())))
        outside = await _outside(stack, settings, fleet, letterbox)
        terms = PlatformTerms(
            market=settings.market,
            time_scale=TimeScale(SCALE),
            public_url=url,
            folder=Path(stack.enter_context(TemporaryDirectory())),
            event_secrets=SIGN_IN_KEYS.event_secrets,
        )
        platform = build_platform(database, outside, terms)
        await platform.vehicle_responses.start(platform.jobs)
        stack.push_async_callback(outside.vehicles.close)
        letters = OutboxLetters(letterbox.folder)
        await _at_work(stack, platform, (settings, letters), listener)
        await _furnish(platform, fleet)
        await _employ(database)
        yield Town(
            url=url,
            platform=platform,
            database=database,
            fleet=fleet,
            letterbox=letterbox,
            gateway_url=gateway.url,
            partners_url=partners.url,
            http=await stack.enter_async_context(aiohttp.ClientSession()),
        )


async def _employ(database: Database) -> None:
    """Add the staff; their one password is hashed once, because that is made to take long."""
    if not _hashed:
        _hashed.append(await Passwords().hashed(PASSWORD))
    for login, role, dealership in STAFF:
        async with database.transaction() as connection:
            account = await Accounts(database).add_staff(
                StaffMember(login, role, dealership), *_hashed, within=connection
            )
            assert account is not None, "the database is new"
            await audit(
                AuditType.STAFF_ADDED, by=Outsider.SETTINGS, subject=account, within=connection
            )


def _settings(database: Database, url: str, gateway_url: str, partners_url: str) -> Settings:
    return read_settings(
        {
            "CAAS_DATABASE_URL": database.dsn,
            "CAAS_GATEWAY_URL": gateway_url,
            "CAAS_GATEWAY_API_KEY": "sk_simulated",
            "CAAS_GATEWAY_WEBHOOK_SECRETS": SECRET,
            "CAAS_MQTT_URL": IN_PROCESS_VEHICLES,
            "CAAS_VEHICLE_COMMAND_KEYS": COMMAND_KEY,
            **WAYS_IN,
            "CAAS_SECOND_FACTOR": "optional",
            "CAAS_FACTORY_URL": partners_url,
            "CAAS_REGISTRATION_URL": partners_url,
            "CAAS_TRANSPORT_URL": partners_url,
            "CAAS_PARTNER_WEBHOOK_SECRETS": SECRET,
            "CAAS_PUBLIC_URL": url,
            "CAAS_API_KEYS": f"operators:operations:{'k' * 43}",
            "CAAS_TIME_SCALE": str(SCALE),
        }
    )


def _target(url: str, name: str) -> Target:
    return Target(f"{url}/webhooks/{name}", [SECRET])


async def _outside(
    stack: AsyncExitStack, settings: Settings, fleet: Fleet, letterbox: Letterbox
) -> Partners:
    context = GatewayContext(
        customers=KnownCustomers(),
        reported=NothingReported(),
        return_url=settings.public_url,
        now=app.now,
    )
    gateway = settings.gateways["contract"].connect(context)
    partners = HttpClient(
        settings.factory_url, partner="partners", api_key=settings.factory_credential.token
    )
    stack.push_async_callback(gateway.close)
    stack.push_async_callback(partners.close)
    return Partners(
        gateway=gateway,
        vehicles=InProcessVehicleLink(
            fleet, now=app.now, command_keys=COMMAND_KEYS, on_refused=lambda *_: None
        ),
        order_partners=OrderPartners(
            factory=Factory(partners),
            admin_registration=AdminRegistration(partners),
            transport_system=TransportSystem(partners),
        ),
        channel=letterbox,
    )


async def _at_work(
    stack: AsyncExitStack,
    platform: Platform,
    reported: tuple[Settings, OutboxLetters],
    listener: socket.socket,
) -> None:
    """Let a worker work, and the API and the channels listen."""
    loop, listens = asyncio.get_running_loop(), asyncio.Event()
    settings, letters = reported
    controls = {"gateway": settings.gateways["contract"].address, "partners": settings.factory_url}
    serving = serve(
        platform, settings, listener=listener, on_listening=listens.set,
        simulated=Simulated(controls, letters=letters),
    )  # fmt: skip
    tasks = [loop.create_task(platform.jobs.run()), loop.create_task(serving)]

    async def stop() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stack.push_async_callback(stop)
    await listens.wait()


async def _furnish(platform: Platform, fleet: Fleet) -> None:
    """Put cars into the stock and services into the catalogue."""
    for vin, model, price, finished in STOCK:
        await platform.order_management.put_vehicle(
            vin=vin, model=model, price=Money(price, "EUR"),
            public_key=base64.b64decode(fleet.public_key(fleet.add(vin))), finished=finished,
        )  # fmt: skip
    for code, name, names, first in (
        ("heated-seats", "Asientos calefactables", {"en": "Heated seats"}, 1299),
        ("matrix-lights", "Faros matriciales", {"en": "Matrix headlights"}, 990),
        ("autopilot", "Conducción asistida", {}, 4990),
    ):
        prices = [
            {"duration_days": days, "amount": first * factor}
            for days, factor in ((30, 1), (90, 2), (365, 6))
        ]
        await platform.service_catalog.put_service(
            code=code, name=name, names=names, kind="one_time", currency="EUR", prices=prices
        )
    await platform.service_catalog.put_service(
        code="range-plus", name="Autonomía ampliada", names={"en": "Extended range"},
        kind="subscription", currency="EUR",
        monthly_fee=2990, metered=[{"unit": "kWh", "unit_price": 12}],
    )  # fmt: skip
