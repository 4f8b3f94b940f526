"""What went over the lines and to the vehicles, as arrows (Diagrams 2, 3, 4 and 11).

Rules a change must keep: an exchange belongs to a story by the references it carries; a message of
a vehicle by its VIN; how it was answered stands beside what was asked; the same call with the same
Idempotency-Key and the same answer is told once, with how often it was made.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from caas_lab.demo.play import Play
from caas_lab.demo.story import (
    IOT_GATEWAY,
    ORDER_MANAGEMENT,
    PAYMENT_GATEWAY,
    PAYMENT_PROCESSING,
    VEHICLE,
    Arrow,
)
from caas_lab.demo.wire import Exchange

INITIATES: Final = {
    "reservation": "Process Payment Request",
    "final": "Execute Transaction",
    "service": "Process Payment",
    "subscription": "Process Monthly Payment",
}
VERIFICATION_AMOUNT: Final = 100
OPERATIONS: Final = {"capture": "Commit Charge", "void": "VOID Charge", "refund": "Refund"}
PARTNERS: Final = {
    "orders": ("Factory", "Place Factory Order"),
    "registrations": ("Admin Registration", "Register Vehicle (Matriculation)"),
    "deliveries": ("Transport System", "Schedule Delivery"),
}
TELLERS: Final = {"gateway": PAYMENT_GATEWAY, "factory": "Factory", "transport": "Transport System"}
COMMANDS: Final = {"activate": "Send Activation Command", "deactivate": "Send Deactivation Command"}
AGAIN: Final = "asked {} times with one key: done once"
SWITCHED: Final = {"activate": "on", "deactivate": "off"}
ANSWERS: Final = {
    "SUCCEEDED": "Configuration Applied",
    "FAILED": "configuration failed",
    "REJECTED": "refuses the configuration",
}


def told_by_lines(play: Play, payments: Sequence[dict[str, Any]]) -> list[Arrow]:
    """Return what was said over the lines about the payments and orders of a scene."""
    lines = play.stage.lines
    if lines is None:
        return []
    on_calendar = play.stage.calendar.of
    by_id = {payment["id"]: payment for payment in payments}
    by_id |= {payment["gateway_transaction_id"]: payment for payment in payments}
    known = {*by_id, *play.orders}
    told = [
        *_folded(lines.gateway.exchanges, lambda it: _gateway_call(it, by_id)),
        *_folded(lines.partners.exchanges, lambda it: _partner_call(it, play.orders)),
        *_folded(lines.inbound.exchanges, lambda it: _webhook(it, known)),
    ]
    return [replace(arrow, at=on_calendar(arrow.at)) for arrow in told]


def told_by_vehicles(play: Play) -> list[Arrow]:
    """Return what was said to the cars of a scene, and what they answered."""
    if play.stage.airwaves is None:
        return []
    told: dict[tuple[str, ...], Arrow] = {}
    often: dict[tuple[str, ...], int] = {}
    for message in play.stage.airwaves.messages:
        at = play.stage.calendar.of(message.at)
        if message.vin not in play.cars or at < play.story.began_at:
            continue
        arrow = _message(message.said, at)
        if arrow is None:
            continue
        same = (message.vin, message.said["command_id"], arrow.what)
        often[same] = often.get(same, 0) + 1
        told.setdefault(same, arrow)
    return [
        arrow if often[same] == 1 else replace(arrow, changes=(f"{often[same]} times",))
        for same, arrow in told.items()
    ]


def _folded(exchanges: Iterable[Exchange], told: Any) -> list[Arrow]:
    """Tell each exchange; one that was only repeated is told once, with how often."""
    arrows: list[Arrow] = []
    seen: dict[tuple[str, ...], tuple[int, int]] = {}
    for exchange in exchanges:
        arrow = told(exchange)
        if arrow is None:
            continue
        same = (exchange.method, exchange.path, exchange.key or str(exchange.request), arrow.what)
        succeeded = exchange.status is not None and exchange.status < HTTPStatus.BAD_REQUEST
        index, count = seen.get(same, (len(arrows), 0)) if succeeded else (len(arrows), 0)
        seen[same] = (index, count + 1)
        if count:
            again = "came {} times: counted once" if not exchange.key else AGAIN
            told_again = again.format(count + 1)
            arrows[index] = replace(arrows[index], changes=(arrows[index].changes[0], told_again))
        else:
            arrows.append(arrow)
    return arrows


def _message(said: dict[str, Any], at: datetime) -> Arrow | None:
    if "status" not in said:
        what = f"{COMMANDS[said['action']]}: {said['service']}"
        return Arrow(at, IOT_GATEWAY, VEHICLE, what)
    if said["status"] not in ANSWERS:
        return None
    is_now = SWITCHED[said["action"]]
    reason = said["status_reason"] or f"{said['service']} is {is_now}, signed by the car"
    return Arrow(at, VEHICLE, IOT_GATEWAY, f"{ANSWERS[said['status']]}: {reason}")


def _gateway_call(exchange: Exchange, payments: dict[str, dict[str, Any]]) -> Arrow | None:
    payment = payments.get(_transaction_of(exchange))
    if payment is None:
        return None
    path = exchange.path.partition("?")[0]
    verb = path.rpartition("/")[2]
    if exchange.method == "GET" and verb == "refunds":
        what, shown = "looks the refunds up", "GET /transactions/{id}/refunds"
    elif exchange.method == "GET":
        what, shown = "Query transaction status", "GET /transactions"
    elif path == "/transactions":
        what, shown = _initiates(payment), "POST /transactions"
    else:
        what, shown = OPERATIONS[verb], f"POST /transactions/{{id}}/{verb}"
    answer = f"{shown}: {_answer(exchange)}"
    return Arrow(exchange.at, PAYMENT_PROCESSING, PAYMENT_GATEWAY, what, (answer,))


def _initiates(payment: dict[str, Any]) -> str:
    """Name the arrow of a payment; a subscription's first one only verifies the card."""
    if payment["type"] == "subscription" and payment["amount"] == VERIFICATION_AMOUNT:
        return "verifies the payment method with a hold"
    return INITIATES[payment["type"]]


def _partner_call(exchange: Exchange, orders: Sequence[str]) -> Arrow | None:
    path, _, query = exchange.path.partition("?reference=")
    if exchange.request.get("reference", query) not in orders:
        return None
    partner, what = PARTNERS[path.strip("/")]
    if exchange.method == "GET":
        what = "looks up what was asked before"
    answer = f"{exchange.method} {path}: {_answer(exchange)}"
    return Arrow(exchange.at, ORDER_MANAGEMENT, partner, what, (answer,))


def _webhook(exchange: Exchange, known: set[str]) -> Arrow | None:
    told = exchange.request.get("data", {})
    about = {told.get(name) for name in ("reference", "transaction_id", "order_id")}
    if not about & known:
        return None
    teller = TELLERS[exchange.path.rpartition("/")[2]]
    listener = PAYMENT_PROCESSING if teller == PAYMENT_GATEWAY else ORDER_MANAGEMENT
    kind = exchange.request.get("type", "")
    what = "Settlement Webhook" if kind == "transaction.settled" else "Webhook"
    return Arrow(exchange.at, teller, listener, what, (f"{kind}: answered {exchange.status}",))


def _answer(exchange: Exchange) -> str:
    if exchange.status is None:
        return "no answer, the connection is cut"
    told = exchange.answer
    found = told.get("data")
    if isinstance(found, list):
        told = found[0] if found else {"status": "it knows nothing of it"}
    word = told.get("decline_code") or told.get("status") or ""
    return f"{exchange.status} {told.get('code', '') if isinstance(word, int) else word}".strip()


def _transaction_of(exchange: Exchange) -> str:
    """Return the reference or the transaction that a call to the gateway is about."""
    if "reference" in exchange.request:
        return str(exchange.request["reference"])
    path, _, query = exchange.path.partition("?reference=")
    parts = path.split("/")
    return query or (parts[2] if len(parts) > 2 else "")  # noqa: PLR2004 - "", name, id
