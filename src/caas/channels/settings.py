"""What the channels are told when they are built; nothing here is read from the environment.

Rule a change must keep: nothing has a default that is not safe.
"""

from dataclasses import dataclass
from datetime import tzinfo


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """The address people reach us at, the market's time zone, and the language when in doubt."""

    public_url: str
    zone: tzinfo
    language: str = "es"

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach us by https, so that cookies travel by nothing else."""
        return self.public_url.startswith("https://")
