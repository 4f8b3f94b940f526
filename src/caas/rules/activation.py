"""Outcomes of a vehicle's activation acknowledgement (Diagram 8, arrow 4a)."""

from enum import StrEnum


class ActivationResult(StrEnum):
    """The effect of an activation acknowledgement on its purchase."""

    COMMITTED = "committed"
    """This acknowledgement committed the purchase."""
    ALREADY = "already"
    """The purchase was already committed."""
    LATE = "late"
    """The purchase had already failed or ended."""
