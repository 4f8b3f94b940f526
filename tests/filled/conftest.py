"""Databases of finished payments, as `./caas bench --fill` makes them."""

from collections.abc import AsyncIterator

import pytest
from rich.console import Console

from caas_lab.bench import fill, stored_world
from caas_lab.bench.stored_world import StoredWorld
from tests.databases import fresh_database


@pytest.fixture(scope="session")
async def world() -> StoredWorld:
    """Live through the stories once."""
    return await stored_world.lived(lambda _: None)


@pytest.fixture(scope="session")
async def filled_dsn(server_dsn: str, world: StoredWorld) -> AsyncIterator[str]:
    """Fill a database with several copies of the world on several days."""
    async with fresh_database(server_dsn) as dsn:
        await fill.multiply(dsn, world, payments=COPIES * stored(world), console=SILENT)
        yield dsn


COPIES = 3
SILENT = Console(quiet=True)


def stored(world: StoredWorld) -> int:
    """Return how many payments the world has."""
    return len(world.tables["payments"].rows)
