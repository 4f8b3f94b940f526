"""A broker that is away prevents only the first start: later ones warn (decision 240)."""

import pytest

from caas import startup_checks
from caas.billing_database.connection import Database
from caas.errors import StartupError
from caas.external_systems.local_broker import LocalBroker
from tests.installation import standing
from tests.ports import free_port


def nowhere() -> str:
    """Return the URL of a broker that is away."""
    return f"mqtt://caas:secret@127.0.0.1:{free_port()}"


async def has_sold_a_service(database: Database) -> None:
    async with standing(database) as installation:
        await installation.car()
        await installation.offer_heated_seats()
        payment = await installation.buys()
        await installation.until_settled(payment.id)


async def test_a_broker_that_no_vehicle_ever_answered_through_prevents_the_start(
    database: Database,
) -> None:
    with pytest.raises(StartupError, match="cannot be reached"):
        await startup_checks.check_broker(database, nowhere())


async def test_a_broker_that_is_away_after_vehicles_answered_does_not_prevent_the_start(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    await has_sold_a_service(database)

    await startup_checks.check_broker(database, nowhere())

    assert "broker.unavailable_at_start" in capsys.readouterr().out


async def test_a_broker_that_rejects_the_password_always_prevents_the_start(
    database: Database, broker: LocalBroker
) -> None:
    await has_sold_a_service(database)
    address = broker.url.rpartition("@")[2]

    with pytest.raises(StartupError, match="refused the connection"):
        await startup_checks.check_broker(database, f"mqtt://caas:wrong@{address}")
