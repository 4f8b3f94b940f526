"""An adapter for Stripe: PaymentIntents and SetupIntents, captured by us, on pages of Stripe.

Seed: the external provider behind "External Payment Gateway API". A customer of ours is a Customer
there, and everything of a payment is made under it: so a payment is looked up by listing what its
Customer has, and cards can be saved. A month is charged off-session; where the bank then wants the
cardholder, the intent is ended and a page takes its place.

Rules a change must keep:
- No answer is believed before it was compared: id, reference, amount, currency.
- A failure is reported only of what can no longer succeed: the intent is canceled, its page ended.
- A Customer is stored before anything is made under it, or a lookup would prove nothing.
- Only currencies whose minor unit is the same for Stripe and ISO 4217; a capture takes all, because
  Stripe books a rest as a refund.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import quote

from caas.external_systems import (
    stripe_fraud_warnings,
    stripe_pages,
    stripe_webhooks,
    stripe_wire,
)
from caas.external_systems.gateway_adapters import CustomerDirectory
from caas.external_systems.gateway_amounts import TakenAmounts
from caas.external_systems.gateway_evidence import DisputeResponse, EvidenceTerms
from caas.external_systems.gateway_fraud_warnings import FraudWarning
from caas.external_systems.gateway_payouts import GatewayPayout
from caas.external_systems.http import HttpClient
from caas.external_systems.http_answers import (
    RefusedByPartnerError,
    decoded,
)
from caas.external_systems.payment_gateway import (
    Capabilities,
    GatewayEvent,
    GatewayRefund,
    GatewayTransaction,
    SettlementFile,
    SettlementPage,
    TransactionRequest,
    TransactionStatus,
)
from caas.external_systems.stripe_disputes import StripeDisputes
from caas.external_systems.stripe_http import (
    HEADERS as HEADERS,  # noqa: PLC0414 - the client is built with them
)
from caas.external_systems.stripe_http import StripeHttp, accepted, agreed, other_id
from caas.external_systems.stripe_intents import INTENTS, OVER, StripeIntents
from caas.external_systems.stripe_pages import StripePages, page_of
from caas.external_systems.stripe_payouts import StripePayouts
from caas.external_systems.stripe_refusals import STRIPE
from caas.external_systems.stripe_settlements import WAITS_SECONDS, StripeReports
from caas.external_systems.stripe_vocabulary import SessionStatus

CURRENCIES: Final = frozenset(
    {"AED", "AUD", "BRL", "CAD", "CHF", "CLP", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF"}
    | {"JPY", "MXN", "MYR", "NOK", "NZD", "PLN", "RON", "SEK", "SGD", "THB", "USD"}
)
AMOUNTS: Final = TakenAmounts(
    currencies=CURRENCIES,
    smallest={
        **dict.fromkeys(CURRENCIES, 50), "AED": 200, "CZK": 1500, "DKK": 250, "GBP": 30,
        "HKD": 400, "HUF": 17_500, "MXN": 1000, "MYR": 200, "NOK": 300, "PLN": 200, "RON": 200,
        "SEK": 300, "THB": 1000,
    },
    largest=99_999_999,
)  # fmt: skip
"""What Stripe documents: the minimum of each currency, and at most eight digits."""
CAPABILITIES: Final = Capabilities(
    separate_capture=True,
    void=True,
    partial_capture=False,
    refund=True,
    lookup_by_reference=True,
    lookup_of_refunds=True,
    idempotency_key_lifetime=timedelta(hours=24),
    authorization_lifetime=timedelta(days=4),
    amounts=AMOUNTS,
)
OPEN: Final = frozenset({TransactionStatus.REQUIRES_ACTION, TransactionStatus.PENDING})
DEFAULT_RETURN_URL: Final = "https://stripe.com"
"""Where a page leads back to, if neither the payment nor the settings name an address."""


class StripeGateway:
    """Stripe, or anything that speaks its API; build the client with `HEADERS`."""

    name = STRIPE
    capabilities = CAPABILITIES

    def __init__(
        self,
        http: HttpClient,
        customers: CustomerDirectory,
        *,
        now: Callable[[], datetime],
        return_url: str = DEFAULT_RETURN_URL,
        report_waits_seconds: Sequence[float] = WAITS_SECONDS,
        heeds_fraud_warnings: bool = True,
    ) -> None:
        """Speak over a client; a report that is being prepared is waited for so long."""
        self._http = StripeHttp(http)
        self._customers = customers
        self._heeds_fraud_warnings = heeds_fraud_warnings
        self._pages = StripePages(self._http, return_url)
        self._intents = StripeIntents(self._http, self._pages, now)
        self._reports = StripeReports(http, accepted, report_waits_seconds)
        self._payouts = StripePayouts(self._http)
        self._disputes = StripeDisputes(self._http)

    async def initiate(self, request: TransactionRequest, *, key: str) -> GatewayTransaction:
        """Ask for the funds, or for a page; a decline is a transaction with status failed."""
        if not AMOUNTS.take_currency(request.currency):
            self._refuse("POST", "unsupported_currency", f"{request.currency} is not taken.")
        customer = await self._customer_of(request.customer_reference)
        if request.payment_method is None:
            return await self._pages.open(request, customer, key=key)
        return await self._intents.confirm(request, customer, key=key)

    async def find(self, transaction_id: str) -> GatewayTransaction | None:
        """Return the transaction as it stands, or None on Stripe's word that there is none."""
        if transaction_id.startswith("cs_"):
            session = await self._pages.find(transaction_id)
            return None if session is None else await self._of_page(session)
        return await self._intents.find(transaction_id)

    async def find_by_reference(
        self, reference: str, *, customer_reference: str
    ) -> tuple[GatewayTransaction, ...]:
        """Return what the Customer has of this payment; open ones before ended ones."""
        customer = await self._customers.find(customer_reference)
        if customer is None:
            return ()
        page = page_of(await self._pages.of_customer(customer, reference))
        found = await self._intents.of_customer(customer, reference, has_page=page is not None)
        if page is not None and page.status is SessionStatus.OPEN:
            return await self._of_open_page(page, found)
        alive = [it for it in found if it.status not in OVER]
        if alive or page is None:
            return tuple(alive or found[:1])
        if page.status is SessionStatus.COMPLETE or not found:
            return (await self._of_page(page),)
        return tuple(found[:1])

    async def _of_page(self, page: stripe_pages.CheckoutSession) -> GatewayTransaction:
        """Return a page, or what was paid on it: a complete page stands for its intent."""
        if page.status is SessionStatus.COMPLETE:
            return await self._intents.behind(page)
        return self._pages.as_transaction(page)

    async def _of_open_page(
        self, page: stripe_pages.CheckoutSession, found: list[GatewayTransaction]
    ) -> tuple[GatewayTransaction, ...]:
        """Return the page, or what was paid on it; one attempt is over at its first decline."""
        held = [it for it in found if it.status not in OVER and it.status not in OPEN]
        if held:
            return tuple(held)
        if not page.allows_one_attempt or not await self._intents.declined_on(page):
            return (self._pages.as_transaction(page),)
        return (await self._intents.behind(await self._pages.end(page)),)

    async def find_refunds(self, transaction_id: str) -> tuple[GatewayRefund, ...]:
        """Return every refund of a transaction."""
        target = f"/v1/refunds?limit=100&payment_intent={quote(transaction_id, safe='')}"
        answer = accepted(await self._http.get(target))
        page = decoded(answer, stripe_wire.REFUND_LIST_DECODER)
        different = ["more refunds than one page"] if page.has_more else []
        different += [
            it for reported in page.data for it in other_id(reported.payment_intent, transaction_id)
        ]
        return agreed(answer, tuple(reported.as_refund() for reported in page.data), different)

    async def capture(self, transaction_id: str, amount: int, *, key: str) -> GatewayTransaction:
        """Commit the charge; the answer shows exactly this amount captured."""
        return await self._intents.capture(transaction_id, amount, key=key)

    async def void(self, transaction_id: str, reason: str, *, key: str) -> GatewayTransaction:
        """Give the held funds back before capture; Stripe keeps no words of ours about it."""
        assert reason, "a void needs a reason (decision 18)"
        if not transaction_id.startswith("cs_"):
            return await self._intents.void(transaction_id, key=key)
        page = await self._pages.find(transaction_id)
        if page is None:
            self._refuse("POST", "resource_missing", "There is no such page.")
        ended = await self._pages.end(page)
        if ended.status is SessionStatus.COMPLETE:
            self._refuse("POST", "page_was_paid", "The page was paid meanwhile; look it up.")
        return self._pages.as_transaction(ended)

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
        answer = accepted(await self._http.post("/v1/refunds", fields, key=key))
        refund = decoded(answer, stripe_wire.REFUND_DECODER).as_refund()
        different = other_id(refund.transaction_id, transaction_id)
        if refund.amount != amount:
            different.append(f"amount {refund.amount}, not {amount}")
        return agreed(answer, refund, different)

    async def settlements(self, day: date, cursor: str | None = None) -> SettlementPage:
        """Reject: a day's report is a file here, of any size."""
        del cursor
        self._refuse("GET", "no_pages", f"The report of {day} is a file.")

    async def settlement_file(self, day: date, path: Path) -> SettlementFile:
        """Write the itemized report of a day (UTC) to a file, as far as Stripe has its data."""
        return await self._reports.file(day, path)

    async def payouts(self, day: date) -> tuple[GatewayPayout, ...]:
        """Return the payouts that were made on a day (UTC), with what is in them."""
        return await self._payouts.of_day(day)

    async def evidence_terms(self, dispute_id: str) -> EvidenceTerms:
        """Return until when evidence about a dispute is taken."""
        return await self._disputes.terms(dispute_id)

    async def send_evidence(
        self, dispute_id: str, evidence: DisputeResponse, *, key: str
    ) -> EvidenceTerms:
        """Send evidence about a dispute to the cardholder's bank."""
        return await self._disputes.send(dispute_id, evidence, key=key)

    async def fraud_warnings(self, since: datetime) -> tuple[FraudWarning, ...]:
        """Return the early fraud warnings since a moment; none where the settings ignore them."""
        if not self._heeds_fraud_warnings:
            return ()
        return await stripe_fraud_warnings.since(self._http, since)

    async def erase_customer(self, customer_reference: str) -> None:
        """Delete the Customer of a customer of ours with the saved cards; payments stay there."""
        customer = await self._customers.find(customer_reference)
        if customer is None:
            return
        answer = await self._http.delete(f"/v1/customers/{quote(customer, safe='')}")
        try:
            accepted(answer)
        except RefusedByPartnerError as refusal:
            if refusal.refusal != "resource_missing":
                raise

    def read_event(self, body: bytes) -> GatewayEvent | None:
        """Decode a verified webhook, None when it has no effect."""
        event = stripe_webhooks.read_event(body)
        if event is not None and isinstance(event.subject, FraudWarning):
            return event if self._heeds_fraud_warnings else None
        return event

    async def account(self) -> str | None:
        """Return the account and mode of the API key."""
        account = decoded(accepted(await self._http.get("/v1/account")), stripe_wire.NAMED_DECODER)
        mode = decoded(accepted(await self._http.get("/v1/balance")), stripe_wire.MODE_DECODER)
        return f"{account.id}/{'live' if mode.livemode else 'test'}"

    async def close(self) -> None:
        """Close every connection."""
        await self._http.client.close()

    async def _customer_of(self, customer_reference: str) -> str:
        """Return the Customer of a customer of ours, made and stored where there is none yet."""
        known = await self._customers.find(customer_reference)
        if known is not None:
            return known
        fields = [("metadata[reference]", customer_reference)]
        key = f"customer:{customer_reference}"
        answer = accepted(await self._http.post("/v1/customers", fields, key=key, prepares=True))
        made = decoded(answer, stripe_wire.NAMED_DECODER)
        return await self._customers.keep(customer_reference, made.id)

    def _refuse(self, method: str, refusal: str, problem: str) -> NoReturn:
        """Reject what this adapter cannot do, before anything is sent."""
        raise RefusedByPartnerError(
            partner=self._http.client.partner,
            call=f"{method} {INTENTS}",
            status=HTTPStatus.UNPROCESSABLE_ENTITY,
            refusal=refusal,
            problem=problem,
        )
