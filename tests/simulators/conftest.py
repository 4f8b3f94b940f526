"""What the tests of the gateway and partner simulators may ask for."""

from collections.abc import AsyncIterator

import pytest

from caas_simulators.gateway_world import GatewaySettings
from caas_simulators.webhook_sender import Target
from tests.simulators.gateway_client import SECRET, Gateway, Receiver, gateway_running, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Listen for webhooks."""
    async with receiving() as one:
        yield one


@pytest.fixture
async def gateway(receiver: Receiver) -> AsyncIterator[Gateway]:
    """Run a gateway that tells the receiver; a second of the world is a millisecond."""
    webhooks = Target(receiver.url, [SECRET])
    async with gateway_running(GatewaySettings(seed=1, time_scale=1000, webhooks=webhooks)) as one:
        yield one
