"""The secret that signs events: a dump of the database tells it to nobody, and keys may change."""

import base64
from uuid import UUID

import asyncpg
import pytest
from standardwebhooks import Webhook

from caas.billing_database.job_rows import Job
from caas.event_delivery import DELIVER, EventDelivery
from caas.external_systems.encryption_at_rest import EVENT_SUBSCRIPTIONS, EncryptionAtRest
from caas.jobs import RetryIn
from tests.api.conftest import Doors
from tests.api.test_events import Subscriber, subscriber, until
from tests.ways_in import SIGN_IN_KEY

__all__ = ["subscriber"]

OLD, NEW = base64.b64decode(SIGN_IN_KEY), bytes(range(32))
STORED = "select secret, encrypted_secret, t::text as row from event_subscriptions t where id = $1"
PLAIN = """
set local role none; alter table event_subscriptions disable trigger only_ends;
update event_subscriptions set secret = '{secret}', encrypted_secret = null;
alter table event_subscriptions enable always trigger only_ends
"""


def with_keys(doors: Doors, *keys: bytes) -> EventDelivery:
    """Deliver as a process whose settings list these keys."""
    platform = doors.installation.platform
    return EventDelivery(
        platform.tables, encryption=EncryptionAtRest(keys, EVENT_SUBSCRIPTIONS),
        alert=platform.notifications.alert, time_scale=platform.event_delivery._time_scale,
        local_subscribers=True,
    )  # fmt: skip


async def delivers(delivery: EventDelivery, subscription: UUID) -> RetryIn:
    """Deliver everything once more as a worker of this process would; return its answer."""
    payload = {"after": "0", "failures": 0}
    answer = await delivery._due(Job(DELIVER, subscription, payload, attempts=0, fence=0))
    assert isinstance(answer, RetryIn)
    return answer


async def test_the_secret_of_a_subscriber_is_stored_encrypted_and_keys_may_change(
    doors: Doors, subscriber: Subscriber
) -> None:
    made = (await doors.post("/v1/event-subscriptions", {"url": subscriber.url},
                             caller="operators")).json  # fmt: skip
    secret, its = made["secret"], UUID(made["id"])
    await doors.installation.settled()
    await until(doors, lambda: bool(subscriber.taken))
    database = doors.installation.database

    [stored] = await database.fetch(STORED, its)
    raw = base64.b64decode(secret.removeprefix("whsec_"))
    assert not any(it in stored["row"] for it in ("whsec_", secret[6:], raw.hex()))
    with pytest.raises(asyncpg.CheckViolationError, match="written encrypted"):
        await database.fetch(
            "insert into event_subscriptions (id, url, secret, created_by, created_at)"
            " values (gen_random_uuid(), 'https://a.example', $1, 'ops', db_now())", secret,
        )  # fmt: skip

    both = await delivers(with_keys(doors, NEW, OLD), its)
    alone = await delivers(with_keys(doors, NEW), its)
    gone = await delivers(with_keys(doors, OLD), its)
    async with database.transaction() as connection:  # as it was before secrets were encrypted
        await connection.execute(PLAIN.format(secret=secret))
    before = await delivers(with_keys(doors, NEW), its)
    [stored] = await database.fetch(STORED, its)

    assert (both.because, alone.because, before.because) == (None, None, None)
    assert "no longer in CAAS_SIGN_IN_KEYS" in (gone.because or "")
    assert stored["secret"] is None
    assert stored["encrypted_secret"] is not None
    for body, headers in subscriber.requests:
        Webhook(secret).verify(body, headers)

    await doors.call("DELETE", made["links"]["self"], caller="operators")
    [ended] = await database.fetch(STORED, its)
    assert (ended["secret"], ended["encrypted_secret"]) == (None, None)
