"""What a vehicle's acknowledgement is in our books: evidence, or an answer that proves nothing.

Rule a change must keep: what was signed is kept as the text it was signed as (decision 15).
"""

import base64
from uuid import UUID

from caas.billing_database.identifiers import derived_id, new_id
from caas.billing_database.moves import Evidence
from caas.billing_database.ota_command import OtaCommand
from caas.billing_database.ota_commands import VehicleAnswer
from caas.errors import RefusedError
from caas.external_systems.vehicle_messages import Acknowledgement


class EvidenceRefusedError(RefusedError):
    """This acknowledgement proves nothing; it was recorded and changes nothing."""

    code = "evidence_refused"


def evidence_in(acknowledgement: Acknowledgement) -> Evidence:
    """Return what proves a delivery."""
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


def answer_in(
    acknowledgement: Acknowledgement, command: OtaCommand | None, *, refused: str | None = None
) -> VehicleAnswer:
    """Return what a vehicle said, with the reason if it was refused."""
    return VehicleAnswer(
        subject=command.subject if command else _nobody(acknowledgement),
        command_id=command.command_id if command else None,
        epoch=acknowledgement.epoch,
        vin=acknowledgement.vin,
        service=acknowledgement.service,
        status=str(acknowledgement.status),
        status_reason=acknowledgement.status_reason or None,
        at=acknowledgement.at_text,
        signature=acknowledgement.signature,
        refused_because=refused,
    )


def _nobody(acknowledgement: Acknowledgement) -> UUID:
    """Return the subject under which what speaks of no command of ours is kept."""
    return derived_id("no command", acknowledgement.command_id)
