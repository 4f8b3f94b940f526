"""What the control planes of all simulators have in common: faults and webhooks.

Rules a change must keep: a control plane exists only in a simulator that was started with it; it
needs no key, and nothing the platform does in operation may depend on it.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from caas_simulators.faults import (
    ACTION_FIELDS,
    MATCH_FIELDS,
    Fault,
    Faults,
    TooManyFaultsError,
    UnknownOperationError,
)
from caas_simulators.http_server import Answer, Request, json_answer, problem, unknown_path
from caas_simulators.simulated_time import Clock
from caas_simulators.webhook_sender import Delivery, Target, WebhookSender

IDLE_SECONDS_MAX = 10.0

FAULT_PATHS = {
    "GET /_control/": "this list, with every field of a fault",
    "GET /_control/faults": "the faults scripted at the moment, and how often each acted",
    "POST /_control/faults": 'script a fault: {"match": {...}, "action": {...}}',
    "DELETE /_control/faults": "delete all faults",
}
WEBHOOK_PATHS = {
    "GET /_control/webhooks": "where webhooks go, and those sent so far; ?reference= filters",
    "POST /_control/webhooks": "{url?, secrets?, types?} where webhooks go from now on",
    "POST /_control/webhooks/idle": "answer when every webhook has arrived (or after 10 s)",
}


class WebhookOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The new target of webhooks; missing fields stay unchanged."""

    name: str = ""
    url: str | None = None
    secrets: list[str] | None = None
    types: list[str] | None = None


class AdvanceOrder(msgspec.Struct, forbid_unknown_fields=True):
    """How far to move the clock: simulated seconds, or until an instant."""

    seconds: float = 0.0
    until: datetime | None = None

    def __post_init__(self) -> None:
        """Reject an order with neither."""
        if not self.seconds and self.until is None:
            message = "say `seconds`, or `until` when"
            raise ValueError(message)


class AdvancingWorld(Protocol):
    """A simulated account with a clock of its own."""

    clock: Clock

    def advance(self, seconds: float, *, until: float | None = None) -> None:
        """Move the clock forward; what becomes due happens on the way."""


PlainRoute = Callable[[Request], Answer]
Route = Callable[[Request], Answer | Awaitable[Answer | None]]
Answered = TypeVar("Answered")


class FaultControl:
    """Handles the requests about faults, and lists the calls of the control plane."""

    def __init__(self, faults: Faults, operations: str) -> None:
        """Control these faults; `operations` names what a fault can match."""
        self._faults = faults
        self._operations = operations
        self.routes: dict[tuple[str, str], PlainRoute] = {
            ("GET", "faults"): self._list_faults,
            ("POST", "faults"): self._script,
            ("DELETE", "faults"): self._delete_faults,
        }

    def listing(self, paths: Mapping[str, str]) -> Answer:
        """List the calls of the control plane, and every field of a fault."""
        return json_answer(
            200,
            {
                "paths": {**FAULT_PATHS, **paths},
                "operations": self._operations,
                "fault": {"match": MATCH_FIELDS, "action": ACTION_FIELDS},
            },
        )

    def _list_faults(self, request: Request) -> Answer:
        del request
        return json_answer(200, {"data": self._faults.scripted})

    def _script(self, request: Request) -> Answer:
        fault = msgspec.json.decode(request.body, type=Fault)
        try:
            self._faults.script(fault)
        except UnknownOperationError as error:
            return problem(422, "unknown_operation", f"Operations here: {error}.")
        except TooManyFaultsError:
            return problem(409, "too_many_faults", "Delete the faults that are scripted first.")
        return json_answer(201, fault)

    def _delete_faults(self, request: Request) -> Answer:
        del request
        return json_answer(200, {"deleted": self._faults.delete()})


class SharedControl:
    """Handles the requests about faults and webhooks."""

    def __init__(
        self, faults: Faults, sender: WebhookSender, targets: dict[str, Target], operations: str
    ) -> None:
        """Control these faults and these targets, by the name of their sender."""
        self._faults = FaultControl(faults, operations)
        self._sender = sender
        self._targets = targets
        self.routes: dict[tuple[str, str], Route] = {
            **self._faults.routes,
            ("GET", "webhooks"): self._sent,
            ("POST", "webhooks"): self._aim,
            ("POST", "webhooks/idle"): self._idle,
        }

    def listing(self, paths: Mapping[str, str]) -> Answer:
        """List the calls of the control plane, and every field of a fault."""
        return self._faults.listing({**WEBHOOK_PATHS, **paths})

    def _sent(self, request: Request) -> Answer:
        reference = request.query.get("reference")
        reported = [
            _reported(delivery)
            for delivery in self._sender.sent
            if reference in (None, delivery.event.reference)
        ]
        targets = {
            name: {"url": target.url, "types": target.types}
            for name, target in self._targets.items()
        }
        unfinished = self._sender.unfinished
        return json_answer(200, {"targets": targets, "unfinished": unfinished, "sent": reported})

    def _aim(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body, type=WebhookOrder)
        target = self._targets.get(order.name or next(iter(self._targets)))
        if target is None:
            return problem(422, "unknown_target", f"Targets: {', '.join(self._targets)}.")
        target.url = target.url if order.url is None else order.url
        target.secrets = target.secrets if order.secrets is None else order.secrets
        target.types = target.types if order.types is None else order.types
        return json_answer(200, {"url": target.url, "types": target.types})

    async def _idle(self, request: Request) -> Answer:
        del request
        idle = await self._sender.idle(IDLE_SECONDS_MAX)
        return json_answer(200 if idle else 503, {"unfinished": self._sender.unfinished})


def routed(
    routes: Mapping[tuple[str, str], Callable[[Request], Answered]],
    request: Request,
    refusals: tuple[type[Exception], ...] = (),
) -> Answered | Answer:
    """Answer a request below `/_control/` by its method and the rest of its path.

    `refusals` are errors of the simulated provider, which are answered as invalid requests.
    """
    name = request.path.removeprefix("/_control").strip("/")
    route = routes.get((request.method, name))
    if route is None:
        return unknown_path()
    invalid: tuple[type[Exception], ...] = (msgspec.DecodeError, *refusals)
    try:
        return route(request)
    except invalid as error:
        return problem(422, "invalid_request", str(error))


def advanced(world: AdvancingWorld, request: Request) -> Answer:
    """Move the clock of a world as the request says."""
    order = msgspec.json.decode(request.body, type=AdvanceOrder)
    until = order.until.timestamp() if order.until is not None else None
    world.advance(order.seconds, until=until)
    return json_answer(200, {"now": int(world.clock.now())})


def _reported(delivery: Delivery) -> dict[str, object]:
    return {
        "id": delivery.event.id,
        "type": delivery.event.type,
        "subject_id": delivery.event.subject_id,
        "reference": delivery.event.reference,
        "state": delivery.state,
        "answers": delivery.answers,
    }
