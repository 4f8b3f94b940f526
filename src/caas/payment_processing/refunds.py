"""Refunds of settled payments (desistimiento), several and partial (decision 5).

A refund is recorded under its payment's lock, so that refunds and disputes together never exceed
what was received. One refund at a time is at the gateway; before the bank has confirmed, a refund
waits (decision 6). Nothing is sent while a dispute is open or outgoing money is contradictory
(decision 86).

Rules a change must keep: the gateway's key follows from the refund; a refund of unknown outcome is
retried under the same key and counts as refunded until it is known to have failed; the payment is
Refunding only while a refund is at the gateway.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.billing_database.postponed_jobs import Delay
from caas.billing_database.received_money import received
from caas.billing_database.refunds import Refund, UnknownRefund
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Transition, transition_of
from caas.external_systems.payment_gateway import GatewayRefund, RefundStatus
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.notifications import CUSTOMER, Notifications
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.gateway_calls import Refused
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.held_deposit import back_to_held, out_of_held
from caas.payment_processing.overtaken_refunds import OvertakenRefunds
from caas.payment_processing.refund_calls import (
    REFUND,
    UNKNOWN,
    RefundCalls,
    Reported,
    retry_lookup,
)
from caas.payment_processing.refund_requests import REFUNDABLE, RefundRequests, Requested, Together
from caas.payment_processing.returned_refunds import FAILED, ReturnedRefunds
from caas.payment_processing.unmatched_refunds import UnmatchedRefunds, listed_id
from caas.rules import postings
from caas.rules.payment_states import BeyondEvent, PaymentEvent, PaymentState
from caas.rules.time_scale import TimeScale

WAIT_FOR_SETTLEMENT_SECONDS: Final = 300.0
WAIT_FOR_ANOTHER_SECONDS: Final = 5.0
WAIT_FOR_OBSTACLE_SECONDS: Final = 300.0
ENDED: Final = frozenset({"succeeded", "failed"})


class Refunds:
    """Refunds payments, each through the gateway that charged it."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        gateways: Gateways,
        time_scale: TimeScale,
        notifications: Notifications,
    ) -> None:
        """Refund through these gateways; notify customers and operations by `notifications`."""
        self._tables = tables
        self._time_scale = time_scale
        self._notifications = notifications
        self._rows = RefundRows(tables.database)
        self._disputes = Disputes(tables)
        self._overtaken = OvertakenRefunds(tables, self._rows)
        self._alert = notifications.alert
        self.returned = ReturnedRefunds(tables, notifications)
        self.requests = RefundRequests(tables, self._rows, time_scale=time_scale)
        self._unmatched = UnmatchedRefunds(tables, gateways, self._rows)
        self._calls = RefundCalls(
            gateways, self._rows, self._unmatched, time_scale=time_scale, alert=self._alert
        )

    def register(self, jobs: JobQueue) -> None:
        """Register the job that advances a refund."""
        jobs.register(REFUND, self._refund_due, safety_net=True)

    async def of(self, payment_id: UUID) -> list[Refund]:
        """Return a payment's refunds, oldest first."""
        return await self._rows.of_payment(payment_id)

    async def left(
        self, payment_id: UUID, *, beside: str | None = None, within: Connection | None = None
    ) -> int:
        """Return what of a payment is not refunded, promised or disputed; locks it.

        The promise of the key `beside` is left out.
        """

        async def look(connection: Connection) -> int:
            given_back = await self._rows.given_back(payment_id, beside=beside, within=connection)
            payment = await self._tables.payments.get(payment_id, within=connection)
            return await received(payment, within=connection) - given_back

        if within is not None:
            return await look(within)
        return await self._tables.database.in_transaction(look)

    async def request(
        self,
        payment_id: UUID,
        *,
        amount: int,
        reason: str,
        key: str,
        requested_by: str,
        together_with: Together | None = None,
    ) -> Refund:
        """Record a refund and begin it; the same key is the same refund.

        `together_with` is done in the commit that promises it.

        Raises:
            NothingToRefundError: the payment took no money.
            RefundMustWaitError: a dispute or a contradiction about its money is open.
            RefundTooLargeError: more than is left of it.
        """
        wanted = Requested(payment_id, amount, reason, key, requested_by)
        refund = await self._requested(wanted, together_with)
        assert refund is not None, "a refund of an amount is written down or refused"
        return refund

    async def request_rest(
        self,
        payment_id: UUID,
        *,
        reason: str,
        key: str,
        requested_by: str,
        together_with: Together | None = None,
    ) -> Refund | None:
        """Refund what is left of a payment, counted under its lock; None if nothing is.

        `together_with` is done in the commit that promises it, also when nothing is left.

        Raises:
            RefundMustWaitError: a dispute or a contradiction about its money is open.
        """
        wanted = Requested(payment_id, None, reason, key, requested_by)
        return await self._requested(wanted, together_with)

    async def unknown(self, payment_id: UUID) -> UnknownRefund | None:
        """Return the refund of a payment whose outcome is not known; None when there is none."""
        return await self._rows.unknown(payment_id)

    async def _requested(self, wanted: Requested, together_with: Together | None) -> Refund | None:
        refund_id = await self.requests.write(wanted, together_with)
        if refund_id is None:
            return None
        await self._advance_or_postpone(refund_id)
        return await self._known(refund_id)

    async def _advance_or_postpone(self, refund_id: UUID) -> None:
        """Do the next step now, look an unknown outcome up once, and leave the rest to a worker."""
        answer = await self.advance(refund_id)
        if isinstance(answer, RetryIn) and (await self._known(refund_id)).outcome == "unknown":
            answer = await self.advance(refund_id)
        if isinstance(answer, RetryIn):
            delay = Delay(self._time_scale.seconds(answer.due_in), answer.because, {})
            await self._tables.jobs.postpone_first(REFUND, refund_id, delay)

    async def advance(self, refund_id: UUID) -> Answer:
        """Do the next step for the refund's state; repeating it is harmless."""
        refund = await self._known(refund_id)
        payment = await self._tables.payments.get(refund.payment_id)
        if refund.state in ENDED:
            return Done()
        if refund.state == "sent":
            return await self._follow(payment, refund, await self._calls.ask(payment, refund))
        match payment.state:
            case PaymentState.CAPTURING:
                return RetryIn(WAIT_FOR_SETTLEMENT_SECONDS, "the bank has not confirmed yet")
            case PaymentState.REFUNDING:
                return RetryIn(WAIT_FOR_ANOTHER_SECONDS, "another refund is with the gateway")
            case PaymentState.SETTLED:
                return await self._begin(payment, refund)
            case PaymentState.SETTLEMENT_FAILED if await self.left(payment.id) >= 0:
                return await self._begin(payment, refund)
            case _:
                await self._overtaken.fail_unpaid(payment, refund)
                return Done()

    async def on_event(self, gateway: str, reported: GatewayRefund) -> Answer:
        """Apply a gateway's webhook about a refund, however often and late it comes."""
        if await self._unmatched.is_of_several(gateway, reported):
            return Done()
        refund = await self._rows.by_gateway_id(gateway, reported.id)
        if refund is None:
            return await self._on_unmatched(gateway, reported)
        return await self._ours(refund, reported)

    async def _ours(self, refund: Refund, reported: GatewayRefund) -> Answer:
        await self._unmatched.explained(refund.payment_id, reported)
        if refund.state in ENDED and await self.returned.explains(refund, reported):
            return Done()
        if refund.state in ENDED or reported.amount != refund.amount:
            await self._unmatched.contradict(
                refund.payment_id,
                f"The gateway reports a refund of {reported.amount} that {reported.status}, "
                f"where {refund.amount} is {refund.state}.",
            )
            return Done()
        payment = await self._tables.payments.get(refund.payment_id)
        return await self._follow(payment, refund, reported)

    async def _on_unmatched(self, gateway: str, reported: GatewayRefund) -> Answer:
        """Open a case for a refund we did not make, unless ours may still lack its answer."""
        payment = await self._tables.payments.by_transaction(gateway, reported.transaction_id)
        failed = reported.status is RefundStatus.FAILED
        if payment is not None and payment.state in REFUNDABLE and not failed:
            ours = await self._rows.of_payment(payment.id)
            answered = next((it for it in ours if it.gateway_refund_id == reported.id), None)
            if answered is not None:
                return await self._ours(answered, reported)
            if reported.id in await self._rows.noted(payment.id):
                await self._unmatched.explained(payment.id, reported)
                return Done()
            awaited = any(it.state == "sent" and it.gateway_refund_id is None for it in ours)
            if not awaited and not await self._rows.was_reported(payment.id, reported.id):
                await self._unmatched.contradict(
                    payment.id,
                    f"The gateway made a refund of {reported.amount} that we did not ask for.",
                    reported,
                )
        return RetryIn(WAIT_FOR_ANOTHER_SECONDS, f"the refund {reported.id} is not known here")

    async def _refund_due(self, job: Job) -> Answer:
        return await self.advance(job.subject)

    async def _known(self, refund_id: UUID) -> Refund:
        refund = await self._rows.get(refund_id)
        assert refund is not None, "jobs names a refund that was written down"
        return refund

    async def _begin(self, payment: Payment, refund: Refund) -> Answer:
        """Commit Refunding and the refund as sent, then call the gateway.

        A refund the gateway has already made is adopted instead of sending this one.
        """
        made = await self._unmatched.before_sending(payment, refund)
        if isinstance(made, RetryIn):
            return made
        failed = payment.state is PaymentState.SETTLEMENT_FAILED
        transition = transition_of(
            payment,
            PaymentEvent.REVERSE_TRANSACTION if failed else BeyondEvent.REFUND_REQUESTED,
            source=f"refund:{refund.id}",
            if_version=payment.version,
            facts={"refund": str(refund.id), "amount": refund.amount, "reason": refund.reason},
            entries=postings.refund_requested(payment.type, refund.amount),
        )

        async def together(connection: Connection) -> Answer | None:
            waits = await self._may_not_go(payment, refund, connection)
            if waits is not None:
                return waits
            taking = await out_of_held(transition, payment, refund.amount, within=connection)
            transitioned = await self._tables.transitions.apply(taking, within=connection)
            if not transitioned.transitioned:
                return RetryIn(WAIT_FOR_ANOTHER_SECONDS, "the payment changed meanwhile")
            made_id = listed_id(made) if made else None
            await self._rows.set(refund.id, "sent", gateway_refund_id=made_id, within=connection)
            return None

        waits = await self._tables.database.in_transaction(together)
        if waits is not None:
            return waits
        payment, refund = await self._tables.payments.get(payment.id), await self._known(refund.id)
        reported = made or await self._calls.send(payment, refund)
        return await self._follow(payment, refund, reported)

    async def _may_not_go(
        self, payment: Payment, refund: Refund, connection: Connection
    ) -> Answer | None:
        """Return why a refund is not sent now; if a dispute overtook it, it is promised again.

        The refund is read again under the payment's lock: another process may have sent it.
        """
        await self._rows.given_back(payment.id, within=connection)
        now = await self._rows.get(refund.id, within=connection)
        if now is None or now.state != "waiting":
            return RetryIn(WAIT_FOR_ANOTHER_SECONDS, "another process is sending it")
        obstacle = await self._rows.obstacle(payment.id, within=connection)
        if obstacle is not None:
            return RetryIn(WAIT_FOR_OBSTACLE_SECONDS, obstacle)
        out = await self._rows.money_out(payment.id, within=connection)
        whole = await received(payment, within=connection)
        if out + refund.amount <= whole:
            return None
        available = max(whole - out, 0)
        await self._overtaken.fail_overtaken(refund, available, within=connection)
        return Done()

    async def _follow(self, payment: Payment, refund: Refund, reported: Reported) -> Answer:
        match reported:
            case RetryIn():
                return reported
            case Refused(error):
                return await self._failed(payment, refund, error.sentence)
            case GatewayRefund(status=RefundStatus.PENDING):
                return retry_lookup(refund, self._time_scale, "the gateway has it")
            case GatewayRefund(status=RefundStatus.FAILED):
                return await self._failed(payment, refund, "the gateway reports it as failed")
            case GatewayRefund():
                return await self._succeeded(payment, refund)

    async def _succeeded(self, payment: Payment, refund: Refund) -> Answer:
        def done(now: Payment) -> Transition:
            left = now.captured_amount - now.refunded_amount - refund.amount
            return transition_of(
                now,
                BeyondEvent.REFUND_LEAVES_REMAINDER if left else PaymentEvent.REFUND_COMPLETE,
                source=f"refund-done:{refund.id}",
                facts={"refund": str(refund.id)},
                refunded=refund.amount,
                entries=postings.refund_succeeded(refund.amount),
            )

        async def notify(within: Connection) -> None:
            await self._notifications.notify(
                audience=CUSTOMER, recipient=payment.customer, template="refund_done",
                subject=refund.id, within=within,
                facts={it: getattr(refund, it) for it in ("amount", "currency", "reason")},
            )  # fmt: skip
            if await self.left(payment.id, within=within) <= 0:
                await self._tables.cases.close(
                    FAILED, payment.id, resolution="A later refund of it succeeded.", owner="caas",
                    within=within,
                )  # fmt: skip

        await self._end(refund, "succeeded", done, also=notify)
        return Done()

    async def _failed(self, payment: Payment, refund: Refund, because: str) -> Answer:
        def failed(now: Payment) -> Transition:
            return transition_of(
                now,
                BeyondEvent.REFUND_FAILED,
                source=f"refund-failed:{refund.id}",
                facts={"refund": str(refund.id), "because": because},
                entries=postings.refund_failed(now.type, refund.amount),
            )

        async def ask_a_person(within: Connection) -> None:
            sentence = (
                f"The refund of {refund.amount} minor units {refund.currency} could not be made: "
                f"{because} Refund it again, or pay it in another way."
            )
            await self._alert(FAILED, payment.id, sentence, within=within)

        await self._end(refund, "failed", failed, because=because, also=ask_a_person)
        return Done()

    async def _end(
        self,
        refund: Refund,
        state: str,
        transition: Callable[[Payment], Transition],
        *,
        also: Callable[[Connection], Awaitable[None]],
        because: str | None = None,
    ) -> None:
        """End a refund and its payment's Refunding in one commit, once."""

        async def together(connection: Connection) -> None:
            await self._rows.given_back(refund.payment_id, within=connection)
            ended = await self._rows.set(
                refund.id, state, failed_because=because, within=connection
            )
            if not ended:
                return
            now = await self._tables.payments.get(refund.payment_id, within=connection)
            ending = transition(now)
            if state == "failed":
                ending = await back_to_held(ending, now, refund.amount, within=connection)
            transitioned = await self._tables.transitions.apply(ending, within=connection)
            assert transitioned.transitioned, (
                "while a refund is with the gateway its payment is Refunding"
            )
            await self._tables.jobs.end(REFUND, refund.id, within=connection)
            await self._tables.cases.close(
                UNKNOWN,
                refund.payment_id,
                resolution=f"The outcome became known: the refund {state}.",
                owner="caas",
                within=connection,
            )
            await self._rows.wake(refund.payment_id, within=connection)
            if state == "failed":
                await self._disputes.fit_again(refund.payment_id, within=connection)
            await also(connection)

        await self._tables.database.in_transaction(together)
