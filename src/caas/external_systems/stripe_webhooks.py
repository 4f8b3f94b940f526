"""Stripe's webhooks: its own signature, and what its events mean for a transaction.

Seed: the settlement webhook of Diagram 4; decision 31.

Rules a change must keep:
- As in `webhook_signatures`: the raw bytes, a window on both sides, constant time, several secrets.
- An event that is not about a payment is read as None, and is no error.
- A failed attempt is a hint only, and so is the end of an intent that held nothing: the customer
  may try again on a page, or a page takes its place. Held funds are a hint too, because events
  arrive late and in any order, and a hold may be gone by then.
- An event of the other mode (live or test) is not applied.
- A type or status that Stripe adds later has no effect, and is counted.
- An inquiry (`warning_...`) takes no money and is no chargeback; a prevented dispute neither.
- A payout that came back and a warning of fraud are notices (decision 246): they move no payment.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from caas.errors import StartupError
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.http_answers import decoded
from caas.external_systems.payment_gateway import (
    GatewayDispute,
    GatewayEvent,
    GatewayHint,
    Subject,
)
from caas.external_systems.stripe_fraud_warnings import Warned, as_warning
from caas.external_systems.stripe_http import API_VERSION, StripeHttp, accepted
from caas.external_systems.stripe_payouts import Payout
from caas.external_systems.stripe_vocabulary import IntentStatus, dispute_status, note_event
from caas.external_systems.stripe_wire import (
    Currency,
    Id,
    PaymentIntent,
    Positive,
    Refund,
    Seconds,
    moment,
)
from caas.external_systems.webhook_signatures import (
    SECRETS_MAX,
    SIGNATURES_MAX,
    TOLERANCE_SECONDS,
    WEBHOOK_BODY_BYTES_MAX,
    VerifiedWebhook,
    WebhookBodyTooLargeError,
    WebhookHeadersError,
    WebhookSignatureError,
    WebhookTimestampError,
)
from caas.rules.personal_data import reason_code

_TIMESTAMP: Final = re.compile(r"[1-9][0-9]{0,11}")
CANCELED: Final = "payment_intent.canceled"
TRANSACTION_EVENTS: Final[Mapping[str, str]] = {
    "payment_intent.succeeded": "transaction.capturing",
    CANCELED: "transaction.voided",
}
HINTS: Final = frozenset(
    {
        "payment_intent.amount_capturable_updated", "payment_intent.payment_failed",
        "setup_intent.succeeded", "setup_intent.setup_failed",
        "setup_intent.canceled", "checkout.session.completed", "checkout.session.expired",
    }
)  # fmt: skip
REFUND_EVENTS: Final = frozenset({"refund.created", "refund.updated", "refund.failed"})
DISPUTE_EVENTS: Final = frozenset(
    {"charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed"}
)
WARNING_EVENTS: Final = frozenset(
    {"radar.early_fraud_warning.created", "radar.early_fraud_warning.updated"}
)
PAYOUT_EVENTS: Final = frozenset({"payout.canceled", "payout.failed"})
EVENTS: Final = (
    *TRANSACTION_EVENTS, *HINTS, *REFUND_EVENTS, *DISPUTE_EVENTS, *WARNING_EVENTS, *PAYOUT_EVENTS,
)  # fmt: skip
"""What a webhook endpoint of this platform asks for."""


class StripeWebhookVerifier:
    """Verifies Stripe's webhooks with the endpoint's active secrets, the newest first."""

    signed_headers = ("stripe-signature",)

    def __init__(self, secrets: Sequence[Secret]) -> None:
        """Hold one secret, or several while they are being rolled.

        Raises:
            StartupError: there is none, or there are too many.
        """
        if not 0 < len(secrets) <= SECRETS_MAX:
            raise StartupError(f"Give 1 to {SECRETS_MAX} endpoint secrets, the newest first.")
        self._keys = tuple(secret.reveal().encode() for secret in secrets)

    def verify(self, body: bytes, headers: Mapping[str, str], *, now: datetime) -> VerifiedWebhook:
        """Return what is signed, named by its digest; header names are in lower case.

        Raises:
            WebhookRefusedError: it is not shown to be Stripe's, or not of now.
        """
        if len(body) > WEBHOOK_BODY_BYTES_MAX:
            raise WebhookBodyTooLargeError
        parts = [part.partition("=") for part in headers.get("stripe-signature", "").split(",")]
        times = [value for name, _, value in parts if name == "t"]
        given = [value.encode() for name, _, value in parts if name == "v1"]
        if len(times) != 1 or not _TIMESTAMP.fullmatch(times[0]) or len(given) > SIGNATURES_MAX:
            raise WebhookHeadersError("Send one Stripe-Signature with one t and a v1.")
        if abs(now.timestamp() - int(times[0])) > TOLERANCE_SECONDS:
            raise WebhookTimestampError(timestamp=times[0])
        signed = times[0].encode() + b"." + body
        expected = [hmac.digest(key, signed, "sha256").hex().encode() for key in self._keys]
        if not any(hmac.compare_digest(ours, theirs) for ours in expected for theirs in given):
            raise WebhookSignatureError
        digest = hashlib.sha256(body).hexdigest()
        return VerifiedWebhook(digest, datetime.fromtimestamp(int(times[0]), UTC))


class Dispute(msgspec.Struct, frozen=True):
    """A dispute as Stripe writes it."""

    id: Id
    payment_intent: Id
    amount: Positive
    currency: Currency
    status: str
    reason: Annotated[str, msgspec.Meta(max_length=100)] = ""


class EventContent(msgspec.Struct, frozen=True):
    """What an event is about, still undecoded."""

    object: msgspec.Raw


class Event(msgspec.Struct, frozen=True):
    """An event as Stripe writes it."""

    id: Id
    type: str
    created: Seconds
    data: EventContent
    livemode: bool | None = None


class Tagged(msgspec.Struct, frozen=True):
    """An object of which only the metadata are read."""

    metadata: dict[str, str] | None = None


class Endpoint(msgspec.Struct, frozen=True):
    """A webhook endpoint that was made; only this answer has its secret."""

    id: Id
    url: str
    secret: str


_ENDPOINT_DECODER: Final = msgspec.json.Decoder(Endpoint)
_TAGGED_DECODER: Final = msgspec.json.Decoder(Tagged)
_EVENT_DECODER: Final = msgspec.json.Decoder(Event)
_INTENT_DECODER: Final = msgspec.json.Decoder(PaymentIntent)
_REFUND_DECODER: Final = msgspec.json.Decoder(Refund)
_DISPUTE_DECODER: Final = msgspec.json.Decoder(Dispute)
_WARNING_DECODER: Final = msgspec.json.Decoder(Warned)
_PAYOUT_DECODER: Final = msgspec.json.Decoder(Payout)


async def create_endpoint(http: HttpClient, url: str) -> Endpoint:
    """Make the account's webhook endpoint at `url`, for the events and the version that are read.

    Raises:
        GatewayFailure: Stripe refuses it, or gave no usable answer.
    """
    fields = [
        ("url", url),
        ("api_version", API_VERSION),
        *((f"enabled_events[{at}]", event) for at, event in enumerate(EVENTS)),
    ]
    key = f"webhook-endpoint:{hashlib.sha256(repr(fields).encode()).hexdigest()}"
    answer = await StripeHttp(http).post("/v1/webhook_endpoints", fields, key=key)
    return decoded(accepted(answer), _ENDPOINT_DECODER)


def read_event_of_mode(body: bytes, *, is_live: bool) -> GatewayEvent | None:
    """Decode a verified webhook of the mode of our key.

    Raises:
        ValueError: it is not of Stripe's form, or of the other mode; park it, do not apply it.
    """
    if _EVENT_DECODER.decode(body).livemode is (not is_live):
        ours, theirs = ("live", "test") if is_live else ("test", "live")
        raise ValueError(
            f"The event is of {theirs} mode and CAAS_GATEWAY_API_KEY of {ours} mode: "
            "CAAS_GATEWAY_WEBHOOK_SECRETS has the secret of an endpoint of the other mode."
        )
    return read_event(body)


def read_event(body: bytes) -> GatewayEvent | None:
    """Decode a verified webhook into what it means here, or None when it means nothing.

    A PaymentIntent in an event does not hold its charge: what is settled of it, and until when its
    funds are held, is asked of the gateway; the event is the hint to ask.

    Raises:
        ValueError: it is not of Stripe's form; store it, park it, do not apply it.
    """
    event = _EVENT_DECODER.decode(body)
    content = event.data.object
    if event.type in TRANSACTION_EVENTS:
        return _of_intent(event, _INTENT_DECODER.decode(content))
    if event.type in HINTS:
        reference = (_TAGGED_DECODER.decode(content).metadata or {}).get("reference")
        hint = GatewayHint(reference=reference) if reference else None
        return _to_event(event, event.type, hint) if hint else None
    if event.type in REFUND_EVENTS:
        refund = _REFUND_DECODER.decode(content).as_refund()
        return _to_event(event, f"refund.{refund.status}", refund)
    if event.type in DISPUTE_EVENTS:
        dispute = _as_dispute(_DISPUTE_DECODER.decode(content))
        return _to_event(event, f"dispute.{dispute.status}", dispute) if dispute else None
    return _notice(event)


def _notice(event: Event) -> GatewayEvent | None:
    notice: Subject | None = None
    if event.type in WARNING_EVENTS:
        notice = as_warning(_WARNING_DECODER.decode(event.data.object))
    elif event.type in PAYOUT_EVENTS:
        notice = _PAYOUT_DECODER.decode(event.data.object).as_returned()
    else:
        note_event(event.type)
    return _to_event(event, event.type, notice) if notice is not None else None


def _of_intent(event: Event, intent: PaymentIntent) -> GatewayEvent | None:
    reference = intent.metadata.get("reference")
    if not reference:
        return None
    is_hint = event.type == CANCELED and not intent.has_held
    if is_hint or intent.status is IntentStatus.UNKNOWN:
        return _to_event(event, event.type, GatewayHint(reference=reference))
    return _to_event(event, TRANSACTION_EVENTS[event.type], intent.as_transaction())


def _to_event(event: Event, type_: str, subject: Subject) -> GatewayEvent:
    return GatewayEvent(id=event.id, type=type_, occurred_at=moment(event.created), subject=subject)


def _as_dispute(dispute: Dispute) -> GatewayDispute | None:
    status = dispute_status(dispute.status)
    if status is None:
        return None
    return GatewayDispute(
        id=dispute.id,
        transaction_id=dispute.payment_intent,
        amount=dispute.amount,
        currency=dispute.currency.upper(),
        status=status,
        reason=reason_code(dispute.reason),
    )
