"""The control plane of the order partners, under `/_control/`.

Rules a change must keep: every action could happen in operation, or is a scripted fault; the ledger
shows what the partners did, whatever they answered.
"""

from collections import Counter
from collections.abc import Awaitable
from itertools import islice

import msgspec

from caas_simulators.control import AdvanceOrder, Route, SharedControl, routed
from caas_simulators.http_server import Answer, Request, json_answer, problem, unknown_path
from caas_simulators.partner_world import OPERATIONS, PartnerWorld
from caas_simulators.simulated_time import rfc3339

WAITING_MAX = 20
Calls = Counter[tuple[str, str]]

PATHS = {
    "GET /_control/ledger": "what the partners did, and the calls by key",
    "GET /_control/waiting": f"cars to build and to deliver, the newest {WAITING_MAX} of each",
    "POST /_control/ready/{factory_order_id}": "{public_key?} let the vehicle be ready now",
    "POST /_control/completed/{delivery_id}": "let the delivery be completed now",
    "POST /_control/advance": "advance simulated time by {seconds}, or {until} an instant",
    "POST /_control/forget-keys": "forget every idempotency key",
}


class ReadyOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A vehicle that is ready now, with its optional public key."""

    public_key: str | None = None


class PartnerControl:
    """Answers the control plane's requests."""

    def __init__(self, world: PartnerWorld, calls: Calls) -> None:
        """Control these partners; report these counts of calls."""
        self._world = world
        self._calls = calls
        targets = {
            "factory": world.settings.factory_webhooks,
            "transport": world.settings.transport_webhooks,
        }
        shared = SharedControl(world.faults, world.sender, targets, ", ".join(sorted(OPERATIONS)))
        self._routes: dict[tuple[str, str], Route] = shared.routes | {
            ("GET", ""): lambda _request: shared.listing(PATHS),
            ("GET", "ledger"): self._ledger,
            ("GET", "waiting"): self._waiting,
            ("POST", "advance"): self._advance,
            ("POST", "forget-keys"): self._forget_keys,
        }

    def handle(self, request: Request) -> Answer | Awaitable[Answer | None]:
        """Answer one request below `/_control/`."""
        if not self._world.settings.control:
            return unknown_path()
        parts = request.path.split("/")[2:]
        if request.method == "POST" and parts[0] == "ready":
            return self._ready(parts[-1], request)
        if request.method == "POST" and parts[0] == "completed":
            return self._completed(parts[-1])
        return routed(self._routes, request)

    async def _ready(self, order_id: str, request: Request) -> Answer:
        order = self._world.store.orders.get(order_id)
        if order is None:
            return problem(404, "not_found", "There is no factory order with this id.")
        try:
            reported = msgspec.json.decode(request.body or b"{}", type=ReadyOrder)
        except msgspec.DecodeError as error:
            return problem(422, "invalid_request", str(error))
        await self._world.make_ready(order, reported.public_key)
        return json_answer(200, order.reported)

    def _completed(self, delivery_id: str) -> Answer:
        delivery = self._world.store.deliveries.get(delivery_id)
        if delivery is None:
            return problem(404, "not_found", "There is no delivery with this id.")
        self._world.complete(delivery)
        return json_answer(200, delivery.reported)

    def _waiting(self, request: Request) -> Answer:
        del request
        store = self._world.store
        orders = (one.reported for one in reversed(store.orders.values()))
        deliveries = (one.reported for one in reversed(store.deliveries.values()))
        to_build = (one for one in orders if one.status != "ready")
        to_deliver = (one for one in deliveries if one.status != "completed")
        return json_answer(
            200,
            {
                "orders": [*islice(to_build, WAITING_MAX)],
                "deliveries": [*islice(to_deliver, WAITING_MAX)],
            },
        )

    def _advance(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body, type=AdvanceOrder)
        self._world.advance(order.seconds, until=order.until)
        return json_answer(200, {"now": rfc3339(self._world.clock.now())})

    def _forget_keys(self, request: Request) -> Answer:
        del request
        return json_answer(200, {"forgotten": self._world.keys.forget()})

    def _ledger(self, request: Request) -> Answer:
        reference = request.query.get("reference")
        reported: dict[str, object] = {
            name: [
                booked.reported
                for booked in self._world.store.collection(name).values()
                if reference in (None, booked.reported.reference)
            ]
            for name in ("orders", "registrations", "deliveries")
        }
        reported["calls"] = [
            {"operation": operation, "key": key, "count": count}
            for (operation, key), count in self._calls.items()
        ]
        return json_answer(200, reported)
