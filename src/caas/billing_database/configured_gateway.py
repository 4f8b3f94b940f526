"""Which payment gateway the payments of a Billing Database are at, said once for all of them.

Rule a change must keep: as soon as there is a payment, the gateway stays what it is.
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
    """Return the gateway these books belong to, which is this one if they hold no payment yet."""

    async def taken(connection: Connection) -> str:
        await connection.execute(TAKE, name)
        kept: str = await connection.fetchval(KEPT)
        return kept

    return await database.in_transaction(taken)
