"""The OTA Activation Engine (Diagrams 4 and 8): commands to vehicles, until one is answered.

A command is recorded before it is sent, is sent again while it is unanswered, and has a deadline.
What a vehicle answers counts only if it is signed by that vehicle's key and says exactly what the
recorded command said. Final results go up as Diagram 8's arrows 4a and 4b.

Rules a change must keep: time-outs are decided here, not by the broker; evidence that is forged,
foreign or replayed is refused and recorded; whatever a vehicle applied after its command was
fenced off is deactivated again, and nobody is charged for it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

import structlog

from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.due_work import DueWork
from caas.billing_database.identifiers import derived_id
from caas.billing_database.moves import Command, Evidence
from caas.billing_database.ota_commands import OtaCommand
from caas.errors import UnavailableError
from caas.external_systems.iot_gateway import CommandDeadlinePassedError, VehicleLink
from caas.external_systems.vehicle_messages import (
    Acknowledgement,
    AcknowledgementStatus,
    verify_signature,
)
from caas.open_work import Again, Answer, Done, OpenWork
from caas.ota_activation_engine.commands import (
    ACTIVATE,
    ACTIVATION_ATTEMPTS_MAX,
    ACTIVATION_SECONDS_MAX,
    DEACTIVATE,
    DEACTIVATION_SECONDS_MAX,
    SERVICE_PAYMENT,
    SUBSCRIPTION,
    activation_command,
    attempt_of,
    revoking_command,
    valid_days,
    wire,
)
from caas.ota_activation_engine.evidence import EvidenceRefusedError, answer_in, evidence_in
from caas.rules.pace import Pace

__all__ = [
    "ACTIVATE",
    "ACTIVATION_ATTEMPTS_MAX",
    "ACTIVATION_SECONDS_MAX",
    "DEACTIVATE",
    "SERVICE_PAYMENT",
    "SUBSCRIPTION",
    "Deactivated",
    "EvidenceRefusedError",
    "OtaActivationEngine",
    "Upward",
    "activation_command",
    "revoking_command",
]

RESEND_SECONDS: Final = 20.0

_log = structlog.get_logger()


class Deactivated(Protocol):
    """Hears how a deactivation ended."""

    async def __call__(self, subject: UUID, /, *, switched_off: bool) -> None:
        """`switched_off` is False when the vehicle refused, or never answered."""


@dataclass(frozen=True, slots=True)
class Upward:
    """Where the final results of one purpose go: arrows 4a, 4b, and what came too late."""

    succeeded: Callable[[UUID, Evidence], Awaitable[bool]]
    failed: Callable[[UUID, str], Awaitable[None]]
    deactivated: Deactivated


class OtaActivationEngine:
    """Sends commands, hears answers, reports final results."""

    def __init__(self, *, books: Books, link: VehicleLink, pace: Pace) -> None:
        """Reach the vehicles through this link."""
        self._books = books
        self._link = link
        self._pace = pace
        self._commands = books.commands
        self._upward: Mapping[str, Upward] = {}

    def report_to(self, upward: Mapping[str, Upward]) -> None:
        """Say, for each purpose of a command, where its final results go."""
        self._upward = upward

    def register(self, open_work: OpenWork) -> None:
        """Take the work of unanswered commands."""
        open_work.register(ACTIVATE, self._activation_due)
        open_work.register(DEACTIVATE, self._deactivation_due)

    async def start(self) -> None:
        """Begin to hear the vehicles."""
        await self._link.start(self.acknowledged)

    async def trigger_activation(self, subject: UUID) -> None:
        """Send the recorded activation; if the vehicle cannot be reached now, later again."""
        await self._send_last(subject, ACTIVATE)

    async def deactivate(self, subject: UUID) -> None:
        """Send the recorded deactivation; if the vehicle cannot be reached now, later again."""
        await self._send_last(subject, DEACTIVATE)

    async def last_command(self, subject: UUID, action: str) -> OtaCommand | None:
        """Return the newest command of a subject."""
        return await self._commands.last_of(subject, action)

    async def order_deactivation(self, activation: OtaCommand, *, purpose: str) -> None:
        """Record and send a deactivation of what an activation may have switched on."""
        revoke = revoking_command(activation, pace=self._pace)
        await self._commands.add(
            command_id=revoke.command_id,
            subject=activation.subject,
            vin=revoke.vin,
            service=revoke.service,
            action=DEACTIVATE,
            purpose=purpose,
            deadline_in=revoke.deadline_in,
        )
        resend = self._pace.seconds(RESEND_SECONDS)
        await self._books.work.add(DEACTIVATE, activation.subject, due_in=resend)
        await self.deactivate(activation.subject)

    async def order_activation(
        self, subject: UUID, *, vin: str, service: str, purpose: str, within: Connection
    ) -> None:
        """Record an activation without end in the caller's transaction; send it afterwards."""
        activation = activation_command(
            subject, vin=vin, service=service, valid_days=None, pace=self._pace
        )
        await self._order(subject, activation, purpose=purpose, within=within)

    async def order_switching_off(
        self, subject: UUID, *, vin: str, service: str, purpose: str, within: Connection
    ) -> None:
        """Record a deactivation in the caller's transaction; send it afterwards."""
        deactivation = Command(
            command_id=derived_id(subject, DEACTIVATE),
            vin=vin,
            service=service,
            action=DEACTIVATE,
            deadline_in=self._pace.seconds(DEACTIVATION_SECONDS_MAX),
        )
        await self._order(subject, deactivation, purpose=purpose, within=within)

    async def acknowledged(self, acknowledgement: Acknowledgement) -> None:
        """Hear one acknowledgement from the vehicle link; what is refused is recorded.

        That a vehicle has begun proves nothing and changes nothing, so it is not even judged.
        """
        if acknowledgement.status is AcknowledgementStatus.IN_PROGRESS:
            return
        try:
            await self.confirm(acknowledgement)
        except EvidenceRefusedError as refusal:
            _log.warning("evidence.refused", vin=acknowledgement.vin, because=refusal.sentence)

    async def confirm(self, acknowledgement: Acknowledgement) -> None:
        """Judge one acknowledgement and report what it proves.

        Raises:
            EvidenceRefusedError: it proves nothing; it was recorded with the reason.
        """
        command = await self._command_of(acknowledgement)
        because = await self._doubt(acknowledgement, command)
        if because is not None:
            await self._commands.record(answer_in(acknowledgement, command, refused=because))
            raise EvidenceRefusedError(f"The acknowledgement was refused: {because}.")
        assert command is not None, "an acknowledgement without command is doubted"
        if acknowledgement.status is AcknowledgementStatus.IN_PROGRESS:
            return
        if command.action == DEACTIVATE:
            await self._deactivation_answered(command, acknowledgement)
        elif acknowledgement.status is AcknowledgementStatus.SUCCEEDED:
            await self._activation_succeeded(command, acknowledgement)
        else:
            await self._activation_refused(command, acknowledgement)

    async def _command_of(self, acknowledgement: Acknowledgement) -> OtaCommand | None:
        try:
            return await self._commands.command(UUID(acknowledgement.command_id))
        except ValueError:
            return None

    async def _doubt(
        self, acknowledgement: Acknowledgement, command: OtaCommand | None
    ) -> str | None:
        """Return why an acknowledgement proves nothing, None when it is sound."""
        if command is None:
            return "no such command was ever given"
        said = (
            acknowledgement.vin,
            acknowledgement.epoch,
            acknowledgement.payment_id,
            acknowledgement.service,
        )
        if said != (command.vin, command.epoch, str(command.subject), command.service):
            return "it does not say what the command said"
        key = await self._commands.public_key(command.vin)
        if key is None:
            return "the vehicle has no key here"
        if not verify_signature(acknowledgement, key):
            return "the signature is not the vehicle's"
        return None

    async def _activation_succeeded(
        self, command: OtaCommand, acknowledgement: Acknowledgement
    ) -> None:
        """Arrow 4a; what comes after the fence is recorded and switched off again."""
        evidence = evidence_in(acknowledgement)
        if await self._upward[command.purpose].succeeded(command.subject, evidence):
            return
        recorded = await self._commands.record(answer_in(acknowledgement, command))
        if recorded is not None:
            _log.warning("activation.late", subject=str(command.subject), vin=command.vin)
            await self.order_deactivation(command, purpose=command.purpose)

    async def _activation_refused(
        self, command: OtaCommand, acknowledgement: Acknowledgement
    ) -> None:
        """Try again as a new command while attempts are left, else arrow 4b."""
        if await self._commands.record(answer_in(acknowledgement, command)) is None:
            return
        command = await self._commands.command(command.command_id) or command
        attempt = attempt_of(command)
        definite = acknowledgement.status is AcknowledgementStatus.REJECTED
        if definite or attempt >= ACTIVATION_ATTEMPTS_MAX or command.resolved:
            reason = acknowledgement.status_reason or str(acknowledgement.status)
            await self._upward[command.purpose].failed(command.subject, reason)
            return
        again = activation_command(
            command.subject,
            vin=command.vin,
            service=command.service,
            valid_days=valid_days(command),
            pace=self._pace,
            attempt=attempt + 1,
        )
        await self._commands.add(
            command_id=again.command_id,
            subject=command.subject,
            vin=again.vin,
            service=again.service,
            action=ACTIVATE,
            purpose=command.purpose,
            deadline_in=again.deadline_in,
            valid_for=again.valid_for,
        )
        await self.trigger_activation(command.subject)

    async def _deactivation_answered(
        self, command: OtaCommand, acknowledgement: Acknowledgement
    ) -> None:
        await self._commands.record(answer_in(acknowledgement, command))
        switched_off = acknowledgement.status is AcknowledgementStatus.SUCCEEDED
        await self._upward[command.purpose].deactivated(command.subject, switched_off=switched_off)

    async def _order(
        self, subject: UUID, command: Command, *, purpose: str, within: Connection
    ) -> None:
        await self._commands.add(
            command_id=command.command_id,
            subject=subject,
            vin=command.vin,
            service=command.service,
            action=command.action,
            purpose=purpose,
            deadline_in=command.deadline_in,
            within=within,
        )
        resend = self._pace.seconds(RESEND_SECONDS)
        await self._books.work.add(command.action, subject, due_in=resend, within=within)

    async def _send_last(self, subject: UUID, action: str) -> None:
        command = await self._commands.to_send(subject, action)
        if command is not None and not command.overdue:
            await self._send(command)

    async def _send(self, command: OtaCommand) -> None:
        try:
            await self._link.send(wire(command))
        except CommandDeadlinePassedError:
            return
        except UnavailableError as error:
            _log.warning("vehicle.unreachable", vin=command.vin, because=error.sentence)

    async def _activation_due(self, work: DueWork) -> Answer:
        """Nobody answered yet: send again, or give up at the deadline (arrow 4b)."""
        command = await self._commands.last_of(work.subject, ACTIVATE)
        if command is None:
            return Done()
        if not command.overdue:
            await self._send(command)
            return Again(RESEND_SECONDS, "the vehicle has not answered")
        await self._upward[command.purpose].failed(work.subject, "the vehicle did not answer")
        return Done()

    async def _deactivation_due(self, work: DueWork) -> Answer:
        command = await self._commands.last_of(work.subject, DEACTIVATE)
        if command is None:
            return Done()
        answers = await self._commands.answers(work.subject)
        final = [a for a in answers if a["command_id"] == command.command_id and a["verified"]]
        if final:
            return Done()
        if command.overdue:
            await self._upward[command.purpose].deactivated(work.subject, switched_off=False)
            return Done()
        await self._send(command)
        return Again(RESEND_SECONDS * min(work.attempts, 30), "the vehicle has not answered")
