"""An answer claims only what is known (decision 120): failures do not say that nothing happened."""

import re
import tomllib
from http import HTTPStatus

import pytest

from caas.api.documentation import known_errors
from caas.cli.commands import ExitStatus, status_of
from caas.external_systems.http_answers import OutcomeUnknownError, UnknownReason
from caas.rules.market import LOCALES
from caas.web.problems import SAFE_AGAIN, problem_of
from tests.conventions.sources import ROOT

CLAIMS = re.compile(
    r"nothing (was|is|has been|will be) (?!done twice)|(was|were|is) not (charged|sent|changed)"
    r"|safe\.|no se (ha|cobr)|nada se ha |a salvo",
    re.IGNORECASE,
)
FAILURES = {
    code: error for code, error in known_errors().items()
    if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR
}  # fmt: skip
NOT_REACHED = {"broker_unavailable"}
"""Failures that say so because it is known: no connection could be made."""
CHANGES_NOTHING = {"not_ready"}
"""Answers to a question that has no key and changes nothing."""


@pytest.mark.parametrize("code", FAILURES)
def test_a_failure_says_that_the_same_request_is_safe_and_not_that_nothing_happened(
    code: str,
) -> None:
    problem = problem_of(FAILURES[code](), request_id="one")

    claims = CLAIMS.search(problem.detail.removesuffix(SAFE_AGAIN))
    assert claims is None or code in NOT_REACHED, problem.detail
    assert problem.detail.endswith(SAFE_AGAIN) or code in CHANGES_NOTHING


def test_an_outcome_nobody_knows_is_told_as_one() -> None:
    unknown = OutcomeUnknownError(
        partner="The gateway", call="POST /transactions", reason=UnknownReason.TIMED_OUT
    )

    reported = problem_of(unknown, request_id="one").detail

    assert "is unknown" in reported
    assert reported.endswith(SAFE_AGAIN)
    assert status_of(unknown) is ExitStatus.ENVIRONMENT, "refused would mean: nothing was changed"


@pytest.mark.parametrize("language", LOCALES)
@pytest.mark.parametrize("kind", ["unavailable", "failure"])
def test_a_page_of_a_failure_claims_nothing(language: str, kind: str) -> None:
    path = ROOT / "src" / "caas" / "console" / "locales" / language / "all.toml"
    text = tomllib.loads(path.read_text())["error"][kind]["text"]

    assert CLAIMS.search(text) is None, text
