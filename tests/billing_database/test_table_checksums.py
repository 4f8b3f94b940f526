"""A table is what was written into it: what passes by its triggers is not in its sums."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from caas.billing_database import connection
from caas.billing_database.cases import Cases
from caas.billing_database.connection import Database
from caas.billing_database.customers import Customers
from caas.billing_database.identifiers import new_id
from caas.billing_database.invariants_of_rows import ROWS, SUMMED

WRITERS, EACH = 6, 8
QUERY = " union all ".join(
    f"(select * from ({query}) sums)"
    for name, _, query in ROWS
    if name.endswith("tables_match_their_checksums")
)
PAST_THE_TRIGGERS = {
    "set session_replication_role = replica; update customers set language = 'en'"
    " where id = (select min(id::text)::uuid from customers);"
    " set session_replication_role = origin": "customers: a row is not as it was written",
    "alter table cases disable trigger is_about_one_thing; update cases set sentence = 'x'"
    " where id = (select min(id::text)::uuid from cases)": "cases: a row is not as it was written",
    "alter table customers disable trigger never_removed; delete from customers"
    " where id = (select min(id::text)::uuid from customers)": "customers: 1 rows are missing",
    "set session_replication_role = replica; insert into services (code, name, kind, currency,"
    " updated_at) values ('x', 'x', 'one_time', 'EUR', now());"
    " set session_replication_role = origin": "services: 1 rows were not written here",
    "delete from table_checksums where of_table = 'cases'": "cases: ",
}  # fmt: skip


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner of the schema."""
    session = await asyncpg.connect(database_dsn, server_settings={"search_path": "caas,public"})
    yield session
    await session.close()


async def _lives(tables: Database) -> None:
    """Add, change and erase from several connections at once."""
    customers, cases = Customers(tables), Cases(tables)

    async def writes() -> None:
        for _ in range(EACH):
            made = await customers.add(new_id(), name="Ana", email="a@example.com", language="es")
            await cases.open("noted", made.id, "Look.")
            await cases.close("noted", made.id, resolution="Seen.", owner="olga")
            await tables.fetch("select clear_customer($1)", made.id)

    await asyncio.gather(*(writes() for _ in range(WRITERS)))


async def test_what_many_write_is_summed_and_what_passes_by_is_named(
    database_dsn: str, owner: asyncpg.Connection
) -> None:
    tables = await connection.connect(database_dsn)
    await _lives(tables)
    await tables.close()
    assert await owner.fetch(QUERY) == []
    assert {row[0] for row in await owner.fetch("select of_table from table_checksums")} == set(
        SUMMED
    )

    missed = []
    for statement, stated in PAST_THE_TRIGGERS.items():
        savepoint = owner.transaction()
        await savepoint.start()
        await owner.execute(statement)
        if not any(row[0].startswith(stated) for row in await owner.fetch(QUERY)):
            missed.append(statement)
        await savepoint.rollback()
    assert missed == []

    await owner.execute("alter table cases disable trigger is_about_one_thing")
    await owner.execute("update cases set sentence = 'x'")
    assert await owner.fetch(QUERY) != []
    await owner.execute("select sum_anew('cases')")
    assert await owner.fetch(QUERY) == []
