"""The gateways that the cases of `./caas conform gateway` are run against here: both simulators."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import replace

from caas.external_systems.gateway_adapters import adapter
from caas_lab.conformance.gateway_runner import GatewayTerms
from caas_lab.conformance.methods_file import SHIPPED, read_methods
from caas_simulators import http_server
from caas_simulators.adyen import server as adyen_server
from caas_simulators.adyen.world import AdyenSettings
from caas_simulators.gateway_store import Terms
from caas_simulators.gateway_world import GatewaySettings, GatewayWorld
from caas_simulators.http_server import Handler
from caas_simulators.payment_gateway import PaymentGateway
from caas_simulators.stripe import server as stripe_server
from caas_simulators.stripe.world import StripeSettings
from caas_simulators.webhook_sender import Target
from tests.ports import free_port

API_KEY = "sk_test_conformance"
SECRET = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldyE="
SECONDS_MAX = 120.0


def terms(name: str, url: str, port: int) -> GatewayTerms:
    """What the command would run, with the shipped test methods."""
    environment = {
        "CAAS_GATEWAY_URL": url,
        "CAAS_GATEWAY_API_KEY": API_KEY,
        "CAAS_GATEWAY_WEBHOOK_SECRETS": SECRET,
    }
    return GatewayTerms(
        adapter=adapter(name), environment=environment, webhook_port=port,
        methods=read_methods(SHIPPED / f"{name}.toml"), seconds_max=SECONDS_MAX,
    )  # fmt: skip


def unchanged(handler: Handler) -> Handler:
    """The server as it is."""
    return handler


@asynccontextmanager
async def contract_terms(
    changed: Callable[[Handler], Handler] = unchanged,
    *,
    signing: Sequence[str] = (SECRET,),
    modification_seconds: float = 0.0,
) -> AsyncIterator[GatewayTerms]:
    """The simulated gateway of the contract, over real HTTP; `changed` may break its server."""
    port = free_port()
    world = GatewayWorld(
        GatewaySettings(
            api_keys=frozenset({API_KEY}),
            terms=Terms(modification_seconds=modification_seconds),
            webhooks=Target(f"http://127.0.0.1:{port}/", list(signing)),
        )
    )
    try:
        async with http_server.listening(changed(PaymentGateway(world).handle)) as server:
            world.transactions.show_pages_at(server.url)
            yield terms("contract", server.url, port)
    finally:
        await world.close()


@asynccontextmanager
async def later_terms() -> AsyncIterator[GatewayTerms]:
    """The contract's gateway that accepts captures and voids, and decides them a moment later."""
    async with contract_terms(modification_seconds=0.05) as found:
        yield found


HMAC_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
"""The key of Adyen's own examples."""


@asynccontextmanager
async def adyen_terms() -> AsyncIterator[GatewayTerms]:
    """The simulated Adyen, over real HTTP."""
    port = free_port()
    account = AdyenSettings(
        api_keys=(API_KEY,), webhook_url=f"http://127.0.0.1:{port}/", hmac_keys=[HMAC_KEY],
        modification_seconds=0.05,
    )  # fmt: skip
    async with adyen_server.running(account) as (server, _adyen):
        found = terms("adyen", server.url, port)
        own = {
            "CAAS_GATEWAY_WEBHOOK_SECRETS": HMAC_KEY,
            "CAAS_ADYEN_MERCHANT_ACCOUNT": account.merchant_account,
        }
        yield replace(found, environment={**found.environment, **own})


@asynccontextmanager
async def stripe_terms() -> AsyncIterator[GatewayTerms]:
    """The simulated Stripe, over real HTTP."""
    port = free_port()
    account = StripeSettings(
        api_keys=(API_KEY,), webhook_url=f"http://127.0.0.1:{port}/", webhook_secrets=[SECRET]
    )
    async with stripe_server.running(account) as (server, _stripe):
        yield terms("stripe", server.url, port)
