"""A run takes the whole machine, or little of it while others are served; it finds the same."""

import asyncio
import contextlib
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from caas.billing_database.connection import Database
from caas.reconciliation import runs
from caas.reconciliation.throttle import (
    FEED_LINES,
    FEED_SECONDS,
    REST_SECONDS_MAX,
    RESTS,
    Throttle,
    Turn,
    throttled,
)
from tests.reconciliation.crowd import crowd, report_file, settlements
from tests.reconciliation.office import Office

PATIENCE_SECONDS = 120


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is rested, without resting."""
    taken: list[float] = []
    really = asyncio.sleep

    async def sleep(seconds: float) -> None:
        taken.append(seconds)
        await really(0)

    here = SimpleNamespace(**{**vars(asyncio), "sleep": sleep})
    monkeypatch.setattr("caas.reconciliation.throttle.asyncio", here)
    return taken


async def test_alone_the_workbench_and_the_database_work_at_the_same_time(
    rests: list[float],
) -> None:
    met = threading.Barrier(2, timeout=PATIENCE_SECONDS)

    async def meanwhile() -> None:
        await asyncio.to_thread(met.wait)

    computed = await Throttle().side_by_side(lambda: met.wait() >= 0, meanwhile)

    assert computed
    assert rests == []


async def test_while_others_are_served_one_thing_is_done_after_the_other(
    rests: list[float],
) -> None:
    throttle = Throttle()
    throttle.others_are_served = True
    done: list[str] = []

    async def meanwhile() -> None:
        done.append("database begins")
        await asyncio.to_thread(lambda: None)
        done.append("database ends")

    await throttle.side_by_side(lambda: done.append("workbench"), meanwhile)

    assert done == ["database begins", "database ends", "workbench"]
    assert len(rests) == 2


async def test_a_step_begins_before_the_one_before_has_ended_and_ends_after_it() -> None:
    second_has_begun = asyncio.Event()
    done: list[str] = []

    async def first(turn: Turn) -> None:
        await turn()
        await second_has_begun.wait()
        done.append("first")

    async def second(turn: Turn) -> None:
        second_has_begun.set()
        await turn()
        done.append("second")

    async with asyncio.timeout(PATIENCE_SECONDS), Throttle().overlapping() as steps:
        await steps.begin(first)
        await steps.begin(second)

    assert done == ["first", "second"]


async def test_while_others_are_served_no_step_overlaps_another() -> None:
    throttle = Throttle()
    throttle.others_are_served = True
    done: list[str] = []

    async def step(name: str, turn: Turn) -> None:
        done.append(f"{name} begins")
        await asyncio.sleep(0)
        await turn()
        done.append(f"{name} ends")

    async with throttle.overlapping() as steps:
        await steps.begin(partial(step, "first"))
        await steps.begin(partial(step, "second"))

    assert done == ["first begins", "first ends", "second begins", "second ends"]


async def test_no_step_ends_after_one_that_failed() -> None:
    ended: list[str] = []

    async def fails(turn: Turn) -> None:
        await turn()
        raise ConnectionError

    async def follows(turn: Turn) -> None:
        await turn()
        ended.append("follows")

    async def both() -> None:
        async with Throttle().overlapping() as steps:
            await steps.begin(fails)
            await steps.begin(follows)

    with pytest.raises(ConnectionError):
        await both()

    assert ended == []


async def test_steps_have_stopped_when_their_block_is_left_by_an_error() -> None:
    stopped: list[str] = []

    async def waits(_turn: Turn) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            stopped.append("waits")

    async def begun() -> None:
        async with Throttle().overlapping() as steps:
            await steps.begin(waits)
            await asyncio.sleep(0)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await begun()

    assert stopped == ["waits"]


async def test_a_rest_is_longer_than_the_work_before_it_and_has_a_limit(
    rests: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    instants = iter((0.0, 0.5, 10.0, 1010.0, 2000.0))
    clock = SimpleNamespace(monotonic=lambda: next(instants))
    monkeypatch.setattr("caas.reconciliation.throttle.time", clock)
    throttle = Throttle()
    throttle.others_are_served = True

    await throttle.rest()
    await throttle.rest()

    assert rests == [0.5 * RESTS, REST_SECONDS_MAX]


@pytest.mark.parametrize(("served", "pieces"), [(False, 1), (True, 4)])
async def test_lines_are_fed_little_by_little_while_others_are_served(
    rests: list[float], *, served: bool, pieces: int
) -> None:
    throttle = Throttle()
    throttle.others_are_served = served
    lines = b"one line\n" * (3 * FEED_LINES + 1)

    fed = [piece async for piece in throttle.fed(lines)]

    assert b"".join(fed) == lines
    assert len(fed) == pieces
    assert rests == [FEED_SECONDS] * (pieces if served else 0)


async def test_a_thread_at_the_workbench_has_ended_when_the_database_fails() -> None:
    may_end, ended = threading.Event(), threading.Event()

    def at_bench() -> None:
        may_end.wait(PATIENCE_SECONDS)
        ended.set()

    async def meanwhile() -> None:
        asyncio.get_running_loop().call_later(0.05, may_end.set)
        raise ConnectionError("the database is gone")

    with pytest.raises(ConnectionError):
        await Throttle().side_by_side(at_bench, meanwhile)

    assert ended.is_set()


async def test_others_are_seen_by_what_they_commit(database: Database) -> None:
    async def until(*, served: bool) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while throttle.others_are_served is not served:
                await asyncio.sleep(0.01)

    async def others() -> None:
        while True:
            await asyncio.gather(*(database.fetch("select 1") for _ in range(5)))

    async with throttled(database) as throttle:
        buying = asyncio.create_task(others())
        await until(served=True)
        buying.cancel()
        await until(served=False)


@pytest.mark.parametrize(
    ("committed", "served"),
    [
        ([1000, 1031, 1033, 1034], False),  # a run's own statements when it begins
        ([1000, 1100], True),
        ([1000, 1031, 1062, 1093], True),
        ([1000, 1100, 1101, 1102, 1103], False),
    ],
)
async def test_a_burst_of_commits_is_no_busy_platform(
    rests: list[float], committed: list[int], *, served: bool
) -> None:
    """A run at full pace rested ten seconds, because it took its own statements for customers."""
    counts = iter(committed)

    async def count() -> int:
        if (number := next(counts, None)) is None:
            raise asyncio.CancelledError
        return number

    throttle = Throttle()
    with contextlib.suppress(asyncio.CancelledError):
        await throttle.watch(SimpleNamespace(committed=count))

    assert throttle.others_are_served is served
    assert len(rests) == len(committed)


async def test_a_run_that_rests_finds_what_a_run_at_full_pace_finds(
    office: Office, tmp_path: Path, rests: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    payments = await crowd(office.installation.platform.tables, 20)
    path = report_file(tmp_path / "day.csv", settlements(payments))

    async def served(self: Throttle, _database: Database) -> None:
        self.others_are_served = True

    monkeypatch.setattr(Throttle, "watch", served)
    monkeypatch.setattr(runs, "SMALL_LINES_MAX", 10)
    rested = await office.reconciliation.reconcile(office.today, file=path)
    digest = await office.reconciliation.replay(rested.run.id)

    assert rested.run.counts == {"matched": 20}
    assert digest == rested.run.output_hash
    assert len(rests) > 4


async def test_a_small_run_never_rests(
    office: Office, rests: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred lines beside customers took fifty seconds, nearly all of them rests."""

    async def served(self: Throttle, _database: Database) -> None:
        self.others_are_served = True

    monkeypatch.setattr(Throttle, "watch", served)
    await office.line(await office.capturing())

    await office.closed()

    assert len(rests) <= 1
