r"""Regular expressions of external text, each with a description for error messages.

Rule a change must keep: use \\A and \\Z, not ^ and $, which accept a trailing line feed.
"""

from typing import Final

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
