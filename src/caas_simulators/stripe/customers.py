"""Customers and their PaymentMethods: what may be saved, and what may be used once only."""

from typing import Any, Final

from caas_simulators.stripe.cards import Card, card_of_number, card_of_token, message_of
from caas_simulators.stripe.parameters import EXPAND, LIST, METADATA, TEXT, Form
from caas_simulators.stripe.refusals import Json, StripeRefusal, unexpected
from caas_simulators.stripe.world import World

CUSTOMER: Final[Form] = {
    **EXPAND, "name": TEXT, "email": TEXT, "description": TEXT, "metadata": METADATA,
    "preferred_locales": [TEXT],
}  # fmt: skip
CUSTOMERS: Final[Form] = {**LIST, "email": TEXT}
METHOD: Final[Form] = {
    **EXPAND, "type!": ("card",), "metadata": METADATA,
    "card": {"token": TEXT, "number": TEXT, "exp_month": TEXT, "exp_year": TEXT, "cvc": TEXT},
}  # fmt: skip
ATTACH: Final[Form] = {**EXPAND, "customer!": TEXT}
METHODS: Final[Form] = {**LIST, "type": ("card",)}
TOKENS: Final = {"tok_visa": "pm_card_visa", "tok_mastercard": "pm_card_mastercard"}
USED: Final = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer "
    "attachment, shared with a connected account without Customer attachment, or was detached from "
    "a Customer. It may not be used again. To use a PaymentMethod multiple times, you must attach "
    "it to a Customer first."
)
NOT_YOURS: Final = (
    "The provided PaymentMethod is attached to a Customer. Provide this Customer in the request."
)
NO_BILLING: Final[Json] = {"address": None, "email": None, "name": None, "phone": None}


def create_customer(world: World, asked: Json) -> Json:
    """Make a customer."""
    return world.new(
        "customer", "cus", address=None, balance=0, currency=None, default_source=None,
        delinquent=False, description=asked.get("description"), discount=None,
        email=asked.get("email"), invoice_prefix="CAAS", invoice_settings=None,
        metadata=asked.get("metadata", {}), name=asked.get("name"), phone=None,
        preferred_locales=asked.get("preferred_locales", []), shipping=None, tax_exempt="none",
        test_clock=None,
    )  # fmt: skip


def delete_customer(world: World, customer: Json, asked: Json) -> Json:
    """Delete a customer for good; saved PaymentMethods are detached, payments stay."""
    del asked
    for method in tuple(world.store.some("payment_method", customer=customer["id"])):
        detach(world, method)
    world.store.remove(customer)
    deleted: Json = {"id": customer["id"], "object": "customer", "deleted": True}
    world.emit("customer.deleted", customer)
    return deleted


def method_of(world: World, card: Card, **fields: object) -> Json:
    """Make a PaymentMethod of a card."""
    details = {
        "brand": card.brand, "last4": card.last4, "exp_month": 12, "exp_year": 2034,
        "country": "ES", "funding": "credit", "fingerprint": f"fp{card.last4}",
        "checks": {"address_line1_check": None, "address_postal_code_check": None,
                   "cvc_check": "pass"},
        "generated_from": None, "networks": {"available": [card.brand], "preferred": None},
        "three_d_secure_usage": {"supported": True}, "wallet": None, "display_brand": card.brand,
        "regulated_status": "unregulated",
    }  # fmt: skip
    return world.new(
        "payment_method", "pm", type="card", card=details, billing_details=NO_BILLING,
        customer=None, metadata={}, allow_redisplay="unspecified", _number=card.number,
        _set_up=card.set_up, _used_by=None, **fields,
    )  # fmt: skip


def create_method(world: World, asked: Json) -> Json:
    """Make a PaymentMethod of a token; card numbers are not taken by the API.

    Raises:
        StripeRefusal: there is no token, or a card number.
    """
    given = asked.get("card", {})
    if "number" in given:
        raise StripeRefusal(
            "Sending credit card numbers directly to the Stripe API is generally unsafe.",
            status=402, stored=False,
        )  # fmt: skip
    token = given.get("token", "")
    card = card_of_token(TOKENS.get(token, token))
    if card is None:
        raise StripeRefusal(f"No such token: '{token}'", code="resource_missing",
                            param="card[token]")  # fmt: skip
    return method_of(world, card)


def card_of(method: Json) -> Card:
    """Return the card behind a PaymentMethod."""
    card = card_of_number(method["_number"])
    assert card is not None, "a PaymentMethod is made of a test card"
    return card


def usable(world: World, token: str, customer: str | None, intent: str) -> Json:
    """Return the PaymentMethod that an intent may use.

    Raises:
        StripeRefusal: there is none, it is another customer's, or it was used up.
    """
    card = card_of_token(token)
    if card is not None:
        return method_of(world, card)
    method = world.store.find("payment_method", token)
    if method is None:
        raise StripeRefusal(f"No such PaymentMethod: '{token}'", code="resource_missing",
                            param="payment_method")  # fmt: skip
    if method["customer"] is not None and method["customer"] != customer:
        raise StripeRefusal(NOT_YOURS, param="payment_method")
    if method["customer"] is None and method["_used_by"] not in (None, intent):
        raise StripeRefusal(USED, code="payment_method_unexpected_state", param="payment_method")
    return method


def attach(world: World, method: Json, customer: str) -> Json:
    """Save a PaymentMethod for a customer.

    Raises:
        StripeRefusal: it is another customer's, was used up, or its card cannot be saved.
    """
    world.store.get("customer", customer, param="customer", status=400)
    if method["customer"] not in (None, customer):
        raise unexpected(
            "This PaymentMethod is attached to another Customer.", "payment_method_unexpected_state"
        )
    if method["customer"] is None and method["_used_by"] is not None:
        raise StripeRefusal(USED, code="payment_method_unexpected_state")
    card = card_of(method)
    if not card.attaches:
        raise declined(card.code or "card_declined", card.decline_code)
    return save(world, method, customer)


def save(world: World, method: Json, customer: str) -> Json:
    """Attach a PaymentMethod and say so."""
    if method["customer"] != customer:
        method["customer"] = customer
        world.store.put(method)
        world.emit("payment_method.attached", method)
    return method


def detach(world: World, method: Json) -> Json:
    """Take a PaymentMethod off its customer; it cannot be used again.

    Raises:
        StripeRefusal: it belongs to no customer.
    """
    if method["customer"] is None:
        raise unexpected("The payment method is not attached to a customer.",
                         "payment_method_unexpected_state")  # fmt: skip
    method |= {"customer": None, "_used_by": "detached"}
    world.store.put(method)
    world.emit("payment_method.detached", method)
    return method


def declined(code: str, decline_code: str | None, **facts: Any) -> StripeRefusal:
    """Return a card error."""
    return StripeRefusal(
        message_of(code, decline_code), code=code, status=402, type="card_error",
        decline_code=decline_code, **facts,
    )  # fmt: skip
