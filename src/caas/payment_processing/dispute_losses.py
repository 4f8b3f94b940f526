"""Keeps each loss of a payment by disputes at zero or more (decision 232).

Whatever changes a dispute, or a decision about its line, ends here, in the same commit: what the
decisions that stand moved before is compared with what the losses need now, and the difference is
posted. Called twice, it posts nothing the second time.

Rules a change must keep: what a reopened decision moved is reversed with its other entries, and
counts no more; nothing is posted for a sealed day (decision 270).
"""

from collections import Counter
from datetime import date
from typing import Final

from caas.billing_database import decided_money
from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancies, NewDiscrepancy, Step
from caas.billing_database.identifiers import derived_id
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import LOCK_PAYMENT
from caas.billing_database.tables import BillingDatabase
from caas.rules.discrepancies import DiscrepancyKind
from caas.rules.dispute_losses import CAUSES, EXCESS, balanced, entries_of
from caas.rules.postings import Entry

BY: Final = "reconciliation"


class DisputeLosses:
    """Balances the losses of payments by disputes."""

    def __init__(self, tables: BillingDatabase) -> None:
        """Use these tables."""
        self._discrepancies = Discrepancies(tables.database)

    async def balance(self, payment: Payment, *, within: Connection) -> None:
        """Post what brings the losses to zero or more, on a day that may change."""
        await within.execute(LOCK_PAYMENT, payment.id)
        about = (payment.id, payment.currency)
        decided = await decided_money.decided_lines(*about, within=within)
        if not decided:
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
        if not entries:
            return
        facts = {"balanced": {account: amount for account, amount in moved.items() if amount}}
        still_open = [it for it in decided if not it.is_sealed]
        if still_open:
            now = await self._discrepancies.get(still_open[0].id, within=within)
            step = Step(
                event="noted", status=now.status, by=BY, facts=facts, resolution=now.resolution,
                entries=entries,
            )  # fmt: skip
            await self._discrepancies.step(now.id, step, within=within)
        else:
            sealed = max(it.day for it in decided)
            kind = DiscrepancyKind.CHARGEBACK
            await balance_late(
                self._discrepancies, payment, kind, sealed, entries, facts, within=within
            )


async def balance_late(
    discrepancies: Discrepancies,
    payment: Payment,
    kind: DiscrepancyKind,
    sealed: date,
    entries: tuple[Entry, ...],
    facts: dict[str, dict[str, int]],
    *,
    within: Connection,
) -> None:
    """Post on the next day that is not sealed, in a discrepancy that names the sealed one."""
    day = await decided_money.next_open_day(payment.gateway, sealed, within=within)
    about = (payment.id, day) if kind is DiscrepancyKind.CHARGEBACK else (payment.id, day, kind)
    found = NewDiscrepancy(
        id=derived_id("discrepancy", "balance", *about),
        gateway=payment.gateway,
        day=day,
        kind=kind,
        amount=sum(entry.amount for entry in entries),
        currency=payment.currency,
        payment_id=payment.id,
        report_id=None,
        line_no=None,
        due_on=day,
        missing_from=None,
        facts={"late_of": sealed.isoformat()},
    )
    await discrepancies.open([found], within=within)
    step = Step(
        event="resolved itself", status="resolved", by=BY, facts=facts, resolution="itself",
        entries=entries,
    )  # fmt: skip
    await discrepancies.step(found.id, step, within=within)
