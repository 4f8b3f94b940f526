"""Every call fuzzed from the OpenAPI document by schemathesis, over HTTP, with a valid key.

Proved: no answer is a failure of ours, and every answer is one the document promises: its status,
its media type, its schema. `CAAS_FUZZ_EXAMPLES` says how many requests each call gets; `make fuzz`
asks for many more than the suite has time for.
"""

import asyncio
import os
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from caas.api.application import OPERATIONS
from caas.api.operation import Operation
from tests.api.conftest import ADMIN_KEY
from tests.bad_input.conftest import World

EXAMPLES = int(os.environ.get("CAAS_FUZZ_EXAMPLES", "12"))
CHECKS: Any = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
SLOW: Any = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
async def test_no_request_brings_a_failure_or_an_answer_that_is_not_documented(
    whole_world: World, operation: Operation
) -> None:
    document = (await whole_world.doors.get("/openapi.json")).json
    await asyncio.to_thread(fuzz, document, whole_world.doors.url, operation)


async def test_an_answer_that_is_not_documented_would_be_found(whole_world: World) -> None:
    document = (await whole_world.doors.get("/openapi.json")).json
    operation = next(operation for operation in OPERATIONS if operation.id == "getVehicle")
    described = document["paths"]["/v1/vehicles/{vin}"]["get"]["responses"]
    for status in ("404", "422"):
        del described[status]

    with pytest.raises(FailureGroup, match="Undocumented status code"):
        await asyncio.to_thread(fuzz, document, whole_world.doors.url, operation)


def fuzz(document: dict[str, Any], url: str, operation: Operation) -> None:
    """Send as many requests to one call as there are examples, and check each answer."""
    schema = schemathesis.openapi.from_dict(document)
    called = schema.find_operation_by_id(operation.id)

    @hypothesis.seed(1)
    @settings(max_examples=EXAMPLES, database=None, suppress_health_check=SLOW)
    @hypothesis.given(case=called.as_strategy())
    def each(case: Case[Any]) -> None:
        case.call_and_validate(base_url=url, headers=headers(operation), checks=list(CHECKS))

    each()


def headers(operation: Operation) -> dict[str, str]:
    """A key that may do everything, and a fresh Idempotency-Key."""
    fresh = {"idempotency-key": str(uuid4())} if operation.is_idempotent_post else {}
    return {"authorization": f"Bearer {ADMIN_KEY}", **fresh}
