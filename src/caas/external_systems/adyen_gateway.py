"""An adapter for Adyen: payments and payment links, captured by us, reported by webhook.

Seed: the external provider behind "External Payment Gateway API". A payment of Adyen's cannot be
read: what became of it is what its webhooks have reported, and the platform has stored. Captures
and cancels are received first. A request is repeated under its key, which Adyen keeps for a week.

Rules a change must keep:
- No answer is believed before it was compared: reference, amount, currency.
- A payment whose shopper must authenticate holds nothing, nor does one that is refused for want of
  it, or for a token that is not stored: a payment link takes its place, which authenticates.
- What became of a payment is what was reported; why a capture or cancel is refused decides nothing.
- Nothing reported is not absence: a lookup without a report has no answer.
- An amount in a currency that Adyen counts in other units than ISO 4217 is never sent.
"""

import asyncio
import calendar
from collections.abc import Mapping
from datetime import date, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Final, NoReturn

from msgspec.structs import replace

from caas.external_systems import adyen_requests, adyen_webhooks, adyen_wire
from caas.external_systems.adyen_errors import accepted, is_not_stored
from caas.external_systems.adyen_refusals import ADYEN, AUTHENTICATION_REQUIRED
from caas.external_systems.adyen_wire import LINK_PREFIX, LinkStatus
from caas.external_systems.gateway_adapters import ReportedEvents
from caas.external_systems.gateway_amounts import TakenAmounts
from caas.external_systems.gateway_modifications import AcceptedRequest, Modification
from caas.external_systems.http import HttpClient
from caas.external_systems.http_answers import (
    HttpAnswer,
    NotSentError,
    OutcomeUnknownError,
    RefusedByPartnerError,
    UnknownReason,
    decoded,
)
from caas.external_systems.payment_gateway import (
    Capabilities,
    CaptureMode,
    GatewayEvent,
    GatewayRefund,
    GatewayTransaction,
    RefundStatus,
    ReportStatus,
    SettlementFile,
    SettlementPage,
    SettlementsNotReadyError,
    TransactionRequest,
    TransactionStatus,
    mismatches,
)
from caas.rules.money import EXPONENTS

EVERY_DAY: Final = frozenset(range(7))
OTHER_UNITS: Final = frozenset({"CLP", "CVE", "IDR", "ISK"})
"""Currencies whose minor units at Adyen are not those of ISO 4217: an amount would be another."""
AMOUNTS: Final = TakenAmounts(currencies=frozenset(EXPONENTS) - OTHER_UNITS)
"""Adyen publishes no smallest and no largest amount; those are of each payment method."""
CAPABILITIES: Final = Capabilities(
    separate_capture=True,
    void=True,
    partial_capture=False,
    refund=True,
    lookup_by_reference=False,
    lookup_of_refunds=False,
    idempotency_key_lifetime=timedelta(days=7),
    authorization_lifetime=timedelta(days=5),
    lookup_by_id=False,
    settlement_by_day=False,
    dated_webhooks=False,
    amounts=AMOUNTS,
)
VERSION: Final = "/v71"
CURRENCIES_MAX: Final = 10_000


class AdyenGateway:
    """Adyen's Checkout API, or anything that speaks it."""

    name = ADYEN
    capabilities = CAPABILITIES

    def __init__(
        self, http: HttpClient, reported: ReportedEvents, *, merchant_account: str, return_url: str,
        report_days: frozenset[int] = EVERY_DAY,
    ) -> None:  # fmt: skip
        """Charge for this merchant account; look transactions up in what was reported.

        `report_days` are the days of the week (Monday is 0) on which batches are settled.
        """
        self._report_days = report_days
        self._http = http
        self._reported = reported
        self._merchant = merchant_account
        self._return_url = return_url
        self._currencies: dict[str, str] = {}

    async def initiate(self, request: TransactionRequest, *, key: str) -> GatewayTransaction:
        """Ask for the funds, or for a page; a refusal is a transaction with status failed.

        Raises:
            RefusedByPartnerError: among others, Adyen counts the currency in other units.
        """
        if not AMOUNTS.take_currency(request.currency):
            raise self._refused("unsupported_currency", "Adyen counts it in other minor units.")
        if request.payment_method is None:
            return await self._page(request, key=key)
        body = self._payment(request, request.payment_method)
        answer = await self._post("/payments", body, key=key)
        if is_not_stored(answer):
            return await self._page(request, key=f"{key}:page")
        given = decoded(accepted(answer), adyen_wire.PAYMENT_DECODER)
        if given.result_code in adyen_wire.ASKS_SHOPPER:
            return await self._page(request, key=f"{key}:page")
        transaction = self._remember(_believed(answer, given, request))
        if transaction.decline_code == AUTHENTICATION_REQUIRED:
            return await self._page(request, key=f"{key}:page")
        if request.capture is CaptureMode.AUTOMATIC and _is_held(transaction):
            return replace(
                transaction, status=TransactionStatus.CAPTURING, captured_amount=transaction.amount
            )
        return transaction

    async def find(self, transaction_id: str) -> GatewayTransaction | None:
        """Return a page as it is, or a payment as it was reported.

        Raises:
            OutcomeUnknownError: nothing was reported of it.
        """
        if transaction_id.startswith(LINK_PREFIX):
            return await self._link(transaction_id)
        found = adyen_webhooks.folded(await self._reported.of_transaction(transaction_id))
        if found is None:
            self._unknown(f"GET {transaction_id}", "nothing was reported of it")
        return found

    async def find_by_reference(
        self, reference: str, *, customer_reference: str
    ) -> tuple[GatewayTransaction, ...]:
        """Reject: what was not reported is not absent."""
        del customer_reference
        self._unknown(f"GET {reference}", "there is no lookup by reference")

    async def capture(self, transaction_id: str, amount: int, *, key: str) -> AcceptedRequest:
        """Ask for the held funds; the outcome is reported."""
        await self._refuse_resolved(transaction_id, Modification.CAPTURE)
        body = {"amount": await self._amount(transaction_id, amount)}
        return await self._modified(transaction_id, "captures", body, key=key)

    async def void(
        self, transaction_id: str, reason: str, *, key: str
    ) -> GatewayTransaction | AcceptedRequest:
        """Give the held funds back, which is reported later; or end a page at once."""
        assert reason, "a void needs a reason (decision 18)"
        if transaction_id.startswith(LINK_PREFIX):
            return await self._ended(transaction_id)
        await self._refuse_resolved(transaction_id, Modification.VOID)
        return await self._modified(transaction_id, "cancels", {}, key=key)

    async def refund(
        self, transaction_id: str, amount: int, reason: str, *, key: str
    ) -> GatewayRefund:
        """Give captured money back; it is pending until it is reported.

        It gets no reference of its own: Adyen would report it under that, and not under the
        payment's.
        """
        assert reason, "a refund needs a reason"
        body = {"amount": await self._amount(transaction_id, amount)}
        accepted = await self._modified(transaction_id, "refunds", body, key=key)
        return GatewayRefund(
            id=accepted.id,
            transaction_id=transaction_id,
            amount=amount,
            status=RefundStatus.PENDING,
        )

    async def find_refunds(self, transaction_id: str) -> tuple[GatewayRefund, ...]:
        """Reject: refunds are reported, and not listed."""
        self._unknown(f"GET refunds of {transaction_id}", "there is no lookup of refunds")

    async def settlements(self, day: date, cursor: str | None = None) -> SettlementPage:
        """Reject: Adyen settles in batches, and reports each as a file."""
        del cursor
        raise self._in_batches(day)

    async def settlement_file(self, day: date, path: Path) -> SettlementFile | None:
        """Write an empty file for a day without batches.

        Raises:
            SettlementsNotReadyError: its batch is read from the drop folder.
        """
        if day.weekday() in self._report_days:
            raise self._in_batches(day)
        await asyncio.to_thread(path.write_bytes, b"")
        name = f"no batch on a {calendar.day_name[day.weekday()]}"
        return SettlementFile(report_id=name, format=ADYEN, status=ReportStatus.CLOSED)

    def read_event(self, body: bytes) -> GatewayEvent | None:
        """Decode an event of a verified webhook, None when it tells nothing of a payment."""
        return adyen_webhooks.read_event(body)

    async def account(self) -> str | None:
        """Return the merchant account, which these credentials may use."""
        body = {"merchantAccount": self._merchant}
        accepted(
            await self._http.send(
                "POST", f"{VERSION}/paymentMethods", body=adyen_requests.encoded(body)
            )
        )
        return self._merchant

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    def _payment(self, request: TransactionRequest, method: str) -> Mapping[str, object]:
        try:
            return adyen_requests.payment(request, method, self._merchant, self._return_url)
        except ValueError as error:
            problem = "A payment method is a token, or what Adyen's form has encrypted."
            raise self._refused("unknown_method", problem) from error

    async def _page(self, request: TransactionRequest, *, key: str) -> GatewayTransaction:
        """Open a payment link, or find it opened; a page of one attempt ends at its decline."""
        body = adyen_requests.link(request, self._merchant, self._return_url)
        answer = await self._post("/paymentLinks", body, key=key)
        made = decoded(accepted(answer), adyen_wire.LINK_DECODER)
        reports = await self._reported.of_reference(request.reference)
        paid = adyen_webhooks.folded(reports)
        if paid is not None:
            return _agreed(answer, paid, request)
        declined = adyen_webhooks.declined_attempt(reports)
        if request.terms.single_attempt and declined is not None:
            ended = await self._ended(made.id)
            failed = replace(ended, status=TransactionStatus.FAILED, decline_code=declined)
            return _agreed(answer, failed, request)
        link = await self._link(made.id)
        if link is None:
            raise answer.unknown(UnknownReason.MISMATCH, "a payment link that is not there")
        return _agreed(answer, link, request)

    async def _link(self, link_id: str) -> GatewayTransaction | None:
        answer = await self._http.send("GET", f"{VERSION}/paymentLinks/{link_id}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        return _page_of(answer)

    async def _ended(self, link_id: str) -> GatewayTransaction:
        """End a payment link.

        Raises:
            OutcomeUnknownError: it was paid, or is being paid: a report tells what became of it.
        """
        body = {"status": LinkStatus.EXPIRED}
        target = f"{VERSION}/paymentLinks/{link_id}"
        answer = await self._http.send("PATCH", target, body=adyen_requests.encoded(body))
        if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            now = await self._link(link_id)
            if now is not None and now.status is TransactionStatus.VOIDED:
                return now
        return _page_of(answer)

    async def _refuse_resolved(self, transaction_id: str, operation: Modification) -> None:
        """Refuse what Adyen has refused before, where the reports show why: its reason does not.

        Raises:
            RefusedByPartnerError: the payment was captured, or its funds are held no more.
        """
        reports = await self._reported.of_transaction(transaction_id)
        kind = adyen_webhooks.resolution(reports, operation)
        if kind is not None:
            raise kind(
                partner=self._http.partner, call=f"{operation} {transaction_id}",
                status=HTTPStatus.CONFLICT, refusal=kind.code, problem="Adyen has reported it.",
            )  # fmt: skip

    async def _amount(self, transaction_id: str, amount: int) -> dict[str, object]:
        """Return an amount in the payment's currency, from its answer here or from its reports.

        Raises:
            NotSentError: neither has come yet; ask again.
        """
        currency = self._currencies.get(transaction_id)
        if currency is None:
            found = adyen_webhooks.folded(await self._reported.of_transaction(transaction_id))
            if found is None:
                cause = "nothing was reported of it yet"
                call = f"POST /payments/{transaction_id}"
                raise NotSentError(partner=self._http.partner, call=call, cause=cause)
            currency = found.currency
        return {"value": amount, "currency": currency}

    def _remember(self, transaction: GatewayTransaction) -> GatewayTransaction:
        """Remember the currency of a payment, until others have come."""
        if len(self._currencies) >= CURRENCIES_MAX:
            del self._currencies[next(iter(self._currencies))]
        self._currencies[transaction.id] = transaction.currency
        return transaction

    async def _modified(
        self, transaction_id: str, kind: str, body: Mapping[str, object], *, key: str
    ) -> AcceptedRequest:
        asked = {"merchantAccount": self._merchant, **body}
        answer = await self._post(f"/payments/{transaction_id}/{kind}", asked, key=key)
        given = decoded(accepted(answer), adyen_wire.MODIFICATION_DECODER)
        different = []
        if given.payment_psp_reference != transaction_id:
            different.append(f"payment {given.payment_psp_reference}, not {transaction_id}")
        if given.status != "received":
            different.append(f"status {given.status}, not received")
        if different:
            raise answer.unknown(UnknownReason.MISMATCH, "; ".join(different))
        return AcceptedRequest(id=given.psp_reference)

    async def _post(self, target: str, body: Mapping[str, object], *, key: str) -> HttpAnswer:
        assert key, "a write without a key could be done twice"
        return await self._http.send(
            "POST",
            f"{VERSION}{target}",
            body=adyen_requests.encoded(body),
            key=adyen_requests.fitting(key),
        )

    def _refused(self, refusal: str, problem: str) -> RefusedByPartnerError:
        """Return the refusal of a payment that is not sent."""
        return RefusedByPartnerError(
            partner=self._http.partner, call="POST /payments", refusal=refusal, problem=problem,
            status=HTTPStatus.UNPROCESSABLE_ENTITY,
        )  # fmt: skip

    def _unknown(self, call: str, detail: str) -> NoReturn:
        raise OutcomeUnknownError(
            partner=self._http.partner, call=call, reason=UnknownReason.UNEXPECTED, detail=detail
        )

    def _in_batches(self, day: date) -> SettlementsNotReadyError:
        return SettlementsNotReadyError(
            f"Adyen settles in batches, and has no report of {day}. Put its settlement details "
            "reports into the folder CAAS_REPORTS_FOLDER.",
            partner=self._http.partner, call="GET settlements",
        )  # fmt: skip


def _believed(
    answer: HttpAnswer, given: adyen_wire.AdyenPayment, request: TransactionRequest
) -> GatewayTransaction:
    try:
        transaction = given.as_transaction(
            reference=request.reference, amount=request.amount, currency=request.currency
        )
    except ValueError as error:
        raise answer.unknown(UnknownReason.MISMATCH, str(error)) from error
    return _agreed(answer, transaction, request)


def _agreed(
    answer: HttpAnswer, transaction: GatewayTransaction, request: TransactionRequest
) -> GatewayTransaction:
    different = mismatches(
        transaction, reference=request.reference, amount=request.amount, currency=request.currency
    )
    if different:
        raise answer.unknown(UnknownReason.MISMATCH, "; ".join(different))
    return transaction


def _page_of(answer: HttpAnswer) -> GatewayTransaction:
    return decoded(accepted(answer), adyen_wire.LINK_DECODER).as_transaction()


def _is_held(transaction: GatewayTransaction) -> bool:
    return transaction.status is TransactionStatus.AUTHORIZED
