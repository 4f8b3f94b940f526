"""The watch over the laws, on a database that breaks one."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from caas.billing_database import connection, self_check
from caas.invariant_monitor import INVARIANT_VIOLATED
from tests.databases import fresh_database
from tests.installation import Installation, standing

A_CARD = "4111111111111111"


@pytest.fixture
async def lawless(server_dsn: str) -> AsyncIterator[tuple[Installation, asyncpg.Connection]]:
    """An installation in whose database a card number stands, and the owner of the database."""
    async with fresh_database(server_dsn) as dsn:
        database = await connection.connect(dsn)
        owner = await asyncpg.connect(dsn)
        await owner.execute(
            "insert into caas.services (code, name, kind, currency, updated_at)"
            " values ('noted', $1, 'one_time', 'EUR', now())",
            A_CARD,
        )
        async with standing(database) as installation:
            yield installation, owner
        await owner.close()
        await database.close()


async def test_a_broken_law_is_told_to_operations_once(
    lawless: tuple[Installation, asyncpg.Connection],
) -> None:
    installation, owner = lawless
    await installation.platform.invariant_monitor.begin()

    await installation.rest()
    await owner.execute("update caas.clock set moved = moved + interval '1 hour'")
    await installation.rest()

    reported = await owner.fetch(
        "select sentence from caas.cases where kind = $1", INVARIANT_VIOLATED
    )
    assert [row["sentence"].partition(".")[0] for row in reported] == [
        "No text column contains a card number"
    ]
    assert A_CARD not in reported[0]["sentence"]


async def test_what_was_mended_is_seen_at_the_next_check(
    lawless: tuple[Installation, asyncpg.Connection],
) -> None:
    installation, owner = lawless
    await installation.platform.invariant_monitor.begin()
    await installation.rest()
    before = await self_check.last_checks(installation.database)

    await owner.execute("update caas.services set name = 'x' where code = 'noted'")
    await owner.execute("update caas.clock set moved = moved + interval '1 hour'")
    await installation.rest()

    after = await self_check.last_checks(installation.database)
    assert [invariant.name for invariant in before if invariant.broken] == ["no_card_number"]
    assert not any(invariant.broken for invariant in after)
    assert all(invariant.checked_at is not None for invariant in after)
