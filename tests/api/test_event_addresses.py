"""Where events may be sent to: never into the network that the platform stands in."""

import pytest

from caas.billing_database.accounts import Actor
from caas.billing_database.audit_events import AuditEvents
from caas.event_delivery import EventAddressRefusedError, EventDelivery
from caas.external_systems.http import Secret
from caas.external_systems.webhook_signatures import AddressNotPublicError, checked_addresses
from tests.api.conftest import Doors
from tests.api.test_events import Subscriber, subscriber, until
from tests.ways_in import SIGN_IN_KEYS

__all__ = ["subscriber"]

INSIDE = (
    "https://169.254.169.254/latest", "https://10.0.0.1/", "https://172.16.0.1/",
    "https://192.168.1.1/", "https://100.64.0.1/", "https://0.0.0.0/", "https://224.0.1.1/",
    "https://240.0.0.1/", "https://[fc00::1]/", "https://[fe80::1]/", "https://[ff02::1]/",
    "https://[::]/", "https://[::ffff:10.0.0.1]/", "https://[2002:a00:1::]/",
    "https://metadata.google.internal/", "https://postgres/", "https://printer.local/",
)  # fmt: skip
HERE = (
    "http://localhost:18911/v1/x", "http://127.0.0.1:38361/_control/vehicles", "https://127.1/",
    "https://2130706433/", "https://[::1]/", "https://localhost./",
)  # fmt: skip


@pytest.fixture
def outside_only(doors: Doors) -> EventDelivery:
    """Deliveries as in operation, where nobody on this machine is a subscriber."""

    platform = doors.installation.platform
    return EventDelivery(
        platform.tables, encryption=SIGN_IN_KEYS.event_secrets,
        alert=platform.notifications.alert, time_scale=platform.event_delivery._time_scale,
    )  # fmt: skip


async def test_no_event_subscription_leads_into_our_own_network(
    doors: Doors, outside_only: EventDelivery
) -> None:
    answers = [
        await doors.post("/v1/event-subscriptions", {"url": url}, caller="operators")
        for url in INSIDE
    ]
    assert {it.status for it in answers} == {422}
    assert answers[0].json["code"] == "event_address_refused"
    for url in INSIDE + HERE:
        with pytest.raises(EventAddressRefusedError):
            await outside_only.subscribe(url=url, types=[], after=None, by=Actor("ops"))
    assert await checked_addresses("93.184.215.14", 443, loopback_allowed=False)
    with pytest.raises(AddressNotPublicError):
        await checked_addresses("localhost", 443, loopback_allowed=False)


async def test_a_delivery_goes_to_no_address_that_became_private(
    doors: Doors, outside_only: EventDelivery, subscriber: Subscriber
) -> None:
    delivery = doors.installation.platform.event_delivery
    await doors.installation.settled()
    made, secret = await delivery.subscribe(
        url=subscriber.url, types=[], after=None, by=Actor("ops")
    )
    [event, *_] = (await delivery.events.after(None, types=(), rows_max=1)).events

    because = await outside_only._sent(made, Secret(secret), event)

    assert because is not None
    assert "AddressNotPublicError" in because
    assert event.position.id not in {it["webhook-id"] for _, it in subscriber.requests}


async def test_an_event_subscription_leaves_its_audit_and_its_secret_is_sent_once(
    doors: Doors, subscriber: Subscriber
) -> None:
    headers = {"idempotency-key": "the-same-key-for-both"}
    ways = {"body": {"url": subscriber.url}, "caller": "operators", "headers": headers}
    made = await doors.post("/v1/event-subscriptions", **ways)
    again = await doors.post("/v1/event-subscriptions", **ways)
    await until(doors, lambda: True)
    for _ in range(2):
        await doors.call("DELETE", made.json["links"]["self"], caller="operators")

    secret = made.json["secret"]
    assert (again.status, again.json["id"], again.json["secret"]) == (201, made.json["id"], None)
    stored = await doors.installation.database.fetch(
        "select 1 from idempotency_keys where position($1 in answer_body::text) > 0", secret
    )
    assert stored == []
    events = await AuditEvents(doors.installation.database).after(rows_max=100)
    about = [it.type.value for it in events if str(it.subject) == made.json["id"]]
    assert about == ["event subscription made", "event subscription ended"]
