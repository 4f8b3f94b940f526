"""What the adapter sends, and what it makes of answers that keep to the contract."""

import json
from datetime import UTC, date, datetime

import msgspec
import pytest

from caas.external_systems.http import (
    HttpClient,
    OutcomeUnknownError,
    RefusedByPartnerError,
    UnknownReason,
)
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
    GatewayDispute,
    GatewayRefund,
    GatewayTransaction,
    RefundStatus,
    SettlementLineType,
    TransactionStatus,
)
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.external_systems.seed_contract_wire import read_event
from tests.external_systems.decisions import decided
from tests.external_systems.gateway_answers import QUICK, REQUEST, reported, transaction
from tests.external_systems.scripted_server import answering, http_answer, scripted_server

DAY = date(2026, 11, 24)


def encoded(value: object) -> bytes:
    """JSON."""
    return json.dumps(value).encode()


def settlement_line(**facts: object) -> dict[str, object]:
    """A line that adds up, but for the facts given."""
    return {
        "line_no": 1,
        "batch_id": "bat_1",
        "transaction_id": "txn_1",
        "reference": "pay-1",
        "type": "settlement",
        "gross": 12_500,
        "fee": 200,
        "net": 12_300,
        "currency": "EUR",
        "booked_at": "2026-11-24T23:59:59+01:00",
        "value_date": "2026-11-25",
    } | facts


def settlement_page(*lines: object, **facts: object) -> bytes:
    """A page of a report with these lines."""
    page = {
        "report_id": "rep_1",
        "date": "2026-11-24",
        "status": "closed",
        "line_count": len(lines),
        "gross_total": 12_500,
        "net_total": 12_300,
        "data": list(lines),
        "next_cursor": None,
    }
    return encoded(page | facts)


async def test_initiating_sends_the_contract_s_body_and_the_caller_s_key() -> None:
    answer = http_answer(encoded(transaction()), status="201 Created")
    async with scripted_server(answering(answer)) as server:
        gateway = SeedContractGateway(HttpClient(server.url, partner="gateway", limits=QUICK))
        initiated = await gateway.initiate(REQUEST, key="pay-1:initiate")
        await gateway.close()

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /transactions HTTP/1.1\r\n")
    assert b"Idempotency-Key: pay-1:initiate" in head
    assert json.loads(body) == {
        "reference": "pay-1",
        "amount": 12_500,
        "currency": "EUR",
        "capture": "manual",
        "payment_method": "pm_ok",
        "customer_reference": "customer-1",
        "description": "Heated seats, 30 days",
        "return_url": None,
    }
    assert initiated.status is TransactionStatus.AUTHORIZED
    assert initiated.capture_before == datetime(2026, 12, 1, 10, tzinfo=UTC)


async def test_a_decline_is_a_value() -> None:
    body = encoded(transaction(status="failed", decline_code="card_declined"))

    declined = await reported(
        body, lambda gateway: gateway.initiate(REQUEST, key="k"), status="402 Payment Required"
    )

    assert declined.status is TransactionStatus.FAILED
    assert declined.decline_code == "card_declined"


async def test_a_customer_who_must_act_is_given_the_hosted_page() -> None:
    body = encoded(transaction(status="requires_action", hosted_page_url="https://gw/pay/txn_1"))

    initiated = await reported(body, lambda gateway: gateway.initiate(REQUEST, key="k"))

    assert initiated.hosted_page_url == "https://gw/pay/txn_1"


async def test_a_transaction_is_found_by_its_id() -> None:
    found = await reported(
        encoded(transaction(status="settled", captured_amount=12_500, settled_amount=12_500)),
        lambda gateway: gateway.find("txn_1"),
        status="200 OK",
    )

    assert found is not None
    assert (found.status, found.settled_amount) == (TransactionStatus.SETTLED, 12_500)


@pytest.mark.parametrize("code", ["not_found", "unknown_transaction"])
async def test_absence_is_the_gateway_s_own_word(code: str) -> None:
    found = await reported(
        encoded({"code": code}),
        lambda gateway: gateway.find("txn_1"),
        status="404 Not Found",
        content_type="application/problem+json",
    )

    assert found is None


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<h1>404</h1>", "text/html"),
        (b'{"code":"not_found"}', "application/json"),
        (b"{}", "application/problem+json"),
    ],
)
async def test_a_404_of_somebody_in_between_is_no_absence(body: bytes, content_type: str) -> None:
    with pytest.raises(OutcomeUnknownError):
        await reported(
            body,
            lambda gateway: gateway.find("txn_1"),
            status="404 Not Found",
            content_type=content_type,
        )


async def test_an_unknown_path_is_no_absence_either() -> None:
    with pytest.raises(RefusedByPartnerError):
        await reported(
            encoded({"code": "unknown_path"}),
            lambda gateway: gateway.find("txn_1"),
            status="404 Not Found",
            content_type="application/problem+json",
        )


@pytest.mark.parametrize("count", [0, 1, 2])
async def test_a_lookup_by_reference_tells_how_many_there_are(count: int) -> None:
    body = encoded({"data": [transaction(id=f"txn_{number}") for number in range(count)]})

    found = await reported(
        body,
        lambda gateway: gateway.find_by_reference("pay-1", customer_reference="c-1"),
        status="200 OK",
    )

    assert [it.id for it in found] == [f"txn_{number}" for number in range(count)]


async def test_a_lookup_that_brings_another_s_transaction_is_a_mismatch() -> None:
    body = encoded({"data": [transaction(reference="pay-2")]})

    with pytest.raises(OutcomeUnknownError) as caught:
        await reported(
            body,
            lambda gateway: gateway.find_by_reference("pay-1", customer_reference="c-1"),
            status="200 OK",
        )

    assert caught.value.reason is UnknownReason.MISMATCH


async def test_ids_and_references_cannot_break_out_of_the_path() -> None:
    answer = http_answer(encoded({"data": []}))
    async with scripted_server(answering(answer, answer, hang=True)) as server:
        gateway = SeedContractGateway(HttpClient(server.url, partner="gateway", limits=QUICK))
        await gateway.find_by_reference("a&b=c /é\r\n", customer_reference="c-1")
        with pytest.raises(OutcomeUnknownError):
            await gateway.find("../../admin?x=1#y")
        await gateway.close()

    targets = [request.split(b" ")[1] for request in server.requests]
    assert targets == [
        b"/transactions?reference=a%26b%3Dc%20%2F%C3%A9%0D%0A",
        b"/transactions/..%2F..%2Fadmin%3Fx%3D1%23y",
    ]


async def test_a_capture_shows_the_amount_captured() -> None:
    captured = await reported(
        encoded(transaction(status="capturing", captured_amount=500)),
        lambda gateway: gateway.capture("txn_1", 500, key="k"),
        status="200 OK",
    )

    assert decided(captured).captured_amount == 500


async def test_a_void_shows_that_it_is_voided() -> None:
    voided = await reported(
        encoded(transaction(status="voided")),
        lambda gateway: gateway.void("txn_1", "activation failed", key="k"),
        status="200 OK",
    )

    assert decided(voided).status is TransactionStatus.VOIDED


async def test_a_refund_is_compared_and_returned() -> None:
    body = {"id": "ref_1", "transaction_id": "txn_1", "amount": 500, "status": "pending"}

    refund = await reported(
        encoded(body), lambda gateway: gateway.refund("txn_1", 500, "desistimiento", key="k")
    )

    assert refund == GatewayRefund(
        id="ref_1", transaction_id="txn_1", amount=500, status=RefundStatus.PENDING
    )


async def test_the_refunds_of_a_transaction_can_be_looked_up() -> None:
    body = {"id": "ref_1", "transaction_id": "txn_1", "amount": 500, "status": "failed"}

    found = await reported(
        encoded({"data": [body]}), lambda gateway: gateway.find_refunds("txn_1"), status="200 OK"
    )

    assert [it.status for it in found] == [RefundStatus.FAILED]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("already_voided", AlreadyVoidedError),
        ("already_captured", AlreadyCapturedError),
        ("authorization_expired", AuthorizationExpiredError),
        ("nothing_to_refund", RefusedByPartnerError),
        ("not_yet_authorized", RefusedByPartnerError),
        ("something_new", OutcomeUnknownError),
        ("idempotency_in_progress", OutcomeUnknownError),
    ],
)
async def test_a_409_is_its_typed_refusal_or_unknown(code: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        await reported(
            encoded({"code": code, "detail": "No."}),
            lambda gateway: gateway.capture("txn_1", 500, key="k"),
            status="409 Conflict",
            content_type="application/problem+json",
        )

    assert type(caught.value) is error


async def test_a_settlement_page_brings_its_lines_and_totals() -> None:
    fee = settlement_line(
        line_no=2, type="fee", transaction_id=None, reference=None, gross=0, fee=0, net=0
    )
    body = settlement_page(settlement_line(), fee, next_cursor="2")

    page = await reported(body, lambda gateway: gateway.settlements(DAY), status="200 OK")

    assert [line.type for line in page.lines] == [
        SettlementLineType.SETTLEMENT,
        SettlementLineType.FEE,
    ]
    assert page.lines[0].booked_at == datetime(2026, 11, 24, 22, 59, 59, tzinfo=UTC)
    assert (page.gross_total, page.next_cursor, page.quarantined) == (12_500, "2", ())


@pytest.mark.parametrize(
    "bad",
    [
        settlement_line(net=1),
        settlement_line(type="gift"),
        settlement_line(currency="euro"),
        settlement_line(gross="12500"),
        settlement_line(gross=12.5),
        settlement_line(booked_at="2026-11-24T10:00:00"),
        settlement_line(transaction_id="txn\n1"),
        {},
        [],
        None,
        7,
    ],
)
async def test_one_bad_line_is_quarantined_and_the_others_go_on(bad: object) -> None:
    body = settlement_page(settlement_line(), bad, settlement_line(line_no=3))

    page = await reported(body, lambda gateway: gateway.settlements(DAY), status="200 OK")

    assert [line.line_no for line in page.lines] == [1, 3]
    assert [(it.position, bool(it.reason)) for it in page.quarantined] == [(1, True)]


async def test_a_quarantined_line_keeps_no_card_number() -> None:
    bad = settlement_line(reference="4242 4242 4242 4242")

    page = await reported(
        settlement_page(bad), lambda gateway: gateway.settlements(DAY), status="200 OK"
    )

    assert "4242 4242" not in page.quarantined[0].text + page.quarantined[0].reason


async def test_the_report_of_another_day_is_a_mismatch() -> None:
    body = settlement_page(date="2026-11-23")

    with pytest.raises(OutcomeUnknownError) as caught:
        await reported(body, lambda gateway: gateway.settlements(DAY), status="200 OK")

    assert caught.value.reason is UnknownReason.MISMATCH


def test_an_event_brings_its_transaction() -> None:
    event = read_event(
        encoded(
            {
                "id": "evt_1",
                "type": "transaction.settled",
                "occurred_at": "2026-11-24T12:00:00+02:00",
                "data": transaction(
                    status="settled", captured_amount=12_500, settled_amount=12_500
                ),
            }
        )
    )

    assert isinstance(event.subject, GatewayTransaction)
    assert event.occurred_at == datetime(2026, 11, 24, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("type_", "data", "of"),
    [
        (
            "refund.failed",
            {"id": "ref_1", "transaction_id": "txn_1", "amount": 5, "status": "failed"},
            GatewayRefund,
        ),
        (
            "dispute.opened",
            {
                "id": "dis_1",
                "transaction_id": "txn_1",
                "amount": 5,
                "currency": "EUR",
                "status": "opened",
                "reason": "fraudulent",
            },
            GatewayDispute,
        ),
    ],
)
def test_an_event_brings_its_refund_or_dispute(type_: str, data: object, of: type) -> None:
    body = {"id": "evt_1", "type": type_, "occurred_at": "2026-11-24T12:00:00Z", "data": data}

    assert isinstance(read_event(encoded(body)).subject, of)


@pytest.mark.parametrize(
    "facts",
    [
        {"type": "payout.paid"},
        {"type": "settled"},
        {"type": "transaction.settled", "data": {}},
        {"type": "transaction.settled", "data": transaction(amount="1")},
        {"type": "transaction.settled", "occurred_at": "yesterday"},
        {"type": "transaction.settled", "occurred_at": "2026-11-24T12:00:00"},
        {"type": "transaction.settled", "id": ""},
    ],
)
def test_an_event_that_breaks_the_contract_is_not_read(facts: dict[str, object]) -> None:
    body = {
        "id": "evt_1",
        "occurred_at": "2026-11-24T12:00:00Z",
        "data": transaction(),
    } | facts

    with pytest.raises(msgspec.MsgspecError):
        read_event(encoded(body))
