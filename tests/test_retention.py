"""What is older than the policy is removed, nothing else, and the history still holds."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from caas.billing_database import history_checks, history_heads, removals, self_check
from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.invariants import EVERY_INVARIANT
from caas.retention import REMOVE_OLD_ROWS
from caas.rules.retention import (
    DAYS,
    DAYS_MIN,
    RetentionTerms,
    RetentionTermsError,
    read_retention_terms,
)
from tests.billing_database.test_history_heads import TERMS
from tests.databases import as_service
from tests.installation import Installation, standing
from tests.start_up.conftest import Machine

WEBHOOK = """
insert into webhook_inbox (id, gateway, event_id, body_hash, body, received_at)
values ($1, 'contract', 'evt_1', 'x', '{}', db_now())
"""
KEY = """
insert into idempotency_keys (caller, key_hash, request_hash, answer_status, created_at)
values ('caller', 'x', 'x', 200, db_now())
"""


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with a payment that has ended."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        await built.settled()
        await built.rest()
        async with database.transaction() as session:
            await session.execute(WEBHOOK, new_id())
            await session.execute(KEY)
        yield built


async def days_pass(database: Database, days: int) -> None:
    """Let time pass."""
    owner = await asyncpg.connect(database.dsn)
    await owner.execute(f"update caas.clock set moved = moved + interval '{days} days'")
    await owner.close()


async def rows_of(database: Database) -> dict[str, int]:
    """Count what may be removed."""
    return {
        table: (await database.fetch(f"select count(*) from {table}"))[0][0]
        for table in removals.REMOVABLE
    }


async def test_what_is_older_than_the_policy_goes_and_the_history_still_holds(
    installation: Installation,
) -> None:
    database = installation.database
    head = await history_heads.made(database, sign=TERMS.sign)
    assert head is not None
    before = await rows_of(database)
    for table in removals.REMOVABLE:
        await removals.remove_all(database, table, older_than=timedelta(days=DAYS[table]))
    at_first = await rows_of(database)
    await days_pass(database, 401)
    await installation.rest()

    removed = {
        table: await removals.remove_all(database, table, older_than=timedelta(days=DAYS[table]))
        for table in removals.REMOVABLE
    }

    assert at_first == before
    assert all(before.values()), "there was something to remove"
    assert all(number >= before[table] for table, number in removed.items() if number is not None)
    assert await history_checks.differences_from_head(database, head) == []
    assert not [it for it in await self_check.self_check(database) if it.broken]


async def test_the_daily_job_removes_by_the_policy(installation: Installation) -> None:
    await installation.platform.retention.begin()
    await installation.rest()
    before = await rows_of(installation.database)
    await days_pass(installation.database, 401)
    await installation.rest()

    after = await rows_of(installation.database)
    kept = await installation.database.fetch(removals.REMOVED)
    again = await installation.database.fetch(
        "select from jobs where kind = $1 and due_at > db_now()", REMOVE_OLD_ROWS
    )

    assert all(before.values())
    assert {row["of_table"]: row["rows"] for row in kept}.keys() == removals.REMOVABLE.keys()
    assert all(row["rows"] >= before[row["of_table"]] for row in kept)
    assert after["idempotency_keys"] == 0
    assert len(again) == 1


async def test_a_row_that_is_too_young_to_have_been_removed_is_missed(
    installation: Installation,
) -> None:
    """Whoever removes a row may not call it retention."""
    database = installation.database
    head = await history_heads.made(database, sign=TERMS.sign)
    assert head is not None
    await removals.remove(database, "gateway_calls", older_than=timedelta(days=400))
    owner = await asyncpg.connect(database.dsn, server_settings={"search_path": "caas"})
    removal = owner.transaction()
    await removal.start()
    await owner.execute("set local caas.removes = 'gateway_calls'")
    await owner.execute("delete from gateway_calls")
    query = next(it.query for it in EVERY_INVARIANT if it.name == "counted_rows_exist")
    missed = await owner.fetch(query)
    await removal.rollback()
    await owner.close()

    assert missed
    assert await history_checks.differences_from_head(database, head) == []


@pytest.mark.parametrize("table", [*removals.REMOVABLE, "payment_events", "ledger_entries"])
async def test_nobody_else_removes_a_row_and_the_function_none_that_is_young(
    installation: Installation, table: str
) -> None:
    database = installation.database
    young = timedelta(days=DAYS_MIN.get(table, 400)) - timedelta(seconds=1)

    with pytest.raises(asyncpg.RestrictViolationError):
        await removals.remove(database, table, older_than=young)
    async with database.connection() as session:
        await session.execute(f"set caas.removes = '{table}'")
        with pytest.raises(asyncpg.PostgresError):
            await session.execute(f"delete from {table}")
        await session.execute("reset caas.removes")
    owner = await asyncpg.connect(database.dsn, server_settings={"search_path": "caas"})
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute(f"delete from {table}")
    await owner.close()


async def test_batches_are_bounded_and_a_run_goes_on(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = installation.database
    calls = (await rows_of(database))["gateway_calls"]
    await days_pass(database, 401)
    monkeypatch.setattr(removals, "ROWS_AT_ONCE", 1)

    interrupted = await removals.remove_all(
        database, "gateway_calls", older_than=timedelta(days=400), seconds_max=0.0
    )
    one = await removals.remove(database, "gateway_calls", older_than=timedelta(days=400))
    rest = await removals.remove_all(database, "gateway_calls", older_than=timedelta(days=400))
    await installation.rest()

    assert interrupted is None
    assert one == 1
    assert rest == calls - 1


async def test_the_command_shows_what_is_stored_and_removes(
    installation: Installation, tmp_path: Path
) -> None:
    database = installation.database
    here = {"CAAS_DATABASE_URL": as_service(database.dsn)}
    await days_pass(database, 401)
    await installation.rest()
    machine = Machine(tmp_path / "data")
    shown = await machine.runs("retention", **here)
    asked = await machine.runs("retention", "--run", **here)
    removed = await machine.runs("retention", "--run", "--yes", **here)
    unfit = await machine.runs("retention", **here, CAAS_RETENTION="payment_events=400")

    [keys] = [
        line.split() for line in shown.out.splitlines() if line.startswith("idempotency_keys")
    ]
    [events] = [
        line.split() for line in shown.out.splitlines() if line.startswith("payment_events")
    ]
    assert (shown.status, removed.status) == (0, 0), shown.err + removed.err
    assert keys[-3:-1] == ["90", "days"]
    assert int(keys[-1]) > 0
    assert events[-2:] == ["no", "policy"]
    assert asked.status == 2
    assert (await rows_of(database))["idempotency_keys"] == 0
    assert unfit.status == 3
    assert "CAAS_RETENTION" in unfit.err


def test_a_policy_names_tables_with_days() -> None:
    assert read_retention_terms("") == RetentionTerms()
    assert read_retention_terms("gateway_calls=180, webhook_inbox=keep").kept_days == {
        "idempotency_keys": 90, "gateway_calls": 180,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["ledger_entries=4000", "gateway_calls=179", "gateway_calls", "webhook_inbox=soon"]
)
def test_a_policy_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(RetentionTermsError):
        read_retention_terms(text)
