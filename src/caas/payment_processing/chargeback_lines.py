"""Chargebacks in settlement reports, and refunds that we did not make: lines without a dispute id.

A line names no dispute. Providers that amend a dispute book the difference as another line, or
reverse the first line and book another; others book each dispute once. So the lines and disputes of
a payment are compared by their totals, never one by one: a line books only what no dispute covers
yet, and a dispute that is reported with an id afterwards takes over what lines booked before.

Rules a change must keep: in any order, the booked total is the larger of the lines' and the
disputes' totals; a line that is applied twice counts once.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from caas.billing_database.connection import Connection
from caas.billing_database.decided_money import unexplained_refunds
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import LOCK_PAYMENT, Dispute
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.settlement_reports import StoredLine
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.jobs import Done
from caas.payment_processing.dispute_steps import HELD, coming_back
from caas.payment_processing.disputes import CHARGEBACK_LINE, Disputes
from caas.rules.payment_states import Remark

REFUND_LINE: Final = "refund line"
CHARGEBACKS: Final = frozenset({"chargeback", "chargeback_reversal"})


class CameBack(msgspec.Struct, frozen=True):
    """What a line returned: the part of no dispute, the excess, and the part of each dispute."""

    of_none: int
    excess: int
    returned: tuple["Returned", ...] = ()


class Returned(NamedTuple):
    """The part of a dispute that a line returned, and what was left of it, in minor units."""

    dispute: str
    part: int
    rest: int


class ChargebackLines:
    """Books chargebacks and reversals that settlement reports list."""

    def __init__(self, tables: BillingDatabase) -> None:
        self._tables = tables
        self._disputes = Disputes(tables)
        self._rows = RefundRows(tables.database)

    async def book_chargeback(self, payment: Payment, line: StoredLine) -> bool:
        """Book the part of a line that no dispute covers yet; False if its payment is unknown."""
        reported = _as_dispute(payment, line)
        known = await self._disputes.of(payment)
        if any(it.id == reported.id for it in known):
            await self._lose_again(payment, line)
            return True
        if line.type not in CHARGEBACKS:
            part = await self._unexplained(payment, line)
            return not part or await self._lost(
                payment, replace(reported, amount=part), REFUND_LINE
            )
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

    async def booked_by(
        self, payment_id: UUID, line: StoredLine, *, within: Connection
    ) -> Dispute | None:
        """Return the dispute that a line booked, if any."""
        known = await self._rows.disputes_of(payment_id, within=within)
        return next((it for it in known if it.id == dispute_of(line)), None)

    async def book_reversal(
        self,
        payment: Payment,
        line: StoredLine,
        booked: Callable[[CameBack, Connection], Awaitable[None]],
    ) -> None:
        """Reverse the losses that a line returns; `booked` is called in the same commit."""

        async def together(connection: Connection) -> None:
            await booked(await self.reverse(payment, line, within=connection), connection)

        await self._tables.database.in_transaction(together)

    async def reverse(self, payment: Payment, line: StoredLine, *, within: Connection) -> CameBack:
        """Reverse the losses that a line returns, as far as no other line returned them."""
        async with self._disputes.cancelled_sales.watched(payment.id, within=within):
            held = await self._held(payment, line, within)
            totals = await self._rows.lines_and_disputes(
                (payment.id, line.currency), of_refunds=is_of_refunds(line), within=within
            )
            left = min(line.gross, totals.reversals_unreported)
            returned = []
            for one in sorted(held, key=lambda it: _nearest(it, line)):
                part = min(one.claimed_amount, left)
                if part > 0:
                    await self._comes_back(payment, one, part, within)
                    returned.append(Returned(one.id, part, one.claimed_amount - part))
                    left -= part
            still = await self._held(payment, line, within)
            excess = sum(it.excess for it in held) - sum(it.excess for it in still)
            await self._disputes.fit_again(payment.id, within=within)
        return CameBack(left, max(excess, 0), tuple(returned))

    async def take_back_reversal(
        self, payment_id: UUID, returned: Sequence[Returned], *, within: Connection
    ) -> None:
        """Let banks hold again what a line's decision reversed.

        A later report of a bank stands. Of a dispute that a line alone booked there is none: what
        is held of it came from another decision that was taken back.
        """
        await within.execute(LOCK_PAYMENT, payment_id)
        for dispute_id, part, rest in returned:
            payment = await self._tables.payments.get(payment_id, within=within)
            one = await self._one(payment_id, dispute_id, within)
            if one.state not in HELD:
                await self._held_again(payment, one, part, within, counted=True)
            elif rest or one.gateway_dispute_id is None:
                await self._disputes.amended(
                    payment, one, one.reported_at, one.claimed_amount + part, within,
                    instead=(one.id, part),
                )  # fmt: skip

    async def take_back_loss(
        self, payment_id: UUID, line: StoredLine, *, within: Connection
    ) -> None:
        """Return the loss that a line's decision booked, unless a bank reported that dispute."""
        async with self._disputes.cancelled_sales.watched(payment_id, within=within):
            payment = await self._tables.payments.get(payment_id, within=within)
            lost = [
                it for it in await self._rows.disputes_of(payment_id, within=within)
                if it.id == dispute_of(line)
                and it.state == "lost" and it.gateway_dispute_id is None
            ]  # fmt: skip
            for one in lost:
                await self._disputes.step(
                    payment, one, coming_back(one), within, instead=(one.id, one.claimed_amount)
                )
                await self._disputes.fit_again(payment_id, within=within)

    async def _lose_again(self, payment: Payment, line: StoredLine) -> None:
        """Lose the dispute of a line whose decision was taken back and is made again."""

        async def together(connection: Connection) -> None:
            await connection.execute(LOCK_PAYMENT, payment.id)
            now = await self._tables.payments.get(payment.id, within=connection)
            one = await self._one(payment.id, dispute_of(line), connection)
            again = await self._left_to_lose(payment, line, connection)
            if one.state not in HELD and again > 0:
                await self._held_again(now, one, again, connection, counted=False)

        await self._tables.database.in_transaction(together)

    async def _left_to_lose(
        self, payment: Payment, line: StoredLine, connection: Connection
    ) -> int:
        if is_of_refunds(line):
            return await self._unexplained(payment, line, connection)
        totals = await self._rows.lines_and_disputes((payment.id, line.currency), within=connection)
        return min(abs(line.gross), totals.unreported)

    async def _unexplained(
        self, payment: Payment, line: StoredLine, within: Connection | None = None
    ) -> int:
        """Return the part of a refund line that no refund explains (decision 277)."""
        by = within or self._tables.database
        return min(abs(line.gross), await unexplained_refunds(payment.id, within=by))

    async def _held_again(
        self,
        payment: Payment,
        known: Dispute,
        claimed: int,
        connection: Connection,
        *,
        counted: bool,
    ) -> None:
        """Let the bank hold so much of a dispute that had come back, because a decision changed.

        `counted` says that what the bank took is counted already, and its return no more.
        """
        lost, before = known.state == "reversed", known.claimed_amount
        if claimed != before:
            await self._rows.amend_dispute(known, claimed, within=connection)
            known = replace(known, claimed_amount=claimed)
        amended = min(claimed, before) if claimed != before else 0
        instead = (known.id, (claimed if counted else 0) - amended)
        known = await self._disputes.step(
            payment, known, Remark.DISPUTE_OPENED, connection, instead=instead
        )
        if lost:
            known = await self._disputes.step(payment, known, Remark.DISPUTE_LOST, connection)
        await self._disputes.report_excess(payment, known, connection)

    async def _one(self, payment_id: UUID, dispute_id: str, connection: Connection) -> Dispute:
        known = await self._rows.disputes_of(payment_id, within=connection)
        return next(it for it in known if it.id == dispute_id)

    async def _held(
        self, payment: Payment, line: StoredLine, connection: Connection
    ) -> list[Dispute]:
        """Return the disputes, of the line's family, whose money banks hold."""
        of_refunds = is_of_refunds(line)
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


def dispute_of(line: StoredLine) -> str:
    """Return the id of the dispute that a line's own decision books."""
    return f"line:{line.report_id}:{line.line_no}"


def is_of_refunds(line: StoredLine) -> bool:
    """Return whether a line is of a refund that we did not make, not of a chargeback."""
    return line.type not in CHARGEBACKS


def _as_dispute(payment: Payment, line: StoredLine) -> GatewayDispute:
    return GatewayDispute(
        id=dispute_of(line),
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
