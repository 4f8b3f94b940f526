"""A scenario and its result, as plain data.

Rule a change must keep: a result holds what was expected and what was seen, so that a reader can
check the verdict.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

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
    """What a scenario needs in addition to a running platform."""

    CONTROL_PLANES = "the control planes of the simulators"
    RELAY = "a connection to the gateway that can be cut"
    FAST_TIME = "waits divided by a time scale"
    CLOCK = "a platform clock that can be moved"


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A flow or failure of the specification; `rule` is where the specification defines it."""

    name: str
    title: str
    rule: str
    text: str
    expected_end: str
    steps: Callable[[Any], Awaitable[None]]
    needs: frozenset[Need] = frozenset({Need.CONTROL_PLANES})
    is_slow: bool = False


class Arrow(msgspec.Struct, frozen=True):
    """One message: when, from whom to whom, what, and what it changed."""

    at: datetime
    who: str
    whom: str
    what: str
    changes: tuple[str, ...] = ()


class Expectation(msgspec.Struct, frozen=True):
    """What the specification expects at the end, and what was seen."""

    what: str
    expected: str
    seen: str

    @property
    def holds(self) -> bool:
        """Whether the two are equal."""
        return self.expected == self.seen


class ScenarioResult(msgspec.Struct):
    """What a run of a scenario showed."""

    scenario: Scenario
    began_at: datetime
    scale: float
    arrows: list[Arrow] = msgspec.field(default_factory=list)
    expectations: list[Expectation] = msgspec.field(default_factory=list)
    money: str = ""
    broke_off: str = ""
    clock_moves: list[tuple[datetime, timedelta]] = msgspec.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the scenario passed."""
        return not self.broke_off and all(it.holds for it in self.expectations)

    @property
    def seen(self) -> str:
        """The end in a few words."""
        if self.broke_off:
            return f"broke off: {self.broke_off}"
        missed = [it for it in self.expectations if not it.holds]
        if missed:
            return f"{missed[0].what}: {missed[0].seen}"
        return "as expected"

    @property
    def starts_at(self) -> datetime:
        """The time of the first arrow."""
        return min((arrow.at for arrow in self.arrows), default=self.began_at)

    def seconds_into(self, at: datetime) -> float:
        """Return the scenario's own time at a moment, in seconds since its start."""
        transitioned = sum(
            (by for since, by in self.clock_moves if at >= since), start=timedelta()
        ).total_seconds()
        return (
            max(0.0, (at - self.starts_at).total_seconds() - transitioned) * self.scale
            + transitioned
        )
