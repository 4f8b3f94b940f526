"""What the tests of reconciliation share: a house with a gateway, and Diagram 10's room in it."""

from collections.abc import AsyncIterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from caas.billing_database.connection import Database
from caas.payment_processing.reconciliation import Reconciliation, ReconciliationSettings
from caas.rules.pace import Pace
from caas.rules.settlement_fees import FeeTerms
from caas_simulators.gateway_store import Terms
from caas_simulators.gateway_world import GatewaySettings
from tests.house import TIME_SCALE, House, standing
from tests.reconciliation.office import Office

SILENCE = 1e12
FEES = FeeTerms(per_mille=14, fixed=25, dispute=1500)


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    """A house with a car and a service on offer, and a bank that speaks when it is told to."""
    silent = Terms(settlement_seconds=SILENCE, late_settlement_seconds=SILENCE)
    settings = GatewaySettings(seed=1, time_scale=TIME_SCALE, terms=silent)
    async with standing(database, settings=settings) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


@pytest.fixture
async def office(house: House, tmp_path: Path) -> Office:
    """The room of Diagram 10 over the house's books and gateway."""
    processing = house.platform.payment_processing
    room = Reconciliation(
        books=house.platform.books,
        gateway=processing._charges._gateway,
        charges=processing._charges,
        settlement=processing._settlement,
        disputes=processing._disputes,
        void=processing.void_payment,
        alert=house.platform.notifications.alert,
        pace=Pace(TIME_SCALE),
        settings=ReconciliationSettings(
            zone=ZoneInfo("Europe/Madrid"), folder=tmp_path / "reconciliation", fees=FEES
        ),
    )
    room.register(house.platform.open_work)
    return Office(house, room)
