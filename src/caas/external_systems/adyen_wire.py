"""Adyen's Checkout API (v71) on the wire: strict structs, and their way into the port's types.

Seed: the payment gateway is an external provider; this is the second one that exists.

Rules a change must keep:
- The result code says whether a payment failed; a refusal code only explains it.
- `Error` and `Cancelled` take nothing, and are no decline of the bank, whatever code they have.
  `Received` and `Pending` are not decided.
- A payment link is a page; what is paid on it has a pspReference of its own.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from caas.external_systems.adyen_refusals import ADYEN, recorded_code
from caas.external_systems.payment_gateway import (
    GatewayTransaction,
    TransactionStatus,
)
from caas.external_systems.unknown_values import GatewayField, count_unknown
from caas.rules import refusal_codes

PspReference = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z0-9]{16}\Z")]
LinkId = Annotated[str, msgspec.Meta(pattern=r"\APL[A-Z0-9]{1,60}\Z")]
Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
Currency = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]
Value = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Url = Annotated[str, msgspec.Meta(pattern=r"\Ahttps?://[!-~]{1,4000}\Z")]
Text = Annotated[str, msgspec.Meta(max_length=500)]
LINK_PREFIX: Final = "PL"


class ResultCode(StrEnum):
    """The results of a payment that are known here; any other leaves its outcome unknown."""

    AUTHORISED = "Authorised"
    REFUSED = "Refused"
    CANCELLED = "Cancelled"
    ERROR = "Error"
    RECEIVED = "Received"
    PENDING = "Pending"
    REDIRECT_SHOPPER = "RedirectShopper"
    IDENTIFY_SHOPPER = "IdentifyShopper"
    CHALLENGE_SHOPPER = "ChallengeShopper"

    @classmethod
    def _missing_(cls, value: object) -> None:
        count_unknown(ADYEN, GatewayField.PAYMENT_STATUS, str(value))


ASKS_SHOPPER: Final = frozenset(
    {ResultCode.REDIRECT_SHOPPER, ResultCode.IDENTIFY_SHOPPER, ResultCode.CHALLENGE_SHOPPER}
)
"""The shopper must authenticate first; nothing is authorised yet."""
STATUS_OF: Final = {
    ResultCode.AUTHORISED: TransactionStatus.AUTHORIZED,
    ResultCode.REFUSED: TransactionStatus.FAILED,
    ResultCode.CANCELLED: TransactionStatus.FAILED,
    ResultCode.ERROR: TransactionStatus.FAILED,
    ResultCode.RECEIVED: TransactionStatus.PENDING,
    ResultCode.PENDING: TransactionStatus.PENDING,
}


_NO_DECLINE: Final = {
    ResultCode.ERROR: refusal_codes.PROCESSING_ERROR,
    ResultCode.CANCELLED: refusal_codes.CANCELLED,
}


class LinkStatus(StrEnum):
    """The states of a payment link."""

    ACTIVE = "active"
    PAID = "paid"
    COMPLETED = "completed"
    PAYMENT_PENDING = "paymentPending"
    EXPIRED = "expired"

    @classmethod
    def _missing_(cls, value: object) -> None:
        count_unknown(ADYEN, GatewayField.PAGE_STATUS, str(value))


_LINK_STATUS_OF: Final = {
    LinkStatus.ACTIVE: TransactionStatus.REQUIRES_ACTION,
    LinkStatus.EXPIRED: TransactionStatus.VOIDED,
}


class Amount(msgspec.Struct, frozen=True):
    """An amount in minor units of its currency."""

    value: Value
    currency: Currency


class AdyenPayment(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `POST /payments` and `POST /payments/details`."""

    result_code: ResultCode
    psp_reference: PspReference | None = None
    merchant_reference: Reference | None = None
    amount: Amount | None = None
    refusal_reason_code: Text | None = None
    additional_data: dict[str, object] = {}

    @property
    def stored_method(self) -> str | None:
        """The token under which the method was stored."""
        return stored_method_of(self.additional_data)

    def as_transaction(self, *, reference: str, amount: int, currency: str) -> GatewayTransaction:
        """Return the port's value; what the answer leaves out is what was asked.

        Raises:
            ValueError: it names no payment.
        """
        status = STATUS_OF[self.result_code]
        if self.psp_reference is None:
            raise ValueError(f"{self.result_code} without a pspReference")
        given = self.amount or Amount(amount, currency)
        failed = status is TransactionStatus.FAILED
        return GatewayTransaction(
            id=self.psp_reference,
            reference=self.merchant_reference or reference,
            status=status,
            amount=given.value,
            currency=given.currency,
            decline_code=self._recorded_code() if failed else None,
            payment_method=self.stored_method,
        )

    def _recorded_code(self) -> str:
        no_decline = _NO_DECLINE.get(self.result_code)
        return recorded_code(self.refusal_reason_code, instead_of_decline=no_decline)


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


def text_in(data: Mapping[str, object], name: str) -> str | None:
    """Return a text of the additional data; `metadata` there is an object, all else is text."""
    value = data.get(name)
    return value if isinstance(value, str) else None


def stored_method_of(data: Mapping[str, object]) -> str | None:
    """Return the token of a stored method, under its newer or its older name."""
    newer = text_in(data, "tokenization.storedPaymentMethodId")
    return newer or text_in(data, "recurring.recurringDetailReference")


def in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC."""
    return moment.astimezone(UTC)
