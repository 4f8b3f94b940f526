"""What the tests of reconciliation share: an installation with a gateway."""

from collections.abc import AsyncIterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from caas.billing_database.connection import Database
from caas.reconciliation import ReconciliationSettings
from caas.reconciliation.runs import Runs
from caas.rules.settlement_dates import FeeTerms
from tests.external_systems.stripe_reports import StripeReportsStandIn, stripe_reports
from tests.external_systems.test_stripe_settlements import gateway_at
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


@pytest.fixture
async def stripe() -> AsyncIterator[StripeReportsStandIn]:
    """A stand-in for Stripe's Reports API."""
    async with stripe_reports() as served:
        yield served


@pytest.fixture
async def runs(office: Office, stripe: StripeReportsStandIn, tmp_path: Path) -> AsyncIterator[Runs]:
    """Runs over the office's books, with Stripe as the gateway."""
    gateway = gateway_at(stripe.url)
    tables = office.installation.platform.tables
    settings = ReconciliationSettings(zone=ZoneInfo("Europe/Madrid"), folder=tmp_path)
    alert = office.installation.platform.notifications.alert
    yield Runs(tables=tables, gateway=gateway, alert=alert, settings=settings)
    await gateway.close()
