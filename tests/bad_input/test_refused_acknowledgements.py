"""What is kept of an acknowledgement that proves nothing: that it came, and why it is nothing."""

import asyncio
import hashlib
import json
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from caas.billing_database.ota_commands import REFUSED_ROWS_PER_VEHICLE_AND_HOUR
from tests.bad_input.conftest import VIN, World, refused
from tests.bad_input.test_webhooks_and_acknowledgements import applied, command_of, judged, stated
from tests.installation import PATIENCE_SECONDS

CARD = "4111111111111111"
FLOODED = "WVWZZZ1JZXW000099"
STRANGER = Ed25519PrivateKey.generate()


async def kept(world: World, **wanted: Any) -> list[dict[str, Any]]:
    """Every row that was kept and holds this."""
    rows = await world.doors.installation.database.fetch("select * from refused_acknowledgements")
    return [dict(row) for row in rows if wanted.items() <= dict(row).items()]


async def reports(world: World, evidence: dict[str, Any]) -> None:
    """Say it over HTTP; it must be refused."""
    path = f"/v1/payments/{world.payment}/delivery"
    refused(await world.doors.post(path, evidence, caller="ota"), 422, "evidence_refused")


async def test_the_reason_the_vehicle_a_digest_and_how_often(whole_world: World) -> None:
    world = whole_world
    command = await command_of(world, world.payment)
    evidence = stated(world, command, at="2026-11-23T11:11:11Z", signer=STRANGER)
    for _ in range(3):
        await reports(world, evidence)

    text = "|".join(
        (VIN, str(command["command_id"]), str(command["epoch"]), str(world.payment),
         command["service"], "activate", "SUCCEEDED", evidence["at"], evidence["signature"])
    )  # fmt: skip
    [row] = await kept(world, digest=hashlib.sha256(text.encode()).digest())

    assert row["vin"] == VIN
    assert row["reason"] == "the signature is not the vehicle's"
    assert (row["command_id"], row["subject"]) == (command["command_id"], world.payment)
    assert row["times"] == 3


async def test_no_word_of_a_stranger_is_kept(whole_world: World) -> None:
    """A card number in a service or a reason came into the database from the broker."""
    world = whole_world
    database = world.doors.installation.database
    before = await database.fetch("select count(*) from delivery_evidence")
    for vin in (VIN, f"VSS{CARD}"):
        unknown = {"command_id": uuid4(), "epoch": 1, "service": f"card-{CARD}"}
        evidence = stated(world, unknown, vin=vin, signer=STRANGER, status_reason=CARD)
        message = {**evidence, "payment_id": CARD}
        topic = f"caas/v1/vehicles/{vin}/commands/{evidence['command_id']}/response"
        judged_before = await judged(world)
        applied(world, topic, json.dumps(message).encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await judged(world) == judged_before:
                await asyncio.sleep(0.01)

    rows = await kept(world, reason="no such command was ever given", subject=None)

    assert {"", VIN} <= {row["vin"] for row in rows}
    assert CARD not in str(await kept(world))
    assert await database.fetch("select count(*) from delivery_evidence") == before


async def test_a_flood_fills_a_limited_number_of_rows_and_is_counted_whole(
    whole_world: World,
) -> None:
    world = whole_world
    await world.doors.installation.car(FLOODED)
    command = await command_of(world, world.payment)
    flood = REFUSED_ROWS_PER_VEHICLE_AND_HOUR + 10
    for number in range(flood):
        at = f"2026-11-23T10:00:{number:02}Z"
        await reports(world, stated(world, command, vin=FLOODED, at=at, signer=STRANGER))

    rows = await kept(world, vin=FLOODED)
    metrics = await world.doors.get("/metrics", caller="operators")

    hours = {row["hour"] for row in rows}
    assert len(rows) <= len(hours) * (REFUSED_ROWS_PER_VEHICLE_AND_HOUR + 1)
    assert sum(row["times"] for row in rows) == flood
    reason = rows[0]["reason"]
    every = sum(row["times"] for row in await kept(world, reason=reason))
    counted = f'caas_vehicle_acknowledgements_refused_total{{reason="{reason}"}} {float(every)}'
    assert counted in metrics.body.decode()
