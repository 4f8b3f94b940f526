"""Natural batching: concurrent writes share the next statement.

There is no timer. A statement starts once every caller of this event loop turn has added its row;
later callers are joined while the maximum number of statements runs, and are flushed as soon as one
returns. Every row is durable before its caller gets a result.

Rules a change must keep: two rows with a common key are never in flight together; a failed batch is
split until the failing row is alone with its error; a cancelled caller does not affect the others.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from caas.billing_database.connection import Database
from caas.billing_database.connection import Row as StoredRow
from caas.errors import UnavailableError

BATCH_ROWS_MAX = 512
FLUSHES_MAX = 2
WAITING_ROWS_MAX = 50_000

Row = TypeVar("Row")
Answer = TypeVar("Answer")
Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class OverloadedError(UnavailableError):
    """Too many payments are being written. Retry shortly."""

    code = "overloaded"


class _Waiting(NamedTuple):
    row: object
    keys: Collection[Hashable]
    answer: "asyncio.Future[object]"


class Batcher(Generic[Row, Answer]):
    """Combines concurrent single-row writes into set-based statements."""

    def __init__(
        self,
        execute: Callable[[Sequence[Row]], Awaitable[Sequence[Answer]]],
        *,
        rows_max: int = BATCH_ROWS_MAX,
        flushes_max: int = FLUSHES_MAX,
    ) -> None:
        """Write through `execute`, which returns one result per row, in order."""
        self._execute = execute
        self._rows_max = rows_max
        self._flushes_max = flushes_max
        self._waiting: deque[_Waiting] = deque()
        self._flushes: set[asyncio.Task[bool]] = set()
        self._keys_under_way: set[Hashable] = set()
        self._about_to_take = False

    async def write(self, row: Row, *, keys: Collection[Hashable] = ()) -> Answer:
        """Write one row together with concurrent ones.

        Raises:
            OverloadedError: too many rows are waiting; nothing was written.
        """
        if len(self._waiting) >= WAITING_ROWS_MAX:
            raise OverloadedError(waiting=len(self._waiting))
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(row, keys, answer))
        if not self._about_to_take and len(self._flushes) < self._flushes_max:
            self._start_flush()
        return await answer  # type: ignore[return-value]  # _flush sets what execute answered

    def _start_flush(self) -> None:
        self._about_to_take = True
        flush = asyncio.get_running_loop().create_task(self._flush_waiting())
        self._flushes.add(flush)
        flush.add_done_callback(self._flushed)

    def _flushed(self, flush: "asyncio.Task[bool]") -> None:
        self._flushes.remove(flush)
        if self._waiting and flush.result() and not self._about_to_take:
            self._start_flush()

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        keys = set(self._keys_under_way)
        held_back: list[_Waiting] = []
        while self._waiting and len(batch) < self._rows_max:
            waiting = self._waiting.popleft()
            if waiting.answer.done():
                continue
            if not keys.isdisjoint(waiting.keys):
                held_back.append(waiting)
                continue
            keys.update(waiting.keys)
            batch.append(waiting)
        self._waiting.extendleft(reversed(held_back))
        return batch

    async def _flush_waiting(self) -> bool:
        """Flush waiting rows; return False if all of them wait for a flush in progress."""
        self._about_to_take = False
        batch = self._take()
        keys = {key for waiting in batch for key in waiting.keys}
        self._keys_under_way |= keys
        try:
            if batch:
                await self._write_or_split(batch)
        finally:
            self._keys_under_way -= keys
        return bool(batch)

    async def _write_or_split(self, batch: list[_Waiting]) -> None:
        try:
            answers = await self._execute([waiting.row for waiting in batch])  # type: ignore[misc]
        except BaseException as error:
            if len(batch) == 1 or isinstance(error, (UnavailableError, asyncio.CancelledError)):
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(_for_a_waiter(error))
                return
            middle = len(batch) // 2
            await self._write_or_split(batch[:middle])
            await self._write_or_split(batch[middle:])
            return
        assert len(answers) == len(batch), "a set-based write answers every row"
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)


def _for_a_waiter(error: BaseException) -> BaseException:
    """Convert a flush's cancellation, so that it does not look like the waiter's own."""
    if isinstance(error, asyncio.CancelledError):
        return UnavailableError("The platform is stopping. Retrying with the same key is safe.")
    return error


def joined_reads(
    database: Database, query: str, made: Callable[[StoredRow], Found], *, by: str = "id"
) -> Batcher[Key, Found | None]:
    """Return a reader of single rows by key that combines concurrent reads.

    `query` takes the keys as its only argument and returns the rows found, with `by` among their
    columns; missing rows are None.
    """

    async def read(keys: Sequence[Key]) -> list[Found | None]:
        found = {row[by]: made(row) for row in await database.fetch(query, list(keys))}
        return [found.get(key) for key in keys]

    return Batcher(read)
