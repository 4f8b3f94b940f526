"""Books disputes that a decision about a line requires, and what exceeds the payment.

A plan moves the whole amount of a line from or to the loss of its chargeback. The dispute books
only what the payment received there; the excess is a loss of its own. So the action moves the
excess to where the decision puts it.

Rule a change must keep: a decision that is made again after a reopening leaves the same balances.
"""

from typing import Final

from caas.billing_database import decided_money
from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancies, Discrepancy
from caas.billing_database.payments import Payment
from caas.billing_database.settlement_reports import StoredLine
from caas.billing_database.tables import BillingDatabase
from caas.payment_processing.chargeback_lines import CameBack, ChargebackLines
from caas.reconciliation.decision_notes import DecisionNotes
from caas.rules import postings
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.rules.resolutions import reinstated

CHARGEBACK_LOSS: Final = postings.risk_loss(postings.CHARGEBACK)
EXCESS_LOSS: Final = postings.risk_loss(postings.DISPUTE_EXCESS)
EXCESS: Final = "excess"
OWN_LOSS: Final = frozenset({Resolution.ACCEPT_LOSS, Resolution.REINSTATE_THE_PAYMENT})


class DisputeActions:
    """Loses and reverses disputes as decisions require."""

    def __init__(
        self, tables: BillingDatabase, discrepancies: Discrepancies, lines: ChargebackLines
    ) -> None:
        """Use these tables."""
        self._tables = tables
        self._discrepancies = discrepancies
        self._lines = lines
        self._notes = DecisionNotes(discrepancies)

    async def lose(self, discrepancy: Discrepancy, payment: Payment, line: StoredLine) -> bool:
        """Lose the dispute of a line; False if its payment is not known."""
        if not await self._lines.book_chargeback(payment, line):
            return False
        excess = await self._lines.excess_of(payment, line)

        async def together(connection: Connection) -> None:
            entries = postings.moved(_of_excess(discrepancy), CHARGEBACK_LOSS, excess)
            await self._post_excess(discrepancy, entries, excess, connection)

        await self._tables.database.in_transaction(together)
        return True

    async def reverse(self, discrepancy: Discrepancy, payment: Payment, line: StoredLine) -> None:
        """Reverse the loss of a dispute; what no loss explains is unexplained funds."""

        async def together(back: CameBack, connection: Connection) -> None:
            if back.of_none:
                entries = postings.dispute_reversed(back.of_none)
                facts = {"reversal": f"{line.report_id}:{line.line_no}", "amount": back.of_none}
                await self._notes.post_once(discrepancy, entries, facts, connection)
            excess = back.excess or await self._noted_before(discrepancy, connection)
            entries = postings.moved(CHARGEBACK_LOSS, _of_excess(discrepancy), excess)
            await self._post_excess(discrepancy, entries, excess, connection)
            if discrepancy.resolution == Resolution.REINSTATE_THE_PAYMENT:
                for account in {reinstated(discrepancy.kind), EXCESS_LOSS}:
                    await self._keep_above_zero(discrepancy, payment, account, connection)

        await self._lines.book_reversal(payment, line, together)

    async def _post_excess(
        self,
        discrepancy: Discrepancy,
        entries: tuple[postings.Entry, ...],
        excess: int,
        connection: Connection,
    ) -> None:
        if entries:
            await self._notes.post_once(discrepancy, entries, {EXCESS: excess}, connection)

    async def _noted_before(self, discrepancy: Discrepancy, connection: Connection) -> int:
        """Return the excess that the dispute gave back by an earlier decision about this line."""
        events = await self._discrepancies.events(discrepancy.id, within=connection)
        return next((it.facts[EXCESS] for it in reversed(events) if EXCESS in it.facts), 0)

    async def _keep_above_zero(
        self, discrepancy: Discrepancy, payment: Payment, account: str, connection: Connection
    ) -> None:
        """Move what came back beyond the payment's loss, or its claim's, to unexplained funds."""
        now = await self._discrepancies.get(discrepancy.id, within=connection)
        lost = await decided_money.lost(payment.id, account, payment.currency, within=connection)
        if lost < 0:
            entry = postings.Entry(account, postings.UNEXPLAINED_FUNDS, -lost)
            await self._notes.note(now, (entry,), {"unexplained": -lost}, connection)


def _of_excess(discrepancy: Discrepancy) -> str:
    """Return the account from which the plan's loss of the chargeback takes the excess back."""
    own = discrepancy.resolution in OWN_LOSS
    if own and discrepancy.kind is not DiscrepancyKind.REFUND_MISMATCH:
        return CHARGEBACK_LOSS
    return reinstated(discrepancy.kind) if own else EXCESS_LOSS
