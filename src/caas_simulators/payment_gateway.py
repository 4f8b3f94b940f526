"""Simulator of the Payment Gateway, the external provider of Diagram 1, as a server of its own.

It implements the seed's five calls (`POST /transactions`, `GET /transactions/{id}`, void, refund,
`GET /settlements`), with the capture and the lookup by reference that decisions 1 and 2 add. This
module authenticates and routes requests; the `gateway_*` modules move the money.

Rules a change must keep: every POST needs an idempotency key; the response of a key is stored
before it is sent; a call without a scripted fault is answered without waiting.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from caas_simulators import payment_page
from caas_simulators.faults import NO_ACTION, Action, Occasion
from caas_simulators.gateway_control import GatewayControl
from caas_simulators.gateway_records import (
    CaptureRequest,
    InitiateRequest,
    RefundRequest,
    VoidRequest,
)
from caas_simulators.gateway_store import Refusal
from caas_simulators.gateway_world import GatewaySettings, GatewayWorld
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
from caas_simulators.settlement_report import PAGE_LINES, SettlementPage

INITIATION = msgspec.json.Decoder(InitiateRequest)
BODY_OF: dict[str, msgspec.json.Decoder[Any]] = {
    "initiate": INITIATION,
    "capture": msgspec.json.Decoder(CaptureRequest),
    "void": msgspec.json.Decoder(VoidRequest),
    "refund": msgspec.json.Decoder(RefundRequest),
}
PARTS_OF_A_COLLECTION = 2
PARTS_OF_A_THING = 3


class Call(msgspec.Struct):
    """A call of the gateway's API: its operation, subject and key."""

    operation: str
    subject_id: str
    request: Request
    key: str = ""


class PaymentGateway:
    """Answers the calls of the gateway's API."""

    def __init__(self, world: GatewayWorld) -> None:
        """Serve this world; count the calls by operation and key."""
        self.world = world
        self.calls: Counter[tuple[str, str]] = Counter()
        self._control = GatewayControl(world, self.calls)
        self._accepted = {f"Bearer {key}".encode() for key in world.settings.api_keys}
        self._reads: dict[str, Callable[[Call, Action], Answer]] = {
            "find": self._find,
            "find_by_reference": self._find_by_reference,
            "refunds_of": self._refunds_of,
            "find_refund": self._find_refund,
            "settlements": self._settlements,
        }
        self._writes: dict[str, Callable[[Call, object, Action], Answer]] = {
            "initiate": self._initiate,
            "capture": self._capture,
            "void": self._void,
            "refund": self._refund,
        }

    def handle(self, request: Request) -> Answer | Awaitable[Answer | None]:
        """Answer a request to the API, to a hosted page or to the control plane."""
        if request.path.startswith("/pay/"):
            return payment_page.handle(self.world, request)
        if request.path.startswith("/_control"):
            return self._control.handle(request)
        call = _call_of(request)
        if call is None:
            return unknown_path()
        if request.headers.get(b"authorization") not in self._accepted:
            return problem(401, "unauthorized", "The API key is missing or unknown.")
        self.calls[call.operation, call.key] += 1
        if not self.world.faults.scripted:
            return self._answer(call, NO_ACTION)
        action = self.world.faults.take(self._occasion(call))
        return self._answer(call, NO_ACTION) if action is None else self._misbehave(call, action)

    def _answer(self, call: Call, action: Action) -> Answer:
        read = self._reads.get(call.operation)
        try:
            if read is not None:
                return read(call, action)
            return explained(lambda: self._written(call, action))
        except Refusal as refusal:
            return problem(refusal.status, refusal.code, refusal.detail)

    async def _misbehave(self, call: Call, action: Action) -> Answer | None:
        sender = self.world.sender
        sent_before = sender.count

        async def webhooks_delivered() -> None:
            for delivery in sender.latest(sender.count - sent_before):
                await delivery.attempted.wait()

        def apply() -> Answer:
            nonlocal sent_before
            sent_before = sender.count
            return self._answer(call, action)

        return await misbehave(call.request.connection, action, apply, webhooks_delivered)

    def _written(self, call: Call, action: Action) -> Answer:
        return self.world.keys.answer_once(
            call.request,
            BODY_OF[call.operation],
            action,
            lambda asked: self._done(call, asked, action),
        )

    def _done(self, call: Call, body: object, action: Action) -> Answer:
        """Perform a write; a permanent refusal is a response like any other."""
        try:
            return self._writes[call.operation](call, body, action)
        except Refusal as refusal:
            if refusal.code in ("not_yet_authorized", "unknown_transaction"):
                raise
            return problem(refusal.status, refusal.code, refusal.detail)

    def _initiate(self, call: Call, body: object, action: Action) -> Answer:
        del call
        assert isinstance(body, InitiateRequest)
        booking = self.world.transactions.initiate(body, action.decline_code)
        status = 402 if booking.transaction.status == "failed" else 201
        return json_answer(status, booking.transaction)

    def _capture(self, call: Call, body: object, action: Action) -> Answer:
        del action
        assert isinstance(body, CaptureRequest)
        booking = self.world.store.booking(call.subject_id)
        if self.world.transactions.decides_later:
            accepted = self.world.transactions.accept(booking, "capture", amount=body.amount)
            return json_answer(202, accepted)
        self.world.transactions.capture(booking, body.amount)
        return json_answer(200, booking.transaction)

    def _void(self, call: Call, body: object, action: Action) -> Answer:
        del action
        assert isinstance(body, VoidRequest)
        booking = self.world.store.booking(call.subject_id)
        if self.world.transactions.decides_later:
            accepted = self.world.transactions.accept(booking, "void", reason=body.reason)
            return json_answer(202, accepted)
        self.world.transactions.void(booking, body.reason)
        return json_answer(200, booking.transaction)

    def _refund(self, call: Call, body: object, action: Action) -> Answer:
        assert isinstance(body, RefundRequest)
        booking = self.world.store.booking(call.subject_id)
        accepted = self.world.refunds.refund(booking, body, fails=action.refund_fails)
        return json_answer(201, accepted.refund)

    def _find(self, call: Call, action: Action) -> Answer:
        del action
        return json_answer(200, self.world.store.booking(call.subject_id).transaction)

    def _find_by_reference(self, call: Call, action: Action) -> Answer:
        if action.no_lookup is not None:
            return problem(action.no_lookup, "no_lookup", "There is no lookup by reference.")
        reference = call.request.query.get("reference")
        if not reference:
            return problem(400, "reference_missing", "Say which reference.")
        return json_answer(200, {"data": self.world.store.with_reference(reference)})

    def _refunds_of(self, call: Call, action: Action) -> Answer:
        del action
        ids = self.world.store.booking(call.subject_id).refund_ids
        return json_answer(200, {"data": [self.world.store.refunds[one].refund for one in ids]})

    def _find_refund(self, call: Call, action: Action) -> Answer:
        del action
        found = self.world.store.refunds.get(call.subject_id)
        if found is None:
            return problem(404, "unknown_refund", "There is no refund with this id.")
        return json_answer(200, found.refund)

    def _settlements(self, call: Call, action: Action) -> Answer:
        query = call.request.query
        day = query.get("date", self.world.clock.today())
        if "text/csv" in call.request.header(b"accept"):
            page, text = self.world.reports.file(day, action)
            return Answer(200, text, b"text/csv; charset=utf-8", _control_totals(page))
        limit = query.get("limit", "")
        lines = int(limit) if limit.isascii() and limit.isdigit() else PAGE_LINES
        return json_answer(
            200, self.world.reports.page(day, query.get("cursor", ""), lines, action)
        )

    def _occasion(self, call: Call) -> Occasion:
        operation = OPERATION_OF_FAULT.get(call.operation, call.operation)
        if call.operation == "initiate":
            return _occasion_of_initiation(call.request.body)
        if call.operation == "find_by_reference":
            return Occasion(operation, call.request.query.get("reference"))
        booking = self.world.store.bookings.get(call.subject_id)
        return Occasion(operation, booking.transaction.reference if booking else None)


OPERATION_OF_FAULT = {
    "find_by_reference": "find",
    "refunds_of": "find",
    "find_refund": "find",
}
THING_OPERATIONS = {
    ("POST", "capture"): "capture",
    ("POST", "void"): "void",
    ("POST", "refund"): "refund",
    ("GET", "refunds"): "refunds_of",
}
COLLECTION_OPERATIONS = {
    ("POST", "transactions"): "initiate",
    ("GET", "transactions"): "find_by_reference",
    ("GET", "settlements"): "settlements",
}
READ_OPERATIONS = {("GET", "transactions"): "find", ("GET", "refunds"): "find_refund"}


def _call_of(request: Request) -> Call | None:
    """Return the call of a request; None if the path is unknown."""
    parts = request.path.split("/")[1:]
    operation, subject_id = None, ""
    if len(parts) == 1:
        operation = COLLECTION_OPERATIONS.get((request.method, parts[0]))
    elif len(parts) == PARTS_OF_A_COLLECTION:
        operation, subject_id = READ_OPERATIONS.get((request.method, parts[0])), parts[1]
    elif len(parts) == PARTS_OF_A_THING and parts[0] == "transactions":
        operation, subject_id = THING_OPERATIONS.get((request.method, parts[2])), parts[1]
    if operation is None:
        return None
    key = request.header(b"idempotency-key") if request.method == "POST" else ""
    return Call(operation, subject_id, request, key)


def _occasion_of_initiation(body: bytes) -> Occasion:
    try:
        request = INITIATION.decode(body)
    except msgspec.DecodeError:
        return Occasion("initiate")
    return Occasion("initiate", request.reference, request.payment_method)


def _control_totals(page: SettlementPage) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-report-id", page.report_id.encode()),
        (b"x-report-status", page.status.encode()),
        (b"x-line-count", str(page.line_count).encode()),
        (b"x-gross-total", str(page.gross_total).encode()),
        (b"x-net-total", str(page.net_total).encode()),
    )


@contextlib.asynccontextmanager
async def running(
    settings: GatewaySettings, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[tuple[Server, GatewayWorld]]:
    """Run a gateway during the block; hosted pages are at the address it listens on."""
    world = GatewayWorld(settings)
    gateway = PaymentGateway(world)
    try:
        async with listening(gateway.handle, host=host, port=port) as server:
            world.transactions.show_pages_at(settings.public_url or server.url)
            yield server, world
    finally:
        await world.close()
