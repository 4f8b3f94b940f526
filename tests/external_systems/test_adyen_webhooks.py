"""Adyen's webhooks: signed as Adyen's own client signs them, split, and read for what they mean."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from Adyen.util import generate_notification_sig, is_valid_hmac_notification
from structlog.testing import capture_logs

from caas.errors import StartupError
from caas.external_systems.adyen_refusals import REFUSALS, recorded_code, recorded_code_in
from caas.external_systems.adyen_signatures import AdyenWebhookVerifier
from caas.external_systems.adyen_webhooks import (
    declined_attempt,
    folded,
    read_event,
    split,
)
from caas.external_systems.adyen_wire import ResultCode
from caas.external_systems.gateway_fraud_warnings import FraudWarning
from caas.external_systems.gateway_modifications import GatewayRefusal
from caas.external_systems.http import Secret
from caas.external_systems.payment_gateway import (
    DisputeStatus,
    GatewayDispute,
    GatewayEvent,
    GatewayHint,
    GatewayRefund,
    GatewayTransaction,
    RefundStatus,
    TransactionStatus,
)
from caas.external_systems.report_announcements import AnnouncedReport
from caas.external_systems.unknown_values import GatewayField, unknown_values
from caas.external_systems.webhook_signatures import (
    WebhookBodyTooLargeError,
    WebhookHeadersError,
    WebhookSignatureError,
)
from caas.payment_processing.charges import LATER_REFUSALS
from caas_simulators.adyen.webhooks import notification
from tests.external_systems.conformance.simulated import HMAC_KEY

NOW = datetime(2026, 11, 29, tzinfo=UTC)
OLD_KEY = "74F490DD33F7327BAECC88B2947C011FC02D014A473AAA33A8EC93E4DC069174"
PAYMENT, MODIFICATION = "JF3KYATUDCKZ3EJA", "WGR73EGZZPAW8EMH"
TECHNICAL = "Capture rejected by card scheme because of a technical issue."
STOPPED = (
    "Capture rejected by card scheme because the shopper cancelled the recurring payment through "
    "their bank."
)
S = TransactionStatus
Json = dict[str, Any]


def item(code: str, **more: object) -> Json:
    """An item about a payment; those about a modification name the payment as the original."""
    first = code in ("AUTHORISATION", "EXPIRE")
    about = {"pspReference": PAYMENT} if first else {
        "pspReference": MODIFICATION, "originalReference": PAYMENT,
    }  # fmt: skip
    return {
        "additionalData": {}, "amount": {"currency": "EUR", "value": 1130}, "eventCode": code,
        "eventDate": "2026-11-29T10:00:00+01:00", "merchantAccountCode": "TestMerchant",
        "merchantReference": "pay-1", "paymentMethod": "visa", "reason": "", "success": "true",
        **about, **more,
    }  # fmt: skip


def body_of(*items: Json, key: str = HMAC_KEY) -> bytes:
    """A webhook with these items, each signed by Adyen's own client."""
    signed = []
    for one in items:
        signature = generate_notification_sig(one, key).decode()
        data = {**one["additionalData"], "hmacSignature": signature}
        signed.append({"NotificationRequestItem": one | {"additionalData": data}})
    return json.dumps({"live": "false", "notificationItems": signed}).encode()


def parts_of(body: bytes) -> tuple[bytes, ...]:
    """The events of a webhook of test mode, as the platform stores them."""
    return split(body, merchant_account="TestMerchant", is_live=False)


def events(*items: Json) -> list[GatewayEvent | None]:
    """What the items of one webhook mean."""
    return [read_event(part) for part in parts_of(body_of(*items))]


def event(code: str, **more: object) -> GatewayEvent:
    """What one item means."""
    [found] = events(item(code, **more))
    assert found is not None
    return found


def verify(body: bytes) -> None:
    AdyenWebhookVerifier([Secret(OLD_KEY), Secret(HMAC_KEY)]).verify(body, {}, now=NOW)


@pytest.mark.parametrize(("live", "is_live"), [("true", False), ("false", True), ("maybe", False)])
def test_a_webhook_of_the_other_mode_is_put_aside(live: str, *, is_live: bool) -> None:
    body = json.dumps(json.loads(body_of(item("CAPTURE"))) | {"live": live}).encode()

    with pytest.raises(ValueError, match="CAAS_GATEWAY_WEBHOOK_SECRETS"):
        split(body, merchant_account="TestMerchant", is_live=is_live)


def test_an_item_about_another_merchant_account_decides_nothing() -> None:
    ours, theirs = events(item("CAPTURE"), item("CAPTURE", merchantAccountCode="Other"))

    assert ours is not None
    assert theirs is None


def test_what_adyens_client_signs_is_believed() -> None:
    verify(body_of(item("AUTHORISATION"), item("CAPTURE"), item("REFUND", success="false")))


def test_adyens_client_believes_what_the_simulator_signs() -> None:
    sent = notification([item("CAPTURE")], HMAC_KEY)

    assert is_valid_hmac_notification(sent, HMAC_KEY)
    verify(json.dumps(sent).encode())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pspReference", "JF3KYATUDCKZ3EJB"), ("originalReference", "JF3KYATUDCKZ3EJB"),
        ("merchantAccountCode", "Other"), ("merchantReference", "pay-2"),
        ("amount", {"currency": "EUR", "value": 1}), ("amount", {"currency": "USD", "value": 1130}),
        ("eventCode", "CANCELLATION"), ("success", "false"),
    ],
)  # fmt: skip
def test_no_signed_field_can_be_changed(name: str, value: object) -> None:
    body = json.loads(body_of(item("AUTHORISATION"), item("CAPTURE")))
    body["notificationItems"][1]["NotificationRequestItem"][name] = value

    with pytest.raises(WebhookSignatureError):
        verify(json.dumps(body).encode())


@pytest.mark.parametrize("signature", [None, "", 1, "AAAA", "é", ["x"]])
def test_an_item_without_its_signature_refuses_the_webhook(signature: object) -> None:
    body = json.loads(body_of(item("AUTHORISATION"), item("CAPTURE")))
    body["notificationItems"][0]["NotificationRequestItem"]["additionalData"] = (
        {} if signature is None else {"hmacSignature": signature}
    )

    with pytest.raises(WebhookSignatureError):
        verify(json.dumps(body).encode())


def test_a_key_that_is_not_ours_is_not_believed() -> None:
    with pytest.raises(WebhookSignatureError):
        verify(body_of(item("CAPTURE"), key="00" * 32))


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"\xff", b'{"notificationItems": []}', b'{"notificationItems": 1}']
)
def test_what_is_no_notification_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookHeadersError):
        verify(body)


def test_a_webhook_without_end_is_refused() -> None:
    with pytest.raises(WebhookBodyTooLargeError):
        verify(b" " * (256 * 1024 + 1))


@pytest.mark.parametrize("keys", [[], ["whsec_x"], ["44"], [HMAC_KEY] * 9])
def test_keys_are_checked_at_the_start(keys: list[str]) -> None:
    with pytest.raises(StartupError):
        AdyenWebhookVerifier([Secret(key) for key in keys])


@pytest.mark.parametrize(
    ("code", "more", "status"),
    [
        ("AUTHORISATION", {}, S.AUTHORIZED),
        ("AUTHORISATION", {"success": "false", "reason": "Not enough balance"}, S.FAILED),
        ("CAPTURE", {}, S.CAPTURING),
        ("CANCELLATION", {}, S.VOIDED),
        ("TECHNICAL_CANCEL", {}, S.VOIDED),
        ("EXPIRE", {}, S.VOIDED),
        ("CAPTURE_FAILED", {"reason": STOPPED}, S.SETTLEMENT_FAILED),
    ],
)
def test_what_is_reported_of_a_payment(code: str, more: Json, status: TransactionStatus) -> None:
    subject = event(code, **more).subject

    assert isinstance(subject, GatewayTransaction)
    assert (subject.id, subject.reference, subject.status) == (PAYMENT, "pay-1", status)
    assert subject.captured_amount == (1130 if status is S.CAPTURING else 0)
    assert subject.decline_code == ("insufficient_funds" if status is S.FAILED else None)


@pytest.mark.parametrize(
    ("code", "reason", "refusal"),
    [
        ("CAPTURE", "Insufficient balance on payment", "insufficient_balance"),
        ("CANCELLATION", "insufficient balance on payment.", "insufficient_balance"),
        ("CAPTURE", "Transaction was already cancelled", "refused_by_adyen"),
        ("CANCELLATION", "", "refused_by_adyen"),
    ],
)
def test_a_modification_that_is_refused_says_why_and_decides_nothing(
    code: str, reason: str, refusal: str
) -> None:
    subject = event(code, success="false", reason=reason).subject

    assert isinstance(subject, GatewayRefusal)
    assert (subject.id, subject.transaction_id) == (MODIFICATION, PAYMENT)
    assert subject.refusal == refusal
    assert refusal not in LATER_REFUSALS


@pytest.mark.parametrize(
    ("reason", "decline"),
    [
        ("Not enough balance", "insufficient_funds"), ("3D Not Authenticated",
                                                       "authentication_failed"),
        ("CVC Declined", "incorrect_cvc"), ("FRAUD-CANCELLED", "fraud"),
        ("Refused", "card_declined"), ("Something else", "unknown_refusal"),
        ("", "unknown_refusal"), ("Acquirer Error", "acquirer_error"),
        ("Issuer Unavailable", "issuer_unavailable"), ("Invalid Amount", "invalid_amount"),
    ],
)  # fmt: skip
def test_a_refused_authorisation_is_reported_by_its_text(reason: str, decline: str) -> None:
    subject = event("AUTHORISATION", success="false", reason=reason).subject

    assert isinstance(subject, GatewayTransaction)
    assert subject.decline_code == decline


def test_a_demand_to_authenticate_is_a_hint_and_no_decline() -> None:
    found = event("AUTHORISATION", success="false", reason="Authentication required")

    assert found.subject == GatewayHint(reference="pay-1")
    assert folded(parts_of(body_of(item("AUTHORISATION", success="false",
                                        reason="Authentication required")))) is None  # fmt: skip


UNDOCUMENTED = {"success": "false", "reason": "Telepathy failed 4111111111111111"}


@pytest.mark.parametrize(
    ("code", "more", "field"),
    [
        ("AUTHORISATION", UNDOCUMENTED, GatewayField.DECLINE_CODE),
        ("CAPTURE", UNDOCUMENTED, GatewayField.REFUSAL_REASON),
        ("CAPTURE_FAILED", {**UNDOCUMENTED, "success": "true"}, GatewayField.REFUSAL_REASON),
        ("TELEPATHY_FAILED", {}, GatewayField.EVENT_TYPE),
    ],
)
def test_what_is_not_documented_is_counted_and_logged_without_card_numbers(
    code: str, more: Json, field: GatewayField
) -> None:
    before = unknown_values()["adyen", field]
    with capture_logs() as logs:
        parts_of(body_of(item(code, **more)))

    assert unknown_values()["adyen", field] == before + 1
    [line] = logs
    assert (line["event"], line["field"]) == ("gateway.unknown_value", field)
    assert line["value"].casefold().startswith("telepathy")
    assert "4111111111111111" not in line["value"]


def test_a_notification_of_fraud_is_a_warning_about_its_payment() -> None:
    found = event("NOTIFICATION_OF_FRAUD")

    assert found.subject == FraudWarning(
        id=MODIFICATION, transaction_id=PAYMENT, reason="reported_by_issuer", reference="pay-1"
    )


@pytest.mark.parametrize("code", ["RECURRING_CONTRACT", "OFFER_CLOSED"])
def test_a_documented_event_about_something_else_is_not_counted(code: str) -> None:
    with capture_logs() as logs:
        parts_of(body_of(item(code)))

    assert not logs


def test_an_unknown_result_of_a_payment_is_counted() -> None:
    before = unknown_values()["adyen", GatewayField.PAYMENT_STATUS]

    with pytest.raises(ValueError, match="Levitated"):
        ResultCode("Levitated")

    assert unknown_values()["adyen", GatewayField.PAYMENT_STATUS] == before + 1


def test_a_refusal_is_recorded_alike_by_its_code_and_by_its_text() -> None:
    for code, text, recorded in REFUSALS:
        assert (recorded_code(code), recorded_code_in(text)) == (recorded, recorded)


@pytest.mark.parametrize(
    ("code", "success", "status"),
    [
        ("REFUND", "true", RefundStatus.SUCCEEDED), ("REFUND", "false", RefundStatus.FAILED),
        ("REFUND_FAILED", "true", RefundStatus.FAILED),
        ("REFUNDED_REVERSED", "true", RefundStatus.FAILED),
    ],
)  # fmt: skip
def test_what_is_reported_of_a_refund(code: str, success: str, status: RefundStatus) -> None:
    subject = event(code, success=success).subject

    assert isinstance(subject, GatewayRefund)
    assert (subject.id, subject.transaction_id, subject.status) == (MODIFICATION, PAYMENT, status)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("NOTIFICATION_OF_CHARGEBACK", DisputeStatus.OPENED),
        ("CHARGEBACK", DisputeStatus.OPENED),
        ("CHARGEBACK_REVERSED", DisputeStatus.WON),
        ("PREARBITRATION_WON", DisputeStatus.WON),
        ("SECOND_CHARGEBACK", DisputeStatus.LOST),
        ("PREARBITRATION_LOST", DisputeStatus.LOST),
    ],
)
def test_what_is_reported_of_a_dispute(code: str, status: DisputeStatus) -> None:
    subject = event(code).subject

    assert isinstance(subject, GatewayDispute)
    assert (subject.transaction_id, subject.amount, subject.status) == (PAYMENT, 1130, status)


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("REQUEST_FOR_INFORMATION", {}),
        ("SOMETHING_NEW", {}),
        ("CAPTURE_FAILED", {"reason": TECHNICAL}),
        ("CAPTURE_FAILED", {"reason": "Capture Failed"}),
        ("CAPTURE_FAILED", {"reason": ""}),
    ],
)
def test_what_takes_no_money_means_nothing(code: str, more: Json) -> None:
    assert events(item(code, **more)) == [None]


def test_a_report_of_no_payment_is_read_beside_one_of_a_payment() -> None:
    settlement = report("settlement_detail_report_batch_12.csv")
    other = report("received_payments_report_2026_11_29.csv")

    first, second, third = events(settlement, other, item("CAPTURE"))

    assert first is not None
    assert first.subject == AnnouncedReport(
        name="settlement_detail_report_batch_12.csv",
        url="https://ca-test.adyen.com/reports/settlement_detail_report_batch_12.csv",
    )
    assert second is None
    assert third is not None


def test_a_report_that_is_made_again_is_another_event() -> None:
    name = "settlement_detail_report_batch_12.csv"
    later = report(name) | {"eventDate": "2026-11-30T10:00:00+01:00"}

    first, again, corrected = events(report(name), report(name), later)

    assert first is not None
    assert again is not None
    assert corrected is not None
    assert first.id == again.id != corrected.id


def report(name: str) -> Json:
    """The item that announces a report."""
    return item(
        "REPORT_AVAILABLE", pspReference=name, originalReference="", merchantReference="",
        amount={"currency": "EUR", "value": 0}, reason=f"https://ca-test.adyen.com/reports/{name}",
    )  # fmt: skip


def test_data_of_another_program_does_not_hide_the_items_beside_it() -> None:
    """One object in the additional data made the whole webhook unreadable."""
    other = item("AUTHORISATION", additionalData={"metadata": {"order": "7"}})

    first, second = events(other, item("CAPTURE"))

    assert first is not None
    assert second is not None


def test_a_declined_card_on_a_page_is_a_hint() -> None:
    declined = item(
        "AUTHORISATION", success="false", reason="Refused",
        additionalData={"paymentLinkId": "PL61C53A8B97E6915A"},
    )  # fmt: skip

    [found] = events(declined)

    assert found is not None
    assert found.subject == GatewayHint(reference="pay-1")
    assert declined_attempt(parts_of(body_of(declined))) == "card_declined"


def test_a_batch_is_as_many_events_with_ids_of_their_own() -> None:
    found = events(item("AUTHORISATION"), item("CAPTURE"), item("SOMETHING_NEW"))
    ids = [one.id for one in found if one is not None]

    assert len(found) == 3
    assert len(set(ids)) == 2


def test_a_repeated_item_has_the_id_it_had() -> None:
    again = item("CAPTURE", eventDate="2026-11-30T10:00:00+01:00")

    assert event("CAPTURE").id == events(again)[0].id  # type: ignore[union-attr]


def test_a_payment_is_what_was_reported_of_it_in_any_order() -> None:
    items = [
        item("AUTHORISATION", additionalData={"tokenization.storedPaymentMethodId": "TOKEN"}),
        item("CAPTURE"),
        item("REFUND", pspReference="WGR73EGZZPAW8EMK", amount={"currency": "EUR", "value": 130}),
        item("REFUND", pspReference="WGR73EGZZPAW8EMM", amount={"currency": "EUR", "value": 100}),
        item("REFUND_FAILED", pspReference="WGR73EGZZPAW8EMM",
             amount={"currency": "EUR", "value": 100}),
    ]  # fmt: skip

    in_order, reversed_ = parts_of(body_of(*items)), parts_of(body_of(*items[::-1]))

    found = folded(in_order)
    assert found == folded(reversed_)
    assert found is not None
    assert (found.status, found.captured_amount, found.refunded_amount) == (S.CAPTURING, 1130, 130)
    assert found.payment_method == "TOKEN"
    assert folded(()) is None


def test_a_payment_that_is_refunded_whole_is_refunded() -> None:
    found = folded(
        parts_of(body_of(item("CAPTURE"), item("REFUND", pspReference="WGR73EGZZPAW8EMK")))
    )

    assert found is not None
    assert found.status is S.REFUNDED
