"""Cases of a fleet: what a vehicle must do with commands (decisions 15 and 105)."""

import asyncio
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import msgspec

from caas.external_systems.vehicle_command_keys import PRIVATE_KEY_BYTES, VehicleCommandKeys
from caas.external_systems.vehicle_messages import (
    AcknowledgementStatus,
    VehicleCommand,
    encode_command,
)
from caas_lab.conformance.cases import Case, check
from caas_lab.conformance.fleet_under_test import FINAL, FleetUnderTest, in_seconds

SLEEP: Final = "sleep"
WAKE: Final = "wake"
SHORT_SECONDS: Final = 2
FAR_EPOCHS: Final = 1_000_000_000
REFUSED: Final = (AcknowledgementStatus.REJECTED, AcknowledgementStatus.FAILED)


async def a_signed_command_is_applied_and_acknowledged(it: FleetUnderTest) -> None:
    """A command is answered with SUCCEEDED, signed by the vehicle over the command's own fields."""
    await it.obeyed(it.command())


async def every_vehicle_answers_for_itself(it: FleetUnderTest) -> None:
    """Each vehicle of the file answers its own command with its own key."""
    for vehicle in it.file.vehicles:
        await it.obeyed(it.command(vin=vehicle.vin))


async def a_service_is_switched_off_and_on_again(it: FleetUnderTest) -> None:
    """A deactivation has no end of the term; a later activation is applied as the first was."""
    await it.obeyed(it.command())
    await it.obeyed(it.command(action="deactivate", valid_until=None))
    await it.obeyed(it.command())


async def a_command_may_name_another_payment(it: FleetUnderTest) -> None:
    """The newest command is applied, whichever payment it names."""
    await it.obeyed(it.command(payment_id="pay-of-another-term"))
    await it.obeyed(it.command(payment_id="pay-of-the-next-term"))


async def a_command_ends_once(it: FleetUnderTest) -> None:
    """One command has one final answer, and progress is reported before it."""
    command = it.command()
    await it.obeyed(command)
    await asyncio.sleep(it.file.silence_seconds)

    answers = [one.status for one in it.answers[command.command_id]]
    final = [status for status in answers if status in FINAL]
    check(len(final) == 1, f"One command has {len(final)} final answers.")
    check(answers[-1] in FINAL, f"After its end a command is answered with {answers[-1]}.")


async def a_repeated_command_is_acknowledged_again(it: FleetUnderTest) -> None:
    """A command that comes a second time is answered a second time, as it ended."""
    command = it.command()
    payload = it.payload(command)
    await it.send(command, payload)
    await it.answered(command, AcknowledgementStatus.SUCCEEDED)

    await it.send(command, payload)

    again = await it.final(command, count=2)
    done = again.status is AcknowledgementStatus.SUCCEEDED
    check(done, f"The repeated answer is {again.status}.")


async def a_repeated_command_undoes_no_newer_one(it: FleetUnderTest) -> None:
    """A command that is repeated after a newer one changes nothing, nor the epoch."""
    old, middle = it.command(), it.command()
    newest = it.command(action="deactivate", valid_until=None)
    payload = it.payload(old)
    await it.send(old, payload)
    await it.answered(old, AcknowledgementStatus.SUCCEEDED)
    await it.obeyed(newest)

    await it.send(old, payload)
    await it.final(old, count=2)

    await it.send(middle)
    await it.answered(middle, AcknowledgementStatus.REJECTED)


async def an_epoch_that_is_not_higher_is_rejected(it: FleetUnderTest) -> None:
    """An older command, or another one of the same epoch, is answered with REJECTED."""
    older, newer = it.command(), it.command()
    await it.obeyed(newer)

    for epoch in (older.epoch, newer.epoch):
        command = it.command(epoch=epoch)
        await it.send(command)
        await it.answered(command, AcknowledgementStatus.REJECTED)


async def a_command_of_a_stranger_is_ignored(it: FleetUnderTest) -> None:
    """A command signed with a key that is not published is not answered."""
    stranger = VehicleCommandKeys([secrets.token_bytes(PRIVATE_KEY_BYTES)])
    command = it.command()

    await it.send(command, encode_command(command, stranger))

    await it.silent(command, "A command signed with an unknown key")


async def a_command_with_a_stolen_key_id_is_ignored(it: FleetUnderTest) -> None:
    """The id of a published key does not make a stranger's signature valid."""
    stranger = VehicleCommandKeys([secrets.token_bytes(PRIVATE_KEY_BYTES)])
    command = it.command()
    forged = _changed(encode_command(command, stranger), {"key_id": it.keys.public[0].key_id})

    await it.send(command, forged)

    await it.silent(command, "A command with a stranger's signature and a published key's id")


async def an_unsigned_command_is_ignored(it: FleetUnderTest) -> None:
    """A command without a signature is not answered."""
    command = it.command()
    payload = msgspec.json.decode(it.payload(command))
    for name in ("signature", "key_id"):
        without = {key: value for key, value in payload.items() if key != name}
        await it.send(command, msgspec.json.encode(without))
        await it.send(command, msgspec.json.encode({**payload, name: ""}))

    await it.silent(command, "An unsigned command")


async def a_changed_command_is_ignored(it: FleetUnderTest) -> None:
    """The signature covers every field: none can be changed."""
    commands = []
    for name, value in _changes(it).items():
        command = it.command()
        await it.send(command, _changed(it.payload(command), {name: value}))
        commands.append((name, command))
    await asyncio.sleep(it.file.silence_seconds)
    for name, command in commands:
        answers = it.answers[command.command_id]
        check(not answers, f"A command whose {name} was changed is answered.")


async def a_command_for_another_vehicle_is_ignored(it: FleetUnderTest) -> None:
    """A command that was signed for one VIN is no command for another."""
    command = it.command()
    other = it.command(vin=f"{command.vin[:-1]}{'0' if command.vin[-1] != '0' else '1'}")

    await it.send(command, _changed(it.payload(other), {"command_id": command.command_id}))
    await it.silent(command, "A command signed for another vehicle")

    again = it.command(command_id=other.command_id)
    await it.send(again, it.payload(other))
    await it.silent(again, "A command signed for another vehicle")


async def what_is_ignored_raises_no_epoch(it: FleetUnderTest) -> None:
    """An epoch counts only in a command with a valid signature."""
    await it.obeyed(it.command())
    stranger = VehicleCommandKeys([secrets.token_bytes(PRIVATE_KEY_BYTES)])
    far = it.command()
    forged = it.command(epoch=far.epoch + FAR_EPOCHS)
    await it.send(forged, encode_command(forged, stranger))

    await it.obeyed(it.command())


async def junk_is_ignored_and_stops_nothing(it: FleetUnderTest) -> None:
    """What is not of the agreed form is not answered, and the next command is applied."""
    for payload in (b"", b"{}", b"[]", b"\xff", b"null", b'{"command_id": 1}', b"x" * 8_000):
        await it.send(it.command(), payload)

    await it.obeyed(it.command())


async def a_service_that_the_vehicle_lacks_is_refused(it: FleetUnderTest) -> None:
    """A command for a service that the vehicle is not fitted for is answered with a refusal."""
    command = it.command(service=it.file.unknown_service)

    await it.send(command)

    await it.answered(command, *REFUSED)


async def a_vehicle_that_was_offline_answers_later(it: FleetUnderTest) -> None:
    """A command to a vehicle off the air is applied when it is back, before the deadline."""
    command = it.command()
    await it.act(SLEEP, command.vin)
    try:
        await it.send(command)
        await it.silent(command, "A command to a vehicle off the air")
    finally:
        await it.act(WAKE, command.vin)

    await it.answered(command, AcknowledgementStatus.SUCCEEDED)


async def a_command_past_its_deadline_is_not_applied(it: FleetUnderTest) -> None:
    """A vehicle that is back too late does not apply the command, and the next one is applied."""
    command = it.command(deadline=in_seconds(SHORT_SECONDS))
    await it.act(SLEEP, command.vin)
    try:
        await it.send(command)
        await asyncio.sleep(SHORT_SECONDS * 2)
    finally:
        await it.act(WAKE, command.vin)

    await asyncio.sleep(it.file.silence_seconds)
    applied = AcknowledgementStatus.SUCCEEDED in [
        one.status for one in it.answers[command.command_id]
    ]
    check(not applied, "A command past its deadline is applied.")
    await it.obeyed(it.command())


async def of_two_commands_to_an_offline_vehicle_the_newest_holds(it: FleetUnderTest) -> None:
    """Whatever the order in which they arrive, the command with the highest epoch holds."""
    first = it.command()
    last = it.command(action="deactivate", valid_until=None)
    await it.act(SLEEP, first.vin)
    try:
        await it.send(last)
        await it.send(first)
    finally:
        await it.act(WAKE, first.vin)

    await it.answered(last, AcknowledgementStatus.SUCCEEDED)
    await it.answered(first, AcknowledgementStatus.REJECTED)


async def a_command_whose_answer_was_lost_is_answered_again(it: FleetUnderTest) -> None:
    """A command is sent again after it was applied and its answer went astray: late, and the same.

    The platform asks until it knows; a vehicle that answers once only is never known.
    """
    command = it.command()
    payload = it.payload(command)
    for count in range(1, 4):
        await it.send(command, payload)
        answer = await it.final(command, count=count)
        check(
            answer.status is AcknowledgementStatus.SUCCEEDED,
            f"Asked {count} times, the vehicle answers {answer.status}.",
        )


def _changed(payload: bytes, changes: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(payload), **changes})


def _changes(it: FleetUnderTest) -> dict[str, object]:
    """Return another value for each signed field."""
    other: VehicleCommand = it.command()
    assert other.valid_until is not None
    return {
        "epoch": other.epoch + FAR_EPOCHS,
        "payment_id": "pay-of-somebody-else",
        "service": it.file.unknown_service,
        "action": "deactivate",
        "valid_until": msgspec.to_builtins(other.valid_until + timedelta(days=365)),
        "deadline": msgspec.to_builtins(other.deadline + timedelta(days=1)),
    }


FLEET_CASES: Final = (
    Case(a_signed_command_is_applied_and_acknowledged),
    Case(every_vehicle_answers_for_itself),
    Case(a_service_is_switched_off_and_on_again),
    Case(a_command_may_name_another_payment),
    Case(a_command_ends_once),
    Case(a_repeated_command_is_acknowledged_again),
    Case(a_repeated_command_undoes_no_newer_one),
    Case(a_command_whose_answer_was_lost_is_answered_again),
    Case(an_epoch_that_is_not_higher_is_rejected),
    Case(a_command_of_a_stranger_is_ignored),
    Case(a_command_with_a_stolen_key_id_is_ignored),
    Case(an_unsigned_command_is_ignored),
    Case(a_changed_command_is_ignored),
    Case(a_command_for_another_vehicle_is_ignored),
    Case(what_is_ignored_raises_no_epoch),
    Case(junk_is_ignored_and_stops_nothing),
    Case(a_service_that_the_vehicle_lacks_is_refused),
    Case(a_vehicle_that_was_offline_answers_later),
    Case(a_command_past_its_deadline_is_not_applied),
    Case(of_two_commands_to_an_offline_vehicle_the_newest_holds),
)
