"""What the tests of payments share: an installation in which heated seats are for sale."""

from collections.abc import AsyncIterator

import pytest

from caas.billing_database.connection import Database
from tests.installation import Installation, standing


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with a car and a service on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built
