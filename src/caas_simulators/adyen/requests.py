"""The requests that the simulated Adyen takes: names, types and limits of the Checkout API v71.

They are those of Adyen's published OpenAPI (`CheckoutService-v71`, https://github.com/Adyen/adyen-openapi).

Rules: a field that is published and would change nothing here is refused like an unknown one; where
the documentation only recommends, a request that does otherwise is refused.
"""

from typing import Annotated, Final, Literal

import msgspec

REFERENCE_CHARS_MAX: Final = 80
SHOPPER_CHARS_MIN: Final = 3
SHOPPER_CHARS_MAX: Final = 256
DESCRIPTION_CHARS_MAX: Final = 280
Reference = Annotated[
    str, msgspec.Meta(min_length=1, max_length=REFERENCE_CHARS_MAX, pattern=r"\A[^\r\n]*\Z")
]
Shopper = Annotated[
    str,
    msgspec.Meta(
        min_length=SHOPPER_CHARS_MIN, max_length=SHOPPER_CHARS_MAX, pattern=r"\A[^@\s]*\Z"
    ),
]
"""A shopper's reference; it must not be a name or an e-mail address."""
ReturnUrl = Annotated[str, msgspec.Meta(max_length=8_000, pattern=r"\Ahttps?://[!-~]+\Z")]
Encrypted = Annotated[str, msgspec.Meta(min_length=1, max_length=15_000)]
Model = Literal["CardOnFile", "Subscription", "UnscheduledCardOnFile"]
Flag = Literal["true", "false"]


class Taken(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True,
    omit_defaults=True,
):  # fmt: skip
    """A part of a request; a field that it has not is refused."""


class Amount(Taken, frozen=True, kw_only=True):
    """An amount in minor units."""

    value: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    currency: Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]


class Method(Taken, frozen=True, kw_only=True):
    """A card: encrypted by Adyen's form, or stored."""

    type: Literal["scheme"]
    stored_payment_method_id: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    encrypted_card_number: Encrypted | None = None
    encrypted_expiry_month: Encrypted | None = None
    encrypted_expiry_year: Encrypted | None = None
    encrypted_security_code: Encrypted | None = None
    holder_name: Encrypted | None = None


class ExtraData(Taken, frozen=True, kw_only=True):
    """What a payment says beside its fields, all of it as text."""

    manual_capture: Flag = "false"


class PaymentRequest(Taken, frozen=True, kw_only=True):
    """The body of `POST /payments`."""

    merchant_account: str
    amount: Amount
    payment_method: Method
    reference: Reference
    return_url: ReturnUrl
    shopper_reference: Shopper | None = None
    shopper_interaction: Literal["Ecommerce", "ContAuth"] = "Ecommerce"
    recurring_processing_model: Model | None = None
    store_payment_method: bool = False
    channel: Literal["iOS", "Android", "Web"] = "Web"
    additional_data: ExtraData = ExtraData()


class LinkRequest(Taken, frozen=True, kw_only=True):
    """The body of `POST /paymentLinks`."""

    merchant_account: str
    amount: Amount
    reference: Reference
    description: Annotated[str, msgspec.Meta(max_length=DESCRIPTION_CHARS_MAX)] = ""
    return_url: ReturnUrl | None = None
    reusable: Literal[False] = False
    manual_capture: bool = False
    shopper_reference: Shopper | None = None
    shopper_locale: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    store_payment_method_mode: Literal["askForConsent", "disabled", "enabled"] = "disabled"
    recurring_processing_model: Model | None = None


class LinkUpdate(Taken, frozen=True, kw_only=True):
    """The body of `PATCH /paymentLinks/{id}`."""

    status: Literal["expired"]


class CaptureRequest(Taken, frozen=True, kw_only=True):
    """The body of `POST /payments/{id}/captures`."""

    merchant_account: str
    amount: Amount
    reference: Reference | None = None


class CancelRequest(Taken, frozen=True, kw_only=True):
    """The body of `POST /payments/{id}/cancels`."""

    merchant_account: str
    reference: Reference | None = None


class RefundRequest(Taken, frozen=True, kw_only=True):
    """The body of `POST /payments/{id}/refunds`."""

    merchant_account: str
    amount: Amount
    reference: Reference | None = None
    merchant_refund_reason: (
        Literal["FRAUD", "CUSTOMER REQUEST", "RETURN", "DUPLICATE", "OTHER"] | None
    ) = None


class MethodsRequest(Taken, frozen=True, kw_only=True):
    """The body of `POST /paymentMethods`."""

    merchant_account: str
