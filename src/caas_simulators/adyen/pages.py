"""The pages behind payment links of the simulated Adyen: a card's form, and its bank's question."""

from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from babel.numbers import format_currency, get_currency_precision
from jinja2 import Environment

from caas_simulators.adyen import cards, payments
from caas_simulators.adyen.links import LINK, PATH
from caas_simulators.adyen.page_texts import TEXTS
from caas_simulators.adyen.world import Json, World
from caas_simulators.http_server import Answer, Request
from caas_simulators.payment_page_texts import language_of

HTML: Final = b"text/html; charset=utf-8"
HEADERS: Final = (
    (b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy",
     b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"),
    (b"vary", b"accept-language"),
)  # fmt: skip
PAGE: Final = Environment(autoescape=True).from_string(
    Path(__file__).with_name("page.html").read_text("utf-8")
)
STYLE: Final = Path(__file__).parent.with_name("payment_page.css").read_text("utf-8")
LOCALES: Final = {"en": "en_IE", "es": "es_ES"}


def handle(world: World, request: Request) -> Answer:
    """Show a page, or take its form."""
    wanted = request.header(b"accept-language")
    link = world.store.find(LINK, request.path.removeprefix(PATH))
    if link is None:
        return _page(world, 404, step="unknown", language=language_of(wanted))
    page = LinkPage(world, link, language_of(link.get("shopperLocale") or wanted))
    if link["status"] != "active":
        return page.shown(410, link["status"])
    if request.method != "POST":
        return page.form()
    return page.taken(dict(parse_qsl(request.body.decode("utf-8", "replace"))))


class LinkPage:
    """The page of one link, in the language of its shopper."""

    def __init__(self, world: World, link: Json, language: str) -> None:
        """Show this link."""
        self._world = world
        self._link = link
        self._language = language

    def taken(self, form: dict[str, str]) -> Answer:
        """Take the form of a page."""
        action, card = form.get("action"), self._link["challenged"]
        if action == "leave":
            return self._back()
        if card is not None and action in ("confirm", "reject"):
            outcome = cards.AUTHORISED if action == "confirm" else cards.NOT_AUTHENTICATED
            return self._decided(card, outcome)
        if card is not None or action != "pay":
            return self.form()
        number = form.get("number", "").replace(" ", "")
        card = {"number": number, "holder": form.get("holder", "")}
        if cards.is_challenged(number, card["holder"]):
            self._change(challenged=card)
            return self.form()
        return self._decided(card, cards.outcome_of(number, card["holder"]))

    def form(self, *, wrong: bool = False) -> Answer:
        """Ask for a card, or for the shopper's confirmation."""
        return self.shown(200, "bank" if self._link["challenged"] else "form", wrong=wrong)

    def shown(self, status: int, step: str, *, wrong: bool = False) -> Answer:
        """Return the page at a step."""
        return _page(
            self._world, status, step=step, language=self._language, link=self._link, wrong=wrong
        )

    def _decided(self, card: Json, outcome: cards.Outcome) -> Answer:
        link, amount = self._link, self._link["amount"]
        payment = payments.new_payment(
            self._world, link["reference"], (amount["value"], amount["currency"]),
            manual=bool(link.get("manualCapture")), shopper=link.get("shopperReference"),
            link=link["id"],
        )  # fmt: skip
        stores = link.get("storePaymentMethodMode") == "enabled"
        payments.authorise(self._world, payment, outcome, card if stores else None, None)
        if outcome.result != "Authorised":
            self._change(challenged=None)
            return self.form(wrong=True)
        self._change(status="completed")
        return self._back()

    def _change(self, **changed: object) -> None:
        self._link = self._world.store.put(self._link | changed)

    def _back(self) -> Answer:
        target = self._link.get("returnUrl") or self._link["url"]
        return Answer(303, b"", HTML, ((b"location", target.encode()), *HEADERS))


def _page(
    world: World, status: int, *, step: str, language: str, link: Json | None = None,
    wrong: bool = False,
) -> Answer:  # fmt: skip
    values: dict[str, Any] = {
        "step": step, "language": language, "t": TEXTS[language], "wrong": wrong, "style": STYLE,
        "amount": _amount(link, language) if link else "", "merchant": world.settings.merchant,
        "description": (link or {}).get("description", ""),
    }  # fmt: skip
    return Answer(status, PAGE.render(values).encode(), HTML, HEADERS)


def _amount(link: Json, language: str) -> str:
    currency = link["amount"]["currency"]
    whole = Decimal(link["amount"]["value"]).scaleb(-get_currency_precision(currency))
    return format_currency(whole, currency, locale=LOCALES[language])
