"""Adyen's Checkout API (v71) on the wire: strict structs, and their way into the port's types.

Seed: the payment gateway is an external provider; this is the second one that exists.

Rules a change must keep:
- The result code says whether a payment failed; a refusal code only explains it, and an unknown one
  is generic.
- An `Error` is a decline: the acquirer took nothing. `Received` and `Pending` are not decided.
- A payment link is a page; what is paid on it has a pspReference of its own.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from caas.external_systems.payment_gateway import (
    GatewayTransaction,
    TransactionStatus,
)

PspReference = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z0-9]{16}\Z")]
LinkId = Annotated[str, msgspec.Meta(pattern=r"\APL[A-Z0-9]{1,60}\Z")]
Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
Currency = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]
Value = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Url = Annotated[str, msgspec.Meta(pattern=r"\Ahttps?://[!-~]{1,4000}\Z")]
Text = Annotated[str, msgspec.Meta(max_length=500)]
LINK_PREFIX: Final = "PL"
GENERIC_DECLINE: Final = "card_declined"
DECLINES: Final = {
    "5": "card_declined",
    "6": "expired_card",
    "8": "invalid_number",
    "11": "authentication_failed",
    "12": "insufficient_funds",
    "24": "incorrect_cvc",
}
"""Refusal reason codes that say more than that the payment was refused."""


class ResultCode(StrEnum):
    """The results of a payment that are answered without a client of Adyen's in between."""

    AUTHORISED = "Authorised"
    REFUSED = "Refused"
    CANCELLED = "Cancelled"
    ERROR = "Error"
    RECEIVED = "Received"
    PENDING = "Pending"
    REDIRECT_SHOPPER = "RedirectShopper"


STATUS_OF: Final = {
    ResultCode.AUTHORISED: TransactionStatus.AUTHORIZED,
    ResultCode.REFUSED: TransactionStatus.FAILED,
    ResultCode.CANCELLED: TransactionStatus.FAILED,
    ResultCode.ERROR: TransactionStatus.FAILED,
    ResultCode.RECEIVED: TransactionStatus.PENDING,
    ResultCode.PENDING: TransactionStatus.PENDING,
    ResultCode.REDIRECT_SHOPPER: TransactionStatus.REQUIRES_ACTION,
}


class LinkStatus(StrEnum):
    """The states of a payment link."""

    ACTIVE = "active"
    PAID = "paid"
    COMPLETED = "completed"
    PAYMENT_PENDING = "paymentPending"
    EXPIRED = "expired"


_LINK_STATUS_OF: Final = {
    LinkStatus.ACTIVE: TransactionStatus.REQUIRES_ACTION,
    LinkStatus.EXPIRED: TransactionStatus.VOIDED,
}


class Amount(msgspec.Struct, frozen=True):
    """An amount in minor units of its currency."""

    value: Value
    currency: Currency


class ShopperAction(msgspec.Struct, frozen=True):
    """What the shopper must do."""

    type: str
    url: Url | None = None


class AdyenPayment(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `POST /payments` and `POST /payments/details`."""

    result_code: ResultCode
    psp_reference: PspReference | None = None
    merchant_reference: Reference | None = None
    amount: Amount | None = None
    refusal_reason_code: Text | None = None
    action: ShopperAction | None = None
    additional_data: dict[str, str] = {}

    @property
    def stored_method(self) -> str | None:
        """The token under which the method was stored."""
        return stored_method_of(self.additional_data)

    def as_transaction(self, *, reference: str, amount: int, currency: str) -> GatewayTransaction:
        """Return the port's value; what the answer leaves out is what was asked.

        Raises:
            ValueError: it contradicts itself.
        """
        status = STATUS_OF[self.result_code]
        page = self.action.url if self.action else None
        if status is TransactionStatus.REQUIRES_ACTION and page is None:
            raise ValueError("a shopper to redirect, and no address")
        if self.psp_reference is None and status is not TransactionStatus.REQUIRES_ACTION:
            raise ValueError(f"{self.result_code} without a pspReference")
        given = self.amount or Amount(amount, currency)
        failed = status is TransactionStatus.FAILED
        return GatewayTransaction(
            id=self.psp_reference or "",
            reference=self.merchant_reference or reference,
            status=status,
            amount=given.value,
            currency=given.currency,
            decline_code=decline_code(self.refusal_reason_code) if failed else None,
            hosted_page_url=page,
            payment_method=self.stored_method,
            is_page=self.psp_reference is None,
        )


class LinkAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A payment link as Adyen writes it."""

    id: LinkId
    reference: Reference
    amount: Amount
    status: LinkStatus
    url: Url
    expires_at: datetime | None = None

    def as_transaction(self) -> GatewayTransaction:
        """Return the port's value of a page; of one that was paid, only a report tells more."""
        active = self.status is LinkStatus.ACTIVE
        return GatewayTransaction(
            id=self.id,
            reference=self.reference,
            status=_LINK_STATUS_OF.get(self.status, TransactionStatus.PENDING),
            amount=self.amount.value,
            currency=self.amount.currency,
            hosted_page_url=self.url if active else None,
            is_page=True,
        )


class ModificationAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to a capture, cancel or refund: it is received, and not done."""

    psp_reference: PspReference
    payment_psp_reference: PspReference
    status: str
    amount: Amount | None = None


class ServiceError(msgspec.Struct, frozen=True, rename="camel"):
    """What Adyen says of a request it did not take."""

    status: int
    error_code: Text = ""
    error_type: Text = ""
    message: Text = ""


PAYMENT_DECODER: Final = msgspec.json.Decoder(AdyenPayment)
LINK_DECODER: Final = msgspec.json.Decoder(LinkAnswer)
MODIFICATION_DECODER: Final = msgspec.json.Decoder(ModificationAnswer)
ERROR_DECODER: Final = msgspec.json.Decoder(ServiceError)


def decline_code(refusal_reason_code: str | None) -> str:
    """Return the code that the retry table knows."""
    return DECLINES.get(refusal_reason_code or "", GENERIC_DECLINE)


def stored_method_of(additional_data: dict[str, str]) -> str | None:
    """Return the token of a stored method, under its newer or its older name."""
    return additional_data.get("tokenization.storedPaymentMethodId") or additional_data.get(
        "recurring.recurringDetailReference"
    )


def in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC."""
    return moment.astimezone(UTC)
