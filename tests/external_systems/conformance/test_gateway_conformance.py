"""The simulated gateways conform: the tests run the cases that the command runs.

One of them accepts captures and voids first, and decides them later.
"""

import pytest
from msgspec.structs import replace

from caas_lab.conformance.cases import Verdict
from caas_lab.conformance.gateway_runner import GATEWAY_CASES, run_gateway_cases
from tests.external_systems.conformance.simulated import (
    adyen_terms,
    contract_terms,
    later_terms,
    stripe_terms,
)

GATEWAYS = {
    "adyen": adyen_terms, "contract": contract_terms, "later": later_terms,
    "stripe": stripe_terms,
}  # fmt: skip
NOT_BY_REFERENCE = {
    "what_was_initiated_is_found_by_its_reference",
    "a_reference_that_was_never_used_has_no_transactions",
    "a_request_whose_answer_was_lost_is_unknown_and_found",
    "an_error_that_is_repeated_for_a_key_hides_no_transaction",
}
EXCUSED = {
    "adyen": NOT_BY_REFERENCE
    | {
        "a_part_can_be_captured", "a_webhook_of_long_ago_is_refused",
        "the_report_shows_what_was_captured_and_adds_up",
        "what_was_never_initiated_is_reported_absent",
    },
    "contract": set[str](),
    "later": set[str](),
    "stripe": {"a_part_can_be_captured"},
}  # fmt: skip
BY_NAME = {case.name: case for case in GATEWAY_CASES}


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("gateway", GATEWAYS)
async def test_a_gateway_does_what_the_platform_needs(gateway: str, name: str) -> None:
    async with GATEWAYS[gateway]() as terms:
        report = await run_gateway_cases(terms, cases=[BY_NAME[name]])

    [result] = report.cases
    if name in EXCUSED[gateway]:
        assert result.verdict is Verdict.EXCUSED
    else:
        assert (result.verdict, result.reason) == (Verdict.PASSED, "")


async def test_a_gateway_without_lookups_is_excused_from_those_alone() -> None:
    async with contract_terms() as terms:
        environment = {**terms.environment, "CAAS_GATEWAY_LOOKUP_BY_REFERENCE": "no"}
        report = await run_gateway_cases(replace(terms, environment=environment))

    excused = {one.name for one in report.cases if one.verdict is Verdict.EXCUSED}
    wrong = [one for one in report.cases if one.verdict not in (Verdict.PASSED, Verdict.EXCUSED)]
    assert wrong == []
    assert excused == NOT_BY_REFERENCE


def test_each_case_has_a_name_of_its_own_and_says_what_it_requires() -> None:
    assert len(BY_NAME) == len(GATEWAY_CASES)
    assert all(case.requirement.endswith(".") for case in GATEWAY_CASES)
