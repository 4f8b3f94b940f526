"""The watch over the laws, on a database that breaks one."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from caas.billing_database import connection, law_checks
from caas.law_watch import LAW_BROKEN
from tests.databases import fresh_database
from tests.house import House, standing

A_CARD = "4111111111111111"


@pytest.fixture
async def lawless(server_dsn: str) -> AsyncIterator[tuple[House, asyncpg.Connection]]:
    """A house in whose database a card number stands, and the owner of the database."""
    async with fresh_database(server_dsn) as dsn:
        database = await connection.connect(dsn)
        owner = await asyncpg.connect(dsn)
        await owner.execute(
            "insert into caas.services (code, name, kind, currency, updated_at)"
            " values ('noted', $1, 'one_time', 'EUR', now())",
            A_CARD,
        )
        async with standing(database) as house:
            yield house, owner
        await owner.close()
        await database.close()


async def test_a_broken_law_is_told_to_operations_once(
    lawless: tuple[House, asyncpg.Connection],
) -> None:
    house, owner = lawless
    await house.platform.law_watch.begin()

    await house.rest()
    await owner.execute("update caas.clock set moved = moved + interval '1 hour'")
    await house.rest()

    told = await owner.fetch("select sentence from caas.cases where kind = $1", LAW_BROKEN)
    assert [row["sentence"].partition(".")[0] for row in told] == ["No card number stands anywhere"]
    assert A_CARD not in told[0]["sentence"]


async def test_what_was_mended_is_seen_at_the_next_check(
    lawless: tuple[House, asyncpg.Connection],
) -> None:
    house, owner = lawless
    await house.platform.law_watch.begin()
    await house.rest()
    before = await law_checks.last_checks(house.database)

    await owner.execute("update caas.services set name = 'x' where code = 'noted'")
    await owner.execute("update caas.clock set moved = moved + interval '1 hour'")
    await house.rest()

    after = await law_checks.last_checks(house.database)
    assert [law.name for law in before if law.broken] == ["no_card_number"]
    assert not any(law.broken for law in after)
    assert all(law.checked_at is not None for law in after)
