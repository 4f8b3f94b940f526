"""Field types of bodies and queries, with their limits.

Rules a change must keep: every text has a maximum length; text used in a path, a log line or
another system's field has a restricted alphabet; amounts are whole minor units within
`rules.money`.
"""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from caas.api.patterns import (
    CURRENCY_PATTERN,
    EMAIL_PATTERN,
    EVENT_ID_PATTERN,
    EVENT_TYPE_PATTERN,
    INSTANT_PATTERN,
    LANGUAGE_CODE_PATTERN,
    LANGUAGE_PATTERN,
    LINES_PATTERN,
    MONTH_PATTERN,
    PUBLIC_KEY_PATTERN,
    REFERENCE_PATTERN,
    REMARK_PATTERN,
    SERVICE_CODE_PATTERN,
    SIGNATURE_PATTERN,
    URL_PATTERN,
    VIN_PATTERN,
    WRITTEN_PATTERN,
)
from caas.billing.drafts import REASON_CHARS_MAX
from caas.dual_control import NOTE_CHARS_MAX
from caas.rules.money import AMOUNT_MAX, EXPONENTS, TOTAL_MAX
from caas.rules.personal_data import EMAIL_CHARS_MAX, NAME_CHARS_MAX, PERSON_NAME_CHARS_MAX
from caas.service_catalog import DURATION_DAYS_MAX
from caas.service_catalog.usage import QUANTITY_MAX

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
