"""PaymentIntents and SetupIntents: confirmed, looked up, captured, and ended when they failed.

Rules a change must keep:
- A decline is a 402 of type card_error that carries our intent; the state says that it failed, and
  it counts when the intent is canceled, so that it cannot succeed later.
- An off-session decline that only wants the cardholder is no failure: a page takes its place.
- Saving a card holds nothing: its void is only noted, and the card stays saved.
- An intent that waits for its cardholder for longer than a page is open is ended: Stripe lets it
  wait for ever, and so would the payment.
- A card is saved where that is asked for: by a verification, and on a month's page.
- A method that was not saved is typed again: a page takes the place of what it was asked for.
"""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from msgspec.structs import replace

from caas.external_systems import stripe_wire
from caas.external_systems.http_answers import (
    HttpAnswer,
    PartlyDoneError,
    RefusedByPartnerError,
    UnknownReason,
    decoded,
)
from caas.external_systems.payment_gateway import (
    CaptureMode,
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
    error_of,
    made_since,
    other_id,
)
from caas.external_systems.stripe_pages import PAGE_LIFETIME, CheckoutSession, StripePages
from caas.external_systems.stripe_vocabulary import IntentStatus
from caas.rules.refusal_codes import is_decline

INTENTS: Final = "/v1/payment_intents"
SETUPS: Final = "/v1/setup_intents"
EXPANDED: Final = ("expand[]", "latest_charge.balance_transaction")
ALL_EXPANDED: Final = ("expand[]", "data.latest_charge.balance_transaction")
CAPTURED: Final = frozenset(
    {TransactionStatus.CAPTURING, TransactionStatus.SETTLED, TransactionStatus.REFUNDED}
)
WAITING: Final = frozenset({IntentStatus.REQUIRES_ACTION, IntentStatus.REQUIRES_CONFIRMATION})
OVER: Final = frozenset({TransactionStatus.FAILED, TransactionStatus.VOIDED})
REPLACED: Final = OVER | {TransactionStatus.REQUIRES_ACTION}
"""States of a direct intent in which a page has taken its place."""
METHOD_PARAM: Final = "payment_method"
OF_METHOD: Final = (METHOD_PARAM, "off_session")
"""Parameters for which a charge is refused whose method the merchant cannot use."""
Intent = stripe_wire.PaymentIntent | stripe_wire.SetupIntent
Now = Callable[[], datetime]


class StripeIntents:
    """The intents of a Stripe account."""

    def __init__(self, http: StripeHttp, pages: StripePages, now: Now) -> None:
        """Open a page of `pages` where a cardholder must confirm."""
        self._http = http
        self._pages = pages
        self._now = now

    async def confirm(
        self, request: TransactionRequest, customer: str, *, key: str
    ) -> GatewayTransaction:
        """Charge a method, or save it; return a page where the cardholder must confirm."""
        saves = request.terms.saves_method
        target, fields = (SETUPS, _setup(request)) if saves else (INTENTS, _charge(request))
        answer = await self._http.post(target, [*fields, ("customer", customer)], key=key)
        if answer.status == HTTPStatus.PAYMENT_REQUIRED:
            return await self._declined(request, customer, answer, key=key)
        try:
            intent = _decoded(answer, saves=saves)
        except RefusedByPartnerError:
            unattended = request.terms.initiator is Initiator.MERCHANT
            if (unattended or saves) and _is_of_method(answer):
                return await self._pages.open(request, customer, key=f"{key}:page")
            raise
        transaction = _agreed(answer, intent, request)
        if transaction.status is TransactionStatus.FAILED:
            raise answer.unknown(UnknownReason.MISMATCH, "a decline in a success")
        if transaction.status is not TransactionStatus.REQUIRES_ACTION:
            return transaction
        if transaction.hosted_page_url is not None:
            return transaction
        return await self._on_page(request, customer, answer, transaction, key=key)

    async def _on_page(
        self, request: TransactionRequest, customer: str, answer: HttpAnswer,
        replaced: GatewayTransaction, *, key: str,
    ) -> GatewayTransaction:  # fmt: skip
        """Open a page first and end the intent afterwards: its end alone would be a decline.

        Without a page the intent is ended too: nothing waits behind a payment that failed.
        """
        try:
            page = await self._pages.open(request, customer, key=f"{key}:page")
        except RefusedByPartnerError:
            await self._end_unpaid(answer, replaced)
            raise
        await self._end_unpaid(answer, replaced)
        return page

    async def _end_unpaid(self, answer: HttpAnswer, replaced: GatewayTransaction) -> None:
        """End an intent that a page replaces.

        Raises:
            OutcomeUnknownError: it was paid meanwhile.
        """
        try:
            await self._end(replaced.id)
        except RefusedByPartnerError:
            now = await self._found(replaced.id)
            if now is None or now.status not in OVER:
                raise answer.unknown(UnknownReason.MISMATCH, "paid beside its page") from None

    async def _declined(
        self, request: TransactionRequest, customer: str, answer: HttpAnswer, *, key: str
    ) -> GatewayTransaction:
        error = error_of(answer)
        intent: Intent | None = error.payment_intent or error.setup_intent
        if error.type != "card_error" or intent is None:
            raise answer.unknown(UnknownReason.MALFORMED, "a decline without its intent")
        transaction = _agreed(answer, intent, request)
        if transaction.status is not TransactionStatus.FAILED:
            raise answer.unknown(UnknownReason.MISMATCH, "a card error without a decline")
        if error.payment_intent is not None and error.payment_intent.only_wants_cardholder:
            return await self._on_page(request, customer, answer, transaction, key=key)
        return await self._ended(intent, transaction)

    async def find(self, transaction_id: str) -> GatewayTransaction | None:
        """Return an intent as it stands; one that failed is ended first."""
        read = await self._read(transaction_id)
        return None if read is None else await self._ended(*read)

    async def of_customer(
        self, customer: str, reference: str, *, has_page: bool
    ) -> list[GatewayTransaction]:
        """Return the intents of a payment; those that failed are ended first.

        Where the payment has a page, a direct intent counts only if it may hold money: the page
        has taken the place of the others.

        Raises:
            PartlyDoneError: there is only an intent that still needs its page: the request is
                repeated under its key, and opens the page.
        """
        listed = [("customer", customer), *made_since(reference)]
        charges = await self._http.all_of(
            INTENTS, [*listed, ALL_EXPANDED], stripe_wire.INTENT_LIST_DECODER
        )
        setups = await self._http.all_of(SETUPS, listed, stripe_wire.SETUP_LIST_DECODER)
        every: list[Intent] = [*charges, *setups]
        ours = [it for it in every if it.metadata.get("reference") == reference]
        waiting = [] if has_page else [it for it in ours if self._needs_page(it)]
        if waiting and len(waiting) == len(ours):
            call = f"GET {INTENTS}"
            raise PartlyDoneError(partner=self._http.client.partner, call=call, found=ours[0].id)
        ours = [it for it in ours if it not in waiting]
        found = [(it, await self._ended(it, self._transaction_of(it))) for it in ours]
        return [
            transaction
            for it, transaction in found
            if not has_page or it.is_of_page or transaction.status not in REPLACED
        ]

    async def behind(self, page: CheckoutSession) -> GatewayTransaction:
        """Return what was tried on a page that is no longer open; itself if nothing was.

        Raises:
            OutcomeUnknownError: it is complete, and nothing shows what was paid.
        """
        made = page.payment_intent or page.setup_intent
        found = None if made is None else await self.find(made)
        return found if found is not None else self._pages.as_transaction(page)

    async def declined_on(self, page: CheckoutSession) -> bool:
        """Say whether the bank declined the last attempt on a page; any other may be repeated."""
        if page.payment_intent is None:
            return False
        answer = accepted(await self._http.get(f"{INTENTS}/{page.payment_intent}", [EXPANDED]))
        intent = decoded(answer, stripe_wire.INTENT_DECODER)
        error = intent.last_payment_error
        waiting = intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD and intent.is_declined
        return waiting and error is not None and is_decline(error.as_decline_code())

    async def capture(self, transaction_id: str, amount: int, *, key: str) -> GatewayTransaction:
        """Commit the charge; the answer shows exactly this amount captured."""
        assert amount > 0, "nothing is captured by a capture of zero"
        fields = [("amount_to_capture", str(amount)), EXPANDED]
        answer = await self._http.post(_path(transaction_id, "capture"), fields, key=key)
        transaction = _believable(answer, _decoded(answer))
        different = other_id(transaction.id, transaction_id)
        if transaction.status not in CAPTURED:
            different.append(f"status {transaction.status} after a capture")
        if not transaction.amount == transaction.captured_amount == amount:
            different.append(f"captured {transaction.captured_amount}, not {amount}")
        return agreed(answer, transaction, different)

    async def void(self, transaction_id: str, *, key: str) -> GatewayTransaction:
        """Release what is held; a card that was saved holds nothing."""
        if _is_setup(transaction_id):
            return await self._void_of_setup(transaction_id, key=key)
        answer = await self._http.post(_path(transaction_id, "cancel"), [EXPANDED], key=key)
        transaction = _believable(answer, _decoded(answer))
        different = other_id(transaction.id, transaction_id)
        if transaction.status not in (TransactionStatus.VOIDED, TransactionStatus.FAILED):
            different.append(f"status {transaction.status} after a void")
        return agreed(answer, replace(transaction, status=TransactionStatus.VOIDED), different)

    async def _void_of_setup(self, transaction_id: str, *, key: str) -> GatewayTransaction:
        found = await self._found(transaction_id)
        if found is None:
            raise RefusedByPartnerError(
                partner=self._http.client.partner, call=f"GET {SETUPS}",
                status=HTTPStatus.NOT_FOUND, refusal="resource_missing", problem="",
            )  # fmt: skip
        if found.status is TransactionStatus.AUTHORIZED:
            released = [(f"metadata[{stripe_wire.RELEASED}]", "1")]
            accepted(await self._http.post(_path(transaction_id), released, key=key))
        elif found.status is not TransactionStatus.VOIDED:
            await self._end(transaction_id)
        return replace(found, status=TransactionStatus.VOIDED)

    def _transaction_of(self, intent: Intent) -> GatewayTransaction:
        try:
            return intent.as_transaction()
        except ValueError as error:
            raise self._http.unusable(_path(intent.id), str(error)) from error

    async def _found(self, transaction_id: str) -> GatewayTransaction | None:
        read = await self._read(transaction_id)
        return None if read is None else read[1]

    async def _read(self, transaction_id: str) -> tuple[Intent, GatewayTransaction] | None:
        fields = [] if _is_setup(transaction_id) else [EXPANDED]
        answer = await self._http.get(_path(transaction_id), fields)
        try:
            intent = _decoded(answer, saves=_is_setup(transaction_id))
        except RefusedByPartnerError as refusal:
            if refusal.status == HTTPStatus.NOT_FOUND and refusal.refusal == "resource_missing":
                return None
            raise
        transaction = _believable(answer, intent)
        return intent, agreed(answer, transaction, other_id(transaction.id, transaction_id))

    async def _ended(self, intent: Intent, transaction: GatewayTransaction) -> GatewayTransaction:
        """Return a failed transaction after it was canceled, or what it became meanwhile.

        One that its cardholder has abandoned is canceled too, and is voided then.
        """
        abandoned = self._is_abandoned(intent)
        is_canceled = intent.status is IntentStatus.CANCELED
        if is_canceled or not (abandoned or transaction.status is TransactionStatus.FAILED):
            return transaction
        try:
            await self._end(transaction.id)
        except RefusedByPartnerError:
            now = await self._found(transaction.id)
            assert now is not None, "what could be canceled is there"
            return now
        if not abandoned:
            return transaction
        return replace(transaction, status=TransactionStatus.VOIDED, hosted_page_url=None)

    def _needs_page(self, intent: Intent) -> bool:
        """Return whether a direct intent waits for its cardholder, who has no page yet."""
        if intent.is_of_page or self._is_abandoned(intent):
            return False
        if intent.only_wants_cardholder:
            return True
        transaction = self._transaction_of(intent)
        waits = transaction.status is TransactionStatus.REQUIRES_ACTION
        return waits and transaction.hosted_page_url is None

    def _is_abandoned(self, intent: Intent) -> bool:
        """Return whether an intent without a page waits for longer than a page would be open."""
        waits = intent.status in WAITING and not intent.is_of_page
        return waits and self._now() - stripe_wire.moment(intent.created) > PAGE_LIFETIME

    async def _end(self, transaction_id: str) -> None:
        """Cancel an intent.

        Raises:
            RefusedByPartnerError: it is in no state for that; look it up.
        """
        accepted(await self._http.end(_path(transaction_id, "cancel")))


def _charge(request: TransactionRequest) -> Fields:
    assert request.payment_method is not None
    manual = request.capture is CaptureMode.MANUAL
    fields: Fields = [
        ("amount", str(request.amount)),
        ("currency", request.currency.lower()),
        ("capture_method", "manual" if manual else "automatic"),
        ("confirm", "true"),
        (METHOD_PARAM, request.payment_method),
        ("payment_method_types[]", "card"),
        ("metadata[reference]", request.reference),
        ("metadata[customer_reference]", request.customer_reference),
        EXPANDED,
    ]
    if request.terms.initiator is Initiator.MERCHANT:
        fields.append(("off_session", "true"))
        fields.append((f"metadata[{stripe_wire.INITIATOR}]", request.terms.initiator))
    elif request.return_url:
        fields.append(("return_url", request.return_url))
    return fields + ([("description", request.description)] if request.description else [])


def _setup(request: TransactionRequest) -> Fields:
    assert request.payment_method is not None
    fields: Fields = [
        ("confirm", "true"),
        ("usage", "off_session"),
        (METHOD_PARAM, request.payment_method),
        ("payment_method_types[]", "card"),
        ("metadata[reference]", request.reference),
        ("metadata[customer_reference]", request.customer_reference),
        ("metadata[amount]", str(request.amount)),
        ("metadata[currency]", request.currency),
    ]
    return fields + ([("return_url", request.return_url)] if request.return_url else [])


def _is_setup(transaction_id: str) -> bool:
    return transaction_id.startswith("seti_")


def _path(transaction_id: str, operation: str = "") -> str:
    kind = SETUPS if _is_setup(transaction_id) else INTENTS
    path = f"{kind}/{quote(transaction_id, safe='')}"
    return f"{path}/{operation}" if operation else path


def _decoded(answer: HttpAnswer, *, saves: bool = False) -> Intent:
    if saves:
        return decoded(accepted(answer), stripe_wire.SETUP_DECODER)
    return decoded(accepted(answer), stripe_wire.INTENT_DECODER)


def _is_of_method(answer: HttpAnswer) -> bool:
    """Say whether a request is refused because of its payment method."""
    return answer.status == HTTPStatus.BAD_REQUEST and error_of(answer).param in OF_METHOD


def _believable(answer: HttpAnswer, intent: Intent) -> GatewayTransaction:
    try:
        return intent.as_transaction()
    except ValueError as error:
        raise answer.unknown(UnknownReason.MISMATCH, str(error)) from error


def _agreed(answer: HttpAnswer, intent: Intent, request: TransactionRequest) -> GatewayTransaction:
    transaction = _believable(answer, intent)
    different = mismatches(
        transaction,
        reference=request.reference,
        amount=request.amount,
        currency=request.currency,
    )
    return agreed(answer, transaction, different)
