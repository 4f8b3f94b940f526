"""The seed gateway contract's wire format: strict structs, converted to the port's types.

"External Payment Gateway API", the settlement report and the settlement webhook.

Rules a change must keep:

- Decoding is validation: a field that is absent, of another type or out of range fails the whole
  object; a bad settlement line fails only itself (decision 33).
- Amounts fit a bigint, ids fit a URL path, decline codes fit a log line.
- Unknown fields are allowed (the contract may grow); unknown statuses and types are not.
"""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Final

import msgspec

from caas.external_systems.gateway_modifications import GatewayRefusal, Modification
from caas.external_systems.payment_gateway import (
    CaptureMode,
    DisputeStatus,
    GatewayDispute,
    GatewayEvent,
    GatewayRefund,
    GatewayTransaction,
    QuarantinedLine,
    RefundStatus,
    ReportStatus,
    SettlementLine,
    SettlementLineType,
    SettlementPage,
    TransactionRequest,
    TransactionStatus,
)
from caas.rules.card_numbers import contains_card_number, scrub
from caas.rules.personal_data import reason_code

LINES_PER_PAGE_MAX: Final = 5_000
QUARANTINED_CHARS_MAX: Final = 500

# \Z, not $: a trailing line feed must not pass into a path or a log line.
# A gateway's ids: any visible characters; percent-encoded in a path.
Id = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][!-~]{0,199}\Z")]
Code = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}\Z")]
Currency = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]
Url = Annotated[str, msgspec.Meta(pattern=r"\Ahttps?://[!-~]{1,2000}\Z")]
Text = Annotated[str, msgspec.Meta(max_length=500)]
Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[int, msgspec.Meta(gt=0, le=2**63 - 1)]
Signed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Utc = Annotated[datetime, msgspec.Meta(tz=True)]


class TransactionBody(msgspec.Struct, frozen=True):
    """The body of `POST /transactions`."""

    reference: str
    amount: int
    currency: str
    capture: CaptureMode
    payment_method: str | None
    customer_reference: str
    description: str
    return_url: str | None


class CaptureBody(msgspec.Struct, frozen=True):
    """The body of `POST /transactions/{id}/capture`."""

    amount: int


class WireVoidRequest(msgspec.Struct, frozen=True):
    """The body of `POST /transactions/{id}/void`."""

    reason: str


class WireRefundRequest(msgspec.Struct, frozen=True):
    """The body of `POST /transactions/{id}/refund`."""

    amount: int
    reason: str


class TransactionAnswer(msgspec.Struct, frozen=True):
    """A transaction in the gateway's wire format."""

    id: Id
    reference: Id
    status: TransactionStatus
    amount: Positive
    currency: Currency
    captured_amount: Amount
    settled_amount: Amount
    refunded_amount: Amount
    created_at: Utc
    decline_code: Code | None = None
    capture_before: Utc | None = None
    hosted_page_url: Url | None = None
    payment_method: str | None = None

    def __post_init__(self) -> None:
        """Reject inconsistent amounts, and statuses without their field."""
        if not self.refunded_amount <= self.captured_amount <= self.amount:
            raise ValueError("amounts contradict each other")
        if self.settled_amount > self.amount:
            raise ValueError("more is settled than was asked for")
        if self.status in _NOTHING_CAPTURED and self.captured_amount:
            raise ValueError(f"money is captured though the status is {self.status}")
        if self.decline_code is not None and self.status is not TransactionStatus.FAILED:
            raise ValueError(f"a decline code though the status is {self.status}")

    def as_transaction(self) -> GatewayTransaction:
        """Return the port's value."""
        return GatewayTransaction(
            id=self.id,
            reference=self.reference,
            status=self.status,
            amount=self.amount,
            currency=self.currency,
            captured_amount=self.captured_amount,
            settled_amount=self.settled_amount,
            refunded_amount=self.refunded_amount,
            decline_code=self.decline_code,
            capture_before=in_utc(self.capture_before),
            hosted_page_url=self.hosted_page_url,
            created_at=in_utc(self.created_at),
            payment_method=_token(self.payment_method),
        )


_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")


def _token(payment_method: str | None) -> str | None:
    """Return a token of the gateway; None for one that could be a card number."""
    if payment_method is None or contains_card_number(payment_method):
        return None
    return payment_method if _TOKEN.fullmatch(payment_method) else None


_NOTHING_CAPTURED: Final = frozenset(
    {
        TransactionStatus.REQUIRES_ACTION,
        TransactionStatus.PENDING,
        TransactionStatus.AUTHORIZED,
        TransactionStatus.FAILED,
        TransactionStatus.VOIDED,
    }
)


class TransactionList(msgspec.Struct, frozen=True):
    """The response to a lookup by reference."""

    data: Annotated[list[TransactionAnswer], msgspec.Meta(max_length=100)]


class WireRefund(msgspec.Struct, frozen=True):
    """A refund in the gateway's wire format."""

    id: Id
    transaction_id: Id
    amount: Positive
    status: RefundStatus
    reference: Text | None = None

    def as_refund(self) -> GatewayRefund:
        """Return the port's value."""
        return GatewayRefund(
            id=self.id,
            transaction_id=self.transaction_id,
            amount=self.amount,
            status=self.status,
            reference=self.reference or "",
        )


class WireAccepted(msgspec.Struct, frozen=True):
    """The response to a capture or void that is decided later."""

    id: Id
    transaction_id: Id


class WireRefusal(msgspec.Struct, frozen=True):
    """The report of an accepted capture or void that was refused."""

    id: Id
    transaction_id: Id
    reference: Id
    code: Code


class WireRefunds(msgspec.Struct, frozen=True):
    """The response to a lookup of a transaction's refunds."""

    data: Annotated[list[WireRefund], msgspec.Meta(max_length=1_000)]


class WireDispute(msgspec.Struct, frozen=True):
    """A dispute in the gateway's wire format."""

    id: Id
    transaction_id: Id
    amount: Positive
    currency: Currency | None = None
    reason: Text | None = None
    reference: Text | None = None

    def as_dispute(self, status: str) -> GatewayDispute:
        """Return the port's value; the event's type gives its state."""
        return GatewayDispute(
            id=self.id,
            transaction_id=self.transaction_id,
            amount=self.amount,
            currency=self.currency,
            status=DisputeStatus(status),
            reason=reason_code(self.reason or ""),
            reference=self.reference or "",
        )


class SettlementLineAnswer(msgspec.Struct, frozen=True):
    """A settlement line in the gateway's wire format."""

    line_no: Positive
    batch_id: Id
    type: SettlementLineType
    gross: Signed
    fee: Signed
    net: Signed
    currency: Currency
    booked_at: Utc
    value_date: date
    transaction_id: Id | None = None
    reference: Id | None = None

    def __post_init__(self) -> None:
        """Reject a line that does not add up."""
        if self.gross - self.fee != self.net:
            raise ValueError("gross - fee is not net")

    def as_line(self) -> SettlementLine:
        """Return the port's value."""
        return SettlementLine(
            line_no=self.line_no,
            batch_id=self.batch_id,
            transaction_id=self.transaction_id,
            reference=self.reference,
            type=self.type,
            gross=self.gross,
            fee=self.fee,
            net=self.net,
            currency=self.currency,
            booked_at=self.booked_at.astimezone(UTC),
            value_date=self.value_date,
        )


class SettlementPageAnswer(msgspec.Struct, frozen=True):
    """A page of a settlement report in the gateway's wire format, with undecoded lines."""

    report_id: Id
    date: date
    status: ReportStatus
    line_count: Amount
    gross_total: Signed
    net_total: Signed
    data: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=LINES_PER_PAGE_MAX)]
    next_cursor: Cursor | None = None

    def as_page(self) -> SettlementPage:
        """Return the port's value; a line that does not decode is quarantined."""
        read = [_line(position, raw) for position, raw in enumerate(self.data)]
        return SettlementPage(
            report_id=self.report_id,
            date=self.date,
            status=self.status,
            line_count=self.line_count,
            gross_total=self.gross_total,
            net_total=self.net_total,
            lines=tuple(line for line in read if isinstance(line, SettlementLine)),
            quarantined=tuple(line for line in read if isinstance(line, QuarantinedLine)),
            next_cursor=self.next_cursor,
        )


class EventBody(msgspec.Struct, frozen=True):
    """The body of a webhook, with an undecoded subject."""

    id: Id
    type: Annotated[str, msgspec.Meta(pattern=r"\A[a-z_]{1,32}\.[a-z_]{1,32}\Z")]
    occurred_at: Utc
    data: msgspec.Raw


TRANSACTION_DECODER: Final = msgspec.json.Decoder(TransactionAnswer)
TRANSACTION_LIST_DECODER: Final = msgspec.json.Decoder(TransactionList)
ACCEPTED_DECODER: Final = msgspec.json.Decoder(WireAccepted)
REFUND_DECODER: Final = msgspec.json.Decoder(WireRefund)
REFUND_LIST_DECODER: Final = msgspec.json.Decoder(WireRefunds)
SETTLEMENT_PAGE_DECODER: Final = msgspec.json.Decoder(SettlementPageAnswer)
_DISPUTE_DECODER: Final = msgspec.json.Decoder(WireDispute)
_REFUSAL_DECODER: Final = msgspec.json.Decoder(WireRefusal)
_LINE_DECODER: Final = msgspec.json.Decoder(SettlementLineAnswer)
_EVENT_DECODER: Final = msgspec.json.Decoder(EventBody)


def transaction_body(request: TransactionRequest) -> TransactionBody:
    """Return the wire format of an initiate request."""
    return TransactionBody(
        reference=request.reference,
        amount=request.amount,
        currency=request.currency,
        capture=request.capture,
        payment_method=request.payment_method,
        customer_reference=request.customer_reference,
        description=request.description,
        return_url=request.return_url,
    )


def read_event(body: bytes) -> GatewayEvent:
    """Decode the body of a webhook whose signature was verified.

    Raises:
        msgspec.MsgspecError: it does not match the contract; store it, but do not apply it.
    """
    event = _EVENT_DECODER.decode(body)
    return GatewayEvent(
        id=event.id, type=event.type, occurred_at=event.occurred_at, subject=_subject(event)
    )


def in_utc(moment: datetime | None) -> datetime | None:
    """Convert to UTC."""
    return None if moment is None else moment.astimezone(UTC)


def _subject(
    event: EventBody,
) -> GatewayTransaction | GatewayRefund | GatewayDispute | GatewayRefusal:
    subject, _, what = event.type.partition(".")
    match subject:
        case "transaction":
            return TRANSACTION_DECODER.decode(event.data).as_transaction()
        case "refund":
            return REFUND_DECODER.decode(event.data).as_refund()
        case "dispute":
            return _dispute(event, what)
        case Modification.CAPTURE | Modification.VOID if what == "refused":
            return _refusal(event, Modification(subject))
        case other:
            raise msgspec.ValidationError(f"Nothing is known of events about a {other}")


def _dispute(event: EventBody, what: str) -> GatewayDispute:
    if what not in set(DisputeStatus):
        raise msgspec.ValidationError(f"Nothing is known of a dispute that is {what}")
    return _DISPUTE_DECODER.decode(event.data).as_dispute(what)


def _refusal(event: EventBody, operation: Modification) -> GatewayRefusal:
    refused = _REFUSAL_DECODER.decode(event.data)
    return GatewayRefusal(
        id=refused.id,
        operation=operation,
        transaction_id=refused.transaction_id,
        reference=refused.reference,
        refusal=refused.code,
    )


def _line(position: int, raw: msgspec.Raw) -> SettlementLine | QuarantinedLine:
    try:
        return _LINE_DECODER.decode(raw).as_line()
    except msgspec.MsgspecError as error:
        text = scrub(bytes(raw).decode("utf-8", "replace"))[:QUARANTINED_CHARS_MAX]
        return QuarantinedLine(position=position, reason=str(error), text=text)
