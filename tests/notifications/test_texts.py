"""The words of notifications: every template, both languages, nothing blank."""

import re
import tomllib
from datetime import UTC, datetime
from importlib import resources
from zoneinfo import ZoneInfo

import pytest

from caas.notifications import texts
from caas.rules.market import LOCALES

MADRID = ZoneInfo("Europe/Madrid")
FACTS = {
    "access_url": "https://caas.example/enter/abc",
    "amount": 129900,
    "currency": "EUR",
    "order": "0190-order",
    "vin": "VIN1",
    "service": "heated-seats",
    "decline_code": "insufficient_funds",
    "scheduled_for": "2026-11-30T09:00:00Z",
    "until": datetime(2026, 12, 3, 23, 30, tzinfo=UTC),
    "number": "2026-000007",
    "invoice": "2026-000001",
    "month": "2026-10",
    "address": "https://caas.example/invoices/0190.pdf",
    "kind": "gateway_unreachable",
    "sentence": "The gateway does not answer.",
}
CASES = [(template, language) for template in texts.TEMPLATES for language in LOCALES]


@pytest.mark.parametrize(("template", "language"), CASES)
def test_every_template_is_written_out_from_its_facts_alone(template: str, language: str) -> None:
    facts = {name: FACTS[name] for name in texts.TEMPLATES[template]}

    stated = texts.words(template, facts, language=language, zone=MADRID)

    assert stated.title
    assert stated.text
    assert not re.search(r"[{}]|None|Undefined|  ", stated.title + stated.text)


@pytest.mark.parametrize(("template", "language"), CASES)
def test_every_fact_a_template_needs_is_named_in_its_text(template: str, language: str) -> None:
    entry = texts._texts(language)[template]
    named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"\{\{.*?\}\}", str(entry)))))

    assert texts.TEMPLATES[template] <= named | {"kind"}


@pytest.mark.parametrize("language", LOCALES)
def test_no_text_stands_there_that_no_template_uses(language: str) -> None:
    source = (resources.files("caas.notifications") / f"{language}.toml").read_text("utf-8")

    assert set(tomllib.loads(source)) == {*texts.TEMPLATES, "letter", "decline", "bought"}


@pytest.mark.parametrize("template", texts.TEMPLATES)
def test_a_missing_fact_is_refused_where_it_is_told(template: str) -> None:
    needed = sorted(texts.TEMPLATES[template])
    facts = {name: FACTS[name] for name in needed[1:]}

    with pytest.raises(texts.MissingFactError, match=needed[0]):
        texts.check_facts(template, facts)


def test_a_template_nobody_wrote_is_refused() -> None:
    with pytest.raises(texts.UnknownTemplateError):
        texts.check_facts("happy_birthday", {})


def test_a_ready_vehicle_tells_what_a_failed_final_payment_costs() -> None:
    stated = {
        language: texts.words("vehicle_ready", FACTS, language=language, zone=MADRID).text
        for language in LOCALES
    }

    assert "pierde la reserva" in stated["es"]
    assert "sin asignar" in stated["es"]
    assert "you lose the reservation" in stated["en"]


@pytest.mark.parametrize(
    ("amount", "currency", "spanish", "english"),
    [
        (129900, "EUR", "1.299,00\N{NO-BREAK SPACE}€", "€1,299.00"),
        (1299, "JPY", "1.299\N{NO-BREAK SPACE}JPY", "JP¥1,299"),
        (5, "EUR", "0,05\N{NO-BREAK SPACE}€", "€0.05"),
    ],
)
def test_money_is_written_as_the_locale_does(
    amount: int, currency: str, spanish: str, english: str
) -> None:
    assert texts.money(amount, currency, language="es") == spanish
    assert texts.money(amount, currency, language="en") == english


def test_dates_are_those_of_the_market_not_of_utc() -> None:
    facts = {**FACTS, "scheduled_for": "2026-11-30T23:30:00Z"}

    spanish = texts.words("delivery_scheduled", facts, language="es", zone=MADRID).text
    english = texts.words("delivery_scheduled", facts, language="en", zone=MADRID).text

    assert "martes, 1 de diciembre de 2026" in spanish
    assert "1 December 2026" in english


def test_a_decline_is_told_in_words_and_an_unknown_code_is_not_repeated() -> None:
    known = texts.words("reservation_lost", FACTS, language="es", zone=MADRID).text
    odd = {**FACTS, "decline_code": "weird_9000"}
    unknown = texts.words("reservation_lost", odd, language="en", zone=MADRID).text

    assert "no hay fondos suficientes" in known
    assert "the amount could not be charged" in unknown
    assert "weird_9000" not in unknown


def test_a_language_that_is_none_of_ours_is_spanish() -> None:
    stated = texts.words("refund_done", FACTS, language="xx", zone=MADRID)

    assert stated.title == "Devolución realizada"
    assert texts.letter(stated, name="", language="xx").startswith("Hola:")


def test_facts_are_text_never_a_template_of_their_own() -> None:
    facts = {**FACTS, "sentence": "{{ 7 * 7 }} <b>"}

    stated = texts.words("alert", facts, language="en", zone=MADRID)

    assert stated.text == "{{ 7 * 7 }} <b>"


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("code", ["unsupported_currency", "invalid_request_error", "unauthorized"])
def test_what_our_settings_prevent_is_not_blamed_on_the_card(language: str, code: str) -> None:
    facts = {"order": "o", "amount": 1, "currency": "EUR", "decline_code": code}

    text = texts.words("reservation_failed", facts, language=language, zone=UTC).text

    blamed = {"en": "the card is not the cause", "es": "la causa no es la tarjeta"}[language]
    assert blamed in " ".join(text.split())
    assert code.replace("_", " ") not in text
