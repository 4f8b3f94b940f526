"""Whether the gateway can refund what a discrepancy is about.

Rules a change must keep: a refund is offered only where the gateway shows that it can make it, so
without a response in time it is not offered; what a line reports beyond its payment is refunded
only where the gateway took more than the payment, so that the payment's own refunds remain.
"""

import asyncio
from typing import Final

from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.settlement_reports import SettlementReports
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.http_answers import GatewayFailure
from caas.payment_processing.gateways import GatewayNotConfiguredError, Gateways
from caas.rules.discrepancies import DiscrepancyKind, Resolution

LOOKUP_SECONDS_MAX: Final = 3.0
DIRECT: Final = frozenset({DiscrepancyKind.MISSING_IN_BOOK, DiscrepancyKind.AMOUNT})
"""Kinds whose refund goes to the gateway directly, not through a payment of ours."""
NO_ANSWER: Final = (
    "The gateway gives no usable answer, so it is not known whether it can refund this."
)
NOT_KNOWN: Final = "The gateway does not know this line's transaction."
LESS_LEFT: Final = "The gateway has less left of this line's transaction than would be refunded."
NOT_BESIDE_ITS_PAYMENT: Final = (
    "The gateway does not show that it took this money beside the payment's own."
)


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
    ) -> tuple[frozenset[Resolution], str | None]:
        """Return the resolutions that are possible at the gateway, and why a refund is not."""
        why = await self.refusal(found) if self.narrows(found, offered) else None
        return (offered if why is None else offered - {Resolution.REFUND_THE_CUSTOMER}), why

    async def refusal(self, found: Discrepancy) -> str | None:
        """Return why the gateway cannot refund this now; None if it can."""
        amount, transaction_id = await self.owed(found)
        try:
            async with asyncio.timeout(LOOKUP_SECONDS_MAX):
                known = await self._gateways.named(found.gateway).find(transaction_id or "")
        except GatewayNotConfiguredError as error:
            return error.sentence
        except (GatewayFailure, TimeoutError):
            return NO_ANSWER
        if known is None:
            return NOT_KNOWN
        left = max(known.captured_amount, known.settled_amount) - known.refunded_amount
        if found.kind is not DiscrepancyKind.AMOUNT:
            return None if left >= amount else LESS_LEFT
        if found.payment_id is not None:
            payment = await self._tables.payments.get(found.payment_id)
            left -= payment.captured_amount - payment.refunded_amount
        return None if left >= amount else NOT_BESIDE_ITS_PAYMENT
