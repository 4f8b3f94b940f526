"""Checkout Sessions: Stripe's hosted pages, for a payment, or to save a card.

Seed: "Payment form security: Payment Gateway (hosted forms)". A declined card leaves the page open,
and the customer may try another one: only the page's end, or ours, ends the payment. Where one
attempt is allowed, the page is ended at the first decline, and the payment fails when it is ended.

Rules a change must keep:
- The same request gives the same form, for its key stands for exactly that: no time goes into it.
- A page saves the card where it is charged again: for a verification, and for a month.
- A page that may have been paid meanwhile is read again before it counts as ended.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from caas.external_systems import stripe_wire
from caas.external_systems.http_answers import (
    RefusedByPartnerError,
    UnknownReason,
    decoded,
)
from caas.external_systems.payment_gateway import (
    GatewayTransaction,
    Initiator,
    TransactionRequest,
    TransactionStatus,
    mismatches,
)
from caas.external_systems.stripe_http import (
    Fields,
    StripeHttp,
    accepted,
    agreed,
    made_since,
)
from caas.external_systems.stripe_vocabulary import SessionStatus
from caas.external_systems.stripe_wire import Id, Seconds, Url, moment

SESSIONS: Final = "/v1/checkout/sessions"
PAGE_LIFETIME: Final = timedelta(days=1)
"""How long Stripe keeps a page open."""
ONE_ATTEMPT: Final = ("attempts", "one")
ENDED: Final = frozenset({SessionStatus.COMPLETE, SessionStatus.EXPIRED})
_STATUS_OF: Final = {
    SessionStatus.OPEN: TransactionStatus.REQUIRES_ACTION,
    SessionStatus.EXPIRED: TransactionStatus.VOIDED,
}


class CheckoutSession(msgspec.Struct, frozen=True):
    """A Checkout Session as Stripe writes it: a hosted page."""

    id: Id
    status: SessionStatus
    created: Seconds
    metadata: dict[str, str]
    url: Url | None = None
    payment_intent: str | None = None
    setup_intent: str | None = None
    amount_total: int | None = None
    currency: str | None = None

    def as_transaction(self) -> GatewayTransaction:
        """Return the port's value of a page that nothing was paid on.

        Its amount is the one that Stripe would take on it; a page that saves a card takes none, and
        has the amount that was asked for.

        Raises:
            ValueError: it is none of ours, or it was paid.
        """
        if self.status is SessionStatus.COMPLETE:
            raise ValueError("a complete Checkout Session without what was paid on it")
        reference, amount = self.metadata.get("reference"), self.metadata.get("amount", "")
        currency = self.metadata.get("currency", "")
        if not reference or not amount.isdecimal() or not currency:
            raise ValueError("a Checkout Session without our reference")
        if self.amount_total is not None and self.setup_intent is None:
            amount, currency = str(self.amount_total), (self.currency or "").upper()
        is_open = self.status is SessionStatus.OPEN
        if is_open and self.url is None:
            raise ValueError("an open Checkout Session without its page")
        return GatewayTransaction(
            id=self.id,
            reference=reference,
            status=_STATUS_OF.get(self.status, TransactionStatus.PENDING),
            amount=int(amount),
            currency=currency,
            hosted_page_url=self.url if is_open else None,
            created_at=moment(self.created),
            is_page=True,
        )

    @property
    def allows_one_attempt(self) -> bool:
        """Whether the first decline ends it."""
        name, value = ONE_ATTEMPT
        return self.metadata.get(name) == value


_DECODER: Final = msgspec.json.Decoder(CheckoutSession)
_LIST_DECODER: Final = msgspec.json.Decoder(stripe_wire.Page[CheckoutSession])


class StripePages:
    """The hosted pages of a Stripe account."""

    def __init__(self, http: StripeHttp, return_url: str) -> None:
        """Bring customers back to `return_url` where a payment names no other address."""
        self._http = http
        self._return_url = return_url

    async def open(
        self, request: TransactionRequest, customer: str, *, key: str
    ) -> GatewayTransaction:
        """Make a page for a payment; it is open for a day."""
        fields = self._fields_of(request, customer)
        answer = accepted(await self._http.post(SESSIONS, fields, key=key))
        session = decoded(answer, _DECODER)
        if session.status is not SessionStatus.OPEN:
            raise answer.unknown(UnknownReason.STILL_RUNNING, f"its page is {session.status}")
        transaction = self.as_transaction(session)
        different = mismatches(
            transaction,
            reference=request.reference,
            amount=request.amount,
            currency=request.currency,
        )
        return agreed(answer, transaction, different)

    def as_transaction(self, session: CheckoutSession) -> GatewayTransaction:
        """Return the port's value of a page that nothing was paid on.

        Raises:
            OutcomeUnknownError: it is none of ours, or it was paid.
        """
        try:
            return session.as_transaction()
        except ValueError as error:
            raise self._http.unusable(f"{SESSIONS}/{session.id}", str(error)) from error

    async def of_customer(self, customer: str, reference: str) -> list[CheckoutSession]:
        """Return the pages of a payment."""
        listed = [("customer", customer), *made_since(reference)]
        every = await self._http.all_of(SESSIONS, listed, _LIST_DECODER)
        return [it for it in every if it.metadata.get("reference") == reference]

    async def find(self, session_id: str) -> CheckoutSession | None:
        """Return a page, or None on Stripe's word that there is none."""
        try:
            answer = accepted(await self._http.get(f"{SESSIONS}/{session_id}"))
        except RefusedByPartnerError as refusal:
            if refusal.refusal == "resource_missing":
                return None
            raise
        return decoded(answer, _DECODER)

    async def end(self, session: CheckoutSession) -> CheckoutSession:
        """End a page, unless it was paid or ended meanwhile; return it as it is then."""
        if session.status in ENDED:
            return session
        target = f"{SESSIONS}/{session.id}"
        answer = await self._http.end(f"{target}/expire")
        try:
            ended = decoded(accepted(answer), _DECODER)
        except RefusedByPartnerError:
            ended = decoded(accepted(await self._http.get(target)), _DECODER)
        if ended.status not in ENDED:
            raise answer.unknown(UnknownReason.MISMATCH, "a page that does not end")
        return ended

    def _fields_of(self, request: TransactionRequest, customer: str) -> Fields:
        back = request.return_url or self._return_url
        reference: Fields = [
            ("[reference]", request.reference),
            ("[customer_reference]", request.customer_reference),
            ("[amount]", str(request.amount)),
            ("[currency]", request.currency),
        ]
        if request.terms.single_attempt:
            name, value = ONE_ATTEMPT
            reference.append((f"[{name}]", value))
        fields: Fields = [
            ("customer", customer),
            ("payment_method_types[0]", "card"),
            ("success_url", back),
            ("cancel_url", back),
            *((f"metadata{name}", value) for name, value in reference),
        ]
        made = [*reference, (f"[{stripe_wire.PAGE}]", "checkout")]
        if request.terms.saves_method:
            data = [(f"setup_intent_data[metadata]{name}", value) for name, value in made]
            return [("mode", "setup"), *fields, *data]
        is_month = request.terms.initiator is Initiator.MERCHANT
        saved = [("payment_intent_data[setup_future_usage]", "off_session")] if is_month else []
        line = "line_items[0]"
        return [
            ("mode", "payment"),
            *fields,
            (f"{line}[quantity]", "1"),
            (f"{line}[price_data][currency]", request.currency.lower()),
            (f"{line}[price_data][unit_amount]", str(request.amount)),
            (f"{line}[price_data][product_data][name]", request.description or request.reference),
            ("payment_intent_data[capture_method]", request.capture),
            *saved,
            ("payment_intent_data[description]", request.description or request.reference),
            *((f"payment_intent_data[metadata]{name}", value) for name, value in made),
            *(
                (f"saved_payment_method_options[allow_redisplay_filters][{at}]", value)
                for at, value in enumerate(("always", "limited", "unspecified"))
            ),
        ]


def page_of(sessions: Sequence[CheckoutSession]) -> CheckoutSession | None:
    """Return the page that counts: an open one, else the newest."""
    ordered = sorted(sessions, key=lambda it: (it.status is SessionStatus.OPEN, it.created))
    return ordered[-1] if ordered else None
