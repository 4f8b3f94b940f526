"""The words of the channels: every one in both languages, and every one that a page asks for."""

import re
import string
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from caas.console.formats import filters
from caas.console.languages import Translator, catalogue, chosen
from caas.console.payment_view import Situation
from caas.rules.market import LOCALES
from caas.rules.order_states import OrderState
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from caas.rules.postings import LOSS_CAUSES, OTHER
from caas.rules.vehicle_states import VehicleState

CONSOLE = Path(__file__).resolve().parents[2] / "src" / "caas" / "console"
ASKED = re.compile(r"""\bt\(\s*["']([\w.]+)["']\s*[,)]""")


def places(words: object) -> set[str]:
    """Return the names that a text leaves open."""
    texts = [words] if isinstance(words, str) else list(words.values())  # type: ignore[attr-defined]
    return {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_words_with_the_same_places() -> None:
    spanish, english = catalogue("es"), catalogue("en")

    assert spanish.keys() == english.keys()
    assert {key: places(spanish[key]) for key in spanish} == {
        key: places(english[key]) for key in english
    }


def test_every_word_that_a_page_asks_for_by_name_is_there() -> None:
    asked = {
        (path.name, key)
        for path in CONSOLE.rglob("*.html")
        for key in ASKED.findall(path.read_text())
    }

    assert len(asked) > 100
    assert [pair for pair in sorted(asked) if pair[1] not in catalogue("es")] == []


@pytest.mark.parametrize("language", LOCALES)
def test_every_state_has_its_words(language: str) -> None:
    words = catalogue(language)
    orders = [state.value.replace(" ", "_") for state in OrderState]
    needed = [
        *(f"order_state.{slug}" for slug in orders),
        *(f"mine.{slug}.{part}" for slug in [*orders, "paying"] for part in ("title", "text")),
        *(f"vehicle_state.{state.value.replace(' ', '_')}" for state in VehicleState),
        *(f"situation.{situation}" for situation in Situation),
        *(f"payments.text.{situation}" for situation in Situation),
        *(f"payment_type.{kind}" for kind in PaymentType),
        *(f"payment_state.{state.value.lower()}" for state in PaymentState),
    ]

    assert [key for key in needed if key not in words] == []


@pytest.mark.parametrize("language", LOCALES)
def test_every_kind_of_case_has_a_name_and_says_what_to_do(language: str) -> None:
    words = catalogue(language)
    runbook = (CONSOLE.parents[2] / "docs" / "operations.md").read_text("utf-8")
    table = runbook.partition("\n## Alerts and cases\n")[2].partition("\n## ")[0]
    kinds = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)

    assert len(kinds) > 30
    assert [kind for kind in kinds if f"case.{kind}" not in words] == []
    assert [kind for kind in kinds if f"advice.{kind}" not in words] == []


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("es-ES,es;q=0.9,en;q=0.8", "es"),
        ("en-GB,en;q=0.9", "en"),
        ("de-DE,de;q=0.9,en;q=0.5", "en"),
        ("en;q=0.3,es;q=0.7", "es"),
        ("en;q=0, es;q=0.1", "es"),
        ("fr", "es"),
        ("", "es"),
        (";;;,,q=1", "es"),
        ("en" * 5000, "es"),
    ],
)
def test_the_browser_chooses_the_language(accepted: str, language: str) -> None:
    assert chosen(cookie=None, accept_language=accepted, default="es") == language


def test_what_was_picked_counts_more_than_what_the_browser_asks_for() -> None:
    assert chosen(cookie="en", accept_language="es", default="es") == "en"
    assert chosen(cookie="xx", accept_language="es", default="en") == "es"


def test_a_number_chooses_the_plural() -> None:
    spanish, english = Translator("es"), Translator("en")

    assert [spanish("days", n=1), spanish("days", n=30)] == ["1 día", "30 días"]
    assert [english("days", n=1), english("days", n=0)] == ["1 day", "0 days"]


def test_days_of_two_years_are_shown_with_their_years() -> None:
    """A purchase of 365 days read "1 Dec to 1 Dec"."""
    start, end = datetime(2026, 12, 1, 12, tzinfo=UTC), datetime(2027, 12, 1, 12, tzinfo=UTC)
    day = filters("en", UTC)["short_day_beside"]

    assert "2026" in day(start, end)
    assert "2027" in day(end, start)
    assert "2026" not in day(start, start)


@pytest.mark.parametrize("language", ["en", "es"])
def test_every_cause_of_a_loss_has_a_name(language: str) -> None:
    causes = (LOSS_CAUSES - {OTHER}) | {"any_other"}

    assert {it for it in causes if f"loss.{it}" not in catalogue(language)} == set()


@pytest.mark.parametrize("language", ["en", "es"])
def test_every_kind_of_job_has_a_name(language: str) -> None:
    table = (CONSOLE.parents[2] / "docs" / "architecture.md").read_text()
    kinds = set(re.findall(r"^\| `(\w+)` \| `caas", table, re.MULTILINE))
    words = CONSOLE / "locales" / language / "operations_values.toml"

    named = tomllib.loads(words.read_text())["job"]

    assert "authorize" in kinds
    assert kinds - named.keys() == set()
