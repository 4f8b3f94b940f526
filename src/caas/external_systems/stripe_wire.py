"""Stripe's PaymentIntents on the wire: strict structs, and their way into the port's types.

Seed: the payment gateway is an external provider; this is one that exists.

Rules a change must keep:
- Our reference travels in the metadata; an object without it is none of ours.
- A PaymentIntent that waits for another payment method is a decline only if it names an error; one
  of an open page is none, for the customer may try again there.
- The state says whether a payment failed; its code says whether it is a decline.
- An intent of an unknown state is pending, and so is a refund.
- Captured is not settled: settled is what its balance transaction calls available.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Generic, TypeVar

import msgspec

from caas.external_systems.payment_gateway import (
    GatewayRefund,
    GatewayTransaction,
    TransactionStatus,
)
from caas.external_systems.stripe_refusals import recorded_code
from caas.external_systems.stripe_vocabulary import IntentStatus, refund_status

Id = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]{2,5}_[A-Za-z0-9_]{1,190}\Z")]
Code = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}\Z")]
Currency = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]{3}\Z")]
Amount = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[int, msgspec.Meta(gt=0, le=2**63 - 1)]
Signed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
Url = Annotated[str, msgspec.Meta(pattern=r"\Ahttps?://[!-~]{1,2000}\Z")]


AUTHENTICATION_REQUIRED: Final = "authentication_required"
PAGE: Final = "page"
"""In the metadata of an intent that a hosted page has made."""
RELEASED: Final = "released"
"""In the metadata of a SetupIntent that has succeeded and was voided: it cannot be canceled."""
INITIATOR: Final = "initiator"
"""In the metadata of an intent that the merchant has started alone."""
One = TypeVar("One")


_STATUS_OF: Final = {
    IntentStatus.REQUIRES_CONFIRMATION: TransactionStatus.PENDING,
    IntentStatus.REQUIRES_ACTION: TransactionStatus.REQUIRES_ACTION,
    IntentStatus.PROCESSING: TransactionStatus.PENDING,
    IntentStatus.REQUIRES_CAPTURE: TransactionStatus.AUTHORIZED,
    IntentStatus.CANCELED: TransactionStatus.VOIDED,
}


class PaymentError(msgspec.Struct, frozen=True):
    """Why a card was declined: a code, and the issuer's own where it gives one."""

    code: Code | None = None
    decline_code: Code | None = None

    @property
    def asks_for_cardholder(self) -> bool:
        """Whether the cardholder's bank wants a confirmation, which a page can have."""
        return AUTHENTICATION_REQUIRED in (self.code, self.decline_code)

    def as_decline_code(self) -> str:
        """Return the code that a failed payment records."""
        return recorded_code(self.decline_code, self.code)


class BalanceStatus(msgspec.Struct, frozen=True):
    """Whether the money of a charge has arrived."""

    status: str


class CardDetails(msgspec.Struct, frozen=True):
    """Until when held funds can be captured."""

    capture_before: Seconds | None = None


class MethodDetails(msgspec.Struct, frozen=True):
    """The method that was charged."""

    card: CardDetails | None = None


class Charge(msgspec.Struct, frozen=True):
    """The charge behind a PaymentIntent, expanded."""

    amount: Positive
    captured: bool
    amount_refunded: Amount
    status: str = ""
    amount_captured: Amount | None = None
    balance_transaction: BalanceStatus | str | None = None
    payment_method_details: MethodDetails | None = None

    @property
    def captured_amount(self) -> int:
        """What was captured; older versions of the API only tell whether."""
        if not self.captured:
            return 0
        return self.amount if self.amount_captured is None else self.amount_captured

    @property
    def available(self) -> bool:
        """Whether the bank has paid."""
        reported = self.balance_transaction
        return isinstance(reported, BalanceStatus) and reported.status == "available"

    @property
    def capture_before(self) -> datetime | None:
        """Until when the funds are held."""
        card = self.payment_method_details and self.payment_method_details.card
        return moment(card.capture_before) if card and card.capture_before else None


class RedirectTarget(msgspec.Struct, frozen=True):
    """Where a customer confirms."""

    url: Url


class NextAction(msgspec.Struct, frozen=True):
    """What the customer must do."""

    redirect_to_url: RedirectTarget | None = None


class PaymentIntent(msgspec.Struct, frozen=True):
    """A PaymentIntent as Stripe writes it, with its charge expanded."""

    id: Id
    status: IntentStatus
    amount: Positive
    currency: Currency
    created: Seconds
    metadata: dict[str, str]
    amount_received: Amount = 0
    latest_charge: Charge | str | None = None
    last_payment_error: PaymentError | None = None
    next_action: NextAction | None = None
    cancellation_reason: str | None = None
    payment_method: str | None = None

    @property
    def is_of_page(self) -> bool:
        """Whether a hosted page made it."""
        return PAGE in self.metadata

    @property
    def only_wants_cardholder(self) -> bool:
        """Whether the merchant started it, and its cardholder's bank wants a confirmation."""
        error = self.last_payment_error
        return (
            INITIATOR in self.metadata
            and self.is_declined
            and bool(error and error.asks_for_cardholder)
        )

    @property
    def is_declined(self) -> bool:
        """Whether its last attempt was declined and nothing was held since."""
        held = self.charge is not None and self.charge.status == "succeeded"
        return self.last_payment_error is not None and not held

    @property
    def has_held(self) -> bool:
        """Whether its last attempt had held or taken funds."""
        return self.latest_charge is not None and not self.is_declined

    @property
    def charge(self) -> Charge | None:
        """The charge, where it was expanded."""
        return self.latest_charge if isinstance(self.latest_charge, Charge) else None

    def as_transaction(self) -> GatewayTransaction:
        """Return the port's value.

        Raises:
            ValueError: it is none of ours, or contradicts itself.
        """
        if not self.metadata.get("reference"):
            raise ValueError("a PaymentIntent without our reference")
        charge, captured = self.charge, self._captured_amount()
        status = self._status(captured)
        settled = captured if charge is not None and charge.available else 0
        page = self.next_action and self.next_action.redirect_to_url
        return GatewayTransaction(
            id=self.id,
            reference=self.metadata["reference"],
            status=status,
            amount=self.amount,
            currency=self.currency.upper(),
            captured_amount=captured,
            settled_amount=settled,
            refunded_amount=min(charge.amount_refunded, captured) if charge else 0,
            decline_code=self._decline_code(status),
            capture_before=charge.capture_before if charge else None,
            hosted_page_url=page.url if page else None,
            created_at=moment(self.created),
            payment_method=self.payment_method,
        )

    def _status(self, captured: int) -> TransactionStatus:
        if self.status is IntentStatus.REQUIRES_PAYMENT_METHOD:
            return _waiting(of_page=self.is_of_page, error=self.last_payment_error)
        if self.status is IntentStatus.CANCELED and self.is_declined:
            return TransactionStatus.FAILED
        if self.status is not IntentStatus.SUCCEEDED:
            return _STATUS_OF.get(self.status, TransactionStatus.PENDING)
        if self.charge is None:
            return TransactionStatus.CAPTURING
        if self.charge.amount_refunded >= captured:
            return TransactionStatus.REFUNDED
        return TransactionStatus.SETTLED if self.charge.available else TransactionStatus.CAPTURING

    def _captured_amount(self) -> int:
        captured = self.charge.captured_amount if self.charge else self.amount_received
        if captured > self.amount:
            raise ValueError("more is captured than was asked for")
        if bool(captured) is not (self.status is IntentStatus.SUCCEEDED):
            raise ValueError(f"captured {captured} though the status is {self.status}")
        return captured

    def _decline_code(self, status: TransactionStatus) -> str | None:
        if status is not TransactionStatus.FAILED or self.last_payment_error is None:
            return None
        return self.last_payment_error.as_decline_code()


class SetupIntent(msgspec.Struct, frozen=True):
    """A SetupIntent as Stripe writes it: a card that is to be charged later, and no money."""

    id: Id
    status: IntentStatus
    created: Seconds
    metadata: dict[str, str]
    payment_method: str | None = None
    last_setup_error: PaymentError | None = None
    next_action: NextAction | None = None

    @property
    def is_of_page(self) -> bool:
        """Whether a hosted page made it."""
        return PAGE in self.metadata

    @property
    def only_wants_cardholder(self) -> bool:
        """Never: a card is saved while its customer is there."""
        return False

    def as_transaction(self) -> GatewayTransaction:
        """Return the port's value; the amount is the one that was asked for.

        Raises:
            ValueError: it is none of ours.
        """
        reference, amount = self.metadata.get("reference"), self.metadata.get("amount", "")
        currency = self.metadata.get("currency", "")
        if not reference or not amount.isdecimal() or not currency:
            raise ValueError("a SetupIntent without our reference")
        status = self._status()
        error = self.last_setup_error if status is TransactionStatus.FAILED else None
        page = self.next_action and self.next_action.redirect_to_url
        return GatewayTransaction(
            id=self.id,
            reference=reference,
            status=status,
            amount=int(amount),
            currency=currency,
            decline_code=error.as_decline_code() if error else None,
            hosted_page_url=page.url if page else None,
            created_at=moment(self.created),
            payment_method=self.payment_method,
        )

    def _status(self) -> TransactionStatus:
        if self.status is IntentStatus.SUCCEEDED:
            is_released = RELEASED in self.metadata
            return TransactionStatus.VOIDED if is_released else TransactionStatus.AUTHORIZED
        if self.status is IntentStatus.CANCELED:
            failed = self.last_setup_error is not None
            return TransactionStatus.FAILED if failed else TransactionStatus.VOIDED
        if self.status is not IntentStatus.REQUIRES_PAYMENT_METHOD:
            return _STATUS_OF.get(self.status, TransactionStatus.PENDING)
        return _waiting(of_page=self.is_of_page, error=self.last_setup_error)


class Named(msgspec.Struct, frozen=True):
    """An object of which only the id is read."""

    id: Id


class Mode(msgspec.Struct, frozen=True):
    """Whether credentials are of live mode."""

    livemode: bool


class StripeError(msgspec.Struct, frozen=True):
    """What Stripe says of a request it did not do."""

    type: str
    code: Code | None = None
    message: str = ""
    param: str | None = None
    payment_intent: PaymentIntent | None = None
    setup_intent: SetupIntent | None = None


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The envelope of an error."""

    error: StripeError


class Refund(msgspec.Struct, frozen=True):
    """A refund as Stripe writes it."""

    id: Id
    payment_intent: Id
    amount: Positive
    status: str

    def as_refund(self) -> GatewayRefund:
        """Return the port's value."""
        return GatewayRefund(
            id=self.id,
            transaction_id=self.payment_intent,
            amount=self.amount,
            status=refund_status(self.status),
        )


class Page(msgspec.Struct, Generic[One], frozen=True):
    """A page of a list."""

    data: Annotated[list[One], msgspec.Meta(max_length=100)]
    has_more: bool


INTENT_DECODER: Final = msgspec.json.Decoder(PaymentIntent)
ERROR_DECODER: Final = msgspec.json.Decoder(ErrorAnswer)
REFUND_DECODER: Final = msgspec.json.Decoder(Refund)
NAMED_DECODER: Final = msgspec.json.Decoder(Named)
MODE_DECODER: Final = msgspec.json.Decoder(Mode)
SETUP_DECODER: Final = msgspec.json.Decoder(SetupIntent)
REFUND_LIST_DECODER: Final = msgspec.json.Decoder(Page[Refund])
INTENT_LIST_DECODER: Final = msgspec.json.Decoder(Page[PaymentIntent])
SETUP_LIST_DECODER: Final = msgspec.json.Decoder(Page[SetupIntent])


def _waiting(*, of_page: bool, error: PaymentError | None) -> TransactionStatus:
    """Return what an intent means that waits for a payment method."""
    if of_page:
        return TransactionStatus.REQUIRES_ACTION
    return TransactionStatus.PENDING if error is None else TransactionStatus.FAILED


def moment(seconds: int) -> datetime:
    """Return a moment in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
