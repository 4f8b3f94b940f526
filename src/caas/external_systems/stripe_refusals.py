"""Why Stripe does not charge: the codes that it documents, and what a payment records for each.

A failed PaymentIntent has a `code` of Stripe's and, where the card's bank has given one, a
`decline_code`. `caas.rules.refusal_codes` says what each recorded code may lead to (decision 280).
Sources: https://docs.stripe.com/declines/codes, https://docs.stripe.com/error-codes.

Rules a change must keep:
- The state says that a payment failed; a code only explains it.
- The bank's code comes before Stripe's own, which is generic beside it, unless only the bank's is
  a decline.
- A code that is not documented is counted, and is no decline.
"""

from collections.abc import Mapping
from typing import Final

from caas.external_systems.unknown_values import GatewayField, count_unknown, show_fields
from caas.rules import refusal_codes

STRIPE: Final = "stripe"
show_fields(STRIPE)

_AS_THEY_ARE: Final = """
    approve_with_id authentication_required call_issuer card_declined card_not_supported
    card_velocity_exceeded currency_not_supported do_not_honor expired_card fraudulent
    generic_decline incorrect_address incorrect_cvc incorrect_number incorrect_pin incorrect_zip
    insufficient_funds invalid_account invalid_amount invalid_cvc invalid_expiry_month
    invalid_expiry_year invalid_number invalid_pin issuer_not_available lost_card merchant_blacklist
    no_action_taken not_permitted pickup_card pin_try_exceeded processing_error reenter_transaction
    restricted_card revocation_of_all_authorizations revocation_of_authorization security_violation
    service_not_allowed stolen_card stop_payment_order transaction_not_allowed try_again_later
"""
"""Codes that are recorded as Stripe writes them."""
_IN_OTHER_WORDS: Final = {
    "card_decline_rate_limit_exceeded": refusal_codes.TOO_MANY_RETRIES,
    "do_not_try_again": "do_not_honor",
    "duplicate_transaction": refusal_codes.PROCESSING_ERROR,
    "mobile_device_authentication_required": "pin_required",
    "new_account_information_available": "invalid_account",
    "offline_pin_required": "pin_required",
    "online_or_offline_pin_required": "pin_required",
    "payment_intent_authentication_failure": "authentication_failed",
    "payment_intent_payment_attempt_expired": "attempt_expired",
    "payment_intent_payment_attempt_failed": refusal_codes.PROCESSING_ERROR,
    "setup_intent_authentication_failure": "authentication_failed",
    "setup_intent_setup_attempt_expired": "attempt_expired",
    "testmode_decline": "test_card",
    "withdrawal_count_limit_exceeded": "withdrawal_count_exceeded",
}
REFUSALS: Final[Mapping[str, str]] = {it: it for it in _AS_THEY_ARE.split()} | _IN_OTHER_WORDS
"""Each code of Stripe's, and the code that the payment records."""


def recorded_code(decline_code: str | None, code: str | None) -> str:
    """Return what a failed payment records, of the bank's code and of Stripe's; count unknown ones.

    It is a decline only if every code that is given is one.
    """
    given = [it for it in (decline_code, code) if it is not None]
    for one in given:
        if one not in REFUSALS:
            count_unknown(STRIPE, GatewayField.DECLINE_CODE, one)
    recorded = [REFUSALS.get(one, refusal_codes.UNKNOWN) for one in given]
    no_declines = [one for one in recorded if not refusal_codes.is_decline(one)]
    return next(iter([*no_declines, *recorded]), refusal_codes.UNKNOWN)
