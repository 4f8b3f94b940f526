"""The HTTP side of the simulated Adyen: who may call, and once only.

Rules: a POST with an idempotency key is done once, and its answer is given again for a week; what
was refused is not stored; the same key with another request is refused.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec

from caas_simulators.adyen import links, payments
from caas_simulators.adyen.control import Control
from caas_simulators.adyen.refusals import AdyenRefusal, checked
from caas_simulators.adyen.webhooks import Webhooks
from caas_simulators.adyen.world import AdyenSettings, Json, World
from caas_simulators.faults import NO_ACTION, Action, Faults, Occasion
from caas_simulators.http_server import JSON, Answer, Request, Server, listening
from caas_simulators.misbehaviour import misbehave

VERSION: Final = "/v71"
KEY: Final = "key"
KEY_CHARS_MAX: Final = 64
KEY_SECONDS: Final = 7 * 86_400
OPERATIONS: Final = frozenset(
    {"payments", "captures", "cancels", "refunds", "paymentLinks", "paymentMethods"}
)
MODIFICATION_PARTS: Final = 3


class AdyenServer:
    """Answers the API, the pages and the control plane of one merchant account."""

    def __init__(self, world: World) -> None:
        """Serve this account."""
        self.world = world
        self.faults = Faults(world.chance, OPERATIONS)
        self.webhooks = Webhooks(world, self.faults)
        self._control = Control(world, self.faults, OPERATIONS)
        for kind, due in (
            (payments.MODIFICATION, payments.decide), ("expire", payments.expire),
            (links.LINK, links.end_due),
        ):  # fmt: skip
            world.agenda.register(kind, self._happening(due))
        payments.resume(world)
        links.resume(world)

    def _happening(self, due: Callable[[World, str], None]) -> Callable[[str], None]:
        def happen(identifier: str) -> None:
            due(self.world, identifier)
            self.world.flush()

        return happen

    def handle(self, request: Request) -> Answer | Awaitable[Answer | None]:
        """Answer a request; what it changed is written before."""
        if request.path.startswith("/_control") and self.world.settings.control:
            return self._written(self._control.handle(request))
        if request.path.startswith(links.PATH):
            return self._written(links.handle(self.world, request))
        operation = request.path.rstrip("/").rpartition("/")[2]
        if request.path.startswith(f"{VERSION}/paymentLinks/"):
            operation = "paymentLinks"
        action = self.faults.take(Occasion(operation)) if self.faults.scripted else None
        if action is None:
            return self._written(self._answer(request, NO_ACTION))
        return misbehave(
            request.connection, action,
            lambda: self._written(self._answer(request, action)), _nothing,
        )  # fmt: skip

    def _written(self, answer: Answer) -> Answer:
        self.world.flush()
        return answer

    def _answer(self, request: Request, action: Action) -> Answer:
        if request.header(b"x-api-key") not in self.world.settings.api_keys:
            message = "HTTP Status Response - Unauthorized"
            return AdyenRefusal(message, "000", status=401, kind="security").answer()
        try:
            return self._once(request, action)
        except AdyenRefusal as refusal:
            return refusal.answer()

    def _once(self, request: Request, action: Action) -> Answer:
        key = request.header(b"idempotency-key")
        if request.method != "POST" or not key:
            return self._done(request)
        if len(key) > KEY_CHARS_MAX:
            raise AdyenRefusal("Idempotency-Key is too long", "702")
        print_ = hashlib.sha256(request.path.encode() + b"\n" + request.body).hexdigest()
        stored = self.world.store.find(KEY, f"key:{key}")
        if stored is not None and stored["created"] > self.world.store.now() - KEY_SECONDS:
            if stored["fingerprint"] != print_:
                raise AdyenRefusal("Request already processed or in progress", "704")
            return Answer(stored["status"], stored["body"].encode(), JSON)
        if action.store_500_for_key:
            answer = Answer(500, b'{"status":500,"errorCode":"905","message":"Internal error"}')
        else:
            answer = self._done(request)
        self.world.store.put({
            "id": f"key:{key}", "object": KEY, "created": self.world.store.now(),
            "fingerprint": print_, "status": answer.status, "body": answer.body.decode(),
        })  # fmt: skip
        return answer

    def _done(self, request: Request) -> Answer:
        status, value = self._called(request)
        return Answer(status, msgspec.json.encode(value), JSON)

    def _called(self, request: Request) -> tuple[int, Json]:
        if not request.path.startswith(f"{VERSION}/"):
            raise AdyenRefusal("Not found", "703", status=404)
        parts = request.path.removeprefix(f"{VERSION}/").split("/")
        match request.method, parts:
            case "POST", ["payments"]:
                return 200, payments.pay(self.world, request.body)
            case "POST", ["payments", payment, kind] if kind in payments.ASKED:
                return 201, payments.modify(self.world, payment, kind, request.body)
            case "POST", ["paymentLinks"]:
                return 201, links.make(self.world, request.body)
            case "GET", ["paymentLinks", link]:
                return 200, links.show(self.world, link)
            case "PATCH", ["paymentLinks", link]:
                return 200, links.update(self.world, link, request.body)
            case "POST", ["paymentMethods"]:
                asked = checked(request.body, {"merchantAccount": str}, {})
                payments.own(self.world, asked)
                return 200, {"paymentMethods": [{"name": "Cards", "type": "scheme"}]}
            case _:
                raise AdyenRefusal("Not found", "703", status=404)


async def _nothing() -> None:
    return None


@contextlib.asynccontextmanager
async def running(
    settings: AdyenSettings, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[tuple[Server, AdyenServer]]:
    """Serve an account until the block is left."""
    world = World(settings)
    adyen = AdyenServer(world)
    try:
        async with listening(adyen.handle, host=host, port=port) as server:
            world.public_url = world.public_url or server.url
            yield server, adyen
    finally:
        world.agenda.stop()
        await adyen.webhooks.close()
        world.store.close()
