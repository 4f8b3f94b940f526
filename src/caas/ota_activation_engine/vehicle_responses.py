"""Evaluates vehicles' acknowledgements (Diagram 8), and handles missing ones.

An acknowledgement counts only if it is signed with that vehicle's key and matches the recorded
command exactly. The final results of a purchase go to the listener of its purpose, as Diagram 8's
arrows 4a and 4b.

Rules a change must keep: time-outs are decided here, not by the broker; forged, foreign or replayed
evidence is rejected and counted; after a vehicle applied a command late, the desired state is sent
again, and the customer is not charged for it.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol
from uuid import UUID

import structlog
from msgspec.structs import replace

from caas.billing_database.entitlements import SyncState
from caas.billing_database.free_text import without_person
from caas.billing_database.job_rows import Job
from caas.billing_database.ota_commands import OtaCommand
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Evidence
from caas.external_systems.iot_gateway import VehicleLink
from caas.external_systems.vehicle_messages import (
    Acknowledgement,
    AcknowledgementStatus,
    verify_signature,
)
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.ota_activation_engine import OtaActivationEngine
from caas.ota_activation_engine.commands import (
    ACTIVATE,
    ATTEMPTS_MAX,
    RESEND_DOUBLINGS_MAX,
    RESEND_SECONDS,
    SYNCHRONIZE,
    EvidenceRefusedError,
    answer_in,
    evidence_in,
    refused_in,
)
from caas.rules.vehicle_signatures import ActivationResult

GOODWILL: Final = "goodwill_delivery"
NOT_DELIVERED: Final = "paid_service_not_on"
DRIFTS: Final = {
    GOODWILL: "The vehicle {vin} keeps '{service}' on beyond its paid term; it refused or "
    "missed the command. Nobody is charged for it.",
    NOT_DELIVERED: "'{service}' is paid for and the vehicle {vin} does not confirm it; it refused "
    "or missed the command. Contact the customer, or refund what was not delivered.",
}

RESEND_TIMES_SLOWER_MAX: Final = 30

_log = structlog.get_logger()


class ActivationListener(Protocol):
    """Receives the final results of activations of one purpose: arrows 4a and 4b."""

    async def activation_succeeded(self, subject: UUID, evidence: Evidence, /) -> ActivationResult:
        """Commit what the verified evidence proves."""

    async def activation_failed(self, subject: UUID, reason: str, /) -> None:
        """End the activation that the vehicle did not apply."""


class VehicleResponses:
    """Receives acknowledgements, resends unanswered commands, and reports final results."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        link: VehicleLink,
        ota_activation_engine: OtaActivationEngine,
        listeners: Mapping[str, ActivationListener],
        alert: Callable[..., Awaitable[object]],
    ) -> None:
        """Report to the listener of a command's purpose; `alert` reports lasting differences."""
        self._tables = tables
        self._link = link
        self._ota = ota_activation_engine
        self._listeners = listeners
        self._alert = alert
        self._commands = tables.commands
        self._entitlements = tables.entitlements

    def register(self, jobs: JobQueue) -> None:
        """Register the jobs of unanswered commands."""
        looked_up_again = {"safety_net": True, "awaits_message": True}
        jobs.register(ACTIVATE, self._activation_due, **looked_up_again)
        jobs.register(SYNCHRONIZE, self._synchronization_due, **looked_up_again)
        jobs.release_dead_with(self._link.end_sessions_of)

    async def start(self, jobs: JobQueue) -> None:
        """Start receiving acknowledgements; after an outage, commands are resent at once."""
        await self._link.start(self.acknowledged, jobs.retry_lookup)

    async def acknowledged(self, acknowledgement: Acknowledgement) -> None:
        """Handle an acknowledgement from the vehicle link; rejected ones are counted.

        An acknowledgement that a vehicle has begun proves nothing and is ignored.
        """
        if acknowledgement.status is AcknowledgementStatus.IN_PROGRESS:
            return
        try:
            await self.confirm(acknowledgement)
        except EvidenceRefusedError as refusal:
            _log.warning("evidence.refused", vin=acknowledgement.vin, because=refusal.sentence)

    async def confirm(self, acknowledgement: Acknowledgement) -> None:
        """Verify an acknowledgement and report what it proves.

        Raises:
            EvidenceRefusedError: it proves nothing; it was counted with the reason.
        """
        command = await self._command_of(acknowledgement)
        because = await self._doubt(acknowledgement, command)
        if because is not None:
            await self._commands.count_refused(
                refused_in(acknowledgement, command, because=because)
            )
            raise EvidenceRefusedError(f"The acknowledgement was refused: {because}.")
        assert command is not None, "an acknowledgement without command is doubted"
        if acknowledgement.status_reason:  # unsigned, so it is not stored
            reason = await without_person(
                self._tables.database, command.subject, acknowledgement.status_reason
            )
            acknowledgement = replace(acknowledgement, status_reason=reason)
        if acknowledgement.status is AcknowledgementStatus.IN_PROGRESS:
            return
        if acknowledgement.status is not AcknowledgementStatus.SUCCEEDED:
            await self._refused(command, acknowledgement)
        elif command.action == ACTIVATE:
            await self._activated(command, acknowledgement)
        else:
            await self._recorded(command, acknowledgement)

    async def _command_of(self, acknowledgement: Acknowledgement) -> OtaCommand | None:
        try:
            return await self._commands.command(UUID(acknowledgement.command_id))
        except ValueError:
            return None

    async def _doubt(
        self, acknowledgement: Acknowledgement, command: OtaCommand | None
    ) -> str | None:
        """Return why an acknowledgement proves nothing, or None."""
        if command is None:
            return "no such command was ever given"
        stated = (
            acknowledgement.vin,
            acknowledgement.epoch,
            acknowledgement.payment_id,
            acknowledgement.service,
            acknowledgement.action,
        )
        meant = (command.vin, command.epoch, str(command.subject), command.service, command.action)
        if stated != meant:
            return "it does not say what the command said"
        key = await self._commands.public_key(command.vin)
        if key is None:
            return "the vehicle has no key here"
        if not verify_signature(acknowledgement, key):
            return "the signature is not the vehicle's"
        return None

    async def _activated(self, command: OtaCommand, acknowledgement: Acknowledgement) -> None:
        """Arrow 4a; an answer for a purchase that already ended is recorded and checked.

        If this acknowledgement committed the purchase, nothing remains to check: a newer command
        has its own job.
        """
        listener = self._listeners[command.purpose]
        result = await listener.activation_succeeded(command.subject, evidence_in(acknowledgement))
        if result is ActivationResult.COMMITTED:
            return
        if result is ActivationResult.LATE:
            _log.warning("activation.late", subject=str(command.subject), vin=command.vin)
        await self._recorded(command, acknowledgement)

    async def _refused(self, command: OtaCommand, acknowledgement: Acknowledgement) -> None:
        """Handle a command that was not applied: retry while attempts remain, else arrow 4b."""
        if await self._commands.record(answer_in(acknowledgement, command)) is None:
            return
        state = await self._state(command)
        if command.command_id != state.last_command:
            return
        definite = acknowledgement.status is AcknowledgementStatus.REJECTED
        if not definite and command.attempt < ATTEMPTS_MAX:
            await self._ota.send_again(state)
        elif state.activating:
            reason = acknowledgement.status_reason or str(acknowledgement.status)
            await self._listeners[command.purpose].activation_failed(command.subject, reason)
        else:
            await self._settle(state)

    async def _recorded(self, command: OtaCommand, acknowledgement: Acknowledgement) -> None:
        """Record what the vehicle applied, and compare it with the desired state.

        An answer to an older command, after the newest was answered, means that the vehicle may
        have returned to the older state: the desired state is sent again.
        """
        if await self._commands.record(answer_in(acknowledgement, command)) is None:
            return
        state = await self._state(command)
        if not state.answered:
            return
        if command.command_id != state.last_command:
            await self._ota.send_again(state)
        elif not state.activating:
            await self._settle(state)

    async def _settle(self, state: SyncState) -> None:
        """End the synchronization of a service whose newest command was answered."""
        if state.in_sync:
            await self._in_sync(state)
        else:
            await self._apart(state)
        await self._entitlements.end_synchronization(state)

    async def _in_sync(self, state: SyncState) -> None:
        await self._entitlements.close_cases(
            state.id,
            kinds=tuple(DRIFTS),
            resolution="The vehicle confirmed what it should have on.",
        )

    async def _apart(self, state: SyncState) -> None:
        """Alert operations that a vehicle has too many or too few services active."""
        kind = GOODWILL if _has_too_much(state) else NOT_DELIVERED
        sentence = DRIFTS[kind].format(vin=state.vin, service=state.service)
        await self._alert(kind, state.subject or state.id, sentence)

    async def _state(self, command: OtaCommand) -> SyncState:
        state = await self._entitlements.sync_state(command.vin, command.service)
        assert state is not None, "a command is about an entitlement"
        return state

    async def _activation_due(self, job: Job) -> Answer:
        """Without an answer, send again, or give up at the deadline (arrow 4b)."""
        command = await self._commands.last_of(job.subject, ACTIVATE)
        if command is None:
            return Done()
        if not command.overdue:
            if await self._ota.send(command):
                return RetryIn(RESEND_SECONDS, "the vehicle has not answered")
            return RetryIn(_unreachable_wait(job.attempts), "the vehicle cannot be reached")
        await self._listeners[command.purpose].activation_failed(
            job.subject, "the vehicle did not answer"
        )
        return Done()

    async def _synchronization_due(self, job: Job) -> Answer:
        """Send the desired state until the vehicle answers or the deadline passes."""
        state = await self._entitlements.sync_state_by_id(job.subject)
        if state is None or state.last_command is None:
            return Done()
        if state.activating:
            return RetryIn(RESEND_SECONDS, "a purchase waits for the vehicle")
        if not (state.answered or state.overdue):
            await self._ota.send_desired_state(vin=state.vin, service=state.service)
            slower = min(job.attempts, RESEND_TIMES_SLOWER_MAX)
            return RetryIn(RESEND_SECONDS * slower, "the vehicle has not answered")
        if state.in_sync:
            await self._in_sync(state)
        else:
            await self._apart(state)
        return Done()


def _unreachable_wait(attempts: int) -> float:
    """Return the wait before retrying an unreachable vehicle; it doubles up to a limit."""
    return min(2.0 ** min(attempts - 1, RESEND_DOUBLINGS_MAX), RESEND_SECONDS)


def _has_too_much(state: SyncState) -> bool:
    """Return whether a vehicle out of sync has more active than desired."""
    if not (state.reported_on and state.desired_on):
        return state.reported_on
    if state.reported_until is None or state.desired_until is None:
        return state.reported_until is None
    return state.reported_until > state.desired_until
