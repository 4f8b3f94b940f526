"""Natural batching: who shares a statement, and who must not."""

import asyncio
from collections.abc import Sequence

import pytest

from caas.billing_database.batching import Batcher

TURNS = 5


class Statements:
    """Keeps which rows came in one statement; fails those that hold a poisoned row."""

    def __init__(self, poisoned: str | None = None) -> None:
        self.made: list[list[str]] = []
        self._poisoned = poisoned
        self._running = 0
        self.at_once_max = 0

    async def execute(self, rows: Sequence[str]) -> list[str]:
        self.made.append(list(rows))
        self._running += 1
        self.at_once_max = max(self.at_once_max, self._running)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        self._running -= 1
        if self._poisoned in rows:
            raise ValueError(self._poisoned)
        return [row.upper() for row in rows]


async def test_whoever_speaks_at_one_turn_of_the_loop_shares_one_statement() -> None:
    """The first caller once had a statement of its own, and everybody else waited for it."""
    statements = Statements()
    batcher = Batcher(statements.execute)

    answers = await asyncio.gather(*(batcher.write(row) for row in "abcd"))

    assert answers == ["A", "B", "C", "D"]
    assert statements.made == [["a", "b", "c", "d"]]


async def test_who_comes_while_a_statement_runs_shares_the_next() -> None:
    statements = Statements()
    batcher = Batcher(statements.execute)
    first = [asyncio.create_task(batcher.write(row)) for row in "ab"]
    while not statements.made:
        await asyncio.sleep(0)

    answers = await asyncio.gather(batcher.write("c"), batcher.write("d"))

    assert [*await asyncio.gather(*first), *answers] == ["A", "B", "C", "D"]
    assert statements.made == [["a", "b"], ["c", "d"]]


async def test_two_statements_run_at_once_and_no_more() -> None:
    statements = Statements()
    batcher = Batcher(statements.execute)
    writing = []

    for row in "abcd":
        writing.append(asyncio.create_task(batcher.write(row)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    most = statements.at_once_max

    assert await asyncio.gather(*writing) == ["A", "B", "C", "D"]
    assert (most, statements.at_once_max) == (2, 2)


async def test_rows_with_a_key_in_common_are_never_under_way_at_once() -> None:
    statements = Statements()
    batcher = Batcher(statements.execute)
    first = asyncio.create_task(batcher.write("a", keys=("subject 1",)))
    while not statements.made:
        await asyncio.sleep(0)

    answers = await asyncio.gather(
        batcher.write("b", keys=("subject 1",)), batcher.write("c", keys=("subject 2",))
    )

    assert [await first, *answers] == ["A", "B", "C"]
    assert statements.made == [["a"], ["c"], ["b"]]


async def test_rows_with_a_key_in_common_never_share_a_statement() -> None:
    statements = Statements()
    batcher = Batcher(statements.execute)

    await asyncio.gather(
        batcher.write("a", keys=("subject 1", "key 1")),
        batcher.write("b", keys=("subject 2", "key 1")),
        batcher.write("c", keys=("subject 2", "key 2")),
        batcher.write("d", keys=("subject 3",)),
    )

    assert statements.made == [["a", "c", "d"], ["b"]]


async def test_a_row_that_fails_takes_nothing_from_the_others() -> None:
    statements = Statements(poisoned="c")
    batcher = Batcher(statements.execute)

    answers = await asyncio.gather(*(batcher.write(row) for row in "abcd"), return_exceptions=True)

    assert [answers[0], answers[1], answers[3]] == ["A", "B", "D"]
    with pytest.raises(ValueError, match="c"):
        raise answers[2]  # type: ignore[misc]  # return_exceptions gave it


async def test_whoever_gave_up_before_its_statement_began_is_not_written() -> None:
    statements = Statements()
    batcher = Batcher(statements.execute)
    given_up = asyncio.create_task(batcher.write("a"))
    kept = asyncio.create_task(batcher.write("b"))
    await asyncio.sleep(0)

    given_up.cancel()

    assert await kept == "B"
    assert statements.made == [["b"]]
