"""An adapter for Stripe: PaymentIntents, captured by us.

Seed: the external provider behind "External Payment Gateway API". What this adapter cannot do is
in its capabilities and in what it refuses before sending: a hosted page (give it a payment method),
a capture of a part (Stripe books the rest as a refund), a lookup by reference (Stripe's search lags
behind its writes, so that not finding proves nothing; within a day the same key is sent again).

Rules a change must keep:
- No answer is believed before it was compared: id, reference, amount, currency.
- A decline is a 402 of type card_error that carries our PaymentIntent, waiting for another method.
- Only currencies whose minor unit is the same for Stripe and ISO 4217.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Final, NoReturn, TypeVar
from urllib.parse import quote, urlencode

from caas.external_systems import stripe_webhooks, stripe_wire
from caas.external_systems.http import HttpClient
from caas.external_systems.http_answers import (
    GatewayFailure,
    HttpAnswer,
    OutcomeUnknownError,
    RefusedByPartnerError,
    UnknownReason,
    checked,
    decoded,
    failure_of,
)
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
    Capabilities,
    CaptureMode,
    GatewayEvent,
    GatewayRefund,
    GatewayTransaction,
    SettlementFile,
    SettlementPage,
    TransactionRequest,
    TransactionStatus,
    mismatches,
)
from caas.external_systems.stripe_settlements import WAITS_SECONDS, StripeReports
from caas.rules.card_numbers import scrub

API_VERSION: Final = "2025-04-30.basil"
HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Stripe-Version": API_VERSION,
}
CAPABILITIES: Final = Capabilities(
    separate_capture=True,
    void=True,
    partial_capture=False,
    refund=True,
    lookup_by_reference=False,
    lookup_of_refunds=True,
    idempotency_key_lifetime=timedelta(hours=24),
    authorization_lifetime=timedelta(days=4),
)
CURRENCIES: Final = frozenset(
    {"AUD", "BRL", "CAD", "CHF", "CZK", "DKK", "EUR", "GBP"}
    | {"JPY", "MXN", "NOK", "NZD", "PLN", "RON", "SEK", "USD"}
)
EXPANDED: Final = ("expand[]", "latest_charge.balance_transaction")
INTENTS: Final = "/v1/payment_intents"
REFUSALS: Final[Mapping[str, type[RefusedByPartnerError]]] = {
    "charge_already_captured": AlreadyCapturedError,
    "charge_expired_for_capture": AuthorizationExpiredError,
    "capture_charge_authorization_expired": AuthorizationExpiredError,
}
DEFINITE: Final = frozenset({400, 401, 402, 403, 404})
CAPTURED: Final = frozenset(
    {TransactionStatus.CAPTURING, TransactionStatus.SETTLED, TransactionStatus.REFUNDED}
)
Result = TypeVar("Result")


class StripeGateway:
    """Stripe, or anything that speaks its API; build the client with `HEADERS`."""

    name = "stripe"
    capabilities = CAPABILITIES

    def __init__(
        self, http: HttpClient, *, report_waits_seconds: Sequence[float] = WAITS_SECONDS
    ) -> None:
        """Speak over a client; a report that is being prepared is waited for so long."""
        self._http = http
        self._reports = StripeReports(http, _accepted, report_waits_seconds)

    async def initiate(self, request: TransactionRequest, *, key: str) -> GatewayTransaction:
        """Ask for the funds; a decline is a transaction with status failed."""
        if request.payment_method is None:
            self._refuse("POST", "needs_payment_method", "There is no hosted page here.")
        if request.currency not in CURRENCIES:
            self._refuse("POST", "unsupported_currency", f"{request.currency} is not taken.")
        answer = await self._post(INTENTS, _fields_of(request), key=key)
        transaction = _transaction_of(answer)
        different = mismatches(
            transaction,
            reference=request.reference,
            amount=request.amount,
            currency=request.currency,
        )
        return _agreed(answer, transaction, different)

    async def find(self, transaction_id: str) -> GatewayTransaction | None:
        """Return the transaction as it stands, or None on Stripe's word that there is none."""
        target = f"{_path(transaction_id)}?{urlencode([EXPANDED])}"
        answer = await self._http.send("GET", target)
        try:
            transaction = _intent_of(answer)
        except RefusedByPartnerError as refusal:
            if refusal.status == HTTPStatus.NOT_FOUND and refusal.refusal == "resource_missing":
                return None
            raise
        return _agreed(answer, transaction, _other_id(transaction.id, transaction_id))

    async def find_by_reference(self, reference: str) -> tuple[GatewayTransaction, ...]:
        """Reject: not finding would prove nothing here."""
        self._refuse("GET", "no_lookup", f"Nothing is looked up by reference ({reference}).")

    async def find_refunds(self, transaction_id: str) -> tuple[GatewayRefund, ...]:
        """Return every refund of a transaction."""
        target = f"/v1/refunds?limit=100&payment_intent={quote(transaction_id, safe='')}"
        answer = _accepted(await self._http.send("GET", target))
        page = decoded(answer, stripe_wire.REFUND_LIST_DECODER)
        different = ["more refunds than one page"] if page.has_more else []
        different += [
            it
            for reported in page.data
            for it in _other_id(reported.payment_intent, transaction_id)
        ]
        return _agreed(
            answer, tuple(_refund_of(answer, reported) for reported in page.data), different
        )

    async def capture(self, transaction_id: str, amount: int, *, key: str) -> GatewayTransaction:
        """Commit the charge; the answer shows exactly this amount captured."""
        assert amount > 0, "nothing is captured by a capture of zero"
        fields = [("amount_to_capture", str(amount)), EXPANDED]
        answer = await self._post(_path(transaction_id, "capture"), fields, key=key)
        transaction = _intent_of(answer)
        different = _other_id(transaction.id, transaction_id)
        if transaction.status not in CAPTURED:
            different.append(f"status {transaction.status} after a capture")
        if not transaction.amount == transaction.captured_amount == amount:
            different.append(f"captured {transaction.captured_amount}, not {amount}")
        return _agreed(answer, transaction, different)

    async def void(self, transaction_id: str, reason: str, *, key: str) -> GatewayTransaction:
        """Give the held funds back before capture; Stripe keeps no words of ours about it."""
        assert reason, "a void needs a reason (decision 18)"
        answer = await self._post(_path(transaction_id, "cancel"), [EXPANDED], key=key)
        transaction = _intent_of(answer)
        different = _other_id(transaction.id, transaction_id)
        if transaction.status is not TransactionStatus.VOIDED:
            different.append(f"status {transaction.status} after a void")
        return _agreed(answer, transaction, different)

    async def refund(
        self, transaction_id: str, amount: int, reason: str, *, key: str
    ) -> GatewayRefund:
        """Give captured money back, whole or in part."""
        assert amount > 0, "nothing is given back by a refund of zero"
        fields = [
            ("payment_intent", transaction_id),
            ("amount", str(amount)),
            ("metadata[reason]", reason),
        ]
        answer = _accepted(await self._post("/v1/refunds", fields, key=key))
        refund = _refund_of(answer, decoded(answer, stripe_wire.REFUND_DECODER))
        different = _other_id(refund.transaction_id, transaction_id)
        if refund.amount != amount:
            different.append(f"amount {refund.amount}, not {amount}")
        return _agreed(answer, refund, different)

    async def settlements(self, day: date, cursor: str | None = None) -> SettlementPage:
        """Reject: a day's report is a file here, of any size."""
        del cursor
        self._refuse("GET", "no_pages", f"The report of {day} is a file.")

    async def settlement_file(self, day: date, path: Path) -> SettlementFile:
        """Write the itemized report of a day (UTC) to a file, as far as Stripe has its data."""
        return await self._reports.file(day, path)

    def read_event(self, body: bytes) -> GatewayEvent | None:
        """Decode a verified webhook, None when it tells nothing of a payment."""
        return stripe_webhooks.read_event(body)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def _post(self, target: str, fields: list[tuple[str, str]], *, key: str) -> HttpAnswer:
        assert key, "a write without a key could be done twice"
        body = urlencode(fields).encode("ascii")
        return await self._http.send("POST", target, body=body, key=key)

    def _refuse(self, method: str, refusal: str, problem: str) -> NoReturn:
        """Reject what this adapter cannot do, before anything is sent."""
        raise RefusedByPartnerError(
            partner=self._http.partner,
            call=f"{method} {INTENTS}",
            status=HTTPStatus.UNPROCESSABLE_ENTITY,
            refusal=refusal,
            problem=problem,
        )


def _fields_of(request: TransactionRequest) -> list[tuple[str, str]]:
    assert request.payment_method is not None
    manual = request.capture is CaptureMode.MANUAL
    fields = [
        ("amount", str(request.amount)),
        ("currency", request.currency.lower()),
        ("capture_method", "manual" if manual else "automatic"),
        ("confirm", "true"),
        ("payment_method", request.payment_method),
        ("payment_method_types[]", "card"),
        ("metadata[reference]", request.reference),
        ("metadata[customer_reference]", request.customer_reference),
        EXPANDED,
    ]
    optional = {"description": request.description, "return_url": request.return_url}
    return fields + [(name, value) for name, value in optional.items() if value]


def _path(transaction_id: str, operation: str = "") -> str:
    path = f"{INTENTS}/{quote(transaction_id, safe='')}"
    return f"{path}/{operation}" if operation else path


def _accepted(answer: HttpAnswer) -> HttpAnswer:
    if answer.status in DEFINITE:
        raise _refusal_of(answer)
    return checked(answer)


def _intent_of(answer: HttpAnswer) -> GatewayTransaction:
    intent = decoded(_accepted(answer), stripe_wire.INTENT_DECODER)
    return _believable(answer, intent)


def _transaction_of(answer: HttpAnswer) -> GatewayTransaction:
    """Return what was initiated, or the decline that a card error carries."""
    if answer.status != HTTPStatus.PAYMENT_REQUIRED:
        transaction = _intent_of(answer)
        declined = transaction.status is TransactionStatus.FAILED
        return _agreed(answer, transaction, ["a decline in a success"] if declined else [])
    error = _error_of(answer)
    if error.type != "card_error" or error.payment_intent is None:
        raise answer.unknown(UnknownReason.MALFORMED, "a decline without its PaymentIntent")
    transaction = _believable(answer, error.payment_intent)
    coded = transaction.status is TransactionStatus.FAILED and transaction.decline_code is not None
    return _agreed(answer, transaction, [] if coded else ["a card error without a decline"])


def _believable(answer: HttpAnswer, intent: stripe_wire.PaymentIntent) -> GatewayTransaction:
    try:
        return intent.as_transaction()
    except ValueError as error:
        raise answer.unknown(UnknownReason.MISMATCH, str(error)) from error


def _refund_of(answer: HttpAnswer, refund: stripe_wire.Refund) -> GatewayRefund:
    try:
        return refund.as_refund()
    except ValueError as error:
        raise answer.unknown(UnknownReason.MISMATCH, str(error)) from error


def _error_of(answer: HttpAnswer) -> stripe_wire.StripeError:
    if answer.content_type != "application/json":
        raise failure_of(answer)
    return decoded(answer, stripe_wire.ERROR_DECODER).error


def _refusal_of(answer: HttpAnswer) -> GatewayFailure:
    """Return the refusal in an error's body; one that cannot be read is unknown."""
    try:
        error = _error_of(answer)
    except OutcomeUnknownError as unknown:
        return unknown
    refused = REFUSALS.get(error.code or "") or _refusal_of_state(error)
    return refused(
        partner=answer.partner,
        call=answer.call,
        status=answer.status,
        refusal=error.code or error.type,
        problem=scrub(error.message),
    )


def _refusal_of_state(error: stripe_wire.StripeError) -> type[RefusedByPartnerError]:
    intent = error.payment_intent
    if error.code != "payment_intent_unexpected_state" or intent is None:
        return RefusedByPartnerError
    if intent.status is stripe_wire.IntentStatus.SUCCEEDED:
        return AlreadyCapturedError
    if intent.status is not stripe_wire.IntentStatus.CANCELED:
        return RefusedByPartnerError
    expired = intent.cancellation_reason == "automatic"
    return AuthorizationExpiredError if expired else AlreadyVoidedError


def _agreed(answer: HttpAnswer, result: Result, different: list[str]) -> Result:
    if different:
        raise answer.unknown(UnknownReason.MISMATCH, "; ".join(different))
    return result


def _other_id(reported: str, asked: str) -> list[str]:
    return [] if reported == asked else [f"transaction {reported!r}, not {asked!r}"]
