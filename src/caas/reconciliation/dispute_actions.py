"""Books disputes that a decision about a line requires, and what exceeds the payment.

A plan moves the whole amount of a line from or to the loss of its chargeback. The dispute books
only what the payment received there; the excess is a loss of its own. So the action moves the
excess to where the decision puts it.

Rule a change must keep: reopening takes back what a decision did to disputes (decision 229).
"""

from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancies, Discrepancy
from caas.billing_database.payments import Payment
from caas.billing_database.settlement_reports import SettlementReports, StoredLine
from caas.billing_database.tables import BillingDatabase
from caas.payment_processing.chargeback_lines import ChargebackLines
from caas.payment_processing.dispute_losses import DisputeLosses
from caas.reconciliation.decision_notes import DecisionNotes
from caas.reconciliation.reversals import CHARGEBACK_LOSS, EXCESS, Reversals, of_excess
from caas.reconciliation.validation import since_decided
from caas.rules import postings
from caas.rules.discrepancies import DiscrepancyKind, Resolution

OF_DISPUTES = frozenset(
    {
        DiscrepancyKind.CHARGEBACK,
        DiscrepancyKind.CHARGEBACK_REVERSAL,
        DiscrepancyKind.REFUND_MISMATCH,
    }
)


class DisputeActions:
    """Loses and reverses disputes as decisions require, and takes that back."""

    def __init__(
        self,
        tables: BillingDatabase,
        discrepancies: Discrepancies,
        reports: SettlementReports,
        lines: ChargebackLines,
    ) -> None:
        """Use these tables."""
        self._tables = tables
        self._discrepancies = discrepancies
        self._lines = lines
        self._notes = DecisionNotes(discrepancies)
        self._losses = DisputeLosses(tables)
        self._reversals = Reversals(tables, discrepancies, reports, lines)

    async def lose(self, discrepancy: Discrepancy, payment: Payment, line: StoredLine) -> bool:
        """Lose the dispute of a line; False if its payment is not known."""
        if not await self._lines.book_chargeback(payment, line):
            return False

        async def together(connection: Connection) -> None:
            await self._move_excess(discrepancy, payment, line, connection)
            await self._reversals.cancel(
                discrepancy, line, because_of=_named(line), within=connection
            )
            await self._losses.balance(payment, within=connection)

        await self._tables.database.in_transaction(together)
        return True

    async def _move_excess(
        self, discrepancy: Discrepancy, payment: Payment, line: StoredLine, connection: Connection
    ) -> None:
        """Move the excess of a dispute to where its decision puts it; what fits by now goes back.

        Once some of the dispute came back, the reversal has moved its excess.
        """
        now = await self._discrepancies.get(discrepancy.id, within=connection)
        dispute = await self._lines.booked_by(payment.id, line, within=connection)
        if dispute is None:
            return
        events = since_decided(await self._discrepancies.events(now.id, within=connection))
        moved = [it.facts for it in events if EXCESS in it.facts]
        if moved and moved[-1]["back"] != dispute.back:
            return
        more = dispute.excess - sum(it[EXCESS] for it in moved)
        source, target = of_excess(now), CHARGEBACK_LOSS
        entries = (
            postings.moved(source, target, more) if more > 0
            else postings.moved(target, source, -more)
        )  # fmt: skip
        if entries:
            facts = {EXCESS: more, "back": dispute.back}
            await self._notes.note(now, entries, facts, connection)

    async def reverse(self, discrepancy: Discrepancy, payment: Payment, line: StoredLine) -> None:
        """Reverse the loss of a dispute; what no loss explains is unexplained funds."""
        await self._reversals.reverse(discrepancy, payment, line)

    async def take_back(self, found: Discrepancy, *, within: Connection) -> list[Discrepancy]:
        """Take back what a decision did to disputes, because its discrepancy is reopened.

        Returns the reversals that had returned its loss; `decide_again` is for them afterwards.
        """
        line = await self._reversals.line_of(found, within)
        decided = found.kind in OF_DISPUTES and found.resolution in set(Resolution)
        if line is None or found.payment_id is None or not decided:
            return []
        return await self._reversals.take_back(found, line, within=within)

    async def decide_again(
        self, reversals: list[Discrepancy], because: Discrepancy, *, within: Connection
    ) -> None:
        """Decide these reversals again as they were decided, because a loss was taken back.

        Then the losses of the payment are balanced, also if there is no reversal.
        """
        line = f"{because.report_id}:{because.line_no}"
        for found in reversals:
            assert found.resolution is not None, "it was decided"
            decided = Resolution(found.resolution)
            await self._reversals.decide_again(found, decided, line, within=within)
        if because.payment_id is not None and because.kind in OF_DISPUTES:
            payment = await self._tables.payments.get(because.payment_id, within=within)
            await self._losses.balance(payment, within=within)


def _named(line: StoredLine) -> str:
    return f"{line.report_id}:{line.line_no}"
