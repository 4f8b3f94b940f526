"""A process that dies at a chosen point: before or after any statement, commit or call outside.

Whatever it had committed stays; whatever it had only begun is gone, as after `kill -9`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from caas.billing_database.connection import Connection, Database

STATEMENTS = {"execute", "fetch", "fetchrow", "fetchval"}


class KilledError(BaseException):
    """The process is dead; nobody in it may catch this and go on."""


@dataclass(slots=True)
class Fuse:
    """Burns at every point; kills at the one it was cut for, and stays burnt."""

    points: int
    passed: int = 0

    def burn(self) -> None:
        """Pass a point, or die."""
        self.passed += 1
        if self.passed >= self.points:
            raise KilledError


class MortalDatabase(Database):
    """A database whose user may die before it is asked, and after it has committed."""

    def __init__(self, database: Database, fuse: Fuse) -> None:
        super().__init__(database._pool, database.dsn)
        self._at_hand = database._at_hand  # the pool is one, and so is what was taken from it
        self._fuse = fuse

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        self._fuse.burn()
        async with super().connection() as connection:
            yield cast("Connection", MortalConnection(connection, self._fuse))
        self._fuse.burn()


class MortalConnection:
    """A connection whose user may die before any statement, in the middle of a transaction."""

    def __init__(self, connection: Connection, fuse: Fuse) -> None:
        self._connection = connection
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        if name in STATEMENTS:
            self._fuse.burn()
        return getattr(self._connection, name)


class Mortal:
    """A client whose user may die before it is called, and after it has answered."""

    def __init__(self, client: Any, fuse: Fuse) -> None:
        self._client = client
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        async def called(*given: Any, **named: Any) -> Any:
            self._fuse.burn()
            answer = await found(*given, **named)
            self._fuse.burn()
            return answer

        return called
