"""The hosted Checkout page and the page of the cardholder's bank, for a browser without scripts."""

import contextlib
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from jinja2 import Environment

from caas_simulators.http_server import Answer, Request
from caas_simulators.stripe import checkout, intents, setups
from caas_simulators.stripe.page_texts import TEXTS
from caas_simulators.stripe.refusals import Json, StripeRefusal
from caas_simulators.stripe.world import World

HTML: Final = b"text/html; charset=utf-8"
PAGE: Final = Environment(autoescape=True).from_string(
    Path(__file__).with_name("page.html").read_text("utf-8")
)
STYLE: Final = Path(__file__).parent.with_name("payment_page.css").read_text("utf-8")
HEADERS: Final = (
    (b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy",
     b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"),
)  # fmt: skip
CHECKOUT: Final = "/c/pay/"
BANK: Final = "/3ds/"


def handle(world: World, request: Request) -> Answer:
    """Answer a request to a page."""
    given = dict(parse_qsl(request.body.decode("utf-8", "replace")))
    posted = given if request.method == "POST" else None
    language = "es" if request.header(b"accept-language").startswith("es") else "en"
    if request.path.startswith(BANK):
        step = _bank(world, request.path.removeprefix(BANK), posted)
    else:
        step = _checkout(world, request.path.removeprefix(CHECKOUT), posted)
    return step if isinstance(step, Answer) else _shown(world, language, **step)


def _checkout(world: World, name: str, posted: Json | None) -> Answer | Json:
    session = world.store.find("checkout.session", name)
    if session is None:
        return {"status": 404, "step": "unknown"}
    if session["status"] == "complete":
        return _see(session["success_url"].replace(checkout.TEMPLATE, session["id"]))
    if session["status"] == "expired":
        return {"status": 410, "step": "expired", "back": session["cancel_url"]}
    if posted is None:
        return _form(world, session)
    return _paid(world, session, posted)


def _paid(world: World, session: Json, posted: Json) -> Answer | Json:
    if posted.get("action") == "leave":
        return _see(session["cancel_url"] or session["success_url"])
    number = posted.get("number", "").strip()
    saved = "" if number else posted.get("saved", "")
    try:
        intent = checkout.pay(world, session, number=number, saved=saved)
    except StripeRefusal as refusal:
        return _form(world, session, wrong=refusal.error["message"])
    if intent["status"] == "requires_action":
        return _see(f"{BANK}{intent['id']}")
    return _see(session["success_url"].replace(checkout.TEMPLATE, session["id"]))


def _form(world: World, session: Json, wrong: str = "") -> Json:
    items = [item["price_data"]["product_data"]["name"] for item in session["_items"]]
    return {
        "status": 200, "step": "form", "items": items, "wrong": wrong, "amount": _amount(session),
        "saved": checkout.saved_methods(world, session),
    }  # fmt: skip


def _amount(session: Json) -> str:
    if session["amount_total"] is None:
        return ""
    units = session["amount_total"] if session["currency"] in intents.WITHOUT_DECIMALS else None
    text = str(units) if units is not None else f"{session['amount_total'] / 100:,.2f}"
    return f"{text} {session['currency'].upper()}"


def _bank(world: World, name: str, posted: Json | None) -> Answer | Json:
    intent = world.store.find("payment_intent", name) or world.store.find("setup_intent", name)
    if intent is None:
        return {"status": 404, "step": "unknown"}
    if intent["status"] != "requires_action":
        return _see(_way_back(intent))
    if posted is None:
        return {"status": 200, "step": "bank"}
    with contextlib.suppress(StripeRefusal):  # declined after all: the intent has it
        _confirmed(world, intent, agreed=posted.get("action") == "confirm")
    return _see(_way_back(intent))


def _confirmed(world: World, intent: Json, *, agreed: bool) -> None:
    method = world.store.get("payment_method", intent["payment_method"])
    if intent["object"] == "setup_intent":
        if not agreed:
            setups.failed(world, intent, "setup_intent_authentication_failure")
            return
        setups.attempt(world, intent, method, authenticated=True)
    else:
        if not agreed:
            intents.authentication_failed(world, intent)
            return
        intents.attempt(world, intent, method, off_session=False, authenticated=True)
    session = world.store.find("checkout.session", intent["_session"])
    if session is not None and session["status"] == "open":
        checkout.completed(world, session, intent)


def _way_back(intent: Json) -> str:
    url: str = intent["_return_url"] or "about:blank"
    if intent["_session"] is not None:
        return url
    query = urlencode({intent["object"]: intent["id"],
                       "redirect_status": intent["status"]})  # fmt: skip
    return f"{url}{'&' if urlsplit(url).query else '?'}{query}"


def _see(url: str) -> Answer:
    return Answer(303, b"", HTML, (*HEADERS, (b"location", url.encode("ascii", "ignore"))))


def _shown(world: World, language: str, *, status: int, **facts: Any) -> Answer:
    text = PAGE.render(
        style=STYLE, merchant=world.settings.merchant, language=language, t=TEXTS[language], **facts
    )
    return Answer(status, text.encode(), HTML, HEADERS)
