"""A whole installation for one test: real database, simulated gateway, cars in process."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID
from zoneinfo import ZoneInfo

import aiohttp

from caas import app
from caas.billing_database.connection import Database
from caas.billing_database.customers import Customers
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.billing_database.vehicles import NewVehicle, Vehicles
from caas.external_systems.admin_registration import AdminRegistration
from caas.external_systems.factory import Factory
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.in_process_vehicle_link import InProcessVehicleLink
from caas.external_systems.notification_channel import NotificationChannel, OutgoingMessage
from caas.external_systems.payment_gateway import Capabilities
from caas.external_systems.seed_contract_gateway import CAPABILITIES, SeedContractGateway
from caas.external_systems.transport_system import TransportSystem
from caas.order_management import OrderPartners
from caas.payment_processing import PaymentRequest
from caas.platform import Platform, build_platform
from caas.platform_inputs import Partners, PlatformTerms
from caas.rules.market import Market
from caas.rules.money import Money
from caas.rules.payment_states import PaymentState
from caas.rules.settlement_dates import FeeTerms
from caas.rules.time_scale import TimeScale
from caas.rules.vehicle_signatures import SignedMessage
from caas.service_catalog.subscriptions import WithdrawnSubscription
from caas_simulators import order_partners, payment_gateway
from caas_simulators.gateway_store import Terms as GatewayTerms
from caas_simulators.gateway_world import GatewaySettings, GatewayWorld
from caas_simulators.partner_world import PartnerSettings
from caas_simulators.simulated_time import Clock
from caas_simulators.vehicle_fleet import Fleet
from tests.buyers import gives_details
from tests.cars import COMMAND_KEYS, KNOWN_TO_VEHICLES, is_answered
from tests.ways_in import PARTNER_TOKEN, SIGN_IN_KEYS

TIME_SCALE = 1000.0
PATIENCE_SECONDS = 120.0
SIMPLIFIED_UP_TO = 40_000
VIN = "WVWZZZ1JZXW000001"


@dataclass(slots=True)
class Letterbox:
    """A channel that keeps what it is given."""

    letters: list[OutgoingMessage] = field(default_factory=list)

    async def send(self, message: OutgoingMessage) -> None:
        """Keep it."""
        self.letters.append(message)

    async def forget(self, message_ids: frozenset[str]) -> None:
        """Keep it no longer."""
        self.letters = [one for one in self.letters if one.id not in message_ids]

    async def close(self) -> None:
        """Nothing is held open."""


@dataclass(slots=True)
class Installation:
    """The platform and the world around it."""

    platform: Platform
    gateway: GatewayWorld
    gateway_url: str
    fleet: Fleet
    letterbox: Letterbox
    database: Database
    link: InProcessVehicleLink

    async def customer(self) -> UUID:
        """Make a customer."""
        customer = await Customers(self.database).add(
            new_id(), name="Ana", email="ana@example.com", language="es"
        )
        return customer.id

    async def car(self, vin: str = VIN) -> str:
        """Put a car on the road and into the books."""
        key = base64.b64decode(self.fleet.public_key(self.fleet.add(vin)))
        async with self.database.transaction() as connection:
            price = Money(3_000_000, "EUR")
            car = NewVehicle(vin=vin, model="Uno", price=price, public_key=key, finished=True)
            await Vehicles(self.database).put(car, within=connection)
        return vin

    def signature(self, word: SignedMessage) -> bytes:
        """Sign as the car would."""
        key = self.fleet.cars[word.vin].key
        assert key is not None, "a car has a key from when it is put on the road"
        return key.sign(word.text.encode())

    async def offer_heated_seats(self) -> None:
        """Put a one-time service into the catalogue: a month for 12.99 EUR."""
        await self.platform.service_catalog.put_service(
            code="heated-seats",
            name="Heated seats",
            kind="one_time",
            currency="EUR",
            prices=[{"duration_days": 30, "amount": 1299}],
        )

    async def buys(
        self,
        method: str | None = "pm_ok",
        *,
        vin: str = VIN,
        customer: UUID | None = None,
        **more: object,
    ) -> Payment:
        """Buy heated seats for a month, as a new customer unless one is given."""
        customer = customer or await self.customer()
        offer = await self.platform.service_catalog.service("heated-seats")
        if offer.prices[0]["amount"] > SIMPLIFIED_UP_TO:
            await gives_details(self.platform.tables.database, customer)
        order = await self.platform.service_catalog.create_service_order(
            customer=customer, vin=vin, service="heated-seats", duration_days=30, by_fleet=True
        )
        payment = await self.platform.payment_processing.initiate_service_payment(
            PaymentRequest(
                subject=order.id,
                customer=customer,
                amount=order.amount,
                currency=order.currency,
                payment_method=method,
                **more,  # type: ignore[arg-type]
            )
        )
        assert isinstance(payment, Payment)
        return payment

    async def settled(self, method: str = "pm_ok", *, vin: str = VIN) -> Payment:
        """Buy, activate and wait for the bank."""
        payment = await self.buys(method, vin=vin)
        return await self.until_settled(payment.id)

    async def until_settled(self, payment_id: UUID) -> Payment:
        """Let jobs run and the bank pay until a payment is settled.

        A charge is claimed before the gateway hears of it, and the bank pays only what it heard of.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                payment = await self.platform.tables.payments.get(payment_id)
                if payment.state is PaymentState.SETTLED:
                    return payment
                if payment.state is PaymentState.CAPTURING:
                    await self.gateway_does("settle")
                await self.platform.jobs.run_due()
                await asyncio.sleep(0.005)

    async def until(self, payment_id: UUID, condition: Callable[[Payment], bool]) -> Payment:
        """Let jobs run until the payment satisfies the condition."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                payment = await self.platform.tables.payments.get(payment_id)
                if condition(payment):
                    return payment
                await self.platform.jobs.run_due()
                await asyncio.sleep(0.005)

    async def gateway_does(self, what: str, **body: object) -> None:
        """Say something to the gateway's control plane."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.gateway_url}/_control/{what}", json=body) as answer,
        ):
            assert answer.ok, await answer.text()

    async def rest(self) -> None:
        """Let everything that is due be done, and what the cars answer be handled."""
        while await self.platform.jobs.run_due() or not is_answered(self.link):
            await asyncio.sleep(0)


def quick_gateway(scale: float) -> GatewaySettings:
    """A gateway that gives money back in a minute of its world, and whose pages wait for a test.

    A page lasts half an hour of the machine's time, however fast the world is.
    """
    terms = GatewayTerms(refund_seconds=60.0, page_seconds=1_800.0 * scale)
    return GatewaySettings(seed=1, time_scale=scale, terms=terms)


def _partners_at(http: HttpClient) -> OrderPartners:
    """The factory and those who hand a vehicle over, behind one door."""
    return OrderPartners(
        factory=Factory(http),
        admin_registration=AdminRegistration(http),
        transport_system=TransportSystem(http),
    )


@asynccontextmanager
async def standing(
    database: Database,
    *,
    scale: float = TIME_SCALE,
    settings: GatewaySettings | None = None,
    fees: FeeTerms | None = None,
    channel: NotificationChannel | None = None,
    capabilities: Capabilities = CAPABILITIES,
) -> AsyncIterator[Installation]:
    """Build an installation in which each subscription day is paid; take it down afterwards."""
    fleet = Fleet(1, command_keys=KNOWN_TO_VEHICLES, clock=Clock(scale))
    letterbox = Letterbox()
    async with AsyncExitStack() as stack:
        server, world = await stack.enter_async_context(
            payment_gateway.running(settings or quick_gateway(scale))
        )
        partners, _ = await stack.enter_async_context(
            order_partners.running(PartnerSettings(seed=1, time_scale=scale))
        )
        link = InProcessVehicleLink(
            fleet, now=app.now, command_keys=COMMAND_KEYS, on_refused=lambda *_: None
        )
        http = HttpClient(server.url, partner="gateway", api_key=Secret("sk_simulated"))
        partner_http = HttpClient(partners.url, partner="partners", api_key=Secret(PARTNER_TOKEN))
        platform = build_platform(
            database,
            Partners(
                gateway=SeedContractGateway(http, capabilities=capabilities),
                vehicles=link,
                order_partners=_partners_at(partner_http),
                channel=channel or letterbox,
            ),
            PlatformTerms(
                market=Market(zone=ZoneInfo("Europe/Madrid"), currency="EUR", language="es"),
                time_scale=TimeScale(scale),
                public_url="http://caas.example",
                folder=Path(stack.enter_context(TemporaryDirectory())),
                event_secrets=SIGN_IN_KEYS.event_secrets,
                fees=fees,
                withdrawn_subscription=WithdrawnSubscription.PROPORTIONAL,
                local_subscribers=True,
            ),
        )
        await platform.vehicle_responses.start(platform.jobs)
        for opened in (partner_http, http, link):
            stack.push_async_callback(opened.close)
        yield Installation(platform, world, server.url, fleet, letterbox, database, link)
