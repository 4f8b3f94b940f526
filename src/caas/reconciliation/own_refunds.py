"""Lines that bring back refunds which we made (decision 290).

Rules a change must keep: such a decision does what the gateway's notice of the failed refund does,
once in either order; its line accounts for the money as a matched line does; it stands.
"""

from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import LOCK_PAYMENT, Refunds
from caas.billing_database.returned_refunds import (
    NO_REFUND,
    ReturnedByLine,
    by_line,
    was_returned_by,
)
from caas.billing_database.settlement_reports import SettlementReports, StoredLine
from caas.billing_database.tables import BillingDatabase
from caas.errors import ConflictError
from caas.payment_processing.returned_refunds import ReturnedRefunds
from caas.reconciliation.validation import refuse_reopening
from caas.rules.discrepancies import DiscrepancyKind, Resolution


class RefundReturnedError(ConflictError):
    """This decision ended a refund that came back. What is owed is refunded again, not reopened."""

    code = "refund_returned"


class OwnRefunds:
    """Takes refunds of ours back that lines return."""

    def __init__(
        self, tables: BillingDatabase, reports: SettlementReports, returned: ReturnedRefunds
    ) -> None:
        """Use these tables; `returned` ends the refund of the payment."""
        self._tables = tables
        self._rows = Refunds(tables.database)
        self._reports = reports
        self._returned = returned

    async def of(
        self,
        found: Discrepancy,
        line: StoredLine | None,
        payment: Payment | None,
        *,
        within: Connection | None,
    ) -> ReturnedByLine:
        """Return what refunds of ours a line may return; locks the payment in a transaction."""
        of_refund = found.kind is DiscrepancyKind.REFUND_MISMATCH
        if not of_refund or line is None or payment is None or line.gross <= 0:
            return NO_REFUND
        if within is not None:
            await within.execute(LOCK_PAYMENT, payment.id)
        by = within or self._tables.database
        return await by_line(payment.id, line.gross, line.currency, by=by)

    async def take_back(self, found: Discrepancy, *, within: Connection) -> None:
        """End the one refund that a line returns, in the commit of the decision."""
        assert found.report_id is not None, "a refund that returns has a line"
        assert found.line_no is not None, "a refund that returns has a line"
        line = await self._reports.line(found.report_id, found.line_no, within=within)
        assert line is not None, "a discrepancy's line is stored before it"
        assert found.payment_id is not None, "a refund is of a payment"
        back = await by_line(found.payment_id, line.gross, line.currency, by=within)
        if back.is_known:
            return
        refund = await self._rows.get(back.refunds[0], within=within)
        assert refund is not None, "it was read in this transaction"
        await self._returned.take_back_by(_named(found), refund, within=within)

    async def refuse_reopening(self, found: Discrepancy, *, within: Connection) -> None:
        """Check that a decision can be taken back, and ended no refund.

        Raises:
            NotResolvedError, BalancedByItselfError, RefundMadeError, RefundOnItsWayError: as in
                `validation`.
            RefundReturnedError: it ended a refund.
        """
        await refuse_reopening(found, within=within)
        if (
            found.resolution == Resolution.REINSTATE_THE_PAYMENT
            and found.payment_id is not None
            and await was_returned_by(found.payment_id, _named(found), within=within)
        ):
            raise RefundReturnedError(discrepancy=str(found.id))


def _named(found: Discrepancy) -> str:
    return f"{found.report_id}:{found.line_no}"
