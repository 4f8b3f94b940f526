"""What a bank gives back of a sale that was undone: it is the customer's, and is promised again.

While a bank holds the money of a withdrawal, a lost reservation, a refused order or a service that
a refund ended, the customer has it from their bank and nothing is refunded. When the dispute is won
or reversed, the money is with us again and is owed again.

Rules a change must keep: what comes back and what is promised of it are one commit, under the lock
of the payment; never more is promised than came back, because a person may have settled the rest.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from caas.billing_database import cancelled_sales
from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import derived_id
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.tables import BillingDatabase
from caas.payment_processing.covered_notes import PROMISED
from caas.service_catalog.subscriptions import CREDIT_WITHDRAWN

REQUESTED_BY: Final = "payment-processing"


class CancelledSales:
    """Promises again what disputes gave back."""

    def __init__(self, tables: BillingDatabase, rows: RefundRows) -> None:
        """Promise in these books."""
        self._tables = tables
        self._rows = rows

    @asynccontextmanager
    async def watched(self, payment_id: UUID, *, within: Connection) -> AsyncIterator[None]:
        """Promise what banks hold less of a payment afterwards than before; locks the payment."""
        await self._rows.given_back(payment_id, within=within)
        before = await cancelled_sales.held_by_banks(within, payment_id)
        yield
        after = await cancelled_sales.held_by_banks(within, payment_id)
        back = {one: before.get(one, 0) - after.get(one, 0) for one in before | after}
        if sum(back.values()) > 0:
            await self._owed_again(payment_id, back, within)

    async def _owed_again(self, payment_id: UUID, back: dict[str, int], within: Connection) -> None:
        undone = await cancelled_sales.of_payment(within, payment_id)
        if undone.subscription is not None:
            await self._tables.jobs.add(CREDIT_WITHDRAWN, undone.subscription, within=within)
        if undone.reason is None:
            return
        waiting = await cancelled_sales.promised_rest(within, payment_id)
        for subject in waiting:  # a worker that looked before this commit does not end it
            await self._tables.jobs.add(PROMISED, subject, within=within)
        payment = await self._tables.payments.get(payment_id, within=within)
        given_back = await self._rows.given_back(payment_id, within=within)
        only = back.keys() if undone.only is None else back.keys() & undone.only
        came_back = min(sum(back[one] for one in only), sum(back.values()))
        owed = min(came_back, payment.captured_amount - given_back)
        if waiting or owed <= 0:
            return
        key = f"{undone.reason}:again:{payment.version}"
        promised = {"payment": str(payment_id), "amount": owed, "reason": undone.reason,
                    "key": key, "requested_by": REQUESTED_BY}  # fmt: skip
        await self._tables.jobs.add(
            PROMISED, derived_id(payment_id, PROMISED, key), payload=promised, within=within
        )
