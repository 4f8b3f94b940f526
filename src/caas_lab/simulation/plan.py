"""The plan of a simulation: its stories and faults, drawn from a seed.

Rules a change must keep: the plan is pure, and the same seed gives the same plan; the effect of
every drawn method, behaviour and fault can be determined once the faults are cleared.
"""

import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

TOGETHER: Final = 5
FAULTS_MAX: Final = 3
TIMES_MAX: Final = 4
HANG_SECONDS: Final = 0.3

Value = str | int | float | bool
Drawn = TypeVar("Drawn")


class Kind(StrEnum):
    """What a customer does (Payment Type Matrix)."""

    SERVICE = "one-time service"
    VEHICLE = "vehicle"
    RACE = "two want one vehicle"
    SUBSCRIPTION = "subscription"
    REPEAT = "the same service again"
    RESALE = "vehicle with services, returned and sold again"


class Afterwards(StrEnum):
    """What the customer does afterwards."""

    NOTHING = "nothing"
    REFUND = "refund"
    WITHDRAWAL = "withdrawal"
    VOID = "void"
    END = "end"


class Fault(msgspec.Struct, frozen=True):
    """A fault at the gateway or at the partners, and how often it occurs."""

    where: str
    operation: str
    times: int
    action: str
    value: Value

    def __str__(self) -> str:
        """Return a line of the plan."""
        return f"{self.where} {self.operation} {self.action}={self.value} x{self.times}"


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One customer's actions; `twice` sends every request two times concurrently."""

    kind: Kind
    method: str
    second_method: str
    car: str
    afterwards: Afterwards
    part: int
    twice: bool

    def __str__(self) -> str:
        """Return a line of the plan."""
        data = [self.kind, self.method, f"then {self.second_method}", f"the car {self.car}"]
        data += [] if self.afterwards is Afterwards.NOTHING else [f"then {self.afterwards}"]
        return ", ".join(data + (["twice"] if self.twice else []))


class Wave(msgspec.Struct, frozen=True):
    """Stories that run at the same time, and the faults meanwhile."""

    stories: tuple[Story, ...]
    faults: tuple[Fault, ...]


class Plan(msgspec.Struct, frozen=True):
    """A whole simulation."""

    seed: int
    waves: tuple[Wave, ...]

    def lines(self) -> list[str]:
        """Return the plan, one line for each story and fault."""
        return [
            f"{number}: {what}"
            for number, wave in enumerate(self.waves, 1)
            for what in (*wave.faults, *wave.stories)
        ]


METHODS: Final = {
    "pm_ok": 10, "pm_declined": 2, "pm_insufficient_funds": 1, "pm_invalid": 1,
    "pm_settlement_fails": 2, "pm_partial_settlement": 1, "pm_late_settlement": 2,
    "pm_chargeback": 2, "pm_bank_debit": 2,
}  # fmt: skip
CARS: Final = {
    "obeys": 8, "refuses": 2, "fails": 2, "late": 2, "twice": 2, "silent": 1, "asleep": 1,
    "forges": 1, "foreign_key": 1, "old_epoch": 1, "wrong_payment": 1, "early": 1, "reversed": 1,
}  # fmt: skip
AFTERWARDS: Final = {
    Kind.SERVICE: (Afterwards.REFUND, Afterwards.WITHDRAWAL, Afterwards.VOID),
    Kind.VEHICLE: (Afterwards.WITHDRAWAL,),
    Kind.RACE: (Afterwards.NOTHING,),
    Kind.SUBSCRIPTION: (Afterwards.END,),
    Kind.REPEAT: (Afterwards.WITHDRAWAL,),
    Kind.RESALE: (Afterwards.NOTHING,),
}
KINDS: Final = {Kind.SERVICE: 6, Kind.VEHICLE: 3, Kind.RACE: 1, Kind.SUBSCRIPTION: 2,
                Kind.REPEAT: 4, Kind.RESALE: 1}  # fmt: skip
GATEWAY_CALLS: Final = ("initiate", "capture", "void", "refund", "find", "any")
PARTNER_CALLS: Final = ("orders", "registrations", "deliveries", "any")
CALLS_FAIL: Final[tuple[tuple[str, Value], ...]] = (
    ("status", 503), ("status", 502), ("status", 429), ("hang_before_apply", HANG_SECONDS),
    ("hang_after_apply", HANG_SECONDS), ("drop_connection_before", True),
    ("drop_connection_after", True), ("truncated_body", True), ("html_200", True),
    ("latency_ms", 80),
)  # fmt: skip
ANSWERS_LIE: Final[tuple[tuple[str, Value], ...]] = (
    ("wrong_transaction", True), ("wrong_amount", True), ("wrong_currency", True),
    ("store_500_for_key", True), ("webhook_before_answer", True),
)  # fmt: skip
WEBHOOKS_FAIL: Final[tuple[tuple[str, Value], ...]] = (
    ("drop", True), ("duplicate", 3), ("reorder", 3), ("delay_ms", 150),
    ("forged_signature", True), ("other_body", True), ("old_timestamp_seconds", 900),
)  # fmt: skip


def draw_plan(seed: int, stories: int) -> Plan:
    """Draw a plan with this number of stories."""
    chance = random.Random(seed)  # noqa: S311  # it is meant to be repeated
    sizes = [min(TOGETHER, stories - begun) for begun in range(0, stories, TOGETHER)]
    return Plan(seed, tuple(_wave(chance, size) for size in sizes))


def _wave(chance: random.Random, size: int) -> Wave:
    faults = tuple(_fault(chance) for _ in range(chance.randint(0, FAULTS_MAX)))
    return Wave(tuple(_story(chance) for _ in range(size)), faults)


def _story(chance: random.Random) -> Story:
    kind = _weighed(chance, KINDS)
    changes_mind = chance.random() < 1 / 3
    return Story(
        kind=kind,
        method=_weighed(chance, METHODS),
        second_method=_weighed(chance, METHODS),
        car=_weighed(chance, CARS),
        afterwards=chance.choice(AFTERWARDS[kind]) if changes_mind else Afterwards.NOTHING,
        part=chance.randint(1, 1000),
        twice=chance.random() < 1 / 5,
    )


def _fault(chance: random.Random) -> Fault:
    where = chance.choice(("gateway", "gateway", "partners", "webhooks"))
    times = chance.randint(1, TIMES_MAX)
    if where == "webhooks":
        return Fault("gateway", "webhook", times, *chance.choice(WEBHOOKS_FAIL))
    if where == "partners":
        return Fault(where, chance.choice(PARTNER_CALLS), times, *chance.choice(CALLS_FAIL))
    action = chance.choice(CALLS_FAIL + ANSWERS_LIE)
    return Fault(where, chance.choice(GATEWAY_CALLS), times, *action)


def _weighed(chance: random.Random, weights: Mapping[Drawn, int]) -> Drawn:
    return chance.choices(list(weights), list(weights.values()))[0]
