"""An installation with subscriptions: real database, gateway over a socket, cars in process."""

import asyncio
import base64
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import aiohttp
import asyncpg

from caas.billing import Billing
from caas.billing.invoices import Invoices
from caas.billing.letterhead import Letterhead
from caas.billing_database.cases import Case
from caas.billing_database.connection import Database
from caas.billing_database.customers import Customers
from caas.billing_database.identifiers import new_id
from caas.billing_database.invoices import Invoice, InvoiceRows
from caas.billing_database.payments import Payment
from caas.billing_database.subscriptions import Subscription
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.vehicles import NewVehicle, Vehicles
from caas.external_systems.admin_registration import AdminRegistration
from caas.external_systems.factory import Factory
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.in_process_vehicle_link import InProcessVehicleLink
from caas.external_systems.notification_channel import OutgoingMessage
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.external_systems.transport_system import TransportSystem
from caas.jobs import JobQueue
from caas.notifications import Notifications
from caas.order_management import OrderPartners
from caas.payment_processing.settlement import Settlement
from caas.payment_processing.subscription_payment import SubscriptionPayment
from caas.platform import Platform, build_platform
from caas.platform_inputs import Partners, PlatformTerms
from caas.rules.market import Market, Seller
from caas.rules.mes_vencido import Month
from caas.rules.money import Money
from caas.rules.payment_failures import DunningPolicy
from caas.rules.payment_states import PaymentState
from caas.rules.time_scale import TimeScale
from caas.service_catalog import ServiceCatalog
from caas.service_catalog.subscriptions import Subscriptions, WithdrawnSubscription
from caas.service_catalog.usage import Usage
from caas_simulators import payment_gateway
from caas_simulators.gateway_world import GatewaySettings
from caas_simulators.simulated_time import Clock
from caas_simulators.vehicle_fleet import Fleet
from tests.cars import COMMAND_KEYS, KNOWN_TO_VEHICLES, is_answered
from tests.ways_in import SIGN_IN_KEYS

MADRID = ZoneInfo("Europe/Madrid")
PATIENCE_SECONDS = 120.0
TIME_SCALE = 1000.0
VIN = "WVWZZZ1JZXW000001"
FEE = 2990
SERVICE = "range-plus"
SELLER = Seller(
    name="CaaS Movilidad S.A.", vat_id="ESA12345674", street="Calle de Alcalá 1",
    postcode="28014", city="Madrid", country="ES", payment_terms="By the card on file.",
)  # fmt: skip
LETTERHEAD = Letterhead.of(Market(zone=MADRID, currency="EUR", language="es", seller=SELLER))

Seen = TypeVar("Seen")


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

    @property
    def subjects(self) -> list[str]:
        """What the letters are about, in the order they were sent."""
        return [letter.subject for letter in self.letters]


@dataclass(slots=True, kw_only=True)
class SubscriptionInstallation:
    """Diagram 6's participants and the world around them."""

    platform: Platform
    database: Database
    tables: BillingDatabase
    jobs: JobQueue
    catalog: ServiceCatalog
    subscriptions: Subscriptions
    usage: Usage
    payment: SubscriptionPayment
    settlement: Settlement
    billing: Billing
    invoices: InvoiceRows
    invoice_desk: Invoices
    customers: Customers
    notifications: Notifications
    gateway_url: str
    fleet: Fleet
    link: InProcessVehicleLink
    letterbox: Letterbox

    async def customer(self) -> UUID:
        """Make a customer who speaks English."""
        customer = await Customers(self.database).add(
            new_id(), name="Ana", email="ana@example.com", language="en"
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

    async def offer(self, **changes: object) -> None:
        """Put a subscription into the catalogue: 29.90 EUR a month, 12 cents a kWh."""
        service = {
            "code": SERVICE, "name": "Range plus", "kind": "subscription", "currency": "EUR",
            "monthly_fee": FEE, "metered": [{"unit": "kWh", "unit_price": 12}], **changes,
        }  # fmt: skip
        await self.catalog.put_service(**service)  # type: ignore[arg-type]

    async def subscribes(self, method: str = "pm_ok", vin: str = VIN) -> Subscription:
        """Subscribe as a new customer."""
        return await self.platform.payment_processing.subscribe(
            customer=await self.customer(),
            vin=vin,
            service=SERVICE,
            payment_method=method,
            by_fleet=True,
        )

    async def active(self, method: str = "pm_ok", vin: str = VIN) -> Subscription:
        """Subscribe and wait for the vehicle's word."""
        subscription = await self.subscribes(method, vin)
        return await self.until(subscription.id, lambda s: s.activated_at is not None)

    async def until(
        self, subscription_id: UUID, condition: Callable[[Subscription], bool]
    ) -> Subscription:
        """Let jobs run until the subscription satisfies the condition."""

        async def look() -> Subscription | None:
            subscription = await self.subscriptions.subscription(subscription_id)
            return subscription if condition(subscription) else None

        return await self._until(look)

    async def until_paid(self, payment_id: UUID, condition: Callable[[Payment], bool]) -> Payment:
        """Let jobs run until the payment satisfies the condition."""

        async def look() -> Payment | None:
            payment = await self.tables.payments.get(payment_id)
            return payment if condition(payment) else None

        return await self._until(look)

    async def until_settled(self, payment_id: UUID) -> Payment:
        """Let jobs run and the bank pay until a payment is settled."""

        async def look() -> Payment | None:
            payment = await self.tables.payments.get(payment_id)
            if payment.state is PaymentState.CAPTURING:
                await self.gateway_does("settle")
            return payment if payment.state is PaymentState.SETTLED else None

        return await self._until(look)

    async def until_told(self, subject: str) -> OutgoingMessage:
        """Let jobs run until a letter with this subject was sent."""

        async def look() -> OutgoingMessage | None:
            return next((one for one in self.letterbox.letters if one.subject == subject), None)

        return await self._until(look)

    async def until_case(self, subject: UUID) -> Case:
        """Let jobs run until a case about this is open."""

        async def look() -> Case | None:
            return next(iter(await self.tables.cases.listed(subject=subject)), None)

        return await self._until(look)

    async def _until(self, look: Callable[[], Awaitable[Seen | None]]) -> Seen:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (seen := await look()) is None:
                await self.jobs.run_due()
                await asyncio.sleep(0.005)
        return seen

    async def until_paid_again(self, subject: UUID, *, than: UUID) -> Payment:
        """Let jobs run until something is charged by another payment than this one."""

        async def look() -> Payment | None:
            charges = await self.tables.payments.listed(subject=subject)
            newest = max(charges, key=lambda charge: charge.created_at)
            return None if newest.id == than else newest

        return await self._until(look)

    async def rest(self) -> None:
        """Let everything that is due be done, and what the cars answer be handled."""
        while await self.jobs.run_due() or not is_answered(self.link):
            await asyncio.sleep(0)

    async def month_ends(self) -> Month:
        """Move the clock behind the end of the month that runs, and return that month."""
        month = Month.containing(await self.billing._runs.now(), MADRID)
        await set_clock(self.database, month.interval(MADRID).end + timedelta(minutes=1))
        return month

    async def days_pass(self, days: int) -> None:
        """Move the clock on."""
        now = await self.billing._runs.now()
        await set_clock(self.database, now + timedelta(days=days))

    async def billed(self, subscription: Subscription) -> Invoice:
        """Let the month end, bill it, and return the subscription's invoice."""
        month = await self.month_ends()
        await self.billing.run_month(month)
        return await self.invoice_of(subscription)

    async def invoice_of(self, subscription: Subscription) -> Invoice:
        """Return the newest invoice of a subscription."""
        listed = await self.invoices.listed(subject=subscription.id)
        return listed[0]

    async def charged(self, invoice: Invoice) -> Payment:
        """Let jobs run until the charge of an invoice has ended, either way."""
        assert invoice.payment_id is not None
        ended = {PaymentState.CAPTURING, PaymentState.SETTLED, PaymentState.FAILED}
        return await self.until_paid(invoice.payment_id, lambda p: p.state in ended)

    async def gateway_does(self, what: str, **body: object) -> None:
        """Say something to the gateway's control plane."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.gateway_url}/_control/{what}", json=body) as answer,
        ):
            assert answer.ok, await answer.text()

    async def from_now_on(self, **action: object) -> None:
        """Let every initiation at the gateway go wrong like this."""
        await self.gateway_does("faults", match={"operation": "initiate"}, action=action)

    async def faults_end(self) -> None:
        """Let the gateway be well again."""
        async with (
            aiohttp.ClientSession() as session,
            session.delete(f"{self.gateway_url}/_control/faults") as answer,
        ):
            assert answer.ok, await answer.text()


async def set_clock(database: Database, moment: datetime) -> None:
    """Move the database's clock, as only a test may."""
    admin = await asyncpg.connect(database.dsn)
    await admin.execute("update caas.clock set moved = $1 - clock_timestamp()", moment)
    await admin.close()


@asynccontextmanager
async def standing(
    database: Database,
    *,
    scale: float = TIME_SCALE,
    dunning: DunningPolicy | None = None,
    withdrawn: WithdrawnSubscription = WithdrawnSubscription.PROPORTIONAL,
) -> AsyncIterator[SubscriptionInstallation]:
    """Build an installation and take it down; each day is paid unless `withdrawn` differs."""
    fleet, letterbox = Fleet(1, command_keys=KNOWN_TO_VEHICLES, clock=Clock(scale)), Letterbox()
    async with payment_gateway.running(GatewaySettings(seed=1, time_scale=scale)) as (server, _):
        link = InProcessVehicleLink(
            fleet, now=_now, command_keys=COMMAND_KEYS, on_refused=lambda *_: None
        )
        http = HttpClient(server.url, partner="gateway", api_key=Secret("sk_simulated"))
        nobody = HttpClient("http://127.0.0.1:9", partner="nobody")
        partners = Partners(
            gateway=SeedContractGateway(http),
            vehicles=link,
            order_partners=OrderPartners(
                factory=Factory(nobody),
                admin_registration=AdminRegistration(nobody),
                transport_system=TransportSystem(nobody),
            ),
            channel=letterbox,
        )
        terms = PlatformTerms(
            market=Market(zone=MADRID, currency="EUR", language="en", seller=SELLER),
            time_scale=TimeScale(scale),
            public_url="http://caas.example",
            folder=Path(tempfile.gettempdir()),
            event_secrets=SIGN_IN_KEYS.event_secrets,
            withdrawn_subscription=withdrawn,
            dunning=dunning,
        )
        installation = _built(database, partners, terms, link)
        installation.gateway_url, installation.fleet = server.url, fleet
        await installation.platform.vehicle_responses.start(installation.jobs)
        try:
            yield installation
        finally:
            await link.close()
            await http.close()


def _now() -> datetime:
    return datetime.now(UTC)


def _built(
    database: Database, partners: Partners, terms: PlatformTerms, link: InProcessVehicleLink
) -> SubscriptionInstallation:
    platform = build_platform(database, partners, terms)
    processing = platform.payment_processing
    assert isinstance(partners.channel, Letterbox)
    return SubscriptionInstallation(
        platform=platform, database=database, tables=platform.tables, jobs=platform.jobs,
        catalog=platform.service_catalog, subscriptions=platform.subscriptions,
        usage=platform.usage, payment=processing._subscription_payment,
        settlement=processing._settlement, billing=platform.billing,
        invoices=InvoiceRows(database), invoice_desk=platform.invoices,
        customers=Customers(database), notifications=platform.notifications, gateway_url="",
        fleet=Fleet(1), link=link, letterbox=partners.channel,
    )  # fmt: skip
