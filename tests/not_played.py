"""The flow of a payment type that a test installation does not offer: calling it fails."""

from typing import Never

from caas.billing_database.payments import Payment
from caas.jobs import JobQueue
from caas.payment_processing.initiation import PaymentRequest


class NotPlayed:
    """No payment of this type is made in the installation."""

    def register(self, jobs: JobQueue) -> None:
        """Take nothing."""

    async def check_due(self, request: PaymentRequest) -> Never:
        """Fail."""
        raise AssertionError(request)

    async def terms(self, payment: Payment) -> Never:
        """Fail."""
        raise AssertionError(payment)

    async def is_withdrawn(self, payment: Payment) -> Never:
        """Fail."""
        raise AssertionError(payment)

    async def on_authorized(self, payment: Payment) -> Never:
        """Fail."""
        raise AssertionError(payment)

    async def on_requires_action(self, payment: Payment) -> Never:
        """Fail."""
        raise AssertionError(payment)

    async def on_failed(self, payment: Payment) -> Never:
        """Fail."""
        raise AssertionError(payment)

    async def advance(self, payment: Payment) -> Never:
        """Fail."""
        raise AssertionError(payment)

    async def void(self, payment: Payment, reason: str) -> Never:
        """Fail."""
        raise AssertionError(payment, reason)
