"""Adyen's documented test cards and the results that a card holder's name asks for."""

from typing import Final

import msgspec

OK: Final = frozenset(
    {"4111111111111111", "4111111145551142", "5555444433331111", "370000000000002",
     "4988438843884305"}
)  # fmt: skip
CHALLENGED: Final = frozenset({"4212345678901237", "5201281505129736"})
"""Cards whose bank wants the shopper."""
ENCRYPTED: Final = "test_"
"""Before a value that stands for an encrypted one in the test environment."""


class Outcome(msgspec.Struct, frozen=True):
    """What becomes of a payment: its result code, and why it was refused."""

    result: str
    reason: str = ""
    code: str = ""


AUTHORISED: Final = Outcome("Authorised")
AUTHENTICATION_REQUIRED: Final = "AUTHENTICATION_REQUIRED"
"""The card holder whose bank refuses every payment that was not authenticated."""
BY_NAME: Final = {
    AUTHENTICATION_REQUIRED: Outcome("Refused", "Authentication required", "38"),
    "DECLINED": Outcome("Refused", "Refused", "2"),
    "BLOCK_CARD": Outcome("Refused", "Blocked Card", "5"),
    "CARD_EXPIRED": Outcome("Refused", "Expired Card", "6"),
    "INVALID_CARD": Outcome("Refused", "Invalid Card Number", "8"),
    "NOT_ENOUGH_BALANCE": Outcome("Refused", "Not enough balance", "12"),
    "CVC_DECLINED": Outcome("Refused", "CVC Declined", "24"),
    "ERROR": Outcome("Error", "Acquirer Error", "4"),
    "INVALID_AMOUNT": Outcome("Error", "Invalid Amount", "7"),
    "ISSUER_UNAVAILABLE": Outcome("Refused", "Issuer Unavailable", "9"),
    "CANCELLED": Outcome("Cancelled", "Cancelled", "15"),
    "SHOPPER_CANCELLED": Outcome("Cancelled", "Shopper Cancelled", "16"),
    "NOT_SUBMITTED": Outcome("Error", "Not Submitted", "21"),
    "DS_SILENT": Outcome("Refused", "RReq not received from DS", "39"),
    "RESTART": Outcome("Refused", "CVM Required Restart Payment", "41"),
    "TOO_MANY_RETRIES": Outcome(
        "Refused", "Transaction blocked by Adyen to prevent excessive retry fees", "46"
    ),
    "UNDOCUMENTED": Outcome("Refused", "A reason of next year", "99"),
}
NOT_AUTHENTICATED: Final = Outcome("Refused", "3D Not Authenticated", "11")
UNKNOWN: Final = Outcome("Refused", "Invalid Card Number", "8")


def is_challenged(number: str, holder: str) -> bool:
    """Return whether the bank asks the shopper to confirm a payment on a page."""
    return number in CHALLENGED or holder == AUTHENTICATION_REQUIRED


def outcome_of(number: str, holder: str) -> Outcome:
    """Return the result of a card; other cards than Adyen's test cards do not work."""
    if number not in OK | CHALLENGED:
        return UNKNOWN
    return BY_NAME.get(holder, AUTHORISED)
