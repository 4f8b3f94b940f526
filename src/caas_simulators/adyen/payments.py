"""Payments of the simulated Adyen: authorised, captured, cancelled, refunded, disputed, expired.

Rules: a modification is received, and decided later; what it decides is reported, never shown.
"""

from typing import Final

from caas_simulators.adyen import cards
from caas_simulators.adyen.cards import Outcome
from caas_simulators.adyen.refusals import AdyenRefusal, amount_of, checked
from caas_simulators.adyen.world import Json, World

PAYMENT: Final = "payment"
MODIFICATION: Final = "modification"
TOKEN: Final = "token"  # noqa: S105  # a kind of object
REFERENCE_MAX: Final = 80
SHOPPER_MIN: Final = 3
INTERACTIONS: Final = ("Ecommerce", "ContAuth")
MODELS: Final = ("CardOnFile", "Subscription", "UnscheduledCardOnFile")
REQUIRED: Final = {
    "amount": dict, "merchantAccount": str, "paymentMethod": dict, "reference": str,
    "returnUrl": str,
}  # fmt: skip
OPTIONAL: Final = {
    "shopperReference": str, "shopperInteraction": str, "recurringProcessingModel": str,
    "storePaymentMethod": bool, "channel": str, "additionalData": dict, "captureDelayHours": int,
    "metadata": dict, "shopperEmail": str, "origin": str, "browserInfo": dict,
}  # fmt: skip
Fields = dict[str, type]
ASKED: Final[dict[str, tuple[Fields, Fields]]] = {
    "captures": ({"amount": dict, "merchantAccount": str}, {"reference": str}),
    "cancels": ({"merchantAccount": str}, {"reference": str}),
    "refunds": (
        {"amount": dict, "merchantAccount": str},
        {"reference": str, "merchantRefundReason": str},
    ),
}
INSUFFICIENT: Final = "Insufficient balance on payment"
ALREADY_CANCELLED: Final = "Transaction was already cancelled"
ALREADY_CAPTURED: Final = "Transaction was already captured, cancel not possible"
EXPIRED: Final = "Authorisation expired"
NOT_CAPTURED: Final = "Transaction hasn't been captured, refund not possible"


def pay(world: World, body: bytes) -> Json:
    """Answer `POST /payments`."""
    asked = checked(body, REQUIRED, OPTIONAL)
    own(world, asked)
    value, currency = amount_of(asked)
    _check(asked)
    card = _card_of(world, asked)
    by_merchant = asked.get("shopperInteraction") == "ContAuth"
    if card["number"] in cards.CHALLENGED and not by_merchant:
        url = f"{world.public_url}/redirect/{world.psp_reference()}"
        return {"resultCode": "RedirectShopper",
                "action": {"type": "redirect", "paymentMethodType": "scheme", "method": "GET",
                           "url": url}}  # fmt: skip
    manual = asked.get("additionalData", {}).get("manualCapture") == "true"
    payment = new_payment(
        world, asked["reference"], (value, currency), manual=manual,
        shopper=asked.get("shopperReference"),
    )  # fmt: skip
    outcome = cards.outcome_of(card["number"], card["holder"])
    stores = bool(asked.get("storePaymentMethod")) and "token" not in card
    data = authorise(world, payment, outcome, card if stores else None, card.get("token"))
    answer = {
        "pspReference": payment["id"], "resultCode": outcome.result,
        "merchantReference": payment["reference"],
        "amount": {"value": value, "currency": currency}, "additionalData": data,
    }  # fmt: skip
    if outcome.code:
        answer |= {"refusalReason": outcome.reason, "refusalReasonCode": outcome.code}
    return answer


def new_payment(
    world: World, reference: str, amount: tuple[int, str], *, manual: bool,
    shopper: str | None = None, link: str | None = None,
) -> Json:  # fmt: skip
    """Open a payment."""
    value, currency = amount
    return world.store.put({
        "id": world.psp_reference(), "object": PAYMENT, "created": world.store.now(),
        "reference": reference, "value": value, "currency": currency, "manual": manual,
        "shopper": shopper, "link": link, "state": "received", "captured": 0, "refunded": 0,
        "expires": None,
    })  # fmt: skip


def authorise(
    world: World, payment: Json, outcome: Outcome, stores: Json | None, token: str | None
) -> dict[str, str]:
    """Decide an authorisation, report it, and return the additional data of its answer."""
    data: dict[str, str] = {}
    if payment["link"] is not None:
        data["paymentLinkId"] = payment["link"]
    if outcome.result != "Authorised":
        world.store.put(payment | {"state": "refused"})
        reason = f"{outcome.code}:{outcome.reason}"
        world.report("AUTHORISATION", payment, success="false", reason=reason, additionalData=data)
        return data
    if stores is not None and payment["shopper"]:
        token = _store_method(world, stores, payment["shopper"])
    if token is not None and payment["shopper"]:
        data["tokenization.storedPaymentMethodId"] = token
        data["tokenization.shopperReference"] = payment["shopper"]
    expires = world.at(world.settings.authorization_seconds)
    held = world.store.put(payment | {"state": "authorised", "expires": expires})
    world.agenda.note(expires, "expire", payment["id"])
    world.report("AUTHORISATION", held, additionalData=dict(data),
                 operations=["CANCEL", "CAPTURE", "REFUND"])  # fmt: skip
    if not payment["manual"]:
        capture = held | {"state": "captured", "captured": payment["value"]}
        world.store.put(capture)
        world.report("CAPTURE", capture, pspReference=world.psp_reference(),
                     originalReference=payment["id"])  # fmt: skip
    return data


def modify(world: World, payment_id: str, kind: str, body: bytes) -> Json:
    """Answer a capture, cancel or refund: it is received."""
    required, optional = ASKED[kind]
    asked = checked(body, required, optional)
    own(world, asked)
    payment = world.store.find(PAYMENT, payment_id)
    if payment is None or payment["state"] in ("received", "refused"):
        raise AdyenRefusal("Original pspReference required for this operation", "167")
    value = None
    if kind != "cancels":
        value, currency = amount_of(asked)
        if currency != payment["currency"]:
            raise AdyenRefusal("Currency is not that of the payment", "138")
        if value == 0:
            raise AdyenRefusal("Invalid amount specified", "137")
    due = world.at(world.settings.modification_seconds)
    one = world.store.put({
        "id": world.psp_reference(), "object": MODIFICATION, "created": world.store.now(),
        "payment": payment_id, "kind": kind, "value": value, "due": due, "decided": False,
    })  # fmt: skip
    world.agenda.note(due, MODIFICATION, one["id"])
    answer: Json = {
        "merchantAccount": asked["merchantAccount"], "paymentPspReference": payment_id,
        "pspReference": one["id"], "status": "received",
    }  # fmt: skip
    if "reference" in asked:
        answer["reference"] = asked["reference"]
    return answer | ({"amount": asked["amount"]} if value is not None else {})


def decide(world: World, identifier: str) -> None:
    """Decide a modification, and report it."""
    one = world.store.find(MODIFICATION, identifier)
    if one is None or one["decided"]:
        return
    world.store.put(one | {"decided": True})
    payment = world.store.get(PAYMENT, one["payment"])
    code = {"captures": "CAPTURE", "cancels": "CANCELLATION", "refunds": "REFUND"}[one["kind"]]
    refused, changed = _decision(payment, one)
    after = world.store.put(payment | changed)
    shown = after | {"value": one["value"] if one["value"] is not None else payment["value"]}
    world.report(
        code, shown, pspReference=one["id"], originalReference=payment["id"], reason=refused,
        success="false" if refused else "true",
    )  # fmt: skip


def expire(world: World, identifier: str) -> None:
    """Let an authorisation expire that was neither captured nor cancelled."""
    payment = world.store.find(PAYMENT, identifier)
    if payment is not None and payment["state"] == "authorised":
        world.report("EXPIRE", world.store.put(payment | {"state": "expired"}))


def resume(world: World) -> None:
    """Note again what was due when the simulator stopped."""
    for payment in world.store.some(PAYMENT, state="authorised"):
        world.agenda.note(payment["expires"], "expire", payment["id"])
    for one in world.store.some(MODIFICATION, decided=False):
        world.agenda.note(one["due"], MODIFICATION, one["id"])


def own(world: World, asked: Json) -> None:
    """Check the merchant account.

    Raises:
        AdyenRefusal: it is not the one of these credentials.
    """
    if asked["merchantAccount"] != world.settings.merchant_account:
        raise AdyenRefusal("Invalid Merchant Account", "901", status=403, kind="security")


def _decision(payment: Json, one: Json) -> tuple[str, Json]:
    """Return why a modification is refused, or what it changes."""
    state, value = payment["state"], one["value"]
    if one["kind"] == "refunds":
        return _refunded(payment, value)
    over = {"expired": EXPIRED, "cancelled": ALREADY_CANCELLED}.get(state)
    if over is not None:
        return over, {}
    if one["kind"] == "cancels":
        return (ALREADY_CAPTURED, {}) if state == "captured" else ("", {"state": "cancelled"})
    if state == "captured" or value > payment["value"]:
        return INSUFFICIENT, {}
    return "", {"state": "captured", "captured": value}


def _refunded(payment: Json, value: int) -> tuple[str, Json]:
    if payment["state"] != "captured":
        return NOT_CAPTURED, {}
    if payment["refunded"] + value > payment["captured"]:
        return INSUFFICIENT, {}
    return "", {"refunded": payment["refunded"] + value}


def _check(asked: Json) -> None:
    if not 0 < len(asked["reference"]) <= REFERENCE_MAX:
        raise AdyenRefusal("Reference Missing", "130")
    if not asked["returnUrl"].startswith(("http://", "https://")):
        raise AdyenRefusal("Invalid returnUrl", "702")
    if asked.get("shopperInteraction", INTERACTIONS[0]) not in INTERACTIONS:
        raise AdyenRefusal("Invalid shopperInteraction", "702")
    if asked.get("recurringProcessingModel", MODELS[0]) not in MODELS:
        raise AdyenRefusal("Invalid recurringProcessingModel", "702")
    shopper = asked.get("shopperReference")
    needs = asked.get("storePaymentMethod") or "storedPaymentMethodId" in asked["paymentMethod"]
    if needs and (shopper is None or len(shopper) < SHOPPER_MIN):
        raise AdyenRefusal("Required field 'shopperReference' is not provided.", "704_shopper")


def _card_of(world: World, asked: Json) -> Json:
    method = asked["paymentMethod"]
    stored = method.get("storedPaymentMethodId")
    if stored is not None:
        token = world.store.find(TOKEN, stored)
        if token is None or token["shopper"] != asked["shopperReference"]:
            raise AdyenRefusal("PaymentDetail not found", "803")
        return {"number": token["number"], "holder": token["holder"], "token": stored}
    if asked.get("shopperInteraction") == "ContAuth":
        raise AdyenRefusal("Contract not found", "800")
    number = method.get("encryptedCardNumber", "")
    if not number.startswith(cards.ENCRYPTED):
        raise AdyenRefusal("Unable to decrypt data", "174")
    return {"number": number.removeprefix(cards.ENCRYPTED), "holder": method.get("holderName", "")}


def _store_method(world: World, card: Json, shopper: str) -> str:
    one = world.store.put({
        "id": world.psp_reference(), "object": TOKEN, "created": world.store.now(),
        "number": card["number"], "holder": card["holder"], "shopper": shopper,
    })  # fmt: skip
    return str(one["id"])
