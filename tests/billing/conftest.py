"""What the tests of Billing share: a house with a car and a subscription on offer."""

from collections.abc import AsyncIterator

import pytest

from caas.billing_database.connection import Database
from tests.subscription_house import SubscriptionHouse, standing


@pytest.fixture
async def house(database: Database) -> AsyncIterator[SubscriptionHouse]:
    """A house with a car and a subscription on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer()
        yield built
