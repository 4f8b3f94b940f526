"""Formats of commands and acknowledgements (Diagrams 4 and 8), retry limits, unusable messages.

A command carries the desired state, which the database derives from the entitlement's terms when
the command is recorded (decision 82). An acknowledgement is stored as evidence or as a rejected
answer. A faulty or compromised vehicle may send any number of messages that are not
acknowledgements: once a second, each reason becomes one log line and each vehicle one row.

Rules a change must keep:

- A command's id is random.
- Signed content is stored exactly as it was signed (decision 15); of a rejected acknowledgement
  only a digest is stored (decision 106).
- `UnusableMessages.take` never fails and never blocks; memory, log lines and rows are bounded; no
  message content is stored.
"""

import asyncio
import base64
import hashlib
from collections import Counter
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog

from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id, random_id
from caas.billing_database.ota_commands import (
    CommandAnswer,
    OtaCommand,
    RefusedAnswer,
    count_unusable,
)
from caas.billing_database.transitions import Command, Evidence
from caas.errors import RefusedError, UnavailableError
from caas.external_systems.vehicle_messages import (
    Acknowledgement,
    Unusable,
    VehicleCommand,
    vehicle_of,
)
from caas.rules.time_scale import TimeScale

ACTIVATE: Final = "activate"
SYNCHRONIZE: Final = "synchronize"
SERVICE_PAYMENT: Final = "service payment"
SUBSCRIPTION: Final = "subscription"

ACTIVATION_SECONDS_MAX: Final = 600.0
SYNCHRONIZATION_SECONDS_MAX: Final = 30 * 86400.0
RESEND_SECONDS: Final = 20.0
RESEND_DOUBLINGS_MAX: Final = 5
"""Doublings of a second before an unreachable vehicle is retried as rarely as a silent one."""
ATTEMPTS_MAX: Final = 3


def activation_command(time_scale: TimeScale) -> Command:
    """Return the command of a purchase whose payment is authorized."""
    return Command(command_id=random_id(), deadline_in=time_scale.seconds(ACTIVATION_SECONDS_MAX))


def restoring_command(time_scale: TimeScale) -> Command:
    """Return the command that restores the desired state after a failed purchase (decision 16).

    It carries what the remaining terms require: the service stays on while it is paid for.
    """
    return Command(
        command_id=random_id(),
        deadline_in=time_scale.seconds(SYNCHRONIZATION_SECONDS_MAX),
        resend_in=time_scale.seconds(RESEND_SECONDS),
    )


def wire(command: OtaCommand) -> VehicleCommand:
    """Return the command in its wire format."""
    return VehicleCommand(
        command_id=str(command.command_id),
        vin=command.vin,
        epoch=command.epoch,
        action="activate" if command.action == ACTIVATE else "deactivate",
        payment_id=str(command.subject),
        service=command.service,
        valid_until=command.valid_until,
        deadline=command.deadline,
    )


class EvidenceRefusedError(RefusedError):
    """The acknowledgement is invalid. It was counted and changes nothing."""

    code = "evidence_refused"


def evidence_in(acknowledgement: Acknowledgement) -> Evidence:
    """Return the evidence that proves a delivery."""
    return Evidence(
        id=new_id(),
        kind="vehicle_acknowledgement",
        status=str(acknowledgement.status),
        status_reason=acknowledgement.status_reason or None,
        command_id=UUID(acknowledgement.command_id),
        epoch=acknowledgement.epoch,
        vin=acknowledgement.vin,
        service=acknowledgement.service,
        at=acknowledgement.at_text,
        signature=base64.b64encode(acknowledgement.signature).decode(),
    )


def answer_in(acknowledgement: Acknowledgement, command: OtaCommand) -> CommandAnswer:
    """Return a vehicle's answer to a command."""
    return CommandAnswer(
        subject=command.subject,
        command_id=command.command_id,
        epoch=acknowledgement.epoch,
        vin=acknowledgement.vin,
        service=acknowledgement.service,
        status=str(acknowledgement.status),
        status_reason=acknowledgement.status_reason or None,
        at=acknowledgement.at_text,
        signature=acknowledgement.signature,
    )


def refused_in(
    acknowledgement: Acknowledgement, command: OtaCommand | None, *, because: str
) -> RefusedAnswer:
    """Return what is stored of a rejected acknowledgement.

    The digest is SHA-256 over the signed text, a vertical bar and the signature in base64.
    """
    signature = base64.b64encode(acknowledgement.signature).decode()
    stated = f"{acknowledgement.signed_text}|{signature}"
    return RefusedAnswer(
        vin=acknowledgement.vin,
        reason=because,
        digest=hashlib.sha256(stated.encode()).digest(),
        command_id=command.command_id if command else None,
        subject=command.subject if command else None,
    )


SECONDS_BETWEEN: Final = 1.0
REMEMBERED_MAX: Final = 1_000
TOPIC_CHARS_MAX: Final = 200

_log = structlog.get_logger()


class UnusableMessages:
    """A counter that is flushed once a second."""

    def __init__(self, database: Database) -> None:
        """Store the counts in this database."""
        self._database = database
        self._counts: Counter[tuple[str, str]] = Counter()
        self._examples: dict[Unusable, tuple[str, str, int]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def take(self, topic: str, reason: Unusable, sentence: str) -> None:
        """Count a message; a VIN beyond the limit counts as unknown."""
        key = (vehicle_of(topic), str(reason))
        if key not in self._counts and len(self._counts) >= REMEMBERED_MAX:
            key = ("", str(reason))
        self._counts[key] += 1
        example = self._examples.get(reason, (topic[:TOPIC_CHARS_MAX], sentence, 0))
        self._examples[reason] = (*example[:2], example[2] + 1)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._keep_writing())

    async def close(self) -> None:
        """Flush the remaining counts, after the message source was closed."""
        self._closing.set()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        await self._write()

    async def _keep_writing(self) -> None:
        while self._counts and not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(SECONDS_BETWEEN):
                    await self._closing.wait()
            await self._write()

    async def _write(self) -> None:
        """Write log lines and rows; counts that cannot be stored are kept."""
        examples, self._examples = self._examples, {}
        for reason, (topic, sentence, times) in examples.items():
            _log.warning(
                "acknowledgement.refused",
                topic=topic, reason=str(reason), because=sentence, times=times,
            )  # fmt: skip
        counts = Counter(self._counts)
        if not counts:
            return
        with suppress(UnavailableError, TimeoutError):
            await count_unusable(self._database, counts)
            self._counts -= counts
