"""What `./caas bench --fill` makes is what real payments leave, many times."""

import asyncpg

from caas.billing_database import connection, self_check
from caas_lab.bench.copied_ids import BY_PLATFORM, Ids
from caas_lab.bench.stored_world import StoredWorld, stored_tables
from tests.filled.conftest import COPIES, stored

ORPHANS = """
select format('select %L, count(*) from %s c where %s and not exists (select from %s p where %s)',
         k.conname, k.conrelid::regclass,
         (select string_agg(format('c.%I is not null', a.attname), ' and ')
            from pg_attribute a where a.attrelid = k.conrelid and a.attnum = any (k.conkey)),
         k.confrelid::regclass,
         (select string_agg(format('p.%I = c.%I', theirs.attname, ours.attname), ' and ')
            from unnest(k.conkey, k.confkey) as pair(our, their)
            join pg_attribute ours on ours.attrelid = k.conrelid and ours.attnum = pair.our
            join pg_attribute theirs
              on theirs.attrelid = k.confrelid and theirs.attnum = pair.their))
  from pg_constraint k where k.contype = 'f' and k.connamespace = 'caas'::regnamespace
"""
UNGUARDED = """
select t.tgrelid::regclass || '.' || t.tgname from pg_trigger t
  join pg_class c on c.oid = t.tgrelid and c.relnamespace = 'caas'::regnamespace
 where t.tgenabled <> case when t.tgname like 'checksum\\_of\\_%' then 'O' else 'A' end::"char"
"""


async def test_every_invariant_holds_on_a_filled_database(filled_dsn: str) -> None:
    opened = await connection.connect(filled_dsn)
    findings = await self_check.self_check(opened)
    await opened.close()

    assert not [f"{it.invariant.name}: {it.examples}" for it in findings if it.broken]


async def test_no_row_of_a_filled_database_lacks_the_one_it_refers_to(filled_dsn: str) -> None:
    owner = await asyncpg.connect(filled_dsn, server_settings={"search_path": "caas,public"})
    queries = [row[0] for row in await owner.fetch(ORPHANS)]
    orphans = [row for query in queries for row in await owner.fetch(query) if row[1]]
    await owner.close()

    assert len(queries) > 20
    assert not orphans


async def test_a_filled_database_has_its_guards(filled_dsn: str) -> None:
    owner = await asyncpg.connect(filled_dsn, server_settings={"search_path": "caas,public"})
    unguarded = await owner.fetch(UNGUARDED)
    await owner.close()

    assert not unguarded


async def test_every_table_that_real_payments_fill_is_filled_as_often(
    filled_dsn: str, world: StoredWorld
) -> None:
    filled = await stored_tables(filled_dsn)
    shared = {"billing_runs", "invoice_series", "reconciliation_days", "reconciliation_runs",
              "settlement_reports", "services", "vehicle_models"}  # fmt: skip

    ids, copied = Ids.of(world.tables), Ids.of(filled)
    for name in world.tables.keys() - BY_PLATFORM - shared:
        left = [row for row in world.tables[name].rows if ids.named_in(row)]
        found = [row for row in filled[name].rows if copied.named_in(row)]
        assert len(found) == len(left) * COPIES, name
    assert all(filled[name].rows for name in shared)
    assert len(filled["payments"].rows) == COPIES * stored(world)


async def test_the_stories_have_every_type_of_payment_and_every_end(world: StoredWorld) -> None:
    payments = world.tables["payments"].rows

    assert {row["type"] for row in payments} == {"reservation", "final", "service", "subscription"}
    assert {row["state"] for row in payments} == {
        "Failed", "Refunded", "Settled", "SettlementFailed", "Voided",
    }  # fmt: skip
