"""A story: what one scene of the demonstration showed, as plain data.

Rules a change must keep: nothing here does anything; a story says what was expected and what was
seen in the same words, so that nobody has to take the verdict on trust.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

PAYMENT_PROCESSING: Final = "Payment Processing"
PAYMENT_GATEWAY: Final = "Payment Gateway"
BILLING_DATABASE: Final = "Billing Database"
ORDER_MANAGEMENT: Final = "Order Management"
OTA_ACTIVATION_ENGINE: Final = "OTA Activation Engine"
IOT_GATEWAY: Final = "IoT Gateway"
BANKING_NETWORK: Final = "Banking Network"
FACTORY: Final = "Factory"
ADMIN_REGISTRATION: Final = "Admin Registration"
TRANSPORT_SYSTEM: Final = "Transport System"
VEHICLE: Final = "Vehicle"


class Need(StrEnum):
    """What a scene needs besides a platform that answers."""

    STRINGS = "the control planes of the simulators"
    RELAY = "a connection to the gateway that can be cut"
    FAST_TIME = "waits that are divided by a time scale"
    CALENDAR = "a calendar of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One flow or failure of the seed: its name, where the seed says so, and who plays it."""

    name: str
    title: str
    rule: str
    tells: str
    ends: str
    plays: Callable[[Any], Awaitable[None]]
    needs: frozenset[Need] = frozenset({Need.STRINGS})
    takes_long: bool = False


@dataclass(frozen=True, slots=True)
class Arrow:
    """Something that happened: when, from whom to whom, what, and what it changed."""

    at: datetime
    who: str
    whom: str
    what: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the seed says must be seen at the end, and what was seen."""

    what: str
    expected: str
    seen: str

    @property
    def holds(self) -> bool:
        """Whether it was seen."""
        return self.expected == self.seen


@dataclass(slots=True)
class Story:
    """A scene as it was played."""

    scene: Scene
    began_at: datetime
    scale: float
    arrows: list[Arrow] = field(default_factory=list)
    expectations: list[Expectation] = field(default_factory=list)
    money: str = ""
    broke_off: str = ""
    leaps: list[tuple[datetime, timedelta]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether it ended as the seed says."""
        return not self.broke_off and all(it.holds for it in self.expectations)

    @property
    def seen(self) -> str:
        """How it ended, in a few words."""
        if self.broke_off:
            return f"broke off: {self.broke_off}"
        missed = [it for it in self.expectations if not it.holds]
        if missed:
            return f"{missed[0].what}: {missed[0].seen}"
        return "as expected"

    @property
    def starts_at(self) -> datetime:
        """When the first thing happened."""
        return min((arrow.at for arrow in self.arrows), default=self.began_at)

    def seconds_into(self, at: datetime) -> float:
        """Return how far into the story a moment is, on the story's own, faster clock."""
        leapt = sum(
            (by for since, by in self.leaps if at >= since), start=timedelta()
        ).total_seconds()
        return max(0.0, (at - self.starts_at).total_seconds() - leapt) * self.scale + leapt
