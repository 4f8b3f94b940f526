"""What the tests of reconciliation share: a house with a gateway, and Diagram 10's room in it."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from caas.billing_database.connection import Database
from caas.rules.settlement_fees import FeeTerms
from tests.house import TIME_SCALE, House, quick_gateway, standing
from tests.reconciliation.office import Office

SILENCE = 1e12
FEES = FeeTerms(per_mille=14, fixed=25, dispute=1500)


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    """A house with a car and a service on offer, and a bank that speaks when it is told to."""
    silent = replace(
        quick_gateway(TIME_SCALE).terms, settlement_seconds=SILENCE, late_settlement_seconds=SILENCE
    )
    settings = replace(quick_gateway(TIME_SCALE), terms=silent)
    async with standing(database, settings=settings, fees=FEES) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


@pytest.fixture
async def office(house: House) -> Office:
    """The room of Diagram 10 in the house, over its books and its gateway."""
    return Office(house, house.platform.reconciliation)
