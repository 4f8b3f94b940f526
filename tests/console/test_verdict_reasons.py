"""The reasons of days and runs are in the language of the page, whatever they are."""

import re
from datetime import date
from pathlib import Path

import pytest

import caas.billing_database
from caas import external_systems
from caas.console.languages import Translator
from caas.console.verdict_reasons import (
    OF_LINES,
    REASONS,
    reasons_of_day,
    reasons_of_line,
    reasons_of_run,
)
from caas.external_systems import reconciliation_workbench_identities as identities
from caas.reconciliation.judged_rows import FACTS
from caas.reconciliation.known_rows import remarks
from caas.rules.market import LOCALES

MIGRATION = Path(caas.billing_database.__file__).parent / "migrations" / "0001_schema.sql"
SPANISH = Translator("es")


def written(because: str) -> list[str]:
    return [it.written(SPANISH) for it in reasons_of_day(because)]


def test_every_reason_of_the_view_has_its_code() -> None:
    [view] = re.findall(
        r"create view reconciliation_verdicts as(.*?);\n\n", MIGRATION.read_text(), re.DOTALL
    )
    stated = {it.removesuffix(": ") for it in re.findall(r"'([^']*)'", view) if " " in it}

    assert stated - {"; ", "open discrepancies"} == set(REASONS)


def test_reasons_are_written_in_spanish() -> None:
    """They were English on the pages in Spanish."""
    assert written("a report is still open; lines that could not be read: 3") == [
        "un informe sigue abierto", "líneas que no se han podido leer: 3",
    ]  # fmt: skip
    assert written("not resolved: 2; a report is still open") == [
        "discrepancias sin resolver: 2", "un informe sigue abierto",
    ]  # fmt: skip


@pytest.mark.parametrize("language", LOCALES)
@pytest.mark.parametrize("text", REASONS)
def test_every_reason_has_a_text(language: str, text: str) -> None:
    [reason] = reasons_of_day(f"{text}: 7") if "{n}" in _raw(text) else reasons_of_day(text)

    assert reason.written(Translator(language))


def _raw(text: str) -> str:
    return SPANISH(f"verdict_reason.{REASONS[text]}")


def test_a_run_says_why_it_stopped_and_what_refused_it() -> None:
    [failed] = reasons_of_run("unexpected error (OSError); see the log")
    [refused] = reasons_of_run("The file is empty.")

    assert failed.written(SPANISH) == "Error inesperado (OSError). Consulta el registro."
    assert (refused.code, refused.written(SPANISH)) == (None, "The file is empty.")
    assert reasons_of_run(None) == reasons_of_day(None) == []


@pytest.mark.parametrize("language", LOCALES)
def test_every_fact_of_a_discrepancy_has_a_name(language: str) -> None:
    t = Translator(language)

    assert [name for name in [*FACTS, "dispute", "claimed"] if not t.knows(f"fact.{name}")] == []


def test_every_reason_of_a_line_has_its_code() -> None:
    """They were English on the pages in Spanish."""
    folder = Path(external_systems.__file__).parent
    files = [*folder.glob("report_formats/*.sql"), folder / "report_mappings.py"]
    sql = "\n".join(it.read_text() for it in files)
    checks = (folder / "report_formats" / "checks.sql").read_text()
    stated = set(re.findall(r"then '([^']+)'", checks))
    for block in re.findall(r"case when(?:(?!\bend\b).)*?end as refused", sql, re.DOTALL):
        stated |= set(re.findall(r"then '([^']+)'", block))
    reading = (folder / "reconciliation_workbench_reading.py").read_text()
    stated |= set(re.findall(r"set reason = '([^'{]+)'", reading))
    stated |= {identities.TWICE, identities.SAME, identities.STORED_OTHERWISE}

    assert stated == set(OF_LINES)


@pytest.mark.parametrize("language", LOCALES)
@pytest.mark.parametrize("text", [*OF_LINES, f"{identities.OTHERWISE}2026-12-01"])
def test_every_reason_of_a_line_has_a_text(language: str, text: str) -> None:
    [reason] = reasons_of_line(text)

    assert reason.code is not None
    assert reason.written(Translator(language))


def test_what_a_decoder_says_of_a_line_stays_as_it_is() -> None:
    [reason] = reasons_of_line("Expected `int`, got `str` - at `$.gross`")

    assert reason.code is None


def test_the_remarks_of_a_run_are_written_in_spanish() -> None:
    noted = remarks({date(2026, 12, 1): 2, date(2026, 12, 3): 1}, 4)
    elsewhere, fees = (it.written(SPANISH) for it in reasons_of_run(noted))

    assert elsewhere == (
        "Líneas ya almacenadas en otro informe, que no se aplican de nuevo: 2 del 2026-12-01, "
        "1 del 2026-12-03."
    )
    assert fees.startswith("No comparables: las comisiones de 4 líneas")
    assert (
        len(reasons_of_run(remarks({}, 1))) == len(reasons_of_run(remarks({date.max: 1}, 0))) == 1
    )
