"""Payment links of the simulated Adyen: made, shown, ended, and over after a day."""

from typing import Final

import msgspec

from caas_simulators.adyen import payments
from caas_simulators.adyen.refusals import AdyenRefusal, taken
from caas_simulators.adyen.requests import LinkRequest, LinkUpdate
from caas_simulators.adyen.world import LETTERS, Json, World

LINK: Final = "link"
PATH: Final = "/pay/"
SHOWN: Final = (
    "id", "reference", "amount", "status", "url", "merchantAccount", "expiresAt", "description",
    "returnUrl", "reusable", "manualCapture", "storePaymentMethodMode", "recurringProcessingModel",
    "shopperReference", "shopperLocale",
)  # fmt: skip


def make(world: World, body: bytes) -> Json:
    """Answer `POST /paymentLinks`."""
    asked = taken(body, LinkRequest)
    payments.own(world, asked.merchant_account)
    _check(asked)
    identifier = f"PL{''.join(world.chance.choices(LETTERS, k=16))}"
    expires = world.at(world.settings.link_seconds)
    link = world.store.put({
        "id": identifier, "object": LINK, "created": world.store.now(), "status": "active",
        "url": f"{world.public_url}{PATH}{identifier}", "expiresAt": world.text(expires),
        "expires": expires, "challenged": None, **msgspec.to_builtins(asked),
    })  # fmt: skip
    world.agenda.note(expires, LINK, identifier)
    return shown(link)


def show(world: World, identifier: str) -> Json:
    """Answer `GET /paymentLinks/{id}`.

    Raises:
        AdyenRefusal: there is none.
    """
    return shown(_link(world, identifier))


def update(world: World, identifier: str, body: bytes) -> Json:
    """Answer `PATCH /paymentLinks/{id}`: an active link can be ended."""
    taken(body, LinkUpdate)
    link = _link(world, identifier)
    if link["status"] != "active":
        raise AdyenRefusal("Invalid status for this payment link")
    return shown(world.store.put(link | {"status": "expired"}))


def shown(link: Json) -> Json:
    """Return a link as its callers see it."""
    return {name: link[name] for name in SHOWN if link.get(name) is not None}


def end_due(world: World, identifier: str) -> None:
    """Let a link expire."""
    link = world.store.find(LINK, identifier)
    if link is not None and link["status"] == "active":
        world.store.put(link | {"status": "expired"})


def resume(world: World) -> None:
    """Note again what was due, and show open pages at the present address."""
    for link in world.store.some(LINK, status="active"):
        world.agenda.note(link["expires"], LINK, link["id"])


def _check(asked: LinkRequest) -> None:
    """Check what a link must say to store what is paid with."""
    if asked.store_payment_method_mode == "disabled":
        return
    if asked.recurring_processing_model is None:
        raise AdyenRefusal("Required field 'recurringProcessingModel' is not provided.")
    if asked.shopper_reference is None:
        raise AdyenRefusal("Required field 'shopperReference' is not provided.")


def _link(world: World, identifier: str) -> Json:
    link = world.store.find(LINK, identifier)
    if link is None:
        raise AdyenRefusal("Payment link not found", "703", status=404)
    return link
