"""The words of a document in the language of who reads it; whoever reads another reads Spanish.

Rules a change must keep: pure; both languages have the same words.
"""

import tomllib
from functools import cache
from importlib import resources

from babel.dates import format_date

from caas.billing.document import Document, Reference
from caas.notifications.texts import money
from caas.rules.locales import LOCALES


def language_of(document: Document) -> str:
    """Return the language that a document is written in."""
    return document.language if document.language in LOCALES else "es"


@cache
def labels(language: str) -> dict[str, str]:
    """Return the words of a language, by what they are for."""
    source = (resources.files("caas.billing") / "document_words.toml").read_text("utf-8")
    labels_by_language: dict[str, dict[str, str]] = tomllib.loads(source)
    return labels_by_language.get(language, labels_by_language["es"])


def deduction(document: Document, deducted: Reference) -> str:
    """Say in one sentence which advance invoice is deducted, and how much of it."""
    language = language_of(document)

    def written(amount: int) -> str:
        return money(amount, document.currency, language=language).replace(
            "\N{NO-BREAK SPACE}", " "
        )

    return labels(language)["deduction"].format(
        number=deducted.number,
        date=format_date(deducted.issue_date, locale=LOCALES[language]),
        net=written(deducted.net),
        tax=written(deducted.tax),
        gross=written(deducted.gross),
    )
