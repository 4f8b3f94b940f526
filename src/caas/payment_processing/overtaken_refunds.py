"""Refunds that wait, and whose money is gone before they are sent: to a bank, or never paid by one.

What is left of the money is promised again; the rest is not paid a second time, and where a credit
note named it, a loss covers it.

Rule a change must keep: a refund that ends so, what is promised again and what is covered are one
commit.
"""

from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import derived_id
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.tables import BillingDatabase
from caas.payment_processing.covered_notes import PROMISED, CoveredNotes
from caas.payment_processing.refund_calls import REFUND

OVERTAKEN: Final = "a dispute took the money before the refund was sent"


class OvertakenRefunds:
    """Ends refunds that cannot be sent any more."""

    def __init__(self, tables: BillingDatabase, rows: RefundRows) -> None:
        """End them in these rows."""
        self._tables = tables
        self._rows = rows
        self._covered = CoveredNotes(tables)

    async def give_way(self, refund: Refund, reconciliation: int, *, within: Connection) -> None:
        """Let a dispute have the money; what it leaves is promised. The payment is locked."""
        await self._rows.set(refund.id, "failed", failed_because=OVERTAKEN, within=within)
        await self._covered.cover(
            refund.payment_id, refund.reason, refund.amount - reconciliation, within=within
        )
        if not reconciliation:
            return
        key = f"{refund.id}:rest"
        promised = {
            "payment": str(refund.payment_id),
            "amount": reconciliation,
            "reason": refund.reason,
            "key": key,
            "requested_by": refund.requested_by,
        }
        subject = derived_id(refund.payment_id, PROMISED, key)
        await self._tables.jobs.add(PROMISED, subject, payload=promised, within=within)

    async def never_came(self, payment: Payment, refund: Refund) -> None:
        """End a refund of a payment that brought no money after all."""

        async def together(connection: Connection) -> None:
            await self._rows.given_back(payment.id, within=connection)
            await self._end(payment, refund, connection)

        await self._tables.database.in_transaction(together)

    async def none_came(self, payment: Payment, *, within: Connection) -> None:
        """End every refund that waits, as the bank takes the money of the payment, which is locked.

        The customer has paid nothing, so nothing is owed; a term that a refund ended stays ended.
        """
        for refund in await self._rows.of_payment(payment.id, within=within):
            if refund.state == "waiting":
                await self._end(payment, refund, within)
                await self._tables.jobs.end(REFUND, refund.id, within=within)

    async def _end(self, payment: Payment, refund: Refund, connection: Connection) -> None:
        because = f"the payment is {payment.state}"
        if await self._rows.set(refund.id, "failed", failed_because=because, within=connection):
            await self._covered.cover(payment.id, refund.reason, refund.amount, within=connection)
