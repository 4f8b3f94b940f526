"""The document and the API say the same: every call of it, fuzzed from what it says of itself."""

import asyncio
import warnings
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi import checks

from caas.api.application import OPERATIONS
from tests.api.conftest import ADMIN_KEY, Doors

EXAMPLES = 6
CHECKS = (
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
)


def fuzz(document: dict[str, object], url: str, operation_id: str) -> None:
    """Call one operation with what its schema allows, and check every answer."""
    schema = schemathesis.openapi.from_dict(document)
    operation = schema.find_operation_by_id(operation_id)

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def call(case: "schemathesis.Case[Any]") -> None:
        answer = case.call(base_url=url, headers={"authorization": f"Bearer {ADMIN_KEY}"})
        case.validate_response(answer, checks=list(CHECKS))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call()


@pytest.mark.parametrize("operation_id", [operation.id for operation in OPERATIONS])
async def test_no_call_answers_what_is_not_documented(
    fuzzed_doors: Doors, operation_id: str
) -> None:
    document = (await fuzzed_doors.get("/openapi.json", caller=None)).json

    await asyncio.to_thread(fuzz, document, fuzzed_doors.url, operation_id)


async def test_the_check_itself_finds_an_answer_that_is_not_documented(
    fuzzed_doors: Doors,
) -> None:
    document = (await fuzzed_doors.get("/openapi.json", caller=None)).json
    del document["paths"]["/v1/payments/{payment_id}"]["get"]["responses"]["404"]

    with pytest.raises(BaseExceptionGroup, match="Undocumented status code"):
        await asyncio.to_thread(fuzz, document, fuzzed_doors.url, "queryPaymentStatus")
