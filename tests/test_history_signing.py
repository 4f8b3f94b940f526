"""Heads are made once a day, and kept outside the database until each place has them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from caas.billing_database import history_heads
from caas.billing_database.connection import Database
from caas.external_systems.head_copies import HeadAddress, HeadFolder, copies_at, file_name
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.history_signing import HEAD_REWRITTEN, HeadTerms, HistorySigning
from caas.jobs import JobQueue
from caas.rules.signed_heads import SignedHead
from caas.rules.time_scale import TimeScale
from tests.installation import Installation, standing
from tests.simulators.gateway_client import Receiver, receiving

KEYS = VehicleCommandKeys([b"k" * 32])
LATER = "update caas.clock set moved = moved + interval '1 day'"
CASES = "select sentence from cases where kind = $1"


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation in which something was sold."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        await built.buys()
        yield built


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who keeps what is posted."""
    async with receiving() as built:
        yield built


class Day:
    """The keeping of the history, with workers of its own."""

    def __init__(self, installation: Installation, terms: HeadTerms) -> None:
        platform, time_scale = installation.platform, TimeScale()
        self.keeping = HistorySigning(
            tables=platform.tables,
            alert=platform.notifications.alert,
            time_scale=time_scale,
            terms=terms,
        )
        self.work = JobQueue(platform.tables.jobs, platform.tables.cases, time_scale)
        self.keeping.register(self.work)
        self.database = installation.database

    async def passes(self) -> None:
        """Let a day go by and do what is due."""
        async with self.database.connection() as connection:
            await connection.execute("set role none")
            await connection.execute(LATER)
            await connection.execute("set role caas_app")
        await self.is_worked()

    async def is_worked(self) -> None:
        while await self.work.run_due():
            pass


async def test_once_a_day_a_head_is_made_and_every_place_gets_it(
    installation: Installation, receiver: Receiver, tmp_path: Path
) -> None:
    """A place that is away has nobody else wait, and gets what it missed."""
    receiver.answers = [503]
    day = Day(
        installation, HeadTerms(KEYS, (HeadAddress(receiver.url), HeadFolder(tmp_path / "heads")))
    )
    for _ in range(2):
        await day.keeping.begin()
        await day.is_worked()
    after_one = [path.name for path in (tmp_path / "heads").iterdir()]

    await day.passes()

    first, second = (
        SignedHead.parse(path.read_text()) for path in sorted((tmp_path / "heads").iterdir())
    )
    kept = await history_heads.last_heads(installation.database)
    assert after_one == [file_name(first)]
    assert [one.signed for one in kept] == [second, first]
    assert (first.digest_before, second.digest_before) == ("", first.digest)
    assert first.is_signed
    assert second.is_signed
    assert first.tables["payment_events"].rows > 0
    assert sorted(it.body["head"]["head"] for it in receiver.received) == [1, 1, 2]
    assert {it.headers["idempotency-key"] for it in receiver.received} == {
        file_name(first), file_name(second),
    }  # fmt: skip


async def test_a_copy_that_is_another_is_an_alert(
    installation: Installation, tmp_path: Path
) -> None:
    day = Day(installation, HeadTerms(KEYS, copies_at([str(tmp_path)])))
    (tmp_path / "head-00000001.json").write_text("{}")

    await day.keeping.begin()
    await day.is_worked()

    [case] = await installation.database.fetch(CASES, HEAD_REWRITTEN)
    assert "head-00000001.json" in case["sentence"]
    assert (tmp_path / "head-00000001.json").read_text() == "{}"
    await installation.platform.tables.cases.close(
        HEAD_REWRITTEN,
        (
            await installation.database.fetch(
                "select subject from cases where kind = $1", HEAD_REWRITTEN
            )
        )[0]["subject"],
        resolution="seen",
        owner="test",
    )


async def test_without_a_key_no_head_is_made(installation: Installation) -> None:
    keeping = HistorySigning(
        tables=installation.platform.tables,
        alert=installation.platform.notifications.alert,
        time_scale=TimeScale(),
        terms=None,
    )

    await keeping.begin()
    await installation.rest()

    assert await history_heads.last_heads(installation.database) == []
