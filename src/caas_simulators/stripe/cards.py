"""Stripe's documented test cards: by number, by a PaymentMethod's token, and what each does.

Source: https://docs.stripe.com/testing. The cards of its table of declines cannot be attached to a
Customer; 4000 0000 0000 0341 can, and is declined when it is charged.
"""

from typing import Final

import msgspec

ALWAYS: Final = "always"
UNLESS_SET_UP: Final = "unless_set_up"
MESSAGES: Final = {
    "authentication_required": "Your card was declined. This transaction requires authentication.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "incorrect_number": "Your card number is incorrect.",
    "insufficient_funds": "Your card has insufficient funds.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
}
DECLINED: Final = "Your card was declined."


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A test card and what becomes of payments with it.

    `code` and `decline_code` are those of its declines. `authentication` says when the cardholder
    must confirm; `attaches` whether it can be saved. `dispute` is the status and reason of the
    dispute that follows a charge.
    """

    number: str
    tokens: tuple[str, ...]
    brand: str = "visa"
    code: str | None = None
    decline_code: str | None = None
    authentication: str | None = None
    set_up: bool = False
    attaches: bool = True
    dispute: tuple[str, str] | None = None
    refund: str = "succeeded"
    available_at_once: bool = False

    @property
    def last4(self) -> str:
        """The digits that are shown of it."""
        return self.number[-4:]


def _declined(number: str, token: str, decline_code: str, code: str = "card_declined") -> Card:
    """Return a card of the table of declines: it is declined already when it is saved."""
    return Card(
        number=number, tokens=(token,), code=code, decline_code=decline_code, attaches=False
    )


CARDS: Final = (
    Card(number="4242424242424242", tokens=("pm_card_visa",)),
    Card(number="4000056655665556", tokens=("pm_card_visa_debit",)),
    Card(number="5555555555554444", tokens=("pm_card_mastercard",), brand="mastercard"),
    Card(number="378282246310005", tokens=("pm_card_amex",), brand="amex"),
    Card(number="4000007240000007", tokens=("pm_card_es",)),
    _declined("4000000000000002", "pm_card_visa_chargeDeclined", "generic_decline"),
    _declined(
        "4000000000009995", "pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"
    ),
    _declined("4000000000009987", "pm_card_visa_chargeDeclinedLostCard", "lost_card"),
    _declined("4000000000009979", "pm_card_visa_chargeDeclinedStolenCard", "stolen_card"),
    _declined(
        "4000000000006975", "pm_card_visa_chargeDeclinedVelocityLimitExceeded",
        "card_velocity_exceeded",
    ),
    _declined(
        "4000000000000069", "pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"
    ),
    _declined(
        "4000000000000127", "pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"
    ),
    _declined(
        "4000000000000119", "pm_card_chargeDeclinedProcessingError", "processing_error",
        "processing_error",
    ),
    Card(number="4100000000000019", tokens=("pm_card_radarBlock",),
         code="card_declined", decline_code="fraudulent"),
    Card(number="4000000000000341", tokens=("pm_card_chargeCustomerFail",),
         code="card_declined", decline_code="generic_decline"),
    Card(number="4000002500003155", tokens=("pm_card_authenticationRequiredOnSetup",),
         authentication=UNLESS_SET_UP),
    Card(number="4000002760003184", tokens=("pm_card_authenticationRequired",),
         authentication=ALWAYS),
    Card(number="4000003800000446",
         tokens=("pm_card_authenticationRequiredSetupForOffSession",),
         authentication=UNLESS_SET_UP, set_up=True),
    Card(number="4000008260003178",
         tokens=("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",),
         authentication=ALWAYS, code="card_declined", decline_code="insufficient_funds"),
    Card(number="4000000000003220", tokens=("pm_card_threeDSecure2Required",),
         authentication=ALWAYS),
    Card(number="4000008400001629", tokens=("pm_card_threeDSecureRequiredChargeDeclined",),
         authentication=ALWAYS, code="card_declined", decline_code="generic_decline"),
    Card(number="4000000000000259", tokens=("pm_card_createDispute",),
         dispute=("needs_response", "fraudulent")),
    Card(number="4000000000002685", tokens=("pm_card_createDisputeProductNotReceived",),
         dispute=("needs_response", "product_not_received")),
    Card(number="4000000000001976", tokens=("pm_card_createDisputeInquiry",),
         dispute=("warning_needs_response", "fraudulent")),
    Card(number="4000000000000077", tokens=("pm_card_bypassPending",), available_at_once=True),
    Card(number="4000000000007726", tokens=("pm_card_pendingRefund",), refund="pending"),
    Card(number="4000000000005126", tokens=("pm_card_refundFail",), refund="failed"),
)  # fmt: skip
_BY_NUMBER: Final = {card.number: card for card in CARDS}
_BY_TOKEN: Final = {token: card for card in CARDS for token in card.tokens}


def card_of_number(number: str) -> Card | None:
    """Return the test card with this number; real cards do not work in test mode."""
    return _BY_NUMBER.get(number.replace(" ", "").replace("-", ""))


def card_of_token(token: str) -> Card | None:
    """Return the test card of a token such as pm_card_visa."""
    return _BY_TOKEN.get(token)


def message_of(code: str, decline_code: str | None) -> str:
    """Return the sentence of a decline."""
    return MESSAGES.get(decline_code or "", MESSAGES.get(code, DECLINED))
