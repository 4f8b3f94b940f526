"""The kinds of values that bodies and queries are made of, each with its limits.

Rules a change must keep: every text has a length; a text that goes into a path, a log line or
another system's field has an alphabet; amounts are whole minor units within `rules.money`.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from caas.rules.money import AMOUNT_MAX, EXPONENTS, TOTAL_MAX

# \A and \Z, not ^ and $: a trailing line feed must not pass.
PositiveAmount = Annotated[
    int, Meta(gt=0, le=AMOUNT_MAX, description="Minor units of the currency (cents for EUR).")
]
Amount = Annotated[
    int, Meta(ge=0, le=AMOUNT_MAX, description="Minor units of the currency (cents for EUR).")
]
Currency = Annotated[
    str,
    Meta(
        pattern=r"^[A-Z]{3}\Z",
        description="ISO 4217, for example EUR.",
        extra_json_schema={"enum": sorted(EXPONENTS)},
    ),
]
PaymentMethod = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}\Z",
        description="A token of the gateway; without one the customer pays on its hosted page.",
    ),
]
ReturnUrl = Annotated[
    str,
    Meta(
        max_length=2000,
        pattern=r"^https?://[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?"
        r"([/?#][A-Za-z0-9/?#:@!$&()*+,;=._~%\[\]-]*)?\Z",
        description="Where the gateway's page sends the customer back to: host, port and path.",
    ),
]
# What breaks a line, cannot be seen or turns the direction of writing makes a name look like
# another; the joiners of Persian, Hindi and emoji (U+200C, U+200D) are kept.
_UNSEEN: Final = (
    "\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f"
)
_WRITTEN: Final = rf"^(?=[^{_UNSEEN}]*[^\s{_UNSEEN}])[^{_UNSEEN}]+\Z"
Reason = Annotated[str, Meta(min_length=1, max_length=200, pattern=_WRITTEN)]
Reference = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=120, pattern=_WRITTEN)]
PersonName = Annotated[str, Meta(min_length=1, max_length=200, pattern=_WRITTEN)]
Email = Annotated[
    str, Meta(min_length=3, max_length=254, pattern=rf"^[^@\s{_UNSEEN}]+@[^@\s{_UNSEEN}]+\Z")
]
Language = Annotated[str, Meta(pattern=r"^[a-z]{2}(-[A-Z]{2})?\Z")]
LanguageCode = Annotated[str, Meta(pattern=r"^[a-z]{2}\Z", description="ISO 639, such as es.")]
Note = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1000,
        pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+\Z",
        description="Lines of text.",
    ),
]
DAY_PATTERN: Final = r"^2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])\Z"
VIN_PATTERN: Final = r"^(?=[0-9-]*[A-Z])[A-Z0-9][A-Z0-9-]{2,31}\Z"
SERVICE_CODE_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,63}\Z"
MONTH_PATTERN: Final = r"^(?!0000|9999)[0-9]{4}-(0[1-9]|1[0-2])\Z"
Vin = Annotated[
    str, Meta(pattern=VIN_PATTERN, description="Letters, digits and -, not all digits.")
]
ServiceCode = Annotated[str, Meta(pattern=SERVICE_CODE_PATTERN)]
MonthKey = Annotated[str, Meta(pattern=MONTH_PATTERN, description="For example 2026-11.")]
Unit = Annotated[str, Meta(min_length=1, max_length=40, pattern=_WRITTEN)]
UnitQuantity = Annotated[int, Meta(ge=1, le=10**12)]
Moment = Annotated[datetime, Meta(tz=True)]
Epoch = Annotated[int, Meta(ge=0, le=TOTAL_MAX)]
Remark = Annotated[str, Meta(max_length=200, pattern=rf"^[^{_UNSEEN}]*\Z")]
Instant = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
        r"(Z|[+-][0-9]{2}:[0-9]{2})\Z",
        description="RFC 3339, character by character as it was signed.",
    ),
]
Signature = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{86}==\Z", description="Base64.")]
PublicKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{43}=\Z", description="Base64.")]
Days = Annotated[int, Meta(ge=1, le=3660)]


class MoneyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An amount of money: minor units and ISO 4217 currency."""

    amount: PositiveAmount
    currency: Currency
