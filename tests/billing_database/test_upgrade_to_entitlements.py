"""What was sold before there were entitlements becomes terms that follow each other."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from caas.billing_database import migrations
from caas.billing_database.identifiers import new_id
from tests.databases import named

BEFORE = "0020_entitlements.sql"
BOUGHT_AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
VIN = "WVWUPGRADED000001"
SOLD = """
with o as (
  insert into service_orders values ($1, $2, $3, 'heated-seats', $4, 1299, 'EUR', $5)
), p as (
  insert into payments (id, type, subject, customer, amount, currency, state, version, event_hash,
      authorised_amount, captured_amount, created_at, updated_at)
  values ($6, 'service', $1, $2, 1299, 'EUR', 'Capturing', 1, '', 1299, 1299, $5, $5)
), k as (
  insert into ota_commands (command_id, subject, vin, service, action, purpose, valid_until,
      deadline, created_at)
  values ($7, $6, $3, 'heated-seats', 'activate', 'service payment',
      $5 + make_interval(days => $4), $5, $5)
), e as (
  insert into delivery_evidence (id, subject, kind, command_id, action, epoch, vin, service, status,
      at, signature, verified, recorded_at)
  select $7, $6, 'vehicle_acknowledgement', $7, 'activate', currval('ota_epochs') + $8, $3,
         'heated-seats', 'SUCCEEDED', 'then', decode(repeat('61', 64), 'hex'), true, $5
)
insert into resolution_claims values ($6, 'service', 'capture', 'delivered', $7,
    'vehicle_acknowledgement', true, $5)
"""


async def old_database(server_dsn: str, name: str, *, before: str = BEFORE) -> asyncpg.Connection:
    """A database that every migration before one ran on."""
    admin = await asyncpg.connect(server_dsn)
    await admin.execute(f"create database {name}")
    await admin.close()
    old = await asyncpg.connect(named(server_dsn, name))
    await old.execute("create schema caas; set search_path = caas, public")
    await old.execute(
        "create table migrations (name text primary key, checksum text not null,"
        " ran_at timestamptz not null default clock_timestamp())"
    )
    for file, sql in migrations.files().items():
        if file < before:
            async with old.transaction():
                await old.execute(f"{migrations.MIGRATING}; {sql}")
                await old.execute(
                    "insert into migrations (name, checksum)"
                    " values ($1, encode(sha256($2), 'hex'))",
                    file, sql.encode(),
                )  # fmt: skip
    return old


async def sell(old: asyncpg.Connection, days: int, at: datetime, number: int) -> UUID:
    """Sell the service as it was sold then: each order with an end of its own."""
    order = new_id()
    await old.execute(SOLD, order, new_id(), VIN, days, at, new_id(), new_id(), number)
    return order


async def test_terms_of_an_old_database_follow_each_other_and_the_vehicle_is_told(
    server_dsn: str,
) -> None:
    old = await old_database(server_dsn, "caas_before_entitlements")
    await old.execute("set session_replication_role = replica; select nextval('ota_epochs')")
    first = await sell(old, 365, BOUGHT_AT, 0)
    second = await sell(old, 30, BOUGHT_AT + timedelta(hours=1), 1)
    await old.close()

    dsn = named(server_dsn, "caas_before_entitlements")
    await migrations.migrate(dsn)

    new = await asyncpg.connect(dsn, server_settings={"search_path": "caas,public"})
    terms = await new.fetch("select * from entitlement_terms order by starts_at")
    assert [term["service_order"] for term in terms] == [first, second]
    assert terms[0]["ends_at"] == BOUGHT_AT + timedelta(days=365) == terms[1]["starts_at"]
    assert terms[1]["ends_at"] == BOUGHT_AT + timedelta(days=395)
    told = await new.fetchrow("select * from ota_commands order by epoch desc limit 1")
    assert told is not None
    assert (told["action"], told["valid_until"]) == ("activate", terms[1]["ends_at"])
    await new.close()
