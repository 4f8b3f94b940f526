"""Whatever the owner of the schema does to it, the self-check names the object.

Many objects at once, each kind in one transaction that is rolled back: every one of them is named.
A database that was restored from a dump is as the migrations made it.
"""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from docs import schema

from caas.billing_database.schema_catalog import SCHEMA
from tests.databases import fresh_database, named

((_, _, QUERY),) = SCHEMA
MADE = "CREATE SCHEMA caas;"
CONSTRAINTS = """
select c.relname as of_table, k.conname as name from pg_constraint k
  join pg_class c on c.oid = k.conrelid
 where c.relnamespace = 'caas'::regnamespace and c.relkind = 'r' and k.contype::text = $1
"""
TRIGGERS = """
select c.relname as of_table, t.tgname as name from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
 where c.relnamespace = 'caas'::regnamespace and not t.tgisinternal
"""
UNIQUE = """
select c.relname as of_table, x.relname as name from pg_index i
  join pg_class c on c.oid = i.indrelid join pg_class x on x.oid = i.indexrelid
 where c.relnamespace = 'caas'::regnamespace and i.indisunique
   and not exists (select from pg_constraint k where k.conindid = i.indexrelid)
"""
REQUIRED = """
select c.relname as of_table, a.attname as name from pg_attribute a
  join pg_class c on c.oid = a.attrelid
 where c.relnamespace = 'caas'::regnamespace and c.relkind = 'r' and a.attnum > 0 and a.attnotnull
   and a.attidentity = '' and not exists (select from pg_index i
     where i.indrelid = c.oid and i.indisprimary and a.attnum = any (i.indkey))
"""
EACH: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "checks that are dropped": (
        CONSTRAINTS, ("c",), "alter table {t} drop constraint {n}", "constraint {t} {n}: missing"),
    "checks that hold always": (
        CONSTRAINTS, ("c",),
        "alter table {t} drop constraint {n}, add constraint {n} check (true)",
        "constraint {t} {n}: changed"),
    "keys between tables that are dropped": (
        CONSTRAINTS, ("f",), "alter table {t} drop constraint {n}", "constraint {t} {n}: missing"),
    "unique keys that are dropped": (
        CONSTRAINTS, ("u",), "alter table {t} drop constraint {n} cascade",
        "constraint {t} {n}: missing"),
    "primary keys that are dropped": (
        CONSTRAINTS, ("p",), "alter table {t} drop constraint {n} cascade",
        "constraint {t} {n}: missing"),
    "exclusions that are dropped": (
        CONSTRAINTS, ("x",), "alter table {t} drop constraint {n}", "constraint {t} {n}: missing"),
    "unique indexes that are dropped": (UNIQUE, (), "drop index {n}", "index {t} {n}: missing"),
    "triggers that are dropped": (
        TRIGGERS, (), "drop trigger {n} on {t}", "trigger {t} {n}: missing"),
    "triggers that sleep": (
        TRIGGERS, (), "alter table {t} disable trigger {n}", "trigger {t} {n}: changed"),
    "triggers that wake for replicas alone": (
        TRIGGERS, (), "alter table {t} enable replica trigger {n}", "trigger {t} {n}: changed"),
    "columns that may be null": (
        REQUIRED, (), "alter table {t} alter {n} drop not null", "column {t} {n}: changed"),
}  # fmt: skip
ONCE: dict[str, tuple[str, str]] = {
    "a check that nobody checked": (
        "alter table payments drop constraint payments_amount_check;"
        " alter table payments add constraint payments_amount_check check (amount > 0) not valid",
        "constraint payments payments_amount_check: changed"),
    "a trigger that looks away": (
        "create or replace trigger append_only before update on ledger_entries for each statement"
        " when (false) execute function refuse_change()", "trigger ledger_entries append_only"),
    "a trigger of somebody's": (
        "create trigger mine before insert on payments for each statement execute function"
        " refuse_change()", "trigger payments mine: not of a migration"),
    "a rule that swallows": (
        "create rule swallow as on insert to usage_disputes do instead nothing",
        "rule usage_disputes swallow: not of a migration"),
    "rows that are hidden": (
        "alter table refunds enable row level security", "table refunds : changed"),
    "a table that a crash empties": (
        "alter table gateway_calls set unlogged", "table gateway_calls : changed"),
    "a default of another kind": (
        "alter table delivery_evidence alter signs_action set default false",
        "column delivery_evidence signs_action: changed"),
    "a column that is gone": (
        "alter table refunds drop column gateway_refund_id cascade",
        "column refunds gateway_refund_id: missing"),
    "a column that cuts": (
        "alter table cases alter owner type varchar(3)", "column cases owner: changed"),
    "a view that says another thing": (
        "create or replace view ledger_lines as select id, payment_id, seq, debit as account,"
        " amount, currency, at from ledger_entries", "table ledger_lines : changed"),
    "a function that does nothing": (
        "create or replace function sum_customers() returns trigger language plpgsql as"
        " 'begin return null; end'", "function sum_customers : changed"),
    "a function that is its caller": (
        "alter function lock_payment(uuid) security invoker",
        "function lock_payment p_payment uuid: changed"),
}  # fmt: skip


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner of the schema, in a transaction that never ends well."""
    session = await asyncpg.connect(database_dsn, server_settings={"search_path": "caas,public"})
    transaction = session.transaction()
    await transaction.start()
    yield session
    await transaction.rollback()
    await session.close()


async def found(session: asyncpg.Connection) -> set[str]:
    return {row[0] for row in await session.fetch(QUERY)}


async def test_every_object_that_is_dropped_weakened_or_put_to_sleep_is_named(
    owner: asyncpg.Connection,
) -> None:
    missed = {}
    assert await found(owner) == set()

    for what, (query, arguments, statement, name) in EACH.items():
        objects = [dict(row) for row in await owner.fetch(query, *arguments)]
        assert objects, what
        savepoint = owner.transaction()
        await savepoint.start()
        for each in objects:
            await owner.execute(statement.format(t=each["of_table"], n=each["name"]))
        named_objects = {name.format(t=each["of_table"], n=each["name"]) for each in objects}
        missed[what] = named_objects - await found(owner)
        await savepoint.rollback()

    assert {what: names for what, names in missed.items() if names} == {}


async def test_what_is_done_to_one_object_is_named(owner: asyncpg.Connection) -> None:
    missed = []
    for what, (statement, name) in ONCE.items():
        savepoint = owner.transaction()
        await savepoint.start()
        await owner.execute(statement)
        if not any(one.startswith(name) for one in await found(owner)):
            missed.append(what)
        await savepoint.rollback()

    assert missed == []


async def test_a_schema_that_was_dumped_and_restored_is_as_migrated(server_dsn: str) -> None:
    async with fresh_database(server_dsn) as dsn:
        dump = await schema.describe(dsn)
    admin = await asyncpg.connect(server_dsn)
    await admin.execute("create database caas_restored")
    restored = await asyncpg.connect(named(server_dsn, "caas_restored"))
    try:
        extended = dump.replace(MADE, f"{MADE} CREATE EXTENSION btree_gist SCHEMA caas;")
        await restored.execute(f"set check_function_bodies = off; {extended}")
        await restored.execute("set search_path = caas, public")

        assert await found(restored) == set()
    finally:
        await restored.close()
        await admin.execute("drop database caas_restored with (force)")
        await admin.close()
