"""The payment gateway of a Billing Database.

Rule a change must keep: the gateway cannot change once a payment exists.
"""

from typing import Final

from caas.billing_database.connection import Connection, Database

TAKE: Final = """
insert into configured_gateway as g (name, since) values ($1, db_now())
on conflict (only_row) do update set name = excluded.name, since = excluded.since
 where g.name <> excluded.name and not exists (select from payments)
"""
KEPT: Final = "select name from configured_gateway"


async def configured_gateway(database: Database, name: str) -> str:
    """Return the gateway of this database; set it to this one if no payment exists yet."""

    async def taken(connection: Connection) -> str:
        await connection.execute(TAKE, name)
        kept: str = await connection.fetchval(KEPT)
        return kept

    return await database.in_transaction(taken)
