"""How an acknowledged activation is judged (Diagram 8, arrow 4a)."""

from enum import StrEnum


class ActivationResult(StrEnum):
    """What a vehicle's word for an activation led to."""

    COMMITTED = "committed"
    """This very word made the purchase good."""
    ALREADY = "already"
    """The purchase was good before."""
    LATE = "late"
    """The purchase had failed, or ended."""
