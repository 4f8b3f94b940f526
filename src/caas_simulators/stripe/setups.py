"""SetupIntents: saving a card for charges without the cardholder, without taking any money."""

from typing import Final

from caas_simulators.stripe import customers, intents
from caas_simulators.stripe.cards import message_of
from caas_simulators.stripe.parameters import BOOL, EXPAND, LIST, METADATA, TEXT, Form
from caas_simulators.stripe.refusals import Json, StripeRefusal, invalid, unexpected
from caas_simulators.stripe.shapes import shown
from caas_simulators.stripe.world import World

CONFIRM: Final[Form] = {**EXPAND, "payment_method": TEXT, "return_url": TEXT}
UPDATE: Final[Form] = {**EXPAND, "description": TEXT, "metadata": METADATA}
CREATE: Final[Form] = {
    **CONFIRM, **UPDATE, "confirm": BOOL, "customer": TEXT,
    "payment_method_types": [("card",)], "usage": ("off_session", "on_session"),
}  # fmt: skip
SETUPS: Final[Form] = {**LIST, "customer": TEXT, "payment_method": TEXT}
CANCEL: Final[Form] = {
    **EXPAND, "cancellation_reason": ("abandoned", "duplicate", "requested_by_customer"),
}  # fmt: skip
UNEXPECTED: Final = "setup_intent_unexpected_state"


def create(world: World, asked: Json) -> Json:
    """Make a SetupIntent, and confirm it at once where that is asked for.

    Raises:
        StripeRefusal: a parameter is wrong, or the card cannot be saved.
    """
    if "customer" in asked:
        world.store.get("customer", asked["customer"], param="customer", status=400)
    if "return_url" in asked and not asked.get("confirm"):
        raise invalid("return_url can only be used with confirm=true.", "return_url")
    if "payment_method" in asked:
        method = customers.usable(world, asked["payment_method"], asked.get("customer"), "")
        asked = {**asked, "payment_method": method["id"]}
    intent = blank(world, asked)
    world.emit("setup_intent.created", intent)
    return confirm(world, intent, asked) if asked.get("confirm") else intent


def blank(world: World, asked: Json) -> Json:
    """Make a SetupIntent that nothing has been done with."""
    intent = world.new(
        "setup_intent", "seti", application=None, automatic_payment_methods=None,
        cancellation_reason=None, customer=asked.get("customer"),
        description=asked.get("description"), flow_directions=None, last_setup_error=None,
        latest_attempt=None, mandate=None, metadata=asked.get("metadata", {}), next_action=None,
        on_behalf_of=None, payment_method=None, payment_method_configuration_details=None,
        payment_method_options={}, payment_method_types=["card"], single_use_mandate=None,
        status="requires_payment_method", usage=asked.get("usage", "off_session"), _session=None,
        _return_url=None,
    )  # fmt: skip
    intent["client_secret"] = f"{intent['id']}_secret_{intent['id'][-8:]}"
    return intent


def confirm(world: World, intent: Json, asked: Json) -> Json:
    """Try to save a card.

    Raises:
        StripeRefusal: the state does not allow it, or the card cannot be saved.
    """
    token = asked.get("payment_method") or intent["payment_method"]
    if token is None or intent["status"] not in (
        "requires_payment_method", "requires_confirmation"
    ):  # fmt: skip
        raise unexpected(
            f"You cannot confirm this SetupIntent: its status is {intent['status']}.", UNEXPECTED,
            setup_intent=shown(world.store, intent),
        )  # fmt: skip
    method = customers.usable(world, token, intent["customer"], intent["id"])
    intent |= {"payment_method": method["id"], "_return_url": asked.get("return_url")}
    return attempt(world, intent, method)


def attempt(world: World, intent: Json, method: Json, *, authenticated: bool = False) -> Json:
    """Ask the cardholder's bank whether the card may be charged later.

    Raises:
        StripeRefusal: it may not.
    """
    card = customers.card_of(method)
    if card.authentication is not None and not authenticated:
        return intents.ask_cardholder(world, intent, "setup_intent")
    if not card.attaches or card.decline_code == "fraudulent":
        raise _refused(world, intent, card.code or "card_declined", card.decline_code)
    method["_set_up"] = True
    world.store.put(method)
    if intent["customer"] is not None:
        customers.save(world, method, intent["customer"])
    intent |= {"status": "succeeded", "next_action": None, "last_setup_error": None}
    world.emit("setup_intent.succeeded", world.store.put(intent))
    return intent


def failed(world: World, intent: Json, code: str, decline_code: str | None = None) -> Json:
    """Note that the card could not be saved."""
    error = {"type": "card_error", "code": code, "message": message_of(code, decline_code)}
    if decline_code:
        error["decline_code"] = decline_code
    intent |= {"status": "requires_payment_method", "last_setup_error": error,
               "payment_method": None, "next_action": None}  # fmt: skip
    world.emit("setup_intent.setup_failed", world.store.put(intent))
    return intent


def _refused(world: World, intent: Json, code: str, decline_code: str | None) -> StripeRefusal:
    failed(world, intent, code, decline_code)
    return customers.declined(code, decline_code, setup_intent=shown(world.store, intent))


def cancel(world: World, intent: Json, asked: Json) -> Json:
    """Cancel a SetupIntent that has not succeeded.

    Raises:
        StripeRefusal: it is too late, or its Checkout Session is still open.
    """
    session = world.store.find("checkout.session", intent["_session"])
    if session is not None and session["status"] == "open":
        raise unexpected(intents.BY_CHECKOUT, UNEXPECTED)
    if intent["status"] not in intents.OPEN:
        raise unexpected(
            f"You cannot cancel this SetupIntent because it has a status of {intent['status']}.",
            UNEXPECTED, setup_intent=shown(world.store, intent),
        )  # fmt: skip
    intent |= {"status": "canceled", "next_action": None,
               "cancellation_reason": asked.get("cancellation_reason")}  # fmt: skip
    world.emit("setup_intent.canceled", world.store.put(intent))
    return intent
