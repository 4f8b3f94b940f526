"""An invariant that is not asked after a test, because tables are empty, finds nothing."""

import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from caas.billing_database import connection
from caas.billing_database.connection import Database
from caas.billing_database.invariants import EVERY_INVARIANT, NO_CARD_NUMBER
from tests import empty_tables
from tests.billing_database.lived_world import lived
from tests.databases import fresh_database
from tests.installation import standing

ASKED = [invariant for invariant in EVERY_INVARIANT if invariant is not NO_CARD_NUMBER]
TABLES = "select relname from pg_class where relnamespace = 'caas'::regnamespace and relkind = 'r'"
SHARES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
PROVEN_MIN = 20
CARD = "4242424242424242"
WITHOUT_GUARDS = "alter table {table} disable trigger all"
CUSTOMER = """
insert into customers (id, name, email, language, created_at)
values (gen_random_uuid(), $1, 'ana@example.com', 'es', now())
"""


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A database of many rows in the hands of its owner, with every guard asleep."""
    database = await connection.connect(database_dsn)
    async with standing(database) as installation:
        await lived(installation)
    await database.close()
    session = await asyncpg.connect(database_dsn, server_settings={"search_path": "caas,public"})
    for row in await session.fetch(TABLES):
        await session.execute(WITHOUT_GUARDS.format(table=row["relname"]))
    yield session
    await session.close()


async def test_what_is_not_asked_would_return_no_row(owner: asyncpg.Connection) -> None:
    """Whichever tables are empty, and whatever their loss breaks."""
    tables = sorted(row["relname"] for row in await owner.fetch(TABLES))
    plans = {it.name: await empty_tables.plan_of(owner, it.query) for it in ASKED}
    chance = random.Random(1)
    some = [{it for it in tables if chance.random() < share} for share in SHARES]
    broken, spared = set[str](), set[str]()

    for emptied in (*({table} for table in tables), *some):
        transaction = owner.transaction()
        await transaction.start()
        for table in emptied:
            await owner.execute(f"delete from {table}")
        for invariant in ASKED:
            is_asked = empty_tables.can_return_rows(plans[invariant.name], emptied)
            if is_asked and len(emptied) == 1:
                continue
            returned = await owner.fetch(invariant.query)
            broken |= {invariant.name} if returned else set()
            spared |= set() if is_asked else {invariant.name}
            assert is_asked or not returned, (invariant.name, emptied)
        await transaction.rollback()

    assert all(empty_tables.can_return_rows(plan, set()) for plan in plans.values())
    assert len(broken & spared) > PROVEN_MIN


async def test_a_broken_invariant_is_found_though_most_are_not_asked(server_dsn: str) -> None:
    async with fresh_database(server_dsn) as dsn:
        database = await connection.connect(dsn)
        owner = await asyncpg.connect(dsn, server_settings={"search_path": "caas,public"})

        assert await broken(database) == set()
        await owner.execute("alter table customers disable trigger all")
        without_guards = await broken(database)
        await owner.execute(CUSTOMER, CARD)
        with_card = await broken(database)

        assert without_guards == {"schema_is_as_migrated", "guards_are_enabled"}
        assert with_card - without_guards == {
            "no_card_number", "growing_tables_match_their_checksums",
        }  # fmt: skip

        await owner.close()
        await database.close()


async def broken(database: Database) -> set[str]:
    """Return what is found to be broken."""
    return {found.invariant.name for found in await empty_tables.findings(database) if found.broken}
