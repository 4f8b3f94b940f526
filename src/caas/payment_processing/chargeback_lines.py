"""Chargebacks in settlement reports, and refunds that we did not make: lines without a dispute id.

A line names no dispute. Providers that amend a dispute book the difference as another line, or
reverse the first line and book another; others book each dispute once. So the lines and disputes of
a payment are compared by their totals, never one by one: a line books only what no dispute covers
yet, and a dispute that is reported with an id afterwards takes over what lines booked before.

Rules a change must keep: in any order, the booked total is the larger of the lines' and the
disputes' totals; a line that is applied twice counts once.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from caas.billing_database.connection import Connection
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Dispute
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.settlement_reports import StoredLine
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.jobs import Done
from caas.payment_processing.dispute_steps import HELD, coming_back
from caas.payment_processing.disputes import CHARGEBACK_LINE, Disputes

REFUND_LINE: Final = "refund line"
CHARGEBACKS: Final = frozenset({"chargeback", "chargeback_reversal"})


class CameBack(msgspec.Struct, frozen=True):
    """What a line returned: the part that belongs to no dispute, and the excess of disputes."""

    of_none: int
    excess: int


class ChargebackLines:
    """Books chargebacks and reversals that settlement reports list."""

    def __init__(self, tables: BillingDatabase) -> None:
        self._tables = tables
        self._disputes = Disputes(tables)
        self._rows = RefundRows(tables.database)

    async def book_chargeback(self, payment: Payment, line: StoredLine) -> bool:
        """Book the part of a line that no dispute covers yet; False if its payment is unknown."""
        reported = _as_dispute(payment, line)
        if line.type not in CHARGEBACKS:
            return await self._lost(payment, reported, REFUND_LINE)
        known = await self._disputes.of(payment)
        if any(it.id == reported.id for it in known):
            return True
        totals = await self._rows.lines_and_disputes((payment.id, line.currency))
        if totals.unreported > 0:
            return await self._lost(
                payment, replace(reported, amount=min(reported.amount, totals.unreported)),
                CHARGEBACK_LINE,
            )  # fmt: skip
        claimed = (reported.amount, line.currency)
        alike = [it for it in known if (it.claimed_amount, it.claimed_currency) == claimed
                 and it.state == "opened"]  # fmt: skip
        return not alike or await self._lost(
            payment, replace(reported, id=alike[0].id), alike[0].origin
        )

    async def excess_of(self, payment: Payment, line: StoredLine) -> int:
        """Return what the dispute of a line took beyond what the payment received."""
        dispute_id = _as_dispute(payment, line).id
        return sum(it.excess for it in await self._disputes.of(payment) if it.id == dispute_id)

    async def book_reversal(
        self,
        payment: Payment,
        line: StoredLine,
        booked: Callable[[CameBack, Connection], Awaitable[None]],
    ) -> None:
        """Reverse the losses that a line returns; `booked` is called in the same commit."""

        async def together(connection: Connection) -> CameBack:
            held = await self._held(payment, line, connection)
            totals = await self._rows.lines_and_disputes(
                (payment.id, line.currency), of_refunds=line.type not in CHARGEBACKS,
                within=connection,
            )  # fmt: skip
            left = min(line.gross, totals.reversals_unreported)
            for one in sorted(held, key=lambda it: _nearest(it, line)):
                part = min(one.claimed_amount, left)
                if part > 0:
                    await self._comes_back(payment, one, part, connection)
                    left -= part
            still = await self._held(payment, line, connection)
            excess = sum(it.excess for it in held) - sum(it.excess for it in still)
            await self._disputes.fit_again(payment.id, within=connection)
            return CameBack(left, max(excess, 0))

        async def watched(connection: Connection) -> None:
            async with self._disputes.cancelled_sales.watched(payment.id, within=connection):
                back = await together(connection)
            await booked(back, connection)

        await self._tables.database.in_transaction(watched)

    async def _held(
        self, payment: Payment, line: StoredLine, connection: Connection
    ) -> list[Dispute]:
        """Return the disputes, of the line's family, whose money banks hold."""
        of_refunds = line.type not in CHARGEBACKS
        return [
            it for it in await self._rows.disputes_of(payment.id, within=connection)
            if it.state in HELD and it.claimed_currency == line.currency
            and (it.origin == REFUND_LINE) == of_refunds
        ]  # fmt: skip

    async def _comes_back(
        self, payment: Payment, one: Dispute, part: int, connection: Connection
    ) -> None:
        if part < one.claimed_amount:
            rest = one.claimed_amount - part
            await self._disputes.amended(payment, one, one.reported_at, rest, connection)
            return
        await self._disputes.step(payment, one, coming_back(one), connection)

    async def _lost(self, payment: Payment, reported: GatewayDispute, origin: str) -> bool:
        answer = await self._disputes.on_event(payment.gateway, reported, origin=origin)
        return isinstance(answer, Done)


def _as_dispute(payment: Payment, line: StoredLine) -> GatewayDispute:
    return GatewayDispute(
        id=f"line:{line.report_id}:{line.line_no}",
        transaction_id=payment.gateway_transaction_id or "",
        amount=abs(line.gross),
        currency=line.currency,
        status=DisputeStatus.LOST,
        reason=f"{line.type} in a settlement report",
    )


def _nearest(dispute: Dispute, line: StoredLine) -> tuple[bool, bool, bool]:
    """Order disputes by how well a line fits them: its amount, lost, without an id."""
    return (
        dispute.claimed_amount != line.gross,
        dispute.state != "lost",
        dispute.gateway_dispute_id is not None,
    )
