"""Commands to vehicles (Diagrams 4 and 8): retry limits, and the wire format.

A command carries the desired state, which the database derives from the entitlement's terms when
the command is recorded (decision 82).

Rule a change must keep: a command's id is random.
"""

from typing import Final

from caas.billing_database.identifiers import random_id
from caas.billing_database.ota_command import OtaCommand
from caas.billing_database.transitions import Command
from caas.external_systems.vehicle_messages import VehicleCommand
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
