"""Who may serve: a login that uses the books, owns nothing, and gets nothing by `reset role`."""

import asyncpg
import pytest

from caas.billing_database import connection, embedded_postgresql
from caas.billing_database.connection import Database
from tests.databases import as_service

UNDOING = (
    "set role postgres", "set role caas", "set session authorization caas",
    "set session_replication_role = replica", "drop trigger append_only on caas.audit_events",
    "alter table caas.payment_events disable trigger all",
    "update caas.payment_events set facts = '{}'",
    "delete from caas.ledger_entries", "create role somebody superuser",
    "update caas.clock set moved = '1 day'",
    "grant caas to caas_service", "alter role caas_service superuser",
    "create or replace function caas.refuse_change() returns trigger language sql as ''",
    "copy (select 1) to program 'true'", "update caas.audit_events set at = now()",
)  # fmt: skip


async def test_reset_role_gives_the_service_login_nothing(database_dsn: str) -> None:
    session = await asyncpg.connect(as_service(database_dsn))
    try:
        await session.execute("set role caas_app")
        for before in ("reset role", "set role none"):
            await session.execute(before)
            for statement in UNDOING:
                with pytest.raises((
                    asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedObjectError,
                    asyncpg.InvalidParameterValueError, asyncpg.CheckViolationError,
                )):  # fmt: skip
                    await session.execute(statement)
    finally:
        await session.close()


async def test_the_service_login_is_not_too_strong_and_others_are_named(
    database_dsn: str,
) -> None:
    owner = await asyncpg.connect(database_dsn)
    weak = as_service(database_dsn)
    strong = {
        "caas_test_owner": "grant caas to caas_test_owner",
        "caas_test_waits": "alter role caas_test_waits noinherit; grant caas to caas_test_waits",
        "caas_test_makes": "alter role caas_test_makes createrole",
        "caas_test_writes": "grant pg_write_all_data to caas_test_writes",
    }
    stated: dict[str, str | None] = {}
    try:
        for name, how in strong.items():
            await owner.execute(f"create role {name} login in role caas_app; {how}")
            stated[name] = await _summary(weak.replace(embedded_postgresql.SERVICE_LOGIN, name))
    finally:
        for name in stated:
            await owner.execute(f"drop role {name}")
        await owner.close()

    assert await _summary(weak) is None
    assert await _summary(database_dsn) == "the login 'caas' is a superuser"
    assert "may become" in (stated["caas_test_owner"] or "")
    assert "may become" in (stated["caas_test_waits"] or "")
    assert stated["caas_test_makes"] == "the login 'caas_test_makes' may make roles"
    assert "pg_write_all_data" in (stated["caas_test_writes"] or "")


async def _summary(dsn: str) -> str | None:
    database: Database = await connection.connect(dsn)
    try:
        return database.login_too_strong
    finally:
        await database.close()
