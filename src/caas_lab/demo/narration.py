"""The timeline of a scenario, from the platform's audit trail, as arrows of the diagrams.

Sources: a payment's events and ledger entries, its audit trail (gateway calls, webhooks, vehicle
commands and answers, notifications), and the events of its order.

Rules a change must keep: an arrow stands for a recorded row and nothing else; parties and messages
have the names that the specification uses.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from caas.billing_database.gateway_calls import GatewayCallRecord
from caas.billing_database.payment_audit_trail import PaymentAuditTrail
from caas_lab.demo.scenario import (
    ADMIN_REGISTRATION,
    BILLING_DATABASE,
    FACTORY,
    IOT_GATEWAY,
    ORDER_MANAGEMENT,
    OTA_ACTIVATION_ENGINE,
    PAYMENT_GATEWAY,
    PAYMENT_PROCESSING,
    TRANSPORT_SYSTEM,
    VEHICLE,
    Arrow,
)
from caas_lab.demo.scenario_run import ScenarioRun, money

FIRST_STATE: Final = "Initiated"
MOVEMENTS: Final = {
    "captured": "charged", "settled": "settled", "refunded": "refunded", "disputed": "lost",
}  # fmt: skip
HOLDS: Final = "authorized_holds"
NOT_SHOWN: Final = frozenset({"Capture accepted", "Gateway called"})
INITIATE: Final = {
    "reservation": "Process Payment Request",
    "final": "Execute Transaction",
    "service": "Process Payment",
    "subscription": "Process Monthly Payment",
}
VERIFICATION_AMOUNT: Final = 100
CALLS: Final = {
    "initiate": ("Process Payment", "POST /transactions"),
    "find": ("Query transaction status", "GET /transactions"),
    "find by reference": ("Query transaction status", "GET /transactions"),
    "capture": ("Commit Charge", "POST /transactions/{id}/capture"),
    "void": ("VOID Charge", "POST /transactions/{id}/void"),
    "refund": ("Refund", "POST /transactions/{id}/refund"),
    "find refunds": ("Query refund status", "GET /transactions/{id}/refunds"),
}
REASON: Final = re.compile(r"\(([^()]+)\)")
PARTNER_REQUESTS: Final = {
    "Order Confirmation": (FACTORY, "Place Factory Order"),
    "Factory refuses order": (FACTORY, "Place Factory Order"),
    "Registration Complete": (ADMIN_REGISTRATION, "Register Vehicle (Matriculation)"),
    "Schedule Delivery": (TRANSPORT_SYSTEM, "Schedule Delivery"),
}
"""The event of an order that records a partner's answer, and the request that it answers."""
COMMANDS: Final = {"activate": "Send Activation Command", "deactivate": "Send Deactivation Command"}
ANSWERS: Final = {
    "SUCCEEDED": "Configuration Applied",
    "FAILED": "Configuration failed",
    "REJECTED": "Configuration refused",
}


async def narrate(run: ScenarioRun) -> None:
    """Add everything that was recorded during a run to its timeline, in order of time."""
    payments = [await run.payment(payment_id) for payment_id in run.payments]
    arrows = [arrow for payment in payments for arrow in await _of_payment(run, payment)]
    for subject in dict.fromkeys(payment["subject"] for payment in payments):
        arrows += await _of_subject(run, subject)
    for order_id in run.orders:
        arrows += _order_events(await run.order(order_id))
    since = run.result.began_at
    recorded = [arrow for arrow in arrows if arrow.at >= since]
    run.result.arrows = sorted([*run.result.arrows, *recorded], key=lambda it: it.at)
    run.result.money = money_moved(payments)


def money_moved(payments: Sequence[dict[str, Any]]) -> str:
    """Summarize the amounts that the payments moved, by kind of movement."""
    sums = {
        word: sum(payment["amounts"][name] for payment in payments)
        for name, word in MOVEMENTS.items()
    }
    transitioned = [
        f"{money(amount).partition(' ')[0]} {word}" for word, amount in sums.items() if amount
    ]
    return ", ".join(transitioned) or "nothing"


async def _of_payment(run: ScenarioRun, payment: dict[str, Any]) -> list[Arrow]:
    if run.testbed.records is None:
        return list(_events(payment, []))
    ids = [UUID(it["id"]) for it in (payment, *payment["refunds"])]
    trail = await run.testbed.records.audit_trail(
        ids, payment["gateway_transaction_id"], run.result.began_at
    )
    return [
        *_vehicle(trail.record),
        *_folded(_call(payment, call) for call in trail.calls),
        *_webhooks(trail.record),
        *_events(payment, trail.record.entries),
        *_notifications(run, payment["subject"], trail.record),
    ]


async def _of_subject(run: ScenarioRun, subject: str) -> list[Arrow]:
    """Return the arrows of what payments are for: an order, a service order, a subscription."""
    if run.testbed.records is None:
        return []
    trail = await run.testbed.records.audit_trail([UUID(subject)], None, run.result.began_at)
    return [*_vehicle(trail.record), *_notifications(run, subject, trail.record)]


def _events(payment: dict[str, Any], entries: Sequence[dict[str, Any]]) -> Iterator[Arrow]:
    """Yield each event of a payment, with the change of its state and its ledger entries."""
    before = FIRST_STATE
    for event in payment["events"]:
        if event["state"] == FIRST_STATE or event["event"] in NOT_SHOWN:
            continue
        changes = [_entry(entry) for entry in entries if entry["seq"] == event["seq"]]
        if event["state"] != before:
            changes.insert(0, f"{payment['type']} payment {before} -> {event['state']}")
            before = event["state"]
        at = datetime.fromisoformat(event["at"])
        yield Arrow(at, PAYMENT_PROCESSING, BILLING_DATABASE, event["event"], tuple(changes))


def _entry(entry: dict[str, Any]) -> str:
    amount = money(entry["amount"], entry["currency"])
    if entry["debit"] == HOLDS:
        return f"ledger: {amount} held, off balance"
    if entry["credit"] == HOLDS:
        return f"ledger: {amount} not held any more"
    return f"ledger: {amount} {entry['debit']} / {entry['credit']}"


def _call(payment: dict[str, Any], call: GatewayCallRecord) -> Arrow:
    what, request = CALLS[call.operation]
    if call.operation == "initiate":
        verifies = payment["type"] == "subscription" and call.amount == VERIFICATION_AMOUNT
        what = "Verify payment method" if verifies else INITIATE[payment["type"]]
    answer = call.summary.replace(payment["gateway_transaction_id"] or "-", "").strip()
    if call.outcome != "answered":
        reason = REASON.search(call.summary)
        outcome = "outcome unknown" if call.outcome == "unknown" else call.outcome
        answer = f"{outcome}, {reason[1] if reason else call.summary}"
    return Arrow(
        call.asked_at, PAYMENT_PROCESSING, PAYMENT_GATEWAY, what, (f"{request}: {answer}",)
    )


def _folded(arrows: Iterator[Arrow]) -> list[Arrow]:
    """Show a query that had the same answer several times once, with how often it was made."""
    shown: list[Arrow] = []
    counts: dict[tuple[str, ...], int] = {}
    for arrow in arrows:
        same = (arrow.what, *arrow.changes)
        counts[same] = counts.get(same, 0) + 1
        if counts[same] == 1 or not arrow.what.startswith("Query"):
            shown.append(arrow)
    return [
        replace(arrow, changes=(*arrow.changes, f"{count} times"))
        if arrow.what.startswith("Query") and (count := counts[arrow.what, *arrow.changes]) > 1
        else arrow
        for arrow in shown
    ]


def _webhooks(record: PaymentAuditTrail) -> Iterator[Arrow]:
    for webhook in record.webhooks:
        kind = webhook["type"]
        what = "Settlement Webhook" if kind == "transaction.settled" else "Webhook"
        yield Arrow(webhook["received_at"], PAYMENT_GATEWAY, PAYMENT_PROCESSING, what, (kind,))


def _vehicle(record: PaymentAuditTrail) -> Iterator[Arrow]:
    """Yield the commands to a vehicle, and its acknowledgements, refused ones too."""
    commands = {command["command_id"]: command for command in record.commands}
    for command in record.commands:
        what = f"{COMMANDS[command['action']]}: {command['service']}"
        yield Arrow(command["created_at"], IOT_GATEWAY, VEHICLE, what)
    for answer in record.answers:
        if answer["refused_because"]:
            what = f"Acknowledgement refused: {answer['refused_because']}"
            yield Arrow(answer["recorded_at"], OTA_ACTIVATION_ENGINE, BILLING_DATABASE, what)
        elif answer["status"] in ANSWERS and answer["command_id"] in commands:
            command = commands[answer["command_id"]]
            is_now = "on" if command["action"] == "activate" else "off"
            reason = answer["status_reason"] or f"{command['service']} is {is_now}, signed"
            what = f"{ANSWERS[answer['status']]}: {reason}"
            yield Arrow(answer["recorded_at"], VEHICLE, IOT_GATEWAY, what)


def _notifications(run: ScenarioRun, subject: str, record: PaymentAuditTrail) -> Iterator[Arrow]:
    everybody = run.names.values()
    names = run.names.get(subject) or (next(iter(everybody)) if len(everybody) == 1 else {})
    for sent in record.notifications:
        title = sent["template"].replace("_", " ")
        what = f"Alert: {sent['kind']}" if sent["kind"] else f"Notification: {title}"
        whom = names.get(sent["audience"], sent["audience"].capitalize())
        yield Arrow(sent["created_at"], "CaaS", whom, what)


def _order_events(order: dict[str, Any]) -> Iterator[Arrow]:
    before = ""
    for event in order["events"]:
        if before:
            whom, what = PARTNER_REQUESTS.get(event["event"], (BILLING_DATABASE, event["event"]))
            answer = () if what == event["event"] else (event["event"],)
            changes = (*answer, f"order {before} -> {event['state']}")
            at = datetime.fromisoformat(event["at"])
            yield Arrow(at, ORDER_MANAGEMENT, whom, what, changes)
        before = event["state"]
