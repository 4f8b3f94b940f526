"""Which of Stripe's webhooks are believed, and what they mean here."""

import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest

from caas.errors import StartupError
from caas.external_systems.http import Secret
from caas.external_systems.payment_gateway import (
    DisputeStatus,
    GatewayDispute,
    GatewayHint,
    GatewayRefund,
    GatewayTransaction,
    RefundStatus,
    TransactionStatus,
)
from caas.external_systems.stripe_webhooks import (
    StripeWebhookVerifier,
    read_event,
    read_event_of_mode,
)
from caas.external_systems.webhook_signatures import (
    WEBHOOK_BODY_BYTES_MAX,
    WebhookBodyTooLargeError,
    WebhookHeadersError,
    WebhookRefusedError,
    WebhookSignatureError,
    WebhookTimestampError,
)
from tests.external_systems.stripe_answers import CREATED, captured_charge, declined_intent, intent

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
NEW = Secret("whsec_new")
OLD = Secret("whsec_old")
BODY = b'{"id":"evt_1"}'


def signed(
    body: bytes = BODY, *, secret: Secret = NEW, at: datetime = NOW, more: str = ""
) -> dict[str, str]:
    """The header that Stripe sends."""
    timestamp = str(int(at.timestamp()))
    digest = hmac.digest(secret.reveal().encode(), timestamp.encode() + b"." + body, "sha256").hex()
    return {"stripe-signature": f"t={timestamp},v1={digest}{more}"}


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_while_secrets_are_rolled_either_will_do(secret: Secret) -> None:
    verifier = StripeWebhookVerifier([NEW, OLD])

    verified = verifier.verify(BODY, signed(secret=secret, more=",v0=abc,v1=abc"), now=NOW)

    assert verified.signed_at == NOW


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_webhook_of_another_time_is_refused_on_both_sides(seconds: int) -> None:
    headers = signed(at=NOW + timedelta(seconds=seconds))

    with pytest.raises(WebhookTimestampError):
        StripeWebhookVerifier([NEW]).verify(BODY, headers, now=NOW)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "v1=abc",
        "t=,v1=abc",
        "t=+1764000000,v1=abc",
        "t=1764000000,t=1764000000,v1=a",
        f"t={int(NOW.timestamp())}" + ",v1=a" * 100,
    ],
)
def test_a_header_of_another_form_is_refused(header: str | None) -> None:
    headers = {} if header is None else {"stripe-signature": header}

    with pytest.raises(WebhookHeadersError):
        StripeWebhookVerifier([NEW]).verify(BODY, headers, now=NOW)


def test_a_stranger_s_signature_is_refused() -> None:
    for headers in (signed(secret=OLD), {"stripe-signature": f"t={int(NOW.timestamp())}"}):
        with pytest.raises(WebhookSignatureError):
            StripeWebhookVerifier([NEW]).verify(BODY, headers, now=NOW)


def test_a_body_beyond_the_limit_is_refused() -> None:
    body = b"x" * (WEBHOOK_BODY_BYTES_MAX + 1)

    with pytest.raises(WebhookBodyTooLargeError):
        StripeWebhookVerifier([NEW]).verify(body, signed(body), now=NOW)


def test_every_single_bit_counts() -> None:
    verifier, honest = StripeWebhookVerifier([NEW]), signed()["stripe-signature"]
    accepted = [
        changed
        for changed in flips(honest.encode())
        if believed(verifier, BODY, {"stripe-signature": changed.decode("latin-1")})
    ]
    accepted += [it for it in flips(BODY) if believed(verifier, it, signed())]

    assert accepted == []


def test_no_secret_is_refused_at_start() -> None:
    with pytest.raises(StartupError):
        StripeWebhookVerifier([])


def event(type_: str, content: object) -> bytes:
    """An event about something."""
    body = {
        "id": "evt_1", "type": type_, "created": CREATED, "livemode": False,
        "data": {"object": content},
    }  # fmt: skip
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("type_", "content", "reported", "status"),
    [
        (
            "payment_intent.succeeded",
            intent(status="succeeded", amount_received=12_500, latest_charge="ch_1"),
            "transaction.capturing",
            TransactionStatus.CAPTURING,
        ),
        (
            "payment_intent.canceled",
            intent(status="canceled", latest_charge="ch_1"),
            "transaction.voided",
            TransactionStatus.VOIDED,
        ),
    ],
)
def test_an_event_of_a_payment_is_read_in_our_words(
    type_: str, content: object, reported: str, status: TransactionStatus
) -> None:
    read = read_event(event(type_, content))

    assert read is not None
    assert isinstance(read.subject, GatewayTransaction)
    assert (read.id, read.type, read.subject.status) == ("evt_1", reported, status)
    assert read.subject.reference == "pay-1"


@pytest.mark.parametrize(
    "content",
    [declined_intent(status="canceled"), intent(status="canceled", latest_charge=None)],
)
def test_the_end_of_an_intent_that_held_nothing_is_only_a_hint(content: object) -> None:
    read = read_event(event("payment_intent.canceled", content))

    assert read is not None
    assert read.subject == GatewayHint(reference="pay-1")


def test_held_funds_are_a_hint_because_the_event_may_be_old() -> None:
    """The hold was canceled at Stripe, and the event came later: the payment was Authorized."""
    read = read_event(event("payment_intent.amount_capturable_updated", intent()))

    assert read is not None
    assert read.subject == GatewayHint(reference="pay-1")


def test_an_event_of_the_other_mode_is_not_read() -> None:
    """A test endpoint's secret in live settings: events of test payments were applied."""
    body = event("payment_intent.amount_capturable_updated", intent())

    assert read_event_of_mode(body, is_live=False) == read_event(body)
    with pytest.raises(ValueError, match="event is of test mode"):
        read_event_of_mode(body, is_live=True)


def test_an_event_of_a_refund_is_read_by_its_state() -> None:
    refund = {"id": "re_1", "payment_intent": "pi_1", "amount": 5, "status": "failed"}

    read = read_event(event("refund.updated", refund))

    assert read is not None
    assert isinstance(read.subject, GatewayRefund)
    assert (read.type, read.subject.status) == ("refund.failed", RefundStatus.FAILED)


@pytest.mark.parametrize(
    ("reported", "status"),
    [
        ("needs_response", DisputeStatus.OPENED),
        ("won", DisputeStatus.WON),
        ("lost", DisputeStatus.LOST),
    ],
)
def test_an_event_of_a_dispute_is_read_by_its_state(reported: str, status: DisputeStatus) -> None:
    dispute = {
        "id": "dp_1",
        "payment_intent": "pi_1",
        "amount": 5,
        "currency": "eur",
        "status": reported,
        "reason": "fraudulent",
    }

    read = read_event(event("charge.dispute.closed", dispute))

    assert read is not None
    assert isinstance(read.subject, GatewayDispute)
    assert (read.type, read.subject.status) == (f"dispute.{status}", status)


@pytest.mark.parametrize(
    "body",
    [
        event("customer.created", {"id": "cus_1"}),
        event("payment_intent.created", intent()),
        event("payment_intent.succeeded", intent(metadata={})),
    ],
)
def test_an_event_that_tells_nothing_of_a_payment_of_ours_means_nothing(body: bytes) -> None:
    assert read_event(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        event("payment_intent.succeeded", {}),
        event("payment_intent.succeeded", intent(status="succeeded")),
        event("payment_intent.canceled", intent(latest_charge=captured_charge())),
        event("refund.updated", {"id": "re_1", "payment_intent": "pi_1", "amount": 5}),
        event("charge.dispute.closed", {"id": "dp_1"}),
    ],
)
def test_an_event_of_another_form_is_not_read(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_event(body)


def believed(verifier: StripeWebhookVerifier, body: bytes, headers: dict[str, str]) -> bool:
    """Whether a webhook passes."""
    try:
        verifier.verify(body, headers, now=NOW)
    except WebhookRefusedError:
        return False
    return True


def flips(value: bytes) -> list[bytes]:
    """Every value that differs in one bit."""
    return [
        value[: bit // 8] + bytes([value[bit // 8] ^ 1 << bit % 8]) + value[bit // 8 + 1 :]
        for bit in range(len(value) * 8)
    ]
