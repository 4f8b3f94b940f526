"""The control plane of a simulated gateway, under `/_control/`.

Tests and demonstrations use it; the platform itself never calls it.

Rules a change must keep: every action could happen in operation (a bank answers, a customer
disputes, time passes) or is a scripted fault; the ledger shows what the gateway did, whatever it
answered.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from caas_simulators.control import AdvanceOrder, Route, SharedControl, routed
from caas_simulators.gateway_records import Booking, LineType
from caas_simulators.gateway_store import Refusal
from caas_simulators.gateway_world import OPERATIONS, GatewayWorld
from caas_simulators.http_server import Answer, Request, json_answer, problem, unknown_path

Calls = Counter[tuple[str, str]]
_Body = TypeVar("_Body")

PATHS = {
    "GET /_control/ledger": "the gateway's own books; ?reference= for one merchant reference",
    "POST /_control/settle": "{reference?} let the bank answer for captures and refunds",
    "POST /_control/lines": "{date?, ...line} put a line into a report, whatever it says",
    "POST /_control/close-day": "{date?} close a day's report",
    "POST /_control/advance": "advance simulated time by {seconds}, or {until} an instant",
    "POST /_control/forget-keys": "forget every idempotency key",
    "POST /_control/transactions/{id}/settle-rest": "let the bank pay what it left out",
    "POST /_control/transactions/{id}/expire": "let the authorization or the page expire",
    "POST /_control/transactions/{id}/settlement-failure": "let the bank reject, or take back",
    "POST /_control/transactions/{id}/dispute": "{amount?, reason?} open one; {outcome} decide it",
}


class SettleOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The transactions that the bank answers for; all without a reference."""

    reference: str | None = None


class DisputeOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A dispute to open, or the outcome of the one that is open."""

    amount: int | None = None
    reason: str = "fraudulent"
    outcome: str | None = None


class DayOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A day; by default today."""

    date: str | None = None


class LineOrder(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A report line, correct or not; missing fields are taken from the transaction."""

    date: str | None = None
    transaction_id: str
    reference: str
    type: LineType
    gross: int
    fee: int = 0
    net: int | None = None
    currency: str = "EUR"


class GatewayControl:
    """Answers the control plane's requests."""

    def __init__(self, world: GatewayWorld, calls: Calls) -> None:
        """Control this gateway; report these counts of calls."""
        self._world = world
        self._calls = calls
        shared = SharedControl(
            world.faults,
            world.sender,
            {"gateway": world.settings.webhooks},
            ", ".join(sorted(OPERATIONS)),
        )
        self._routes: dict[tuple[str, str], Route] = shared.routes | {
            ("GET", ""): lambda _request: shared.listing(PATHS),
            ("GET", "ledger"): self._ledger,
            ("POST", "settle"): self._settle,
            ("POST", "lines"): self._book_line,
            ("POST", "close-day"): self._close_day,
            ("POST", "advance"): self._advance,
            ("POST", "forget-keys"): self._forget_keys,
        }
        self._on_transaction: dict[str, Callable[[Booking, Request], None]] = {
            "settle-rest": lambda booking, _request: world.settlements.settle_rest(booking),
            "expire": lambda booking, _request: world.transactions.expire(booking),
            "settlement-failure": lambda booking, _request: world.settlements.bank_rejects(booking),
            "dispute": self._dispute,
        }

    def handle(self, request: Request) -> Answer | Awaitable[Answer | None]:
        """Answer one request below `/_control/`."""
        if not self._world.settings.control:
            return unknown_path()
        try:
            parts = request.path.split("/")[2:]
            if request.method == "POST" and parts[0] == "transactions":
                return self._one(parts, request)
            return routed(self._routes, request)
        except Refusal as refusal:
            return problem(refusal.status, refusal.code, refusal.detail)
        except msgspec.DecodeError as error:
            return problem(422, "invalid_request", str(error))

    def _one(self, parts: list[str], request: Request) -> Answer:
        act = self._on_transaction.get(parts[-1])
        if act is None:
            return unknown_path()
        booking = self._world.store.booking(parts[1])
        act(booking, request)
        return json_answer(200, booking.transaction)

    def _dispute(self, booking: Booking, request: Request) -> None:
        order = _decoded(request, DisputeOrder)
        if order.outcome is None:
            self._world.settlements.dispute(booking, order.amount, order.reason)
        else:
            self._world.settlements.decide(booking, won=order.outcome == "won")

    def _settle(self, request: Request) -> Answer:
        reference = _decoded(request, SettleOrder).reference
        settled = refunds = 0
        for booking in self._named(reference):
            if booking.transaction.status == "capturing":
                self._world.settlements.settle_now(booking)
                settled += 1
            if booking.refund_ids:
                refunds += self._world.refunds.complete_now(booking)
        return json_answer(200, {"settlements": settled, "refunds": refunds})

    def _named(self, reference: str | None) -> list[Booking]:
        bookings = self._world.store.bookings.values()
        return [one for one in bookings if reference in (None, one.transaction.reference)]

    def _book_line(self, request: Request) -> Answer:
        reported = msgspec.structs.asdict(_decoded(request, LineOrder))
        day = reported.pop("date")
        if reported["net"] is None:
            reported["net"] = reported["gross"] - reported["fee"]
        return json_answer(201, self._world.reports.book_as_asked(day, **reported))

    def _close_day(self, request: Request) -> Answer:
        day = _decoded(request, DayOrder).date or self._world.clock.today()
        self._world.reports.close_day(day)
        return json_answer(200, {"date": day, "status": "closed"})

    def _advance(self, request: Request) -> Answer:
        order = _decoded(request, AdvanceOrder)
        self._world.advance(order.seconds, until=order.until)
        return json_answer(200, {"now": self._world.store.now_text()})

    def _forget_keys(self, request: Request) -> Answer:
        del request
        return json_answer(200, {"forgotten": self._world.keys.forget()})

    def _ledger(self, request: Request) -> Answer:
        bookings = self._named(request.query.get("reference"))
        calls = [
            {"operation": operation, "key": key, "count": count}
            for (operation, key), count in self._calls.items()
        ]
        return json_answer(
            200,
            {
                "charges_executed": sum(booking.captures for booking in bookings),
                "transactions": [_ledger_row(booking) for booking in bookings],
                "refunds": len(self._world.store.refunds),
                "calls": calls,
            },
        )


def _ledger_row(booking: Booking) -> dict[str, object]:
    transaction = booking.transaction
    return {
        "transaction_id": transaction.id,
        "reference": transaction.reference,
        "status": transaction.status,
        "currency": transaction.currency,
        "authorized": booking.authorized_amount,
        "captured": transaction.captured_amount,
        "settled": transaction.settled_amount,
        "refunded": transaction.refunded_amount,
        "charges_executed": booking.captures,
        "refund_ids": booking.refund_ids,
        "dispute_ids": booking.dispute_ids,
    }


def _decoded(request: Request, body_type: type[_Body]) -> _Body:
    return msgspec.json.decode(request.body or b"{}", type=body_type)
