"""What lines return of chargebacks, and of refunds that we did not make.

A reversal that is decided before its chargeback finds no loss, and its money is unexplained. When
the loss is known, by a decision or by a bank, the reversal is decided again, so that both cancel
whatever came first (decision 229).

Rules a change must keep: a decision that is made again after a reopening leaves the same balances;
what a decision reversed is noted with it, because reopening takes that back.
"""

from typing import Final
from uuid import UUID

from caas.billing_database import decided_money
from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancies, Discrepancy, Step
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import LOCK_PAYMENT, Refunds
from caas.billing_database.settlement_reports import SettlementReports, StoredLine
from caas.billing_database.tables import BillingDatabase
from caas.payment_processing.chargeback_lines import (
    REFUND_LINE,
    CameBack,
    ChargebackLines,
    Returned,
    dispute_of,
    is_of_refunds,
)
from caas.payment_processing.dispute_losses import DisputeLosses
from caas.payment_processing.dispute_steps import HELD
from caas.reconciliation.decision_notes import DecisionNotes
from caas.reconciliation.validation import since_decided, subject_of
from caas.rules import postings
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.rules.resolutions import plan, reinstated, reversed_, still_posted

CHARGEBACK_LOSS: Final = postings.risk_loss(postings.CHARGEBACK)
EXCESS_LOSS: Final = postings.risk_loss(postings.DISPUTE_EXCESS)
EXCESS: Final = "excess"
RETURNED: Final = "returned"
OWN_LOSS: Final = frozenset({Resolution.ACCEPT_LOSS, Resolution.REINSTATE_THE_PAYMENT})


class Reversals:
    """Reverses disputes as decisions about lines require."""

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
        self._reports = reports
        self._lines = lines
        self._rows = Refunds(tables.database)
        self._notes = DecisionNotes(discrepancies)
        self._losses = DisputeLosses(tables)

    async def reverse(self, discrepancy: Discrepancy, payment: Payment, line: StoredLine) -> None:
        """Reverse the loss of a dispute; what no loss explains is unexplained funds."""

        async def together(back: CameBack, connection: Connection) -> None:
            await self._note(discrepancy, payment, line, back, connection)

        await self._lines.book_reversal(payment, line, together)

    async def take_back(
        self, found: Discrepancy, line: StoredLine, *, within: Connection
    ) -> list[Discrepancy]:
        """Take back what a decision did to disputes, because its discrepancy is reopened.

        Returns the reversals that had returned its loss; they are to be decided again. The last one
        to return some of it left the least, and is taken back first.
        """
        assert found.payment_id is not None, "a dispute is of a payment"
        if line.gross > 0:
            await self._take_back(found, within)
            return []
        last_first = []
        for one in reversed(await decided_money.reversals_of(found, within=within)):
            reversal = await self._discrepancies.get(one.id, within=within)
            returned = await self._returned(reversal, within)
            left = [it.rest for it in returned if it.dispute == dispute_of(line)]
            if left and not one.is_sealed:
                last_first.append((min(left), reversal))
        last_first.sort(key=lambda it: it[0])
        again = [reversal for _, reversal in last_first]
        for reversal in again:
            await self._take_back(reversal, within)
        await self._lines.take_back_loss(found.payment_id, line, within=within)
        return again

    async def decide_again(
        self, found: Discrepancy, resolution: Resolution, because_of: str, *, within: Connection
    ) -> None:
        """Decide a reversal again: another line, or a bank, changed the loss that it returns.

        What it did to disputes is taken back already.
        """
        assert found.payment_id is not None, "a reversal is of a payment"
        line = await self.line_of(found, within)
        assert line is not None, "a reversal is a line"
        payment = await self._tables.payments.get(found.payment_id, within=within)
        posted = still_posted(await self._discrepancies.posted(found.id, within=within))
        decided = plan(subject_of(found, line, payment), resolution)
        step = Step(
            event="resolved",
            status="resolved",
            by="reconciliation",
            facts={"resolution": resolution.value, "because_of": because_of},
            resolution=resolution.value,
            entries=reversed_(posted) + decided.entries,
        )
        await self._discrepancies.step(found.id, step, within=within)
        now = await self._discrepancies.get(found.id, within=within)
        back = await self._lines.reverse(payment, line, within=within)
        await self._note(now, payment, line, back, within)

    async def cancel(
        self, found: Discrepancy, line: StoredLine, *, because_of: str, within: Connection
    ) -> None:
        """Decide the reversals of a payment again that were decided before their loss was known."""
        assert found.payment_id is not None, "a dispute is of a payment"
        await within.execute(LOCK_PAYMENT, found.payment_id)
        sealed = 0
        for one in await decided_money.reversals_of(found, within=within):
            if one.of_none and one.is_sealed:
                sealed += one.of_none
            elif one.of_none and await self._is_known(found.payment_id, line, within):
                reversal = await self._discrepancies.get(one.id, within=within)
                await self._take_back(reversal, within)
                await self.decide_again(
                    reversal, Resolution.REINSTATE_THE_PAYMENT, because_of, within=within
                )
        if sealed and line.gross < 0:
            await self._explain(found, sealed, within)

    async def cancel_earlier(self, gateway: str) -> None:
        """Decide the reversals of a gateway again whose loss a bank has reported since then."""
        for reversal_id in await decided_money.earlier_reversals(self._tables.database, gateway):

            async def together(connection: Connection, one: UUID = reversal_id) -> None:
                found = await self._discrepancies.get(one, within=connection)
                line = await self.line_of(found, connection)
                assert line is not None, "a reversal is a line"
                await self.cancel(found, line, because_of="dispute", within=connection)

            await self._tables.database.in_transaction(together)

    async def line_of(self, found: Discrepancy, within: Connection) -> StoredLine | None:
        """Return the line of a discrepancy, if it has one."""
        if found.report_id is None or found.line_no is None:
            return None
        return await self._reports.line(found.report_id, found.line_no, within=within)

    async def _is_known(self, payment_id: UUID, line: StoredLine, within: Connection) -> bool:
        """Return whether banks hold money of a line's family, or returned more than lines did."""
        of_refunds = is_of_refunds(line)
        totals = await self._rows.lines_and_disputes(
            (payment_id, line.currency), of_refunds=of_refunds, within=within
        )
        return totals.back > totals.lines_back or any(
            it.state in HELD
            and it.claimed_currency == line.currency
            and (it.origin == REFUND_LINE) == of_refunds
            for it in await self._rows.disputes_of(payment_id, within=within)
        )

    async def _take_back(self, reversal: Discrepancy, within: Connection) -> None:
        assert reversal.payment_id is not None, "a reversal is of a payment"
        returned = await self._returned(reversal, within)
        await self._lines.take_back_reversal(reversal.payment_id, returned, within=within)

    async def _returned(self, reversal: Discrepancy, within: Connection) -> list[Returned]:
        """Return what the decision that stands reversed of disputes."""
        events = since_decided(await self._discrepancies.events(reversal.id, within=within))
        return [Returned(*it) for event in events for it in event.facts.get(RETURNED, ())]

    async def _explain(self, found: Discrepancy, sealed: int, within: Connection) -> None:
        """Take a loss back by what a reversal of a sealed day left unexplained."""
        assert found.payment_id is not None, "a dispute is of a payment"
        about = (found.payment_id, found.currency)
        for account in (reinstated(found.kind), EXCESS_LOSS):
            left = -await decided_money.lost(*about, postings.UNEXPLAINED_FUNDS, within=within)
            lost = await decided_money.lost(*about, account, within=within)
            part = min(sealed, left, lost)
            if part > 0:
                now = await self._discrepancies.get(found.id, within=within)
                entry = postings.Entry(postings.UNEXPLAINED_FUNDS, account, part)
                await self._notes.note(now, (entry,), {"explained": part}, within)
                sealed -= part

    async def _note(
        self,
        discrepancy: Discrepancy,
        payment: Payment,
        line: StoredLine,
        back: CameBack,
        within: Connection,
    ) -> None:
        """Note what a decision reversed, and post what no loss explains."""
        if back.returned:
            await self._notes.post_once(
                discrepancy, (), {RETURNED: [list(it) for it in back.returned]}, within
            )
        if back.of_none:
            entries = postings.dispute_reversed(back.of_none)
            facts = {"reversal": f"{line.report_id}:{line.line_no}", "amount": back.of_none}
            await self._notes.post_once(discrepancy, entries, facts, within)
        entries = postings.moved(CHARGEBACK_LOSS, of_excess(discrepancy), back.excess)
        if entries:
            await self._notes.post_once(discrepancy, entries, {EXCESS: back.excess}, within)
        await self._losses.balance(payment, within=within)


def of_excess(discrepancy: Discrepancy) -> str:
    """Return the account from which the plan's loss of the chargeback takes the excess back."""
    own = discrepancy.resolution in OWN_LOSS
    if own and discrepancy.kind is not DiscrepancyKind.REFUND_MISMATCH:
        return CHARGEBACK_LOSS
    return reinstated(discrepancy.kind) if own else EXCESS_LOSS
