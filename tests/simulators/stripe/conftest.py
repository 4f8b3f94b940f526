"""What the tests of the simulated Stripe may ask for."""

from collections.abc import AsyncIterator

import pytest

from tests.simulators.stripe.stripe_client import Stripe, stripe_running


@pytest.fixture
async def stripe() -> AsyncIterator[Stripe]:
    """Run a simulated account."""
    async with stripe_running() as one:
        yield one
