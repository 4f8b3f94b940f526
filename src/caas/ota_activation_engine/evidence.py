"""Stored forms of a vehicle's acknowledgement: evidence, or a rejected answer.

Rules a change must keep: signed content is stored exactly as it was signed (decision 15); of a
rejected acknowledgement only a digest is stored (decision 106).
"""

import base64
import hashlib
from uuid import UUID

from caas.billing_database.identifiers import new_id
from caas.billing_database.ota_command import OtaCommand
from caas.billing_database.ota_commands import RefusedAnswer, VehicleAnswer
from caas.billing_database.transitions import Evidence
from caas.errors import RefusedError
from caas.external_systems.vehicle_messages import Acknowledgement


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


def answer_in(acknowledgement: Acknowledgement, command: OtaCommand) -> VehicleAnswer:
    """Return a vehicle's answer to a command."""
    return VehicleAnswer(
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
