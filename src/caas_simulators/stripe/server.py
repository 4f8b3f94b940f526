"""The HTTP side of the simulated Stripe: who may call, how often, which version, and once only.

Rules: a POST with an idempotency key is done once, and its answer, even a 500, is given again for a
day; the same key with other parameters is refused; what fails before it is executed is not stored.
"""

import contextlib
import hashlib
import re
from base64 import b64decode
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec

from caas_simulators.faults import NO_ACTION, Action, Faults, Occasion
from caas_simulators.http_server import JSON, Answer, Request, Server
from caas_simulators.misbehaviour import misbehave
from caas_simulators.provider_account import serving
from caas_simulators.stripe import calls, charges, checkout, disputes, files, intents, pages
from caas_simulators.stripe.control import Control
from caas_simulators.stripe.parameters import parsed
from caas_simulators.stripe.refusals import Json, StripeRefusal
from caas_simulators.stripe.shapes import shown
from caas_simulators.stripe.webhooks import Webhooks
from caas_simulators.stripe.world import API_VERSION, StripeSettings, World

KEY_SECONDS: Final = 86_400
KEY_CHARS_MAX: Final = 255
KEY: Final = "idempotency_key"
FORM: Final = "application/x-www-form-urlencoded"
UPLOADS: Final = "/v1/files"
BROKEN: Final[Json] = {"error": {"type": "api_error", "message": "An error occurred internally."}}
_VERSION: Final = re.compile(r"\d{4}-\d\d-\d\d(\.[a-z]+)?")


class StripeServer:
    """Answers the API, the pages and the control plane of one account."""

    def __init__(self, world: World) -> None:
        """Serve this account."""
        self.world = world
        self.faults = Faults(world.chance, calls.OPERATIONS)
        self.webhooks = Webhooks(world, self.faults)
        self._control = Control(world, self.faults, self.webhooks)
        self._allowance = world.settings.requests_a_second
        self._allowed_at = world.clock.machine_now()
        self._register(intents.HOLD, intents.hold_due, "payment_intent")
        self._register(checkout.SESSION, checkout.session_due, "checkout.session")
        self._register("refund", charges.refund_due, "refund")
        self._register("dispute", disputes.due, "charge")
        intents.resume(world)
        checkout.resume(world)

    def _register(self, kind: str, due: Callable[[World, Json], None], subject: str) -> None:
        def happen(identifier: str) -> None:
            due(self.world, self.world.store.get(subject, identifier))
            self.world.store.flush()

        self.world.agenda.register(kind, happen)

    def handle(self, request: Request) -> Answer | Awaitable[Answer | None]:
        """Answer a request; what it changed is written before."""
        if request.path.startswith("/_control") and self.world.settings.control:
            return self._written(self._control.handle(request))
        if request.path.startswith((pages.CHECKOUT, pages.BANK)):
            return self._written(pages.handle(self.world, request))
        operation = calls.operation_of(request.method, request.path)
        action = self.faults.take(Occasion(operation)) if self.faults.scripted else None
        if action is None:
            return self._written(self._answer(request, NO_ACTION))
        return misbehave(
            request.connection, action,
            lambda: self._written(self._answer(request, action)), _nothing,
        )  # fmt: skip

    def _written(self, answer: Answer) -> Answer:
        self.world.store.flush()
        return answer

    def _answer(self, request: Request, action: Action) -> Answer:
        identifier = "req_" + self.world.store.new_id("x")[2:16]
        headers = ((b"request-id", identifier.encode()), (b"stripe-version", API_VERSION.encode()))
        self.world.request = {"id": identifier, "idempotency_key": None}
        try:
            self._let_in(request)
            return self._once(request, headers, action)
        except StripeRefusal as refusal:
            return refusal.answer(headers)
        finally:
            self.world.request = {"id": None, "idempotency_key": None}

    def _let_in(self, request: Request) -> None:
        """Check the key, the version and the rate.

        Raises:
            StripeRefusal: one of them is wrong.
        """
        key = _key_of(request.header(b"authorization"))
        if not key:
            raise StripeRefusal("You did not provide an API key.", status=401, stored=False)
        if key not in self.world.settings.api_keys:
            shown_key = f"{key[:8]}****{key[-4:]}"
            raise StripeRefusal(f"Invalid API Key provided: {shown_key}", status=401, stored=False)
        version = request.header(b"stripe-version")
        if version and (_VERSION.fullmatch(version) is None or version != API_VERSION):
            raise StripeRefusal(f"Invalid Stripe API version: {version}", stored=False)
        self._limit_rate()

    def _limit_rate(self) -> None:
        now, a_second = self.world.clock.machine_now(), self.world.settings.requests_a_second
        self._allowance = min(a_second, self._allowance + (now - self._allowed_at) * a_second)
        self._allowed_at = now
        if self._allowance < 1:
            raise StripeRefusal(
                "Request rate limit exceeded. Learn more about rate limits: "
                "https://stripe.com/docs/rate-limits.", code="rate_limit", status=429, stored=False,
            )  # fmt: skip
        self._allowance -= 1

    def _once(
        self, request: Request, headers: tuple[tuple[bytes, bytes], ...], action: Action
    ) -> Answer:
        """Answer a write as it was answered before under its key, or do it now.

        Raises:
            StripeRefusal: the key stands for another request, or the request is wrong.
        """
        key = request.header(b"idempotency-key")
        if request.method != "POST" or not key:
            return self._done(request, headers)
        if len(key) > KEY_CHARS_MAX:
            raise StripeRefusal("Idempotency keys can have up to 255 characters.", stored=False)
        self.world.request["idempotency_key"] = key
        content = request.path.encode() + b"\n" + request.body
        fingerprint = hashlib.sha256(content).hexdigest()
        stored = self.world.store.find(KEY, f"key:{key}")
        if stored is not None and stored["created"] > self.world.store.now() - KEY_SECONDS:
            return _replayed(stored, fingerprint, key, headers)
        if action.store_500_for_key:
            return self._keep(key, fingerprint, Answer(500, msgspec.json.encode(BROKEN)))
        try:
            answer = self._done(request, headers)
        except StripeRefusal as refusal:
            if not refusal.stored:
                raise
            answer = refusal.answer(headers)
        return self._keep(key, fingerprint, answer)

    def _keep(self, key: str, fingerprint: str, answer: Answer) -> Answer:
        self.world.store.put({
            "id": f"key:{key}", "object": KEY, "created": self.world.store.now(),
            "fingerprint": fingerprint, "status": answer.status, "body": answer.body.decode(),
        })  # fmt: skip
        return answer

    def _done(self, request: Request, headers: tuple[tuple[bytes, bytes], ...]) -> Answer:
        if (request.method, request.path) == ("POST", UPLOADS):
            return self._uploaded(request, headers)
        call, identifier = calls.call_of(request.method, request.path)
        if call.is_file:
            file: Answer = call.do(self.world, identifier, {})
            return file
        if request.method == "POST" and request.body:
            if not request.header(b"content-type").startswith(FORM):
                raise StripeRefusal("Invalid request: send a form-encoded body.", stored=False)
            asked = parsed(request.body.decode("utf-8", "replace"), call.form)
        else:
            asked = parsed(request.query_text, call.form)
        expand = asked.pop("expand", None)
        value = call.do(self.world, identifier, asked)
        body = msgspec.json.encode(shown(self.world.store, value, expand))
        return Answer(200, body, JSON, headers)

    def _uploaded(self, request: Request, headers: tuple[tuple[bytes, bytes], ...]) -> Answer:
        file = files.upload(self.world, request.header(b"content-type"), request.body)
        return Answer(200, msgspec.json.encode(shown(self.world.store, file)), JSON, headers)


async def _nothing() -> None:
    return None


def _replayed(
    stored: Json, fingerprint: str, key: str, headers: tuple[tuple[bytes, bytes], ...]
) -> Answer:
    if stored["fingerprint"] != fingerprint:
        raise StripeRefusal(
            "Keys for idempotent requests can only be used with the same parameters they were "
            f"first used with. Try using a key other than '{key}' if you meant to execute a "
            "different request.", type="idempotency_error", stored=False,
        )  # fmt: skip
    replayed = (*headers, (b"idempotent-replayed", b"true"))
    return Answer(stored["status"], stored["body"].encode(), JSON, replayed)


def _key_of(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            return b64decode(value).decode("ascii", "ignore").partition(":")[0]
    return ""


def running(
    settings: StripeSettings, *, host: str = "127.0.0.1", port: int = 0
) -> AbstractAsyncContextManager[tuple[Server, StripeServer]]:
    """Serve an account until the block is left."""
    return serving(StripeServer(World(settings)), host=host, port=port)
