"""A TCP relay in front of the simulated gateway, which a scenario can cut.

A simulator scripts its own faults, except for one: a closed port.

Rule a change must keep: the relay passes on every byte unchanged and reads none of them.
"""

import asyncio
import contextlib
from typing import Final
from urllib.parse import urlsplit

CHUNK_BYTES: Final = 64 * 1024
HOST: Final = "127.0.0.1"


class Relay:
    """Listens on a port of its own and connects each client to the target."""

    def __init__(self, target_url: str) -> None:
        """Connect to this address."""
        parts = urlsplit(target_url)
        self._target = (parts.hostname, parts.port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0

    @property
    def url(self) -> str:
        """The address that clients connect to."""
        return f"http://{HOST}:{self._port}"

    async def open(self) -> None:
        """Listen, after a cut on the same port as before."""
        self._server = await asyncio.start_server(self._connected, HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Close every connection and the port."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _connected(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        self._writers.add(to_client)
        try:
            target, to_target = await asyncio.open_connection(*self._target)
        except OSError:
            to_client.transport.abort()
            self._writers.discard(to_client)
            return
        self._writers.add(to_target)
        try:
            await asyncio.gather(_pass_on(client, to_target), _pass_on(target, to_client))
        finally:
            for writer in (to_client, to_target):
                writer.close()
                self._writers.discard(writer)


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass on what comes until the source ends, then end the target."""
    with contextlib.suppress(OSError):
        while chunk := await source.read(CHUNK_BYTES):
            target.write(chunk)
            await target.drain()
    with contextlib.suppress(OSError):
        target.close()
