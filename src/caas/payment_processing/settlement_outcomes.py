"""Settlement outcomes: the bank confirms, rejects or reverses (Diagram 9, lower part).

Rules a change must keep: reported amounts are totals and are compared, never added twice; a
transition names the version of the payment it was decided on, so that concurrent reports apply one
after the other; a loss is booked by its cause, in one commit with its alert, and the customer is
not charged again (decision 17).
"""

from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refunds
from caas.billing_database.settlement_positions import has_decisions
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import NewJob, Transition, transition_of
from caas.payment_processing.flow import Alert, SideEffects
from caas.payment_processing.gateway_calls import AUTHORIZE, CAPTURE, POLL_SETTLEMENT, PROBE
from caas.payment_processing.overtaken_refunds import OvertakenRefunds
from caas.payment_processing.settlement_positions import SettlementPositions
from caas.payment_processing.transitions import ChargeTransitions
from caas.rules import postings
from caas.rules.payment_states import BeyondEvent, PaymentEvent, PaymentState, Remark

REVERSED: Final = "bank-reverses"

Applied = tuple[Payment, bool]
"""The payment, and whether the report is fully handled."""


class SettlementOutcomes:
    """Books the bank's confirmations, rejections and reversals."""

    def __init__(
        self,
        tables: BillingDatabase,
        transitions: ChargeTransitions,
        *,
        alert: Alert,
        first_poll_seconds: float,
    ) -> None:
        self._tables = tables
        self._refunds = Refunds(tables.database)
        self._positions = SettlementPositions(tables)
        self._overtaken = OvertakenRefunds(tables, self._refunds)
        self._transitions = transitions
        self._alert = alert
        self._first_poll_seconds = first_poll_seconds

    async def confirms(self, payment: Payment, total: int, *, source: str) -> Applied:
        """Book a full or partial settlement."""
        new = total - payment.settled_amount
        if new <= 0:
            return payment, True
        if total > payment.captured_amount:
            await self._case(
                "gateway_contradiction",
                payment,
                f"The gateway says {total} was settled, and {payment.captured_amount} captured; "
                "nothing was applied.",
            )
            return payment, True
        whole = total == payment.captured_amount
        if not whole:
            await self._case(
                "partial_settlement",
                payment,
                f"Only {total} of {payment.captured_amount} minor units {payment.currency} were "
                "settled.",
            )
        event = PaymentEvent.BANK_CONFIRMS if whole else Remark.PARTIALLY_SETTLED
        poll = NewJob(POLL_SETTLEMENT, self._first_poll_seconds)
        transition = transition_of(
            payment,
            event,
            source=f"settled:{total}",
            if_version=payment.version,
            outcome="known",
            facts={"reported_by": source},
            settled=new,
            entries=postings.settled(new),
            done=(CAPTURE, PROBE, POLL_SETTLEMENT),
            next=() if whole else (poll,),
        )
        waits = any(it.state == "waiting" for it in await self._refunds.of_payment(payment.id))
        follows = waits or await has_decisions(payment.id, within=self._tables.database)
        step = (
            SideEffects(also=self._follow) if follows else None
        )  # without one, transitions share their commits
        return await self._transitions.try_to_apply(payment, transition, step=step)

    async def _follow(self, connection: Connection, after: Payment) -> None:
        """Wake refunds that waited for the bank, and explain what decisions left."""
        await self._refunds.wake(after.id, within=connection)
        await self._positions.explain(after.id, within=connection)

    async def rejects(self, payment: Payment, *, source: str) -> Applied:
        """Book the loss of a rejected settlement; it is not charged again (decision 17)."""
        lost = payment.captured_amount - payment.settled_amount
        kept = await self._kept(payment)
        transition = transition_of(
            payment,
            PaymentEvent.BANK_REJECTS,
            source="bank-rejects",
            if_version=payment.version,
            outcome="known",
            facts={"reported_by": source},
            entries=postings.lost_before_settlement("settlement_failed", lost)
            + postings.reversed_after_settlement("settlement_reversed", max(kept, 0)),
            done=(CAPTURE, PROBE, POLL_SETTLEMENT),
            next=(NewJob(AUTHORIZE),),  # its flow carries on: a subscription ends (Diagram 7)
        )
        return await self._lost(
            payment,
            transition,
            "settlement_failed",
            "The bank rejected a settlement; the loss is booked.",
        )

    async def reverse(self, payment: Payment, *, source: str) -> Applied:
        """Book a reversed settlement; while a refund is in progress, retry later."""
        if payment.state is PaymentState.REFUNDING:
            return payment, False
        is_refunded = payment.state is PaymentState.REFUNDED
        if is_refunded and await self._is_reversed(payment):
            return payment, True
        kept = await self._kept(payment)
        transition = transition_of(
            payment,
            Remark.LOSS_BOOKED if is_refunded else BeyondEvent.BANK_REVERSES,
            source=REVERSED,
            if_version=payment.version,
            facts={"reported_by": source},
            entries=postings.reversed_after_settlement("settlement_reversed", max(kept, 0))
            + postings.reversed_after_settlement(
                postings.REVERSED_AFTER_REFUND, payment.refunded_amount
            ),
            next=() if is_refunded else (NewJob(AUTHORIZE),),
        )
        if payment.refunded_amount:
            return await self._lost(
                payment,
                transition,
                "reversed_after_refund",
                "The bank took a settlement back that was refunded; the loss is booked. Contest it "
                "with the refund.",
            )
        return await self._lost(
            payment,
            transition,
            "settlement_reversed",
            "The bank took a settlement back; the loss is booked.",
        )

    async def _is_reversed(self, payment: Payment) -> bool:
        events = await self._tables.payments.timeline(payment.id)
        return any(event.source == REVERSED for event in events)

    async def _kept(self, payment: Payment) -> int:
        """Return what is left of a settled payment beside refunds and disputes."""
        disputes = await self._refunds.disputes_of(payment.id)
        held = sum(it.amount for it in disputes if it.state in ("opened", "lost"))
        return payment.settled_amount - payment.refunded_amount - held

    async def confirms_after_all(self, payment: Payment, total: int, *, source: str) -> Applied:
        """Open a case: the bank paid what was booked as lost, and a person corrects the entry."""
        transition = transition_of(
            payment,
            Remark.LATE_OUTCOME,
            source="late:settled",
            facts={"reported_by": source, "settled_amount": total},
        )
        sentence = "The bank settled a payment whose loss was booked; correct the loss by an entry."

        async def open_case(connection: Connection, after: Payment) -> None:
            await self._tables.cases.open(
                "settled_after_loss", after.id, sentence, within=connection
            )

        return await self._transitions.apply(
            payment, transition, step=SideEffects(also=open_case)
        ), True

    async def _lost(
        self, payment: Payment, transition: Transition, kind: str, sentence: str
    ) -> Applied:
        async def alert(connection: Connection, after: Payment) -> None:
            await self._alert(kind, after.id, sentence, within=connection)
            await self._overtaken.fail_waiting(after, within=connection)
            await self._refunds.wake(after.id, within=connection)
            await self._positions.explain(after.id, within=connection)

        return await self._transitions.try_to_apply(
            payment, transition, step=SideEffects(also=alert)
        )

    async def _case(self, kind: str, payment: Payment, sentence: str) -> None:
        await self._tables.cases.open(kind, payment.id, sentence)
