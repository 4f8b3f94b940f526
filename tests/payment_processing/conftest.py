"""What the tests of payments share: a house in which heated seats are for sale."""

from collections.abc import AsyncIterator

import pytest

from caas.billing_database.connection import Database
from tests.house import House, standing


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    """A house with a car and a service on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built
