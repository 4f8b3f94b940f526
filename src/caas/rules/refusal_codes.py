"""Why a gateway did not charge, and whose matter it is (decision 280).

Every code that a payment is failed with by a gateway's answer falls in one class, or in none. The
adapters translate their provider's codes into these; a gateway of the contract uses them directly.
The database has the same table, and refuses a lost reservation and a cancelled subscription without
a decline.

Rules a change must keep:

1. A code is a decline only if the bank, or a check for fraud, has refused this customer's card.
2. A code that may mean a decline or something else is no decline.
3. A code without a class never costs a customer anything.
4. Every code here says that the payment failed. "Duplicate" (94) may mean that another succeeded:
   it has no class.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from caas.rules.retry_strategy import (
    CARD_DECLINED,
    INSUFFICIENT_FUNDS,
    INVALID_CARD_DATA,
    spelling,
)


class RefusalClass(StrEnum):
    """Whose matter it is that a payment was refused."""

    DECLINE = "decline"
    TECHNICAL = "technical"
    OURS = "ours"


MEANING: Final[Mapping[RefusalClass, str]] = {
    RefusalClass.DECLINE: "the bank, or a check for fraud, refused this card",
    RefusalClass.TECHNICAL: "it could not be processed this time; it may be tried again",
    RefusalClass.OURS: "our request, agreement or table is at fault; operations have a case",
}
PROCESSING_ERROR: Final = "processing_error"
CANCELLED: Final = "payment_cancelled"
INVALID_AMOUNT: Final = "invalid_amount"
TOO_MANY_RETRIES: Final = "too_many_retries"
UNKNOWN: Final = "unknown_refusal"
"""A provider's code that its table lacks, or a refusal without any."""

_TECHNICAL_WORDS: Final = """
    processing_error acquirer_error issuer_unavailable issuer_not_available try_again_later
    reenter_transaction system_error technical_error authentication_error
    attempt_expired payment_cancelled approve_with_id pin_required
"""
_TECHNICAL_NUMBERS: Final = "06 19 22 68 91 92 96 0909 0912 9912"
_OURS_WORDS: Final = """
    amount_too_small amount_too_large unsupported_currency invalid_amount invalid_merchant
    invalid_transaction format_error not_submitted too_many_retries test_card unknown_refusal
"""
_OURS_NUMBERS: Final = "03 12 13 30 58 0904 ff01"

TECHNICAL: Final = frozenset((_TECHNICAL_WORDS + _TECHNICAL_NUMBERS).split())
OURS: Final = frozenset((_OURS_WORDS + _OURS_NUMBERS).split())
CLASS_OF: Final[Mapping[str, RefusalClass]] = {
    **dict.fromkeys(
        sorted(CARD_DECLINED | INSUFFICIENT_FUNDS | INVALID_CARD_DATA), RefusalClass.DECLINE
    ),
    **dict.fromkeys(sorted(TECHNICAL), RefusalClass.TECHNICAL),
    **dict.fromkeys(sorted(OURS), RefusalClass.OURS),
}
"""Every code with its class."""


def refusal_class(code: str | None) -> RefusalClass | None:
    """Return the class of a code in any spelling; None if the table lacks it."""
    return CLASS_OF.get(spelling(code or ""))


def is_decline(code: str | None) -> bool:
    """Return whether a payment with this code was declined, and may cost its customer something."""
    return refusal_class(code) is RefusalClass.DECLINE
