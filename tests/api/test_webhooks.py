"""The Webhook Handler over a socket: F-W1 to F-W7, and what is done with what was stored."""

import asyncio
import base64
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest

from caas.billing_database.webhook_inbox import CONTRADICTION, UNREADABLE
from caas.external_systems.http import Secret
from caas.external_systems.webhook_signatures import WEBHOOK_BODY_BYTES_MAX, sign
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from tests.api.conftest import (
    GATEWAY_SECRET,
    OLD_GATEWAY_SECRET,
    OTHER_GATEWAY_SECRET,
    PARTNER_SECRET,
    Doors,
    Reply,
    now,
)
from tests.api.test_orders import orders, until
from tests.api.test_payments import count, pays

FORGER_SECRET = Secret("whsec_" + base64.b64encode(b"f" * 24).decode())
PAN = "4111111111111111"


def settled(event_id: str = "evt_1", **changes: object) -> bytes:
    """An event of the gateway about a transaction that nobody here knows."""
    data: dict[str, object] = {
        "id": "txn_1", "reference": str(UUID(int=1)), "status": "settled", "amount": 1299,
        "currency": "EUR", "captured_amount": 1299, "settled_amount": 1299, "refunded_amount": 0,
        "created_at": "2026-11-23T10:00:00Z", **changes,
    }  # fmt: skip
    return msgspec.json.encode({
        "id": event_id, "type": "transaction.settled", "occurred_at": "2026-11-23T10:00:00Z",
        "data": data,
    })  # fmt: skip


async def tells(
    doors: Doors,
    body: bytes,
    *,
    event_id: str = "evt_1",
    secret: Secret = GATEWAY_SECRET,
    at: datetime | None = None,
    path: str = "/webhooks/gateway",
    **headers: str,
) -> Reply:
    """Send a webhook, signed over these bytes."""
    signed = sign(secret, event_id=event_id, at=at or now(), body=body)
    return await doors.call(
        "POST", path, caller=None, data=body,
        headers={"content-type": "application/json", **signed, **headers},
    )  # fmt: skip


async def test_a_new_event_is_stored_with_its_work_before_it_is_answered(doors: Doors) -> None:
    answer = await tells(doors, settled())

    assert (answer.status, answer.body) == (204, b"")
    assert await count(doors, "webhook_inbox") == 1
    assert await count(doors, "jobs") == 1
    assert len(doors.woken) == 1


async def test_the_same_event_a_hundred_times_is_stored_once(doors: Doors) -> None:
    body = settled()

    answers = await asyncio.gather(*(tells(doors, body) for _ in range(100)))

    statuses = [answer.status for answer in answers]
    assert (statuses.count(204), statuses.count(200)) == (1, 99)
    assert await count(doors, "webhook_inbox") == 1
    assert await count(doors, "jobs") == 1


async def test_another_body_under_a_known_id_is_set_aside_with_a_case(doors: Doors) -> None:
    await tells(doors, settled())

    answer = await tells(doors, settled(amount=1300))
    again = await tells(doors, settled(amount=1300))

    assert [answer.json["status"], again.json["status"]] == ["set aside", "set aside"]
    cases = await doors.installation.platform.tables.cases.listed()
    assert [case.kind for case in cases] == [CONTRADICTION]
    assert await count(doors, "jobs") == 1
    assert await count(doors, "webhook_quarantine") == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'{"id":"evt_1"}',
        settled(status="teleported"),
        settled(amount="1299"),
        settled().replace(b"transaction.settled", b"planet.settled"),
        b"\xff\xfe" + settled(),
        settled(decline_code="\x00"),
        b'{"id":"evt_1","type":"transaction.settled","x":' + b"[" * 20_000,
    ],
    ids=["empty", "text", "half", "status", "amount", "family", "bytes", "NUL", "deep"],
)
async def test_what_nobody_can_read_is_kept_with_a_case_and_not_sent_again(
    doors: Doors, body: bytes
) -> None:
    answer = await tells(doors, body)

    assert (answer.status, answer.json["status"]) == (200, "set aside")
    cases = await doors.installation.platform.tables.cases.listed()
    assert [case.kind for case in cases] == [UNREADABLE]
    assert await count(doors, "webhook_inbox") == 0


async def test_an_event_is_known_by_its_own_id_in_whatever_message_it_comes(doors: Doors) -> None:
    """A gateway whose messages have ids of their own had every webhook of its set aside."""
    first = await tells(doors, settled("evt_of_theirs"), event_id="msg_1")
    again = await tells(doors, settled("evt_of_theirs"), event_id="msg_2")

    assert (first.status, again.status) == (204, 200)
    assert again.json["status"] == "known"
    assert await count(doors, "webhook_inbox") == 1
    assert await doors.installation.platform.tables.cases.listed() == []


async def test_a_byte_the_database_cannot_hold_is_left_out(doors: Doors) -> None:
    body = settled().replace(b'"data":{', b'"data":{"note":"\x00",')

    answer = await tells(doors, body)

    assert answer.status in {200, 204}, answer.body
    assert await count(doors, "webhook_inbox") + await count(doors, "webhook_quarantine") == 1


async def test_a_number_the_database_cannot_hold_does_not_come_back_for_ever(doors: Doors) -> None:
    body = settled().replace(b'"data":{', b'"data":{"more":1e999999,')

    answer = await tells(doors, body)

    assert (answer.status, answer.json["status"]) == (200, "set aside")


@pytest.mark.parametrize("away_seconds", [-301, 301, -86_400, 86_400])
async def test_a_signature_of_another_time_is_refused_on_both_sides(
    quiet_doors: Doors, away_seconds: int
) -> None:
    answer = await tells(quiet_doors, settled(), at=now() + timedelta(seconds=away_seconds))

    assert (answer.status, answer.json["code"]) == (401, "webhook_not_theirs")


async def test_a_webhook_of_nearly_five_minutes_ago_is_still_theirs(doors: Doors) -> None:
    assert (await tells(doors, settled(), at=now() - timedelta(seconds=290))).status == 204


async def test_both_secrets_are_good_while_they_are_rotated(doors: Doors) -> None:
    assert (await tells(doors, settled(), secret=OLD_GATEWAY_SECRET)).status == 204


@pytest.mark.parametrize("path", ["/webhooks/gateway", "/webhooks/factory", "/webhooks/transport"])
async def test_a_forged_signature_stores_nothing(quiet_doors: Doors, path: str) -> None:
    answer = await tells(quiet_doors, settled(), secret=FORGER_SECRET, path=path)

    assert (answer.status, answer.json["code"]) == (401, "webhook_not_theirs")
    assert answer.headers["www-authenticate"]


async def test_a_senders_secret_is_not_good_for_another_sender(quiet_doors: Doors) -> None:
    swapped = (("/webhooks/gateway", PARTNER_SECRET), ("/webhooks/factory", GATEWAY_SECRET))
    for path, secret in swapped:
        assert (await tells(quiet_doors, settled(), path=path, secret=secret)).status == 401


@pytest.mark.parametrize(
    ("path", "secret", "stored_for"),
    [
        ("/webhooks/gateway", GATEWAY_SECRET, "contract"),
        ("/webhooks/gateway", OTHER_GATEWAY_SECRET, "other"),
        ("/webhooks/gateway/contract", GATEWAY_SECRET, "contract"),
        ("/webhooks/gateway/other", OTHER_GATEWAY_SECRET, "other"),
    ],
)
async def test_each_gateway_has_a_path_and_at_the_bare_one_its_signature_tells(
    doors: Doors, path: str, secret: Secret, stored_for: str
) -> None:
    assert (await tells(doors, settled(), path=path, secret=secret)).status == 204

    rows = await doors.installation.database.fetch("select gateway from webhook_inbox")
    assert [row["gateway"] for row in rows] == [stored_for]


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        ("/webhooks/gateway", PARTNER_SECRET),
        ("/webhooks/gateway/other", GATEWAY_SECRET),
        ("/webhooks/gateway/contract", OTHER_GATEWAY_SECRET),
        ("/webhooks/gateway/acme", GATEWAY_SECRET),
        ("/webhooks/gateway/factory", PARTNER_SECRET),
    ],
)
async def test_a_gateways_secret_is_good_at_its_own_path_only(
    quiet_doors: Doors, path: str, secret: Secret
) -> None:
    answer = await tells(quiet_doors, settled(), path=path, secret=secret)

    assert (answer.status, answer.json["code"]) == (401, "webhook_not_theirs")


async def test_the_same_event_id_of_two_gateways_is_two_events(doors: Doors) -> None:
    paths = ("/webhooks/gateway/contract", GATEWAY_SECRET), (
        "/webhooks/gateway/other", OTHER_GATEWAY_SECRET,
    )  # fmt: skip
    for path, secret in paths:
        assert (await tells(doors, settled(), path=path, secret=secret)).status == 204

    assert await count(doors, "webhook_inbox") == 2


async def test_a_body_written_again_is_not_the_body_that_was_signed(quiet_doors: Doors) -> None:
    body = settled()
    signed = sign(GATEWAY_SECRET, event_id="evt_1", at=now(), body=body)
    written_again = msgspec.json.format(body)

    answer = await quiet_doors.call(
        "POST", "/webhooks/gateway", caller=None, data=written_again,
        headers={"content-type": "application/json", **signed},
    )  # fmt: skip

    assert answer.status == 401


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
async def test_a_header_that_is_missing_is_named(quiet_doors: Doors, missing: str) -> None:
    signed = sign(GATEWAY_SECRET, event_id="evt_1", at=now(), body=settled())
    del signed[missing]

    answer = await quiet_doors.call(
        "POST", "/webhooks/gateway", caller=None, data=settled(),
        headers={"content-type": "application/json", **signed},
    )  # fmt: skip

    assert answer.status in {400, 401}


@pytest.mark.parametrize(
    "secret_text", [PAN, "4111 1111 1111 1111", "\\u0034111111111111111",
                    "4111\\/1111\\/1111\\/1111", "ES91 2100 0418 4502 0005 1332"],
)  # fmt: skip
async def test_a_card_number_in_a_webhook_is_cut_out_before_it_is_stored(
    doors: Doors, secret_text: str
) -> None:
    body = settled().replace(b'"data":{', b'"data":{"note":"%b",' % secret_text.encode())

    answer = await tells(doors, body)

    assert answer.status == 204, answer.body
    stored = await doors.installation.database.fetch("select body::text as body from webhook_inbox")
    assert PAN not in stored[0]["body"]
    assert "removed]" in stored[0]["body"]


@pytest.mark.parametrize("sender", ["gateway", "factory", "transport"])
async def test_a_webhook_is_read_as_far_as_the_documents_say(
    quiet_doors: Doors, sender: str
) -> None:
    largest = b"x" * WEBHOOK_BODY_BYTES_MAX

    read = await quiet_doors.call("POST", f"/webhooks/{sender}", caller=None, data=largest,
                                  headers={"content-type": "application/json"})  # fmt: skip
    refused = await quiet_doors.call("POST", f"/webhooks/{sender}", caller=None,
                                     data=largest + b"x",
                                     headers={"content-type": "application/json"})  # fmt: skip

    assert read.json["code"] in {"webhook_not_theirs", "webhook_headers"}, read.body
    assert (refused.status, refused.json["code"]) == (413, "body_too_large")
    assert "256 KiB" in refused.json["detail"]


async def test_a_webhook_with_a_key_twice_is_refused_by_its_name(quiet_doors: Doors) -> None:
    """Which of the two amounts is meant, the signature does not say."""
    answer = await tells(quiet_doors, b'{"id":"evt_1","amount":1,"amount":100}')

    assert (answer.status, answer.json["code"]) == (400, "duplicate_key")
    assert '"amount"' in answer.json["detail"]


async def test_a_settlement_webhook_settles_its_payment(doors: Doors) -> None:
    payment = (await pays(doors)).json
    installation = doors.installation
    capturing = await installation.until(
        UUID(payment["id"]), lambda p: p.state is PaymentState.CAPTURING
    )
    body = settled(id=capturing.gateway_transaction_id, reference=payment["id"])

    assert (await tells(doors, body)).status == 204

    await installation.until(capturing.id, lambda p: p.state is PaymentState.SETTLED)


async def test_news_of_the_factory_and_the_transport_move_the_order(doors: Doors) -> None:
    installation = doors.installation
    management = installation.platform.order_management
    price = {"amount": 2_500_000, "currency": "EUR"}
    await doors.call("PUT", "/v1/vehicles/VSSZZZ6KZXR000001", json={"model": "Dos", "price": price})
    order = (await orders(doors, vin="VSSZZZ6KZXR000001", model="Dos")).json
    await until(doors, order["id"], OrderState.FACTORY_ORDER_PLACED)
    placed = await management.orders.get(UUID(order["id"]))
    ready = msgspec.json.encode({
        "id": "evt_f", "type": "vehicle.ready", "occurred_at": "2026-11-23T10:00:00Z",
        "data": {"factory_order_id": placed.factory_order_id, "vin": "VSSZZZ6KZXR000001",
                 "reference": order["id"], "public_key": "B" * 43 + "="},
    })  # fmt: skip

    answer = await tells(
        doors, ready, event_id="evt_f", secret=PARTNER_SECRET, path="/webhooks/factory"
    )

    assert answer.status == 204, answer.body
    await until(doors, order["id"], OrderState.READY)


async def test_news_that_overtakes_us_waits_and_is_parked_with_a_case_at_last(
    doors: Doors,
) -> None:
    completed = msgspec.json.encode({
        "id": "evt_t", "type": "delivery.completed", "occurred_at": "2026-11-23T10:00:00Z",
        "data": {"delivery_id": "del_unknown", "vin": "VSSZZZ6KZXR000001",
                 "reference": str(uuid4()), "delivered_at": "2026-11-23T10:00:00Z"},
    })  # fmt: skip

    answer = await tells(
        doors, completed, event_id="evt_t", secret=PARTNER_SECRET, path="/webhooks/transport"
    )

    assert answer.status == 204, answer.body
    async with asyncio.timeout(120):
        while not (cases := await doors.installation.platform.tables.cases.listed()):
            await doors.installation.platform.jobs.run_due()
            await asyncio.sleep(0.005)
    assert "del_unknown" in cases[0].sentence
