"""Looks for card numbers in every text column of the database, as the catalogue lists them.

What was touched is read by an index on ids; a small table is read as a whole, and a large one
without such an index only with everything.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from caas.billing_database.connection import Connection, Row
from caas.billing_database.invariant_scopes import Pages, Scope, Touched
from caas.rules.card_numbers import contains_card_number

PREFETCH_ROWS: Final = 200
PAGES_AT_ONCE: Final = 256
SMALL_TABLE_PAGES: Final = PAGES_AT_ONCE
APART: Final = " apart "
"""Separates two columns, so that their digits are not read as one number."""

TEXTS: Final = """
with texts as (
  select c.oid, c.relname as of_table, c.relpages, string_agg(case t.typcategory
           when 'A' then format('array_to_string(%I, $1)', a.attname)
           else format('%I::text', a.attname) end, ', ' order by a.attnum) as columns
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid left join pg_type e on e.oid = t.typelem
   where n.nspname = 'caas' and c.relkind = 'r'
     and ('S' in (t.typcategory, e.typcategory) or t.typname in ('json', 'jsonb'))
   group by c.oid, c.relname)
select of_table, relpages as pages,
    format('select %s, concat_ws($1, %s) from caas.%I', coalesce(
    (select string_agg(format('%I::text', k.attname), $s$ || '/' || $s$ order by k.attnum)
       from pg_index i join pg_attribute k on k.attrelid = i.indrelid and k.attnum = any (i.indkey)
      where i.indrelid = oid and i.indisprimary), 'ctid::text'), columns, of_table) as query,
    (select quote_ident(k.attname) from pg_index i
       join pg_class x on x.oid = i.indexrelid join pg_am m on m.oid = x.relam
       join pg_attribute k on k.attrelid = i.indrelid and k.attnum = i.indkey[0]
      where i.indrelid = texts.oid and m.amname = 'btree' and i.indpred is null
        and k.atttypid = 'uuid'::regtype
      order by k.attname <> 'payment_id', k.attname <> 'subject', not i.indisprimary, k.attname
      limit 1) as by_id
  from texts order by of_table
"""
"""For each table its size when last analysed, and a query for all text columns, also new ones."""


async def pages(connection: Connection, *, small_tables: bool = False) -> list[Pages]:
    """Return the pages of all tables, or of those that are small enough to be read often."""
    return [
        Pages(table["of_table"], table["query"], first, first + PAGES_AT_ONCE >= table["pages"])
        for table in await connection.fetch(TEXTS)
        for first in range(0, max(table["pages"], 1), PAGES_AT_ONCE)
        if not small_tables or _is_small(table)
    ]


async def found(connection: Connection, scope: Scope, *, seconds_max: float) -> list[str]:
    """Return the rows of a scope that hold a card number; a table that cannot be read is one."""
    match scope:
        case Pages():
            query = f"{scope.query} where ctid >= '({scope.first},0)'"
            if not scope.is_last:
                query += f" and ctid < '({scope.first + PAGES_AT_ONCE},0)'"
            return await _with_card_numbers(connection, scope.of_table, query, (), seconds_max)
        case Touched():
            return [
                row
                for table in await connection.fetch(TEXTS)
                if table["by_id"] is not None and not _is_small(table)
                for row in await _with_card_numbers(
                    connection, table["of_table"],
                    f"{table['query']} where {table['by_id']} = any ($2)", (scope.ids,),
                    seconds_max,
                )
            ]  # fmt: skip
        case _:
            everywhere = await pages(connection)
            return [
                row for it in everywhere
                for row in await found(connection, it, seconds_max=seconds_max)
            ]  # fmt: skip


def _is_small(table: Row) -> bool:
    return bool(table["pages"] <= SMALL_TABLE_PAGES)


async def _with_card_numbers(
    connection: Connection, of_table: str, query: str, arguments: Sequence[object], limit: float
) -> list[str]:
    try:
        async with connection.transaction(readonly=True):
            return [
                f"{of_table}: {row[0]}"
                async for row in connection.cursor(
                    query, APART, *arguments, prefetch=PREFETCH_ROWS, timeout=limit
                )
                if contains_card_number(row[1])
            ]
    except asyncpg.InsufficientPrivilegeError:
        return [f"{of_table}: cannot be read"]
