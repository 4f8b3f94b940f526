"""Holding a row while others come to it, so that a race has the order that a test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

PATIENCE_SECONDS = 120.0
WAITING = "select count(distinct pid) from pg_locks where not granted"


@dataclass(slots=True)
class Holder:
    """A session of the test's own, in a transaction that others wait for."""

    session: asyncpg.Connection

    async def waiting(self, sessions: int) -> None:
        """Wait until so many sessions wait for a lock."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.session.fetchval(WAITING) < sessions:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def holding(dsn: str, statement: str, *arguments: object) -> AsyncIterator[Holder]:
    """Hold what a statement locks until the block is left; nothing of it is committed."""
    session = await asyncpg.connect(dsn, server_settings={"search_path": "caas,public"})
    transaction = session.transaction()
    await transaction.start()
    try:
        await session.execute(statement, *arguments)
        yield Holder(session)
    finally:
        await transaction.rollback()
        await session.close()
