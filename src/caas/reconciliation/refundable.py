"""Whether the gateway can refund what a discrepancy is about.

Rules a change must keep: what a line reports beyond its payment is refunded only where the gateway
shows that it took more than the payment, so that the payment's own refunds remain; for a charge
without a payment, a refund stays possible without a response in time, and the job asks again.
"""

import asyncio
from typing import Final

from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.settlement_reports import SettlementReports
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.http_answers import GatewayFailure
from caas.payment_processing.gateways import Gateways
from caas.rules.discrepancies import DiscrepancyKind, Resolution

LOOKUP_SECONDS_MAX: Final = 3.0
DIRECT: Final = frozenset({DiscrepancyKind.MISSING_IN_BOOK, DiscrepancyKind.AMOUNT})
"""Kinds whose refund goes to the gateway directly, not through a payment of ours."""


class Refundable:
    """What a discrepancy's line leaves to refund at the gateway."""

    def __init__(
        self, tables: BillingDatabase, reports: SettlementReports, gateways: Gateways
    ) -> None:
        """Ask the gateway that a discrepancy is about."""
        self._tables = tables
        self._reports = reports
        self._gateways = gateways

    async def owed(self, discrepancy: Discrepancy) -> tuple[int, str | None]:
        """Return the amount to refund in minor units, and its transaction, if it names one."""
        if discrepancy.report_id is None or discrepancy.line_no is None:
            assert discrepancy.payment_id is not None, "what has no line is about a payment"
            payment = await self._tables.payments.get(discrepancy.payment_id)
            return discrepancy.amount, payment.gateway_transaction_id
        line = await self._reports.line(discrepancy.report_id, discrepancy.line_no)
        assert line is not None, "a discrepancy's line is stored before it"
        whole = discrepancy.kind is not DiscrepancyKind.AMOUNT
        return (line.gross if whole else discrepancy.amount), line.transaction_id

    def narrows(self, found: Discrepancy, offered: frozenset[Resolution]) -> bool:
        """Return whether the gateway decides which of these resolutions are possible."""
        return found.kind in DIRECT and Resolution.REFUND_THE_CUSTOMER in offered

    async def narrowed(
        self, found: Discrepancy, offered: frozenset[Resolution]
    ) -> frozenset[Resolution]:
        """Return the resolutions without a refund that the gateway would refuse."""
        if not self.narrows(found, offered):
            return offered
        return offered if await self._is_left(found) else offered - {Resolution.REFUND_THE_CUSTOMER}

    async def _is_left(self, found: Discrepancy) -> bool:
        amount, transaction_id = await self.owed(found)
        gateway = self._gateways.named(found.gateway)
        try:
            async with asyncio.timeout(LOOKUP_SECONDS_MAX):
                known = await gateway.find(transaction_id or "")
        except (GatewayFailure, TimeoutError):
            return found.kind is not DiscrepancyKind.AMOUNT
        if known is None:
            return False
        left = max(known.captured_amount, known.settled_amount) - known.refunded_amount
        if found.kind is DiscrepancyKind.AMOUNT and found.payment_id is not None:
            payment = await self._tables.payments.get(found.payment_id)
            left -= payment.captured_amount - payment.refunded_amount
        return left >= amount
