"""The HTTP side of the simulated Adyen: who may call, and once only.

Rules: a POST that changes something needs an idempotency key, is done once, and its answer is given
again for a week; what was refused is not stored; the same key with another request is refused.
"""

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec
from msgspec.structs import replace

from caas_simulators.adyen import links, modifications, pages, payments, reports
from caas_simulators.adyen.control import Control
from caas_simulators.adyen.refusals import AdyenRefusal, taken
from caas_simulators.adyen.requests import MethodsRequest
from caas_simulators.adyen.webhooks import Webhooks
from caas_simulators.adyen.world import AdyenSettings, Json, World
from caas_simulators.faults import NO_ACTION, Action, Faults, Occasion
from caas_simulators.http_server import JSON, Answer, Request, Server
from caas_simulators.misbehaviour import misbehave
from caas_simulators.provider_account import serving

VERSION: Final = "/v71"
KEY: Final = "key"
KEY_CHARS_MAX: Final = 64
KEY_SECONDS: Final = 7 * 86_400
OPERATIONS: Final = frozenset(
    {"payments", "captures", "cancels", "refunds", "paymentLinks", "paymentMethods", "reports"}
)
WITHOUT_KEY: Final = f"{VERSION}/paymentMethods"
"""The only POST that changes nothing."""


class AdyenServer:
    """Answers the API, the pages and the control plane of one merchant account."""

    def __init__(self, world: World) -> None:
        """Serve this account."""
        self.world = world
        self.faults = Faults(world.chance, OPERATIONS)
        self.webhooks = Webhooks(world, self.faults)
        self._control = Control(world, self.faults, OPERATIONS)
        for kind, due in (
            (modifications.MODIFICATION, modifications.decide), ("expire", payments.expire),
            (links.LINK, links.end_due),
        ):  # fmt: skip
            world.agenda.register(kind, self._happening(due))
        payments.resume(world)
        modifications.resume(world)
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
            return self._written(pages.handle(self.world, request))
        operation = request.path.rstrip("/").rpartition("/")[2]
        if request.path.startswith(reports.FOLDER):
            operation = "reports"
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
        if request.path.startswith(reports.FOLDER):
            return reports.handle(self.world, request)
        if request.header(b"x-api-key") not in self.world.settings.api_keys:
            message = "HTTP Status Response - Unauthorized"
            return AdyenRefusal(message, "000", status=401, kind="security").answer()
        try:
            return self._once(request, action)
        except AdyenRefusal as refusal:
            return refusal.answer()

    def _once(self, request: Request, action: Action) -> Answer:
        if request.method != "POST" or request.path == WITHOUT_KEY:
            return self._done(request)
        key = _key_of(request)
        print_ = hashlib.sha256(request.path.encode() + b"\n" + request.body).hexdigest()
        stored = self.world.store.find(KEY, f"key:{key}")
        if stored is not None and stored["created"] > self.world.store.now() - KEY_SECONDS:
            if stored["fingerprint"] != print_:
                raise AdyenRefusal("Request already processed or in progress", "704")
            return _echoed(Answer(stored["status"], stored["body"].encode(), JSON), key)
        if action.store_500_for_key:
            answer = Answer(500, b'{"status":500,"errorCode":"905","message":"Internal error"}')
        else:
            answer = self._done(request)
        self.world.store.put({
            "id": f"key:{key}", "object": KEY, "created": self.world.store.now(),
            "fingerprint": print_, "status": answer.status, "body": answer.body.decode(),
        })  # fmt: skip
        return _echoed(answer, key)

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
            case "POST", ["payments", payment, kind] if kind in modifications.ASKED:
                return 201, modifications.modify(self.world, payment, kind, request.body)
            case "POST", ["paymentLinks"]:
                return 201, links.make(self.world, request.body)
            case "GET", ["paymentLinks", link]:
                return 200, links.show(self.world, link)
            case "PATCH", ["paymentLinks", link]:
                return 200, links.update(self.world, link, request.body)
            case "POST", ["paymentMethods"]:
                asked = taken(request.body, MethodsRequest)
                payments.own(self.world, asked.merchant_account)
                return 200, {"paymentMethods": [{"name": "Cards", "type": "scheme"}]}
            case _:
                raise AdyenRefusal("Not found", "703", status=404)


async def _nothing() -> None:
    return None


def _key_of(request: Request) -> str:
    """Return the key of a request.

    Raises:
        AdyenRefusal: it has none, which Adyen would let pass, or it is longer than Adyen takes.
    """
    key = request.header(b"idempotency-key")
    if not key:
        raise AdyenRefusal("Idempotency-Key is needed by the simulator")
    if len(key) > KEY_CHARS_MAX or not key.isascii():
        raise AdyenRefusal(f"Idempotency-Key is not up to {KEY_CHARS_MAX} characters of ASCII")
    return key


def _echoed(answer: Answer, key: str) -> Answer:
    """Return an answer with its key, by which a client sees that the request was idempotent."""
    return replace(answer, headers=(*answer.headers, (b"idempotency-key", key.encode())))


def running(
    settings: AdyenSettings, *, host: str = "127.0.0.1", port: int = 0
) -> AbstractAsyncContextManager[tuple[Server, AdyenServer]]:
    """Serve an account until the block is left."""
    return serving(AdyenServer(World(settings)), host=host, port=port)
