"""Webhooks and acknowledgements that are not what they say: nothing follows from any of them."""

import asyncio
import base64
import json
import secrets
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from caas.external_systems.http import Secret
from caas.external_systems.webhook_signatures import sign
from caas_simulators.vehicle_car import derived_key
from tests.api.conftest import GATEWAY_SECRET, PARTNER_SECRET, now
from tests.api.test_webhooks import FORGER_SECRET, settled
from tests.bad_input.conftest import VIN, World, refused
from tests.installation import PATIENCE_SECONDS

WEBHOOKS = {"gateway": GATEWAY_SECRET, "factory": PARTNER_SECRET, "transport": PARTNER_SECRET}
REFUSALS = ("refused_acknowledgements",)
"""What was refused is counted with its reason."""


async def tells(
    world: World, sender: str, body: bytes, secret: Secret, *, late: timedelta, **changed: str
) -> Any:
    """Send a webhook, signed by this secret at this distance from now."""
    signed = sign(secret, event_id=f"evt_{uuid4().hex}", at=now() + late, body=body)
    headers = {"content-type": "application/json", **signed, **changed}
    kept = {name: value for name, value in headers.items() if value}
    return await world.doors.call(
        "POST", f"/webhooks/{sender}", caller=None, data=body, headers=kept
    )


@pytest.mark.parametrize("sender", WEBHOOKS)
async def test_a_webhook_that_is_forged_stale_future_or_foreign_is_refused(
    world: World, sender: str
) -> None:
    body, ours, soon = settled(), WEBHOOKS[sender], timedelta()
    foreign = PARTNER_SECRET if sender == "gateway" else GATEWAY_SECRET
    attempts = [
        (FORGER_SECRET, soon, {}),
        (foreign, soon, {}),
        (ours, timedelta(seconds=-310), {}),
        (ours, timedelta(seconds=310), {}),
        (ours, timedelta(days=-1), {}),
        (ours, timedelta(days=400), {}),
        (ours, soon, {"webhook-id": "evt_another"}),
        (ours, soon, {"webhook-id": "evt.1\u00e9"}),
        (ours, soon, {"webhook-id": ""}),
        (ours, soon, {"webhook-signature": ""}),
        (ours, soon, {"webhook-signature": "v1,"}),
        (ours, soon, {"webhook-signature": "v1a,AAAA"}),
        (ours, soon, {"webhook-signature": "v1,AAAA " * 100}),
        (ours, soon, {"webhook-timestamp": ""}),
        (ours, soon, {"webhook-timestamp": "9" * 30}),
        (ours, soon, {"webhook-timestamp": "-1"}),
        (ours, soon, {"webhook-timestamp": "1e9"}),
    ]
    for secret, late, changed in attempts:
        answer = await tells(world, sender, body, secret, late=late, **changed)

        assert answer.status in {400, 401, 403}, (changed, late, answer.body)
        refused(answer, answer.status, answer.json["code"])


async def test_a_webhook_with_one_bit_changed_is_refused(world: World) -> None:
    body = settled()
    signed = sign(GATEWAY_SECRET, event_id="evt_bits", at=now(), body=body)
    for place in range(0, len(body), 7):
        changed = bytearray(body)
        changed[place] ^= 1

        answer = await world.doors.call(
            "POST", "/webhooks/gateway", caller=None, data=bytes(changed),
            headers={"content-type": "application/json", **signed},
        )  # fmt: skip

        assert answer.status in {400, 401, 403}, answer.body


async def test_a_webhook_that_is_sent_again_changes_nothing(whole_world: World) -> None:
    body = settled("evt_replayed")
    signed = sign(GATEWAY_SECRET, event_id="evt_replayed", at=now(), body=body)
    headers = {"content-type": "application/json", **signed}

    async def once() -> int:
        answer = await whole_world.doors.call(
            "POST", "/webhooks/gateway", caller=None, data=body, headers=headers
        )
        return int(answer.status)

    assert await once() in {200, 202, 204}
    await whole_world.doors.installation.rest()
    before = await whole_world.rows()
    again = [await once() for _ in range(10)]

    assert set(again) <= {200, 202, 204}
    assert await whole_world.rows() == before


async def command_of(world: World, payment: UUID) -> dict[str, Any]:
    """The activation that was commanded for a payment."""
    row = await world.doors.installation.database.fetchrow(
        "select command_id, epoch, service from ota_commands where subject = $1", payment
    )
    assert row is not None
    return dict(row)


def stated(world: World, command: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """An acknowledgement of a command, signed by the car's own key unless told otherwise."""
    payment = changed.pop("payment", world.payment)
    signer = changed.pop("signer", None)
    body = {
        "vin": VIN, "command_id": str(command["command_id"]), "epoch": command["epoch"],
        "service": command["service"], "action": "activate", "status": "SUCCEEDED",
        "at": "2026-11-23T10:00:00Z", **changed,
    }  # fmt: skip
    text = "|".join(
        str(part)
        for part in (body["vin"], body["command_id"], body["epoch"], payment, body["service"],
                     body["action"], body["status"], body["at"])
    )  # fmt: skip
    key = signer or car_key(world)
    return {**body, "signature": base64.b64encode(key.sign(text.encode())).decode()}


def car_key(world: World) -> Ed25519PrivateKey:
    """The private key of the only car."""
    fleet = world.doors.installation.fleet
    return derived_key(f"{fleet.seed}|{VIN}")


@pytest.mark.parametrize(
    "what",
    ["forged", "of another command", "of an old epoch", "of a later epoch", "of another service",
     "of another payment", "of another action", "of another vehicle", "signature changed"],
)  # fmt: skip
@pytest.mark.parametrize("way", ["confirmDelivery", "vehicle link"])
async def test_an_acknowledgement_that_proves_nothing_moves_no_payment(
    whole_world: World, what: str, way: str
) -> None:
    world = whole_world
    command = await command_of(world, world.payment)
    payment = world.payment
    at = f"2026-11-23T10:00:{secrets.randbelow(60):02}.{secrets.randbelow(10**6):06}Z"
    changed: dict[str, dict[str, Any]] = {
        "forged": {"signer": Ed25519PrivateKey.generate()},
        "of another command": {"command_id": str(uuid4())},
        "of an old epoch": {"epoch": 0},
        "of a later epoch": {"epoch": command["epoch"] + 1},
        "of another service": {"service": "massage-seats"},
        "of another payment": {"payment": uuid4()},
        "of another action": {"action": "deactivate"},
        "of another vehicle": {"vin": "WVWZZZ1JZXW000002"},
        "signature changed": {},
    }
    evidence = stated(world, command, at=at, **changed[what])
    if what == "signature changed":
        evidence["signature"] = evidence["signature"][::-1].lstrip("=")[:86] + "=="
    before = await world.rows(but=REFUSALS)

    if way == "confirmDelivery":
        answer = await world.doors.post(f"/v1/payments/{payment}/delivery", evidence, caller="ota")
        refused(answer, 422, "evidence_refused")
    else:
        judged_before = await judged(world)
        topic = f"caas/v1/vehicles/{evidence['vin']}/commands/{evidence['command_id']}/response"
        message = {**evidence, "payment_id": str(payment), "status_reason": ""}
        applied(world, topic, json.dumps(message).encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await judged(world) == judged_before:
                await asyncio.sleep(0.01)

    assert await world.rows(but=REFUSALS) == before


def applied(world: World, topic: str, payload: bytes) -> None:
    """Say something on the link as a vehicle would."""
    publish = world.doors.installation.fleet._publish  # the car's end of the wire
    assert publish is not None
    publish(topic, payload)


async def judged(world: World) -> int:
    """How many acknowledgements were judged."""
    rows = await world.doors.installation.database.fetch(
        "select coalesce(sum(times), 0)::bigint from refused_acknowledgements"
    )
    return int(rows[0][0])


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"null", b"[]", b"\xff", b"x" * 100_000, b'{"command_id": 1}',
     b'{"command_id": "' + b"4" * 16 + b'"}'],
    ids=lambda payload: repr(payload[:12]),
)  # fmt: skip
@pytest.mark.parametrize("topic", ["", "caas/v1/vehicles/x/commands/y/response", "#", "a/\x00/b"])
async def test_what_is_no_acknowledgement_is_dropped(
    world: World, topic: str, payload: bytes
) -> None:
    applied(world, topic, payload)


async def test_a_sound_acknowledgement_sent_again_changes_nothing(whole_world: World) -> None:
    command = await command_of(whole_world, whole_world.payment)
    evidence = stated(whole_world, command)
    path = f"/v1/payments/{whole_world.payment}/delivery"
    await whole_world.doors.post(path, evidence, caller="ota")
    before = await whole_world.rows(but=REFUSALS)

    again = [await whole_world.doors.post(path, evidence, caller="ota") for _ in range(5)]

    assert {answer.status for answer in again} <= {200, 201, 409}
    assert await whole_world.rows(but=REFUSALS) == before
