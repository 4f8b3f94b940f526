"""Payments of the simulated Adyen: authorised or refused, stored methods, expiry."""

from typing import Final

from caas_simulators.adyen import cards
from caas_simulators.adyen.cards import Outcome
from caas_simulators.adyen.refusals import AdyenRefusal, taken
from caas_simulators.adyen.requests import Method, PaymentRequest
from caas_simulators.adyen.world import Json, World

PAYMENT: Final = "payment"
TOKEN: Final = "token"  # noqa: S105  # a kind of object
AUTHORISED_AS: Final = "012345:1111:03/2030"
"""The reason of an authorisation: its code, and of the card its last digits and its expiry."""


def pay(world: World, body: bytes) -> Json:
    """Answer `POST /payments`."""
    asked = taken(body, PaymentRequest)
    own(world, asked.merchant_account)
    _check(asked)
    card = _card_of(world, asked)
    is_present = asked.recurring_processing_model != "Subscription" or "token" not in card
    if card["number"] in cards.CHALLENGED and is_present:
        return _redirect(world)
    payment = new_payment(
        world, asked.reference, (asked.amount.value, asked.amount.currency),
        manual=asked.additional_data.manual_capture == "true", shopper=asked.shopper_reference,
    )  # fmt: skip
    outcome = cards.outcome_of(card["number"], card["holder"])
    stored = card if asked.store_payment_method else None
    data = authorise(world, payment, outcome, stored, card.get("token"))
    answer = {
        "pspReference": payment["id"], "resultCode": outcome.result,
        "merchantReference": payment["reference"],
        "amount": {"value": payment["value"], "currency": payment["currency"]},
        "additionalData": data,
    }  # fmt: skip
    if outcome.code:
        answer |= {"refusalReason": outcome.reason, "refusalReasonCode": outcome.code}
    return answer


def _redirect(world: World) -> Json:
    """Return the answer that sends the shopper to the bank; nothing is authorised yet."""
    reference = world.psp_reference()
    return {
        "pspReference": reference, "resultCode": "RedirectShopper",
        "action": {
            "type": "redirect", "paymentMethodType": "scheme", "method": "GET",
            "url": f"{world.public_url}/redirect/{reference}",
        },
    }  # fmt: skip


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
        world.report(
            "AUTHORISATION", payment, success="false", reason=outcome.reason, additionalData=data
        )
        return data
    data |= _tokenization(world, payment, stores, token)
    expires = world.at(world.settings.authorization_seconds)
    held = world.store.put(payment | {"state": "authorised", "expires": expires})
    world.agenda.note(expires, "expire", payment["id"])
    world.report("AUTHORISATION", held, additionalData=dict(data), reason=AUTHORISED_AS,
                 operations=["CANCEL", "CAPTURE", "REFUND"])  # fmt: skip
    if not payment["manual"]:
        reference = world.psp_reference()
        capture = world.store.put(
            held | {"state": "captured", "captured": payment["value"], "capture": reference}
        )
        world.report("CAPTURE", capture, pspReference=reference, originalReference=payment["id"])
    return data


def _tokenization(
    world: World, payment: Json, stores: Json | None, token: str | None
) -> dict[str, str]:
    """Return what a payment says of the method that it has stored or used."""
    if payment["shopper"] is None or (stores is None and token is None):
        return {}
    operation = "alreadyExisting"
    if token is None:
        assert stores is not None, "there is a card to store"
        token, operation = _store_method(world, stores, payment["shopper"]), "created"
    return {
        "tokenization.storedPaymentMethodId": token,
        "tokenization.shopperReference": payment["shopper"],
        "tokenization.store.operationType": operation,
    }


def expire(world: World, identifier: str) -> None:
    """Let an authorisation expire that was neither captured nor cancelled."""
    payment = world.store.find(PAYMENT, identifier)
    if payment is not None and payment["state"] == "authorised":
        world.report("EXPIRE", world.store.put(payment | {"state": "expired"}))


def resume(world: World) -> None:
    """Note again when authorisations expire."""
    for payment in world.store.some(PAYMENT, state="authorised"):
        world.agenda.note(payment["expires"], "expire", payment["id"])


def own(world: World, merchant_account: str) -> None:
    """Check the merchant account.

    Raises:
        AdyenRefusal: it is not the one of these credentials.
    """
    if merchant_account != world.settings.merchant_account:
        raise AdyenRefusal("Invalid Merchant Account", "901", status=403, kind="security")


def _check(asked: PaymentRequest) -> None:
    """Check what a payment must say to store a method, or to use a stored one.

    A stored method is charged as ContAuth: CardOnFile with the shopper, Subscription without, as in
    the examples of the published OpenAPI. The first payment of a card is Ecommerce.
    """
    is_stored = asked.payment_method.stored_payment_method_id is not None
    if (is_stored or asked.store_payment_method) and asked.shopper_reference is None:
        raise AdyenRefusal("Required field 'shopperReference' is not provided.")
    if (is_stored or asked.store_payment_method) and asked.recurring_processing_model is None:
        raise AdyenRefusal("Required field 'recurringProcessingModel' is not provided.")
    if is_stored and (asked.shopper_interaction != "ContAuth" or asked.store_payment_method):
        raise AdyenRefusal("A stored payment method is charged as ContAuth, and not stored again.")
    if not is_stored and asked.shopper_interaction == "ContAuth":
        raise AdyenRefusal("Contract not found", "800")


def _card_of(world: World, asked: PaymentRequest) -> Json:
    method = asked.payment_method
    if method.stored_payment_method_id is not None:
        token = world.store.find(TOKEN, method.stored_payment_method_id)
        if token is None or token["shopper"] != asked.shopper_reference:
            raise AdyenRefusal("PaymentDetail not found", "803")
        return {"number": token["number"], "holder": token["holder"], "token": token["id"]}
    number = _decrypted(method)
    return {"number": number, "holder": method.holder_name or ""}


def _decrypted(method: Method) -> str:
    """Return the number of an encrypted card, all of whose parts are given and encrypted."""
    parts = (
        method.encrypted_card_number, method.encrypted_expiry_month, method.encrypted_expiry_year
    )  # fmt: skip
    if any(part is None or not part.startswith(cards.ENCRYPTED) for part in parts):
        raise AdyenRefusal("Unable to decrypt data", "174")
    return str(parts[0]).removeprefix(cards.ENCRYPTED)


def _store_method(world: World, card: Json, shopper: str) -> str:
    one = world.store.put({
        "id": world.psp_reference(), "object": TOKEN, "created": world.store.now(),
        "number": card["number"], "holder": card["holder"], "shopper": shopper,
    })  # fmt: skip
    return str(one["id"])
