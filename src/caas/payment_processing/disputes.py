"""Disputes: chargebacks of delivered charges (Common Discrepancy Scenarios; decision 37).

CaaS accepts the loss. A dispute belongs to a payment, which keeps its state. The disputed amount is
booked up to the received money that remains; the excess is a loss at once. When another dispute or
refund of the payment ends, more of the excess may fit and is counted.

Rules a change must keep: every report of a dispute ends as a row, in any order and any number; lost
money is counted once; a report older than the last one applied changes nothing; code that returns
money calls `fit_again` in the same commit, and steps of disputes are taken inside
`cancelled_sales.watched`.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from caas.billing_database.connection import Connection
from caas.billing_database.decided_money import decided_losses
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Dispute
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import transition_of
from caas.external_systems.payment_gateway import GatewayDispute
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing import outgoing_money
from caas.payment_processing.dispute_losses import DisputeLosses
from caas.payment_processing.dispute_steps import (
    HELD,
    DisputeStep,
    after,
    coming_back,
    may_amend,
    steps_of,
)
from caas.payment_processing.overtaken_refunds import CancelledSales, CoveredNotes
from caas.rules import postings
from caas.rules.money import AMOUNT_MAX
from caas.rules.payment_states import PaymentState, Remark
from caas.rules.resolutions import Action

FIT: Final = "fit_disputes"
FIT_SECONDS: Final = 60.0
CARRY_OUT: Final = "carry_out_resolution"
"""The job of a decision about a line, which moves the excess that the decision put elsewhere."""
STRANGER_SECONDS: Final = 30.0
CONTRADICTION: Final = "dispute_contradiction"
EXCESS: Final = "dispute_of_refunded"
NOT_TAKEN_YET: Final = frozenset(
    {PaymentState.INITIATED, PaymentState.PENDING, PaymentState.AUTHORIZED}
)
GATEWAY: Final = "gateway"
CHARGEBACK_LINE: Final = "chargeback line"
PLAUSIBLE_TIMES: Final = 2
"""The largest plausible dispute, as a multiple of its payment."""


class Disputes:
    """Books disputed and lost amounts."""

    def __init__(self, tables: BillingDatabase) -> None:
        self._tables = tables
        self._rows = RefundRows(tables.database)
        self._covered_notes = CoveredNotes(tables)
        self._losses = DisputeLosses(tables)
        self.cancelled_sales = CancelledSales(tables, self._rows)

    def register(self, jobs: JobQueue) -> None:
        """Register the job for disputes that were reported before their payment was captured."""
        jobs.register(FIT, self._fit_due)

    async def of(self, payment: Payment) -> list[Dispute]:
        """Return a payment's disputes, oldest first."""
        return await self._rows.disputes_of(payment.id)

    async def on_event(
        self,
        gateway: str,
        reported: GatewayDispute,
        at: datetime | None = None,
        *,
        origin: str = GATEWAY,
    ) -> Answer:
        """Apply a gateway's report of a dispute; `at` is its time, where known."""
        payment = await self._tables.payments.by_transaction(gateway, reported.transaction_id)
        if payment is None:
            return RetryIn(STRANGER_SECONDS, "the disputed payment is not known here")
        others = await outgoing_money.others(self._tables, payment, reported)

        async def together(connection: Connection) -> None:
            async with self.cancelled_sales.watched(payment.id, within=connection):
                if not await self._is_of_several(payment.id, others, reported, connection):
                    await self._follow(payment.id, reported, at, origin, connection)
                    await self._losses.balance(payment, within=connection)

        await self._tables.database.in_transaction(together)
        return Done()

    async def fit_again(self, payment_id: UUID, *, within: Connection) -> None:
        """Count more of the disputes that exceed what was received. The payment is locked."""
        payment = await self._tables.payments.get(payment_id, within=within)
        for dispute in await self._rows.disputes_of(payment_id, within=within):
            out = await self._rows.money_out(payment_id, within=within)
            available = payment.captured_amount - out
            more = min(dispute.excess, available)
            if dispute.state not in HELD or more <= 0:
                continue
            lost = dispute.state == "lost"
            step = DisputeStep(
                replace(dispute, amount=dispute.amount + more, excess=dispute.excess - more),
                more if lost else 0,
                postings.dispute_counted(more, lost=lost),
            )
            await self._take(dispute, Remark.DISPUTE_COUNTED, step, within)
            followed = await decided_losses(payment_id, dispute.id, within=within)
            for decided in followed:
                await self._tables.jobs.add(
                    CARRY_OUT, decided, payload={"actions": [Action.LOSE_DISPUTE]}, within=within
                )
            if not followed:
                await self._losses.balance(payment, within=within)
        available = payment.captured_amount - await self._rows.given_back(payment_id, within=within)
        await self._covered_notes.promise_again(payment_id, available, within=within)
        await self._end_case(payment_id, within)
        await self._rows.wake(payment_id, within=within)

    async def _follow(
        self,
        payment_id: UUID,
        reported: GatewayDispute,
        at: datetime | None,
        origin: str,
        connection: Connection,
    ) -> None:
        """Apply a report about a dispute. The payment is locked."""
        payment = await self._tables.payments.get(payment_id, within=connection)
        claimed = await self._believed(payment, reported, origin, connection)
        known = await self._rows.claim_dispute(
            payment.id, reported.id, claimed, by_gateway=origin == GATEWAY, within=connection
        )
        if reported.amount <= 0:
            await self._contradiction(payment, reported, "which is no amount", connection)
            return
        if known is not None and claimed != (known.claimed_amount, known.claimed_currency):
            await self._contradiction(
                payment, reported, f"and of {known.claimed_amount} before", connection
            )
            if not may_amend(known, reported.status, claimed[1], at):
                return
            known = await self.amended(payment, known, at, claimed[0], connection)
            if origin == GATEWAY:
                known = await self._taken_over(payment, known, connection)
        steps = steps_of(known, reported.status, at)
        gateway_id = reported.id if origin == GATEWAY else None
        if not steps:
            if known is not None and known.gateway_dispute_id is None:
                await self._rows.report_dispute(known, at, gateway_id, within=connection)
            return
        if known is None:
            known = _new(payment, reported, claimed, origin)
            await self._rows.add_dispute(known, within=connection)
            if known.claimed_currency != payment.currency:
                await self._contradiction(
                    payment, reported, "which counts as all that is left", connection
                )
        for remark in steps:
            known = await self.step(payment, known, remark, connection)
        await self._rows.report_dispute(known, at, gateway_id, within=connection)
        if gateway_id is not None:
            known = await self._taken_over(payment, known, connection)
        await self.report_excess(payment, known, connection)
        if known.state not in HELD:
            await self.fit_again(payment.id, within=connection)
        elif known.state == "lost":
            await self._rows.wake(payment.id, within=connection)

    async def _believed(
        self, payment: Payment, reported: GatewayDispute, origin: str, connection: Connection
    ) -> tuple[int, str]:
        """Return the claim to book, limited to a plausible multiple of the payment.

        Exchange rates change an amount slightly. A far larger one is not booked as a loss; a person
        reviews it. A person decided a line, whose money left: it is booked in full.
        """
        currency = reported.currency or payment.currency
        in_ours = currency == payment.currency
        from_gateway = in_ours and origin == GATEWAY
        most = payment.amount * PLAUSIBLE_TIMES if from_gateway else AMOUNT_MAX
        if reported.amount <= most:
            return reported.amount, currency
        booked = payment.amount if in_ours else AMOUNT_MAX
        await self._contradiction(
            payment, reported, f"of which {reported.amount - booked} is not booked", connection
        )
        return booked, currency

    async def _taken_over(
        self, payment: Payment, known: Dispute, connection: Connection
    ) -> Dispute:
        """Move amounts from disputes that only report lines named to the dispute with an id."""
        over = 0
        for one in await self._rows.disputes_of(payment.id, within=connection):
            if one.gateway_dispute_id or one.origin != CHARGEBACK_LINE or one.state not in HELD:
                continue
            stated = await self._rows.lines_and_disputes(
                (payment.id, one.claimed_currency), within=connection
            )
            part = min(one.claimed_amount, stated.reported_twice)
            if part > 0:
                over += part
                await self._give_way(payment, one, (known.id, part), connection)
        if not over:
            return known
        await self.fit_again(payment.id, within=connection)
        known = await self._again(known, connection)
        if known.state == "opened" and over >= known.claimed_amount:
            known = await self.step(payment, known, Remark.DISPUTE_LOST, connection)
        return known

    async def _give_way(
        self, payment: Payment, one: Dispute, instead: tuple[str, int], connection: Connection
    ) -> None:
        if instead[1] < one.claimed_amount:
            left = one.claimed_amount - instead[1]
            await self.amended(payment, one, one.reported_at, left, connection, instead=instead)
        else:
            await self.step(payment, one, coming_back(one), connection, instead=instead)

    async def _again(self, dispute: Dispute, connection: Connection) -> Dispute:
        known = await self._rows.disputes_of(dispute.payment_id, within=connection)
        return next(it for it in known if it.id == dispute.id)

    async def amended(
        self,
        payment: Payment,
        known: Dispute,
        at: datetime | None,
        claimed: int,
        connection: Connection,
        *,
        instead: tuple[str, int] | None = None,
    ) -> Dispute:
        """Return what is held, and take the amount the bank states now."""
        lost = known.state == "lost"
        known = await self.step(payment, known, coming_back(known), connection, instead=instead)
        await self._rows.amend_dispute(known, claimed, within=connection)
        known = replace(known, claimed_amount=claimed)
        known = await self.step(payment, known, Remark.DISPUTE_OPENED, connection)
        if lost:
            known = await self.step(payment, known, Remark.DISPUTE_LOST, connection)
        await self._rows.report_dispute(known, at, None, within=connection)
        await self.report_excess(payment, known, connection)
        await self.fit_again(payment.id, within=connection)
        return await self._again(known, connection)

    async def step(
        self,
        payment: Payment,
        dispute: Dispute,
        remark: Remark,
        connection: Connection,
        *,
        instead: tuple[str, int] | None = None,
    ) -> Dispute:
        """Apply one remark; `instead` is the dispute that takes over, and how much."""
        available = 0
        if remark is Remark.DISPUTE_OPENED:
            out = await self._rows.money_out(payment.id, within=connection)
            available = max(payment.captured_amount - out, 0)
        step = after(dispute, remark, available)
        await self._take(dispute, remark, step, connection, instead)
        return replace(step.after, steps=dispute.steps + 1)

    async def _take(
        self,
        dispute: Dispute,
        remark: Remark,
        step: DisputeStep,
        connection: Connection,
        instead: tuple[str, int] | None = None,
    ) -> None:
        """Record a step: the payment's event and entries, and the dispute's row."""
        now = await self._tables.payments.get(dispute.payment_id, within=connection)
        facts: dict[str, object] = {
            "dispute": dispute.id,
            "amount": step.after.amount,
            "excess": step.after.excess,
            "reason": dispute.reason,
            "claimed": [dispute.claimed_amount, dispute.claimed_currency],
        }
        if instead is not None:
            facts["instead"] = list(instead)
        transitioned = await self._tables.transitions.apply(
            transition_of(
                now,
                remark,
                source=f"dispute:{dispute.id}:step:{dispute.steps + 1}",
                facts=facts,
                disputed=step.disputed,
                entries=step.entries,
            ),
            within=connection,
        )
        assert transitioned.transitioned, (
            "the payment is locked, and each step of a dispute is taken once"
        )
        await self._rows.step_dispute(step.after, within=connection)

    async def _contradiction(
        self, payment: Payment, reported: GatewayDispute, besides: str, connection: Connection
    ) -> None:
        sentence = (
            f"The gateway reports a dispute of {reported.amount} {reported.currency}, {besides}; "
            f"the payment captured {payment.captured_amount} {payment.currency}. No refund of it "
            "is sent until this case is resolved."
        )
        await self._tables.cases.open(CONTRADICTION, payment.id, sentence, within=connection)

    async def _is_of_several(
        self,
        payment_id: UUID,
        others: list[UUID] | None,
        reported: GatewayDispute,
        connection: Connection,
    ) -> bool:
        """Open a case for each payment if a dispute names several; return whether it does."""
        first = await self._rows.disputed_already(reported.id, beside=payment_id, within=connection)
        if others is None and first is None:
            return False
        for one in {payment_id, *(others or ()), *({first} if first else ())}:
            sentence = outgoing_money.of_several("dispute", reported)
            await self._tables.cases.open(CONTRADICTION, one, sentence, within=connection)
        return True

    async def report_excess(
        self, payment: Payment, dispute: Dispute, connection: Connection
    ) -> None:
        """Open a case for what a dispute took beyond what was received."""
        if dispute.state in HELD and dispute.excess > 0:
            sentence = (
                f"A dispute took {dispute.claimed_amount} {payment.currency}; {dispute.excess} of "
                "it is more than was received and is still there, and is booked as a loss. Contest "
                "it with the refund."
            )
            await self._tables.cases.open(EXCESS, payment.id, sentence, within=connection)
            if payment.state in NOT_TAKEN_YET:
                await self._tables.jobs.add(FIT, payment.id, within=connection)

    async def _fit_due(self, job: Job) -> Answer:
        """Count the disputes of a payment that was captured after they were reported."""

        async def together(connection: Connection) -> None:
            await self._rows.given_back(job.subject, within=connection)
            await self.fit_again(job.subject, within=connection)

        payment = await self._tables.payments.get(job.subject)
        if payment.state in NOT_TAKEN_YET:
            return RetryIn(FIT_SECONDS, f"the disputed payment is {payment.state}")
        await self._tables.database.in_transaction(together)
        return Done()

    async def _end_case(self, payment_id: UUID, connection: Connection) -> None:
        disputes = await self._rows.disputes_of(payment_id, within=connection)
        if not any(it.excess > 0 and it.state in HELD for it in disputes):
            await self._tables.cases.close(
                EXCESS,
                payment_id,
                resolution="No dispute exceeds what was received any more.",
                owner="caas",
                within=connection,
            )


def _new(
    payment: Payment, reported: GatewayDispute, claimed: tuple[int, str], origin: str
) -> Dispute:
    amount, currency = claimed
    return Dispute(
        id=reported.id,
        payment_id=payment.id,
        amount=0,
        currency=payment.currency,
        state="opened",
        reason=reported.reason,
        opened_at=payment.updated_at,
        updated_at=payment.updated_at,
        claimed_amount=amount,
        claimed_currency=currency,
        excess=0,
        origin=origin,
    )
