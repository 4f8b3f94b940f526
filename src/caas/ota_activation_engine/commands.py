"""What a vehicle is told (Diagrams 4 and 8): which command, in which attempt, until when.

Rules a change must keep: the same attempt is the same command; a fence is a deactivation that is
given after what it fences off, and so has the higher epoch (decision 16).
"""

from typing import Final
from uuid import UUID

from caas.billing_database.identifiers import derived_id
from caas.billing_database.moves import Command
from caas.billing_database.ota_commands import OtaCommand
from caas.external_systems.vehicle_messages import VehicleCommand
from caas.rules.pace import Pace

ACTIVATE: Final = "activate"
DEACTIVATE: Final = "deactivate"
SERVICE_PAYMENT: Final = "service payment"
SUBSCRIPTION: Final = "subscription"

ACTIVATION_SECONDS_MAX: Final = 600.0
DEACTIVATION_SECONDS_MAX: Final = 30 * 86400.0
ACTIVATION_ATTEMPTS_MAX: Final = 3
SECONDS_IN_A_DAY: Final = 86400.0


def activation_command(
    subject: UUID, *, vin: str, service: str, valid_days: float | None, pace: Pace, attempt: int = 1
) -> Command:
    """Return the command that activates a service; the same attempt is the same command."""
    return Command(
        command_id=derived_id(subject, ACTIVATE, attempt),
        vin=vin,
        service=service,
        action=ACTIVATE,
        deadline_in=pace.seconds(ACTIVATION_SECONDS_MAX),
        valid_for=None if valid_days is None else valid_days * SECONDS_IN_A_DAY,
    )


def revoking_command(activation: OtaCommand, *, pace: Pace) -> Command:
    """Return the fence: a deactivation whose epoch is above the activation's (decision 16)."""
    return Command(
        command_id=derived_id(activation.command_id, DEACTIVATE),
        vin=activation.vin,
        service=activation.service,
        action=DEACTIVATE,
        deadline_in=pace.seconds(DEACTIVATION_SECONDS_MAX),
    )


def attempt_of(command: OtaCommand) -> int:
    """Tell which attempt a command is, from its id: ids follow from (subject, action, attempt)."""
    for attempt in range(1, ACTIVATION_ATTEMPTS_MAX + 1):
        if derived_id(command.subject, ACTIVATE, attempt) == command.command_id:
            return attempt
    return ACTIVATION_ATTEMPTS_MAX


def valid_days(command: OtaCommand) -> float | None:
    """For how many days a command switches a service on; None is without end."""
    if command.valid_until is None:
        return None
    return (command.valid_until - command.created_at).total_seconds() / SECONDS_IN_A_DAY


def wire(command: OtaCommand) -> VehicleCommand:
    """Return the command as it goes to the vehicle."""
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
