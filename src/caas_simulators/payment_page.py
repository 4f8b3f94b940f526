"""The hosted payment page: the customer enters the card on the gateway's own origin.

"Security and Compliance Considerations" of the seed: the payment form is the gateway's. The
platform redirects the customer here, and the page redirects back to the platform's return URL.

Rules a change must keep: a card number is read here and replaced by the token of its test card; it
is neither stored, logged nor displayed again; the page runs no script and loads nothing; the
customer is redirected to http or https only; every form works with the keyboard and with screen
readers.
"""

import base64
import hashlib
import re
from decimal import Decimal
from importlib.resources import files
from urllib.parse import parse_qsl, urlsplit

import msgspec
from babel.numbers import format_currency, get_currency_precision
from jinja2 import Environment, StrictUndefined

from caas_simulators.gateway_records import Booking
from caas_simulators.gateway_transactions import may_return_to
from caas_simulators.gateway_world import GatewayWorld
from caas_simulators.http_server import Answer, Request
from caas_simulators.payment_methods import PAYMENT_METHODS, card_is_valid, token_of_card
from caas_simulators.payment_page_texts import TEXTS, language_of

HTML = b"text/html; charset=utf-8"
_FILES = files("caas_simulators")
_STYLE = (_FILES / "payment_page.css").read_text("utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
    (_FILES / "payment_page.html").read_text("utf-8").replace("{{ style }}", _STYLE)
)
_EXPIRY = re.compile(r"\s*(0[1-9]|1[0-2])\s*/?\s*(?:20)?([0-9]{2})\s*", re.ASCII)
_CVC = re.compile(r"\s*[0-9]{3,4}\s*", re.ASCII)
STEP_OF_STATUS = {
    "pending": "waiting",
    "authorized": "paid",
    "capturing": "paid",
    "settled": "paid",
    "refunded": "paid",
    "settlement_failed": "declined",
    "failed": "declined",
    "voided": "left",
}


class Page(msgspec.Struct, frozen=True):
    """The content of a page: its step, and the fields to correct."""

    step: str
    heading: str
    status: int = 200
    errors: tuple[str, ...] = ()


def handle(world: GatewayWorld, request: Request) -> Answer:
    """Show a hosted page, or process its form and continue."""
    booking = world.store.bookings.get(request.path.removeprefix("/pay/"))
    if booking is None:
        return _shown(world, request, None, Page("unknown", "unknown_heading", 404))
    if request.method == "GET":
        return _shown(world, request, booking, _page_at(booking))
    if request.method != "POST":
        return Answer(405, headers=((b"allow", b"GET, POST"),))
    form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
    if booking.transaction.status == "requires_action":
        errors = _submitted(world, booking, form)
        if errors:
            page = Page("card", "pay_heading", 422, errors)
            return _shown(world, request, booking, page)
    return _onwards(booking)


def _submitted(world: GatewayWorld, booking: Booking, form: dict[str, str]) -> tuple[str, ...]:
    """Process the form; return the fields that must be corrected first."""
    match form.get("action"), booking.challenge_open:
        case "leave", _:
            world.transactions.customer_leaves(booking)
        case "decline", False:
            world.transactions.pay_with(booking, PAYMENT_METHODS["pm_declined"])
        case "reject", True:
            world.transactions.decline(booking, "authentication_failed")
        case "confirm", True:
            world.transactions.authorize(booking)
        case "pay", False:
            errors = _errors(form, world.clock.today())
            if errors:
                return errors
            token = form.get("method") or token_of_card(form["number"])
            world.transactions.pay_with(booking, PAYMENT_METHODS[token])
        case _:
            pass  # A form of an earlier step: show the payment's current step.
    return ()


def _errors(form: dict[str, str], today: str) -> tuple[str, ...]:
    if form.get("method"):
        return () if form["method"] in PAYMENT_METHODS else ("method",)
    wrong = {
        "number": not card_is_valid(form.get("number", "")),
        "expiry": not _expiry_is_ahead(form.get("expiry", ""), today),
        "cvc": _CVC.fullmatch(form.get("cvc", "")) is None,
    }
    return tuple(field for field, is_wrong in wrong.items() if is_wrong)


def _expiry_is_ahead(text: str, today: str) -> bool:
    expiry = _EXPIRY.fullmatch(text)
    return expiry is not None and (expiry[2] + expiry[1]) >= today[2:4] + today[5:7]


def _onwards(booking: Booking) -> Answer:
    """Redirect the customer to the merchant, or to the next step of this page."""
    target = f"/pay/{booking.transaction.id}"
    if booking.transaction.status != "requires_action" and _return_url(booking):
        target = _return_url(booking)
    return Answer(303, b"", HTML, ((b"location", target.encode()), *_headers(booking)))


def _page_at(booking: Booking) -> Page:
    if booking.transaction.status != "requires_action":
        return Page(STEP_OF_STATUS[booking.transaction.status], "done_heading")
    if booking.challenge_open:
        return Page("challenge", "challenge_heading")
    return Page("card", "pay_heading")


def _shown(world: GatewayWorld, request: Request, booking: Booking | None, page: Page) -> Answer:
    language = language_of(request.header(b"accept-language"))
    text = _PAGE.render(
        language=language,
        t=TEXTS[language],
        heading=page.heading,
        step=page.step,
        errors=page.errors,
        merchant=world.settings.merchant,
        amount=_amount(booking, language) if booking else "",
        reference=booking.transaction.reference if booking else "",
        description=booking.description if booking else "",
        return_url=_return_url(booking) if booking else "",
        minutes=max(1, round((booking.due_at - world.clock.now()) / 60)) if booking else 0,
        methods=PAYMENT_METHODS.values(),
    )
    return Answer(page.status, text.encode(), HTML, _headers(booking))


def _amount(booking: Booking, language: str) -> str:
    currency = booking.transaction.currency
    value = Decimal(booking.transaction.amount).scaleb(-get_currency_precision(currency))
    return format_currency(
        value, currency, locale=f"{language}_{'ES' if language == 'es' else 'IE'}"
    )


def _return_url(booking: Booking) -> str:
    url = booking.return_url or ""
    return url if may_return_to(url) else ""


def _headers(booking: Booking | None) -> tuple[tuple[bytes, bytes], ...]:
    """Return the security headers of the page."""
    back = urlsplit(_return_url(booking)) if booking else None
    # Browsers apply form-action to a form's redirect too, so the merchant's origin is listed.
    merchant = f" {back.scheme}://{back.netloc}" if back and back.scheme else ""
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:;"
        f" form-action 'self'{merchant}; base-uri 'none'; frame-ancestors 'none'"
    )
    return (
        (b"content-security-policy", policy.encode()),
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"vary", b"accept-language"),
    )
