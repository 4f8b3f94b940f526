"""Time scale for waits and deadlines: 1 in operation, larger in tests and the demo.

Waits are defined in real seconds and pass through `TimeScale.seconds`.

Rule a change must keep: times that others measure (an authorization's expiry, a webhook's
timestamp) are never scaled.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimeScale:
    """Divides every wait by `scale` (CAAS_TIME_SCALE)."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Reject a scale that is not positive."""
        if not self.scale > 0:
            message = f"a time scale must be positive, not {self.scale}"
            raise ValueError(message)

    def seconds(self, wait_seconds: float) -> float:
        """Return the scaled duration of a wait in real seconds."""
        return wait_seconds / self.scale
