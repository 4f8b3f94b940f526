"""Webhooks of the simulated gateway: signed, at least once, and everything that can go wrong."""

import base64
import hashlib
import hmac
import time

import pytest

from caas_simulators.gateway_world import GatewaySettings
from caas_simulators.webhook_sender import Target
from tests.simulators.gateway_client import SECRET, Gateway, Receiver, gateway_running

WEBHOOK = {"operation": "webhook"}


async def test_a_webhook_is_signed_over_id_time_and_body(
    gateway: Gateway, receiver: Receiver
) -> None:
    await gateway.initiate()
    await gateway.webhooks_arrived()

    (one,) = receiver.received
    reported = f"{one.headers['webhook-id']}.{one.headers['webhook-timestamp']}.{one.text}"
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = base64.b64encode(hmac.digest(key, reported.encode(), hashlib.sha256)).decode()
    assert one.headers["webhook-signature"] == f"v1,{digest}"
    assert one.genuine
    assert one.body["id"] == one.headers["webhook-id"]


async def test_a_webhook_shows_the_transaction_as_it_was_then(
    gateway: Gateway, receiver: Receiver
) -> None:
    await gateway.captured()
    await gateway.webhooks_arrived()

    reported = {one.body["type"]: one.body["data"] for one in receiver.received}
    assert reported["transaction.authorized"]["captured_amount"] == 0
    assert reported["transaction.capturing"]["captured_amount"] == 1000


@pytest.mark.parametrize("method", ["pm_declined", "pm_ok"])
async def test_every_outcome_is_told(gateway: Gateway, receiver: Receiver, method: str) -> None:
    reply = await gateway.initiate(method)
    await gateway.post(f"/transactions/{reply.body['id']}/void", {"reason": "x"})
    await gateway.webhooks_arrived()

    expected = {
        "pm_declined": ["transaction.failed"],
        "pm_ok": ["transaction.authorized", "transaction.voided"],
    }
    assert receiver.types == expected[method]


async def test_both_secrets_sign_while_they_are_rotated(receiver: Receiver) -> None:
    new_secret = "whsec_" + base64.b64encode(b"n" * 24).decode()
    webhooks = Target(receiver.url, [new_secret, SECRET])
    async with gateway_running(GatewaySettings(webhooks=webhooks)) as gateway:
        await gateway.initiate()
        await gateway.webhooks_arrived()

    (one,) = receiver.received
    assert one.genuine
    assert len(one.headers["webhook-signature"].split(" ")) == 2


async def test_a_webhook_is_sent_again_until_it_is_taken(
    gateway: Gateway, receiver: Receiver
) -> None:
    receiver.answers = [500, 503, 301, 404]

    await gateway.initiate()
    await gateway.webhooks_arrived()

    assert len(receiver.received) == 5
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    assert len({one.text for one in receiver.received}) == 1
    (sent,) = (await gateway.control("GET", "/webhooks"))["sent"]
    assert (sent["state"], sent["answers"]) == ("delivered", ["500", "503", "301", "404", "200"])


async def test_a_webhook_nobody_takes_is_given_up_in_the_end(receiver: Receiver) -> None:
    receiver.answers = [500] * 100
    settings = GatewaySettings(time_scale=20_000, webhooks=Target(receiver.url, [SECRET]))
    async with gateway_running(settings) as gateway:
        await gateway.initiate()
        await gateway.webhooks_arrived()
        (sent,) = (await gateway.control("GET", "/webhooks"))["sent"]

    assert sent["state"] == "given up"
    assert len(receiver.received) == len(sent["answers"]) == 12


async def test_an_endpoint_that_is_down_gets_its_webhook_later(receiver: Receiver) -> None:
    settings = GatewaySettings(time_scale=10_000, webhooks=Target("http://127.0.0.1:1", [SECRET]))
    async with gateway_running(settings) as gateway:
        await gateway.initiate()
        await gateway.control("POST", "/webhooks", {"url": receiver.url})
        await gateway.webhooks_arrived()

    assert receiver.types == ["transaction.authorized"]


async def test_only_the_wanted_types_are_sent(receiver: Receiver) -> None:
    webhooks = Target(receiver.url, [SECRET], ["transaction.settled"])
    async with gateway_running(GatewaySettings(webhooks=webhooks)) as gateway:
        await gateway.settled()
        await gateway.webhooks_arrived()

    assert receiver.types == ["transaction.settled"]


async def test_the_target_can_be_set_while_running(receiver: Receiver) -> None:
    async with gateway_running(GatewaySettings()) as gateway:
        await gateway.initiate(reference="before")
        await gateway.control("POST", "/webhooks", {"url": receiver.url, "secrets": [SECRET]})
        await gateway.initiate(reference="after")
        await gateway.webhooks_arrived()

    assert [one.body["data"]["reference"] for one in receiver.received] == ["after"]
    assert receiver.received[0].genuine


async def test_what_was_sent_can_be_asked_by_reference(gateway: Gateway) -> None:
    await gateway.initiate(reference="pay-1")
    await gateway.initiate(reference="pay-2")
    await gateway.webhooks_arrived()

    log = await gateway.control("GET", "/webhooks?reference=pay-2")

    assert [(one["reference"], one["state"]) for one in log["sent"]] == [("pay-2", "delivered")]


async def test_a_webhook_can_be_sent_many_times(gateway: Gateway, receiver: Receiver) -> None:
    await gateway.script(WEBHOOK | {"times": 1}, duplicate=100)

    await gateway.initiate()
    await gateway.webhooks_arrived()

    assert len(receiver.received) == 101
    assert len({(one.headers["webhook-id"], one.text) for one in receiver.received}) == 1


async def test_webhooks_can_arrive_in_the_wrong_order(gateway: Gateway, receiver: Receiver) -> None:
    await gateway.script(WEBHOOK | {"times": 3}, reorder=3)

    await gateway.settled()
    await gateway.webhooks_arrived()

    assert set(receiver.types[:1]) == {"transaction.settled"}
    assert len(receiver.types) == 3


async def test_held_back_webhooks_are_released_even_if_no_more_come(
    gateway: Gateway, receiver: Receiver
) -> None:
    await gateway.script(WEBHOOK, reorder=50)

    await gateway.initiate()
    reported = await receiver.until("transaction.authorized")

    assert reported["data"]["status"] == "authorized"


async def test_a_webhook_can_be_lost(gateway: Gateway, receiver: Receiver) -> None:
    await gateway.script({"operation": "webhook", "event_type": "transaction.settled"}, drop=True)

    await gateway.settled()
    await gateway.webhooks_arrived()

    assert "transaction.settled" not in receiver.types
    log = await gateway.control("GET", "/webhooks")
    assert log["sent"][-1]["state"] == "dropped"


async def test_a_webhook_can_be_late(gateway: Gateway, receiver: Receiver) -> None:
    await gateway.script(WEBHOOK, delay_ms=150)
    started = time.monotonic()

    await gateway.initiate()
    await receiver.until("transaction.authorized")

    assert time.monotonic() - started >= 0.15


async def test_a_webhook_can_be_forged(gateway: Gateway, receiver: Receiver) -> None:
    await gateway.script(WEBHOOK, forged_signature=True)

    await gateway.initiate()
    await gateway.webhooks_arrived()

    assert [one.genuine for one in receiver.received] == [False]


@pytest.mark.parametrize("age", [301, -301])
async def test_a_webhook_can_be_old_or_from_the_future(
    gateway: Gateway, receiver: Receiver, age: int
) -> None:
    await gateway.script(WEBHOOK, old_timestamp_seconds=age)

    await gateway.initiate()
    await gateway.webhooks_arrived()

    (one,) = receiver.received
    assert not one.genuine
    assert abs(time.time() - int(one.headers["webhook-timestamp"]) - age) < 5


async def test_the_same_event_can_come_with_another_body(
    gateway: Gateway, receiver: Receiver
) -> None:
    await gateway.script(WEBHOOK, other_body=True)

    await gateway.initiate()
    await gateway.webhooks_arrived()

    first, second = sorted(receiver.received, key=lambda one: int(one.body["data"]["amount"]))
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert (first.body["data"]["amount"], second.body["data"]["amount"]) == (1000, 1001)
    assert first.genuine
    assert second.genuine


@pytest.mark.parametrize(
    ("fault", "field"),
    [("wrong_amount", "amount"), ("wrong_currency", "currency"), ("wrong_transaction", "id")],
)
async def test_a_genuine_webhook_can_tell_something_wrong(
    gateway: Gateway, receiver: Receiver, fault: str, field: str
) -> None:
    await gateway.script(WEBHOOK, **{fault: True})

    true = (await gateway.initiate()).body
    await gateway.webhooks_arrived()

    (one,) = receiver.received
    assert one.genuine
    assert one.body["data"][field] != true[field]


async def test_a_webhook_can_arrive_before_the_answer(gateway: Gateway, receiver: Receiver) -> None:
    await gateway.script({"operation": "initiate"}, webhook_before_answer=True)

    await gateway.initiate()

    assert receiver.types == ["transaction.authorized"]
