"""Commands to vehicles (Diagrams 4 and 8): how long they are tried, and how they look on the wire.

What a command says is not decided here: it carries the desired state, which the database works out
from the entitlement's terms when the command is recorded (decision 82).

Rule a change must keep: the id of a command is random.
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
"""Of a second, until a vehicle that was not reached is tried as rarely as one that is silent."""
ATTEMPTS_MAX: Final = 3


def activation_command(time_scale: TimeScale) -> Command:
    """Return the command of a purchase whose funds are held; the purchase waits for its answer."""
    return Command(command_id=random_id(), deadline_in=time_scale.seconds(ACTIVATION_SECONDS_MAX))


def restoring_command(time_scale: TimeScale) -> Command:
    """Return the command that fences a failed purchase off (decision 16).

    It carries what the other terms say: the service stays on as long as it is paid for, else it is
    switched off.
    """
    return Command(
        command_id=random_id(),
        deadline_in=time_scale.seconds(SYNCHRONIZATION_SECONDS_MAX),
        resend_in=time_scale.seconds(RESEND_SECONDS),
    )


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
