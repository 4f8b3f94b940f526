"""A payment gateway in this process, for what is measured without a network (P1).

Rule a change must keep: it answers at once and remembers its answers.
"""

import itertools
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from caas.external_systems.payment_gateway import (
    Capabilities,
    GatewayEvent,
    GatewayRefund,
    GatewayTransaction,
    RefundStatus,
    ReportStatus,
    SettlementPage,
    TransactionRequest,
    TransactionStatus,
)

STUB_NAME: Final = "at-hand"
CAPABILITIES: Final = Capabilities(
    separate_capture=True,
    void=True,
    partial_capture=True,
    refund=True,
    lookup_by_reference=True,
    lookup_of_refunds=True,
    idempotency_key_lifetime=timedelta(days=1),
    authorization_lifetime=timedelta(days=7),
)


class StubGateway:
    """Accepts every call and remembers it."""

    capabilities = CAPABILITIES

    def __init__(self, name: str = STUB_NAME) -> None:
        """Begin with no transaction."""
        self.name = name
        self._known: dict[str, GatewayTransaction] = {}
        self._numbers = itertools.count(1)

    async def initiate(self, request: TransactionRequest, *, key: str) -> GatewayTransaction:
        """Hold the funds."""
        del key
        transaction = GatewayTransaction(
            id=f"tx_{next(self._numbers)}",
            reference=request.reference,
            status=TransactionStatus.AUTHORIZED,
            amount=request.amount,
            currency=request.currency,
        )
        self._known[transaction.id] = transaction
        return transaction

    async def find(self, transaction_id: str) -> GatewayTransaction | None:
        """Return what is known."""
        return self._known.get(transaction_id)

    async def find_by_reference(
        self, reference: str, *, customer_reference: str
    ) -> tuple[GatewayTransaction, ...]:
        """Return what is known of our reference."""
        del customer_reference
        return tuple(t for t in self._known.values() if t.reference == reference)

    async def capture(self, transaction_id: str, amount: int, *, key: str) -> GatewayTransaction:
        """Charge the held funds."""
        del key
        return self._put(transaction_id, TransactionStatus.CAPTURING, captured_amount=amount)

    async def void(self, transaction_id: str, reason: str, *, key: str) -> GatewayTransaction:
        """Release the funds."""
        del reason, key
        return self._put(transaction_id, TransactionStatus.VOIDED)

    async def refund(
        self, transaction_id: str, amount: int, reason: str, *, key: str
    ) -> GatewayRefund:
        """Refund a charge."""
        del reason
        return GatewayRefund(
            id=f"re_{key}",
            transaction_id=transaction_id,
            amount=amount,
            status=RefundStatus.SUCCEEDED,
        )

    async def find_refunds(self, transaction_id: str) -> tuple[GatewayRefund, ...]:
        """Refunds are not remembered."""
        del transaction_id
        return ()

    async def settlements(self, day: date, cursor: str | None = None) -> SettlementPage:
        """Report an empty day."""
        del cursor
        return SettlementPage(
            report_id=f"none-{day}",
            date=day,
            status=ReportStatus.CLOSED,
            line_count=0,
            gross_total=0,
            net_total=0,
            lines=(),
            quarantined=(),
            next_cursor=None,
        )

    async def settlement_file(self, day: date, path: Path) -> None:
        """Return no file: reports come in pages here."""

    def read_event(self, body: bytes) -> GatewayEvent | None:
        """Return nothing: this gateway sends no webhooks."""
        del body
        return None  # the port's answer

    async def account(self) -> str | None:
        """Return nothing: this gateway has no accounts."""
        return None  # the port's answer

    async def close(self) -> None:
        """Nothing is open."""

    def _put(
        self, transaction_id: str, status: TransactionStatus, *, captured_amount: int = 0
    ) -> GatewayTransaction:
        changed = replace(
            self._known[transaction_id], status=status, captured_amount=captured_amount
        )
        self._known[transaction_id] = changed
        return changed
