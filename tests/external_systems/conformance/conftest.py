"""Which gateway the conformance kit is run against.

Without settings: the simulator, in this process, over real HTTP. With `CAAS_GATEWAY_URL` and
`CAAS_GATEWAY_API_KEY`: any gateway that speaks the contract and knows the magic tokens
(`pm_ok`, `pm_declined`, ...), for example

    CAAS_GATEWAY_URL=https://sandbox.example CAAS_GATEWAY_API_KEY=sk_test \\
        python -m pytest tests/external_systems/conformance
"""

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from caas.external_systems.http import HttpClient, HttpLimits, Secret
from caas.external_systems.payment_gateway import PaymentGateway
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas_simulators.gateway_world import GatewaySettings
from caas_simulators.payment_gateway import running

LIMITS = HttpLimits(total_seconds=20.0, connect_seconds=5.0)
API_KEY = "sk_conformance"


@dataclass(frozen=True)
class GatewayUnderTest:
    """Where it is, and the key that opens it."""

    url: str
    api_key: str


@pytest.fixture
async def under_test() -> AsyncIterator[GatewayUnderTest]:
    """The gateway of the settings, or a simulator of our own."""
    if "CAAS_GATEWAY_URL" in os.environ:
        yield GatewayUnderTest(os.environ["CAAS_GATEWAY_URL"], os.environ["CAAS_GATEWAY_API_KEY"])
        return
    async with running(GatewaySettings(api_keys=frozenset({API_KEY}))) as (server, _world):
        yield GatewayUnderTest(server.url, API_KEY)


@pytest.fixture
async def gateway_with(
    under_test: GatewayUnderTest,
) -> AsyncIterator[Callable[[str], PaymentGateway]]:
    """The gateway factory: an adapter that presents this API key."""
    opened: list[PaymentGateway] = []

    def factory(api_key: str) -> PaymentGateway:
        http = HttpClient(under_test.url, partner="gateway", api_key=Secret(api_key), limits=LIMITS)
        opened.append(SeedContractGateway(http))
        return opened[-1]

    yield factory
    for gateway in opened:
        await gateway.close()


@pytest.fixture
def gateway(
    gateway_with: Callable[[str], PaymentGateway], under_test: GatewayUnderTest
) -> PaymentGateway:
    """The adapter under test, let in."""
    return gateway_with(under_test.api_key)
