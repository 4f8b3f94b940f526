"""PaymentIntents: their states, who may confirm them and when, and how long a hold lasts."""

from typing import Final

from caas_simulators.stripe import charges, customers
from caas_simulators.stripe.cards import ALWAYS, Card, message_of
from caas_simulators.stripe.parameters import BOOL, EXPAND, INT, LIST, METADATA, TEXT, Form
from caas_simulators.stripe.refusals import Json, StripeRefusal, invalid, unexpected
from caas_simulators.stripe.shapes import shown
from caas_simulators.stripe.world import World

FUTURE: Final = ("off_session", "on_session")
CAPTURE: Final = ("automatic", "automatic_async", "manual")
CONFIRM: Final[Form] = {
    **EXPAND, "payment_method": TEXT, "off_session": BOOL, "return_url": TEXT,
    "setup_future_usage": FUTURE, "mandate": TEXT, "error_on_requires_action": BOOL,
}  # fmt: skip
UPDATE: Final[Form] = {**EXPAND, "description": TEXT, "metadata": METADATA}
CREATE: Final[Form] = {
    **CONFIRM, **UPDATE, "amount!": INT, "currency!": TEXT, "capture_method": CAPTURE,
    "confirm": BOOL, "customer": TEXT, "payment_method_types": [("card",)],
    "statement_descriptor_suffix": TEXT,
}  # fmt: skip
INTENTS: Final[Form] = {**LIST, "customer": TEXT}
TAKE: Final[Form] = {**EXPAND, "amount_to_capture": INT, "metadata": METADATA}
CANCEL: Final[Form] = {
    **EXPAND,
    "cancellation_reason": ("abandoned", "duplicate", "fraudulent", "requested_by_customer"),
}
CURRENCIES: Final = frozenset(
    {"aed", "aud", "brl", "cad", "chf", "clp", "czk", "dkk", "eur", "gbp", "hkd", "huf"}
    | {"jpy", "mxn", "myr", "nok", "nzd", "pln", "ron", "sek", "sgd", "thb", "usd"}
)
WITHOUT_DECIMALS: Final = frozenset({"clp", "jpy"})
"""Currencies whose unit is the smallest one, as documented."""
AMOUNT_MIN_OF: Final = {
    "aed": 200, "czk": 1500, "dkk": 250, "gbp": 30, "hkd": 400, "huf": 17_500, "mxn": 1000,
    "myr": 200, "nok": 300, "pln": 200, "ron": 200, "sek": 300, "thb": 1000,
}  # fmt: skip
"""The smallest amounts, as documented; 50 for the other currencies."""
AMOUNT_MIN: Final = 50
AMOUNT_MAX: Final = 99_999_999
OPEN: Final = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE: Final = (*OPEN, "requires_capture", "processing")
UNEXPECTED: Final = "payment_intent_unexpected_state"
BY_CHECKOUT: Final = (
    "You cannot cancel this PaymentIntent because it belongs to a Checkout Session that is open. "
    "Expire the Checkout Session instead."
)
HOLD: Final = "hold"


def create(world: World, asked: Json) -> Json:
    """Make a PaymentIntent, and confirm it at once where that is asked for.

    Raises:
        StripeRefusal: a parameter is wrong, or the card is declined.
    """
    _check(world, asked)
    if "payment_method" in asked:
        method = customers.usable(world, asked["payment_method"], asked.get("customer"), "")
        _check_off_session(method, asked.get("customer"), off_session=asked.get("off_session"))
        asked = {**asked, "payment_method": method["id"]}
    intent = blank(world, asked["amount"], asked["currency"], **{
        name: asked[name] for name in ("customer", "description", "capture_method",
                                       "setup_future_usage") if name in asked
    })  # fmt: skip
    intent["metadata"] = asked.get("metadata", {})
    if "payment_method" in asked:
        intent |= {"payment_method": asked["payment_method"], "status": "requires_confirmation"}
    world.emit("payment_intent.created", world.store.put(intent))
    if asked.get("confirm"):
        return confirm(world, intent, asked)
    return intent


def blank(world: World, amount: int, currency: str, **fields: object) -> Json:
    """Make a PaymentIntent that nothing has been done with."""
    given = {"customer": None, "description": None, "capture_method": "automatic_async",
             "setup_future_usage": None} | fields  # fmt: skip
    intent = world.new(
        "payment_intent", "pi", amount=amount, amount_capturable=0, amount_received=0,
        amount_details={"tip": {}}, application=None, application_fee_amount=None,
        automatic_payment_methods=None, canceled_at=None, cancellation_reason=None,
        confirmation_method="automatic", currency=currency, last_payment_error=None,
        latest_charge=None, metadata={}, next_action=None, on_behalf_of=None, payment_method=None,
        payment_method_configuration_details=None, payment_method_options={},
        payment_method_types=["card"], processing=None, receipt_email=None, review=None,
        shipping=None, source=None, statement_descriptor=None, statement_descriptor_suffix=None,
        status="requires_payment_method", transfer_data=None, transfer_group=None, _session=None,
        _return_url=None, **given,
    )  # fmt: skip
    intent["client_secret"] = f"{intent['id']}_secret_{intent['id'][-8:]}"
    return intent


def _check(world: World, asked: Json) -> None:
    if asked["currency"] not in CURRENCIES:
        raise invalid(f"Invalid currency: {asked['currency']}", "currency")
    check_amount(asked["amount"], asked["currency"], "amount")
    if "customer" in asked:
        world.store.get("customer", asked["customer"], param="customer", status=400)
    if asked.get("off_session") and not asked.get("confirm"):
        raise invalid("off_session can only be used with confirm=true.", "off_session")
    if "return_url" in asked and not asked.get("confirm"):
        raise invalid("return_url can only be used with confirm=true.", "return_url")
    if asked.get("off_session") and "setup_future_usage" in asked:
        raise invalid("setup_future_usage cannot be used with off_session.", "setup_future_usage")
    if asked.get("confirm") and "payment_method" not in asked:
        message = (
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can "
            "either update the PaymentIntent with a payment method and then confirm it again, or "
            "confirm it again directly with a payment method or ConfirmationToken."
        )
        raise invalid(message, "payment_method", UNEXPECTED)


def check_amount(amount: int, currency: str, param: str) -> None:
    """Check that an amount can be charged.

    Raises:
        StripeRefusal: it is below the currency's minimum, or has more than eight digits.
    """
    minimum = AMOUNT_MIN_OF.get(currency, AMOUNT_MIN)
    if amount < minimum:
        raise invalid(f"Amount must be at least {minimum} {currency}.", param, "amount_too_small")
    if amount > AMOUNT_MAX:
        raise invalid(f"Amount must be no more than {AMOUNT_MAX} {currency}.", param,
                      "amount_too_large")  # fmt: skip


def confirm(world: World, intent: Json, asked: Json) -> Json:
    """Try to pay with a PaymentMethod.

    Raises:
        StripeRefusal: the state does not allow it, the method cannot be used, or it is declined.
    """
    if intent["status"] not in ("requires_payment_method", "requires_confirmation"):
        raise unexpected(
            f"You cannot confirm this PaymentIntent because it has a status of {intent['status']}.",
            UNEXPECTED, payment_intent=shown(world.store, intent),
        )  # fmt: skip
    token = asked.get("payment_method") or intent["payment_method"]
    if token is None:
        raise unexpected("You cannot confirm this PaymentIntent because it's missing a payment "
                         "method.", UNEXPECTED)  # fmt: skip
    method = customers.usable(world, token, intent["customer"], intent["id"])
    off_session = bool(asked.get("off_session"))
    _check_off_session(method, intent["customer"], off_session=off_session)
    intent |= {"payment_method": method["id"], "_return_url": asked.get("return_url")}
    if "setup_future_usage" in asked:
        intent["setup_future_usage"] = asked["setup_future_usage"]
    if method["customer"] is None:
        method["_used_by"] = intent["id"]
        world.store.put(method)
    return attempt(world, intent, method, off_session=off_session)


def _check_off_session(method: Json, customer: str | None, *, off_session: bool | None) -> None:
    if off_session and (customer is None or method["customer"] != customer):
        raise StripeRefusal(
            "off_session payments need a PaymentMethod that is saved for the Customer of the "
            "PaymentIntent.",
            param="off_session",
        )


def attempt(world: World, intent: Json, method: Json, *, off_session: bool,
            authenticated: bool = False) -> Json:  # fmt: skip
    """Put the payment to the cardholder's bank.

    Raises:
        StripeRefusal: the card is declined.
    """
    card = customers.card_of(method)
    if not authenticated and _must_authenticate(card, method, off_session=off_session):
        if off_session:
            raise _declined(world, intent, method, "authentication_required",
                            "authentication_required")  # fmt: skip
        return ask_cardholder(world, intent, "payment_intent")
    if world.declines:
        raise _declined(world, intent, method, *world.declines.pop(0))
    if card.code is not None:
        raise _declined(world, intent, method, card.code, card.decline_code or card.code)
    return _paid(world, intent, method, card)


def _must_authenticate(card: Card, method: Json, *, off_session: bool) -> bool:
    if card.authentication is None:
        return False
    saved = method["_set_up"] and card.authentication != ALWAYS
    return not (saved and off_session)


def ask_cardholder(world: World, intent: Json, kind: str) -> Json:
    """Wait for the cardholder, on a page of ours where the caller gave a way back."""
    if intent["_return_url"] is None:
        action: Json = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
    else:
        page = f"{world.public_url}/3ds/{intent['id']}"
        way = {"url": page, "return_url": intent["_return_url"]}
        action = {"type": "redirect_to_url", "redirect_to_url": way}
    intent |= {"status": "requires_action", "next_action": action}
    world.emit(f"{kind}.requires_action", world.store.put(intent))
    return intent


def _declined(world: World, intent: Json, method: Json, code: str, decline_code: str
              ) -> StripeRefusal:  # fmt: skip
    one = charges.charge(world, intent, method, failed=(code, decline_code))
    shown_method = shown(world.store, method)
    error: Json = {
        "type": "card_error", "code": code, "decline_code": decline_code, "charge": one["id"],
        "message": message_of(code, decline_code), "payment_method": shown_method,
    }  # fmt: skip
    intent |= {"status": "requires_payment_method", "last_payment_error": error,
               "latest_charge": one["id"], "payment_method": None, "next_action": None}  # fmt: skip
    world.emit("payment_intent.payment_failed", world.store.put(intent))
    return customers.declined(
        code, decline_code, charge=one["id"], payment_intent=shown(world.store, intent),
        payment_method=shown_method,
    )  # fmt: skip


def authentication_failed(world: World, intent: Json) -> Json:
    """Note that the cardholder did not confirm."""
    message = "The provided PaymentMethod has failed authentication."
    error = {"type": "invalid_request_error", "code": "payment_intent_authentication_failure",
             "message": message}  # fmt: skip
    intent |= {"status": "requires_payment_method", "last_payment_error": error,
               "next_action": None, "payment_method": None}  # fmt: skip
    world.emit("payment_intent.payment_failed", world.store.put(intent))
    return intent


def _paid(world: World, intent: Json, method: Json, card: Card) -> Json:
    one = charges.charge(world, intent, method, failed=None)
    manual = intent["capture_method"] == "manual"
    intent |= {
        "status": "requires_capture" if manual else "succeeded", "latest_charge": one["id"],
        "amount_capturable": intent["amount"] if manual else 0,
        "amount_received": 0 if manual else intent["amount"], "next_action": None,
        "last_payment_error": None,
    }  # fmt: skip
    world.store.put(intent)
    if intent["setup_future_usage"] is not None and intent["customer"] is not None:
        method["_set_up"] = method["_set_up"] or intent["setup_future_usage"] == "off_session"
        customers.save(world, world.store.put(method), intent["customer"])
    if manual:
        world.agenda.note(_expiry(world, one), HOLD, intent["id"])
        world.emit("payment_intent.amount_capturable_updated", intent)
    else:
        world.emit("payment_intent.succeeded", intent)
        dispute_due(world, one, card)
    return intent


def _expiry(world: World, one: Json) -> float:
    seconds = one["payment_method_details"]["card"]["capture_before"] - one["created"]
    created: float = one["created"]
    return created + world.clock.span(seconds)


def dispute_due(world: World, one: Json, card: Card) -> None:
    """Let the cardholder dispute soon, where the test card is one for that."""
    if card.dispute is not None:
        world.agenda.note(world.clock.now() + world.clock.span(60), "dispute", one["id"])


def capture(world: World, intent: Json, asked: Json) -> Json:
    """Take what is held, or a part.

    Raises:
        StripeRefusal: nothing is held, or less than that.
    """
    if intent["status"] != "requires_capture":
        raise unexpected(
            f"This PaymentIntent could not be captured because it has a status of "
            f"{intent['status']}. Only a PaymentIntent with one of the following statuses may be "
            "captured: requires_capture.", UNEXPECTED, payment_intent=shown(world.store, intent),
        )  # fmt: skip
    amount: int = asked.get("amount_to_capture") or intent["amount_capturable"]
    if not 0 < amount <= intent["amount_capturable"]:
        raise StripeRefusal("The amount to capture is greater than the remaining amount.",
                            code="amount_too_large", param="amount_to_capture")  # fmt: skip
    one = world.store.get("charge", intent["latest_charge"])
    card = customers.card_of(world.store.get("payment_method", one["payment_method"]))
    charges.take(world, one, amount, card)
    intent |= {"status": "succeeded", "amount_capturable": 0, "amount_received": amount,
               "metadata": intent["metadata"] | asked.get("metadata", {})}  # fmt: skip
    world.emit("charge.captured", one)
    world.emit("payment_intent.succeeded", world.store.put(intent))
    dispute_due(world, one, card)
    return intent


def cancel(world: World, intent: Json, asked: Json) -> Json:
    """Cancel an intent that has taken nothing.

    Raises:
        StripeRefusal: it is too late, or its Checkout Session is still open.
    """
    session = world.store.find("checkout.session", intent["_session"])
    if session is not None and session["status"] == "open":
        raise unexpected(BY_CHECKOUT, UNEXPECTED)
    if intent["status"] not in CANCELABLE:
        raise unexpected(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. "
            f"Only a PaymentIntent with one of the following statuses may be canceled: "
            f"{', '.join(CANCELABLE)}.", UNEXPECTED, payment_intent=shown(world.store, intent),
        )  # fmt: skip
    return end(world, intent, asked.get("cancellation_reason"))


def end(world: World, intent: Json, reason: str | None) -> Json:
    """Cancel an intent and let go of what it holds."""
    held = intent["status"] == "requires_capture"
    intent |= {"status": "canceled", "canceled_at": world.store.now(), "amount_capturable": 0,
               "cancellation_reason": reason, "next_action": None}  # fmt: skip
    world.store.put(intent)
    if held:
        charges.release(world, world.store.get("charge", intent["latest_charge"]))
    world.emit("payment_intent.canceled", intent)
    return intent


def hold_due(world: World, intent: Json) -> None:
    """Let a hold that nobody captured expire."""
    if intent["status"] == "requires_capture":
        world.emit("charge.expired", world.store.get("charge", intent["latest_charge"]))
        end(world, intent, "expired")


def resume(world: World) -> None:
    """Note again, after a restart, when each hold expires."""
    for intent in world.store.some("payment_intent", status="requires_capture"):
        one = world.store.get("charge", intent["latest_charge"])
        world.agenda.note(_expiry(world, one), HOLD, intent["id"])
