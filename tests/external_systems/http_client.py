"""A client with short limits, as the tests of HTTP use it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from caas.external_systems.http import HttpClient, HttpLimits, Secret

QUICK = HttpLimits(total_seconds=0.5, connect_seconds=0.25, connections_max=4)


@asynccontextmanager
async def client_of(
    url: str, *, limits: HttpLimits = QUICK, api_key: Secret | None = None
) -> AsyncIterator[HttpClient]:
    """A client that is closed again."""
    client = HttpClient(url, partner="gateway", limits=limits, api_key=api_key)
    try:
        yield client
    finally:
        await client.close()
