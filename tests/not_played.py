"""The flow of a payment type that a house of the tests does not offer: whoever calls it fails."""

from typing import Never

from caas.billing_database.payments import Payment
from caas.payment_processing.initiation import PaymentRequest


class NotPlayed:
    """No payment of this type is made in the house."""

    async def check_due(self, request: PaymentRequest) -> Never:
        """Fail."""
        raise AssertionError(request)

    async def when_authorised(self, payment: Payment) -> Never:
        """Fail."""
        raise AssertionError(payment)

    async def when_customer_must_act(self, payment: Payment) -> Never:
        """Fail."""
        raise AssertionError(payment)

    async def when_failed(self, payment: Payment) -> Never:
        """Fail."""
        raise AssertionError(payment)

    async def carry_on(self, payment: Payment) -> Never:
        """Fail."""
        raise AssertionError(payment)

    async def void(self, payment: Payment, reason: str) -> Never:
        """Fail."""
        raise AssertionError(payment, reason)
