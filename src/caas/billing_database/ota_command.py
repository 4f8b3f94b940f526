"""A vehicle command, recorded before it is sent (Diagram 4)."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class OtaCommand:
    """A command and the state it requests."""

    command_id: UUID
    subject: UUID
    vin: str
    service: str
    action: str
    purpose: str
    epoch: int
    valid_until: datetime | None
    deadline: datetime
    created_at: datetime
    attempt: int
    overdue: bool
