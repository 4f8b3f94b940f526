"""Captures, cancels and refunds of the simulated Adyen: received first, reported later."""

from typing import Any, Final

import msgspec

from caas_simulators.adyen.payments import PAYMENT, own
from caas_simulators.adyen.refusals import AdyenRefusal, taken
from caas_simulators.adyen.requests import CancelRequest, CaptureRequest, RefundRequest
from caas_simulators.adyen.world import Json, World

MODIFICATION: Final = "modification"
ASKED: Final[dict[str, type[Any]]] = {
    "captures": CaptureRequest, "cancels": CancelRequest, "refunds": RefundRequest,
}  # fmt: skip
CODE_OF: Final = {"captures": "CAPTURE", "cancels": "CANCELLATION", "refunds": "REFUND"}
INSUFFICIENT: Final = "Insufficient balance on payment"
"""The reason of a modification for which nothing is left, whatever has become of the rest."""
NOT_CAPTURED: Final = "Transaction hasn't been captured, refund not possible"


def modify(world: World, payment_id: str, kind: str, body: bytes) -> Json:
    """Answer a capture, cancel or refund: it is received."""
    asked = taken(body, ASKED[kind])
    own(world, asked.merchant_account)
    payment = world.store.find(PAYMENT, payment_id)
    if payment is None or payment["state"] in ("received", "refused"):
        raise AdyenRefusal("Original pspReference required for this operation", "167")
    amount = None if kind == "cancels" else asked.amount
    if amount is not None:
        _check_amount(payment, amount.value, amount.currency)
    due = world.at(world.settings.modification_seconds)
    one = world.store.put({
        "id": world.psp_reference(), "object": MODIFICATION, "created": world.store.now(),
        "payment": payment_id, "kind": kind, "due": due, "decided": False,
        "value": None if amount is None else amount.value,
        "reference": asked.reference or payment["reference"],
    })  # fmt: skip
    world.agenda.note(due, MODIFICATION, one["id"])
    return {
        **msgspec.to_builtins(asked), "paymentPspReference": payment_id,
        "pspReference": one["id"], "status": "received",
    }  # fmt: skip


def _check_amount(payment: Json, value: int, currency: str) -> None:
    if currency != payment["currency"]:
        raise AdyenRefusal("Unsupported currency specified", "138")
    if value == 0:
        raise AdyenRefusal("Invalid amount specified", "137")


def decide(world: World, identifier: str) -> None:
    """Decide a modification, and report it under its own reference where it has one."""
    one = world.store.find(MODIFICATION, identifier)
    if one is None or one["decided"]:
        return
    payment = world.store.get(PAYMENT, one["payment"])
    refused, changed = _decision(payment, one)
    world.store.put(one | {"decided": True, "done": not refused})
    after = world.store.put(payment | changed)
    shown = after | {"value": one["value"] if one["value"] is not None else payment["value"]}
    world.report(
        CODE_OF[one["kind"]], shown, pspReference=one["id"], originalReference=payment["id"],
        merchantReference=one["reference"], reason=refused,
        success="false" if refused else "true",
    )  # fmt: skip


def resume(world: World) -> None:
    """Note again what was due when the simulator stopped."""
    for one in world.store.some(MODIFICATION, decided=False):
        world.agenda.note(one["due"], MODIFICATION, one["id"])


def _decision(payment: Json, one: Json) -> tuple[str, Json]:
    """Return why a modification is refused, or what it changes."""
    value, is_held = one["value"], payment["state"] == "authorised"
    match one["kind"]:
        case "refunds":
            return _refunded(payment, value)
        case "cancels":
            return ("", {"state": "cancelled"}) if is_held else (INSUFFICIENT, {})
        case _ if not is_held or value > payment["value"]:
            return INSUFFICIENT, {}
        case _:
            return "", {"state": "captured", "captured": value, "capture": one["id"]}


def _refunded(payment: Json, value: int) -> tuple[str, Json]:
    if payment["state"] != "captured":
        return NOT_CAPTURED, {}
    if payment["refunded"] + value > payment["captured"]:
        return INSUFFICIENT, {}
    return "", {"refunded": payment["refunded"] + value}
