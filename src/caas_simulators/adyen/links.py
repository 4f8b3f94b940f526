"""Payment links of the simulated Adyen, and the pages behind them."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from babel.numbers import format_currency, get_currency_precision
from jinja2 import Environment

from caas_simulators.adyen import cards, payments
from caas_simulators.adyen.refusals import AdyenRefusal, taken
from caas_simulators.adyen.requests import LinkRequest, LinkUpdate
from caas_simulators.adyen.world import LETTERS, Json, World
from caas_simulators.http_server import Answer, Request

LINK: Final = "link"
PATH: Final = "/pay/"
SHOWN: Final = (
    "id", "reference", "amount", "status", "url", "merchantAccount", "expiresAt", "description",
    "returnUrl", "reusable", "manualCapture", "storePaymentMethodMode", "recurringProcessingModel",
    "shopperReference", "shopperLocale",
)  # fmt: skip
HTML: Final = b"text/html; charset=utf-8"
HEADERS: Final = (
    (b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy",
     b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"),
)  # fmt: skip
PAGE: Final = Environment(autoescape=True).from_string(
    Path(__file__).with_name("page.html").read_text("utf-8")
)
STYLE: Final = Path(__file__).parent.with_name("payment_page.css").read_text("utf-8")


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


def handle(world: World, request: Request) -> Answer:
    """Show a page, or take its form."""
    link = world.store.find(LINK, request.path.removeprefix(PATH))
    if link is None:
        return _page(world, 404, step="unknown")
    if link["status"] != "active":
        return _page(world, 410, step=link["status"], link=link)
    if request.method != "POST":
        return _form(world, link)
    form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
    return _paid(world, link, form)


def _check(asked: LinkRequest) -> None:
    """Check what a link must say to store what is paid with."""
    if asked.store_payment_method_mode == "disabled":
        return
    if asked.recurring_processing_model is None:
        raise AdyenRefusal("Required field 'recurringProcessingModel' is not provided.")
    if asked.shopper_reference is None:
        raise AdyenRefusal("Required field 'shopperReference' is not provided.")


def _paid(world: World, link: Json, form: dict[str, str]) -> Answer:
    action = form.get("action")
    if action == "leave":
        return _back(link)
    card = link["challenged"]
    if card is not None:
        if action not in ("confirm", "reject"):
            return _form(world, link)
        outcome = cards.AUTHORISED if action == "confirm" else cards.NOT_AUTHENTICATED
        return _decided(world, link, card, outcome)
    if action != "pay":
        return _form(world, link)
    number = form.get("number", "").replace(" ", "")
    card = {"number": number, "holder": form.get("holder", "")}
    if cards.is_challenged(number, card["holder"]):
        return _form(world, world.store.put(link | {"challenged": card}))
    return _decided(world, link, card, cards.outcome_of(number, card["holder"]))


def _decided(world: World, link: Json, card: Json, outcome: cards.Outcome) -> Answer:
    amount = link["amount"]
    payment = payments.new_payment(
        world, link["reference"], (amount["value"], amount["currency"]),
        manual=bool(link.get("manualCapture")), shopper=link.get("shopperReference"),
        link=link["id"],
    )  # fmt: skip
    stores = link.get("storePaymentMethodMode") == "enabled"
    payments.authorise(world, payment, outcome, card if stores else None, None)
    if outcome.result != "Authorised":
        after = world.store.put(link | {"challenged": None})
        return _form(world, after, wrong=outcome.reason)
    return _back(world.store.put(link | {"status": "completed"}))


def _back(link: Json) -> Answer:
    target = link.get("returnUrl") or link["url"]
    return Answer(303, b"", HTML, ((b"location", target.encode()), *HEADERS))


def _form(world: World, link: Json, wrong: str = "") -> Answer:
    step = "bank" if link["challenged"] is not None else "form"
    return _page(world, 200, step=step, link=link, wrong=wrong)


def _page(world: World, status: int, *, step: str, link: Json | None = None, wrong: str = "",
          ) -> Answer:  # fmt: skip
    amount = ""
    if link is not None:
        currency = link["amount"]["currency"]
        whole = link["amount"]["value"] / 10 ** get_currency_precision(currency)
        amount = format_currency(whole, currency, locale="en")
    values: dict[str, Any] = {
        "step": step, "amount": amount, "wrong": wrong, "style": STYLE,
        "merchant": world.settings.merchant, "description": (link or {}).get("description", ""),
    }  # fmt: skip
    return Answer(status, PAGE.render(values).encode(), HTML, HEADERS)


def _link(world: World, identifier: str) -> Json:
    link = world.store.find(LINK, identifier)
    if link is None:
        raise AdyenRefusal("Payment link not found", "703", status=404)
    return link
