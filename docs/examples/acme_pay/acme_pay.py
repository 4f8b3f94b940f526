"""An adapter for Acme Pay, an example: complete, and as small as one can be.

Acme Pay speaks the contract of `docs/integrating.md`, so that the example runs against our
simulator. For another provider, replace the paths, the structs and the table of refusals.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from caas.external_systems.gateway_adapters import (
    ConfiguredGateway,
    GatewayAdapter,
    GatewayContext,
    read_access,
)
from caas.external_systems.http import HttpClient
from caas.external_systems.http_answers import (
    HttpAnswer,
    RefusedByPartnerError,
    UnknownReason,
    checked,
    decoded,
)
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
    Capabilities,
    DisputeStatus,
    GatewayDispute,
    GatewayEvent,
    GatewayRefund,
    GatewayTransaction,
    PaymentGateway,
    QuarantinedLine,
    RefundStatus,
    ReportStatus,
    SettlementLine,
    SettlementLineType,
    SettlementPage,
    TransactionRequest,
    TransactionStatus,
    mismatches,
)
from caas.external_systems.webhook_signatures import WebhookVerifier
from caas.setting_values import SettingReader, needed

CAPABILITIES: Final = Capabilities(
    separate_capture=True,
    void=True,
    partial_capture=False,
    refund=True,
    lookup_by_reference=True,
    lookup_of_refunds=False,
    idempotency_key_lifetime=timedelta(hours=24),
    authorization_lifetime=timedelta(days=7),
)
REFUSALS: Final[Mapping[str, type[RefusedByPartnerError]]] = {
    "already_voided": AlreadyVoidedError,
    "already_captured": AlreadyCapturedError,
    "authorization_expired": AuthorizationExpiredError,
    "already_failed": RefusedByPartnerError,
    "nothing_to_refund": RefusedByPartnerError,
}
"""What Acme's 409 codes mean. A 409 that is not here is unknown: it may be a request in flight."""


class Payment(msgspec.Struct, frozen=True):
    """A payment as Acme writes it; a field that is missing or of another type is an error."""

    id: str
    reference: str
    status: TransactionStatus
    amount: int
    currency: str
    captured_amount: int
    settled_amount: int
    refunded_amount: int
    created_at: datetime
    decline_code: str | None = None
    capture_before: datetime | None = None
    hosted_page_url: str | None = None
    payment_method: str | None = None

    def as_transaction(self) -> GatewayTransaction:
        """Return the port's value; Acme's names are those of the port."""
        reported: dict[str, Any] = msgspec.structs.asdict(self)
        return GatewayTransaction(**reported)


class Refund(msgspec.Struct, frozen=True):
    """A refund as Acme writes it."""

    id: str
    transaction_id: str
    amount: int
    status: RefundStatus

    def as_refund(self) -> GatewayRefund:
        """Return the port's value."""
        return GatewayRefund(
            id=self.id,
            transaction_id=self.transaction_id,
            amount=self.amount,
            status=self.status,
        )


class Found(msgspec.Struct, frozen=True):
    """The payments of a reference."""

    data: list[Payment]


class Event(msgspec.Struct, frozen=True):
    """A webhook; what it is about is read by its type."""

    id: str
    type: str
    occurred_at: datetime
    data: msgspec.Raw


class Dispute(msgspec.Struct, frozen=True):
    """A chargeback as Acme writes it."""

    id: str
    transaction_id: str
    amount: int
    currency: str | None = None


class ReportLine(msgspec.Struct, frozen=True):
    """A line of a settlement report."""

    line_no: int
    batch_id: str
    type: SettlementLineType
    gross: int
    fee: int
    net: int
    currency: str
    booked_at: datetime
    value_date: date
    transaction_id: str | None = None
    reference: str | None = None


class ReportPage(msgspec.Struct, frozen=True):
    """A page of a settlement report; each line is read by itself."""

    report_id: str
    date: date
    status: ReportStatus
    line_count: int
    gross_total: int
    net_total: int
    data: list[msgspec.Raw]
    next_cursor: str | None = None


Value = TypeVar("Value")
PAYMENT: Final = msgspec.json.Decoder(Payment)
REFUND: Final = msgspec.json.Decoder(Refund)
FOUND: Final = msgspec.json.Decoder(Found)
REPORT: Final = msgspec.json.Decoder(ReportPage)
LINE: Final = msgspec.json.Decoder(ReportLine)
EVENT: Final = msgspec.json.Decoder(Event)
DISPUTE: Final = msgspec.json.Decoder(Dispute)


class AcmeGateway:
    """Acme Pay behind the platform's port. It never retries; the platform does."""

    name = "acme"
    capabilities = CAPABILITIES

    def __init__(self, http: HttpClient, merchant: str) -> None:
        """Use this client; payments are of this merchant."""
        self._http = http
        self._merchant = merchant

    async def initiate(self, request: TransactionRequest, *, key: str) -> GatewayTransaction:
        """Ask for the funds; a 402 is a decline only if it carries our payment, failed."""
        body = {
            "reference": request.reference,
            "amount": request.amount,
            "currency": request.currency,
            "capture": request.capture,
            "payment_method": request.payment_method,
            "customer_reference": request.customer_reference,
            "description": request.description,
            "return_url": request.return_url,
            "merchant": self._merchant,
        }
        answer = await self._post("/transactions", body, key=key)
        payment = decoded(_accepted(answer, 200, 201, 402), PAYMENT).as_transaction()
        different = mismatches(
            payment, reference=request.reference, amount=request.amount, currency=request.currency
        )
        if (answer.status == 402) != (payment.status is TransactionStatus.FAILED):  # noqa: PLR2004  # the number is the example
            different.append(f"status {payment.status} in an answer of {answer.status}")
        return _agreed(answer, payment, different)

    async def find(self, transaction_id: str) -> GatewayTransaction | None:
        """Look up by id; only Acme's own word proves that there is none."""
        answer = await self._http.send("GET", f"/transactions/{transaction_id}")
        try:
            payment = decoded(_accepted(answer, 200), PAYMENT).as_transaction()
        except RefusedByPartnerError as refusal:
            if refusal.refusal == "unknown_transaction":
                return None
            raise
        return _agreed(answer, payment, _other(payment.id, transaction_id))

    async def find_by_reference(
        self, reference: str, *, customer_reference: str
    ) -> tuple[GatewayTransaction, ...]:
        """Look up by our reference."""
        del customer_reference  # Acme does not need it
        answer = await self._http.send("GET", f"/transactions?reference={reference}")
        found = decoded(_accepted(answer, 200), FOUND).data
        different = [one.reference for one in found if one.reference != reference]
        return _agreed(answer, tuple(one.as_transaction() for one in found), different)

    async def capture(self, transaction_id: str, amount: int, *, key: str) -> GatewayTransaction:
        """Commit the charge; exactly this amount must be captured."""
        answer = await self._post(
            f"/transactions/{transaction_id}/capture", {"amount": amount}, key=key
        )
        payment = decoded(_accepted(answer, 200), PAYMENT).as_transaction()
        different = _other(payment.id, transaction_id)
        if payment.captured_amount != amount:
            different.append(f"captured {payment.captured_amount}, not {amount}")
        return _agreed(answer, payment, different)

    async def void(self, transaction_id: str, reason: str, *, key: str) -> GatewayTransaction:
        """Give the held funds back, or end a page."""
        answer = await self._post(
            f"/transactions/{transaction_id}/void", {"reason": reason}, key=key
        )
        payment = decoded(_accepted(answer, 200), PAYMENT).as_transaction()
        different = _other(payment.id, transaction_id)
        if payment.status is not TransactionStatus.VOIDED:
            different.append(f"status {payment.status} after a void")
        return _agreed(answer, payment, different)

    async def refund(
        self, transaction_id: str, amount: int, reason: str, *, key: str
    ) -> GatewayRefund:
        """Give captured money back."""
        body = {"amount": amount, "reason": reason}
        answer = await self._post(f"/transactions/{transaction_id}/refund", body, key=key)
        refund = decoded(_accepted(answer, 200, 201), REFUND).as_refund()
        different = _other(refund.transaction_id, transaction_id)
        if refund.amount != amount:
            different.append(f"amount {refund.amount}, not {amount}")
        return _agreed(answer, refund, different)

    async def find_refunds(self, transaction_id: str) -> tuple[GatewayRefund, ...]:
        """Never called: the capabilities say that there is no such lookup."""
        raise NotImplementedError(transaction_id)

    async def settlements(self, day: date, cursor: str | None = None) -> SettlementPage:
        """Fetch a page of a day's report; a line that cannot be read is set aside."""
        more = f"&cursor={cursor}" if cursor else ""
        answer = await self._http.send("GET", f"/settlements?date={day.isoformat()}{more}")
        page = decoded(_accepted(answer, 200), REPORT)
        lines = [_line(at, raw) for at, raw in enumerate(page.data)]
        return SettlementPage(
            report_id=page.report_id,
            date=page.date,
            status=page.status,
            line_count=page.line_count,
            gross_total=page.gross_total,
            net_total=page.net_total,
            lines=tuple(one for one in lines if isinstance(one, SettlementLine)),
            quarantined=tuple(one for one in lines if isinstance(one, QuarantinedLine)),
            next_cursor=page.next_cursor,
        )

    async def settlement_file(self, day: date, path: Path) -> None:
        """Do nothing: Acme's reports come in pages."""

    def read_event(self, body: bytes) -> GatewayEvent | None:
        """Decode a verified webhook."""
        return read_event(body)

    async def account(self) -> str | None:
        """Return the account, so that a database is never used with another one."""
        return self._merchant

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def _post(self, target: str, body: Mapping[str, object], *, key: str) -> HttpAnswer:
        return await self._http.send("POST", target, body=msgspec.json.encode(body), key=key)


def read_event(body: bytes) -> GatewayEvent | None:
    """Decode a verified webhook: None if it is of no use, ValueError if it cannot be read."""
    event = EVENT.decode(body)
    about, _, what = event.type.partition(".")
    subject: GatewayTransaction | GatewayRefund | GatewayDispute
    if about == "transaction":
        subject = PAYMENT.decode(event.data).as_transaction()
    elif about == "refund":
        subject = REFUND.decode(event.data).as_refund()
    elif about == "dispute":
        dispute = DISPUTE.decode(event.data)
        subject = GatewayDispute(
            id=dispute.id,
            transaction_id=dispute.transaction_id,
            amount=dispute.amount,
            currency=dispute.currency,
            status=DisputeStatus(what),
        )
    else:
        return None
    return GatewayEvent(
        id=event.id,
        type=event.type,
        occurred_at=event.occurred_at.astimezone(UTC),
        subject=subject,
    )


def _accepted(answer: HttpAnswer, *expected: int) -> HttpAnswer:
    """Return a usable answer; `checked` raises what every other status means."""
    try:
        return checked(answer, expected=frozenset(expected))
    except RefusedByPartnerError as refusal:
        if refusal.status != 409:  # noqa: PLR2004  # the number is the example
            raise
        typed = REFUSALS.get(refusal.refusal)
        if typed is None:
            raise answer.unknown(UnknownReason.UNEXPECTED, refusal.refusal) from refusal
        raise typed(
            partner=refusal.partner,
            call=refusal.call,
            status=refusal.status,
            refusal=refusal.refusal,
            problem=refusal.problem,
        ) from None


def _agreed(answer: HttpAnswer, value: Value, different: list[str]) -> Value:
    """Return what was asked for; anything else is unknown, and never a success."""
    if different:
        raise answer.unknown(UnknownReason.MISMATCH, "; ".join(different))
    return value


def _other(reported: str, asked: str) -> list[str]:
    return [] if reported == asked else [f"id {reported}, not {asked}"]


def _line(position: int, raw: msgspec.Raw) -> SettlementLine | QuarantinedLine:
    try:
        reported: dict[str, Any] = msgspec.structs.asdict(LINE.decode(raw))
    except msgspec.MsgspecError as error:
        text = hashlib.sha256(raw).hexdigest()
        return QuarantinedLine(position=position, reason=str(error), text=text)
    return SettlementLine(**reported)


def _configure(environment: Mapping[str, str]) -> ConfiguredGateway:
    """Read the settings; one error lists every missing one."""
    reader = SettingReader(environment)
    access = read_access(reader, WebhookVerifier)
    merchant = reader.read(lambda it: needed(it, "ACME_MERCHANT"))
    reader.raise_problems()

    def connect(_context: GatewayContext) -> PaymentGateway:
        http = HttpClient(access.url, partner="Acme Pay", api_key=access.api_key)
        return AcmeGateway(http, merchant)

    return ConfiguredGateway(
        address=access.url,
        capabilities=CAPABILITIES,
        verifier=WebhookVerifier(access.webhook_secrets),
        read_event=read_event,
        connect=connect,
    )


ADAPTER: Final = GatewayAdapter(configure=_configure, unused={"ACME_MERCHANT": "none"})
