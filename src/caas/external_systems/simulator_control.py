"""Clients of the simulators' control planes: let `caas up` advance or disturb the simulation.

A platform with real partners has no such client.

Rules a change must keep: only entries of `FAULTS`, `CALLS`, `WAYS` and `MANNERS` can be scripted,
so that a page sends no body of its own; an unavailable simulator is reported as unavailable.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from caas.errors import RefusedError
from caas.external_systems.http import GatewayFailure, HttpClient

SILENCE_SECONDS: Final = 15.0
CREATED: Final = 300
CARS_SHOWN_MAX: Final = 20
ID: Final = re.compile(r"[a-z]{3}_[0-9a-z]{16,20}")

Script = tuple[dict[str, Any], dict[str, Any]]

FAULTS: Final[Mapping[str, Mapping[str, Script]]] = {
    "gateway": {
        "lost_answer": ({"operation": "initiate"}, {"drop_connection_after": True}),
        "silent": ({"operation": "initiate"}, {"hang_after_apply": SILENCE_SECONDS}),
        "unreachable": ({"operation": "any"}, {"drop_connection_before": True}),
        "server_error": ({"operation": "any"}, {"status": 500}),
        "lookup_away": ({"operation": "find"}, {"status": 503}),
        "declined": ({"operation": "initiate"}, {"decline_code": "card_declined"}),
        "capture_lost": ({"operation": "capture"}, {"drop_connection_after": True}),
        "void_lost": ({"operation": "void"}, {"drop_connection_after": True}),
        "wrong_amount": ({"operation": "initiate"}, {"wrong_amount": True}),
        "refund_fails": ({"operation": "refund"}, {"refund_fails": True}),
        "webhook_dropped": ({"operation": "webhook"}, {"drop": True}),
        "webhook_twice": ({"operation": "webhook"}, {"duplicate": 1}),
        "webhook_forged": ({"operation": "webhook"}, {"forged_signature": True}),
        "wrong_totals": ({"operation": "settlements"}, {"wrong_totals": True}),
        "line_missing": ({"operation": "settlements"}, {"drop_line": 1}),
        "line_twice": ({"operation": "settlements"}, {"duplicate_line": 1}),
    },
    "partners": {
        "factory_away": ({"operation": "orders"}, {"status": 503}),
        "factory_refuses": ({"operation": "orders"}, {"status": 422}),
        "never_ready": ({"operation": "orders"}, {"never_ready": True}),
        "registry_away": ({"operation": "registrations"}, {"status": 503}),
        "registry_refuses": ({"operation": "registrations"}, {"status": 422}),
        "transport_away": ({"operation": "deliveries"}, {"status": 503}),
    },
}
CALLS: Final = ("initiate", "capture", "void", "refund", "find", "settlements", "any")
WAYS: Final[Mapping[str, dict[str, Any]]] = {
    "answer_lost": {"drop_connection_after": True},
    "unreachable": {"drop_connection_before": True},
    "silent": {"hang_after_apply": SILENCE_SECONDS},
    "unavailable": {"status": 503, "code": "unavailable"},
    "error": {"status": 500},
    "half_an_answer": {"truncated_body": True},
}
MANNERS: Final = (
    "obeys", "asleep", "silent", "refuses", "fails", "late", "forges", "old_epoch", "wrong_payment",
)  # fmt: skip


class NoSuchFaultError(RefusedError):
    """This simulator has no such fault, or no such car."""

    code = "no_such_fault"


class SimulatorAwayError(RefusedError):
    """The simulator does not answer; `up` starts it again, so try again in a moment."""

    code = "simulator_away"


class Waiting(msgspec.Struct, frozen=True):
    """The partners' open work: cars to build and to deliver, newest first."""

    orders: list[dict[str, Any]] = msgspec.field(default_factory=list)
    deliveries: list[dict[str, Any]] = msgspec.field(default_factory=list)


class SimulatedCar(msgspec.Struct, frozen=True):
    """A car, its behaviour, and the services that are really active in it."""

    vin: str
    behaviour: str
    active: list[str]
    waiting: int


class ScriptedFault(msgspec.Struct, frozen=True):
    """A scripted fault; `times` None: until it is deleted."""

    match: dict[str, Any]
    action: dict[str, Any]
    acted: int

    @property
    def is_over(self) -> bool:
        """Whether its number of times is used up."""
        times = self.match.get("times")
        return times is not None and self.acted >= times


class SimulatorControl:
    """Controls the simulators."""

    def __init__(self, controls: Mapping[str, str]) -> None:
        """Use the simulators at these addresses, by name."""
        self._clients = {
            name: HttpClient(url, partner=f"The simulator '{name}'")
            for name, url in controls.items()
        }

    @property
    def names(self) -> list[str]:
        """The names of the simulators."""
        return list(self._clients)

    async def faults(self, name: str) -> list[ScriptedFault] | None:
        """Return the scripted faults; None if the simulator is unavailable."""
        try:
            reported = await self._asked(name, "GET", "faults")
        except (SimulatorAwayError, NoSuchFaultError):
            return None
        return [
            ScriptedFault(one["match"], one["action"], one["acted"])
            for one in reported.get("data", ())
        ]

    async def script(self, name: str, fault: str, *, times: int | None) -> None:
        """Script a listed fault.

        Raises:
            NoSuchFaultError: this simulator has no fault of this name.
        """
        scripted = FAULTS.get(name, {}).get(fault)
        if scripted is None:
            raise NoSuchFaultError(simulator=name, fault=fault)
        match, action = scripted
        await self._asked(
            name, "POST", "faults", {"match": {**match, "times": times}, "action": action}
        )

    async def clear(self, name: str) -> None:
        """Delete every fault of a simulator."""
        await self._asked(name, "DELETE", "faults")

    async def fail_next_call(self, call: str, way: str) -> None:
        """Make the next call of this kind to the gateway fail in this way.

        Raises:
            NoSuchFaultError: the call or the kind of failure is unknown.
        """
        if call not in CALLS or way not in WAYS:
            raise NoSuchFaultError(call=call, way=way)
        match = {"operation": call, "times": 1}
        await self._asked("gateway", "POST", "faults", {"match": match, "action": WAYS[way]})

    async def cars(self) -> list[SimulatedCar] | None:
        """Return the newest cars, newest first; None if no fleet is available."""
        try:
            reported = await self._asked("vehicles", "GET", f"fleet?latest={CARS_SHOWN_MAX}")
        except (SimulatorAwayError, NoSuchFaultError):
            return None
        return [
            SimulatedCar(car["vin"], car["manner"]["behaviour"], car["active"], car["asleep_with"])
            for car in reversed(reported["vehicles"])
        ]

    async def manner(self, vin: str, behaviour: str) -> None:
        """Set a car's behaviour; a car that wakes handles its waiting commands.

        Raises:
            NoSuchFaultError: the car or the behaviour is unknown.
        """
        if behaviour not in MANNERS:
            raise NoSuchFaultError(vin=vin, behaviour=behaviour)
        wakes = "" if behaviour == "asleep" else "/wake"
        await self._asked(
            "vehicles", "POST", f"vehicles/{_sound(vin)}{wakes}", {"behaviour": behaviour}
        )

    async def waiting(self) -> Waiting | None:
        """Return the partners' open work; None if they are unavailable."""
        try:
            reported = await self._asked("partners", "GET", "waiting")
        except (SimulatorAwayError, NoSuchFaultError):
            return None
        return Waiting(reported["orders"], reported["deliveries"])

    async def finish(self, factory_order: str) -> str:
        """Make the factory finish a car now; return its VIN."""
        reported = await self._asked("partners", "POST", f"ready/{_id(factory_order)}", {})
        return str(reported["vin"])

    async def deliver(self, delivery: str) -> str:
        """Make the transport deliver a car now; return its VIN."""
        reported = await self._asked("partners", "POST", f"completed/{_id(delivery)}", {})
        return str(reported["vin"])

    async def settle(self) -> tuple[int, int]:
        """Make the banks answer all pending requests; return the settlements and refunds."""
        reported = [
            await self._asked(name, "POST", "settle", {})
            for name in self._clients if name.startswith("gateway")
        ]  # fmt: skip
        return sum(it["settlements"] for it in reported), sum(it["refunds"] for it in reported)

    async def advance(self, until: datetime) -> None:
        """Advance the clocks of gateway, bank and partners that are behind this time."""
        for name in self._clients:
            if name != "vehicles":  # Cars use the machine's clock, as their broker does.
                await self._asked(name, "POST", "advance", {"until": until.isoformat()})

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()

    async def _asked(
        self, name: str, method: str, what: str, body: object | None = None
    ) -> dict[str, Any]:
        client = self._clients.get(name)
        if client is None:
            raise NoSuchFaultError(simulator=name)
        content = None if body is None else msgspec.json.encode(body)
        try:
            answer = await client.send(method, f"/_control/{what}", body=content)
        except GatewayFailure as failure:
            raise SimulatorAwayError(simulator=name) from failure
        if answer.status >= CREATED:
            raise NoSuchFaultError(simulator=name, status=answer.status)
        reported: dict[str, Any] = msgspec.json.decode(answer.body)
        return reported


def _sound(vin: str) -> str:
    if not vin.isascii() or not vin.isalnum():
        raise NoSuchFaultError(vin=vin)
    return vin


def _id(text: str) -> str:
    if ID.fullmatch(text) is None:
        raise NoSuchFaultError(id=text)
    return text
