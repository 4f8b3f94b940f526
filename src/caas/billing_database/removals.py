"""Removes rows that are older than the policy, and reports what each table holds (decision 193).

The database function `remove_old_rows` lists the tables and the least time each is kept; no
other statement can remove their rows. Their digests stay in the history's leaves: a row whose id
was made before the removal is known to be gone.

Rules a change must keep: rows go in bounded batches, each a transaction of its own, with rests ten
times as long, so that purchases do not feel it; a table whose rows the law keeps is not listed;
ids of listed history tables are UUIDv7.
"""

import asyncio
import math
from datetime import datetime, timedelta
from typing import Final

import msgspec

from caas.billing_database.connection import Connection, Database
from caas.billing_database.rows import read_all
from caas.rules.retention import RetentionTerms

REMOVABLE: Final = {
    "idempotency_keys": "created_at",
    "gateway_calls": "asked_at",
    "webhook_inbox": "received_at",
}
"""Tables whose old rows may go, with the column that states their age."""
ROWS_AT_ONCE: Final = 2000
RESTS_PER_BATCH: Final = 10.0
REMOVE: Final = "select remove_old_rows($1, db_now() - $2::interval, $3)"
REMOVED: Final = "select of_table, rows from removals order by of_table"
# Row counts are estimates of the last analysis; sizes include indexes.
TABLES: Final = """
select c.relname as name, greatest(c.reltuples, 0)::bigint as rows,
       pg_total_relation_size(c.oid) as bytes,
       case when p.reltuples > 0 then
         round(pg_total_relation_size(c.oid) / p.reltuples::numeric, 1)::float8
       end as bytes_per_payment,
       null::timestamptz as oldest, null::bigint as kept_days, null::bigint as removes
  from pg_class c join pg_class p on p.oid = 'caas.payments'::regclass
 where c.relnamespace = 'caas'::regnamespace and c.relkind = 'r'
 order by bytes desc, name
"""


class StoredTable(msgspec.Struct, frozen=True):
    """What a table holds.

    `kept_days` is None where no policy removes rows, `removes` is what goes next, and
    `bytes_per_payment` is None until payments have been analysed.
    """

    name: str
    rows: int
    bytes: int
    bytes_per_payment: float | None
    oldest: datetime | None
    kept_days: int | None
    removes: int | None


def removed_key(table: str) -> str:
    """Return the condition that the row of a key `l.key` was old enough to be removed.

    An id is made within an hour of the row's own time.
    """
    before = f"greatest(removed_before('{table}'), '1970-01-01') + interval '1 hour'"
    digits = f"lpad(to_hex((extract(epoch from {before}) * 1000)::bigint), 12, '0')"
    return f"left(replace(l.key, '-', ''), 12) < {digits}"


async def remove(database: Database, table: str, *, older_than: timedelta) -> int:
    """Remove one batch of rows of a table, and return their number."""

    async def removed(connection: Connection) -> int:
        return int(await connection.fetchval(REMOVE, table, older_than, ROWS_AT_ONCE))

    return await database.in_transaction(removed)


async def remove_all(
    database: Database, table: str, *, older_than: timedelta, seconds_max: float = math.inf
) -> int | None:
    """Remove all old rows of a table in batches; return None if the time was too short."""
    clock = asyncio.get_running_loop().time
    ends_at, total = clock() + seconds_max, 0
    while clock() < ends_at:
        began = clock()
        removed = await remove(database, table, older_than=older_than)
        total += removed
        if removed < ROWS_AT_ONCE:
            return total
        await asyncio.sleep(RESTS_PER_BATCH * (clock() - began))
    return None


async def stored(database: Database, terms: RetentionTerms) -> list[StoredTable]:
    """Return what every table holds, the largest first."""
    tables = await read_all(StoredTable, database, TABLES)
    return [await _with_policy(database, it, terms) for it in tables]


async def _with_policy(
    database: Database, table: StoredTable, terms: RetentionTerms
) -> StoredTable:
    at, days = REMOVABLE.get(table.name), terms.days(table.name)
    if at is None:
        return table
    row = await database.fetchrow(
        f"select min({at}) as oldest, count(*) filter (where {at} < db_now() - $1::interval)"
        f" as removes from {table.name}",
        timedelta(days=days or 0),
    )
    assert row is not None, "an aggregate has a row"
    return StoredTable(
        table.name, table.rows, table.bytes, table.bytes_per_payment, row["oldest"], days,
        row["removes"] if days else None,
    )  # fmt: skip
