"""Why Adyen refuses: the codes and texts that it documents, and what a payment records for each.

An answer has the code of a refused authorisation; the webhook about it only has the text, in
`reason`.
Sources: https://docs.adyen.com/development-resources/refusal-reasons,
https://docs.adyen.com/online-payments/capture/failure-reasons, and the examples of `Webhooks-v1` at
https://github.com/Adyen/adyen-openapi.

Rules a change must keep:
- The result and the event's code say what was refused; a text only explains it.
- A code or text that is not documented is no decline. It is counted, and logged without its item.
- A code that may mean something else than the bank's decline is none (decision 280).
- A refused capture or cancel does not say what became of the payment: the reports do.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from caas.external_systems.unknown_values import GatewayField, count_unknown, show_fields
from caas.rules.refusal_codes import (
    CANCELLED,
    INVALID_AMOUNT,
    PROCESSING_ERROR,
    TOO_MANY_RETRIES,
    UNKNOWN,
    is_decline,
)

ADYEN: Final = "adyen"
show_fields(ADYEN)

GENERIC_DECLINE: Final = "card_declined"
AUTHENTICATION_REQUIRED: Final = "authentication_required"
"""The bank wants its cardholder: a page takes the place of the payment."""
UNKNOWN_REFUSAL: Final = "refused_by_adyen"

REFUSALS: Final = (
    ("2", "Refused", GENERIC_DECLINE),
    ("3", "Referral", "refer_to_issuer"),
    ("4", "Acquirer Error", "acquirer_error"),
    ("5", "Blocked Card", "blocked_card"),
    ("6", "Expired Card", "expired_card"),
    ("7", "Invalid Amount", INVALID_AMOUNT),
    ("8", "Invalid Card Number", "invalid_number"),
    ("9", "Issuer Unavailable", "issuer_unavailable"),
    ("10", "Not supported", "card_not_supported"),
    ("11", "3D Not Authenticated", "authentication_failed"),
    ("12", "Not enough balance", "insufficient_funds"),
    ("14", "Acquirer Fraud", "acquirer_fraud"),
    ("15", "Cancelled", CANCELLED),
    ("16", "Shopper Cancelled", CANCELLED),
    ("17", "Invalid Pin", "invalid_pin"),
    ("18", "Pin tries exceeded", "pin_tries_exceeded"),
    ("19", "Pin validation not possible", "pin_required"),
    ("20", "FRAUD", "fraud"),
    ("21", "Not Submitted", "not_submitted"),
    ("22", "FRAUD-CANCELLED", "fraud"),
    ("23", "Transaction Not Permitted", "transaction_not_permitted"),
    ("24", "CVC Declined", "incorrect_cvc"),
    ("25", "Restricted Card", "restricted_card"),
    ("26", "Revocation Of Auth", "revocation_of_authorization"),
    ("27", "Declined Non Generic", GENERIC_DECLINE),
    ("28", "Withdrawal amount exceeded", "withdrawal_amount_exceeded"),
    ("29", "Withdrawal count exceeded", "withdrawal_count_exceeded"),
    ("31", "Issuer Suspected Fraud", "suspected_fraud"),
    ("32", "AVS Declined", "incorrect_address"),
    ("33", "Card requires online pin", "pin_required"),
    ("34", "No checking account available on Card", PROCESSING_ERROR),
    ("35", "No savings account available on Card", PROCESSING_ERROR),
    ("36", "Mobile pin required", "pin_required"),
    ("37", "Contactless fallback", PROCESSING_ERROR),
    ("38", "Authentication required", AUTHENTICATION_REQUIRED),
    ("39", "RReq not received from DS", "authentication_error"),
    ("40", "Current AID is in Penalty Box", PROCESSING_ERROR),
    ("41", "CVM Required Restart Payment", "pin_required"),
    ("42", "3DS Authentication Error", "authentication_error"),
    ("46", "Transaction blocked by Adyen to prevent excessive retry fees", TOO_MANY_RETRIES),
    ("50", "Token Revoked", "revocation_of_authorization"),
)
"""Refused authorisations: Adyen's code and text, and the code that the payment records."""
_BY_CODE: Final = {code: meaning for code, _, meaning in REFUSALS}
_BY_TEXT: Final = {text.casefold(): meaning for _, text, meaning in REFUSALS}
_REFUSED_MODIFICATIONS: Final = {
    "insufficient balance on payment": "insufficient_balance",
    "transaction hasn't been captured, refund not possible": "not_captured",
}
"""Refused captures, cancels and refunds; none says whether the rest was captured or cancelled."""
_REJECTED: Final = "capture rejected by card scheme because "
Meaning = TypeVar("Meaning", bound=str)


class CaptureFailure(StrEnum):
    """What a rejected capture leads to."""

    FINAL = "final"
    RETRIED = "retried"
    UNDECIDED = "undecided"


_CAPTURE_FAILURES: Final = {
    f"{_REJECTED}of a technical issue": CaptureFailure.RETRIED,
    f"{_REJECTED}the shopper cancelled the recurring payment through their bank": (
        CaptureFailure.FINAL
    ),
}


def recorded_code(refusal_reason_code: str | None, *, instead_of_decline: str | None = None) -> str:
    """Return what a failed payment records; a refusal without a documented code is no decline.

    `instead_of_decline` is recorded where the result says that no bank has declined it.
    """
    code = _known(_BY_CODE, refusal_reason_code or "", UNKNOWN, field=GatewayField.DECLINE_CODE)
    return instead_of_decline if instead_of_decline and is_decline(code) else code


def recorded_code_in(reason: str) -> str:
    """Return what a failed payment records, of the text in a webhook."""
    return _meaning(_BY_TEXT, reason, UNKNOWN, field=GatewayField.DECLINE_CODE)


def refusal_in(reason: str) -> str:
    """Return why a capture, cancel or refund was refused; none of it decides anything."""
    return _meaning(
        _REFUSED_MODIFICATIONS, reason, UNKNOWN_REFUSAL, field=GatewayField.REFUSAL_REASON
    )


def capture_failure_in(reason: str) -> CaptureFailure:
    """Return what becomes of a capture that the card scheme rejected.

    The most common failure is technical, and Adyen captures again by itself within ten days. A text
    that is not documented may be about such a failure, so it counts as no loss.
    """
    return _meaning(
        _CAPTURE_FAILURES, reason, CaptureFailure.UNDECIDED, field=GatewayField.REFUSAL_REASON
    )


def _meaning(
    known: Mapping[str, Meaning], reason: str, otherwise: Meaning, *, field: GatewayField
) -> Meaning:
    return _known(known, reason.strip().rstrip(".").casefold(), otherwise, field=field)


def _known(
    known: Mapping[str, Meaning], value: str, otherwise: Meaning, *, field: GatewayField
) -> Meaning:
    if value and value not in known:
        count_unknown(ADYEN, field, value)
    return known.get(value, otherwise)
