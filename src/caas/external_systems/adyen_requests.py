"""What is sent to Adyen: the bodies of payments and payment links, and the key of a request.

Rules a change must keep:
- Every field has the shape that Adyen publishes: unknown fields are refused there.
- A key longer than Adyen takes is hashed, always in the same way.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from caas.external_systems.payment_gateway import (
    CaptureMode,
    ChargeTerms,
    Initiator,
    TransactionRequest,
)

KEY_CHARS_MAX: Final = 64
DESCRIPTION_CHARS_MAX: Final = 280
STORED: Final = "storedPaymentMethodId"
METHOD_FIELDS: Final = frozenset(
    {
        "type", STORED, "holderName", "encryptedCardNumber", "encryptedExpiryMonth",
        "encryptedExpiryYear", "encryptedSecurityCode",
    }
)  # fmt: skip
"""What a payment method from Adyen's own form may hold; a card's number is encrypted by it."""


def payment(
    request: TransactionRequest, method: str, merchant: str, return_url: str
) -> Mapping[str, object]:
    """Return the body of `POST /payments`.

    Raises:
        ValueError: the method is neither a token nor what Adyen's form has encrypted.
    """
    given = _method(method)
    is_manual = request.capture is CaptureMode.MANUAL
    return {
        **_of(request, merchant),
        "paymentMethod": given,
        "returnUrl": request.return_url or return_url,
        "channel": "Web",
        "additionalData": {"manualCapture": "true" if is_manual else "false"},
        **_recurring(request.terms, is_stored=STORED in given),
    }


def link(request: TransactionRequest, merchant: str, return_url: str) -> Mapping[str, object]:
    """Return the body of `POST /paymentLinks`; what is paid with is stored for later months."""
    return {
        **_of(request, merchant),
        "description": (request.description or request.reference)[:DESCRIPTION_CHARS_MAX],
        "returnUrl": request.return_url or return_url,
        "reusable": False,
        "manualCapture": request.capture is CaptureMode.MANUAL,
        "storePaymentMethodMode": "enabled",
        "recurringProcessingModel": "Subscription",
    }


def encoded(body: Mapping[str, object]) -> bytes:
    """Return a body as it is sent."""
    return msgspec.json.encode(body)


def fitting(key: str) -> str:
    """Return a key that Adyen takes."""
    return key if len(key) <= KEY_CHARS_MAX else hashlib.sha256(key.encode()).hexdigest()


def _of(request: TransactionRequest, merchant: str) -> Mapping[str, object]:
    return {
        "merchantAccount": merchant,
        "reference": request.reference,
        "amount": {"value": request.amount, "currency": request.currency},
        "shopperReference": request.customer_reference,
    }


def _method(method: str) -> Mapping[str, str]:
    """Return a stored method, or what Adyen's own form has encrypted."""
    if not method.startswith("{"):
        return {"type": "scheme", STORED: method}
    given = msgspec.json.decode(method, type=dict[str, str])
    if not given or not given.keys() <= METHOD_FIELDS:
        raise ValueError("not what Adyen's form has encrypted")
    return given


def _recurring(terms: ChargeTerms, *, is_stored: bool) -> Mapping[str, object]:
    """Return how a method is stored, or how a stored one is charged.

    As the examples of Adyen's OpenAPI have it: the first payment of a card is `Ecommerce`, and each
    payment of a stored one `ContAuth`, where the model says whether its shopper takes part.
    """
    if not is_stored:
        return {
            "shopperInteraction": "Ecommerce",
            "recurringProcessingModel": "Subscription",
            "storePaymentMethod": True,
        }
    by_merchant = terms.initiator is Initiator.MERCHANT
    return {
        "shopperInteraction": "ContAuth",
        "recurringProcessingModel": "Subscription" if by_merchant else "CardOnFile",
    }
