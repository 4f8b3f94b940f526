"""Adyen's standard webhooks: what each item means here.

Seed: the settlement webhook of Diagram 4; decision 31.

Rules a change must keep:
- Fields that are not signed decide nothing about money.
- A capture that failed because of a technical issue is captured again by Adyen within ten days: it
  changes nothing, nor does a failure whose reason is not documented; what does not come is late in
  reconciliation.
- A declined card on a page is a hint: the customer may try another.
- What the platform stores of an item holds what is read of it: free text is not kept.
- A request for information takes no money and is no chargeback.
- A payment of test mode, or of another merchant account, changes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec.structs import replace

from caas.external_systems.adyen_refusals import (
    ADYEN,
    AUTHENTICATION_REQUIRED,
    UNKNOWN_REFUSAL,
    CaptureFailure,
    capture_failure_in,
    recorded_code_in,
    refusal_in,
)
from caas.external_systems.adyen_reports import is_settlement_report
from caas.external_systems.adyen_signatures import ITEMS_MAX
from caas.external_systems.adyen_wire import (
    Amount,
    Text,
    in_utc,
    stored_method_of,
    text_in,
)
from caas.external_systems.gateway_fraud_warnings import FraudWarning
from caas.external_systems.gateway_modifications import GatewayRefusal, Modification
from caas.external_systems.http_answers import RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
    DisputeStatus,
    GatewayDispute,
    GatewayEvent,
    GatewayHint,
    GatewayRefund,
    GatewayTransaction,
    RefundStatus,
    Subject,
    TransactionStatus,
)
from caas.external_systems.report_announcements import AnnouncedReport
from caas.external_systems.unknown_values import GatewayField, count_unknown
from caas.rules.personal_data import reason_code
from caas.rules.refusal_codes import is_decline

REPORT_AVAILABLE: Final = "REPORT_AVAILABLE"
ItemReference = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{1,200}\Z")]
OptionalReference = Annotated[str, msgspec.Meta(pattern=r"\A([A-Z0-9]{16})?\Z")]


class NotificationItem(msgspec.Struct, frozen=True, rename="camel"):
    """A notification item; `original_reference` is the payment that it is about.

    Where it is about no payment, its own reference may be anything: the name of a report's file.
    """

    psp_reference: ItemReference
    event_code: Annotated[str, msgspec.Meta(pattern=r"\A[A-Z_]{1,60}\Z")]
    success: Annotated[str, msgspec.Meta(pattern=r"\A(true|false)\Z")]
    event_date: datetime
    merchant_account_code: Text
    amount: Amount
    merchant_reference: Text = ""
    original_reference: OptionalReference = ""
    reason: Text | None = None
    additional_data: dict[str, object] = {}

    @property
    def done(self) -> bool:
        """Whether what the item is about was done."""
        return self.success == "true"

    @property
    def payment(self) -> str:
        """The pspReference of the payment."""
        return self.original_reference or self.psp_reference

    @property
    def id(self) -> str:
        """What a repetition of this event has too: Adyen repeats by reference, code and result.

        The report of a batch can be made again under its name; that is another event.
        """
        repeated = f"{self.event_code}-{self.psp_reference}-{self.success}"
        return f"{repeated}-{self.event_date}" if self.event_code == REPORT_AVAILABLE else repeated


class Wrapper(msgspec.Struct, frozen=True):
    """An item in its envelope."""

    item: NotificationItem = msgspec.field(name="NotificationRequestItem")


class StandardWebhook(msgspec.Struct, frozen=True, rename="camel"):
    """A webhook's body."""

    live: str
    notification_items: Annotated[list[Wrapper], msgspec.Meta(min_length=1, max_length=ITEMS_MAX)]


_DECODER: Final = msgspec.json.Decoder(StandardWebhook)


class Reported(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an item means here, in names that the platform stores events of every gateway by."""

    id: str
    transaction_id: str
    reference: str
    amount: int
    currency: str
    code: str | None = None
    payment_method: str | None = None
    link: str | None = None
    url: str | None = None


class ReportedEvent(msgspec.Struct, frozen=True):
    """An item as it is stored: its meaning, and what was sent."""

    id: str
    type: str
    occurred_at: datetime
    data: Reported


_EVENT_DECODER: Final = msgspec.json.Decoder(ReportedEvent)
_TYPES: Final[Mapping[str, tuple[str, str]]] = {
    "AUTHORISATION": ("transaction.authorized", "transaction.failed"),
    "CAPTURE": ("transaction.capturing", "capture.refused"),
    "CANCELLATION": ("transaction.voided", "void.refused"),
    "TECHNICAL_CANCEL": ("transaction.voided", "void.refused"),
    "EXPIRE": ("transaction.expired", ""),
    "REFUND": ("refund.succeeded", "refund.failed"),
    "REFUND_FAILED": ("refund.failed", ""),
    "REFUNDED_REVERSED": ("refund.failed", ""),
    REPORT_AVAILABLE: ("report.available", ""),
    "NOTIFICATION_OF_FRAUD": ("fraud.warned", ""),
    "NOTIFICATION_OF_CHARGEBACK": ("dispute.opened", ""),
    "CHARGEBACK": ("dispute.opened", ""),
    "CHARGEBACK_REVERSED": ("dispute.won", ""),
    "PREARBITRATION_WON": ("dispute.won", ""),
    "SECOND_CHARGEBACK": ("dispute.lost", ""),
    "PREARBITRATION_LOST": ("dispute.lost", ""),
}
"""The type of an event whose item was successful, and of one that was not."""
_WITHOUT_EFFECT: Final = frozenset({
    "ACH_NOTIFICATION_OF_CHANGE", "AUTHORISATION_ADJUSTMENT", "AUTORESCUE", "CANCEL_AUTORESCUE",
    "CANCEL_OR_REFUND", "DIRECT_DEBIT_NOTICE_OF_CHANGE_NOTIFICATION",
    "DISPUTE_DEFENSE_PERIOD_ENDED", "INFORMATION_SUPPLIED", "ISSUER_COMMENTS",
    "ISSUER_RESPONSE_TIMEFRAME_EXPIRED", "MANUAL_REVIEW_ACCEPT", "MANUAL_REVIEW_REJECT",
    "OFFER_CLOSED", "ORDER_CLOSED", "ORDER_OPENED", "PAIDOUT_REVERSED",
    "PAYOUT_DECLINE", "PAYOUT_EXPIRE", "PAYOUT_THIRDPARTY", "POSTPONED_REFUND",
    "PREARBITRATION_ACCEPTED", "PREARBITRATION_DECLINED", "PREARBITRATION_ISSUER_WITHDRAWN",
    "PREARBITRATION_OPEN", "RECURRING_CONTRACT", "REFUND_WITH_DATA", "REQUEST_FOR_INFORMATION",
    "SCHEME_ARBITRATION", "SCHEME_ARBITRATION_LOST", "SCHEME_ARBITRATION_WON",
    "VOID_PENDING_REFUND",
})  # fmt: skip
"""Documented events that change no payment here."""
CAPTURE_FAILED: Final = "CAPTURE_FAILED"
_FAILED_CAPTURES: Final = {
    CaptureFailure.FINAL: "transaction.settlement_failed",
    CaptureFailure.RETRIED: "capture.retried",
    CaptureFailure.UNDECIDED: "capture.undecided",
}
ATTEMPT: Final = "attempt.failed"
"""A declined card on a page: the customer may try another."""
CHALLENGED: Final = "attempt.challenged"
"""A payment that was refused because its shopper must authenticate: a page takes its place."""
OF_ANOTHER_MERCHANT: Final = "other.merchant_account"
BY_ISSUER: Final = "reported_by_issuer"
"""The reason of a fraud warning: Adyen passes on none that is documented."""
MODIFICATIONS: Final = frozenset({"CAPTURE", "CANCELLATION", "TECHNICAL_CANCEL", "REFUND"})
_STATUS_OF: Final = {
    "authorized": TransactionStatus.AUTHORIZED,
    "failed": TransactionStatus.FAILED,
    "capturing": TransactionStatus.CAPTURING,
    "voided": TransactionStatus.VOIDED,
    "expired": TransactionStatus.VOIDED,
    "settlement_failed": TransactionStatus.SETTLEMENT_FAILED,
}


def split(body: bytes, *, merchant_account: str, is_live: bool) -> tuple[bytes, ...]:
    """Return the events of a verified webhook, each as it is stored.

    An item about another merchant account of the same company is kept, and decides nothing here.

    Raises:
        ValueError: it is not of Adyen's form, or of the other mode; park it, do not apply it.
    """
    webhook = _DECODER.decode(body)
    if webhook.live != ("true" if is_live else "false"):
        ours, theirs = ("live", "test") if is_live else ("test", "live")
        raise ValueError(
            f"The webhook is not of {ours} mode, which CAAS_GATEWAY_URL is of: "
            f"CAAS_GATEWAY_WEBHOOK_SECRETS has the key of a webhook of {theirs} mode."
        )
    items = [wrapper.item for wrapper in webhook.notification_items]
    return tuple(msgspec.json.encode(_as_event(item, merchant_account)) for item in items)


def read_event(body: bytes) -> GatewayEvent | None:
    """Decode an event that `split` has returned; None if it tells nothing of a payment.

    Raises:
        ValueError: it is none of these.
    """
    event = _EVENT_DECODER.decode(body)
    subject = _subject_of(event)
    if subject is None:
        return None
    return GatewayEvent(
        id=event.id, type=event.type, occurred_at=in_utc(event.occurred_at), subject=subject
    )


def _as_event(item: NotificationItem, merchant_account: str) -> ReportedEvent:
    link = text_in(item.additional_data, "paymentLinkId")
    is_ours = item.merchant_account_code == merchant_account
    code = _code_of(item) if is_ours else None
    return ReportedEvent(
        id=item.id,
        type=_type_of(item, link, code) if is_ours else OF_ANOTHER_MERCHANT,
        occurred_at=item.event_date,
        data=Reported(
            id=item.psp_reference,
            transaction_id=item.payment,
            reference=item.merchant_reference,
            amount=item.amount.value,
            currency=item.amount.currency,
            code=code,
            payment_method=stored_method_of(item.additional_data),
            link=link,
            url=item.reason if item.event_code == REPORT_AVAILABLE else None,
        ),
    )


def _type_of(item: NotificationItem, link: str | None, code: str | None) -> str:
    if item.event_code == CAPTURE_FAILED:
        return _FAILED_CAPTURES[capture_failure_in(item.reason or "")]
    done, refused = _TYPES.get(item.event_code, ("", ""))
    if item.event_code not in _TYPES and item.event_code not in _WITHOUT_EFFECT:
        count_unknown(ADYEN, GatewayField.EVENT_TYPE, item.event_code)
    if item.event_code == "AUTHORISATION" and not item.done:
        if link is not None:
            return ATTEMPT
        if code == AUTHENTICATION_REQUIRED:
            return CHALLENGED
    return (done if item.done else refused) or f"other.{item.event_code.lower()}"


def _code_of(item: NotificationItem) -> str | None:
    reason = item.reason or ""
    if item.event_code == "AUTHORISATION":
        return None if item.done else recorded_code_in(reason)
    if item.event_code in MODIFICATIONS and not item.done:
        return refusal_in(reason)
    return (
        reason_code((text_in(item.additional_data, "chargebackReasonCode") or "").strip()) or None
    )


def _subject_of(event: ReportedEvent) -> Subject | None:
    about, _, what = event.type.partition(".")
    data = event.data
    match about:
        case "transaction":
            return _transaction(data, _STATUS_OF[what])
        case "capture" | "void" if what == "refused":
            return GatewayRefusal(
                id=data.id, operation=Modification(about), transaction_id=data.transaction_id,
                reference=data.reference, refusal=data.code or UNKNOWN_REFUSAL,
            )  # fmt: skip
        case "refund":
            return GatewayRefund(
                id=data.id, transaction_id=data.transaction_id, amount=data.amount,
                status=RefundStatus(what), reference=data.reference,
            )  # fmt: skip
        case "dispute":
            return GatewayDispute(
                id=data.id, transaction_id=data.transaction_id, amount=data.amount,
                currency=data.currency, status=DisputeStatus(what), reason=data.code or "",
                reference=data.reference,
            )  # fmt: skip
        case "attempt":
            return GatewayHint(reference=data.reference)
        case _:
            return _notice(about, data)


def _notice(about: str, data: Reported) -> AnnouncedReport | FraudWarning | None:
    """Return a warning, or a settlement report; other reports of the account are not read."""
    if about == "fraud":
        return FraudWarning(
            id=data.id, transaction_id=data.transaction_id, reason=BY_ISSUER,
            reference=data.reference,
        )  # fmt: skip
    if about != "report":
        return None
    is_read = is_settlement_report(data.id) and data.url is not None
    return AnnouncedReport(name=data.id, url=data.url or "") if is_read else None


def _transaction(data: Reported, status: TransactionStatus) -> GatewayTransaction:
    captured = data.amount if status is TransactionStatus.CAPTURING else 0
    return GatewayTransaction(
        id=data.transaction_id,
        reference=data.reference,
        status=status,
        amount=data.amount,
        currency=data.currency,
        captured_amount=captured,
        decline_code=data.code if status is TransactionStatus.FAILED else None,
        payment_method=data.payment_method,
    )


def folded(bodies: Sequence[bytes]) -> GatewayTransaction | None:
    """Return a transaction as its reports together show it; None if nothing was reported.

    What is later in its life counts, whatever the order in which it was reported.
    """
    subjects = [event.subject for event in map(read_event, bodies) if event is not None]
    states = [one for one in subjects if isinstance(one, GatewayTransaction)]
    if not states:
        return None
    last = max(states, key=lambda one: _LATER.index(one.status))
    refunds = {
        one.id: one.amount
        for one in subjects
        if isinstance(one, GatewayRefund) and one.status is RefundStatus.SUCCEEDED
    }
    for one in subjects:
        if isinstance(one, GatewayRefund) and one.status is RefundStatus.FAILED:
            refunds.pop(one.id, None)
    refunded = min(sum(refunds.values()), last.captured_amount)
    method = next((one.payment_method for one in states if one.payment_method), None)
    whole = refunded == last.captured_amount > 0
    return replace(
        last, refunded_amount=refunded, payment_method=method,
        status=TransactionStatus.REFUNDED if whole else last.status,
    )  # fmt: skip


def resolution(
    bodies: Sequence[bytes], refused: Modification
) -> type[RefusedByPartnerError] | None:
    """Return how a payment ended for which a capture or void was refused; None if it did not."""
    types = {_EVENT_DECODER.decode(body).type for body in bodies}
    if f"{refused}.refused" not in types:
        return None
    return next((kind for reported, kind in _RESOLUTIONS if reported in types), None)


def declined_attempt(bodies: Sequence[bytes]) -> str | None:
    """Return the code of an attempt on a page that the bank declined; None if it declined none."""
    events = [_EVENT_DECODER.decode(body) for body in bodies]
    codes = [event.data.code for event in events if event.type == ATTEMPT]
    return next((code for code in codes if is_decline(code)), None)


_LATER: Final = (
    TransactionStatus.FAILED, TransactionStatus.AUTHORIZED, TransactionStatus.VOIDED,
    TransactionStatus.SETTLEMENT_FAILED, TransactionStatus.CAPTURING,
)  # fmt: skip
_RESOLUTIONS: Final[tuple[tuple[str, type[RefusedByPartnerError]], ...]] = (
    ("transaction.capturing", AlreadyCapturedError),
    ("transaction.expired", AuthorizationExpiredError),
    ("transaction.voided", AlreadyVoidedError),
)
