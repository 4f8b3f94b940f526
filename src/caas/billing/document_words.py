"""Labels of documents per language; other languages fall back to Spanish.

Rule a change must keep: all languages have the same labels.
"""

import tomllib
from functools import cache
from importlib import resources

from babel.dates import format_date

from caas.billing.document import Document, Reference
from caas.notifications.texts import money
from caas.rules.locales import LOCALES


def language_of(document: Document) -> str:
    """Return the language of a document."""
    return document.language if document.language in LOCALES else "es"


@cache
def labels(language: str) -> dict[str, str]:
    """Return the labels of a language by key."""
    source = (resources.files("caas.billing") / "document_words.toml").read_text("utf-8")
    labels_by_language: dict[str, dict[str, str]] = tomllib.loads(source)
    return labels_by_language.get(language, labels_by_language["es"])


def deduction(document: Document, deducted: Reference) -> str:
    """Describe a deducted advance invoice and its amount in one sentence."""
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
