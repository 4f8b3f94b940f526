"""F-G14: no hostile answer ends as a success, and none as a decline that was not there."""

import pytest

from caas.external_systems import seed_contract_gateway
from caas.external_systems.http import (
    GatewayFailure,
    HttpClient,
    OutcomeUnknownError,
    RefusedByPartnerError,
)
from caas.external_systems.payment_gateway import GatewayTransaction, TransactionStatus
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from tests.external_systems.decisions import decided
from tests.external_systems.gateway_answers import QUICK, REQUEST, transaction
from tests.external_systems.hostile_answers import PROBLEM, Hostile, encoded, hostile_answers
from tests.external_systems.scripted_server import answering, http_answer, scripted_server

CORPUS = hostile_answers()


async def ended(answer: bytes, operation: str = "initiate") -> GatewayTransaction | GatewayFailure:
    """How a call ends that is answered with exactly these bytes."""
    async with scripted_server(answering(answer)) as server:
        gateway = SeedContractGateway(HttpClient(server.url, partner="gateway", limits=QUICK))
        try:
            return await _asked(gateway, operation)
        except GatewayFailure as failure:
            return failure
        finally:
            await gateway.close()


async def _asked(gateway: SeedContractGateway, operation: str) -> GatewayTransaction:
    match operation:
        case "initiate":
            return await gateway.initiate(REQUEST, key="k")
        case "capture":
            return decided(await gateway.capture("txn_1", 12_500, key="k"))
        case "void":
            return decided(await gateway.void("txn_1", "activation failed", key="k"))
        case _:
            found = await gateway.find("txn_1")
            assert found is not None, "absence was made out of a hostile answer"
            return found


def test_the_corpus_is_large_and_has_no_double() -> None:
    assert len(CORPUS) >= 200
    assert len({hostile.answer for hostile in CORPUS}) >= len(CORPUS) - 5


async def test_the_honest_answers_would_be_believed() -> None:
    """Otherwise the corpus would prove nothing."""
    success = await ended(http_answer(encoded(transaction()), status="201 Created"))
    failed = transaction(status="failed", decline_code="card_declined")
    decline = await ended(http_answer(encoded(failed), status="402 Payment Required"))

    assert isinstance(success, GatewayTransaction)
    assert isinstance(decline, GatewayTransaction)
    assert decline.status is TransactionStatus.FAILED


@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.what)
async def test_a_hostile_answer_to_a_payment_leaves_its_outcome_unknown(hostile: Hostile) -> None:
    end = await ended(hostile.answer)

    assert isinstance(end, OutcomeUnknownError)


@pytest.mark.parametrize("operation", ["capture", "void", "find"])
async def test_a_hostile_answer_to_another_call_is_no_success(operation: str) -> None:
    believed = {
        hostile.what
        for hostile in CORPUS
        if isinstance(await ended(_as_200(hostile.answer), operation), GatewayTransaction)
    }

    # A lookup is not told which payment it is for: reference, amount and currency are compared
    # by the caller, with `mismatches`.
    assert believed <= (COMPARED_BY_THE_CALLER if operation == "find" else set())


COMPARED_BY_THE_CALLER = {
    "another's reference",
    "our reference in capitals",
    "one cent less",
    "one cent more",
    "the amount a hundredfold",
    "the amount in whole euros",
    "another currency",
    "a zero-decimal currency",
    "currency 'USD'",
    "failed in a 200 OK",
    "failed in a 201 Created",
}


def _as_200(answer: bytes) -> bytes:
    """The same answer, with the status that the other calls are answered with."""
    return answer.replace(b"HTTP/1.1 201 Created", b"HTTP/1.1 200 OK", 1)


@pytest.mark.parametrize(
    ("operation", "facts"),
    [
        ("capture", {"id": "txn_2", "status": "capturing", "captured_amount": 12_500}),
        ("capture", {"status": "authorized"}),
        ("capture", {"status": "voided"}),
        ("capture", {"status": "failed"}),
        ("capture", {"status": "capturing", "captured_amount": 12_499}),
        ("capture", {"status": "capturing", "captured_amount": 0}),
        ("void", {"id": "txn_2", "status": "voided"}),
        ("void", {"status": "authorized"}),
        ("void", {"status": "capturing", "captured_amount": 12_500}),
        ("find", {"id": "txn_2"}),
    ],
)
async def test_an_answer_that_shows_something_else_done_is_a_mismatch(
    operation: str, facts: dict[str, object]
) -> None:
    end = await ended(http_answer(encoded(transaction(**facts))), operation)

    assert isinstance(end, OutcomeUnknownError)


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "422 Unprocessable"])
async def test_a_refusal_with_a_problem_is_a_refusal_and_no_decline(status: str) -> None:
    body = encoded({"code": "card_declined", "detail": "Declined."})

    end = await ended(http_answer(body, status=status, content_type=PROBLEM))

    assert isinstance(end, RefusedByPartnerError)


async def test_without_the_comparison_another_s_transaction_would_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The test of the test: the protection switched off."""
    monkeypatch.setattr(
        seed_contract_gateway, "_agreed", lambda _answer, result, _different: result
    )

    end = await ended(http_answer(encoded(transaction(amount=1)), status="201 Created"))

    assert isinstance(end, GatewayTransaction)
