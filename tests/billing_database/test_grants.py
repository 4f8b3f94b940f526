"""What the platform's roles may do at the database is as granted, or the self-check names it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from caas.billing_database.invariants_of_access import ACCESS

INVARIANTS = {name: query for name, _, query in ACCESS}
WRITES, UNDOES = (
    INVARIANTS["only_the_platform_writes"],
    INVARIANTS["the_platform_cannot_undo_guards"],
)
PLANTED = {
    "grant update on caas.payments to caas_app": (WRITES, "payments may be changed by caas_app"),
    "grant delete on caas.orders to caas_app": (WRITES, "orders may be changed by caas_app"),
    "grant update on caas.clock to caas_service": (WRITES, "clock may be changed by caas_service"),
    "grant insert on caas.refunds to public": (WRITES, "refunds may be changed by everybody"),
    "grant update (amount) on caas.payments to caas_app": (WRITES, "payments may be changed in"),
    "alter table caas.refunds owner to caas_app": (WRITES, "refunds belongs to caas_app"),
    "alter role caas_service superuser": (UNDOES, "caas_service has rights"),
    "alter role caas_app createrole": (UNDOES, "caas_app has rights"),
    "alter role caas_service bypassrls": (UNDOES, "caas_service has rights"),
    "grant pg_write_all_data to caas_service": (UNDOES, "caas_service is also"),
    "alter role caas_service set session_replication_role = replica": (UNDOES, "a login begins"),
}


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner of the schema, in a transaction that is rolled back."""
    session = await asyncpg.connect(database_dsn, server_settings={"search_path": "caas,public"})
    around = session.transaction()
    await around.start()
    if not await session.fetchval("select 1 from pg_roles where rolname = 'caas_service'"):
        await session.execute("create role caas_service; grant caas_app to caas_service")
    yield session
    await around.rollback()
    await session.close()


async def test_no_right_is_added_to_the_platforms_roles_unseen(owner: asyncpg.Connection) -> None:
    assert [await owner.fetch(query) for query in (WRITES, UNDOES)] == [[], []]

    missed = []
    for statement, (query, stated) in PLANTED.items():
        savepoint = owner.transaction()
        await savepoint.start()
        await owner.execute(statement)
        if not any(row[0].startswith(stated) for row in await owner.fetch(query)):
            missed.append(statement)
        await savepoint.rollback()
    assert missed == []
