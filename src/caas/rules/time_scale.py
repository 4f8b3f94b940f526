"""How fast time passes for waits and deadlines: 1 in operation, faster in tests and the demo.

Every wait the platform keeps is written down in real seconds and goes through `TimeScale.seconds`.
What comes from outside (an authorization's expiry, a webhook's timestamp) is never scaled.

Rule a change must keep: what others measure by their own clocks is never scaled.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimeScale:
    """Divides every wait by `scale` (CAAS_TIME_SCALE)."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a clock that stands still or runs backwards."""
        if not self.scale > 0:
            message = f"a time scale is above zero, not {self.scale}"
            raise ValueError(message)

    def seconds(self, wait_seconds: float) -> float:
        """Return how long a wait of so many real seconds takes at this pace."""
        return wait_seconds / self.scale
