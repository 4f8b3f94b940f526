"""The payment methods of a simulated gateway: magic tokens, and the test cards behind them.

Each token has a fixed result: a decline, an extra step, a settlement that fails. The hosted page
replaces a card number by its token and discards the number.

Rules a change must keep: a token is public (tests and demonstrations depend on it); an unknown
token is declined as invalid card data, never accepted.
"""

import msgspec


class PaymentMethod(msgspec.Struct, frozen=True):
    """The result of a transaction with this method."""

    token: str
    story: str
    decline_code: str | None = None
    asks_the_customer: bool = False
    authorized_later: bool = False
    authorization_short: bool = False
    settlement: str = "full"
    disputed: bool = False
    refund_fails: bool = False


NINE = 9
CARD_LENGTHS = range(12, 20)
UNKNOWN_METHOD = PaymentMethod("", "not a payment method", decline_code="invalid_card_data")

PAYMENT_METHODS = {
    method.token: method
    for method in (
        PaymentMethod("pm_ok", "authorized at once, settled in full"),
        PaymentMethod("pm_declined", "declined by the issuer", decline_code="card_declined"),
        PaymentMethod(
            "pm_insufficient_funds", "declined for want of funds", decline_code="insufficient_funds"
        ),
        PaymentMethod("pm_invalid", "declined as invalid", decline_code="invalid_card_data"),
        PaymentMethod(
            "pm_not_processed", "its bank cannot be reached", decline_code="issuer_unavailable"
        ),
        PaymentMethod(
            "pm_unrecognised", "declined with a code nobody knows", decline_code="code_4711"
        ),
        PaymentMethod("pm_3ds", "the customer must confirm first", asks_the_customer=True),
        PaymentMethod("pm_settlement_fails", "the bank rejects it", settlement="rejected"),
        PaymentMethod("pm_partial_settlement", "the bank pays a part only", settlement="partial"),
        PaymentMethod("pm_late_settlement", "the bank pays late", settlement="late"),
        PaymentMethod("pm_chargeback", "settled, then disputed and lost", disputed=True),
        PaymentMethod("pm_expires", "the funds are held briefly", authorization_short=True),
        PaymentMethod("pm_bank_debit", "the bank answers later", authorized_later=True),
        PaymentMethod("pm_refund_fails", "settled, but cannot be refunded", refund_fails=True),
    )
}

TEST_CARDS = {
    "4242424242424242": "pm_ok",
    "4000000000000002": "pm_declined",
    "4000000000009995": "pm_insufficient_funds",
    "4000000000000069": "pm_invalid",
    "4000002500003155": "pm_3ds",
    "4000000000000259": "pm_chargeback",
}


def method_of(token: str) -> PaymentMethod:
    """Return the method of a token; an unknown one is declined."""
    return PAYMENT_METHODS.get(token, UNKNOWN_METHOD)


def token_of_card(number: str) -> str:
    """Return the token of a valid card number; most cards succeed."""
    return TEST_CARDS.get(_digits(number), "pm_ok")


def card_is_valid(number: str) -> bool:
    """Return whether this is a card number, by its length and its check digit."""
    digits = _digits(number)
    if not (digits.isascii() and digits.isdigit() and len(digits) in CARD_LENGTHS):
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - NINE if value > NINE else value
    return total % 10 == 0


def _digits(number: str) -> str:
    return "".join(number.split()).replace("-", "")
