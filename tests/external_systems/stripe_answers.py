"""What Stripe writes, as plain values that a test may spoil."""

from datetime import UTC, datetime

from caas.external_systems.payment_gateway import CaptureMode, TransactionRequest

REQUEST = TransactionRequest(
    reference="pay-1",
    amount=12_500,
    currency="EUR",
    capture=CaptureMode.MANUAL,
    customer_reference="customer-1",
    description="Heated seats, 30 days",
    payment_method="pm_card_visa",
    return_url="https://caas.example/return",
)
CREATED = 1_764_000_000


def just_now() -> datetime:
    """When everything here was created."""
    return datetime.fromtimestamp(CREATED, UTC)


def charge(**facts: object) -> dict[str, object]:
    """A charge whose funds are held, but for the facts given."""
    return {
        "id": "ch_1",
        "object": "charge",
        "amount": 12_500,
        "amount_captured": 0,
        "amount_refunded": 0,
        "captured": False,
        "balance_transaction": None,
        "payment_method_details": {"card": {"capture_before": CREATED + 7 * 86_400}},
    } | facts


def captured_charge(**facts: object) -> dict[str, object]:
    """A charge that is captured, its money still on its way, but for the facts given."""
    captured = {
        "captured": True,
        "amount_captured": 12_500,
        "balance_transaction": {"id": "txn_1", "status": "pending"},
    }
    return charge(**(captured | facts))


def intent(**facts: object) -> dict[str, object]:
    """A PaymentIntent that agrees with `REQUEST`, but for the facts given."""
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "status": "requires_capture",
        "amount": 12_500,
        "amount_received": 0,
        "currency": "eur",
        "created": CREATED,
        "metadata": {"reference": "pay-1", "customer_reference": "customer-1"},
        "latest_charge": charge(),
        "last_payment_error": None,
        "next_action": None,
        "cancellation_reason": None,
    } | facts


def declined_intent(**facts: object) -> dict[str, object]:
    """A PaymentIntent that waits for another payment method, but for the facts given."""
    declined = {
        "status": "requires_payment_method",
        "latest_charge": "ch_1",
        "last_payment_error": {"code": "card_declined", "decline_code": "insufficient_funds"},
    }
    return intent(**(declined | facts))


def error(**facts: object) -> dict[str, object]:
    """A card error with its PaymentIntent, but for the facts given."""
    return {
        "error": {
            "type": "card_error",
            "code": "card_declined",
            "decline_code": "insufficient_funds",
            "message": "Your card has insufficient funds.",
            "payment_intent": declined_intent(),
        }
        | facts
    }


def movement(**facts: object) -> dict[str, object]:
    """A balance transaction of a charge, but for the facts given."""
    return {
        "id": "txn_1",
        "object": "balance_transaction",
        "amount": 12_500,
        "fee": 400,
        "net": 12_100,
        "currency": "eur",
        "created": CREATED,
        "available_on": CREATED + 2 * 86_400,
        "reporting_category": "charge",
        "source": {"payment_intent": "pi_1", "metadata": {"reference": "pay-1"}},
    } | facts
