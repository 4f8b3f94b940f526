"""What the tests of the gateway and partner simulators may ask for."""

from collections.abc import AsyncIterator

import pytest

from caas_simulators.gateway_store import Terms
from caas_simulators.gateway_world import GatewaySettings
from caas_simulators.webhook_sender import Target
from tests.simulators.gateway_client import SECRET, Gateway, Receiver, gateway_running, receiving

PAGE_SECONDS = 1_800.0 * 1000


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Listen for webhooks."""
    async with receiving() as one:
        yield one


@pytest.fixture
async def gateway(receiver: Receiver) -> AsyncIterator[Gateway]:
    """Run a gateway that tells the receiver; a second of the world is a millisecond.

    Its pages wait for half an hour of the machine's time.
    """
    settings = GatewaySettings(
        seed=1,
        time_scale=1000,
        webhooks=Target(receiver.url, [SECRET]),
        terms=Terms(page_seconds=PAGE_SECONDS),
    )
    async with gateway_running(settings) as one:
        yield one
