r"""Field types of bodies and queries, and the patterns of external text with their descriptions.

A pattern's description appears in error messages.

Rules a change must keep: every text has a maximum length; text used in a path, a log line or
another system's field has a restricted alphabet; amounts are whole minor units within
`rules.money`; patterns use \A and \Z, not ^ and $, which accept a trailing line feed.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from caas.billing.drafts import REASON_CHARS_MAX
from caas.dual_control import NOTE_CHARS_MAX
from caas.rules.agreed_price import AgreedPrice
from caas.rules.money import AMOUNT_MAX, EXPONENTS, TOTAL_MAX
from caas.rules.personal_data import EMAIL_CHARS_MAX, NAME_CHARS_MAX, PERSON_NAME_CHARS_MAX
from caas.service_catalog import DURATION_DAYS_MAX
from caas.service_catalog.usage import QUANTITY_MAX

# Line breaks, invisible characters and bidirectional controls can make one name look like
# another; the joiners of Persian, Hindi and emoji (U+200C, U+200D) are allowed.
_UNSEEN: Final = (
    "\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f"
)
WRITTEN_PATTERN: Final = rf"^(?=[^{_UNSEEN}]*[^\s{_UNSEEN}])[^{_UNSEEN}]+\Z"
REFERENCE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}\Z"
CURRENCY_PATTERN: Final = r"^[A-Z]{3}\Z"
EMAIL_PATTERN: Final = rf"^[^@\s{_UNSEEN}]+@[^@\s{_UNSEEN}]+\Z"
LANGUAGE_PATTERN: Final = r"^[a-z]{2}(-[A-Z]{2})?\Z"
LANGUAGE_CODE_PATTERN: Final = r"^[a-z]{2}\Z"
URL_PATTERN: Final = (
    r"^https?://[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?"
    r"([/?#][A-Za-z0-9/?#:@!$&()*+,;=._~%\[\]-]*)?\Z"
)
LINES_PATTERN: Final = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+\Z"
REMARK_PATTERN: Final = rf"^[^{_UNSEEN}]*\Z"
INSTANT_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})\Z"
)
SIGNATURE_PATTERN: Final = r"^[A-Za-z0-9+/]{86}==\Z"
PUBLIC_KEY_PATTERN: Final = r"^[A-Za-z0-9+/]{43}=\Z"
KIND_PATTERN: Final = r"^(one_time|subscription)\Z"
DAY_PATTERN: Final = r"^2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])\Z"
VIN_PATTERN: Final = r"^(?=[0-9-]*[A-Z])[A-Z0-9][A-Z0-9-]{2,31}\Z"
SERVICE_CODE_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,63}\Z"
COUNTRY_PATTERN: Final = r"^[A-Z]{2}\Z"
MONTH_PATTERN: Final = r"^(?!0000|9999)[0-9]{4}-(0[1-9]|1[0-2])\Z"
EVENT_ID_PATTERN: Final = r"^[0-9]{1,17}(_[a-z]{1,20}_[A-Za-z0-9-]{3,36}_[0-9]{1,9})?\Z"
EVENT_TYPE_PATTERN: Final = r"^(payment|order|subscription|vehicle|document)(\.[a-z0-9_]{1,100})?\Z"
IN_WORDS: Final = {
    EVENT_ID_PATTERN: "an event id, or next_after of a page of events",
    EVENT_TYPE_PATTERN: "payment, order, subscription, vehicle, document, or one of their types",
    CURRENCY_PATTERN: "an ISO 4217 code in upper case, such as EUR",
    REFERENCE_PATTERN: "at most 200 letters, digits and _.:-",
    URL_PATTERN: "a URL that begins with http:// or https://",
    WRITTEN_PATTERN: "text without line breaks and invisible characters",
    EMAIL_PATTERN: "an e-mail address, such as ana@example.com",
    LANGUAGE_PATTERN: "a language, such as es or en-GB",
    LANGUAGE_CODE_PATTERN: "a two-letter language code, such as es",
    LINES_PATTERN: "lines of text without control characters",
    REMARK_PATTERN: "text without line breaks and invisible characters, or none",
    INSTANT_PATTERN: "a timestamp with time zone, such as 2026-11-26T18:00:00Z",
    SIGNATURE_PATTERN: "an Ed25519 signature: 64 bytes in base64",
    PUBLIC_KEY_PATTERN: "an Ed25519 key: 32 bytes in base64",
    DAY_PATTERN: "a date, such as 2026-11-26",
    VIN_PATTERN: "a VIN: 3 to 32 upper-case letters, digits and -, not only digits",
    SERVICE_CODE_PATTERN: "a code: at most 64 lower-case letters, digits and -",
    MONTH_PATTERN: "a month, such as 2026-11",
    COUNTRY_PATTERN: "an ISO 3166 country code, such as ES",
    KIND_PATTERN: "one_time or subscription",
}
"""Descriptions of the expected text for error messages, by pattern."""


PositiveAmount = Annotated[
    int, Meta(gt=0, le=AMOUNT_MAX, description="Minor units of the currency (cents for EUR).")
]
Amount = Annotated[
    int, Meta(ge=0, le=AMOUNT_MAX, description="Minor units of the currency (cents for EUR).")
]
Currency = Annotated[
    str,
    Meta(
        pattern=CURRENCY_PATTERN,
        description="ISO 4217, for example EUR.",
        extra_json_schema={"enum": sorted(EXPONENTS)},
    ),
]
PaymentMethod = Annotated[
    str,
    Meta(
        pattern=REFERENCE_PATTERN,
        description="A gateway token; without one the customer pays on the gateway's hosted page.",
    ),
]
ReturnUrl = Annotated[
    str,
    Meta(
        max_length=2000,
        pattern=URL_PATTERN,
        description="The URL to which the hosted page returns the customer.",
    ),
]
CallbackUrl = Annotated[
    str,
    Meta(
        max_length=500,
        pattern=URL_PATTERN,
        description="The HTTPS URL to which events are delivered.",
    ),
]
EventId = Annotated[str, Meta(pattern=EVENT_ID_PATTERN)]
EventType = Annotated[
    str,
    Meta(
        pattern=EVENT_TYPE_PATTERN,
        description="An event type, such as payment.bank_confirms, or a source, such as payment.",
    ),
]
Reason = Annotated[str, Meta(min_length=1, max_length=REASON_CHARS_MAX, pattern=WRITTEN_PATTERN)]
Reference = Annotated[str, Meta(pattern=REFERENCE_PATTERN)]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX, pattern=WRITTEN_PATTERN)]
PersonName = Annotated[
    str, Meta(min_length=1, max_length=PERSON_NAME_CHARS_MAX, pattern=WRITTEN_PATTERN)
]
Email = Annotated[str, Meta(min_length=3, max_length=EMAIL_CHARS_MAX, pattern=EMAIL_PATTERN)]
Language = Annotated[str, Meta(pattern=LANGUAGE_PATTERN)]
LanguageCode = Annotated[
    str, Meta(pattern=LANGUAGE_CODE_PATTERN, description="An ISO 639 code, such as es.")
]
Note = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=NOTE_CHARS_MAX,
        pattern=LINES_PATTERN,
        description="Multi-line text.",
    ),
]
Vin = Annotated[
    str, Meta(pattern=VIN_PATTERN, description="Letters, digits and -, not only digits.")
]
ServiceCode = Annotated[str, Meta(pattern=SERVICE_CODE_PATTERN)]
MonthKey = Annotated[str, Meta(pattern=MONTH_PATTERN, description="For example 2026-11.")]
GatewayName = Annotated[
    str, Meta(min_length=1, max_length=100, description="A gateway's name, such as stripe.")
]
Unit = Annotated[str, Meta(min_length=1, max_length=40, pattern=WRITTEN_PATTERN)]
UnitQuantity = Annotated[int, Meta(ge=-QUANTITY_MAX, le=QUANTITY_MAX)]
Moment = Annotated[datetime, Meta(tz=True)]
Epoch = Annotated[int, Meta(ge=0, le=TOTAL_MAX)]
Remark = Annotated[str, Meta(max_length=200, pattern=REMARK_PATTERN)]
Instant = Annotated[
    str,
    Meta(
        pattern=INSTANT_PATTERN,
        description="RFC 3339, exactly as it was signed.",
    ),
]
Signature = Annotated[str, Meta(pattern=SIGNATURE_PATTERN, description="Base64.")]
PublicKey = Annotated[str, Meta(pattern=PUBLIC_KEY_PATTERN, description="Base64.")]
Days = Annotated[int, Meta(ge=1, le=DURATION_DAYS_MAX)]


class MoneyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An amount in minor units with its ISO 4217 currency."""

    amount: PositiveAmount
    currency: Currency


class MonthlyFeeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A monthly fee, which may be zero, in minor units with its ISO 4217 currency."""

    amount: Amount
    currency: Currency


class MeteredBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price of a metered unit of a subscription."""

    unit: Unit
    unit_price: Amount


def shown(expected: MoneyBody | None) -> AgreedPrice | None:
    """Return the price that the caller showed to the customer, if the request states it."""
    return AgreedPrice(expected.amount, expected.currency) if expected else None
