"""Explains what decisions left of the settlement of a payment (decision 276).

A decision posts entries and may ask the payment for a step. Where the payment was beyond that step,
where lines came in another order than decisions, or a bank took back what was given up, money would
hang on a clearing account. So after every decision, reopening and report about a decided payment,
what needs an explanation now is compared with what was explained before, and the difference is
posted. Called twice, it posts nothing the second time.

Rules a change must keep: it is called in the commit of what changes a decided payment, or in that
of the job which carries a decision out; what a reopened decision explained is reversed with its
other entries; nothing is posted for a sealed day (decision 270).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from caas.billing_database import settlement_positions
from caas.billing_database.connection import Connection
from caas.billing_database.decided_money import settlement_losses
from caas.billing_database.discrepancies import Discrepancies, Step
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import LOCK_PAYMENT
from caas.billing_database.settlement_positions import FoundPosition, StandingDecision
from caas.billing_database.tables import BillingDatabase
from caas.payment_processing.dispute_losses import BY, balance_late
from caas.rules import postings
from caas.rules.discrepancies import DiscrepancyKind
from caas.rules.dispute_losses import entries_of
from caas.rules.settlement_positions import SettlementPosition, explained

WRITTEN_OFF: Final = "write_off"
LOSING: Final = frozenset({
    DiscrepancyKind.PARTIAL_SETTLEMENT, DiscrepancyKind.FAILED_SETTLEMENT,
    DiscrepancyKind.DELAYED_SETTLEMENT, DiscrepancyKind.MISSING_AT_GATEWAY,
})  # fmt: skip
"""Kinds of a decision whose cause a loss of the settlement has."""


class SettlementPositions:
    """Explains the positions of payments."""

    def __init__(self, tables: BillingDatabase) -> None:
        """Use these tables."""
        self._tables = tables
        self._discrepancies = Discrepancies(tables.database)

    async def explain(
        self, payment_id: UUID | None, *, because: UUID | None = None, within: Connection
    ) -> None:
        """Post what explains the position of a payment, if any; nothing, if that is explained.

        It is posted with the decision `because`, if that stands and its day may change.
        """
        if payment_id is None:
            return
        await within.execute(LOCK_PAYMENT, payment_id)
        payment = await self._tables.payments.get(payment_id, within=within)
        now = await settlement_positions.position_of(payment_id, within=within)
        if now is None or now.is_open:
            return
        about = (payment_id, payment.currency)
        decided = await settlement_positions.standing_decisions(*about, within=within)
        before = Counter(settlement_positions.explained_by(decided))
        losses = Counter(await settlement_losses(*about, within=within))
        moved = Counter(explained(_beside(now, losses, before), _lost_as(decided, because)))
        moved.subtract(before)
        facts = {"position": {account: amount for account, amount in moved.items() if amount}}
        if facts["position"]:
            await self._post(payment, decided, because, facts, within)

    async def explain_report(
        self, gateway: str, report_id: UUID, rejudged: Iterable[str | None]
    ) -> None:
        """Explain the positions that a report's lines, or lines judged again, may have changed."""
        async with self._tables.database.transaction() as connection:
            changed = set(
                await settlement_positions.changed_by(gateway, report_id, within=connection)
            )
            changed |= {UUID(it) for it in rejudged if it}
            for payment_id in sorted(changed):
                await self.explain(payment_id, within=connection)

    async def _post(
        self,
        payment: Payment,
        decided: Sequence[StandingDecision],
        because: UUID | None,
        facts: dict[str, dict[str, int]],
        within: Connection,
    ) -> None:
        entries = entries_of(facts["position"])
        open_ = [it for it in decided if not it.is_sealed and it.resolution != "itself"]
        if not open_:
            kind = DiscrepancyKind.FAILED_SETTLEMENT
            day = await settlement_positions.last_sealed(payment.gateway, within=within)
            await balance_late(
                self._discrepancies, payment, kind, day, entries, facts, within=within
            )
            return
        chosen = next((it for it in open_ if it.id == because), open_[-1])
        now = await self._discrepancies.get(chosen.id, within=within)
        step = Step(
            event="noted", status=now.status, by=BY, facts=facts, resolution=now.resolution,
            entries=entries,
        )  # fmt: skip
        await self._discrepancies.step(now.id, step, within=within)


def _beside(now: FoundPosition, losses: Counter[str], before: Counter[str]) -> SettlementPosition:
    """Return a position without what was explained before."""
    losses.subtract({it: before[it] for it in postings.SETTLEMENT_LOSSES if before[it]})
    return SettlementPosition(
        settled_funds=now.settled_funds - before[postings.SETTLED_FUNDS],
        receivable=now.receivable - before[postings.GATEWAY_RECEIVABLE],
        waits=now.waits,
        due=now.due,
        losses=dict(losses),
    )


def _lost_as(decided: Sequence[StandingDecision], because: UUID | None) -> str:
    """Return the account of what is lacking: by the cause of the decision, or else the last one."""
    losing = [it for it in decided if it.kind in LOSING]
    if not losing:
        return postings.risk_loss(DiscrepancyKind.FAILED_SETTLEMENT.value)
    chosen = next((it for it in losing if it.id == because), losing[-1])
    is_off = chosen.resolution == WRITTEN_OFF
    return postings.risk_loss(WRITTEN_OFF if is_off else chosen.kind.value)
