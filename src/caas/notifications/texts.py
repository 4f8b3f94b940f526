"""The words of every notification, in Spanish and English.

`TEMPLATES` names each template with the facts it needs; `es.toml` and `en.toml` hold its title and
text. Money and dates are written as the reader's locale writes them.

Rules a change must keep: a template has a text in every language; what a text names is a fact of
its template, and a missing fact is an error where the notification is told, never a blank; texts
hold no name of a person but the greeting of the letter.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import Decimal
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from babel.dates import format_date, format_datetime
from babel.numbers import format_currency
from jinja2 import Environment, StrictUndefined, Template

from caas.rules.locales import LOCALES
from caas.rules.mes_vencido import Month
from caas.rules.money import exponent
from caas.rules.retry_strategy import decline_kind

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
    "delivery_scheduled": frozenset({"order", "vin", "scheduled_for"}),
    "vehicle_delivered": frozenset({"order", "vin"}),
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
    "payment_method_to_confirm": OF_A_SERVICE,
    "payment_method_changed": frozenset({"service", "vin"}),
    "payment_method_not_changed": frozenset({"service", "vin"}),
    "billing_details_needed": frozenset({"address"}),
    "document_sent": OF_A_PAYMENT | {"number", "address"},
    "credit_note_sent": OF_A_PAYMENT | {"number", "invoice"},
    # What the diagrams do not draw
    "refund_done": OF_A_PAYMENT,
    "alert": frozenset({"kind", "sentence"}),
}


class UnknownTemplateError(ValueError):
    """No text was ever written for this template."""


class MissingFactError(ValueError):
    """A notification lacks a fact that its text names."""


@dataclass(frozen=True, slots=True)
class Words:
    """A notification in one language: its title and its text."""

    title: str
    text: str


def check_facts(template: str, facts: Mapping[str, Any]) -> None:
    """Refuse a notification that could not be written out.

    Raises:
        UnknownTemplateError: there is no such template.
        MissingFactError: a fact that the text names is not given, or is None.
    """
    needed = TEMPLATES.get(template)
    if needed is None:
        raise UnknownTemplateError(template)
    missing = sorted(name for name in needed if facts.get(name) is None)
    if missing:
        message = f"{template} lacks {', '.join(missing)}"
        raise MissingFactError(message)


def words(
    template: str,
    facts: Mapping[str, Any],
    *,
    language: str,
    zone: tzinfo,
    names: Mapping[str, str] = NO_NAMES,
) -> Words:
    """Write a notification out in a language ("es" when it is none of ours).

    `names` says what orders and services are called; what has no name is shown by its id.
    """
    check_facts(template, facts)
    language = language if language in LOCALES else "es"
    entry = _texts(language)[template]
    return Words(
        title=_written(entry["title"], facts, language, zone, names),
        text=_written(entry["text"], facts, language, zone, names).strip(),
    )


def letter(stated: Words, *, name: str, language: str) -> str:
    """Put a greeting before a text and the signature under it."""
    language = language if language in LOCALES else "es"
    form = _texts(language)["letter"]
    greeting = form["greeting"].format(name=name) if name else form["greeting_without_name"]
    return f"{greeting}\n\n{stated.text}\n\n{form['signature']}\n"


def bought(what: str, *, language: str, name: str, days: int = 0, month: str = "") -> str:
    """Say what is paid for, as the gateway's page shows it; `what` is a row of `bought`."""
    language = language if language in LOCALES else "es"
    written = _month(month, LOCALES[language]) if month else ""
    return str(_texts(language)["bought"][what]).format(name=name, days=days, month=written)


def money(amount: int, currency: str, *, language: str) -> str:
    """Write minor units as the locale does, every one of them: "12,99 €" or "€12.99"."""
    decimal = Decimal(amount).scaleb(-exponent(currency))
    locale = LOCALES.get(language, "es_ES")
    return format_currency(decimal, currency, locale=locale, decimal_quantization=False)


@cache
def _texts(language: str) -> dict[str, dict[str, str]]:
    folder = resources.files("caas.notifications")
    return tomllib.loads((folder / f"{language}.toml").read_text("utf-8"))


def _written(
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
    """Make the filters of one language; texts are plain, so nothing is escaped."""
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
    environment.filters["reason"] = lambda code: _texts(language)["decline"][_row(code)]
    return environment


def _row(code: str) -> str:
    return decline_kind(code).name.lower()


def _instant(at: str | datetime) -> datetime:
    return at if isinstance(at, datetime) else datetime.fromisoformat(at)


def _day(at: str | datetime, zone: tzinfo, locale: str) -> str:
    return format_date(_instant(at).astimezone(zone), "full", locale=locale)


def _month(key: str, locale: str) -> str:
    month = Month.parse(key)
    return format_date(date(month.year, month.number, 1), "LLLL yyyy", locale=locale)
