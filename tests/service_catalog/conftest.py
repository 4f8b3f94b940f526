"""What the tests of the Service Catalog share: an installation with a subscription on offer."""

from collections.abc import AsyncIterator

import pytest

from caas.billing_database.connection import Database
from tests.subscription_installation import SubscriptionInstallation, standing


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[SubscriptionInstallation]:
    """An installation with a car and a subscription on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer()
        yield built
