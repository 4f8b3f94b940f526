"""Decline codes of gateways and card schemes, grouped by row of the Retry Strategy table.

Codes are lower case with underscores, as `retry_strategy.decline_kind` normalises them. They come
from the seed's gateway contract, the large card gateways, ISO 8583 (two digits), Redsys (four
digits) and SEPA direct debit returns (two letters, two digits).

Rules a change must keep:

1. List a code only if it proves that the payment did not happen. "Issuer unavailable", "processing
   error", "try again later", "duplicate" and their numbers (91, 96, 94) are deliberately absent:
   their outcome is unknown (decision 3).
2. No code appears in two sets.
"""

from typing import Final

_INSUFFICIENT_FUNDS_WORDS: Final = """
    insufficient_funds not_enough_balance not_sufficient_funds insufficient_balance
"""
_INSUFFICIENT_FUNDS_NUMBERS: Final = "51 0116 am04"

_INVALID_CARD_DATA_WORDS: Final = """
    invalid_card_data invalid_card invalid_card_number invalid_number incorrect_number
    invalid_expiry_month invalid_expiry_year invalid_expiry_date incorrect_expiry
    expired_card card_expired invalid_cvc incorrect_cvc invalid_cvv cvc_declined cvv_mismatch
    incorrect_zip incorrect_address incorrect_pin invalid_pin invalid_account
    invalid_account_number incorrect_account_number account_closed
"""
_INVALID_CARD_DATA_NUMBERS: Final = "14 15 54 55 0101 0125 0129 0191 ac01 ac04"

_CARD_DECLINED_WORDS: Final = """
    card_declined declined generic_decline refused do_not_honor do_not_honour
    blocked_card card_blocked restricted_card lost_card stolen_card pickup_card
    fraudulent fraud suspected_fraud merchant_blacklist acquirer_fraud
    call_issuer refer_to_issuer no_action_taken not_permitted transaction_not_allowed
    transaction_not_permitted transaction_not_permitted_to_cardholder service_not_allowed
    card_not_supported currency_not_supported card_velocity_exceeded
    withdrawal_amount_exceeded withdrawal_count_exceeded exceeds_withdrawal_limit
    pin_try_exceeded pin_tries_exceeded revocation_of_authorization
    revocation_of_all_authorizations stop_payment_order security_violation
    authentication_required authentication_failed 3d_not_authenticated 3ds_failed
    no_mandate debit_not_authorized account_blocked refusal_by_debtor
"""
_CARD_DECLINED_NUMBERS: Final = """
    01 04 05 07 41 43 57 59 61 62 63 65 75 1a r0 r1
    0102 0106 0118 0180 0184 0190 0202 ac06 ag01 md01 md07 ms02 ms03 sl01
"""

INSUFFICIENT_FUNDS: Final = frozenset(
    (_INSUFFICIENT_FUNDS_WORDS + _INSUFFICIENT_FUNDS_NUMBERS).split()
)
INVALID_CARD_DATA: Final = frozenset(
    (_INVALID_CARD_DATA_WORDS + _INVALID_CARD_DATA_NUMBERS).split()
)
CARD_DECLINED: Final = frozenset((_CARD_DECLINED_WORDS + _CARD_DECLINED_NUMBERS).split())
