"""The OTA Activation Engine (Diagrams 4 and 8): records commands and sends them to vehicles.

A vehicle's desired state of a service follows from the entitlement's terms; its reported state is
what it last confirmed. Every command carries the desired state, is recorded before it is sent, is
sent again while it is unanswered, and has a deadline. `vehicle_responses` evaluates the answers.

Rules a change must keep: a command is recorded in the commit that makes it necessary, and sent
after it; after a vehicle applied a command late, the desired state is sent again.
"""

from uuid import UUID

import structlog

from caas.billing_database.connection import Connection
from caas.billing_database.entitlements import SyncState
from caas.billing_database.ota_commands import OtaCommand
from caas.billing_database.tables import BillingDatabase
from caas.errors import UnavailableError
from caas.external_systems.iot_gateway import CommandDeadlinePassedError, VehicleLink
from caas.ota_activation_engine.commands import (
    ACTIVATE,
    ACTIVATION_SECONDS_MAX,
    ATTEMPTS_MAX,
    RESEND_SECONDS,
    SERVICE_PAYMENT,
    SUBSCRIPTION,
    SYNCHRONIZATION_SECONDS_MAX,
    SYNCHRONIZE,
    EvidenceRefusedError,
    activation_command,
    restoring_command,
    wire,
)
from caas.rules.time_scale import TimeScale

__all__ = [
    "ACTIVATE",
    "ACTIVATION_SECONDS_MAX",
    "ATTEMPTS_MAX",
    "RESEND_SECONDS",
    "SERVICE_PAYMENT",
    "SUBSCRIPTION",
    "SYNCHRONIZE",
    "EvidenceRefusedError",
    "OtaActivationEngine",
    "activation_command",
    "restoring_command",
]

_log = structlog.get_logger()


class OtaActivationEngine:
    """Records commands and sends them; `VehicleResponses` handles the answers."""

    def __init__(
        self, *, tables: BillingDatabase, link: VehicleLink, time_scale: TimeScale
    ) -> None:
        """Send through this link."""
        self._tables = tables
        self._link = link
        self._time_scale = time_scale
        self._commands = tables.commands
        self._entitlements = tables.entitlements

    async def trigger_activation(self, subject: UUID, *, vin: str, service: str) -> bool:
        """Send the activation recorded for a purchase; False when none was recorded for it.

        If the vehicle cannot be reached now, the job sends it later.
        """
        command = await self._commands.to_send(vin, service)
        if command is None or command.subject != subject:
            return await self._commands.last_of(subject, ACTIVATE) is not None
        await self.send(command)
        return True

    async def order_activation(
        self, subject: UUID, *, vin: str, service: str, within: Connection
    ) -> None:
        """Record an activation in the caller's transaction, with the job that completes or ends it.

        The caller has made the subject's term activating, and sends the command after the commit.
        """
        await self.order_desired_state(vin=vin, service=service, within=within)
        resend = self._time_scale.seconds(RESEND_SECONDS)
        await self._tables.jobs.add(ACTIVATE, subject, due_in=resend, within=within)

    async def order_desired_state(self, *, vin: str, service: str, within: Connection) -> None:
        """Record the command that carries the desired state, after terms changed in `within`."""
        entitlement = await self._entitlements.lock(vin, service, within=within)
        await self._command_desired_state(entitlement, within=within)

    async def send_desired_state(self, *, vin: str, service: str) -> None:
        """Send the newest recorded command; if the vehicle cannot be reached now, the job will."""
        command = await self._commands.to_send(vin, service)
        if command is not None:
            await self.send(command)

    async def synchronize(self, vin: str) -> int:
        """Record and send the desired state of every service of a vehicle; return how many.

        For a vehicle that lost its state or got new hardware.
        """
        states = await self._entitlements.sync_states(vin)
        for state in states:
            await self.send_again(state)
        return len(states)

    async def send_again(self, state: SyncState) -> None:
        """Record the desired state of a service anew, and send it."""
        command = await self._command_desired_state(state.id)
        if command is not None:
            await self.send(command)

    async def send(self, command: OtaCommand) -> bool:
        """Send it before its deadline; return whether it may have been received."""
        if command.overdue:
            return False
        try:
            await self._link.send(wire(command))
        except CommandDeadlinePassedError:
            return False
        except UnavailableError as error:
            _log.warning("vehicle.unreachable", vin=command.vin, because=error.sentence)
            return False
        return True

    async def _command_desired_state(
        self, entitlement: UUID, *, within: Connection | None = None
    ) -> OtaCommand | None:
        return await self._commands.command_desired_state(
            entitlement,
            activate_within=self._time_scale.seconds(ACTIVATION_SECONDS_MAX),
            deadline_in=self._time_scale.seconds(SYNCHRONIZATION_SECONDS_MAX),
            resend_in=self._time_scale.seconds(RESEND_SECONDS),
            within=within,
        )
