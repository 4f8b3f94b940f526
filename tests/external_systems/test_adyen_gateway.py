"""The adapter of Adyen against answers that a test has written down."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from caas.external_systems.adyen_gateway import AdyenGateway
from caas.external_systems.gateway_modifications import AcceptedRequest
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.http_answers import (
    NotSentError,
    OutcomeUnknownError,
    RefusedByPartnerError,
)
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
    ChargeTerms,
    Initiator,
    RefundStatus,
    SettlementsNotReadyError,
    TransactionRequest,
    TransactionStatus,
)
from tests.external_systems.adyen_published import REQUESTS, operation_of
from tests.external_systems.gateway_answers import REQUEST
from tests.external_systems.scripted_server import answering, http_answer, scripted_server
from tests.external_systems.stripe_asked import QUICK
from tests.external_systems.test_adyen_webhooks import (
    MODIFICATION,
    PAYMENT,
    body_of,
    item,
    parts_of,
)

S = TransactionStatus
Json = dict[str, Any]
Result = TypeVar("Result")
Ask = Callable[[AdyenGateway], Awaitable[object]]
TOKEN = replace(REQUEST, payment_method="M5N7TQ4TG5PFWR50")
MONTH = replace(TOKEN, terms=ChargeTerms(initiator=Initiator.MERCHANT))
TYPED = replace(
    REQUEST,
    payment_method=json.dumps(
        {"type": "scheme", "encryptedCardNumber": "adyenjs_0_1_25$n", "holderName": "Ana",
         "encryptedExpiryMonth": "adyenjs_0_1_25$m", "encryptedExpiryYear": "adyenjs_0_1_25$y"}
    ),
)  # fmt: skip
BY_PAGE = replace(REQUEST, payment_method=None)
LINK = "PL61C53A8B97E6915A"


class Told:
    """What Adyen has reported, as the platform has stored it."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = bodies

    async def of_transaction(self, transaction_id: str) -> tuple[bytes, ...]:
        return tuple(one for one in self.bodies if transaction_id.encode() in one)

    async def of_reference(self, reference: str) -> tuple[bytes, ...]:
        return tuple(one for one in self.bodies if reference.encode() in one)


def of_request(code: str, **more: object) -> bytes:
    """A report about the request of these tests."""
    amount = {"currency": REQUEST.currency, "value": REQUEST.amount}
    [part] = parts_of(
        body_of(item(code, amount=amount, merchantReference=REQUEST.reference, **more))
    )
    return part


def answer_of(body: object, status: str = "200 OK") -> bytes:
    return http_answer(json.dumps(body).encode(), status=status)


def paid(**more: object) -> Json:
    return {
        "pspReference": PAYMENT, "resultCode": "Authorised", "merchantReference": REQUEST.reference,
        "amount": {"currency": REQUEST.currency, "value": REQUEST.amount}, **more,
    }  # fmt: skip


def link(status: str = "active", **more: object) -> Json:
    return {
        "id": LINK, "reference": REQUEST.reference, "status": status,
        "url": f"https://test.adyen.link/{LINK}", "merchantAccount": "Merchant",
        "amount": {"currency": REQUEST.currency, "value": REQUEST.amount}, **more,
    }  # fmt: skip


def received(**more: object) -> Json:
    return {
        "merchantAccount": "Merchant", "paymentPspReference": PAYMENT,
        "pspReference": MODIFICATION, "status": "received", **more,
    }  # fmt: skip


async def asked(
    call: Callable[[AdyenGateway], Awaitable[Result]], *answers: bytes, told: Sequence[bytes] = ()
) -> tuple[Result, list[bytes]]:
    """What a call leads to, and what was sent for it."""
    async with scripted_server(answering(*answers)) as server:
        http = HttpClient(server.url, partner="adyen", limits=QUICK, headers={"X-API-Key": "k"})
        gateway = AdyenGateway(
            http, Told(*told), merchant_account="Merchant", return_url="https://caas.example"
        )
        try:
            return await call(gateway), server.requests
        finally:
            await gateway.close()


def sent_of(request: bytes) -> Json:
    body: Json = json.loads(request.partition(b"\r\n\r\n")[2])
    return body


def recurring(body: Json) -> tuple[object, object, object]:
    """How a payment stores a method, or charges a stored one."""
    names = ("shopperInteraction", "recurringProcessingModel", "storePaymentMethod")
    return tuple(body.get(name) for name in names)  # type: ignore[return-value]


async def test_a_token_is_charged_with_its_customer_and_by_the_merchant() -> None:
    held, first = await asked(lambda it: it.initiate(TOKEN, key="k"), answer_of(paid()))
    _, second = await asked(lambda it: it.initiate(MONTH, key="k"), answer_of(paid()))

    assert (held.id, held.status, held.captured_amount) == (PAYMENT, S.AUTHORIZED, 0)
    by_customer, by_merchant = sent_of(first[0]), sent_of(second[0])
    assert by_customer["paymentMethod"]["storedPaymentMethodId"] == TOKEN.payment_method
    assert recurring(by_customer) == ("ContAuth", "CardOnFile", None)
    assert recurring(by_merchant) == ("ContAuth", "Subscription", None)
    assert by_customer["additionalData"] == {"manualCapture": "true"}
    assert by_customer["shopperReference"] == REQUEST.customer_reference
    assert b"x-api-key: k" in first[0].lower()
    assert b"authorization" not in first[0].lower()


async def test_a_typed_card_is_stored_for_later_months() -> None:
    _, requests = await asked(lambda it: it.initiate(TYPED, key="k"), answer_of(paid()))

    assert recurring(sent_of(requests[0])) == ("Ecommerce", "Subscription", True)


SENT: tuple[tuple[Ask, tuple[bytes, ...]], ...] = (
    (lambda it: it.initiate(TOKEN, key="k"), (answer_of(paid()),)),
    (lambda it: it.initiate(MONTH, key="k"), (answer_of(paid()),)),
    (lambda it: it.initiate(TYPED, key="k"), (answer_of(paid()),)),
    (lambda it: it.initiate(BY_PAGE, key="k"), (answer_of(link(), "201 Created"),
                                                answer_of(link()))),
    (lambda it: it.void(LINK, "abandoned", key="k"), (answer_of(link("expired")),)),
    (lambda it: it.capture(PAYMENT, 500, key="k"), (answer_of(received(), "201 Created"),)),
    (lambda it: it.void(PAYMENT, "refused", key="k"), (answer_of(received(), "201 Created"),)),
    (lambda it: it.refund(PAYMENT, 1, "why", key="k"), (answer_of(received(), "201 Created"),)),
    (lambda it: it.account(), (answer_of({"paymentMethods": []}),)),
)  # fmt: skip


@pytest.mark.parametrize(("call", "answers"), SENT)
async def test_every_request_has_the_published_shape(call: Ask, answers: tuple[bytes, ...]) -> None:
    _, requests = await asked(call, *answers, told=[of_request("AUTHORISATION")])

    bodies = [one for one in requests if not one.startswith(b"GET")]
    assert bodies
    for request in bodies:
        operation = operation_of(request.split(b" ")[1].decode())
        assert REQUESTS[operation](sent_of(request)) == []


def test_a_request_that_is_not_of_the_published_shape_has_problems() -> None:
    wrong = {"amount": {"currency": "EU", "value": "1"}, "merchantAccount": "M", "tip": 1}

    assert REQUESTS["captures"](wrong) == [
        ".tip: not published", ".amount.currency: 'EU' is no text of 3 to 3",
        ".amount.value: '1' is no number",
    ]  # fmt: skip
    assert REQUESTS["cancels"]({}) == [".merchantAccount: missing"]


@pytest.mark.parametrize(
    ("code", "decline"),
    [("2", "card_declined"), ("12", "insufficient_funds"), ("6", "expired_card"),
     ("50", "revocation_of_authorization"), ("4711", "unknown_refusal"), (None, "unknown_refusal"),
     ("4", "acquirer_error"), ("9", "issuer_unavailable"), ("7", "invalid_amount")],
)  # fmt: skip
async def test_a_refusal_is_recorded_with_a_known_code(code: str | None, decline: str) -> None:
    body = paid(resultCode="Refused", refusalReasonCode=code)

    declined, _ = await asked(lambda it: it.initiate(TOKEN, key="k"), answer_of(body))

    assert (declined.status, declined.decline_code) == (S.FAILED, decline)


@pytest.mark.parametrize(
    "body",
    [
        paid(amount={"currency": "EUR", "value": 1}), paid(merchantReference="another"),
        paid(resultCode="Success"), paid(pspReference="short"), {"resultCode": "Authorised"},
        {"pspReference": PAYMENT}, paid(resultCode="PartiallyAuthorised"), [], "x",
    ],
)  # fmt: skip
async def test_an_answer_that_is_not_of_the_request_shows_nothing(body: object) -> None:
    with pytest.raises(OutcomeUnknownError):
        await asked(lambda it: it.initiate(TOKEN, key="k"), answer_of(body))


REDIRECT = {
    "pspReference": PAYMENT, "resultCode": "RedirectShopper",
    "action": {"type": "redirect", "method": "GET", "url": "https://3ds.test/"},
}  # fmt: skip
NATIVE = {"resultCode": "IdentifyShopper", "action": {"type": "threeDS2", "token": "x"}}
CHALLENGE = {"resultCode": "ChallengeShopper", "action": {"type": "threeDS2", "token": "x"}}
WANTS_SHOPPER = paid(
    resultCode="Refused", refusalReason="Authentication required", refusalReasonCode="38"
)


@pytest.mark.parametrize("request_", [TOKEN, MONTH, TYPED], ids=["token", "month", "typed"])
@pytest.mark.parametrize("body", [REDIRECT, NATIVE, CHALLENGE, WANTS_SHOPPER])
async def test_a_shopper_who_must_authenticate_gets_a_page(
    body: Json, request_: TransactionRequest
) -> None:
    page, requests = await asked(
        lambda it: it.initiate(request_, key="k"),
        answer_of(body), answer_of(link(), "201 Created"), answer_of(link()),
    )  # fmt: skip

    assert (page.id, page.status, page.is_page) == (LINK, S.REQUIRES_ACTION, True)
    assert [one.split(b" ")[1] for one in requests] == [
        b"/v71/payments", b"/v71/paymentLinks", f"/v71/paymentLinks/{LINK}".encode(),
    ]  # fmt: skip


async def test_a_demand_to_authenticate_is_no_declined_attempt_on_its_page() -> None:
    """The page of a final payment would be ended before its customer has seen it."""
    told = of_request("AUTHORISATION", success="false", reason="Authentication required")
    request = replace(TOKEN, terms=ChargeTerms(single_attempt=True))

    page, _ = await asked(
        lambda it: it.initiate(request, key="k"),
        answer_of(WANTS_SHOPPER), answer_of(link(), "201 Created"), answer_of(link()), told=[told],
    )  # fmt: skip

    assert page.status is S.REQUIRES_ACTION


@pytest.mark.parametrize("code", ["800", "803"])
async def test_a_token_that_is_not_stored_is_replaced_by_a_page(code: str) -> None:
    refused = {"status": 422, "errorCode": code, "message": "not found", "errorType": "validation"}

    page, requests = await asked(
        lambda it: it.initiate(TOKEN, key="k"),
        answer_of(refused, "422 Unprocessable Entity"),
        answer_of(link(), "201 Created"), answer_of(link()),
    )  # fmt: skip

    assert (page.id, page.status, page.is_page) == (LINK, S.REQUIRES_ACTION, True)
    assert b"/v71/paymentLinks " in requests[1]


@pytest.mark.parametrize(
    ("status", "expected"),
    [("active", S.REQUIRES_ACTION), ("expired", S.VOIDED), ("completed", S.PENDING),
     ("paymentPending", S.PENDING)],
)  # fmt: skip
async def test_a_repeated_request_for_a_page_returns_the_page_as_it_is(
    status: str, expected: TransactionStatus
) -> None:
    page, _ = await asked(
        lambda it: it.initiate(BY_PAGE, key="k"),
        answer_of(link(), "201 Created"), answer_of(link(status)),
    )  # fmt: skip

    assert page.status is expected


async def test_a_page_on_which_was_paid_is_the_payment() -> None:
    told = of_request("AUTHORISATION", additionalData={"paymentLinkId": LINK})

    held, _ = await asked(
        lambda it: it.initiate(BY_PAGE, key="k"), answer_of(link(), "201 Created"), told=[told]
    )

    assert (held.id, held.status, held.is_page) == (PAYMENT, S.AUTHORIZED, False)


@pytest.mark.parametrize(
    ("result", "code", "recorded"),
    [
        ("Error", "4", "acquirer_error"), ("Error", "2", "processing_error"),
        ("Error", None, "unknown_refusal"), ("Cancelled", "15", "payment_cancelled"),
        ("Cancelled", "12", "payment_cancelled"),
    ],
)  # fmt: skip
async def test_an_error_and_a_cancelled_payment_are_never_a_decline(
    result: str, code: str | None, recorded: str
) -> None:
    body = paid(resultCode=result, refusalReasonCode=code)

    failed, _ = await asked(lambda it: it.initiate(TOKEN, key="k"), answer_of(body))

    assert (failed.status, failed.decline_code) == (S.FAILED, recorded)


async def test_an_error_at_the_bank_leaves_a_page_of_one_attempt_open() -> None:
    told = of_request(
        "AUTHORISATION", success="false", reason="Acquirer Error",
        additionalData={"paymentLinkId": LINK},
    )  # fmt: skip
    request = replace(BY_PAGE, terms=ChargeTerms(single_attempt=True))

    page, requests = await asked(
        lambda it: it.initiate(request, key="k"),
        answer_of(link(), "201 Created"), answer_of(link("active")), told=[told],
    )  # fmt: skip

    assert (page.status, page.decline_code) == (S.REQUIRES_ACTION, None)
    assert requests[1].startswith(b"GET")


@pytest.mark.parametrize(("single", "expected"), [(True, S.FAILED), (False, S.REQUIRES_ACTION)])
async def test_a_declined_card_ends_a_page_of_one_attempt_only(
    *, single: bool, expected: TransactionStatus
) -> None:
    told = of_request(
        "AUTHORISATION", success="false", reason="Not enough balance",
        additionalData={"paymentLinkId": LINK},
    )  # fmt: skip
    request = replace(BY_PAGE, terms=ChargeTerms(single_attempt=single))
    ended = "expired" if single else "active"

    page, requests = await asked(
        lambda it: it.initiate(request, key="k"),
        answer_of(link(), "201 Created"), answer_of(link(ended)), told=[told],
    )  # fmt: skip

    assert page.status is expected
    assert page.decline_code == ("insufficient_funds" if single else None)
    assert requests[1].startswith(b"PATCH" if single else b"GET")


async def test_a_capture_is_accepted_in_the_currency_of_the_payment() -> None:
    accepted, requests = await asked(
        lambda it: it.capture(PAYMENT, 500, key="k"), answer_of(received(), "201 Created"),
        told=[of_request("AUTHORISATION")],
    )  # fmt: skip

    assert accepted == AcceptedRequest(id=MODIFICATION)
    assert sent_of(requests[0]) == {
        "merchantAccount": "Merchant", "amount": {"value": 500, "currency": REQUEST.currency},
    }  # fmt: skip


async def test_a_payment_that_was_authorised_here_is_captured_before_it_is_reported() -> None:
    async def both(gateway: AdyenGateway) -> AcceptedRequest:
        held = await gateway.initiate(TOKEN, key="k")
        return await gateway.capture(held.id, held.amount, key="k:capture")

    accepted, _ = await asked(both, answer_of(paid()), answer_of(received(), "201 Created"))

    assert accepted.id == MODIFICATION


@pytest.mark.parametrize(
    ("code", "kind"),
    [("CAPTURE", AlreadyCapturedError), ("EXPIRE", AuthorizationExpiredError),
     ("CANCELLATION", AlreadyVoidedError)],
)  # fmt: skip
async def test_what_adyen_refuses_without_a_reason_is_decided_by_its_reports(
    code: str, kind: type[RefusedByPartnerError]
) -> None:
    end = of_request(code)
    no_capture = of_request("CAPTURE", success="false", reason="Insufficient balance on payment")
    no_void = of_request("CANCELLATION", success="false", reason="")

    with pytest.raises(kind):
        await asked(lambda it: it.capture(PAYMENT, 500, key="k"), told=[no_capture, end])
    with pytest.raises(kind):
        await asked(lambda it: it.void(PAYMENT, "refused", key="k"), told=[end, no_void])


async def test_a_refusal_that_no_report_explains_is_asked_for_again() -> None:
    told = [of_request("AUTHORISATION"), of_request("CAPTURE", success="false", reason="x")]

    accepted, _ = await asked(
        lambda it: it.capture(PAYMENT, 500, key="k:2"), answer_of(received(), "201 Created"),
        told=told,
    )  # fmt: skip

    assert accepted.id == MODIFICATION


async def test_a_capture_before_anything_is_known_is_not_sent() -> None:
    with pytest.raises(NotSentError):
        await asked(lambda it: it.capture(PAYMENT, 500, key="k"))


@pytest.mark.parametrize(
    "body", [received(paymentPspReference="AAAAAAAAAAAAAAAA"), received(status="done"), {}]
)
async def test_an_acceptance_of_something_else_shows_nothing(body: Json) -> None:
    with pytest.raises(OutcomeUnknownError):
        await asked(
            lambda it: it.void(PAYMENT, "activation failed", key="k"),
            answer_of(body, "201 Created"),
        )


async def test_a_refund_is_pending_until_it_is_reported() -> None:
    refund, requests = await asked(
        lambda it: it.refund(PAYMENT, 100, "desistimiento", key="k"),
        answer_of(received(), "201 Created"), told=[of_request("AUTHORISATION")],
    )  # fmt: skip

    assert "reference" not in sent_of(requests[0])
    assert (refund.id, refund.amount, refund.status) == (MODIFICATION, 100, RefundStatus.PENDING)


async def test_a_page_is_voided_at_once_unless_it_was_paid() -> None:
    error = {"status": 422, "errorCode": "702", "message": "Invalid status"}

    voided, requests = await asked(
        lambda it: it.void(LINK, "abandoned", key="k"), answer_of(link("expired"))
    )
    again, _ = await asked(
        lambda it: it.void(LINK, "abandoned", key="k"),
        answer_of(error, "422 Unprocessable Entity"), answer_of(link("expired")),
    )  # fmt: skip
    with pytest.raises(RefusedByPartnerError):
        await asked(
            lambda it: it.void(LINK, "abandoned", key="k"),
            answer_of(error, "422 Unprocessable Entity"), answer_of(link("completed")),
        )  # fmt: skip

    assert requests[0].startswith(b"PATCH")
    assert voided == again
    assert voided.status is S.VOIDED  # type: ignore[union-attr]


async def test_a_payment_of_which_nothing_was_reported_has_no_lookup() -> None:
    with pytest.raises(OutcomeUnknownError):
        await asked(lambda it: it.find(PAYMENT))


async def test_there_are_no_lookups_by_reference_and_no_lists() -> None:
    with pytest.raises(OutcomeUnknownError):
        await asked(lambda it: it.find_by_reference("pay-1", customer_reference="ana"))
    with pytest.raises(OutcomeUnknownError):
        await asked(lambda it: it.find_refunds(PAYMENT))


async def test_settlements_come_in_batches(tmp_path: Path) -> None:
    day = date(2026, 11, 29)
    with pytest.raises(SettlementsNotReadyError, match="CAAS_REPORTS_FOLDER"):
        await asked(lambda it: it.settlement_file(day, tmp_path / "report"))
    with pytest.raises(SettlementsNotReadyError):
        await asked(lambda it: it.settlements(day))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("422 Unprocessable Entity", "704", OutcomeUnknownError),
        ("422 Unprocessable Entity", "702", RefusedByPartnerError),
        ("403 Forbidden", "901", RefusedByPartnerError),
        ("401 Unauthorized", "000", RefusedByPartnerError),
        ("500 Internal Server Error", "905", OutcomeUnknownError),
    ],
)
async def test_an_error_counts_as_what_its_code_says(
    status: str, code: str, kind: type[Exception]
) -> None:
    error = {"status": int(status[:3]), "errorCode": code, "message": "m", "errorType": "t"}

    with pytest.raises(kind):
        await asked(lambda it: it.initiate(TOKEN, key="k"), answer_of(error, status))


async def initiated_with(method: str) -> None:
    await asked(lambda it: it.initiate(replace(TOKEN, payment_method=method), key="k"))


async def test_a_method_is_a_token_or_what_adyens_form_encrypts() -> None:
    form = json.dumps({"type": "scheme", "encryptedCardNumber": "adyenjs_0_1_25$x"})
    _, requests = await asked(
        lambda it: it.initiate(replace(TOKEN, payment_method=form), key="k"), answer_of(paid())
    )

    assert sent_of(requests[0])["paymentMethod"] == json.loads(form)
    for wrong in ('{"number": "4111111111111111"}', "{", "{}", '{"type": 1}'):
        with pytest.raises(RefusedByPartnerError):
            await initiated_with(wrong)


async def test_a_long_key_is_hashed_to_what_adyen_takes() -> None:
    key = "k" * 65

    _, first = await asked(lambda it: it.initiate(TOKEN, key=key), answer_of(paid()))
    _, again = await asked(lambda it: it.initiate(TOKEN, key=key), answer_of(paid()))

    keys = [
        line.partition(b": ")[2]
        for request in (first[0], again[0])
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"idempotency-key")
    ]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 64


async def test_the_account_is_the_merchant_account() -> None:
    account, requests = await asked(lambda it: it.account(), answer_of({"paymentMethods": []}))

    assert account == "Merchant"
    assert sent_of(requests[0]) == {"merchantAccount": "Merchant"}


def test_the_key_is_not_shown() -> None:
    assert "AQE" not in repr(Secret("AQE-secret"))
