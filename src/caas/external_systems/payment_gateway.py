"""The payment gateway as the platform sees it: the port that every adapter fills.

Seed: "External Payment Gateway API" and Diagram 1; the capture and the lookup by reference are
decision 1, the keys decision 2.

Rules a change must keep:
- A decline is a value: a `GatewayTransaction` with status failed and its decline code. Everything
  else that is not a success is an exception of the `GatewayFailure` family.
- An adapter returns a transaction only after it has compared it with what was asked.
- Every write takes its key from the caller, who derives it from (payment, operation).
- Money is minor units and an ISO 4217 currency; times are aware UTC.
"""

from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

import msgspec

from caas.external_systems.gateway_amounts import ANY_AMOUNT, TakenAmounts
from caas.external_systems.gateway_fraud_warnings import FraudWarning
from caas.external_systems.gateway_modifications import AcceptedRequest, GatewayRefusal
from caas.external_systems.gateway_payouts import GatewayPayout
from caas.external_systems.http_answers import GatewayFailure, RefusedByPartnerError
from caas.external_systems.report_announcements import AnnouncedReport

CURRENCY_CHARS: Final = 3


class TransactionStatus(StrEnum):
    """What the gateway says of a transaction."""

    REQUIRES_ACTION = "requires_action"
    PENDING = "pending"
    AUTHORIZED = "authorized"
    FAILED = "failed"
    VOIDED = "voided"
    CAPTURING = "capturing"
    SETTLED = "settled"
    SETTLEMENT_FAILED = "settlement_failed"
    REFUNDED = "refunded"


class RefundStatus(StrEnum):
    """What the gateway says of a refund."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class DisputeStatus(StrEnum):
    """How far a chargeback has come."""

    OPENED = "opened"
    WON = "won"
    LOST = "lost"


class SettlementLineType(StrEnum):
    """What a line of a settlement report moves."""

    SETTLEMENT = "settlement"
    REFUND = "refund"
    CHARGEBACK = "chargeback"
    CHARGEBACK_REVERSAL = "chargeback_reversal"
    FEE = "fee"
    SETTLEMENT_FAILURE = "settlement_failure"
    ADJUSTMENT = "adjustment"


class ReportStatus(StrEnum):
    """Whether a day's settlement report can still grow."""

    OPEN = "open"
    CLOSED = "closed"


class CaptureMode(StrEnum):
    """Whether funds are held until we capture, or captured at once."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"


class AlreadyVoidedError(RefusedByPartnerError):
    """The authorization was voided; nothing can be captured or voided any more."""

    code = "already_voided"


class AlreadyCapturedError(RefusedByPartnerError):
    """The charge was captured; only a refund gives the money back."""

    code = "already_captured"


class AuthorizationExpiredError(RefusedByPartnerError):
    """The authorization ran out at the gateway; the funds are no longer held."""

    code = "authorization_expired"


class Initiator(StrEnum):
    """Who starts a charge: a customer who can confirm it, or the merchant alone."""

    CUSTOMER = "customer"
    MERCHANT = "merchant"


class ChargeTerms(msgspec.Struct, frozen=True, kw_only=True):
    """How a charge is made.

    `single_attempt`: the first decline ends it, on a hosted page too. `saves_method`: nothing will
    be captured, the method is to be charged later by the merchant.
    """

    initiator: Initiator = Initiator.CUSTOMER
    single_attempt: bool = False
    saves_method: bool = False


BY_CUSTOMER: Final = ChargeTerms()


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway can do; `idempotency_key_lifetime` None means that it ignores keys.

    `hosted_page`: it takes cards on a page of its own. `merchant_initiated`: it saves a method and
    charges it when no customer is present. Without `lookup_by_id` a transaction is known by what
    was reported of it, and without `settlement_by_day` reports are of batches, and come as files.
    `dated_webhooks`: a webhook's signature covers its time. `amounts`: what it charges.
    """

    separate_capture: bool
    void: bool
    partial_capture: bool
    refund: bool
    lookup_by_reference: bool
    lookup_of_refunds: bool
    idempotency_key_lifetime: timedelta | None
    authorization_lifetime: timedelta
    hosted_page: bool = True
    merchant_initiated: bool = True
    lookup_by_id: bool = True
    settlement_by_day: bool = True
    dated_webhooks: bool = True
    amounts: TakenAmounts = ANY_AMOUNT


class TransactionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What we ask the gateway to initiate; `reference` is the payment's id."""

    reference: str
    amount: int
    currency: str
    capture: CaptureMode
    customer_reference: str
    description: str
    payment_method: str | None = None
    return_url: str | None = None
    terms: ChargeTerms = BY_CUSTOMER

    def __post_init__(self) -> None:
        """Check what no gateway should ever be asked."""
        assert self.amount > 0, "a payment has an amount above zero"
        assert len(self.currency) == CURRENCY_CHARS, "a currency is an ISO 4217 code"
        assert self.reference, "a payment without reference could never be looked up"


class GatewayTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction as the gateway reported it, decoded and compared.

    `payment_method` is the gateway's token of what the customer has paid with, where it names one.
    `is_page`: the id is that of a hosted page; the transaction gets its own when the page is paid.
    """

    id: str
    reference: str
    status: TransactionStatus
    amount: int
    currency: str
    captured_amount: int = 0
    settled_amount: int = 0
    refunded_amount: int = 0
    decline_code: str | None = None
    capture_before: datetime | None = None
    hosted_page_url: str | None = None
    created_at: datetime | None = None
    payment_method: str | None = None
    is_page: bool = False


class GatewayHint(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened to a payment; only a lookup shows what it means."""

    reference: str


class GatewayRefund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund as the gateway reported it; `reference` is empty where it names no payment."""

    id: str
    transaction_id: str
    amount: int
    status: RefundStatus
    reference: str = ""


class GatewayDispute(msgspec.Struct, frozen=True, kw_only=True):
    """A chargeback as the gateway reported it; where it names no currency, it is the payment's.

    `reference` is empty where it names no payment.
    """

    id: str
    transaction_id: str
    amount: int
    currency: str | None
    status: DisputeStatus
    reason: str = ""
    reference: str = ""


Subject = (
    GatewayTransaction | GatewayRefund | GatewayDispute | GatewayRefusal | GatewayHint
    | AnnouncedReport | FraudWarning | GatewayPayout
)  # fmt: skip


class GatewayEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook's content: one thing that happened to one object, in no guaranteed order."""

    id: str
    type: str
    occurred_at: datetime
    subject: Subject


class SettlementLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a settlement report (decision 33); amounts are signed minor units."""

    line_no: int
    batch_id: str
    transaction_id: str | None
    reference: str | None
    type: SettlementLineType
    gross: int
    fee: int
    net: int
    currency: str
    booked_at: datetime
    value_date: date


class QuarantinedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that could not be read; it does not stop its page."""

    position: int
    reason: str
    text: str


class SettlementPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a day's settlement report, with the totals of the whole report."""

    report_id: str
    date: date
    status: ReportStatus
    line_count: int
    gross_total: int
    net_total: int
    lines: tuple[SettlementLine, ...]
    quarantined: tuple[QuarantinedLine, ...]
    next_cursor: str | None


class SettlementsNotReadyError(GatewayFailure):
    """The gateway has not prepared this settlement report yet; ask for it again later."""

    code = "settlements_not_ready"


class SettlementFile(msgspec.Struct, frozen=True, kw_only=True):
    """A day's report that was written to a file: its name and format, and whether it is whole."""

    report_id: str
    format: str
    status: ReportStatus


class PaymentGateway(Protocol):
    """What Payment Processing may ask of a payment gateway.

    Every call raises a member of the `GatewayFailure` family when it has no usable answer.
    """

    @property
    def name(self) -> str:
        """The name under which its transactions and events are stored."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, known at start-up."""
        ...

    async def initiate(self, request: TransactionRequest, *, key: str) -> GatewayTransaction:
        """Ask for the funds; a decline is a transaction with status failed."""
        ...

    async def find(self, transaction_id: str) -> GatewayTransaction | None:
        """Return the transaction as it stands, or None on the gateway's word that there is none."""
        ...

    async def find_by_reference(
        self, reference: str, *, customer_reference: str
    ) -> tuple[GatewayTransaction, ...]:
        """Return each of our reference, or raise PartlyDoneError; none is proof of absence."""
        ...

    async def capture(
        self, transaction_id: str, amount: int, *, key: str
    ) -> GatewayTransaction | AcceptedRequest:
        """Commit the charge.

        Raises:
            AlreadyVoidedError: it was voided before.
            AuthorizationExpiredError: the funds are no longer held.
            AlreadyCapturedError: another capture won.
        """
        ...

    async def void(
        self, transaction_id: str, reason: str, *, key: str
    ) -> GatewayTransaction | AcceptedRequest:
        """Give the held funds back before capture.

        Raises:
            AlreadyCapturedError: only a refund helps.
            AuthorizationExpiredError: the funds are no longer held.
        """
        ...

    async def refund(
        self, transaction_id: str, amount: int, reason: str, *, key: str
    ) -> GatewayRefund:
        """Give captured money back, whole or in part."""
        ...

    async def find_refunds(self, transaction_id: str) -> tuple[GatewayRefund, ...]:
        """Return every refund of a transaction, where the gateway has such a lookup."""
        ...

    async def settlements(self, day: date, cursor: str | None = None) -> SettlementPage:
        """Fetch one page of the settlement report of a day."""
        ...

    async def settlement_file(self, day: date, path: Path) -> SettlementFile | None:
        """Write the settlement report of a day to a file; None where it comes in pages."""
        ...

    def read_event(self, body: bytes) -> GatewayEvent | None:
        """Decode a verified webhook, None when it is not about a payment.

        Raises:
            ValueError: it is not of this gateway's form; store it, park it, do not apply it.
        """
        ...

    async def account(self) -> str | None:
        """Return the account and mode of these credentials, None where a gateway has no such."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def mismatches(
    transaction: GatewayTransaction, *, reference: str, amount: int, currency: str
) -> list[str]:
    """Tell where a transaction differs from the payment it should be of (decision 32)."""
    asked = {"reference": reference, "amount": amount, "currency": currency}
    reported = {name: getattr(transaction, name) for name in asked}
    differing = [name for name, value in asked.items() if value != reported[name]]
    return [f"{name} {reported[name]!r}, not {asked[name]!r}" for name in differing]
