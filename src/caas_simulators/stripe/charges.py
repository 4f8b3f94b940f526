"""Charges, refunds and the balance: what is held, taken, given back, and when it is available."""

from typing import Any, Final

from caas_simulators.stripe.cards import Card, message_of
from caas_simulators.stripe.customers import NO_BILLING, card_of
from caas_simulators.stripe.parameters import EXPAND, INT, LIST, METADATA, TEXT, Form
from caas_simulators.stripe.refusals import Json, StripeRefusal, unexpected
from caas_simulators.stripe.world import World

DAY: Final = 86_400
HOLD_SECONDS: Final = 7 * DAY
AVAILABLE_SECONDS: Final = 2 * DAY
REFUND_SECONDS: Final = 3_600
FEE_PERCENT_TIMES_10: Final = 15
FEE_FIXED: Final = 25
REFUND: Final[Form] = {
    **EXPAND, "payment_intent": TEXT, "charge": TEXT, "amount": INT, "metadata": METADATA,
    "reason": ("duplicate", "fraudulent", "requested_by_customer"),
}  # fmt: skip
REFUNDS: Final[Form] = {**LIST, "payment_intent": TEXT, "charge": TEXT}
CHARGES: Final[Form] = {**LIST, "payment_intent": TEXT, "customer": TEXT}
BALANCE: Final[Form] = {**LIST, "source": TEXT, "type": TEXT}


def charge(world: World, intent: Json, method: Json, *, failed: tuple[str, str] | None) -> Json:
    """Make the charge of one attempt: failed with a code and a decline code, or held or taken."""
    card = card_of(method)
    manual = intent["capture_method"] == "manual"
    details: Json = {
        "brand": card.brand, "last4": card.last4, "country": "ES", "funding": "credit",
        "exp_month": 12, "exp_year": 2034, "fingerprint": f"fp{card.last4}", "network": card.brand,
        "checks": None, "installments": None, "mandate": None, "three_d_secure": None,
        "wallet": None, "authorization_code": None,
    }  # fmt: skip
    if manual and failed is None:
        details["capture_before"] = world.store.now() + HOLD_SECONDS
    one = world.new(
        "charge", "ch", amount=intent["amount"], amount_captured=0, amount_refunded=0,
        application=None, application_fee=None, application_fee_amount=None,
        balance_transaction=None, billing_details=NO_BILLING, captured=False,
        calculated_statement_descriptor="CAAS", currency=intent["currency"],
        customer=intent["customer"], description=intent["description"], disputed=False,
        failure_balance_transaction=None, failure_code=failed[0] if failed else None,
        failure_message=message_of(*failed) if failed else None, fraud_details=None,
        metadata=dict(intent["metadata"]), on_behalf_of=None, outcome=_outcome(failed),
        paid=failed is None, payment_intent=intent["id"], payment_method=method["id"],
        payment_method_details={"type": "card", "card": details}, radar_options=None,
        receipt_email=None, receipt_number=None, receipt_url=None, refunded=False, review=None,
        shipping=None, source=None, source_transfer=None, statement_descriptor=None,
        statement_descriptor_suffix=None, status="failed" if failed else "succeeded",
        transfer_data=None, transfer_group=None,
    )  # fmt: skip
    if failed is None and not manual:
        take(world, one, one["amount"], card)
    world.emit("charge.failed" if failed else "charge.succeeded", one)
    return one


def _outcome(failed: tuple[str, str] | None) -> Json:
    blocked = failed is not None and failed[1] == "fraudulent"
    return {
        "network_status": "approved_by_network" if failed is None else "declined_by_network",
        "reason": failed[1] if failed else None, "risk_level": "normal", "risk_score": 20,
        "seller_message": message_of(*failed) if failed else "Payment complete.",
        "type": "blocked" if blocked else "issuer_declined" if failed else "authorized",
        "network_advice_code": None, "network_decline_code": None, "advice_code": None,
    }  # fmt: skip


def take(world: World, one: Json, amount: int, card: Card) -> None:
    """Capture a charge; Stripe books what is not captured as refunded."""
    fee = amount * FEE_PERCENT_TIMES_10 // 1000 + FEE_FIXED
    wait = 0 if card.available_at_once else AVAILABLE_SECONDS
    row = move(world, one["id"], "charge", "charge", one["currency"], gross=amount, fee=fee,
               wait=wait)  # fmt: skip
    rest = one["amount"] - amount
    one |= {"captured": True, "amount_captured": amount, "balance_transaction": row["id"],
            "amount_refunded": rest}  # fmt: skip
    world.store.put(one)


def move(world: World, source: str, kind: str, category: str, currency: str, **money: int) -> Json:
    """Book a balance transaction: `gross`, `fee`, and `wait` seconds until it is available."""
    fee = money.get("fee", 0)
    details = [{"amount": fee, "application": None, "currency": currency,
                "description": "Stripe processing fees", "type": "stripe_fee"}]  # fmt: skip
    created = world.store.now()
    row: Json = {
        "id": world.store.new_id("txn"), "object": "balance_transaction", "created": created,
        "amount": money["gross"], "available_on": created + money.get("wait", 0),
        "currency": currency, "description": None, "exchange_rate": None, "fee": fee,
        "fee_details": details if fee else [], "net": money["gross"] - fee,
        "reporting_category": category, "source": source, "status": "pending", "type": kind,
    }  # fmt: skip
    return world.store.put(row)


def release(world: World, one: Json) -> None:
    """Let go of a hold that was not captured."""
    one |= {"amount_refunded": one["amount"], "refunded": True}
    world.store.put(one)
    world.emit("charge.refunded", one)


def create_refund(world: World, asked: Json) -> Json:
    """Give money back, whole or in part.

    Raises:
        StripeRefusal: there is nothing to give back, or less than that.
    """
    one = _charge_of(world, asked)
    amount = asked.get("amount", one["amount_captured"] - _refunded(one))
    if one["disputed"]:
        raise unexpected("This charge has been charged back.", "charge_disputed")
    if _refunded(one) >= one["amount_captured"]:
        raise unexpected(f"Charge {one['id']} has already been refunded.",
                         "charge_already_refunded")  # fmt: skip
    if not 0 < amount <= one["amount_captured"] - _refunded(one):
        raise StripeRefusal("Refund amount is greater than unrefunded amount on charge.",
                            param="amount")  # fmt: skip
    card = card_of(world.store.get("payment_method", one["payment_method"]))
    refund = world.new(
        "refund", "re", amount=amount, charge=one["id"], currency=one["currency"],
        payment_intent=one["payment_intent"], metadata=asked.get("metadata", {}),
        reason=asked.get("reason"), receipt_number=None, source_transfer_reversal=None,
        transfer_reversal=None, balance_transaction=None, destination_details=None,
        status="pending" if card.refund == "pending" else "succeeded", _later=card.refund,
    )  # fmt: skip
    del refund["livemode"]
    row = move(world, refund["id"], "refund", "refund", one["currency"], gross=-amount)
    refund["balance_transaction"] = row["id"]
    one["amount_refunded"] += amount
    one["refunded"] = one["amount_refunded"] >= one["amount"]
    world.store.put(one)
    world.emit("charge.refunded", one)
    world.emit("refund.created", refund)
    if card.refund != "succeeded":
        world.agenda.note(world.clock.now() + world.clock.span(REFUND_SECONDS), "refund",
                          refund["id"])  # fmt: skip
    return refund


def refund_due(world: World, refund: Json) -> None:
    """Let a refund succeed or fail after a while, as its card has it."""
    if refund["_later"] == "failed":
        one = world.store.get("charge", refund["charge"])
        one["amount_refunded"] -= refund["amount"]
        one["refunded"] = False
        world.store.put(one)
        row = move(world, refund["id"], "refund_failure", "refund_failure", refund["currency"],
                   gross=refund["amount"])  # fmt: skip
        refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card",
                   "failure_balance_transaction": row["id"]}  # fmt: skip
        world.emit("refund.failed", world.store.put(refund))
    else:
        refund["status"] = "succeeded"
        world.emit("refund.updated", world.store.put(refund))


def _charge_of(world: World, asked: Json) -> Json:
    if ("charge" in asked) == ("payment_intent" in asked):
        raise StripeRefusal("Pass either charge or payment_intent.", code="parameter_missing",
                            stored=False)  # fmt: skip
    if "charge" in asked:
        return world.store.get("charge", asked["charge"], param="charge", status=404)
    intent = world.store.get("payment_intent", asked["payment_intent"], param="payment_intent")
    one: Any = world.store.find("charge", intent["latest_charge"])
    if one is None or not one["captured"]:
        raise unexpected("This PaymentIntent does not have a successful charge to refund.",
                         "payment_intent_unexpected_state", payment_intent=intent)  # fmt: skip
    return dict_of(one)


def dict_of(one: Any) -> Json:
    """Return an object that was found."""
    assert isinstance(one, dict), "it was found"
    return one


def _refunded(one: Json) -> int:
    """Return what was given back of what was captured."""
    released: int = one["amount"] - one["amount_captured"]
    given: int = one["amount_refunded"]
    return given - released
