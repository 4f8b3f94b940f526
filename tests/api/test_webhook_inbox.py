"""The inbox of webhooks against a real PostgreSQL: once each, with its work, or set aside."""

import asyncio
import hashlib

import pytest

from caas.billing_database import tables as billing_tables
from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.webhook_inbox import (
    CONTRADICTION,
    Incoming,
    Storing,
    WebhookInbox,
    WebhookNotFoundError,
)

BODY = '{"id":"evt_1","type":"transaction.settled"}'


def incoming(event_id: str = "evt_1", body: str = BODY, gateway: str = "contract") -> Incoming:
    """A verified webhook of the gateway."""
    return Incoming(
        gateway=gateway, event_id=event_id, body=body, job_kind="apply_webhook",
        body_hash=hashlib.sha256(body.encode()).digest(),
    )  # fmt: skip


async def count(database: Database, table: str) -> int:
    """How many rows a table has."""
    rows = await database.fetch(f"select count(*) from {table}")
    return int(rows[0][0])


async def test_a_webhook_is_stored_together_with_the_work_that_applies_it(
    database: Database,
) -> None:
    inbox = WebhookInbox(database)

    stored = await inbox.store(incoming())

    assert stored.storing is Storing.FRESH
    row = await inbox.get(stored.id)
    assert (row.event_id, row.body) == ("evt_1", b'{"id": "evt_1", "type": "transaction.settled"}')
    assert row == await WebhookInbox(database).get(stored.id), "as another process reads it"
    claimed = await billing_tables.opened(database).jobs.claim(["apply_webhook"], lease_seconds=5)
    assert [job.subject for job in claimed.jobs] == [stored.id]


async def test_the_same_webhook_a_hundred_times_from_eight_processes_is_one_row(
    database: Database,
) -> None:
    inboxes = [WebhookInbox(database) for _ in range(8)]

    answers = await asyncio.gather(
        *(inboxes[n % 8].store(incoming(f"evt_{n % 3}")) for n in range(100))
    )

    assert [answer.storing for answer in answers].count(Storing.FRESH) == 3
    assert {answer.storing for answer in answers} == {Storing.FRESH, Storing.DUPLICATE}
    assert len({answer.id for answer in answers}) == 3
    assert await count(database, "webhook_inbox") == 3
    assert await count(database, "jobs") == 3


async def test_the_same_id_of_another_sender_is_another_webhook(database: Database) -> None:
    inbox = WebhookInbox(database)

    answers = [await inbox.store(incoming(gateway=name)) for name in ("gateway", "factory")]

    assert [answer.storing for answer in answers] == [Storing.FRESH, Storing.FRESH]


async def test_another_body_under_a_known_id_contradicts_and_is_not_stored(
    database: Database,
) -> None:
    inbox = WebhookInbox(database)
    first = await inbox.store(incoming())

    second = await inbox.store(incoming(body='{"id":"evt_1","type":"transaction.failed"}'))

    assert (second.storing, second.id) == (Storing.CONTRADICTION, first.id)
    assert await count(database, "jobs") == 1


async def test_quarantine_keeps_a_webhook_once_with_one_case(database: Database) -> None:
    inbox = WebhookInbox(database)
    first = await inbox.store(incoming())
    other = incoming(body='{"id":"evt_1","type":"transaction.failed"}')

    for _ in range(3):
        await inbox.quarantine(other, reason="another body", contradicts=first.id)

    cases = await billing_tables.opened(database).cases.listed(subject=first.id)
    assert [case.kind for case in cases] == [CONTRADICTION]
    assert await count(database, "webhook_quarantine") == 1


async def test_a_webhook_nobody_stored_is_not_found(database: Database) -> None:
    with pytest.raises(WebhookNotFoundError):
        await WebhookInbox(database).get(new_id())
