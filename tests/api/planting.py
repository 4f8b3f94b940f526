"""Changes of the books that no guard sees, and the invariants that find them."""

import re

import aiohttp
import asyncpg

from caas.billing_database.connection import Database
from caas.billing_database.invariants import INVARIANTS


async def found_after(database: Database, planted: str) -> set[str]:
    """Change the books as their owner, with all guards asleep; say what is found, and undo it."""
    owner = await asyncpg.connect(database.dsn)
    try:
        await owner.execute("begin; set search_path = caas")
        [table] = re.findall(r"\A(?:update|insert into|delete from) (\w+)", planted)
        await owner.execute(f"alter table {table} disable trigger all")
        done = await owner.execute(planted)
        assert not done.endswith(" 0"), f"nothing was changed: {planted}"
        return {invariant.name for invariant in INVARIANTS if await owner.fetch(invariant.query)}
    finally:
        await owner.close()


async def as_owner(database: Database, statement: str) -> None:
    """Run a statement as the one who owns the schema."""
    async with database.transaction() as connection:
        await connection.execute("set local role none")
        await connection.execute(statement)


async def pay_on(page: str) -> None:
    """Type a good card into the gateway's own page."""
    form = {"action": "pay", "number": "4242 4242 4242 4242", "expiry": "12/39", "cvc": "123"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(page, data=form, allow_redirects=False) as answer,
    ):
        assert answer.status < 400, await answer.text()
