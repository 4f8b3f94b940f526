"""Notification templates in Spanish and English.

`TEMPLATES` lists each template with the facts it needs; `es.toml` and `en.toml` hold titles and
texts. Amounts and dates are formatted in the reader's locale.

Rules a change must keep: every template has a text in every language; a missing fact is an error at
`notify`, never a blank; no text contains a person's name except the greeting.
"""

import tomllib
from collections.abc import Mapping
from datetime import date, datetime, tzinfo
from decimal import Decimal
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

import msgspec
from babel.dates import format_date, format_datetime
from babel.numbers import format_currency
from jinja2 import Environment, StrictUndefined, Template

from caas.rules.market import LOCALES
from caas.rules.mes_vencido import Month
from caas.rules.money import exponent
from caas.rules.payment_failures import reason_for_customers

NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})
OF_A_PAYMENT: Final = frozenset({"amount", "currency"})
OF_AN_ORDER: Final = OF_A_PAYMENT | {"order"}
OF_A_SERVICE: Final = OF_A_PAYMENT | {"service", "vin"}
OF_AN_INVOICE: Final = OF_A_PAYMENT | {"number", "month"}

TEMPLATES: Final[Mapping[str, frozenset[str]]] = {
    # Diagram 2
    "access_credentials": frozenset({"access_url"}),
    "reservation_complete": OF_AN_ORDER,
    "reservation_failed": OF_AN_ORDER | {"decline_code"},
    "reservation_not_possible": OF_AN_ORDER,
    "factory_refused": OF_AN_ORDER,
    # Diagram 3
    "vehicle_ready": OF_AN_ORDER | {"vin"},
    "payment_confirmed": OF_AN_ORDER,
    "reservation_lost": OF_AN_ORDER | {"decline_code"},
    "final_payment_not_made": OF_AN_ORDER | {"decline_code"},
    "delivery_scheduled": frozenset({"order", "vin", "scheduled_for"}),
    "vehicle_delivered": frozenset({"order", "vin"}),
    "withdrawal_received": frozenset({"order"}),
    "order_withdrawn": frozenset({"order"}),
    "vehicle_returned": frozenset({"order", "vin"}),
    # Diagrams 4 and 8
    "service_active": OF_A_SERVICE,
    "service_payment_failed": OF_A_SERVICE | {"decline_code"},
    "service_not_activated_not_charged": OF_A_SERVICE,
    "service_withdrawn": frozenset({"service", "vin"}),
    # Diagram 6
    "subscription_active": OF_A_SERVICE,
    "subscription_not_activated": frozenset({"service", "vin"}),
    "subscription_ended": frozenset({"service", "vin"}),
    "subscription_withdrawn": frozenset({"service", "vin"}),
    "invoice_sent": OF_AN_INVOICE,
    "subscription_payment_retried": OF_AN_INVOICE | {"service", "decline_code", "until"},
    "subscription_payment_in_grace": OF_AN_INVOICE | {"service", "decline_code", "until"},
    "subscription_cancelled_payment_failed": OF_A_SERVICE | {"month", "decline_code"},
    "subscription_payment_to_confirm": OF_AN_INVOICE | {"service"},
    "payment_method_to_confirm": frozenset({"service", "vin"}),
    "payment_method_changed": frozenset({"service", "vin"}),
    "payment_method_not_changed": frozenset({"service", "vin"}),
    "billing_details_needed": frozenset({"address"}),
    "document_sent": OF_A_PAYMENT | {"number", "address"},
    "credit_note_sent": OF_A_PAYMENT | {"number", "invoice"},
    # Beyond the diagrams
    "refund_done": OF_A_PAYMENT,
    "refund_returned": OF_A_PAYMENT,
    "alert": frozenset({"kind", "sentence"}),
}


class UnknownTemplateError(ValueError):
    """No template has this name."""


class MissingFactError(ValueError):
    """A fact that the template's text uses is missing."""


class Words(msgspec.Struct, frozen=True):
    """Title and text of a notification in one language."""

    title: str
    text: str


def check_facts(template: str, facts: Mapping[str, Any]) -> None:
    """Check that a notification can be rendered.

    Raises:
        UnknownTemplateError: no such template.
        MissingFactError: a fact that the text uses is missing or None.
    """
    needed = TEMPLATES.get(template)
    if needed is None:
        raise UnknownTemplateError(template)
    missing = sorted(name for name in needed if facts.get(name) is None)
    if missing:
        message = f"{template} is missing {', '.join(missing)}"
        raise MissingFactError(message)


def words(
    template: str,
    facts: Mapping[str, Any],
    *,
    language: str,
    zone: tzinfo,
    names: Mapping[str, str] = NO_NAMES,
) -> Words:
    """Render a notification; unsupported languages fall back to Spanish.

    `names` maps orders and services to their names; others appear as ids.
    """
    check_facts(template, facts)
    language = language if language in LOCALES else "es"
    entry = _texts(language)[template]
    return Words(
        title=_render(entry["title"], facts, language, zone, names),
        text=_render(entry["text"], facts, language, zone, names).strip(),
    )


def letter(stated: Words, *, name: str, language: str) -> str:
    """Add the greeting and the signature to a text."""
    language = language if language in LOCALES else "es"
    form = _texts(language)["letter"]
    greeting = form["greeting"].format(name=name) if name else form["greeting_without_name"]
    return f"{greeting}\n\n{stated.text}\n\n{form['signature']}\n"


def bought(what: str, *, language: str, name: str, days: int = 0, month: str = "") -> str:
    """Return the description of a payment for the gateway's page; `what` is a row of `bought`."""
    language = language if language in LOCALES else "es"
    written = _month(month, LOCALES[language]) if month else ""
    return str(_texts(language)["bought"][what]).format(name=name, days=days, month=written)


def money(amount: int, currency: str, *, language: str) -> str:
    """Format minor units with all decimals in a locale: "12,99 €" or "€12.99"."""
    decimal = Decimal(amount).scaleb(-exponent(currency))
    locale = LOCALES.get(language, "es_ES")
    return format_currency(decimal, currency, locale=locale, decimal_quantization=False)


@cache
def _texts(language: str) -> dict[str, dict[str, str]]:
    folder = resources.files("caas.notifications")
    return tomllib.loads((folder / f"{language}.toml").read_text("utf-8"))


def _render(
    source: str, facts: Mapping[str, Any], language: str, zone: tzinfo, names: Mapping[str, str]
) -> str:
    def named(thing: str) -> str:
        return names.get(thing, thing)

    return _compiled(source, language).render({**facts, "zone": zone, "named": named})


@cache
def _compiled(source: str, language: str) -> Template:
    return _environment(language).from_string(source)


@cache
def _environment(language: str) -> Environment:
    """Create the Jinja environment of one language; texts are plain, so nothing is escaped."""
    locale = LOCALES[language]
    environment = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701  # no HTML
    environment.globals["money"] = lambda amount, currency: money(
        amount, currency, language=language
    )
    environment.globals["day"] = lambda at, zone: _day(at, zone, locale)
    environment.globals["moment"] = lambda at, zone: format_datetime(
        _instant(at).astimezone(zone), "long", locale=locale
    )
    environment.filters["month"] = lambda key: _month(key, locale)
    environment.filters["reason"] = lambda code: _texts(language)["decline"][
        reason_for_customers(code)
    ]
    return environment


def _instant(at: str | datetime) -> datetime:
    return at if isinstance(at, datetime) else datetime.fromisoformat(at)


def _day(at: str | datetime, zone: tzinfo, locale: str) -> str:
    return format_date(_instant(at).astimezone(zone), "full", locale=locale)


def _month(key: str, locale: str) -> str:
    month = Month.parse(key)
    return format_date(date(month.year, month.number, 1), "LLLL yyyy", locale=locale)
