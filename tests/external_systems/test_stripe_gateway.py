"""What the Stripe adapter sends, and what it makes of Stripe's answers."""

from collections.abc import Awaitable
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest
from msgspec.structs import replace

from caas.external_systems.gateway_requirements import why_unsafe
from caas.external_systems.http import (
    GatewayFailure,
    HttpClient,
    OutcomeUnknownError,
    RefusedByPartnerError,
)
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
    GatewayTransaction,
    PaymentGateway,
    TransactionStatus,
)
from caas.external_systems.stripe_gateway import HEADERS, StripeGateway
from tests.external_systems.decisions import decided
from tests.external_systems.stripe_answers import (
    CREATED,
    REQUEST,
    captured_charge,
    charge,
    declined_intent,
    error,
    intent,
    just_now,
)
from tests.external_systems.stripe_asked import Ask, KnownCustomers, reported


def initiating(gateway: PaymentGateway) -> Awaitable[GatewayTransaction]:
    """Initiate `REQUEST`."""
    return gateway.initiate(REQUEST, key="pay-1:initiate")


async def capturing(gateway: PaymentGateway) -> GatewayTransaction:
    """Capture all of it."""
    return decided(await gateway.capture("pi_1", 12_500, key="pay-1:capture"))


async def void(gateway: PaymentGateway) -> GatewayTransaction:
    """Void it."""
    return decided(await gateway.void("pi_1", "activation failed", key="pay-1:void"))


def finding(gateway: PaymentGateway) -> Awaitable[GatewayTransaction | None]:
    """Look it up."""
    return gateway.find("pi_1")


def test_every_payment_type_is_safe_with_it() -> None:
    assert why_unsafe(StripeGateway.capabilities) == ""


async def test_initiating_sends_a_form_with_the_key_and_the_reference() -> None:
    transaction, (request,) = await reported(initiating, intent())

    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/payment_intents ")
    assert b"Idempotency-Key: pay-1:initiate\r\n" in head
    assert b"Content-Type: application/x-www-form-urlencoded\r\n" in head
    assert b"Content-Type: application/json" not in head
    assert b"Stripe-Version: " in head
    assert parse_qs(body.decode()) == {
        "amount": ["12500"],
        "currency": ["eur"],
        "capture_method": ["manual"],
        "confirm": ["true"],
        "payment_method": ["pm_card_visa"],
        "payment_method_types[]": ["card"],
        "customer": ["cus_1"],
        "metadata[reference]": ["pay-1"],
        "metadata[customer_reference]": ["customer-1"],
        "expand[]": ["latest_charge.balance_transaction"],
        "description": ["Heated seats, 30 days"],
        "return_url": ["https://caas.example/return"],
    }
    assert (transaction.status, transaction.reference) == (TransactionStatus.AUTHORIZED, "pay-1")
    assert transaction.currency == "EUR"
    assert transaction.capture_before == datetime.fromtimestamp(CREATED + 7 * 86_400, UTC)


@pytest.mark.parametrize(
    ("facts", "status", "captured", "settled", "refunded"),
    [
        ({"status": "requires_confirmation", "latest_charge": None}, "pending", 0, 0, 0),
        ({"status": "processing"}, "pending", 0, 0, 0),
        ({"status": "requires_payment_method", "latest_charge": None}, "pending", 0, 0, 0),
        ({"status": "canceled"}, "voided", 0, 0, 0),
        ({"status": "succeeded", "latest_charge": captured_charge()}, "capturing", 12_500, 0, 0),
        (
            {
                "status": "succeeded",
                "latest_charge": captured_charge(
                    balance_transaction={"id": "txn_1", "status": "available"}
                ),
            },
            "settled",
            12_500,
            12_500,
            0,
        ),
        (
            {"status": "succeeded", "latest_charge": captured_charge(amount_refunded=500)},
            "capturing",
            12_500,
            0,
            500,
        ),
        (
            {"status": "succeeded", "latest_charge": captured_charge(amount_refunded=12_500)},
            "refunded",
            12_500,
            0,
            12_500,
        ),
    ],
)
async def test_each_state_of_a_payment_intent_is_one_of_ours(
    facts: dict[str, object], status: str, captured: int, settled: int, refunded: int
) -> None:
    found, _ = await reported(finding, intent(**facts))

    assert found is not None
    assert found.status == status
    assert found.captured_amount == captured
    assert (found.settled_amount, found.refunded_amount) == (settled, refunded)


async def test_a_customer_who_must_confirm_is_given_the_page() -> None:
    action = {"type": "redirect_to_url", "redirect_to_url": {"url": "https://hooks.stripe.com/3ds"}}
    facts = {"status": "requires_action", "next_action": action, "latest_charge": None}

    transaction, _ = await reported(initiating, intent(**facts))

    assert transaction.status is TransactionStatus.REQUIRES_ACTION
    assert transaction.hosted_page_url == "https://hooks.stripe.com/3ds"


@pytest.mark.parametrize(
    ("codes", "decline_code"),
    [
        ({"code": "card_declined", "decline_code": "insufficient_funds"}, "insufficient_funds"),
        ({"code": "card_declined", "decline_code": "something_new"}, "unknown_refusal"),
        ({"code": "processing_error", "decline_code": "processing_error"}, "processing_error"),
        ({"code": "card_declined", "decline_code": "try_again_later"}, "try_again_later"),
        ({"code": "card_declined"}, "card_declined"),
        ({"code": "something_new"}, "unknown_refusal"),
        ({}, "unknown_refusal"),
    ],
)
async def test_a_decline_is_a_value_with_a_code_the_table_knows(
    codes: dict[str, object], decline_code: str
) -> None:
    body = error(payment_intent=declined_intent(last_payment_error=codes))

    canceled = declined_intent(status="canceled", last_payment_error=codes)
    transaction, requests = await reported(
        initiating, body, canceled, status="402 Payment Required", then="200 OK"
    )

    assert transaction.status is TransactionStatus.FAILED
    assert transaction.decline_code == decline_code
    assert requests[1].startswith(b"POST /v1/payment_intents/pi_1/cancel ")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"error": {"type": "card_error", "code": "card_declined"}},
        error(type="invalid_request_error"),
        error(payment_intent=None),
        error(payment_intent=intent()),
        error(payment_intent=declined_intent(last_payment_error=None)),
        error(payment_intent=declined_intent(amount=1)),
        error(payment_intent=declined_intent(currency="usd")),
        error(payment_intent=declined_intent(metadata={"reference": "pay-2"})),
        error(payment_intent=declined_intent(metadata={})),
    ],
)
async def test_a_402_that_is_not_our_decline_is_unknown(body: object) -> None:
    with pytest.raises(OutcomeUnknownError):
        await reported(initiating, body, status="402 Payment Required")


@pytest.mark.parametrize(
    "facts",
    [
        {"amount": 12_499},
        {"amount": 12_500.0},
        {"currency": "usd"},
        {"currency": "EUR"},
        {"metadata": {"reference": "pay-2"}},
        {"metadata": {}},
        {"metadata": None},
        {"id": "../pi_1"},
        {"status": "succeeded"},
        {"status": "succeeded", "latest_charge": None},
        {"status": "succeeded", "latest_charge": captured_charge(amount_captured=12_501)},
        {"latest_charge": captured_charge()},
        {"latest_charge": None, "amount_received": 1},
        {"status": "requires_payment_method", "last_payment_error": {"code": "card_declined"}},
        {"latest_charge": charge(captured="yes")},
    ],
)
async def test_an_answer_that_is_not_ours_or_contradicts_itself_is_unknown(
    facts: dict[str, object],
) -> None:
    with pytest.raises(OutcomeUnknownError):
        await reported(initiating, intent(**facts))


@pytest.mark.parametrize("status", ["409 Conflict", "424 Failed", "500 Error", "503 Unavailable"])
async def test_conflicts_and_server_errors_are_unknown(status: str) -> None:
    body = {"error": {"type": "idempotency_error", "code": "idempotency_key_in_use"}}

    with pytest.raises(OutcomeUnknownError):
        await reported(initiating, body, status=status)


async def test_a_captive_portal_is_unknown() -> None:
    with pytest.raises(OutcomeUnknownError):
        await reported(initiating, "log in", status="400 Bad Request", content_type="text/html")


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden"])
async def test_a_refused_request_is_a_refusal_without_card_numbers(status: str) -> None:
    message = "No such card: 4242 4242 4242 4242"
    body = {"error": {"type": "invalid_request_error", "code": "bad", "message": message}}

    with pytest.raises(RefusedByPartnerError) as caught:
        await reported(initiating, body, status=status)

    assert caught.value.refusal == "bad"
    assert "4242 4242" not in str(caught.value)


@pytest.mark.parametrize(
    "request_",
    [
        replace(REQUEST, currency="ISK"),
        replace(REQUEST, currency="KWD"),
    ],
)
async def test_what_the_adapter_cannot_do_is_refused_before_sending(request_: object) -> None:
    http = HttpClient("http://127.0.0.1:1", partner="stripe", headers=HEADERS)
    gateway: PaymentGateway = StripeGateway(http, KnownCustomers(), now=just_now)

    with pytest.raises(RefusedByPartnerError):
        await gateway.initiate(request_, key="k")  # type: ignore[arg-type]


async def test_a_customer_without_a_customer_there_has_no_payments() -> None:
    http = HttpClient("http://127.0.0.1:1", partner="stripe", headers=HEADERS)
    gateway: PaymentGateway = StripeGateway(http, KnownCustomers(), now=just_now)

    assert await gateway.find_by_reference("pay-1", customer_reference="customer-1") == ()


async def test_absence_is_stripe_s_own_word() -> None:
    missing = {"error": {"type": "invalid_request_error", "code": "resource_missing"}}

    found, _ = await reported(finding, missing, status="404 Not Found")

    assert found is None


async def test_a_404_of_another_kind_is_no_absence() -> None:
    unknown_url = {"error": {"type": "invalid_request_error", "message": "Unrecognized URL."}}

    with pytest.raises(RefusedByPartnerError):
        await reported(finding, unknown_url, status="404 Not Found")


async def test_a_capture_shows_the_whole_amount_captured() -> None:
    body = intent(status="succeeded", amount_received=12_500, latest_charge=captured_charge())

    captured, (request,) = await reported(capturing, body)

    assert captured.captured_amount == 12_500
    assert request.startswith(b"POST /v1/payment_intents/pi_1/capture ")
    assert b"amount_to_capture=12500" in request


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"status": "canceled"},
        {"id": "pi_2", "status": "succeeded", "latest_charge": captured_charge()},
        {
            "status": "succeeded",
            "latest_charge": captured_charge(amount_captured=12_400, amount_refunded=100),
        },
    ],
)
async def test_a_capture_that_shows_something_else_is_unknown(facts: dict[str, object]) -> None:
    with pytest.raises(OutcomeUnknownError):
        await reported(capturing, intent(**facts))


async def test_a_void_shows_that_it_is_voided() -> None:
    voided, (request,) = await reported(void, intent(status="canceled"))

    assert voided.status is TransactionStatus.VOIDED
    assert request.startswith(b"POST /v1/payment_intents/pi_1/cancel ")


@pytest.mark.parametrize("ask", [capturing, void])
@pytest.mark.parametrize(
    ("code", "state", "refused"),
    [
        (
            "payment_intent_unexpected_state",
            {"status": "succeeded", "latest_charge": "ch_1", "amount_received": 12_500},
            AlreadyCapturedError,
        ),
        ("payment_intent_unexpected_state", {"status": "canceled"}, AlreadyVoidedError),
        (
            "payment_intent_unexpected_state",
            {"status": "canceled", "cancellation_reason": "automatic"},
            AuthorizationExpiredError,
        ),
        (
            "payment_intent_unexpected_state",
            {"status": "canceled", "cancellation_reason": "expired"},
            AuthorizationExpiredError,
        ),
        ("payment_intent_unexpected_state", {"status": "processing"}, RefusedByPartnerError),
        ("charge_already_captured", {}, AlreadyCapturedError),
        ("charge_expired_for_capture", {}, AuthorizationExpiredError),
        ("amount_too_large", {}, RefusedByPartnerError),
    ],
)
async def test_a_refusal_of_a_state_names_what_won(
    ask: Ask[GatewayTransaction],
    code: str,
    state: dict[str, object],
    refused: type[GatewayFailure],
) -> None:
    body = error(type="invalid_request_error", code=code, payment_intent=intent(**state))

    with pytest.raises(refused) as caught:
        await reported(ask, body, status="400 Bad Request")

    assert type(caught.value) is refused


async def test_refunds_are_compared_and_looked_up() -> None:
    refund = {"id": "re_1", "payment_intent": "pi_1", "amount": 500, "status": "pending"}

    refunded, _ = await reported(
        lambda gateway: gateway.refund("pi_1", 500, "desistimiento", key="k"), refund
    )
    found, _ = await reported(
        lambda gateway: gateway.find_refunds("pi_1"), {"data": [refund], "has_more": False}
    )

    assert found == (refunded,)


@pytest.mark.parametrize("facts", [{"amount": 501}, {"payment_intent": "pi_2"}, {"id": None}])
async def test_another_refund_than_was_asked_for_is_unknown(facts: dict[str, object]) -> None:
    refund = {"id": "re_1", "payment_intent": "pi_1", "amount": 500, "status": "pending"} | facts

    with pytest.raises(OutcomeUnknownError):
        await reported(
            lambda gateway: gateway.refund("pi_1", 500, "desistimiento", key="k"), refund
        )
