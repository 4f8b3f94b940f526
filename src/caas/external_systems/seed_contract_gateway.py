"""The payment gateway adapter for the seed's own contract over HTTP.

"External Payment Gateway API": its five calls, with capture and lookup (decision 1).

Rules a change must keep:

- Every response is compared with its request: id, reference, amount, currency. A difference is
  `OutcomeUnknownError` with reason mismatch, never a success and never a decline.
- A 402 is a decline only if it contains our transaction, failed, with a decline code.
- A 404 proves absence only as a problem with an absence code.
- A 409 with a code that is not in the table is unknown: it may mean that the first of two equal
  requests is still running.
- A 202 to a capture or a void is accepted, and not done.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from caas.external_systems import seed_contract_wire as wire
from caas.external_systems.gateway_modifications import AcceptedRequest
from caas.external_systems.http import HttpClient
from caas.external_systems.http_answers import (
    NO_LOOKUP,
    OK_OR_CREATED,
    HttpAnswer,
    RefusedByPartnerError,
    UnknownReason,
    checked,
    decoded,
    no_lookup,
)
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
    Capabilities,
    GatewayEvent,
    GatewayRefund,
    GatewayTransaction,
    SettlementPage,
    TransactionRequest,
    TransactionStatus,
    mismatches,
)

CAPABILITIES: Final = Capabilities(
    separate_capture=True,
    void=True,
    partial_capture=True,
    refund=True,
    lookup_by_reference=True,
    lookup_of_refunds=True,
    idempotency_key_lifetime=timedelta(hours=24),
    authorization_lifetime=timedelta(days=7),
)
REFUSALS: Final[Mapping[str, type[RefusedByPartnerError]]] = MappingProxyType(
    {
        "already_voided": AlreadyVoidedError,
        "already_captured": AlreadyCapturedError,
        "authorization_expired": AuthorizationExpiredError,
        "already_failed": RefusedByPartnerError,
        "not_yet_authorized": RefusedByPartnerError,
        "nothing_to_refund": RefusedByPartnerError,
    }
)
Result = TypeVar("Result")
ABSENCE_CODES: Final = frozenset({"not_found", "unknown_transaction", "transaction_not_found"})
ONLY_OK: Final = frozenset({int(HTTPStatus.OK)})
OK_OR_ACCEPTED: Final = ONLY_OK | {int(HTTPStatus.ACCEPTED)}
ANSWERS_OF_INITIATE: Final = OK_OR_CREATED | {int(HTTPStatus.PAYMENT_REQUIRED)}
CAPTURED: Final = frozenset(
    {
        TransactionStatus.CAPTURING,
        TransactionStatus.SETTLED,
        TransactionStatus.SETTLEMENT_FAILED,
        TransactionStatus.REFUNDED,
    }
)


class SeedContractGateway:
    """A payment gateway that implements the seed's contract."""

    name = "contract"

    def __init__(self, http: HttpClient, *, capabilities: Capabilities = CAPABILITIES) -> None:
        """Use this HTTP client, which has the address and the key."""
        self.capabilities = capabilities
        self._http = http
        self._encoder = msgspec.json.Encoder()

    async def initiate(self, request: TransactionRequest, *, key: str) -> GatewayTransaction:
        """Request the funds; a decline is a transaction with status failed."""
        answer = await self._post("/transactions", wire.transaction_body(request), key=key)
        _raise_refusal(answer, expected=ANSWERS_OF_INITIATE)
        transaction = decoded(answer, wire.TRANSACTION_DECODER).as_transaction()
        different = mismatches(
            transaction,
            reference=request.reference,
            amount=request.amount,
            currency=request.currency,
        )
        different += _decline_contradictions(answer, transaction)
        return _agreed(answer, transaction, different)

    async def find(self, transaction_id: str) -> GatewayTransaction | None:
        """Return the transaction, or None if the gateway states that there is none."""
        answer = await self._http.send("GET", _path(transaction_id))
        try:
            _raise_refusal(answer, expected=ONLY_OK)
        except RefusedByPartnerError as refusal:
            if refusal.status == HTTPStatus.NOT_FOUND and refusal.refusal in ABSENCE_CODES:
                return None
            raise
        transaction = decoded(answer, wire.TRANSACTION_DECODER).as_transaction()
        return _agreed(answer, transaction, _other_id(transaction.id, transaction_id))

    async def find_by_reference(
        self, reference: str, *, customer_reference: str
    ) -> tuple[GatewayTransaction, ...]:
        """Return the transactions of our reference: none proves absence, two need a case."""
        del customer_reference  # the reference is enough here
        target = f"/transactions?reference={quote(reference, safe='')}"
        answer = await self._http.send("GET", target)
        _raise_refusal(answer, expected=ONLY_OK)
        found = decoded(answer, wire.TRANSACTION_LIST_DECODER).data
        different = [f"reference {it.reference!r}" for it in found if it.reference != reference]
        return _agreed(answer, tuple(it.as_transaction() for it in found), different)

    async def capture(
        self, transaction_id: str, amount: int, *, key: str
    ) -> GatewayTransaction | AcceptedRequest:
        """Capture the charge; the response shows exactly this amount captured, or accepts it."""
        assert amount > 0, "nothing is captured by a capture of zero"
        body = wire.CaptureBody(amount)
        answer = await self._post(_path(transaction_id, "capture"), body, key=key)
        if (accepted := _accepted(answer, transaction_id)) is not None:
            return accepted
        transaction = self._resolved(answer, transaction_id)
        different = []
        if transaction.status not in CAPTURED:
            different.append(f"status {transaction.status} after a capture")
        if transaction.captured_amount != amount:
            different.append(f"captured {transaction.captured_amount}, not {amount}")
        return _agreed(answer, transaction, different)

    async def void(
        self, transaction_id: str, reason: str, *, key: str
    ) -> GatewayTransaction | AcceptedRequest:
        """Release the held funds before capture."""
        answer = await self._post(
            _path(transaction_id, "void"), wire.WireVoidRequest(reason), key=key
        )
        if (accepted := _accepted(answer, transaction_id)) is not None:
            return accepted
        transaction = self._resolved(answer, transaction_id)
        voided = transaction.status is TransactionStatus.VOIDED
        different = [] if voided else [f"status {transaction.status} after a void"]
        return _agreed(answer, transaction, different)

    async def refund(
        self, transaction_id: str, amount: int, reason: str, *, key: str
    ) -> GatewayRefund:
        """Refund captured money in full or in part."""
        assert amount > 0, "nothing is given back by a refund of zero"
        answer = await self._post(
            _path(transaction_id, "refund"), wire.WireRefundRequest(amount, reason), key=key
        )
        _raise_refusal(answer)
        refund = decoded(answer, wire.REFUND_DECODER).as_refund()
        different = _other_id(refund.transaction_id, transaction_id)
        if refund.amount != amount:
            different.append(f"amount {refund.amount}, not {amount}")
        return _agreed(answer, refund, different)

    async def find_refunds(self, transaction_id: str) -> tuple[GatewayRefund, ...]:
        """Return every refund of a transaction.

        Raises:
            RefusedByPartnerError: the gateway has no such lookup; it must not be called.
        """
        answer = await self._http.send("GET", _path(transaction_id, "refunds"))
        if answer.status in NO_LOOKUP:
            raise no_lookup(answer)
        _raise_refusal(answer, expected=ONLY_OK)
        found = decoded(answer, wire.REFUND_LIST_DECODER).data
        different = [
            it for refund in found for it in _other_id(refund.transaction_id, transaction_id)
        ]
        return _agreed(answer, tuple(it.as_refund() for it in found), different)

    async def settlements(self, day: date, cursor: str | None = None) -> SettlementPage:
        """Fetch one page of the settlement report of a day."""
        query = f"?date={day.isoformat()}" + (f"&cursor={quote(cursor, safe='')}" if cursor else "")
        answer = await self._http.send("GET", f"/settlements{query}")
        _raise_refusal(answer, expected=ONLY_OK)
        page = decoded(answer, wire.SETTLEMENT_PAGE_DECODER).as_page()
        different = [] if page.date == day else [f"the report of {page.date}, not of {day}"]
        return _agreed(answer, page, different)

    async def settlement_file(self, day: date, path: Path) -> None:
        """Do nothing: this gateway's reports come in pages."""

    def read_event(self, body: bytes) -> GatewayEvent:
        """Decode the body of a webhook whose signature was verified."""
        return wire.read_event(body)

    async def account(self) -> str | None:
        """Return nothing: the contract has no accounts."""
        return None  # the port's answer

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def _post(self, target: str, body: msgspec.Struct, *, key: str) -> HttpAnswer:
        assert key, "a write without a key could be done twice"
        return await self._http.send("POST", target, body=self._encoder.encode(body), key=key)

    def _resolved(self, answer: HttpAnswer, transaction_id: str) -> GatewayTransaction:
        _raise_refusal(answer, expected=ONLY_OK)
        transaction = decoded(answer, wire.TRANSACTION_DECODER).as_transaction()
        return _agreed(answer, transaction, _other_id(transaction.id, transaction_id))


def _path(transaction_id: str, operation: str = "") -> str:
    path = f"/transactions/{quote(transaction_id, safe='')}"
    return f"{path}/{operation}" if operation else path


def _accepted(answer: HttpAnswer, transaction_id: str) -> AcceptedRequest | None:
    """Return that a request was accepted; None if it was answered otherwise."""
    if answer.status != HTTPStatus.ACCEPTED:
        return None
    _raise_refusal(answer, expected=OK_OR_ACCEPTED)
    accepted = decoded(answer, wire.ACCEPTED_DECODER)
    different = _other_id(accepted.transaction_id, transaction_id)
    return _agreed(answer, AcceptedRequest(id=accepted.id), different)


def _raise_refusal(answer: HttpAnswer, *, expected: frozenset[int] = OK_OR_CREATED) -> None:
    """Raise the error of the status; a 409 becomes its typed refusal, or unknown."""
    try:
        checked(answer, expected=expected)
    except RefusedByPartnerError as refusal:
        if refusal.status != HTTPStatus.CONFLICT:
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


def _agreed(answer: HttpAnswer, result: Result, different: list[str]) -> Result:
    if different:
        raise answer.unknown(UnknownReason.MISMATCH, "; ".join(different))
    return result


def _other_id(reported: str, asked: str) -> list[str]:
    return [] if reported == asked else [f"transaction {reported!r}, not {asked!r}"]


def _decline_contradictions(answer: HttpAnswer, transaction: GatewayTransaction) -> list[str]:
    """Return what contradicts a decline, which needs a 402, status failed and a code."""
    declined = transaction.status is TransactionStatus.FAILED
    if declined != (answer.status == HTTPStatus.PAYMENT_REQUIRED):
        return [f"status {transaction.status} in an answer of {answer.status}"]
    if declined and transaction.decline_code is None:
        return ["a decline without a code"]
    return []
