"""Simulator of the order partners: Factory API, Admin Registration API, Transport System.

Diagram 2 places the factory order, Diagram 3 registers the vehicle and schedules its delivery. One
server has `POST /orders`, `/registrations` and `/deliveries`; each collection can be looked up by
`?reference=` or `?idempotency_key=`, and each record by its id.

Rules a change must keep: every call needs a bearer token; every POST needs an idempotency key; a
repeated key gets the stored response, and another request with it is rejected; a scripted refusal
changes nothing.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from caas_simulators.faults import NO_ACTION, Action, Occasion
from caas_simulators.http_server import (
    Answer,
    Request,
    Server,
    json_answer,
    listening,
    problem,
    unknown_path,
)
from caas_simulators.idempotency_keys import explained
from caas_simulators.misbehaviour import misbehave
from caas_simulators.partner_control import PartnerControl
from caas_simulators.partner_records import (
    DeliveryRequest,
    FactoryOrderRequest,
    PartnerRecord,
    RegistrationRequest,
)
from caas_simulators.partner_world import PartnerSettings, PartnerWorld

REQUEST_OF: dict[str, msgspec.json.Decoder[Any]] = {
    "orders": msgspec.json.Decoder(FactoryOrderRequest),
    "registrations": msgspec.json.Decoder(RegistrationRequest),
    "deliveries": msgspec.json.Decoder(DeliveryRequest),
}
PARTS_MAX = 2
WEBHOOK_WAIT_SECONDS_MAX = 5.0


class Call(NamedTuple):
    """A call: its collection, record and key."""

    collection: str
    record_id: str
    request: Request
    key: str


class OrderPartners:
    """Answers the calls of all three partners."""

    def __init__(self, world: PartnerWorld) -> None:
        """Serve this world; count the calls by collection and key."""
        self.world = world
        self.calls: Counter[tuple[str, str]] = Counter()
        self._accepted = {f"Bearer {token}".encode() for token in world.settings.tokens}
        self._control = PartnerControl(world, self.calls)
        self._do: dict[str, Callable[[Any, str, Action], PartnerRecord]] = {
            "orders": world.order,
            "registrations": world.register,
            "deliveries": world.schedule,
        }

    def handle(self, request: Request) -> Answer | Awaitable[Answer | None]:
        """Answer a request to a partner or to the control plane."""
        if request.path.startswith("/_control"):
            return self._control.handle(request)
        parts = request.path.split("/")[1:]
        if request.method not in ("GET", "POST") or parts[0] not in REQUEST_OF:
            return unknown_path()
        if len(parts) > (1 if request.method == "POST" else PARTS_MAX):
            return unknown_path()
        if request.headers.get(b"authorization") not in self._accepted:
            return problem(401, "unauthorized", "The token is missing or unknown.")
        key = request.header(b"idempotency-key")
        call = Call(parts[0], parts[1] if len(parts) == PARTS_MAX else "", request, key)
        self.calls[f"{request.method} {parts[0]}", key] += 1
        if not self.world.faults.scripted:
            return self._answer(call, NO_ACTION)
        action = self.world.faults.take(self._occasion(call))
        return self._answer(call, NO_ACTION) if action is None else self._misbehave(call, action)

    def _answer(self, call: Call, action: Action) -> Answer:
        if call.request.method == "GET":
            return self._found(call) if call.record_id else self._searched(call, action)
        return explained(lambda: self._written(call, action))

    async def _misbehave(self, call: Call, action: Action) -> Answer | None:
        sender = self.world.sender

        async def webhooks_delivered() -> None:
            await sender.idle(WEBHOOK_WAIT_SECONDS_MAX)

        return await misbehave(
            call.request.connection, action, lambda: self._answer(call, action), webhooks_delivered
        )

    def _written(self, call: Call, action: Action) -> Answer:
        return self.world.keys.answer_once(
            call.request,
            REQUEST_OF[call.collection],
            action,
            lambda asked: self._done(call, asked, action),
        )

    def _done(self, call: Call, asked: msgspec.Struct, action: Action) -> Answer:
        return json_answer(201, self._do[call.collection](asked, call.key, action))

    def _found(self, call: Call) -> Answer:
        booked = self.world.store.collection(call.collection).get(call.record_id)
        if booked is None:
            return problem(404, "not_found", "There is no record with this id.")
        return json_answer(200, booked.reported)

    def _searched(self, call: Call, action: Action) -> Answer:
        if action.no_lookup is not None:
            return problem(action.no_lookup, "no_lookup", "There is no lookup.")
        query = call.request.query
        if not query.keys() & {"reference", "idempotency_key"}:
            return problem(400, "reference_missing", "Say which reference or idempotency_key.")
        found = [
            booked.reported
            for booked in self.world.store.collection(call.collection).values()
            if query.get("reference", booked.reported.reference) == booked.reported.reference
            and query.get("idempotency_key", booked.key) == booked.key
        ]
        return json_answer(200, {"data": found})

    def _occasion(self, call: Call) -> Occasion:
        if call.request.method == "GET":
            return Occasion("find", call.request.query.get("reference"))
        try:
            asked = REQUEST_OF[call.collection].decode(call.request.body)
        except msgspec.DecodeError:
            return Occasion(call.collection)
        return Occasion(call.collection, asked.reference)


@contextlib.asynccontextmanager
async def running(
    settings: PartnerSettings, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[tuple[Server, PartnerWorld]]:
    """Run the partners during the block."""
    world = PartnerWorld(settings)
    partners = OrderPartners(world)
    try:
        async with listening(partners.handle, host=host, port=port) as server:
            yield server, world
    finally:
        await world.close()
