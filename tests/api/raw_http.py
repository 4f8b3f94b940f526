"""A client that says exactly what a test wants, byte by byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

ANSWER_SECONDS_MAX = 30.0
DROP_SECONDS = 0.01
BYTES_AT_ONCE = 65_536


@dataclass(slots=True)
class Line:
    """A connection to the API."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, text: bytes) -> None:
        """Send bytes; a connection the other side has closed takes them too."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(text)
            await self.writer.drain()

    async def rest(self) -> bytes:
        """Everything the other side says until it hangs up, however rudely it does."""
        stated = b""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            with contextlib.suppress(ConnectionError):
                while applied := await self.reader.read(BYTES_AT_ONCE):
                    stated += applied
        return stated

    async def dribble(self, drop: bytes) -> bytes:
        """Send the same bytes until the other side hangs up; return what it said."""
        applied = asyncio.get_running_loop().create_task(self.rest())
        while not applied.done():
            await self.say(drop)
            await asyncio.wait([applied], timeout=DROP_SECONDS)
        return applied.result()

    async def head(self) -> bytes:
        """The head of the next answer."""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await self.reader.readuntil(b"\r\n\r\n")


@contextlib.asynccontextmanager
async def line(port: int) -> AsyncIterator[Line]:
    """Connect, and hang up at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
