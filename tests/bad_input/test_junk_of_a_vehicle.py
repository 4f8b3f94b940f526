"""What a vehicle says that is no acknowledgement is counted by its reason, in a bounded log."""

import asyncio

import structlog

from caas import app
from caas.billing_database.ota_commands import OtaCommands
from caas.external_systems.in_process_vehicle_link import InProcessVehicleLink
from caas.external_systems.vehicle_messages import Unusable
from caas.ota_activation_engine.commands import UnusableMessages
from caas_simulators.vehicle_fleet import Fleet
from tests.bad_input.conftest import VIN, World
from tests.cars import COMMAND_KEYS, KNOWN_TO_VEHICLES

JUNK = 3_000
TOPIC = f"caas/v1/vehicles/{VIN}/commands/command-9/response"


async def test_junk_is_counted_whole_in_a_row_a_reason_and_few_lines(whole_world: World) -> None:
    """3000 of 3000 were a line of the log each, and counted nowhere."""
    database = whole_world.doors.installation.database
    unusable = UnusableMessages(database)
    fleet = Fleet(1, command_keys=KNOWN_TO_VEHICLES)
    link = InProcessVehicleLink(
        fleet, now=app.now, command_keys=COMMAND_KEYS, on_refused=unusable.take
    )
    before = await OtaCommands(database).refused_by_reason()
    await link.start(lambda _: asyncio.sleep(0))
    say = fleet._publish  # the car's end of the wire
    assert say is not None

    with structlog.testing.capture_logs() as lines:
        for number in range(JUNK):
            say(TOPIC, b"junk %d" % number)
        say(TOPIC, b"x" * 10_000)
        say("caas/v1/vehicles/|/x", b"{}")
        await link.close()
        await unusable.close()

    counted = await OtaCommands(database).refused_by_reason()
    assert {reason: counted[reason] - before.get(reason, 0) for reason in counted} == {
        **dict.fromkeys(before, 0), Unusable.FORM: JUNK, Unusable.SIZE: 1, Unusable.TOPIC: 1,
    }  # fmt: skip
    rows = await database.fetch(
        "select vin, digest from refused_acknowledgements where reason = any ($1)", [*Unusable]
    )
    assert {(row["vin"], row["digest"]) for row in rows} == {(VIN, b""), ("", b"")}
    stated = [line for line in lines if line["event"] == "acknowledgement.refused"]
    assert sum(line["times"] for line in stated) == JUNK + 2
    assert len(stated) < JUNK / 100
    metrics = await whole_world.doors.get("/metrics", caller="operators")
    assert (
        f'caas_vehicle_acknowledgements_refused_total{{reason="{Unusable.FORM}"}} {float(JUNK)}'
        in metrics.body.decode()
    )
