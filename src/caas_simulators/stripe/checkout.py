"""Checkout Sessions: a hosted page that is open until it is paid, ended or expired.

A declined card leaves the session open: the customer may try again. The PaymentIntent is made when
the page is confirmed for the first time.
"""

from typing import Final

from caas_simulators.stripe import customers, intents, setups
from caas_simulators.stripe.cards import card_of_number
from caas_simulators.stripe.parameters import EXPAND, INT, LIST, METADATA, TEXT, Form
from caas_simulators.stripe.refusals import Json, StripeRefusal, invalid
from caas_simulators.stripe.world import World

MINUTE: Final = 60
OPEN_SECONDS_MIN: Final = 30 * MINUTE
OPEN_SECONDS_MAX: Final = 24 * 60 * MINUTE
TEMPLATE: Final = "{CHECKOUT_SESSION_ID}"
SESSION: Final = "session"
REDISPLAY: Final = ("always", "limited", "unspecified")
CREATE: Final[Form] = {
    **EXPAND, "mode!": ("payment", "setup"), "success_url": TEXT, "cancel_url": TEXT,
    "customer": TEXT, "customer_email": TEXT, "client_reference_id": TEXT, "metadata": METADATA,
    "expires_at": INT, "currency": TEXT, "payment_method_types": [("card",)],
    "locale": ("auto", "de", "en", "es", "fr", "it", "pt"), "submit_type": ("auto", "book", "pay"),
    "line_items": [{
        "quantity": INT,
        "price_data!": {"currency!": TEXT, "unit_amount!": INT,
                        "product_data!": {"name!": TEXT, "description": TEXT}},
    }],
    "payment_intent_data": {
        "capture_method": intents.CAPTURE, "description": TEXT, "metadata": METADATA,
        "setup_future_usage": intents.FUTURE, "statement_descriptor_suffix": TEXT,
    },
    "setup_intent_data": {"description": TEXT, "metadata": METADATA},
    "saved_payment_method_options": {"allow_redisplay_filters": [REDISPLAY]},
}  # fmt: skip
SESSIONS: Final[Form] = {
    **LIST, "customer": TEXT, "payment_intent": TEXT, "status": ("complete", "expired", "open"),
}  # fmt: skip


def create(world: World, asked: Json) -> Json:
    """Open a session.

    Raises:
        StripeRefusal: a parameter is wrong, or does not fit the mode.
    """
    now = world.store.now()
    _check(world, asked, now)
    amount, currency = _total(asked)
    livemode = "live" if world.settings.livemode else "test"
    session = world.new(
        "checkout.session", f"cs_{livemode}", adaptive_pricing=None, after_expiration=None,
        allow_promotion_codes=None, amount_subtotal=amount, amount_total=amount,
        automatic_tax={"enabled": False, "liability": None, "provider": None, "status": None},
        billing_address_collection=None, cancel_url=asked.get("cancel_url"),
        client_reference_id=asked.get("client_reference_id"), client_secret=None,
        collected_information=None, consent=None, consent_collection=None, currency=currency,
        currency_conversion=None, custom_fields=[],
        custom_text={"after_submit": None, "shipping_address": None, "submit": None,
                     "terms_of_service_acceptance": None},
        customer=asked.get("customer"), customer_creation=None, customer_details=None,
        customer_email=asked.get("customer_email"), discounts=[],
        expires_at=asked.get("expires_at", now + OPEN_SECONDS_MAX), invoice=None,
        invoice_creation=None, locale=asked.get("locale"), metadata=asked.get("metadata", {}),
        mode=asked["mode"], payment_intent=None, payment_link=None,
        payment_method_collection="always", payment_method_configuration_details=None,
        payment_method_options={}, payment_method_types=["card"],
        payment_status="unpaid" if asked["mode"] == "payment" else "no_payment_required",
        phone_number_collection={"enabled": False}, recovered_from=None,
        saved_payment_method_options=asked.get("saved_payment_method_options"), setup_intent=None,
        shipping_address_collection=None, shipping_cost=None, shipping_options=[], status="open",
        submit_type=asked.get("submit_type"), subscription=None,
        success_url=asked["success_url"], total_details=None, ui_mode="hosted", wallet_options=None,
        _items=asked.get("line_items", []), _intent_data=asked.get("payment_intent_data", {}),
    )  # fmt: skip
    if asked["mode"] == "setup":
        intent = setups.blank(world, {"customer": asked.get("customer"),
                                      **asked.get("setup_intent_data", {})})  # fmt: skip
        intent["_session"] = session["id"]
        session["setup_intent"] = world.store.put(intent)["id"]
    session["url"] = f"{world.public_url}/c/pay/{session['id']}"
    world.agenda.note(_expiry(world, session), SESSION, session["id"])
    return world.store.put(session)


def _check(world: World, asked: Json, now: int) -> None:
    if "success_url" not in asked:
        raise invalid("Missing required param: success_url.", "success_url", "parameter_missing")
    for name in ("success_url", "cancel_url"):
        if name in asked and not asked[name].startswith(("https://", "http://")):
            raise invalid("Not a valid URL", name, "url_invalid")
    if "customer" in asked:
        world.store.get("customer", asked["customer"], param="customer", status=400)
        if "customer_email" in asked:
            raise invalid("You may only specify one of these parameters: customer, "
                          "customer_email.", "customer_email")  # fmt: skip
    unfit = {"payment": ("setup_intent_data",),
             "setup": ("payment_intent_data", "line_items")}  # fmt: skip
    for name in unfit[asked["mode"]]:
        if name in asked:
            raise invalid(f"You can not pass `{name}` in `{asked['mode']}` mode.", name)
    _check_expiry(asked.get("expires_at", now + OPEN_SECONDS_MAX), now)


def _check_expiry(expires: int, now: int) -> None:
    if expires < now + OPEN_SECONDS_MIN - MINUTE:
        raise invalid("The `expires_at` timestamp must be at least 30 minutes from Checkout "
                      "Session creation.", "expires_at")  # fmt: skip
    if expires > now + OPEN_SECONDS_MAX + MINUTE:
        raise invalid("The `expires_at` timestamp must be less than 24 hours from Checkout "
                      "Session creation.", "expires_at")  # fmt: skip


def _total(asked: Json) -> tuple[int | None, str | None]:
    if asked["mode"] == "setup":
        if "currency" not in asked and "payment_method_types" not in asked:
            raise invalid("Missing required param: currency.", "currency", "parameter_missing")
        return None, asked.get("currency")
    if not asked.get("line_items"):
        raise invalid("`line_items` are required in payment mode.", "line_items",
                      "parameter_missing")  # fmt: skip
    prices = [item["price_data"] for item in asked["line_items"]]
    currencies = {price["currency"] for price in prices}
    if len(currencies) != 1 or not currencies <= intents.CURRENCIES:
        raise invalid("Invalid currency.", "line_items")
    amount = sum(
        item["price_data"]["unit_amount"] * item.get("quantity", 1) for item in asked["line_items"]
    )
    (currency,) = currencies
    intents.check_amount(amount, currency, "line_items")
    return amount, currency


def pay(world: World, session: Json, *, number: str = "", saved: str = "") -> Json:
    """Confirm the page with a card number or a saved card; the session stays open at a decline.

    Raises:
        StripeRefusal: the card is declined, or the number is none.
    """
    assert session["status"] == "open", "only an open page can be paid"
    method = _method(world, session, number, saved)
    if session["mode"] == "setup":
        intent = world.store.get("setup_intent", session["setup_intent"])
        intent |= {"payment_method": method["id"], "_return_url": session["url"]}
        intent = setups.attempt(world, intent, method)
    else:
        intent = _intent(world, session)
        if method["customer"] is None:
            world.store.put(method | {"_used_by": intent["id"]})
            method = world.store.get("payment_method", method["id"])
        intent |= {"payment_method": method["id"], "_return_url": session["url"]}
        intent = intents.attempt(world, intent, method, off_session=False)
    return completed(world, session, intent)


def completed(world: World, session: Json, intent: Json) -> Json:
    """Close a session whose intent got what it needs; leave it open otherwise."""
    if intent["status"] in ("succeeded", "requires_capture"):
        paid = intent["status"] == "succeeded" and session["mode"] == "payment"
        session |= {"status": "complete", "url": None,
                    "payment_status": "paid" if paid else session["payment_status"]}  # fmt: skip
        world.emit("checkout.session.completed", world.store.put(session))
    return intent


def _method(world: World, session: Json, number: str, saved: str) -> Json:
    if saved:
        method = world.store.get("payment_method", saved)
        if method["customer"] is None or method["customer"] != session["customer"]:
            raise StripeRefusal(customers.NOT_YOURS)
        return method
    card = card_of_number(number)
    if card is None:
        raise customers.declined("incorrect_number", None)
    return customers.method_of(world, card)


def _intent(world: World, session: Json) -> Json:
    if session["payment_intent"] is not None:
        return world.store.get("payment_intent", session["payment_intent"])
    data = session["_intent_data"]
    fields = {name: data[name] for name in ("description", "capture_method", "setup_future_usage")
              if name in data}  # fmt: skip
    intent = intents.blank(
        world, session["amount_total"], session["currency"], customer=session["customer"], **fields
    )
    intent |= {"metadata": data.get("metadata", {}), "_session": session["id"]}
    world.emit("payment_intent.created", world.store.put(intent))
    session["payment_intent"] = intent["id"]
    world.store.put(session)
    return intent


def expire(world: World, session: Json) -> Json:
    """End a session that is open, and the intent behind it.

    Raises:
        StripeRefusal: it is not open.
    """
    if session["status"] != "open":
        raise StripeRefusal(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout '
            f"Session has a status of `{session['status']}`."
        )
    session |= {"status": "expired", "url": None}
    world.emit("checkout.session.expired", world.store.put(session))
    intent = world.store.find("payment_intent", session["payment_intent"])
    if intent is not None and intent["status"] in intents.OPEN:
        intents.end(world, intent, None)
    setup = world.store.find("setup_intent", session["setup_intent"])
    if setup is not None and setup["status"] in intents.OPEN:
        setups.cancel(world, setup, {})
    return session


def session_due(world: World, session: Json) -> None:
    """Let a session expire that nobody completed."""
    if session["status"] == "open":
        expire(world, session)


def _expiry(world: World, session: Json) -> float:
    created: float = session["created"]
    return created + world.clock.span(session["expires_at"] - created)


def resume(world: World) -> None:
    """Note again, after a restart, when each session expires."""
    for session in world.store.some("checkout.session", status="open"):
        world.agenda.note(_expiry(world, session), SESSION, session["id"])


def saved_methods(world: World, session: Json) -> list[Json]:
    """Return the saved cards that the page may offer."""
    if session["customer"] is None:
        return []
    options = session["saved_payment_method_options"] or {}
    shown = options.get("allow_redisplay_filters", ["always"])
    return [
        one for one in world.store.some("payment_method", customer=session["customer"])
        if one["allow_redisplay"] in shown
    ]  # fmt: skip
