"""Two simulated gateways over sockets, and an installation that changes from one to the other."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import aiohttp

from caas import app
from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import GatewayCustomers
from caas.billing_database.payments import Payment
from caas.external_systems.admin_registration import AdminRegistration
from caas.external_systems.factory import Factory
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.in_process_vehicle_link import InProcessVehicleLink
from caas.external_systems.payment_gateway import PaymentGateway
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.external_systems.stripe_gateway import HEADERS, StripeGateway
from caas.external_systems.transport_system import TransportSystem
from caas.order_management import OrderPartners
from caas.platform import build_platform
from caas.platform_inputs import Partners, PlatformTerms
from caas.rules.gateway_routes import NO_ROUTES, GatewayRoutes
from caas.rules.market import Market
from caas.rules.time_scale import TimeScale
from caas_simulators import payment_gateway
from caas_simulators.gateway_world import GatewayWorld
from caas_simulators.simulated_time import Clock
from caas_simulators.stripe.world import StripeSettings
from caas_simulators.vehicle_fleet import Fleet
from tests.cars import COMMAND_KEYS, KNOWN_TO_VEHICLES
from tests.installation import TIME_SCALE, Installation, Letterbox, quick_gateway
from tests.simulators.stripe.stripe_client import KEY, Stripe, stripe_running
from tests.ways_in import SIGN_IN_KEYS

CONTRACT, TWIN, STRIPE = "contract", "twin", "stripe"


class TwinGateway(SeedContractGateway):
    """A second gateway of the contract, whose ids are those of the first."""

    name = TWIN


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoGateways:
    """A gateway of the contract, its twin and an account at Stripe, and cars for all of them."""

    database: Database
    contract: GatewayWorld
    twin: GatewayWorld
    stripe: Stripe
    urls: dict[str, str]
    fleet: Fleet
    drop_folder: Path

    async def settle(self, name: str) -> None:
        """Let the bank of a gateway settle what was captured."""
        if name == STRIPE:
            await self.stripe.control("settle")
        else:
            await self.gateway_does(name, "settle")

    async def pays(self, payment: Payment) -> None:
        """Type a good card into the page of a gateway of the contract."""
        form = {"action": "pay", "number": "4242 4242 4242 4242", "expiry": "12/39", "cvc": "123"}
        assert payment.hosted_page_url is not None
        async with (
            aiohttp.ClientSession() as session,
            session.post(payment.hosted_page_url, data=form, allow_redirects=False) as answer,
        ):
            assert answer.ok, await answer.text()

    async def gateway_does(self, name: str, what: str, **body: object) -> None:
        """Say something to the control plane of a gateway of the contract."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.urls[name]}/_control/{what}", json=body) as answer,
        ):
            assert answer.ok, await answer.text()

    @asynccontextmanager
    async def installed(
        self, *names: str, routes: GatewayRoutes = NO_ROUTES
    ) -> AsyncIterator[Installation]:
        """Open an installation whose new payments go by routes, or to the first gateway."""
        async with AsyncExitStack() as stack:
            link = InProcessVehicleLink(
                self.fleet, now=app.now, command_keys=COMMAND_KEYS, on_refused=lambda *_: None
            )
            stack.push_async_callback(link.close)
            gateway, *kept = [self._connected(stack, name) for name in names]
            letterbox = Letterbox()
            partners = Partners(
                gateway=gateway, kept_gateways=kept, vehicles=link, channel=letterbox,
                order_partners=_nobody(stack),
            )  # fmt: skip
            folder = Path(stack.enter_context(TemporaryDirectory()))
            platform = build_platform(self.database, partners, self._terms(folder, routes))
            await platform.vehicle_responses.start(platform.jobs)
            yield Installation(
                platform, self.contract, self.urls[CONTRACT], self.fleet, letterbox,
                self.database, link,
            )  # fmt: skip

    def _connected(self, stack: AsyncExitStack, name: str) -> PaymentGateway:
        key, headers = ("sk_simulated", None) if name != STRIPE else (KEY, HEADERS)
        http = HttpClient(
            self.urls[name], partner="gateway", api_key=Secret(key), headers=headers or {}
        )
        stack.push_async_callback(http.close)
        if name == STRIPE:
            customers = GatewayCustomers(self.database, STRIPE)
            return StripeGateway(http, customers, now=app.now, return_url="http://caas.example")
        return (SeedContractGateway if name == CONTRACT else TwinGateway)(http)

    def _terms(self, folder: Path, routes: GatewayRoutes) -> PlatformTerms:
        return PlatformTerms(
            market=Market(zone=ZoneInfo("Europe/Madrid"), currency="EUR", language="es"),
            time_scale=TimeScale(TIME_SCALE),
            public_url="http://caas.example",
            folder=folder,
            event_secrets=SIGN_IN_KEYS.event_secrets,
            drop_folder=self.drop_folder,
            gateway_routes=routes,
        )


@asynccontextmanager
async def two_gateways(database: Database) -> AsyncIterator[TwoGateways]:
    """Run the gateways and the cars; the twin gives the ids that the contract's gateway gives."""
    async with AsyncExitStack() as stack:
        contract, world = await stack.enter_async_context(
            payment_gateway.running(quick_gateway(TIME_SCALE))
        )
        twin, twin_world = await stack.enter_async_context(
            payment_gateway.running(quick_gateway(TIME_SCALE))
        )
        account = StripeSettings(seed=1, requests_a_second=10_000.0, time_scale=TIME_SCALE)
        stripe = await stack.enter_async_context(stripe_running(account))
        yield TwoGateways(
            database=database, contract=world, twin=twin_world, stripe=stripe,
            urls={CONTRACT: contract.url, TWIN: twin.url, STRIPE: stripe.url},
            fleet=Fleet(1, command_keys=KNOWN_TO_VEHICLES, clock=Clock(TIME_SCALE)),
            drop_folder=Path(stack.enter_context(TemporaryDirectory())),
        )  # fmt: skip


def _nobody(stack: AsyncExitStack) -> OrderPartners:
    http = HttpClient("http://127.0.0.1:9", partner="nobody")
    stack.push_async_callback(http.close)
    return OrderPartners(
        factory=Factory(http),
        admin_registration=AdminRegistration(http),
        transport_system=TransportSystem(http),
    )
