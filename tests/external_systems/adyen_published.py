"""The shapes that Adyen has published: a table to hold requests, answers and webhooks against.

Facts of the OpenAPI descriptions `CheckoutService-v71` and `Webhooks-v1` at
https://github.com/Adyen/adyen-openapi: required fields, types, limits and values, for what is sent
and received here. A field that is not in the table may be published; then it belongs into the table
before it is used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

Check = Callable[[object], list[str]]


@dataclass(frozen=True)
class Shape:
    """An object: the fields that it must have, and further ones that it may have."""

    required: Mapping[str, Check] = field(default_factory=dict)
    optional: Mapping[str, Check] = field(default_factory=dict)

    def __call__(self, value: object) -> list[str]:
        """Return what is wrong with a value, each with its place."""
        if not isinstance(value, dict):
            return [": no object"]
        known = {**self.required, **self.optional}
        missing = [f".{name}: missing" for name in self.required if name not in value]
        unknown = [f".{name}: not published" for name in value if name not in known]
        wrong = [
            f".{name}{problem}"
            for name, given in value.items()
            if name in known
            for problem in known[name](given)
        ]
        return missing + unknown + wrong


def text(chars_min: int = 0, chars_max: int = 100_000) -> Check:
    """Return the check of a text."""

    def check(value: object) -> list[str]:
        right = isinstance(value, str) and chars_min <= len(value) <= chars_max
        return [] if right else [f": {value!r} is no text of {chars_min} to {chars_max}"]

    return check


def one_of(*values: str) -> Check:
    """Return the check of a value that is one of these."""
    return lambda value: [] if value in values else [f": {value!r} is none of {values}"]


def every(check: Check) -> Check:
    """Return the check of a list."""

    def of_list(value: object) -> list[str]:
        if not isinstance(value, list):
            return [": no list"]
        return [f"[{at}]{problem}" for at, one in enumerate(value) for problem in check(one)]

    return of_list


def flag(value: object) -> list[str]:
    """Check a truth value."""
    return [] if isinstance(value, bool) else [f": {value!r} is no truth value"]


def number(value: object) -> list[str]:
    """Check a whole number."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return [] if whole else [f": {value!r} is no number"]


def moment(value: object) -> list[str]:
    """Check a time with its zone."""
    try:
        aware = datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        aware = False
    return [] if aware else [f": {value!r} is no time with a zone"]


AMOUNT: Final = Shape({"currency": text(3, 3), "value": number})
SHOPPER: Final = text(3, 256)
REFERENCE: Final = text(1, 80)
MODEL: Final = one_of("CardOnFile", "Subscription", "UnscheduledCardOnFile")
REFUND_REASON: Final = one_of("FRAUD", "CUSTOMER REQUEST", "RETURN", "DUPLICATE", "OTHER")
CARD: Final = Shape(
    optional={
        "type": one_of("bcmc", "scheme", "networkToken", "giftcard", "card", "clicktopay"),
        "storedPaymentMethodId": text(0, 64), "holderName": text(0, 15_000),
        "encryptedCardNumber": text(0, 15_000), "encryptedExpiryMonth": text(0, 15_000),
        "encryptedExpiryYear": text(0, 15_000), "encryptedSecurityCode": text(0, 15_000),
    }
)  # fmt: skip
ERROR: Final = Shape(
    optional={
        "status": number, "errorCode": text(), "errorType": text(), "message": text(),
        "pspReference": text(),
    }
)  # fmt: skip
_RECEIVED: Final = {
    "merchantAccount": text(), "paymentPspReference": text(), "pspReference": text(),
    "status": one_of("received"),
}  # fmt: skip
_LINK: Final = {
    "description": text(0, 280), "returnUrl": text(0, 8_000), "reusable": flag,
    "manualCapture": flag, "shopperReference": SHOPPER, "shopperLocale": text(0, 32),
    "storePaymentMethodMode": one_of("askForConsent", "disabled", "enabled"),
    "recurringProcessingModel": MODEL, "expiresAt": moment,
}  # fmt: skip

REQUESTS: Final[Mapping[str, Shape]] = {
    "payments": Shape(
        {"amount": AMOUNT, "merchantAccount": text(), "paymentMethod": CARD,
         "reference": REFERENCE, "returnUrl": text(1, 8_000)},
        {"shopperReference": SHOPPER, "recurringProcessingModel": MODEL,
         "shopperInteraction": one_of("Ecommerce", "ContAuth", "Moto", "POS"),
         "storePaymentMethod": flag, "channel": one_of("iOS", "Android", "Web"),
         "additionalData": Shape(optional={"manualCapture": one_of("true", "false")})},
    ),
    "paymentLinks": Shape(
        {"amount": AMOUNT, "merchantAccount": text(), "reference": REFERENCE}, _LINK
    ),
    "paymentLinks/": Shape({"status": one_of("expired")}),
    "captures": Shape({"amount": AMOUNT, "merchantAccount": text()}, {"reference": REFERENCE}),
    "cancels": Shape({"merchantAccount": text()}, {"reference": REFERENCE}),
    "refunds": Shape(
        {"amount": AMOUNT, "merchantAccount": text()},
        {"reference": REFERENCE,
         "merchantRefundReason": REFUND_REASON},
    ),
    "paymentMethods": Shape({"merchantAccount": text()}),
}  # fmt: skip
"""What may be sent, by the operation; `paymentLinks/` is the change of a link."""

_PAID_WITH: Final = Shape(
    optional={
        "tokenization.storedPaymentMethodId": text(), "tokenization.shopperReference": text(),
        "tokenization.store.operationType": one_of("created", "updated", "alreadyExisting"),
        "paymentLinkId": text(), "hmacSignature": text(),
    }
)  # fmt: skip
_LINK_ANSWER: Final = Shape(
    {"amount": AMOUNT, "id": text(), "merchantAccount": text(), "reference": REFERENCE,
     "status": one_of("active", "completed", "expired", "paid", "paymentPending"), "url": text()},
    _LINK,
)  # fmt: skip
ANSWERS: Final[Mapping[str, Shape]] = {
    "payments": Shape(
        optional={
            "resultCode": one_of(
                "AuthenticationFinished", "AuthenticationNotRequired", "Authorised", "Cancelled",
                "ChallengeShopper", "Error", "IdentifyShopper", "PartiallyAuthorised", "Pending",
                "PresentToShopper", "Received", "RedirectShopper", "Refused", "Success",
            ),
            "pspReference": text(), "merchantReference": text(), "amount": AMOUNT,
            "refusalReason": text(), "refusalReasonCode": text(), "additionalData": _PAID_WITH,
            "action": Shape(
                {"type": one_of("redirect")},
                {"url": text(), "method": text(), "paymentMethodType": text()},
            ),
        }
    ),
    "paymentLinks": _LINK_ANSWER,
    "paymentLinks/": _LINK_ANSWER,
    "captures": Shape({**_RECEIVED, "amount": AMOUNT}, {"reference": text()}),
    "cancels": Shape(_RECEIVED, {"reference": text()}),
    "refunds": Shape({**_RECEIVED, "amount": AMOUNT},
                     {"reference": text(), "merchantRefundReason": REFUND_REASON}),
    "paymentMethods": Shape(
        optional={"paymentMethods": every(Shape(optional={"name": text(), "type": text()}))}
    ),
}  # fmt: skip
_SIGNED: Final = Shape(optional={"hmacSignature": text()})
_DISPUTE: Final = Shape(optional={"hmacSignature": text(), "chargebackReasonCode": text()})
_DATA: Final[Mapping[str, Shape]] = {
    "AUTHORISATION": _PAID_WITH,
    **dict.fromkeys(("CHARGEBACK", "CHARGEBACK_REVERSED", "NOTIFICATION_OF_CHARGEBACK",
                     "SECOND_CHARGEBACK", "REQUEST_FOR_INFORMATION"), _DISPUTE),
    **dict.fromkeys(("CAPTURE", "CANCELLATION", "EXPIRE", "REFUND", "CAPTURE_FAILED",
                     "REFUND_FAILED", "REPORT_AVAILABLE"), _SIGNED),
}  # fmt: skip
"""The additional data of each event that is sent here."""


def _item(code: str) -> Shape:
    first = code == "AUTHORISATION"
    more = {"operations": every(text())} if first else {"originalReference": text()}
    needed = {"reason": text(1)} if code == "REPORT_AVAILABLE" else {}
    return Shape(
        {"pspReference": text(1), "merchantReference": text(), "merchantAccountCode": text(1),
         "eventDate": moment, "eventCode": one_of(code), "amount": AMOUNT,
         "success": one_of("true", "false"), **needed},
        {"additionalData": _DATA[code], "reason": text(), "paymentMethod": text(), **more},
    )  # fmt: skip


def problems_of_webhook(body: Any) -> list[str]:
    """Return what is wrong with a standard webhook."""
    codes = [it["NotificationRequestItem"]["eventCode"] for it in body["notificationItems"]]
    wrong = [problem for code in codes if code not in _DATA for problem in [f"{code}: unknown"]]
    envelope = Shape(
        {"live": one_of("true", "false"),
         "notificationItems": every(Shape({"NotificationRequestItem": lambda _: []}))}
    )  # fmt: skip
    items = [it["NotificationRequestItem"] for it in body["notificationItems"]]
    return wrong + envelope(body) + [
        f"{code}{problem}"
        for code, item in zip(codes, items, strict=True) if code in _DATA
        for problem in _item(code)(item)
    ]  # fmt: skip


def operation_of(path: str) -> str:
    """Return the operation of a path, as the tables name it."""
    parts = path.strip("/").split("/")[1:]
    return "paymentLinks/" if parts[0] == "paymentLinks" and len(parts) > 1 else parts[-1]
