"""What the tests of reconciliation share: an installation with a gateway."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from caas.billing_database.connection import Database
from caas.rules.settlement_dates import FeeTerms
from tests.installation import TIME_SCALE, Installation, quick_gateway, standing
from tests.reconciliation.office import Office

SILENCE = 1e12
FEES = FeeTerms(per_mille=14, fixed=25, dispute=1500)


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with a car, a service on offer, and a bank that answers when told to."""
    silent = replace(
        quick_gateway(TIME_SCALE).terms, settlement_seconds=SILENCE, late_settlement_seconds=SILENCE
    )
    settings = replace(quick_gateway(TIME_SCALE), terms=silent)
    async with standing(database, settings=settings, fees=FEES) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


@pytest.fixture
async def office(installation: Installation) -> Office:
    """The room of Diagram 10 in the installation, over its books and its gateway."""
    return Office(installation, installation.platform.reconciliation)
