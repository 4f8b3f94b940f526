"""Keeps each loss of a payment by disputes at zero or more (decision 232).

Whatever changes a dispute, or a decision about its line, ends here: what the decisions that stand
moved before is compared with what the losses need now, and the difference is posted. Called twice,
it posts nothing the second time.

Rule a change must keep: what a reopened decision moved is reversed with its other entries, and
counts no more.
"""

from collections import Counter
from uuid import UUID

from caas.billing_database import decided_money
from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancies
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import LOCK_PAYMENT
from caas.billing_database.tables import BillingDatabase
from caas.jobs import Answer, Done
from caas.reconciliation.decision_notes import DecisionNotes
from caas.rules.dispute_losses import CAUSES, EXCESS, balanced, entries_of


class DisputeLosses:
    """Balances the losses of payments by disputes."""

    def __init__(self, tables: BillingDatabase, discrepancies: Discrepancies) -> None:
        """Use these tables."""
        self._tables = tables
        self._discrepancies = discrepancies
        self._notes = DecisionNotes(discrepancies)

    async def balance(self, payment: Payment, *, within: Connection) -> None:
        """Post what brings the losses to zero or more, with a decision of a day that may change."""
        await within.execute(LOCK_PAYMENT, payment.id)
        about = (payment.id, payment.currency)
        decided = await decided_money.decided_lines(*about, within=within)
        open_ones = [it for it in decided if not it.is_sealed]
        if not open_ones:
            return
        before: Counter[str] = Counter()
        for one in decided:
            before.update(one.balanced)
        losses = {
            account: await decided_money.lost(*about, account, within=within) - before[account]
            for account in (*CAUSES, EXCESS)
        }
        moved = Counter(balanced(losses))
        moved.subtract(before)
        entries = entries_of(moved)
        if entries:
            now = await self._discrepancies.get(open_ones[0].id, within=within)
            facts = {"balanced": {account: amount for account, amount in moved.items() if amount}}
            await self._notes.note(now, entries, facts, within)

    async def due(self, job: Job) -> Answer:
        """Balance the losses of a payment whose bank changed a dispute."""

        async def together(connection: Connection, payment_id: UUID = job.subject) -> None:
            payment = await self._tables.payments.get(payment_id, within=connection)
            await self.balance(payment, within=connection)

        await self._tables.database.in_transaction(together)
        return Done()
